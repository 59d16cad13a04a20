/**
 * What a store's refusal means. That an object is not there, or not for us, is an answer that viewers get;
 * everything else (a wrong key, clock, region or bucket) is a fault of the setup: it must not be stored as
 * the answer, and its operator must be told what to change.
 */
import { parseHttpDate } from "../../http/date.ts";
import type { FieldReader } from "../../http/fields.ts";
import type { ErrorBody } from "./error-body.ts";

/** What a refusal is about; the subjects of the last form are told apart so that each is logged. */
export type Refusal =
  | { readonly kind: "missing" }
  | { readonly kind: "denied" }
  | { readonly kind: "fault"; readonly subject: FaultSubject; readonly text: string };

/** What is wrong with the setup. */
export type FaultSubject = "clock" | "credentials" | "region" | "bucket" | "request";

/** A refusal as received. */
export interface RefusedResponse {
  readonly status: number;
  readonly fields: FieldReader;
  readonly error: ErrorBody;
}

const BUCKET_CODES: ReadonlySet<string> = new Set([
  "NoSuchBucket",
  "ContainerNotFound",
  "ContainerBeingDeleted",
  "ContainerDisabled",
  "AccountIsDisabled",
  "AllAccessDisabled",
]);

const CLOCK_CODES: ReadonlySet<string> = new Set(["RequestTimeTooSkewed", "RequestExpired"]);

const CREDENTIAL_CODES: ReadonlySet<string> = new Set([
  "AuthenticationFailed",
  "AuthorizationFailure",
  "ExpiredToken",
  "InvalidAccessKeyId",
  "InvalidAuthenticationInfo",
  "InvalidSecurity",
  "InvalidToken",
  "KeyBasedAuthenticationNotPermitted",
  "NoAuthenticationInformation",
  "SignatureDoesNotMatch",
  "TokenRefreshRequired",
  "UnauthorizedAccess",
]);

/** 403s that are about this object or our rights to it. */
const DENIED_CODES: ReadonlySet<string> = new Set([
  "AccessDenied",
  "AuthorizationPermissionMismatch",
  "BlobArchived",
  "InsufficientAccountPermissions",
  "InvalidObjectState",
]);

/** The code, from the body or, in Azure, from a field that also an answer to HEAD has. */
export function codeOf({ fields, error }: RefusedResponse): string | null {
  const field = fields.get("x-ms-error-code");
  return error.code ?? (field !== null && /^[A-Za-z]{1,100}$/.test(field) ? field : null);
}

/** Does the store not take who we say we are? Other credentials may be there by now. */
export function refusesCredentials(refused: RefusedResponse): boolean {
  const code = codeOf(refused);
  return code === null ? refused.status === 401 : CREDENTIAL_CODES.has(code);
}

/** Reads a refusal: a status from 300 to 499 that is no 304, 412 and 416. `nowMs` is this node's time. */
export function refusalOf(refused: RefusedResponse, nowMs: number): Refusal {
  const { status, fields, error } = refused;
  const code = codeOf(refused);
  const fault = (subject: FaultSubject, text: string): Refusal => ({
    kind: "fault",
    subject,
    text: `${text}${detailsOf(refused, code)}`,
  });
  // Answers to HEAD have no body, but S3 names the region in a field.
  const region = error.region ?? fields.get("x-amz-bucket-region");
  if (
    (status < 400 || code === "AuthorizationHeaderMalformed") &&
    (region !== null || error.endpoint !== null)
  ) {
    const text =
      region === null
        ? `the bucket is at ${JSON.stringify(error.endpoint)}: set its region, or its endpoint, to that`
        : `the bucket is in the region ${JSON.stringify(region)}: set its region to that`;
    return fault("region", text);
  }
  if (code !== null && BUCKET_CODES.has(code))
    return fault("bucket", "there is no such bucket, or it is closed");
  const isTime = /date header (?:too old|is too|not valid)/i.test(error.detail ?? "");
  if (isTime || (code !== null && CLOCK_CODES.has(code))) {
    return fault(
      "clock",
      `the request's time was not taken${skewOf(refused, nowMs)}: set this node's clock right`,
    );
  }
  if (refusesCredentials(refused)) return fault("credentials", "the credentials were not taken");
  if (status === 404 || status === 410) return { kind: "missing" };
  if (code === null ? status === 403 : DENIED_CODES.has(code)) return { kind: "denied" };
  return fault("request", `the request was refused with ${status}`);
}

/** ` (Code: its message; request id)`, as far as they are known. */
function detailsOf({ fields, error }: RefusedResponse, code: string | null): string {
  const id =
    fields.get("x-amz-request-id") ?? fields.get("x-ms-request-id") ?? fields.get("x-guploader-uploadid");
  const said = [code, error.message].filter((part) => part !== null).join(": ");
  const parts = [
    ...(said === "" ? [] : [said]),
    ...(id !== null && /^[\w+/=-]{1,200}$/.test(id) ? [`request ${id}`] : []),
  ];
  return parts.length === 0 ? "" : ` (${parts.join("; ")})`;
}

/** By how much this node's clock is off, as far as the store's answer tells. */
function skewOf({ fields, error }: RefusedResponse, nowMs: number): string {
  const serverMs = parseHttpDate(fields.get("date")) ?? Date.parse(error.serverTime ?? "");
  if (Number.isNaN(serverMs)) return "";
  const seconds = Math.round((nowMs - serverMs) / 1000);
  if (Math.abs(seconds) < 60) return "";
  const minutes = Math.round(Math.abs(seconds) / 60);
  return `: this node's clock is ${minutes} minute${minutes === 1 ? "" : "s"} ${seconds > 0 ? "ahead of" : "behind"} the store's`;
}
