/** Every setting of a bucket with a value that it does not take: config, path, part of what is allowed. */

const REF = { env: "SECRET" };

/** A config whose only origin is this one. */
export function bucketSite(origin: object, node: object = {}): unknown {
  return { ...node, sites: { shop: { hosts: ["shop.example"], origins: { app: origin } } } };
}

const s3 = (settings: object, more: object = {}) =>
  bucketSite({ s3: { bucket: "assets", region: "eu-west-1", ...settings }, ...more });
const gcs = (settings: object, more: object = {}) =>
  bucketSite({
    gcs: { bucket: "assets", credentials: { accessKeyId: "ID", secretAccessKey: REF }, ...settings },
    ...more,
  });
const azure = (settings: object, more: object = {}) =>
  bucketSite({
    azure: { account: "acc1", container: "assets", credentials: { accountKey: REF }, ...settings },
    ...more,
  });
const at = (setting: string): string => `sites.shop.origins.app.${setting}`;

type Row = [config: unknown, path: string, allowed: string];

/** What all three kinds have in common. */
const common = [s3, gcs, azure].flatMap((make): Row[] => [
  [make({}, { keyPrefix: "/site" }), at("keyPrefix"), 'without "/" at its beginning'],
  [make({}, { keyPrefix: "a/../b" }), at("keyPrefix"), '"." and ".." as parts'],
  [make({}, { keyPrefix: "a//b" }), at("keyPrefix"), "empty parts"],
  [make({}, { index: "../x" }), at("index"), "a file name"],
  [make({}, { errorDocument: "/404.html" }), at("errorDocument"), "a file name"],
  [make({}, { deniedAsMissing: "yes" }), at("deniedAsMissing"), "true or false"],
  [make({}, { metadata: ["host"] }), at("metadata[0]"), "frame a message"],
  [make({}, { metadata: "x" }), at("metadata"), "a list"],
  [make({}, { tls: { verify: 1 } }), at("tls.verify"), "true or false"],
  [make({}, { timeouts: { connectMs: 0 } }), at("timeouts.connectMs"), "from 1"],
  [make({}, { hostHeader: "viewer" }), at("hostHeader"), "cannot stand beside"],
  [make({}, { url: "http://a" }), "sites.shop.origins.app", "exactly one"],
]);

/** Rows for the table of wrong values. */
export const BAD_BUCKETS: Row[] = [
  ...common,
  [bucketSite({ s3: "assets" }), at("s3"), "an object"],
  [bucketSite({ s3: { bucket: "assets" } }), at("s3.region"), "is missing"],
  [s3({ bucket: "a" }), at("s3.bucket"), "3 to 222"],
  [s3({ bucket: "a/../b" }), at("s3.bucket"), "letters, digits, dots"],
  [s3({ bucket: "a..b" }), at("s3.bucket"), "letters, digits, dots"],
  [s3({ region: "eu west" }), at("s3.region"), "a region such as"],
  [s3({ region: "x.evil.example/" }), at("s3.region"), "a region such as"],
  [s3({ endpoint: "s3.example" }), at("s3.endpoint"), "http(s)://"],
  [s3({ endpoint: "https://id:key@s3.example" }), at("s3.endpoint"), "without user"],
  [s3({ addressing: "host" }), at("s3.addressing"), '"virtual-host"'],
  [s3({ anonymous: 1 }), at("s3.anonymous"), "true or false"],
  [s3({ credentials: { accessKeyId: "a,b" } }), at("s3.credentials.accessKeyId"), "an access key id"],
  [
    s3({ credentials: { accessKeyId: { env: "1" } } }),
    at("s3.credentials.accessKeyId.env"),
    "environment variable",
  ],
  [
    s3({ credentials: { secretAccessKey: "s3cret" } }),
    at("s3.credentials.secretAccessKey"),
    "never the secret itself",
  ],
  [s3({ credentials: { secretAccessKey: 7 } }), at("s3.credentials.secretAccessKey"), "got a number"],
  [s3({ credentials: { sessionToken: { file: 1 } } }), at("s3.credentials.sessionToken.file"), "a path"],
  [
    s3({ credentials: { sessionToken: { file: "a", env: "B" } } }),
    at("s3.credentials.sessionToken"),
    "exactly one",
  ],
  [gcs({ bucket: 1 }), at("gcs.bucket"), "a bucket's name"],
  [gcs({ region: "auto" }), at("gcs.region"), "unknown setting"],
  [gcs({ endpoint: "x" }), at("gcs.endpoint"), "http(s)://"],
  [gcs({ anonymous: "no" }), at("gcs.anonymous"), "true or false"],
  [gcs({ credentials: undefined }), at("gcs.credentials"), '"anonymous": true'],
  [gcs({ anonymous: true }), at("gcs.credentials"), "cannot stand beside anonymous"],
  [
    gcs({ credentials: { accessKeyId: 1, secretAccessKey: REF } }),
    at("gcs.credentials.accessKeyId"),
    "an access key id",
  ],
  [gcs({ credentials: { accessKeyId: "ID" } }), at("gcs.credentials.secretAccessKey"), "is missing"],
  [azure({ account: "Acc" }), at("azure.account"), "3 to 24"],
  [azure({ container: "a--b" }), at("azure.container"), "single -"],
  [azure({ container: "$logs/x" }), at("azure.container"), '"$web"'],
  [azure({ endpoint: "ftp://a" }), at("azure.endpoint"), "http(s)://"],
  [azure({ anonymous: "x" }), at("azure.anonymous"), "true or false"],
  [azure({ credentials: undefined }), at("azure.credentials"), '"anonymous": true'],
  [azure({ credentials: {} }), at("azure.credentials"), 'exactly one of "accountKey" and "sas"'],
  [azure({ credentials: { accountKey: REF, sas: REF } }), at("azure.credentials"), "exactly one of"],
  [azure({ credentials: { accountKey: "s3cret" } }), at("azure.credentials.accountKey"), "never the secret"],
  [azure({ credentials: { sas: "s3cret" } }), at("azure.credentials.sas"), "never the secret"],
  [
    bucketSite(
      { s3: { bucket: "assets", region: "eu-west-1" } },
      { permitted: { secretVariables: ["OTHER"] } },
    ),
    at("s3.credentials.accessKeyId"),
    '"AWS_ACCESS_KEY_ID" is not among permitted.secretVariables',
  ],
];
