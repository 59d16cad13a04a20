/**
 * Which fields go to a store, and which come back. To it: conditions and a range, in the one form that all
 * stores understand alike. From it: what an object carries, by name; everything else speaks of the store
 * (x-amz-*, Server, a policy for its own domain) and is left out.
 */
import { isStrong, parseEntityTagList } from "../../http/conditional.ts";
import { parseHttpDate } from "../../http/date.ts";
import { type FieldReader, Fields } from "../../http/fields.ts";
import { ifRangeMatches, parseContentRange } from "../../http/range.ts";
import { parseVary } from "../../http/vary.ts";

/** Fields of a request that go on as they are. */
const SENT = ["accept-encoding", "cdn-loop"] as const;

/** Fields that an object carries, or that are about this one answer. */
const GIVEN: ReadonlySet<string> = new Set([
  "accept-ranges",
  "age",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-length",
  "content-range",
  "content-type",
  "date",
  "etag",
  "expires",
  "last-modified",
]);

const NOT_ON_304 = [
  "accept-ranges",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-length",
  "content-range",
  "content-type",
];

/** What a page that stands for an error keeps: nothing by which it could be taken for the object itself. */
const GIVEN_WITH_ERROR: ReadonlySet<string> = new Set([
  "content-encoding",
  "content-language",
  "content-length",
  "content-type",
  "date",
]);

/** What is asked of an object beside its key. */
export interface ObjectRequest {
  /** Fields to send, range and conditions among them. */
  readonly fields: Fields;
  /** True when a part is asked for. */
  readonly ranged: boolean;
  /** The request's If-Range, for which a condition among the fields stands; null without one. */
  readonly ifRange: string | null;
}

/** What to send for a request. What a store might not understand is left out, and checked on the answer. */
export function objectRequest(
  method: string,
  request: FieldReader,
  options: { readonly suffixRanges: boolean },
): ObjectRequest {
  const { fields } = pageRequest(request);
  // One validator for each direction: stores disagree on what two of them together mean (RFC 9110 section 13.2.2).
  if (!copyTag(request, fields, "if-none-match"))
    copyDate(request, fields, "if-modified-since", "if-none-match");
  if (!copyTag(request, fields, "if-match")) copyDate(request, fields, "if-unmodified-since", "if-match");
  const range = method === "GET" ? singleRange(request.get("range"), options.suffixRanges) : null;
  if (range === null) return { fields, ranged: false, ifRange: null };
  const ifRange = request.get("if-range")?.trim() ?? null;
  if (ifRange === null) {
    fields.set("range", range);
    return { fields, ranged: true, ifRange: null };
  }
  // If-Range is not in every store's protocol: a condition says nearly the same, and a 412 means "the whole".
  const stands = isStrong(ifRange)
    ? "if-match"
    : parseHttpDate(ifRange) === null
      ? null
      : "if-unmodified-since";
  if (stands === null || request.has("if-match") || request.has("if-unmodified-since")) {
    return { fields, ranged: false, ifRange: null };
  }
  fields.set("range", range);
  fields.set(stands, ifRange);
  return { fields, ranged: true, ifRange };
}

/**
 * Is a 206 another part than the one asked for, or one of another version? Stores misread ranges (the last
 * bytes for the first ones), and a part in the wrong place would be a broken object.
 */
export function isOtherPart({ fields, ifRange }: ObjectRequest, received: FieldReader): boolean {
  const validators = {
    etag: received.get("etag"),
    lastModifiedMs: parseHttpDate(received.get("last-modified")),
    dateMs: parseHttpDate(received.get("date")),
  };
  if (!ifRangeMatches(ifRange, validators)) return true;
  const part = parseContentRange(received.get("content-range"));
  const asked = /^bytes=(\d*)-(\d*)$/.exec(fields.get("range") ?? "");
  if (part === null || asked === null) return true;
  const [, first = "", last = ""] = asked;
  const { start, end, length } = part;
  if (first === "") {
    return length === null || end !== length - 1 || start !== Math.max(0, length - Number(last));
  }
  const endAsked = last === "" ? Number.POSITIVE_INFINITY : Number(last);
  return (
    start !== Number(first) || end > endAsked || (end < endAsked && length !== null && end !== length - 1)
  );
}

