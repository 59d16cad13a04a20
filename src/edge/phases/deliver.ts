/**
 * deliver: from a stored response, or from a body on its way, to what one viewer gets: conditions,
 * range, coding, HEAD. A plain hit is one prepared answer for each second, shared by all who ask.
 */
import type { MemoryStore } from "../../cache/store/memory.ts";
import type { BodyForm, Coding, StoredResponse } from "../../cache/stored.ts";
import type { BehaviorPlan } from "../../config/plan.ts";
import { acceptedCodings } from "../../http/accept-encoding.ts";
import type { BodyReader } from "../../http/body.ts";
import { parseCacheControl } from "../../http/cache-control.ts";
import { evaluateConditional } from "../../http/conditional.ts";
import type { FieldReader, Fields } from "../../http/fields.ts";
import { isCompressible } from "../../http/media-type.ts";
import { formatContentRange, formatUnsatisfiedRange, ifRangeMatches, parseRange } from "../../http/range.ts";
import { formOf } from "../../optimize/forms.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { CacheReason, CacheResult, ViewerResponse } from "../message.ts";
import type { EdgeSettings } from "../settings.ts";
import {
  addVary,
  ageSeconds,
  applyRules,
  ensureDate,
  lengthenBrowserTtl,
  NOT_ON_304,
  recode,
  statusFields,
  viewerFields,
} from "./viewer-fields.ts";

/** A prepared answer of a stored form: right for one behaviour, result and second. */
interface HotAnswer {
  readonly behavior: BehaviorPlan;
  readonly second: number;
  readonly result: CacheResult;
  readonly reason: CacheReason;
  /** Fields that do not change from second to second. */
  readonly base: Fields;
  readonly whole: ViewerResponse;
  readonly head: ViewerResponse;
}

/** What delivery needs of the edge. */
export interface DeliverContext {
  readonly store: MemoryStore;
  readonly settings: EdgeSettings;
}

/** Answers from a stored response. Synchronous unless another coding has to be derived first. */
export function deliverStored(
  x: RoutedExchange,
  entry: StoredResponse,
  nowMs: number,
  context: DeliverContext,
): ViewerResponse | Promise<ViewerResponse> {
  const coding = entry.negotiable ? chooseCoding(x.request.fields, entry) : entry.coding;
  const form = formOf(context.store, entry, coding);
  if (!(form instanceof Promise)) return deliverForm(x, entry, form, nowMs, context);
  return form.then(
    (derived) => deliverForm(x, entry, derived, nowMs, context),
    // What can not be recoded goes out as it is stored.
    () => deliverForm(x, entry, entry, nowMs, context),
  );
}

/** The coding a viewer gets of a negotiable response. A range is served from the stored form where it is accepted. */
function chooseCoding(fields: FieldReader, entry: StoredResponse): Coding {
  const { coding: stored } = entry;
  const accepted = acceptedCodings(fields.get("accept-encoding"));
  const isAccepted = stored === "identity" || accepted.includes(stored);
  if (isAccepted && fields.has("range")) return stored;
  if (stored !== "identity" && !isWorthRecoding(entry)) return isAccepted ? stored : "identity";
  return accepted[0] ?? "identity";
}

/** What came encoded and should stay so: another coding of it would gain nothing, or is forbidden (RFC 9111 section 5.2.2.6). */
function isWorthRecoding({ status, fields }: StoredResponse): boolean {
  return (
    status === 200 &&
    isCompressible(fields.get("content-type")) &&
    !parseCacheControl(fields.get("cache-control")).noTransform
  );
}

function deliverForm(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  nowMs: number,
  context: DeliverContext,
): ViewerResponse {
  const { fields } = x.request;
  // Conditions are only evaluated for what would be a success (RFC 9110 section 13.2.1).
  const success = entry.status === 200;
  if (success && isConditional(fields)) {
    const outcome = evaluateConditional(x.method, fields, {
      etag: entry.etag,
      lastModifiedMs: entry.lastModifiedMs,
      dateMs: entry.dateMs,
    });
    if (outcome === "not-modified") return notModified(x, entry, form, nowMs, context);
  }
  if (success && x.method === "GET") {
    const range = fields.get("range");
    if (range !== null && form.coding === entry.coding) {
      const ranged = deliverRange(x, entry, form, range, nowMs, context);
      if (ranged !== null) return ranged;
    }
  }
  const second = Math.floor(nowMs / 1000);
  let hot = form.hot as HotAnswer | null;
  const plain = x.forwarded === undefined;
  const current =
    hot !== null &&
    hot.behavior === x.behavior &&
    hot.second === second &&
    hot.result === x.result &&
    hot.reason === x.reason;
  if (!plain || !current) {
    const base = hot !== null && hot.behavior === x.behavior ? hot.base : baseFields(x, entry, form, context);
    const answer = prepare(x, entry, form, base, nowMs, context);
    // Only a hit's answer says nothing about the exchange that fetched it.
    if (plain) form.hot = answer;
    hot = answer;
  }
  const answer = hot as HotAnswer;
  return x.method === "HEAD" ? answer.head : answer.whole;
}

