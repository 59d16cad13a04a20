/**
 * Whether a response may be stored, and for how long it is fresh or usable stale: pure functions of
 * request, response, policy and time (RFC 9111 sections 3 and 4, RFC 9213, RFC 5861).
 *
 * The lifetime comes from the first of these that says one:
 *   1. the behaviour's edge TTL
 *   2. CDN-Cache-Control (RFC 9213: it stands for Cache-Control and Expires together)
 *   3. Surrogate-Control
 *   4. Cache-Control: s-maxage, then max-age
 *   5. Expires
 *   6. the behaviour's TTL for the status
 *   7. the behaviour's default TTL
 *   8. the heuristic: a tenth of the time since Last-Modified, with a limit (RFC 9111 section 4.2.2)
 * then the behaviour's minimum and maximum. Nothing on this list overrides no-store, private,
 * no-cache or must-revalidate of the field that speaks to us.
 */

import type { TtlPolicy } from "../config/plan.ts";
import type { CacheControl } from "../http/cache-control.ts";
import {
  DELTA_SECONDS_MAX,
  NO_CACHE_CONTROL,
  parseCacheControl,
  parseSurrogateControl,
  parseTargetedCacheControl,
} from "../http/cache-control.ts";
import { parseHttpDate } from "../http/date.ts";
import type { FieldReader } from "../http/fields.ts";
import { parseVary } from "../http/vary.ts";

/** Where a lifetime came from, in order of precedence. */
export type LifetimeSource =
  | "edge-ttl"
  | "cdn-cache-control"
  | "surrogate-control"
  | "s-maxage"
  | "max-age"
  | "expires"
  | "status-ttl"
  | "default-ttl"
  | "heuristic";

/** Why a response is not stored. */
export type NotStoredReason =
  | "request-authorization"
  | "request-cookie"
  | "response-no-store"
  | "response-private"
  | "response-set-cookie"
  | "response-vary-star"
  | "response-not-cacheable"
  | "response-no-freshness"
  | "response-incomplete"
  | "response-partial"
  | "response-type-mismatch";

/** When a stored response is fresh, and until when it may be used stale. Times are ms since the epoch. */
export interface Freshness {
  readonly source: LifetimeSource;
  /** The origin itself said how long. */
  readonly explicit: boolean;
  /** The moment at which the response's age was zero: age = now - bornMs (RFC 9111 section 4.2.3). */
  readonly bornMs: number;
  readonly freshUntilMs: number;
  /** Until when it may be served while it is refreshed (RFC 5861 section 3); freshUntilMs when never. */
  readonly whileRevalidateUntilMs: number;
  /** Until when it may be served instead of an error (RFC 5861 section 4); freshUntilMs when never. */
  readonly ifErrorUntilMs: number;
  /** Stale use is forbidden (RFC 9111 section 5.2.2.2 and 5.2.2.8). */
  readonly mustRevalidate: boolean;
  /** It was purged softly and has not been confirmed since. */
  readonly softPurged?: boolean;
}

/** A lifetime that ended at `sinceMs`, its stale windows counted from then (must-revalidate keeps them shut). */
export function expireAt(freshness: Freshness, sinceMs: number): Freshness {
  const earlierMs = freshness.freshUntilMs - sinceMs;
  if (earlierMs <= 0) return { ...freshness, softPurged: true };
  return {
    ...freshness,
    softPurged: true,
    freshUntilMs: sinceMs,
    whileRevalidateUntilMs: freshness.whileRevalidateUntilMs - earlierMs,
    ifErrorUntilMs: freshness.ifErrorUntilMs - earlierMs,
  };
}

/** What of the request matters to storing. */
export interface StorageRequest {
  /** 0 to 1, by the key: where it stands in the jitter. */
  readonly spread: number;
  readonly path: string;
  readonly authorized: boolean;
  /** The request's cookies reached the origin and are not part of the key. */
  readonly cookieForwardedUnkeyed: boolean;
}

