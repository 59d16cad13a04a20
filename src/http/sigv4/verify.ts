/**
 * The other side of AWS Signature Version 4: is a request that was received the one that somebody signed?
 * Both forms are read, the Authorization field ("Authenticating Requests: Using the Authorization Header")
 * and the query of a presigned URL ("Using Query Parameters", both Amazon S3 API Reference). What is signed
 * is taken from the request's own list of signed fields, never from a list of ours: clients differ. The
 * region of the scope is the client's affair; the service is not. Pure: the time is an argument.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { canonicalRequest, type SigV4Scope, signingKey, stringToSign, uriEncode } from "./sign.ts";

/** A clock that differs by more is refused, in milliseconds (Amazon S3: RequestTimeTooSkewed). */
export const SKEW_MS_MAX = 15 * 60 * 1_000;
/** Longest life of a presigned URL, in seconds. */
export const PRESIGNED_SECONDS_MAX = 604_800;
/** Longest Authorization field, and most names that it may list. */
const AUTHORIZATION_CHARS_MAX = 4_096;
const SIGNED_FIELDS_MAX = 100;
const QUERY_CHARS_MAX = 16_384;

/** A request as it came. */
export interface ReceivedRequest {
  readonly method: string;
  /** Path as it was received, still encoded. */
  readonly path: string;
  /** Query as it was received, without the `?`; empty for none. */
  readonly query: string;
  /** The combined value of a field by its name in lower case; null when it is not there. */
  field(name: string): string | null;
  /** Names of all fields, in lower case. */
  readonly fieldNames: readonly string[];
}

/** Why a signature is not taken. A closed list: each API says it in its own words. */
export type SigV4Fault =
  /** There is none. */
  | "unsigned"
  /** It can not be read, or asks for what is not known. */
  | "malformed"
  /** The scope names another service. */
  | "other_service"
  /** Nobody has this access key, or it is not good any more. */
  | "unknown_key"
  /** The request was signed too long ago, or in the future. */
  | "skewed"
  /** A presigned URL is over. */
  | "expired"
  /** Host or a field of the protocol is not among the signed ones. */
  | "field_unsigned"
  /** It is that of another request, or of another secret. */
  | "mismatch";

/** What the body is protected by. */
export type PayloadProtection =
  /** The hash of the whole body, in hexadecimal. */
  | { readonly kind: "hash"; readonly hash: string }
  | { readonly kind: "unsigned" }
  /** In chunks (aws-chunked), each signed or not, with trailers or without. */
  | { readonly kind: "chunks"; readonly signed: boolean; readonly trailers: boolean };

/** A signature as a request presents it, not yet checked. */
export interface PresentedSignature {
  readonly form: "header" | "query";
  readonly accessKeyId: string;
  /** As in X-Amz-Date. */
  readonly date: string;
  readonly dateMs: number;
  /** Of a presigned URL, in seconds; null in a field. */
  readonly expiresSeconds: number | null;
  readonly scope: SigV4Scope;
  readonly signedFields: readonly string[];
  readonly signature: string;
  readonly payloadHash: string | null;
}

/** What goes on after a good signature: the chunks of a body hang on it. */
export interface VerifiedSignature {
  readonly accessKeyId: string;
  readonly payload: PayloadProtection;
  readonly seed: {
    readonly signature: string;
    readonly key: Uint8Array;
    readonly date: string;
    readonly scope: SigV4Scope;
  };
}

const ALGORITHM = "AWS4-HMAC-SHA256";
const DATE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;
const PROTECTIONS: Readonly<Record<string, PayloadProtection>> = {
  "UNSIGNED-PAYLOAD": { kind: "unsigned" },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": { kind: "chunks", signed: true, trailers: false },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": { kind: "chunks", signed: true, trailers: true },
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER": { kind: "chunks", signed: false, trailers: true },
};

/** Reads the signature that a request presents. */
export function readSigV4(request: ReceivedRequest): PresentedSignature | SigV4Fault {
  if (request.query.length > QUERY_CHARS_MAX) return "malformed";
  const parameters = request.query.includes("X-Amz-")
    ? parametersOf(request.query)
    : new Map<string, string>();
  if (parameters === null) return "malformed";
  const header = request.field("authorization");
  const inQuery = parameters.has("X-Amz-Signature") || parameters.has("X-Amz-Algorithm");
  // S3: "only one auth mechanism allowed".
  if (inQuery) return header === null ? readQuery(request, parameters) : "malformed";
  return header === null ? "unsigned" : readField(request, header);
}

/**
 * Checks a presented signature. `secret` is that of its access key, null when nobody has it: the answer then
 * takes as long. `bodyHash` is the body's SHA-256 for APIs whose clients may leave x-amz-content-sha256 out.
 */