function prepare(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  base: Fields,
  nowMs: number,
  context: DeliverContext,
): HotAnswer {
  const fields = base.clone();
  const about = { ttlSeconds: ttlSeconds(entry, nowMs), ageSeconds: ageSeconds(entry, nowMs) };
  statusFields(fields, x, context.settings, about);
  lengthenBrowserTtl(fields, x.behavior, about.ageSeconds);
  applyRules(fields, x.behavior.responseRules);
  const bodyless = entry.status === 204;
  return {
    behavior: x.behavior,
    second: Math.floor(nowMs / 1000),
    result: x.result,
    reason: x.reason,
    base,
    whole: { status: entry.status, fields, body: bodyless ? null : form.body },
    head: { status: entry.status, fields, body: null },
  };
}

/** The stored fields for viewers, in this form, without what changes by the second. */
function baseFields(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  context: DeliverContext,
): Fields {
  const fields = viewerFields(entry.fields, x.behavior, context.settings, true);
  ensureDate(fields, entry.dateMs);
  if (form.coding !== entry.coding) recode(fields, form.coding);
  if (entry.negotiable) addVary(fields, "Accept-Encoding");
  if (entry.status !== 204) fields.set("content-length", String(form.length));
  if (entry.status === 200 && form.coding === entry.coding) fields.set("accept-ranges", "bytes");
  return fields;
}

/** Remaining freshness in seconds; negative when stale (RFC 9211 section 2.5). */
function ttlSeconds(entry: StoredResponse, nowMs: number): number {
  return Math.trunc((entry.freshness.freshUntilMs - nowMs) / 1000);
}

function isConditional(fields: FieldReader): boolean {
  return fields.has("if-none-match") || fields.has("if-modified-since");
}

/** 304 with the fields that a 200 would have had and a cache needs (RFC 9110 section 15.4.5). */
function notModified(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  nowMs: number,
  context: DeliverContext,
): ViewerResponse {
  const fields = statused(x, entry, form, nowMs, context);
  for (const name of NOT_ON_304) fields.delete(name);
  return { status: 304, fields, body: null };
}

/** Fields of an answer made from a stored response for one exchange alone. */
function statused(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  nowMs: number,
  context: DeliverContext,
): Fields {
  const fields = baseFields(x, entry, form, context);
  const about = { ttlSeconds: ttlSeconds(entry, nowMs), ageSeconds: ageSeconds(entry, nowMs) };
  statusFields(fields, x, context.settings, about);
  lengthenBrowserTtl(fields, x.behavior, about.ageSeconds);
  applyRules(fields, x.behavior.responseRules);
  return fields;
}

/** 206 or 416 for a single range; null to send the whole (also for several ranges, which RFC 9110 section 14.2 allows). */
function deliverRange(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  value: string,
  nowMs: number,
  context: DeliverContext,
): ViewerResponse | null {
  const stored = { etag: entry.etag, lastModifiedMs: entry.lastModifiedMs, dateMs: entry.dateMs };
  if (!ifRangeMatches(x.request.fields.get("if-range"), stored)) return null;
  const range = parseRange(value, form.length);
  if (range.kind === "none") return null;
  const fields = statused(x, entry, form, nowMs, context);
  if (range.kind === "unsatisfiable") {
    fields.set("content-range", formatUnsatisfiedRange(form.length));
    fields.set("content-length", "0");
    fields.delete("content-encoding");
    return { status: 416, fields, body: null };
  }
  const only = range.ranges[0];
  if (range.ranges.length !== 1 || only === undefined) return null;
  fields.set("content-range", formatContentRange(only.start, only.end, form.length));
  fields.set("content-length", String(only.end - only.start + 1));
  const body =
    form.body instanceof Uint8Array
      ? form.body.subarray(only.start, only.end + 1)
      : form.body.slice(only.start, only.end + 1);
  return { status: 206, fields, body };
}

/** The bytes from `start` to `end` (inclusive) of a body that is read from its beginning. */
export function sliceReader(source: BodyReader, start: number, end: number): BodyReader {
  let position = 0;
  return {
    async read() {
      for (;;) {
        if (position > end) {
          source.cancel();
          return null;
        }
        const piece = await source.read();
        if (piece === null) return null;
        const from = Math.max(0, start - position);
        const to = Math.min(piece.byteLength, end + 1 - position);
        position += piece.byteLength;
        if (from < to) return piece.subarray(from, to);
      }
    },
    cancel: () => source.cancel(),
  };
}
