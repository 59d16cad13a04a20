/**
 * Fields that belong to one connection and are not forwarded (RFC 9110 section 7.6.1). Connection
 * may nominate more, but not fields that are meant for every recipient: a sender must not nominate
 * them, and one that does would have us drop what guards the cache, the origin or the chain of
 * proxies before us (an answer's Cache-Control, a request's Cookie, CDN-Loop, X-Forwarded-For).
 */
import type { FieldReader, Fields } from "./fields.ts";
import { splitList } from "./syntax.ts";

/** Names one Connection field may nominate; further ones are ignored. */
export const CONNECTION_OPTIONS_MAX = 64;

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** End-to-end fields that a nomination does not remove. */
const END_TO_END: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "accept-ranges",
  "age",
  // The rules for personal responses rest on seeing these two, at every tier.
  "authorization",
  "cookie",
  "cache-control",
  "cache-status",
  "cdn-cache-control",
  "cdn-loop",
  "clear-site-data",
  "date",
  "etag",
  "expires",
  "forwarded",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "origin",
  "pragma",
  "proxy-status",
  "range",
  "set-cookie",
  "strict-transport-security",
  "surrogate-control",
  "vary",
  "via",
  "www-authenticate",
]);
/** Families of such fields. */
const END_TO_END_PREFIXES = [
  "access-control-",
  "content-",
  "cross-origin-",
  "sec-",
  "x-forwarded-",
  "x-proxima-",
];

const NOTHING: readonly string[] = [];

/** Whether a field (lower-case name) is always for one connection only. */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name);
}

/** Removes Connection, what it nominates, and every other hop-by-hop field. */
export function stripHopByHop(fields: Fields): void {
  for (const name of nominatedBy(fields.get("connection"))) fields.delete(name);
  fields.deleteAll(HOP_BY_HOP);
}

/** The names that a value of Connection takes out of a message, beside those that are hop-by-hop in any case. */
function nominatedBy(connection: string | null): readonly string[] {
  if (connection === null || connection === "close" || connection === "keep-alive") return NOTHING;
  return splitList(connection.toLowerCase())
    .slice(0, CONNECTION_OPTIONS_MAX)
    .filter((name) => !HOP_BY_HOP.has(name) && !isEndToEnd(name));
}

/**
 * Whether Connection nominates a field that the message has and that stripHopByHop would take out for
 * that alone: its recipient sees another message than whoever reads `fields`.
 */
export function nominatesFields(fields: FieldReader): boolean {
  for (const name of nominatedBy(fields.get("connection"))) if (fields.has(name)) return true;
  return false;
}

function isEndToEnd(name: string): boolean {
  return END_TO_END.has(name) || END_TO_END_PREFIXES.some((prefix) => name.startsWith(prefix));
}