/** Takes out what a 304 does not say of an object (RFC 9110 section 15.4.5): some stores describe an error there. */
export function withoutContent(fields: Fields): Fields {
  for (const name of NOT_ON_304) fields.delete(name);
  return fields;
}

/** What to send for a page that stands for an error, or to see whether an object is there: no conditions. */
export function pageRequest(request: FieldReader): ObjectRequest {
  const fields = new Fields();
  for (const name of SENT) {
    const value = request.get(name);
    if (value !== null) fields.set(name, value);
  }
  return { fields, ranged: false, ifRange: null };
}

/** The same for the whole object. */
export function wholeRequest({ fields, ifRange }: ObjectRequest): ObjectRequest {
  const whole = fields.clone();
  whole.delete("range");
  if (ifRange !== null) for (const name of ["if-match", "if-unmodified-since"]) whole.delete(name);
  return { fields: whole, ranged: false, ifRange: null };
}

/** The object's fields from the store's. `metadata` names entries of its own metadata to give on as fields. */
export function objectFields(
  received: FieldReader,
  metadataPrefix: string,
  metadata: ReadonlySet<string>,
): Fields {
  const fields = new Fields();
  for (const [name, value] of received.entries()) if (GIVEN.has(name)) fields.append(name, value);
  const vary = parseVary(received.get("vary"));
  // The other fields that a store's Vary names (Origin, for CORS) are never sent to it.
  if (vary === "*") fields.set("vary", "*");
  else if (vary.includes("accept-encoding")) fields.set("vary", "Accept-Encoding");
  if (metadata.size === 0) return fields;
  for (const [name, value] of received.entries()) {
    if (!name.startsWith(metadataPrefix)) continue;
    // Names in Azure have no hyphen.
    const meant = name.slice(metadataPrefix.length).replaceAll("_", "-");
    if (metadata.has(meant) && !GIVEN.has(meant)) fields.append(meant, value);
  }
  return fields;
}

/** Fields of a page that stands for an error. */
export function errorPageFields(received: FieldReader): Fields {
  const fields = new Fields();
  for (const [name, value] of received.entries()) if (GIVEN_WITH_ERROR.has(name)) fields.append(name, value);
  return fields;
}

/** Sends a single tag, without its `W/`; true when the request has the field at all. */
function copyTag(request: FieldReader, fields: Fields, name: "if-match" | "if-none-match"): boolean {
  const value = request.get(name);
  if (value === null) return false;
  const tags = parseEntityTagList(value);
  if (tags === "*") fields.set(name, "*");
  const [only] = tags;
  if (tags === "*" || tags.length !== 1 || only === undefined) return true;
  // If-None-Match compares weakly, If-Match strongly (RFC 9110 sections 13.1.1 and 13.1.2).
  const tag = name === "if-none-match" && only.startsWith("W/") ? only.slice(2) : only;
  if (isStrong(tag)) fields.set(name, tag);
  return true;
}

function copyDate(request: FieldReader, fields: Fields, name: string, stronger: string): void {
  const value = request.get(name);
  if (value !== null && !request.has(stronger) && parseHttpDate(value) !== null) fields.set(name, value);
}

/** A Range that every store reads alike: one part, in bytes; null for any other. */
function singleRange(value: string | null, suffixes: boolean): string | null {
  const match = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/i.exec(value?.trim() ?? "");
  if (match === null) return null;
  const [, first = "", last = ""] = match;
  if (first === "" && (last === "" || !suffixes)) return null;
  if (first !== "" && last !== "" && Number(last) < Number(first)) return null;
  return `bytes=${first}-${last}`;
}