/** What of the response matters to storing. */
export interface StorageResponse {
  readonly status: number;
  readonly fields: FieldReader;
  /** False when the end of the body can not be told from a cut. */
  readonly completable: boolean;
  readonly requestTimeMs: number;
  readonly responseTimeMs: number;
}

/** The decision. */
export type Storage =
  | { readonly store: true; readonly freshness: Freshness; readonly removeFields: readonly string[] }
  | { readonly store: false; readonly reason: NotStoredReason };

/** Statuses that may have heuristic freshness (RFC 9110 section 15.1), without 206. */
const HEURISTIC_STATUSES: ReadonlySet<number> = new Set([
  200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501,
]);

/** Statuses that the operator's own lifetimes (edge TTL, default TTL) reach: an error needs a TTL by status. */
const OWN_LIFETIME_STATUSES: ReadonlySet<number> = new Set([200, 203, 204, 300, 301, 308]);

/** Statuses beside these whose meaning for a cache we know (RFC 9110 section 15): what must-understand asks for. */
const UNDERSTOOD_STATUSES: ReadonlySet<number> = new Set([
  201, 202, 205, 302, 303, 307, 400, 401, 402, 403, 406, 409, 421, 422, 426, 451, 500, 502, 503, 504, 505,
]);

/** Answers about one viewer's way of asking, which no cache may store (RFC 6585 sections 3 to 6, RFC 8470 section 5.2). */
const NEVER_STORED: ReadonlySet<number> = new Set([425, 428, 429, 431, 511]);

/** Extensions that viewers use to make a page look like a static file (web cache deception), and their types. */
const STATIC_TYPES: ReadonlyMap<string, RegExp> = new Map(
  Object.entries({
    css: /^text\/css\b/,
    js: /javascript/,
    mjs: /javascript/,
    json: /json/,
    png: /^image\//,
    jpg: /^image\//,
    jpeg: /^image\//,
    gif: /^image\//,
    webp: /^image\//,
    avif: /^image\//,
    ico: /^image\//,
    svg: /^image\//,
    woff: /font|octet-stream/,
    woff2: /font|octet-stream/,
    ttf: /font|octet-stream/,
    mp4: /^video\//,
    webm: /^video\//,
    mp3: /^audio\//,
    pdf: /pdf/,
    txt: /^text\/plain\b/,
    wasm: /wasm/,
  }),
);

/** The directives that speak to us and the lifetime in them. */
interface Directives {
  readonly cacheControl: CacheControl;
  readonly source: "cdn-cache-control" | "surrogate-control" | null;
  /** Seconds; null when the origin said nothing. */
  readonly lifetimeSeconds: number | null;
  readonly lifetimeSource: LifetimeSource | null;
}

