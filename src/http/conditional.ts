/**
 * Conditional requests (RFC 9110 section 13): which of a request's preconditions hold for a stored
 * response. An entity tag is kept as received; a tag that is not well formed (unquoted) still
 * equals itself weakly, so that validators of sloppy origins work, but is never strong.
 */
import { parseHttpDate } from "./date.ts";
import type { FieldReader } from "./fields.ts";
import { trimOws } from "./syntax.ts";

/** Entity tags that are read of one field; further ones are ignored. */
export const ENTITY_TAGS_MAX = 1000;

/** The validators of a stored response. */
export interface Validators {
  readonly etag: string | null;
  readonly lastModifiedMs: number | null;
  /** Time of its Date field or of its receipt: stands in for a missing Last-Modified in If-Modified-Since (RFC 9111 section 4.3.2). */
  readonly dateMs?: number | null;
}

/**
 * Evaluates the preconditions in the order of RFC 9110 section 13.2.2. If-Match and
 * If-Unmodified-Since are meant for an origin server (RFC 9111 section 4.3.2): a cache that does
 * not answer for its origin forwards such requests instead of asking here.
 */
export function evaluateConditional(
  method: string,
  request: FieldReader,
  stored: Validators,
): "proceed" | "not-modified" | "precondition-failed" {
  const ifMatch = request.get("if-match");
  if (ifMatch !== null) {
    if (!matchesAny(ifMatch, stored.etag, strongMatch)) return "precondition-failed";
  } else {
    const since = parseHttpDate(request.get("if-unmodified-since"));
    if (since !== null && stored.lastModifiedMs !== null && stored.lastModifiedMs > since) {
      return "precondition-failed";
    }
  }
  const reads = method === "GET" || method === "HEAD";
  const ifNoneMatch = request.get("if-none-match");
  if (ifNoneMatch !== null) {
    if (!matchesAny(ifNoneMatch, stored.etag, weakMatch)) return "proceed";
    return reads ? "not-modified" : "precondition-failed";
  }
  if (reads) {
    const ifModifiedSince = request.get("if-modified-since");
    if (ifModifiedSince !== null) {
      const modifiedMs = stored.lastModifiedMs ?? stored.dateMs ?? null;
      const since = parseHttpDate(ifModifiedSince);
      if (modifiedMs !== null && since !== null && modifiedMs <= since) return "not-modified";
    }
  }
  return "proceed";
}

/** Strong comparison (RFC 9110 section 8.8.3.2): both strong and equal. */
export function strongMatch(a: string, b: string): boolean {
  return a === b && isStrong(a);
}

/** Weak comparison (RFC 9110 section 8.8.3.2): equal but for the `W/`. */
export function weakMatch(a: string, b: string): boolean {
  return opaqueTag(a) === opaqueTag(b);
}

/** Whether an entity tag is well formed and strong. */
export function isStrong(etag: string): boolean {
  return etag.length >= 2 && etag.charCodeAt(0) === 0x22 && etag.indexOf('"', 1) === etag.length - 1;
}

/** The tags of If-Match or If-None-Match, as sent (RFC 9110 sections 13.1.1, 13.1.2). Quoted tags may hold commas. */
export function parseEntityTagList(value: string): string[] | "*" {
  const tags: string[] = [];
  let i = 0;
  while (i < value.length && tags.length < ENTITY_TAGS_MAX) {
    const c = value.charCodeAt(i);
    if (c === 0x20 || c === 0x09 || c === 0x2c) {
      i++;
      continue;
    }
    // An entity tag has no escapes: it ends at the next quote (RFC 9110 section 8.8.3).
    const quoteAt = c === 0x22 ? i : value.startsWith('W/"', i) ? i + 2 : -1;
    let end = quoteAt < 0 ? -1 : value.indexOf('"', quoteAt + 1) + 1;
    if (end <= 0) {
      end = value.indexOf(",", i);
      if (end < 0) end = value.length;
    }
    const tag = trimOws(value.slice(i, end));
    if (tag !== "") tags.push(tag);
    i = end;
  }
  return tags.length === 1 && tags[0] === "*" ? "*" : tags;
}

function matchesAny(value: string, etag: string | null, same: (a: string, b: string) => boolean): boolean {
  if (etag !== null && value === etag && same(value, etag)) return true;
  const tags = parseEntityTagList(value);
  // "*" holds when there is any current representation, and there is one: the stored response.
  if (tags === "*") return true;
  return etag !== null && tags.some((tag) => same(tag, etag));
}

function opaqueTag(etag: string): string {
  return etag.startsWith("W/") ? etag.slice(2) : etag;
}
