/** Refusals as the S3 API says them: a code that clients switch on, a sentence, a status. */
import { randomUUID } from "node:crypto";
import type { SigV4Fault } from "../../http/sigv4/verify.ts";
import type { StorageResponse } from "../message.ts";
import type { StorageError, StorageFault } from "../storage-error.ts";
import { xmlAnswer } from "./xml.ts";

const CODES: Readonly<Record<StorageFault, readonly [status: number, code: string]>> = {
  bad_request: [400, "InvalidRequest"],
  bad_path: [400, "InvalidArgument"],
  no_zone: [404, "NoSuchBucket"],
  no_file: [404, "NoSuchKey"],
  no_upload: [404, "NoSuchUpload"],
  too_large: [400, "EntityTooLarge"],
  too_many: [400, "InvalidArgument"],
  cut_short: [400, "IncompleteBody"],
  checksum_mismatch: [400, "BadDigest"],
  bad_signature: [403, "SignatureDoesNotMatch"],
  precondition: [412, "PreconditionFailed"],
  bad_part: [400, "InvalidPart"],
  part_too_small: [400, "EntityTooSmall"],
  not_implemented: [501, "NotImplemented"],
  unavailable: [503, "ServiceUnavailable"],
};

const SIGNATURES: Readonly<Record<SigV4Fault, readonly [status: number, code: string, message: string]>> = {
  unsigned: [403, "AccessDenied", "The request is not signed."],
  malformed: [400, "AuthorizationHeaderMalformed", "The signature can not be read."],
  other_service: [
    400,
    "AuthorizationHeaderMalformed",
    'The scope of the signature has to be for the service "s3".',
  ],
  unknown_key: [403, "InvalidAccessKeyId", "The access key is not known, has expired, or was revoked."],
  skewed: [
    403,
    "RequestTimeTooSkewed",
    "The request was signed at a time that is too far from the server's.",
  ],
  expired: [403, "AccessDenied", "Request has expired."],
  field_unsigned: [403, "AccessDenied", "Host and every x-amz- field have to be signed."],
  mismatch: [403, "SignatureDoesNotMatch", "The signature is not that of this request and this access key."],
};

/** A failed operation. */
export function s3Error(error: StorageError, resource: string): StorageResponse {
  const [status, code] = CODES[error.code];
  return s3Refusal(status, code, error.message, resource);
}

/** A signature that is not taken. */
export function s3SignatureError(fault: SigV4Fault, resource: string): StorageResponse {
  const [status, code, message] = SIGNATURES[fault];
  return s3Refusal(status, code, message, resource);
}

/** Any refusal. */
export function s3Refusal(
  status: number,
  code: string,
  message: string,
  resource: string,
  fields: Readonly<Record<string, string>> = {},
): StorageResponse {
  const id = randomUUID();
  return xmlAnswer(
    status,
    "Error",
    [
      ["Code", code],
      ["Message", message],
      ["Resource", resource.replace(/[^\x20-\x7e]/g, "?").slice(0, 1_024)],
      ["RequestId", id],
    ],
    { "x-amz-request-id": id, ...fields },
  );
}
