/**
 * Lines of access logs, read tolerantly: Proxima's JSON lines, and the common and combined formats of
 * nginx and Apache, also with the virtual host in front. A line either names a request, or is counted
 * for what it is: nothing in a log can stop its reading.
 */
import { parseTarget } from "../http/target.ts";

/** One request of a log that a cache would look up. */
export interface LoggedRequest {
  readonly kind: "request";
  /** Site, scheme and host as far as the log tells, then the path. */
  readonly resource: string;
  /** As logged, without "?"; null when there is none. */
  readonly query: string | null;
  readonly bytes: number;
  /** Whether `bytes` is the whole body: a 200 to GET. */
  readonly whole: boolean;
}

/** What a line turned out to be. `dropped` entries were never written by Proxima. */
export type LogLine =
  | LoggedRequest
  | { readonly kind: "uncacheable" }
  | { readonly kind: "dropped"; readonly count: number }
  | { readonly kind: "empty" }
  | { readonly kind: "malformed" };

const EMPTY: LogLine = { kind: "empty" };
const MALFORMED: LogLine = { kind: "malformed" };
const UNCACHEABLE: LogLine = { kind: "uncacheable" };

/** Statuses that a cache may keep without being told (RFC 9110 section 15.1), and those that speak of one it has. */
const CACHEABLE_STATUSES: ReadonlySet<number> = new Set([
  200, 203, 204, 206, 300, 301, 304, 308, 404, 405, 410, 414, 416,
]);
/** `[date] "METHOD target HTTP/1.1" status bytes`, after the client's part. */
const COMMON = /^([^["]*)\[[^\]]{1,64}\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d{1,15}|-)(?:[ \t]|$)/;
const REQUEST_LINE = /^([A-Z]{1,32}) (\S+)(?: HTTP\/\d(?:\.\d)?)?$/;
/** Apache's vhost_combined begins with `%v:%p`. */
const VIRTUAL_HOST = /^([^\s:]+):\d{1,5} \S+ /;

/** Reads one line, without its end. Never throws. */
export function readLogLine(line: string): LogLine {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (text === "") return EMPTY;
  return text.charCodeAt(0) === 0x7b ? readJsonLine(text) : readCommonLine(text);
}

function readJsonLine(text: string): LogLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return MALFORMED;
  }
  if (!isRecord(value)) return MALFORMED;
  if (isCount(value.dropped) && value.path === undefined) return { kind: "dropped", count: value.dropped };
  const { method, path, status, result, query, bytesSent, host, scheme, site } = value;
  if (typeof method !== "string" || typeof path !== "string" || !path.startsWith("/") || !isCount(status)) {
    return MALFORMED;
  }
  // Proxima says itself what the cache was not used for; then the answer is known not to be storable.
  if (result === "bypass" || !isCacheable(method, status)) return UNCACHEABLE;
  const authority = `${textOf(site)} ${textOf(scheme)}://${textOf(host)}`;
  return {
    kind: "request",
    resource: authority + path,
    query: typeof query === "string" && query !== "" ? query : null,
    bytes: isCount(bytesSent) ? bytesSent : 0,
    whole: status === 200 && method === "GET",
  };
}

function readCommonLine(text: string): LogLine {
  const match = COMMON.exec(text);
  if (match === null) return MALFORMED;
  const [, before = "", requestLine = "", statusText = "", bytesText = ""] = match;
  const status = Number(statusText);
  const request = REQUEST_LINE.exec(requestLine);
  // What is no request line got a 400: a scanner, a TLS hello on the wrong port.
  if (request === null) return UNCACHEABLE;
  const [, method = "", url = ""] = request;
  if (!isCacheable(method, status)) return UNCACHEABLE;
  const target = parseTarget(url);
  if (target === null) return UNCACHEABLE;
  const host = /^https?:\/\/([^/?#]*)/.exec(url)?.[1] ?? VIRTUAL_HOST.exec(before)?.[1] ?? "";
  return {
    kind: "request",
    resource: host.toLowerCase() + target.path,
    query: target.query === "" ? null : target.query,
    bytes: bytesText === "-" ? 0 : Number(bytesText),
    whole: status === 200 && method === "GET",
  };
}

function isCacheable(method: string, status: number): boolean {
  return (method === "GET" || method === "HEAD") && CACHEABLE_STATUSES.has(status);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
