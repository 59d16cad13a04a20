/**
 * EdgeGrid, the signature of Akamai's clients (EG1-HMAC-SHA256): method, scheme, host, path with its query,
 * the fields that the API wants signed (Fast Purge: none), the hash of a POST's body, and the Authorization
 * field itself up to the signature. The key is made of the time and the client's secret. Pure.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** A clock that differs by more is refused, in milliseconds. */
export const SKEW_MS_MAX = 5 * 60_000;
/** Of a body only so much is hashed; what is larger is not taken. */
const HASHED_BYTES_MAX = 131_072;
const FIELD_CHARS_MAX = 2_048;

/** A request as it came. */
export interface EdgeGridRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** The Host field. */
  readonly host: string;
  readonly pathAndQuery: string;
  readonly body: Uint8Array;
}

/** Why a signature is not taken. */
export type EdgeGridFault = "unsigned" | "malformed" | "skewed" | "body_too_large" | "mismatch";

/** What a request shows, not yet checked. */
export interface PresentedEdgeGrid {
  readonly clientToken: string;
  readonly timestamp: string;
  readonly timeMs: number;
  /** The field up to the signature. */
  readonly unsigned: string;
  readonly signature: Buffer;
}

const FIELD =
  /^(EG1-HMAC-SHA256 client_token=([\w-]{1,128});access_token=[\w-]{1,128};timestamp=((\d{4})(\d\d)(\d\d)T(\d\d):(\d\d):(\d\d)\+0000);nonce=[\w.:-]{1,128};)signature=([A-Za-z0-9+/]{43}=)$/;

/** Reads the Authorization field. */
export function readEdgeGrid(authorization: string | null): PresentedEdgeGrid | EdgeGridFault {
  if (authorization === null) return "unsigned";
  const match = authorization.length > FIELD_CHARS_MAX ? null : FIELD.exec(authorization);
  if (match === null) return "malformed";
  const [, unsigned = "", clientToken = "", timestamp = "", ...more] = match;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = more.slice(0, 6).map(Number);
  return {
    clientToken,
    timestamp,
    timeMs: Date.UTC(year, month - 1, day, hour, minute, second),
    unsigned,
    signature: Buffer.from(more[6] ?? "", "base64"),
  };
}

/** Is it the request that was signed? Null when it is. For an unknown client `secret` is null, and it takes as long. */
export function checkEdgeGrid(
  request: EdgeGridRequest,
  { timestamp, timeMs, unsigned, signature }: PresentedEdgeGrid,
  secret: string | null,
  nowMs: number,
): EdgeGridFault | null {
  if (Math.abs(nowMs - timeMs) > SKEW_MS_MAX) return "skewed";
  if (request.body.length > HASHED_BYTES_MAX) return "body_too_large";
  const hash =
    request.method === "POST" && request.body.length > 0
      ? createHash("sha256").update(request.body).digest("base64")
      : "";
  const text = [request.method, request.scheme, request.host, request.pathAndQuery, "", hash, unsigned].join(
    "\t",
  );
  const key = createHmac("sha256", secret ?? "")
    .update(timestamp)
    .digest("base64");
  const expected = createHmac("sha256", key).update(text).digest();
  const isSame = signature.length === expected.length && timingSafeEqual(signature, expected);
  return isSame && secret !== null ? null : "mismatch";
}
