/**
 * AWS Signature Version 4 in the Authorization field, as S3 and the stores that speak its protocol verify
 * it ("Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference). Pure: what is signed
 * is exactly what is sent, and time is an argument.
 */
import { createHash, createHmac } from "node:crypto";

/** Whose signature it is. */
export interface SigV4Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials; null for those of a user. */
  readonly sessionToken: string | null;
}

/** Where a signature is valid. */
export interface SigV4Scope {
  readonly region: string;
  readonly service: string;
}

/** A request as far as it is signed. */
export interface SigV4Request {
  readonly method: string;
  /** Path as it is sent: percent-encoded once, and not normalised (S3 does neither again). */
  readonly path: string;
  /** Query as it is sent, without the `?`; empty for none. */
  readonly query: string;
  /** Fields to sign: names in lower case, Host among them. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** SHA-256 of the body in hexadecimal, or UNSIGNED-PAYLOAD. */
  readonly payloadHash: string;
}

/** SHA-256 of an empty body. */
export const EMPTY_PAYLOAD_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM = "AWS4-HMAC-SHA256";

/** A time in the form of X-Amz-Date, `20130524T000000Z`; its first eight characters are the scope's date. */
export function amzDate(ms: number): string {
  return new Date(Math.floor(ms / 1000) * 1000).toISOString().replace(/[-:]|\.000/g, "");
}

/** "UriEncode": every byte of UTF-8 but the unreserved characters of RFC 3986 section 2.3, in capitals. */
export function uriEncode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** The canonical request, and the names that it signs. */
export function canonicalRequest(request: SigV4Request): { text: string; signedFields: string } {
  const values = new Map<string, string[]>();
  for (const [name, value] of request.fields) {
    const plain = value.trim().replace(/ {2,}/g, " ");
    const known = values.get(name);
    if (known === undefined) values.set(name, [plain]);
    else known.push(plain);
  }
  const names = [...values.keys()].sort();
  const signedFields = names.join(";");
  const lines = names.map((name) => `${name}:${values.get(name)?.join(",")}\n`).join("");
  const { method, path, query, payloadHash } = request;
  return {
    text: `${method}\n${path}\n${canonicalQuery(query)}\n${lines}\n${signedFields}\n${payloadHash}`,
    signedFields,
  };
}

/** The string to sign of a canonical request at `date` (of amzDate). */
export function stringToSign(canonical: string, date: string, scope: SigV4Scope): string {
  const hash = createHash("sha256").update(canonical).digest("hex");
  return `${ALGORITHM}\n${date}\n${scopeText(date, scope)}\n${hash}`;
}

/** The key of one day, region and service; `date` is of amzDate. */
export function signingKey(secretAccessKey: string, date: string, scope: SigV4Scope): Uint8Array {
  const ofDay = hmac(`AWS4${secretAccessKey}`, date.slice(0, 8));
  return hmac(hmac(hmac(ofDay, scope.region), scope.service), "aws4_request");
}

/** The value of Authorization. `key` is the signing key of the date's day. */
export function authorization(
  request: SigV4Request,
  accessKeyId: string,
  key: Uint8Array,
  date: string,
  scope: SigV4Scope,
): string {
  const { text, signedFields } = canonicalRequest(request);
  const signature = Buffer.from(hmac(key, stringToSign(text, date, scope))).toString("hex");
  const credential = `${accessKeyId}/${scopeText(date, scope)}`;
  return `${ALGORITHM} Credential=${credential}, SignedHeaders=${signedFields}, Signature=${signature}`;
}

function scopeText(date: string, { region, service }: SigV4Scope): string {
  return `${date.slice(0, 8)}/${region}/${service}/aws4_request`;
}

/** Parameters encoded anew and sorted by name, then value; one without a `=` has an empty value. */
function canonicalQuery(query: string): string {
  if (query === "") return "";
  return query
    .split("&")
    .map((parameter) => {
      const equals = parameter.indexOf("=");
      const name = equals < 0 ? parameter : parameter.slice(0, equals);
      const value = equals < 0 ? "" : parameter.slice(equals + 1);
      return [uriEncode(decodeURIComponent(name)), uriEncode(decodeURIComponent(value))] as const;
    })
    .sort(([a, x], [b, y]) => order(a, b) || order(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function hmac(key: string | Uint8Array, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}