/** Decides whether a response to GET may be stored and computes its freshness. */
export function decideStorage(
  request: StorageRequest,
  response: StorageResponse,
  policy: TtlPolicy,
): Storage {
  const { fields, status } = response;
  if (status === 206) return no("response-partial");
  if (status < 200 || status === 304 || status >= 600) return no("response-not-cacheable");
  if (NEVER_STORED.has(status)) return no("response-not-cacheable");
  const directives = readDirectives(fields, response.responseTimeMs);
  const { cacheControl } = directives;
  // must-understand overrides no-store for a status that we know, and forbids others (RFC 9111 section 5.2.2.3).
  const understood = HEURISTIC_STATUSES.has(status) || UNDERSTOOD_STATUSES.has(status);
  if (cacheControl.mustUnderstand ? !understood : cacheControl.noStore) return no("response-no-store");
  if (cacheControl.private) return no("response-private");
  if (cacheControl.noCache && fields.get("etag") === null && fields.get("last-modified") === null) {
    return no("response-no-store");
  }
  let removeFields = namesOf(cacheControl);
  const shared = cacheControl.public || cacheControl.sMaxage !== null || directives.source !== null;
  if (request.authorized) {
    // RFC 9111 section 3.5 names what allows it; the behaviour has to say so as well.
    if (!policy.storeAuthorized || !(shared || cacheControl.mustRevalidate))
      return no("request-authorization");
  }
  if (fields.has("set-cookie") && !removeFields.includes("set-cookie")) {
    if (!policy.storeSetCookie || !shared) return no("response-set-cookie");
    removeFields = [...removeFields, "set-cookie"];
  }
  if (parseVary(fields.get("vary")) === "*") return no("response-vary-star");
  if (!response.completable) return no("response-incomplete");

  const lifetime = chooseLifetime(directives, response, policy);
  if (lifetime === null) return no("response-no-freshness");
  const computed = computeFreshness(lifetime, cacheControl, response, policy, request.spread);
  // What the origin lets live for no time at all, and only the operator for longer, is the operator's word.
  const explicit =
    lifetime.explicit &&
    (lifetime.lifetimeMs > 0 ||
      usableUntil(computed) <=
        usableUntil(computeFreshness(lifetime, cacheControl, response, withoutOwn(policy), request.spread)));
  if (!explicit && request.cookieForwardedUnkeyed) return no("request-cookie");
  if (!explicit && looksDeceptive(request.path, fields.get("content-type"), status))
    return no("response-type-mismatch");

  const freshness = computed.explicit === explicit ? computed : { ...computed, explicit };
  const validator = fields.has("etag") || fields.has("last-modified");
  if (usableUntil(freshness) <= response.responseTimeMs && !validator) return no("response-no-freshness");
  return { store: true, freshness, removeFields };
}

/** Does the origin forbid any stale use in so many words? Bare s-maxage does where the behaviour is strict about it. */
export function forbidsStale(fields: FieldReader, policy: TtlPolicy): boolean {
  const { cacheControl, lifetimeSource } = readDirectives(fields, 0);
  if (cacheControl.mustRevalidate || cacheControl.proxyRevalidate || cacheControl.noCache) return true;
  return policy.strictSMaxage && lifetimeSource === "s-maxage";
}

/** Until when a response may be used in any way, in ms since the epoch. */
function usableUntil(freshness: Freshness): number {
  return Math.max(freshness.freshUntilMs, freshness.whileRevalidateUntilMs, freshness.ifErrorUntilMs);
}

/** The policy without what the operator adds to the origin's lifetimes. */
function withoutOwn(policy: TtlPolicy): TtlPolicy {
  return { ...policy, minMs: 0, staleWhileRevalidateMs: null, staleIfErrorMs: null };
}

/** The fields that the origin keeps out of a stored response. */
function namesOf({ noCacheFields, privateFields }: CacheControl): readonly string[] {
  return privateFields.length === 0 ? noCacheFields : [...noCacheFields, ...privateFields];
}

function no(reason: NotStoredReason): Storage {
  return { store: false, reason };
}