export function verifySigV4(
  request: ReceivedRequest,
  presented: PresentedSignature,
  secret: string | null,
  options: { readonly service: string; readonly nowMs: number; readonly bodyHash?: string },
): VerifiedSignature | SigV4Fault {
  const { form, date, dateMs, expiresSeconds, scope, signedFields } = presented;
  if (scope.service !== options.service) return "other_service";
  const ageMs = options.nowMs - dateMs;
  if (ageMs < -SKEW_MS_MAX) return "skewed";
  if (expiresSeconds === null ? ageMs > SKEW_MS_MAX : ageMs > expiresSeconds * 1_000)
    return expiresSeconds === null ? "skewed" : "expired";
  if (!signedFields.includes("host")) return "field_unsigned";
  for (const name of request.fieldNames)
    if (name.startsWith("x-amz-") && !signedFields.includes(name) && !isFreeField(name, form))
      return "field_unsigned";
  const payloadHash = presented.payloadHash ?? options.bodyHash ?? null;
  const payload = payloadHash === null ? null : protectionOf(payloadHash);
  if (payloadHash === null || payload === null) return "malformed";
  // What a client left out of the field it has not told us a hash of: the body is what we saw it to be.
  if (
    presented.payloadHash !== null &&
    options.bodyHash !== undefined &&
    payload.kind === "hash" &&
    payload.hash !== options.bodyHash
  )
    return "mismatch";
  const fields: [string, string][] = [];
  for (const name of signedFields) {
    const value = request.field(name);
    if (value === null) return "mismatch";
    fields.push([name, value]);
  }
  const query = form === "query" ? withoutSignature(request.query) : request.query;
  const key = signingKey(secret ?? "", date, scope);
  let matches = false;
  for (const path of pathsOf(request.path, scope.service)) {
    const text = canonicalText({ method: request.method, path, query, fields, payloadHash });
    if (text === null) return "malformed";
    const expected = hmac(key, stringToSign(text, date, scope));
    if (timingSafeEqual(expected, Buffer.from(presented.signature, "hex"))) matches = true;
  }
  if (secret === null) return "unknown_key";
  if (!matches) return "mismatch";
  return {
    accessKeyId: presented.accessKeyId,
    payload,
    seed: { signature: presented.signature, key, date, scope },
  };
}

/** A presigned URL may be fetched by a browser's script that tells its payload's hash; the URL alone decides. */
function isFreeField(name: string, form: "header" | "query"): boolean {
  return form === "query" && name === "x-amz-content-sha256";
}

function readField(request: ReceivedRequest, header: string): PresentedSignature | SigV4Fault {
  if (header.length > AUTHORIZATION_CHARS_MAX) return "malformed";
  const space = header.indexOf(" ");
  if (header.slice(0, space) !== ALGORITHM) return "malformed";
  const parts = new Map<string, string>();
  for (const part of header.slice(space + 1).split(",")) {
    const [name = "", ...rest] = part.trim().split("=");
    if (parts.has(name)) return "malformed";
    parts.set(name, rest.join("="));
  }
  const date = request.field("x-amz-date") ?? amzDateOf(request.field("date"));
  return presentedOf("header", {
    credential: parts.get("Credential"),
    signedFields: parts.get("SignedHeaders"),
    signature: parts.get("Signature"),
    date,
    expires: null,
    payloadHash: request.field("x-amz-content-sha256"),
  });
}

function readQuery(
  request: ReceivedRequest,
  parameters: ReadonlyMap<string, string>,
): PresentedSignature | SigV4Fault {
  if (parameters.get("X-Amz-Algorithm") !== ALGORITHM) return "malformed";
  const expires = parameters.get("X-Amz-Expires");
  if (
    expires === undefined ||
    !/^\d{1,6}$/.test(expires) ||
    Number(expires) < 1 ||
    Number(expires) > PRESIGNED_SECONDS_MAX
  )
    return "malformed";
  const listed = parameters.get("X-Amz-SignedHeaders")?.split(";") ?? [];
  return presentedOf("query", {
    credential: parameters.get("X-Amz-Credential"),
    signedFields: parameters.get("X-Amz-SignedHeaders"),
    signature: parameters.get("X-Amz-Signature"),
    date: parameters.get("X-Amz-Date") ?? null,
    expires: Number(expires),
    // Of the field only where it was signed: else anybody who has the URL could change what it allows.
    payloadHash:
      parameters.get("X-Amz-Content-Sha256") ??
      (listed.includes("x-amz-content-sha256") ? request.field("x-amz-content-sha256") : null) ??
      "UNSIGNED-PAYLOAD",
  });
}

