/**
 * The viewer's fields are derived from the origin's: what speaks to caches like us is taken out, and
 * Age, Date, Via, X-Cache and Cache-Status are put in (design, section 4).
 */

import type { BodyForm, StoredResponse } from "../../cache/stored.ts";
import { TAG_FIELD_NAMES } from "../../cache/tags.ts";
import type { BehaviorPlan, FieldRules } from "../../config/plan.ts";
import { parseCacheControl } from "../../http/cache-control.ts";
import { formatCacheStatus } from "../../http/cache-status.ts";
import { formatHttpDate, parseHttpDate } from "../../http/date.ts";
import { Fields } from "../../http/fields.ts";
import { isCompressible } from "../../http/media-type.ts";
import { appendVia } from "../../http/via.ts";
import { codingOf } from "../../optimize/codings.ts";
import { formatMark, TIER_FIELD } from "../../upstream/shield/tier-field.ts";
import type { Exchange, RoutedExchange } from "../exchange.ts";
import type { CacheResult } from "../message.ts";
import {
  COMPRESS_BYTES_MAX,
  COMPRESS_BYTES_MIN,
  type EdgeSettings,
  WHOLE_BODY_BYTES_MAX,
} from "../settings.ts";

/** Fields of the origin that are for caches like us and end here. */
const FOR_CACHES: ReadonlySet<string> = new Set([
  ...TAG_FIELD_NAMES,
  "surrogate-control",
  "cdn-cache-control",
  "cache-group-invalidation",
  "alt-svc",
  "x-cache",
  TIER_FIELD,
]);

/** Of these, what an edge that asks its shield does not get either. */
const NOT_FOR_EDGES: ReadonlySet<string> = new Set(["alt-svc", "x-cache", TIER_FIELD]);

/** Fields that a stored response does not keep: they are about one exchange, or derived anew. */
const NOT_STORED: ReadonlySet<string> = new Set(["age", "content-length", "alt-svc", "x-cache", TIER_FIELD]);

/** What a 304 does not repeat (RFC 9110 section 15.4.5). */
export const NOT_ON_304: readonly string[] = [
  "content-length",
  "content-encoding",
  "content-type",
  "content-language",
  "accept-ranges",
  "content-range",
];

/** The origin's fields as they are stored. */
export function storedFields(origin: Fields, remove: readonly string[]): Fields {
  const { flat } = origin;
  const kept: string[] = [];
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    if (!NOT_STORED.has(name) && !remove.includes(name)) kept.push(name, flat[i + 1] as string);
  }
  return new Fields(kept);
}

/** Fields for the viewer from the origin's, without those of the cache's own status. */
export function viewerFields(
  origin: Fields,
  { behavior, fromEdge }: RoutedExchange,
  settings: EdgeSettings,
  cacheable: boolean,
): Fields {
  const left = fromEdge ? NOT_FOR_EDGES : FOR_CACHES;
  const { flat } = origin;
  const kept: string[] = [];
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    if (!left.has(name)) kept.push(name, flat[i + 1] as string);
  }
  const fields = new Fields(kept);
  if (fromEdge) {
    // The edge decides as if the origin had answered it.
    fields.set("via", appendVia(fields.get("via"), settings.name));
    return fields;
  }
  if (cacheable && behavior.browserTtlSeconds !== null) {
    fields.set("cache-control", `max-age=${behavior.browserTtlSeconds}`);
    fields.delete("expires");
    fields.delete("pragma");
  }
  fields.set("via", appendVia(fields.get("via"), settings.name));
  if (!behavior.site.http3) fields.set("alt-svc", "clear");
  return fields;
}

/**
 * The browser's lifetime counts from this answer: Age and Date tell it of the time that the response
 * spent here, so that time is added (RFC 9111 section 4.2.3). 0 stays 0: ask each time.
 */
export function lengthenBrowserTtl(fields: Fields, x: RoutedExchange, ageSeconds: number): void {
  const { browserTtlSeconds } = x.behavior;
  if (x.fromEdge || browserTtlSeconds === null || browserTtlSeconds === 0 || ageSeconds === 0) return;
  fields.set("cache-control", `max-age=${browserTtlSeconds + ageSeconds}`);
}

/** As X-Cache has them. */
const RESULT_WORDS: Readonly<Record<CacheResult, string>> = {
  hit: "HIT",
  miss: "MISS",
  expired: "EXPIRED",
  stale: "STALE",
  updating: "UPDATING",
  revalidated: "REVALIDATED",
  bypass: "BYPASS",
};