function readDirectives(fields: FieldReader, responseTimeMs: number): Directives {
  const targeted = parseTargetedCacheControl(fields.get("cdn-cache-control"));
  if (targeted !== null) {
    const seconds = targeted.sMaxage ?? targeted.maxAge;
    return {
      cacheControl: targeted,
      source: "cdn-cache-control",
      lifetimeSeconds: seconds,
      lifetimeSource: seconds === null ? null : "cdn-cache-control",
    };
  }
  const surrogate = parseSurrogateControl(fields.get("surrogate-control"));
  if (surrogate !== null && (surrogate.cacheControl.maxAge !== null || surrogate.cacheControl.noStore)) {
    return {
      cacheControl: surrogate.cacheControl,
      source: "surrogate-control",
      lifetimeSeconds: surrogate.cacheControl.maxAge,
      lifetimeSource: surrogate.cacheControl.maxAge === null ? null : "surrogate-control",
    };
  }
  const value = fields.get("cache-control");
  const cacheControl = value === null ? pragma(fields) : parseCacheControl(value);
  if (cacheControl.sMaxage !== null) {
    return { cacheControl, source: null, lifetimeSeconds: cacheControl.sMaxage, lifetimeSource: "s-maxage" };
  }
  if (cacheControl.maxAge !== null) {
    return { cacheControl, source: null, lifetimeSeconds: cacheControl.maxAge, lifetimeSource: "max-age" };
  }
  const expires = fields.get("expires");
  if (expires !== null) {
    // An invalid date, "0" above all, means already expired (RFC 9111 section 5.3).
    const expiresMs = parseHttpDate(expires);
    // Without a Date the time of receipt stands for it (RFC 9110 section 6.6.1).
    const dateMs = parseHttpDate(fields.get("date")) ?? responseTimeMs;
    const seconds = expiresMs === null ? 0 : Math.max(0, (expiresMs - dateMs) / 1000);
    return { cacheControl, source: null, lifetimeSeconds: seconds, lifetimeSource: "expires" };
  }
  return { cacheControl, source: null, lifetimeSeconds: null, lifetimeSource: null };
}

/** Pragma counts only where Cache-Control is absent (RFC 9111 section 5.4); origins mean "do not cache" by it. */
function pragma(fields: FieldReader): CacheControl {
  const value = fields.get("pragma");
  return value !== null && /\bno-cache\b/i.test(value)
    ? { ...NO_CACHE_CONTROL, noCache: true }
    : NO_CACHE_CONTROL;
}

interface Lifetime {
  readonly source: LifetimeSource;
  readonly lifetimeMs: number;
  /** The origin said it: it may be shared although cookies were sent. */
  readonly explicit: boolean;
  /** Counted from when we received it, not from when the origin made it. */
  readonly fromReceipt: boolean;
}

function chooseLifetime(
  directives: Directives,
  response: StorageResponse,
  policy: TtlPolicy,
): Lifetime | null {
  const { fields, status } = response;
  const { cacheControl, lifetimeSeconds, lifetimeSource } = directives;
  if (policy.edgeMs !== null && OWN_LIFETIME_STATUSES.has(status)) {
    return { source: "edge-ttl", lifetimeMs: policy.edgeMs, explicit: false, fromReceipt: true };
  }
  if (lifetimeSeconds !== null && lifetimeSource !== null) {
    return { source: lifetimeSource, lifetimeMs: lifetimeSeconds * 1000, explicit: true, fromReceipt: false };
  }
  const statusMs = policy.statusMs(status);
  if (statusMs !== null) {
    return statusMs === 0
      ? null
      : { source: "status-ttl", lifetimeMs: statusMs, explicit: false, fromReceipt: true };
  }
  if (cacheControl.noCache) {
    return { source: "default-ttl", lifetimeMs: 0, explicit: true, fromReceipt: true };
  }
  if (!HEURISTIC_STATUSES.has(status)) return null;
  if (policy.defaultMs !== null && OWN_LIFETIME_STATUSES.has(status)) {
    return { source: "default-ttl", lifetimeMs: policy.defaultMs, explicit: false, fromReceipt: true };
  }
  const lastModifiedMs = parseHttpDate(fields.get("last-modified"));
  if (lastModifiedMs !== null) {
    const dateMs = parseHttpDate(fields.get("date")) ?? response.responseTimeMs;
    const lifetimeMs = Math.min(
      Math.max(0, dateMs - lastModifiedMs) * policy.heuristicFraction,
      policy.heuristicMaxMs,
    );
    return { source: "heuristic", lifetimeMs, explicit: false, fromReceipt: false };
  }
  return policy.minMs > 0
    ? { source: "default-ttl", lifetimeMs: 0, explicit: false, fromReceipt: true }
    : null;
}