function presentedOf(
  form: "header" | "query",
  raw: {
    readonly credential: string | undefined;
    readonly signedFields: string | undefined;
    readonly signature: string | undefined;
    readonly date: string | null;
    readonly expires: number | null;
    readonly payloadHash: string | null;
  },
): PresentedSignature | SigV4Fault {
  const { credential, signedFields, signature, date } = raw;
  if (credential === undefined || signedFields === undefined || signature === undefined || date === null)
    return "malformed";
  const [accessKeyId = "", day = "", region = "", service = "", end = "", ...more] = credential.split("/");
  const at = DATE.exec(date);
  const names = signedFields.split(";");
  if (
    !/^\w{1,128}$/.test(accessKeyId) ||
    more.length > 0 ||
    end !== "aws4_request" ||
    at === null ||
    day !== date.slice(0, 8) ||
    !/^[\w-]{0,64}$/.test(region) ||
    !/^[\w-]{1,64}$/.test(service) ||
    !/^[0-9a-f]{64}$/.test(signature) ||
    names.length > SIGNED_FIELDS_MAX ||
    new Set(names).size !== names.length ||
    names.some((name) => !/^[!#$%&'*+.^_`|~0-9a-z-]{1,128}$/.test(name))
  )
    return "malformed";
  const [, year, month, dayOfMonth, hour, minute, second] = at.map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    form,
    accessKeyId,
    date,
    dateMs: Date.UTC(year, month - 1, dayOfMonth, hour, minute, second),
    expiresSeconds: raw.expires,
    scope: { region, service },
    signedFields: names,
    signature,
    payloadHash: raw.payloadHash,
  };
}

/** Null for a value that is none. */
function protectionOf(payloadHash: string): PayloadProtection | null {
  if (/^[0-9a-f]{64}$/.test(payloadHash)) return { kind: "hash", hash: payloadHash };
  return Object.hasOwn(PROTECTIONS, payloadHash) ? (PROTECTIONS[payloadHash] ?? null) : null;
}

/**
 * The forms in which a client may have signed the path: S3 encodes once, every other service once more. A
 * path that was encoded in another way than AWS's own clients do is taken in that way, too.
 */
function pathsOf(path: string, service: string): readonly string[] {
  if (service !== "s3") return [uriEncode(path).replaceAll("%2F", "/"), path];
  try {
    const encoded = uriEncode(decodeURIComponent(path)).replaceAll("%2F", "/");
    // An encoded slash is part of a name, and stays encoded in what was signed.
    return /%2f/i.test(path) || encoded === path ? [path] : [encoded, path];
  } catch {
    return [path];
  }
}

/** Null when the query is not percent-encoded UTF-8. */
function canonicalText(request: Parameters<typeof canonicalRequest>[0]): string | null {
  try {
    return canonicalRequest(request).text;
  } catch {
    return null;
  }
}

function withoutSignature(query: string): string {
  return query
    .split("&")
    .filter((parameter) => !parameter.startsWith("X-Amz-Signature="))
    .join("&");
}

/** Parameters by name; null when one of the signature's stands twice, or is not encoded well. */
function parametersOf(query: string): Map<string, string> | null {
  const found = new Map<string, string>();
  for (const parameter of query.split("&")) {
    const equals = parameter.indexOf("=");
    const name = equals < 0 ? parameter : parameter.slice(0, equals);
    if (!name.startsWith("X-Amz-")) continue;
    if (found.has(name)) return null;
    try {
      found.set(name, equals < 0 ? "" : decodeURIComponent(parameter.slice(equals + 1)));
    } catch {
      return null;
    }
  }
  return found;
}

/** A Date field as X-Amz-Date says it: what a client without that field signs by. */
function amzDateOf(date: string | null): string | null {
  const ms = date === null ? Number.NaN : Date.parse(date);
  return Number.isNaN(ms) ? null : new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, "");
}

/** The signature of one chunk of an aws-chunked body, in hexadecimal ("Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks"). */
export function chunkSignature(seed: VerifiedSignature["seed"], previous: string, chunkHash: string): string {
  return partSignature(seed, "AWS4-HMAC-SHA256-PAYLOAD", `${previous}\n${EMPTY_HASH}\n${chunkHash}`);
}

/** The signature of the trailers behind the last chunk; `lines` are theirs, each with a line feed. */
export function trailerSignature(seed: VerifiedSignature["seed"], previous: string, lines: string): string {
  const hash = createHash("sha256").update(lines).digest("hex");
  return partSignature(seed, "AWS4-HMAC-SHA256-TRAILER", `${previous}\n${hash}`);
}

const EMPTY_HASH = createHash("sha256").digest("hex");

function partSignature(
  { key, date, scope }: VerifiedSignature["seed"],
  algorithm: string,
  rest: string,
): string {
  const place = `${date.slice(0, 8)}/${scope.region}/${scope.service}/aws4_request`;
  return hmac(key, `${algorithm}\n${date}\n${place}\n${rest}`).toString("hex");
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
