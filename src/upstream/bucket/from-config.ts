/** From the config of a bucket to the store that is asked: its place, its protocol and its credentials. */
import type { Clock } from "../../base/clock.ts";
import type { BucketConfig } from "../../config/schema.ts";
import {
  HeldCredentials,
  type ReadSecret,
  readAccountKey,
  readSas,
  readSigV4Credentials,
} from "./credentials.ts";
import { encodeKey } from "./object-key.ts";
import { AzureService, type BucketService, SigV4Service } from "./service.ts";

/** The store of a bucket, its credentials read. Rejects with a ProximaError when they can not be used. */
export async function bucketService(
  config: BucketConfig,
  read: ReadSecret,
  clock: Clock,
): Promise<BucketService> {
  const url = new URL(storeUrl(config));
  // What stands in a path is signed in one form (a store encodes it anew), so it is sent in that form.
  const path = encodeKey(decodeURIComponent(url.pathname)).replace(/\/+$/, "");
  const place = { authority: url.host, pathPrefix: `${path}/` };
  if ("azure" in config) {
    const { account, container, anonymous, credentials } = config.azure;
    const { accountKey, sas } = credentials ?? {};
    const readAll = () =>
      accountKey === undefined ? readSas(sas ?? missing(), read) : readAccountKey(accountKey, read);
    return new AzureService({
      ...place,
      label: `the Azure container "${account}/${container}"`,
      account,
      credentials: anonymous ? null : await HeldCredentials.from(readAll, clock),
    });
  }
  if ("gcs" in config) {
    const { bucket, anonymous, credentials } = config.gcs;
    const readAll = () =>
      readSigV4Credentials(
        { ...(credentials ?? missing()), sessionToken: null, sessionTokenOptional: false },
        read,
      );
    return new SigV4Service({
      ...place,
      label: `the Google Cloud Storage bucket "${bucket}"`,
      // Google takes any region in the scope of an HMAC key's signature ("Signatures", XML API).
      region: "auto",
      metadataPrefix: "x-goog-meta-",
      credentials: anonymous ? null : await HeldCredentials.from(readAll, clock),
    });
  }
  const { bucket, region, anonymous, credentials } = config.s3;
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const usual =
    typeof accessKeyId !== "string" && "env" in accessKeyId && accessKeyId.env === "AWS_ACCESS_KEY_ID";
  const refs = {
    accessKeyId,
    secretAccessKey,
    sessionToken: sessionToken ?? (usual ? { env: "AWS_SESSION_TOKEN" } : null),
    sessionTokenOptional: sessionToken === undefined,
  };
  return new SigV4Service({
    ...place,
    label: `the S3 bucket "${bucket}"`,
    region,
    metadataPrefix: "x-amz-meta-",
    credentials: anonymous ? null : await HeldCredentials.from(() => readSigV4Credentials(refs, read), clock),
  });
}

/** URL that keys are put behind. */
export function storeUrl(config: BucketConfig): string {
  if ("azure" in config) {
    const { account, container, endpoint } = config.azure;
    return below(endpoint ?? `https://${account}.blob.core.windows.net`, container);
  }
  if ("gcs" in config) return below(config.gcs.endpoint, config.gcs.bucket);
  const { bucket, region, endpoint, addressing } = config.s3;
  const inHost =
    addressing === "auto" ? endpoint === undefined && !bucket.includes(".") : addressing !== "path";
  // Amazon's partition in China has a domain of its own.
  const amazon = `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  const store = endpoint ?? amazon;
  return inHost ? store.replace("://", `://${bucket.toLowerCase()}.`) : below(store, bucket);
}

function below(url: string, name: string): string {
  return `${url.replace(/\/+$/, "")}/${name}`;
}

/** What the config's checks have refused before. */
function missing(): never {
  throw new Error("assertion failed: a bucket without credentials is anonymous");
}
