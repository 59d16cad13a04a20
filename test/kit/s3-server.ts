/**
 * A store that speaks S3's protocol and verifies each signature from the request as it was received, after
 * "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" in the Amazon S3 API
 * Reference. It decodes the path as S3 does (a bare + is a space), and encodes it anew for the canonical
 * request: a client that sends one form and signs another is refused.
 */
import {
  answerObject,
  hmac,
  percentEncode,
  type RawRequest,
  type StoreAnswer,
  type StoredObject,
  type StoreServer,
  startStore,
  xmlError,
} from "./store-server.ts";

/** A clock that differs more than this is refused, in milliseconds. */
const SKEW_MS_MAX = 15 * 60 * 1000;

/** The keys that a test's bucket takes. */
export const S3_KEYS = {
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
} as const;

/** How a bucket is set up; a test may change it while it runs. */
export interface S3Setup {
  bucket: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** What X-Amz-Security-Token has to be; null takes none. */
  sessionToken: string | null;
  /** May the client list the bucket, and so be told what is not there? */
  mayList: boolean;
  /** Takes unsigned requests. */
  isPublic: boolean;
  /** Takes a range of the last bytes for one of the first. */
  misreadsSuffixes: boolean;
  /** What asking for the bucket in this place leads to. */
  moved: { readonly status: 301 | 307; readonly region: string } | null;
  /** Answers this in place of anything else. */
  failing: {
    readonly status: number;
    readonly code: string;
    readonly fields?: Record<string, string>;
  } | null;
  readonly objects: Map<string, StoredObject>;
  nowMs: () => number;
}

/** A store with one bucket. */
export interface S3Server extends StoreServer {
  readonly setup: S3Setup;
}

/** Starts a store; its bucket is reached by path and by host. */
export function startS3(options: Partial<S3Setup> = {}): S3Server {
  const setup: S3Setup = {
    bucket: "assets",
    region: "eu-west-1",
    ...S3_KEYS,
    sessionToken: null,
    mayList: true,
    isPublic: false,
    misreadsSuffixes: false,
    moved: null,
    failing: null,
    objects: new Map(),
    nowMs: () => Date.now(),
    ...options,
  };
  const server = startStore(
    (request) => answer(request, setup),
    () => setup.nowMs(),
  );
  return Object.assign(server, { setup });
}

