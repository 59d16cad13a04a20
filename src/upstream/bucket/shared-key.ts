/**
 * Azure's Shared Key signature for the Blob service ("Authorize with Shared Key", Azure Storage REST API,
 * version 2015-02-21 and later). Pure: the string is made of the request as it is sent.
 */
import { createHmac } from "node:crypto";
import type { FieldReader } from "../../http/fields.ts";

/** A request as far as it is signed. */
export interface SharedKeyRequest {
  readonly method: string;
  /** Path as it is sent, percent-encoded: the signature is over the encoded form. */
  readonly path: string;
  /** Query as it is sent, without the `?`; empty for none. */
  readonly query: string;
  readonly fields: FieldReader;
}

/** Fields with a line of their own, in order. Date's stays empty: x-ms-date stands for it. */
const STANDARD_FIELDS = [
  "content-encoding",
  "content-language",
  "content-length",
  "content-md5",
  "content-type",
  "date",
  "if-modified-since",
  "if-match",
  "if-none-match",
  "if-unmodified-since",
  "range",
] as const;

/** The string to sign. */
export function stringToSign(request: SharedKeyRequest, account: string): string {
  const { fields } = request;
  const standard = STANDARD_FIELDS.map((name) => {
    const value = fields.get(name) ?? "";
    if (name === "content-length" && value === "0") return "";
    return name === "date" && fields.has("x-ms-date") ? "" : value;
  });
  return `${[request.method, ...standard].join("\n")}\n${canonicalFields(fields)}${canonicalResource(request, account)}`;
}

/** The value of Authorization. `key` is the account's key, decoded from Base64. */
export function sharedKeyAuthorization(request: SharedKeyRequest, account: string, key: Uint8Array): string {
  const signature = createHmac("sha256", key).update(stringToSign(request, account)).digest("base64");
  return `SharedKey ${account}:${signature}`;
}

/** Every x-ms- field, sorted by name, white space of its value folded. */
function canonicalFields(fields: FieldReader): string {
  const names = new Set<string>();
  for (const [name] of fields.entries()) if (name.startsWith("x-ms-")) names.add(name);
  return [...names]
    .sort()
    .map((name) => `${name}:${(fields.get(name) ?? "").trim().replace(/\s+/g, " ")}\n`)
    .join("");
}

/** The account, the encoded path, then each parameter decoded: names lower and sorted, values of one name sorted. */
function canonicalResource({ path, query }: SharedKeyRequest, account: string): string {
  const parameters = new Map<string, string[]>();
  for (const parameter of query === "" ? [] : query.split("&")) {
    const equals = parameter.indexOf("=");
    const name = decodeURIComponent(equals < 0 ? parameter : parameter.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? "" : decodeURIComponent(parameter.slice(equals + 1));
    const known = parameters.get(name);
    if (known === undefined) parameters.set(name, [value]);
    else known.push(value);
  }
  const lines = [...parameters.keys()]
    .sort()
    .map((name) => `\n${name}:${parameters.get(name)?.sort().join(",")}`);
  return `/${account}${path}${lines.join("")}`;
}