/** Adds Age and the words of the cache's outcome; `freshMs` is what remains of the freshness lifetime, negative when stale (RFC 9211 section 2.5). */
export function statusFields(
  fields: Fields,
  x: Exchange,
  settings: EdgeSettings,
  about: { readonly freshMs: number | null; readonly ageSeconds?: number },
): void {
  if (about.ageSeconds !== undefined) fields.set("age", String(about.ageSeconds));
  const result = RESULT_WORDS[x.result];
  fields.set("x-cache", result);
  if (x.behavior != null && !x.fromEdge)
    for (const name of x.behavior.site.cacheStatusFields) fields.set(name, result);
  const hit = x.forwarded === undefined && (x.result === "hit" || x.result === "updating");
  const own = formatCacheStatus({
    cache: settings.name,
    hit,
    fwd: x.forwarded,
    fwdStatus: hit ? undefined : (x.upstream?.status ?? undefined),
    ttl: about.freshMs === null ? undefined : Math.trunc(about.freshMs / 1000),
    stored: x.stored,
    collapsed: x.collapsed || x.collapsedAtOwner,
    detail: x.reason,
    unsynced: settings.fleet.unsynced,
  });
  // A shield's word is of one exchange, and said of no other.
  const shields = hit || x.collapsed ? undefined : x.upstream?.cacheStatus;
  const before = fields.get("cache-status");
  const told = shields === undefined ? own : `${shields}, ${own}`;
  fields.set("cache-status", before === null ? told : `${before}, ${told}`);
  if (x.fromEdge) {
    const isStale = x.result === "stale" || x.result === "updating";
    const { validSequence: valid } = x;
    fields.set(TIER_FIELD, formatMark({ freshMs: isStale ? 0 : about.freshMs, valid }));
  }
}

/** Applies the behaviour's rules for answers; an edge that asks applies them itself. */
export function applyResponseRules(fields: Fields, x: Exchange): void {
  if (!x.fromEdge) applyRules(fields, x.behavior?.responseRules ?? null);
}

/** Applies header rules: remove, then set, then append. */
export function applyRules(fields: Fields, rules: FieldRules | null): void {
  if (rules === null) return;
  for (const name of rules.remove) fields.delete(name);
  for (const [name, value] of rules.set) fields.set(name, value);
  for (const [name, value] of rules.append) fields.append(name, value);
}

/** Marks that the coding was chosen by Accept-Encoding. */
export function addVary(fields: Fields, name: string): void {
  const vary = fields.get("vary");
  if (vary === null) fields.set("vary", name);
  else if (!variesBy(vary, name)) fields.set("vary", `${vary}, ${name}`);
}

function variesBy(vary: string, name: string): boolean {
  const wanted = name.toLowerCase();
  return (
    vary.trim() === "*" ||
    vary
      .toLowerCase()
      .split(",")
      .some((item) => item.trim() === wanted)
  );
}

/** Fields of a derived form of a body: another coding is another representation (RFC 9110 section 8.8.3). */
export function recode(fields: Fields, coding: BodyForm["coding"]): void {
  if (coding === "identity") fields.delete("content-encoding");
  else fields.set("content-encoding", coding);
  const etag = fields.get("etag");
  if (etag !== null && !etag.startsWith("W/")) fields.set("etag", `W/${etag}`);
  for (const name of ["accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"])
    fields.delete(name);
}

/** Current age in whole seconds (RFC 9111 section 4.2.3). */
export function ageSeconds(entry: StoredResponse, nowMs: number): number {
  return Math.max(0, Math.floor((nowMs - entry.freshness.bornMs) / 1000));
}

/** Fields of a response without a valid Date get one: when it was received (RFC 9110 section 6.6.1). */
export function ensureDate(fields: Fields, receivedMs: number): void {
  if (parseHttpDate(fields.get("date")) === null) fields.set("date", formatHttpDate(receivedMs));
}

/**
 * May other codings be made of a response? What came encoded because the edge asked for it has to be
 * undone for who does not take it, however small it is, whatever its status, and even where
 * no-transform stands: nobody could read it. A part of an encoded body can not be.
 */
export function isNegotiable(
  behavior: BehaviorPlan,
  status: number,
  fields: Fields,
  length: number | null,
): boolean {
  const coding = codingOf(fields.get("content-encoding"));
  if (!behavior.compress || coding === null || status === 206) return false;
  if (coding !== "identity") return true;
  if (status !== 200 || !isCompressible(fields.get("content-type"))) return false;
  if (length !== null && (length < COMPRESS_BYTES_MIN || length > COMPRESS_BYTES_MAX)) return false;
  return !parseCacheControl(fields.get("cache-control")).noTransform;
}

/** A stream of events goes on without an end. */
export function isEventStream(fields: Fields): boolean {
  return fields.get("content-type")?.toLowerCase().startsWith("text/event-stream") === true;
}

/** Waiting for the end makes sense for a small body, and never for one that is a stream by nature. */
export function mayBeWhole(fields: Fields, length: number | null): boolean {
  return (length ?? 0) <= WHOLE_BODY_BYTES_MAX && !isEventStream(fields);
}
