/** The schema of origins that are storage buckets: where they are, who asks, and how paths become keys. */
import * as z from "zod";
import { connection } from "./connection-schema.ts";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

const METADATA_MAX = 50;

/** What all buckets have, beside where they are. */
const common = {
  keyPrefix: v.keyPrefix
    .optional()
    .describe("Folder in the bucket that paths begin at. Left out: the bucket itself."),
  index: v.documentName
    .optional()
    .describe(
      'Document that answers for a path ending in "/", such as "index.html"; a path without that "/" is redirected to it. Left out: none.',
    ),
  errorDocument: v.documentName
    .optional()
    .describe("Object whose content is sent with a 403 or 404. Left out: a line of text."),
  deniedAsMissing: z
    .boolean()
    .prefault(false)
    .describe(
      "Answers 404 where the store denies access (403): so it does for missing objects to whom may not list the bucket.",
    ),
  metadata: z
    .array(v.ruleFieldName)
    .max(METADATA_MAX)
    .prefault([])
    .describe(
      "Entries of an object's own metadata that are given on as fields of the answer, such as surrogate-key.",
    ),
  ...connection,
};

const anonymous = z
  .boolean()
  .prefault(false)
  .describe("Sends no credentials, to a bucket that anybody may read.");

const ID_TEXT = "The access key's id, or where it stands.";
const SECRET_TEXT = "Where the secret of the access key stands.";

const s3Origin = z
  .strictObject({
    s3: z
      .strictObject({
        bucket: v.bucketName.describe("The bucket's name."),
        region: v.region.describe("The bucket's region, as its store calls it."),
        endpoint: v.originUrl.optional().describe("URL of a store other than Amazon's, without the bucket."),
        addressing: z
          .enum(["auto", "path", "virtual-host"])
          .prefault("auto")
          .describe(
            'Where the bucket stands in a URL: in the path or before the host. "auto": before Amazon\'s host, unless its name has a dot, and in the path of any other endpoint.',
          ),
        anonymous,
        credentials: z
          .strictObject({
            accessKeyId: v.accessKeyId.prefault({ env: "AWS_ACCESS_KEY_ID" }).describe(ID_TEXT),
            secretAccessKey: v.secretRef.prefault({ env: "AWS_SECRET_ACCESS_KEY" }).describe(SECRET_TEXT),
            sessionToken: v.secretRef
              .optional()
              .describe(
                "Where the token of temporary credentials stands. Left out: in AWS_SESSION_TOKEN, if that is set and accessKeyId stands in AWS_ACCESS_KEY_ID.",
              ),
          })
          .register(typeNames, { name: "S3CredentialsInput" })
          .prefault({})
          .describe("Who asks."),
      })
      .register(typeNames, { name: "S3Input" })
      .describe("A bucket of Amazon S3, or of a store that speaks its protocol."),
    ...common,
  })
  .register(typeNames, { name: "S3OriginInput" });

const gcsOrigin = z
  .strictObject({
    gcs: z
      .strictObject({
        bucket: v.bucketName.describe("The bucket's name."),
        endpoint: v.originUrl
          .prefault("https://storage.googleapis.com")
          .describe("URL of the store's XML interface, without the bucket."),
        anonymous,
        credentials: z
          .strictObject({
            accessKeyId: v.accessKeyId.describe(ID_TEXT),
            secretAccessKey: v.secretRef.describe(SECRET_TEXT),
          })
          .register(typeNames, { name: "HmacKeyInput" })
          .optional()
          .describe("An HMAC key. Required unless anonymous."),
      })
      .register(typeNames, { name: "GcsInput" })
      .describe("A bucket of Google Cloud Storage."),
    ...common,
  })
  .register(typeNames, { name: "GcsOriginInput" });

const azureOrigin = z
  .strictObject({
    azure: z
      .strictObject({
        account: v.accountName.describe("The storage account."),
        container: v.containerName.describe("The container's name."),
        endpoint: v.originUrl
          .optional()
          .describe("URL of the Blob service. Left out: https://ACCOUNT.blob.core.windows.net."),
        anonymous,
        credentials: z
          .strictObject({
            accountKey: v.secretRef.optional().describe("Where the account's key (Base64) stands."),
            sas: v.secretRef
              .optional()
              .describe(
                "Where a shared access signature stands, with the right to read the container's blobs.",
              ),
          })
          .register(typeNames, { name: "AzureCredentialsInput" })
          .optional()
          .describe("Who asks: one of the two. Required unless anonymous."),
      })
      .register(typeNames, { name: "AzureInput" })
      .describe("A container of Azure Blob Storage."),
    ...common,
  })
  .register(typeNames, { name: "AzureOriginInput" });

/** The forms of an origin that is a bucket. */
export const bucketOrigins = [s3Origin, gcsOrigin, azureOrigin] as const;