function answer(request: RawRequest, setup: S3Setup): StoreAnswer {
  const vendor = { "x-amz-request-id": "4442587FB7D0A2F9", "x-amz-id-2": "Ab+/c=", server: "AmazonS3" };
  const error = (status: number, code: string, more = "", fields: Record<string, string> = {}) =>
    xmlError(status, code, more, { ...vendor, ...fields });
  const { failing, moved } = setup;
  if (failing !== null) return error(failing.status, failing.code, "", failing.fields);
  const host = request.get("host") ?? "";
  const path = decodeURIComponent(request.path.replaceAll("+", "%20"));
  const byHost = host.startsWith(`${setup.bucket}.`);
  const inPath = path === `/${setup.bucket}` || path.startsWith(`/${setup.bucket}/`);
  if (!byHost && !inPath) return error(404, "NoSuchBucket", "<BucketName>x</BucketName>");
  if (moved !== null) {
    return error(
      moved.status,
      moved.status === 301 ? "PermanentRedirect" : "TemporaryRedirect",
      `<Endpoint>${setup.bucket}.s3.${moved.region}.amazonaws.com</Endpoint><Bucket>${setup.bucket}</Bucket>`,
      {
        ...(moved.status === 301 ? { "x-amz-bucket-region": moved.region } : {}),
        location: `https://${setup.bucket}.s3.${moved.region}.amazonaws.com${request.path}`,
      },
    );
  }
  const refused =
    setup.isPublic && request.get("authorization") === null ? null : verify(request, setup, error);
  if (refused !== null) return refused;
  const key = byHost ? path.slice(1) : path.slice(setup.bucket.length + 2);
  // Amazon's own clients name the operation in x-id, which means nothing.
  if ((request.query !== null && !/^x-id=\w+$/.test(request.query)) || key === "") {
    // The commands in a query: nothing a viewer sends may ever get here.
    return { status: 200, fields: vendor, body: new TextEncoder().encode("<ListBucketResult>") };
  }
  const object = setup.objects.get(key);
  if (object === undefined)
    return setup.mayList ? error(404, "NoSuchKey", `<Key>${"k"}</Key>`) : error(403, "AccessDenied");
  return answerObject(request, object, {
    suffixRanges: true,
    misreadsSuffixes: setup.misreadsSuffixes,
    error,
    fields: {
      ...vendor,
      "x-amz-version-id": "null",
      "x-amz-server-side-encryption": "AES256",
      vary: "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    },
  });
}

type Refuse = (status: number, code: string, more?: string) => StoreAnswer;

/** Null when the signature is that of this request; else what S3 says. */
function verify(request: RawRequest, setup: S3Setup, error: Refuse): StoreAnswer | null {
  const header = request.get("authorization");
  if (header === null) return error(403, "AccessDenied");
  const parsed =
    /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(header);
  if (parsed === null) return error(400, "AuthorizationHeaderMalformed");
  const [, credential = "", signedHeaders = "", signature = ""] = parsed;
  const [id = "", day = "", region = "", service = "", end = "", ...rest] = credential.split("/");
  const date = request.get("x-amz-date") ?? "";
  if (region !== setup.region || service !== "s3" || end !== "aws4_request" || rest.length > 0) {
    return error(400, "AuthorizationHeaderMalformed", `<Region>${setup.region}</Region>`);
  }
  if (id !== setup.accessKeyId) return error(403, "InvalidAccessKeyId");
  if (!/^\d{8}T\d{6}Z$/.test(date) || !date.startsWith(day)) return error(403, "SignatureDoesNotMatch");
  const atMs = Date.parse(date.replace(/(....)(..)(..)T(..)(..)(..)Z/, "$1-$2-$3T$4:$5:$6Z"));
  if (Math.abs(atMs - setup.nowMs()) > SKEW_MS_MAX) {
    const server = new Date(setup.nowMs()).toISOString();
    return error(403, "RequestTimeTooSkewed", `<ServerTime>${server}</ServerTime>`);
  }
  const token = request.get("x-amz-security-token");
  if (token !== setup.sessionToken) return error(400, token === null ? "InvalidToken" : "ExpiredToken");
  const signed = signedHeaders.split(";");
  // Host and every x-amz- field must be signed; the rest may be, or not.
  const must = new Set([
    "host",
    ...request.lines.map(([name]) => name).filter((name) => name.startsWith("x-amz-")),
  ]);
  if ([...must].some((name) => !signed.includes(name)) || signed.join() !== [...signed].sort().join()) {
    return error(403, "AccessDenied", "<HeadersNotSigned>x</HeadersNotSigned>");
  }
  const canonical = [
    request.method,
    percentEncode(decodeURIComponent(request.path.replaceAll("+", "%20"))).replaceAll("%2F", "/"),
    canonicalQuery(request.query ?? ""),
    ...signed.map((name) => {
      const values = request.lines.filter(([one]) => one === name).map(([, value]) => value.trim());
      return `${name}:${values.join(",").replace(/ +/g, " ")}`;
    }),
    "",
    signedHeaders,
    request.get("x-amz-content-sha256") ?? "",
  ].join("\n");
  const hash = new Bun.CryptoHasher("sha256").update(canonical).digest("hex");
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${day}/${region}/s3/aws4_request\n${hash}`;
  let key = hmac(`AWS4${setup.secretAccessKey}`, day);
  for (const part of [region, "s3", "aws4_request"]) key = hmac(key, part);
  if (Buffer.from(hmac(key, toSign)).toString("hex") !== signature) {
    return error(403, "SignatureDoesNotMatch", `<CanonicalRequest>${canonical}</CanonicalRequest>`);
  }
  return null;
}

function canonicalQuery(query: string): string {
  if (query === "") return "";
  return query
    .split("&")
    .map((pair) => {
      const [name = "", ...value] = pair.split("=");
      return `${percentEncode(decodeURIComponent(name))}=${percentEncode(decodeURIComponent(value.join("=")))}`;
    })
    .sort()
    .join("&");
}
