/**
 * Vary (RFC 9110 section 12.5.5, RFC 9111 section 4.1): the names a response was chosen by, and the
 * normal form in which values of two requests are compared. Values are normalised only in ways that
 * keep their meaning, so that one variant does not fall into many.
 */
import { normalizeAcceptEncoding } from "./accept-encoding.ts";
import { memoize } from "./memo.ts";
import { isToken, splitList, trimOws } from "./syntax.ts";

/** Names in one Vary; a response that varies by more is treated as varying by everything. */
export const VARY_NAMES_MAX = 64;

/** No names at all: one list for all who have none. */
export const NO_NAMES: readonly string[] = Object.freeze([]);

/** Names in lower case, sorted, each once; "*" when no request can be matched, also for a malformed list. */
export function parseVary(value: string | null): readonly string[] | "*" {
  return value === null || value === "" ? NO_NAMES : varyOf(value);
}

const varyOf = memoize((value: string): readonly string[] | "*" => {
  const names = new Set<string>();
  for (const member of splitList(value)) {
    // What can not be a field's name can not be compared: take the response as unmatchable.
    if (member === "*" || !isToken(member) || names.size >= VARY_NAMES_MAX) return "*";
    names.add(member.toLowerCase());
  }
  return Object.freeze([...names].sort());
});

/** Fields whose value is no list: a comma in them is text. */
const SINGLETONS: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "host",
  "if-modified-since",
  "if-unmodified-since",
  "origin",
  "referer",
  "user-agent",
]);

/** The form of a request's field in which variants are compared; null when the request does not have it. */
export function normalizeSelectingValue(name: string, value: string | null): string | null {
  // An absent Accept-Encoding and one without a coding of ours get the same variant.
  if (name === "accept-encoding") return normalizeAcceptEncoding(value);
  if (value === null) return null;
  if (SINGLETONS.has(name)) return trimOws(value);
  // Language ranges are case-insensitive (RFC 4647 section 2) and hold no white space.
  if (name === "accept-language") {
    return splitList(value.toLowerCase().replace(/[ \t]+/g, ""))
      .map((range) => range.replace(/;q=1(?:\.0*)?$/, ""))
      .join(",");
  }
  return splitList(value).join(",");
}