function computeFreshness(
  lifetime: Lifetime,
  cacheControl: CacheControl,
  response: StorageResponse,
  policy: TtlPolicy,
  spread: number,
): Freshness {
  const bornMs = bornAt(response);
  const receivedMs = response.responseTimeMs;
  const startMs = lifetime.fromReceipt ? receivedMs : bornMs;
  const mustRevalidate = cacheControl.mustRevalidate || cacheControl.proxyRevalidate || cacheControl.noCache;
  let freshUntilMs = startMs + lifetime.lifetimeMs;
  // Without a minimum nothing is raised: what came stale has its stale windows from when it became so.
  if (!mustRevalidate && policy.minMs > 0) freshUntilMs = Math.max(freshUntilMs, receivedMs + policy.minMs);
  freshUntilMs = Math.min(freshUntilMs, receivedMs + policy.maxMs);
  if (cacheControl.noCache) freshUntilMs = Math.min(freshUntilMs, receivedMs);
  if (policy.jitterFraction > 0 && freshUntilMs > receivedMs) {
    freshUntilMs -= (freshUntilMs - receivedMs) * policy.jitterFraction * spread;
  }

  // s-maxage implies proxy-revalidate (RFC 9111 section 5.2.2.10); an explicit stale-* beside it is
  // honoured unless the behaviour is strict (docs/decisions).
  const sMaxageForbids =
    lifetime.source === "s-maxage" &&
    (policy.strictSMaxage ||
      (cacheControl.staleWhileRevalidate === null && cacheControl.staleIfError === null));
  const staleForbidden = mustRevalidate || sMaxageForbids;
  return {
    source: lifetime.source,
    explicit: lifetime.explicit,
    bornMs,
    freshUntilMs,
    whileRevalidateUntilMs: staleForbidden
      ? freshUntilMs
      : freshUntilMs + windowMs(cacheControl.staleWhileRevalidate, policy.staleWhileRevalidateMs),
    ifErrorUntilMs: staleForbidden
      ? freshUntilMs
      : freshUntilMs + windowMs(cacheControl.staleIfError, policy.staleIfErrorMs),
    mustRevalidate: staleForbidden,
  };
}

/** A stale window: the origin's in seconds, or else the configured one. */
function windowMs(seconds: number | null, configuredMs: number | null): number {
  return seconds === null ? (configuredMs ?? 0) : seconds * 1000;
}

/** now - bornMs is current_age (RFC 9111 section 4.2.3): upstream Age, delay and apparent age counted. */
export function bornAt(
  response: Pick<StorageResponse, "fields" | "requestTimeMs" | "responseTimeMs">,
): number {
  const { fields, requestTimeMs, responseTimeMs } = response;
  const dateMs = parseHttpDate(fields.get("date"));
  const apparentAgeMs = dateMs === null ? 0 : Math.max(0, responseTimeMs - dateMs);
  const delayMs = Math.max(0, responseTimeMs - requestTimeMs);
  const ageMs = ageSeconds(fields.get("age")) * 1000;
  return responseTimeMs - Math.max(apparentAgeMs < 1000 ? 0 : apparentAgeMs, ageMs + delayMs);
}

/** An upstream Age in seconds: of several the first, 0 when it is none (RFC 9111 section 5.1); a huge one stays huge. */
function ageSeconds(value: string | null): number {
  const first = value === null ? "" : (value.split(",", 1)[0] as string).trim();
  return /^\d+$/.test(first) ? Math.min(Number(first), DELTA_SECONDS_MAX) : 0;
}

/** True when a path pretends to be a static file and the answer is something else (cache deception, row H12). */
function looksDeceptive(path: string, contentType: string | null, status: number): boolean {
  if (status !== 200) return false;
  const dot = path.lastIndexOf(".");
  if (dot < 0 || path.length - dot > 6) return false;
  const expected = STATIC_TYPES.get(path.slice(dot + 1).toLowerCase());
  return expected !== undefined && contentType !== null && !expected.test(contentType.toLowerCase());
}
