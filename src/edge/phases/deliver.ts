/**
 * deliver: from a stored response, or from a body on its way, to what one viewer gets: conditions,
 * range, coding, HEAD. A plain hit is one prepared answer for each second, shared by all who ask.
 */
import { LargeBody } from "../../cache/large-body.ts";
import type { MemoryStore } from "../../cache/store/memory.ts";
import type { BodyForm, Coding, StoredResponse } from "../../cache/stored.ts";
import type { BehaviorPlan } from "../../config/plan.ts";
import { acceptedCodings } from "../../http/accept-encoding.ts";
import { parseCacheControl } from "../../http/cache-control.ts";
import { evaluateConditional } from "../../http/conditional.ts";
import type { Fields } from "../../http/fields.ts";
import { isCompressible } from "../../http/media-type.ts";
import { type ByteRange, formatContentRange } from "../../http/range.ts";
import { formOf } from "../../optimize/forms.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { CacheReason, CacheResult, ViewerResponse } from "../message.ts";
import type { EdgeSettings } from "../settings.ts";
import { partial, planRanges, unsatisfiable } from "./ranges.ts";
import {
  addVary,
  ageSeconds,
  applyResponseRules,
  ensureDate,
  lengthenBrowserTtl,
  NOT_ON_304,
  recode,
  statusFields,
  viewerFields,
} from "./viewer-fields.ts";

/** A prepared answer of a stored form: right for one behaviour, result and second. */
export class HotAnswer {
  readonly behavior: BehaviorPlan;
  readonly second: number;
  readonly result: CacheResult;
  readonly reason: CacheReason;
  /** Fields that do not change from second to second; of an answer that is served once, its own. */
  readonly base: Fields;
  /** Without its body for a large one, which is read for each viewer. */
  readonly whole: ViewerResponse;
  #head: ViewerResponse | null = null;
  /** 304, made when it is first wanted. */
  unchanged: ViewerResponse | null = null;
  /** What all 206 with one range have in common, made when it is first wanted. */
  ranged: ViewerResponse | null = null;

  constructor(x: RoutedExchange, second: number, base: Fields, whole: ViewerResponse) {
    this.behavior = x.behavior;
    this.second = second;
    this.result = x.result;
    this.reason = x.reason;
    this.base = base;
    this.whole = whole;
  }

  /** To HEAD. */
  get head(): ViewerResponse {
    this.#head ??= { status: this.whole.status, fields: this.whole.fields, body: null };
    return this.#head;
  }
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
  const coding = entry.negotiable ? chooseCoding(x, entry) : entry.coding;
  const form = formOf(context.store, entry, coding);
  return form instanceof Promise
    ? deliverDerived(x, entry, form, nowMs, context)
    : deliverForm(x, entry, form, nowMs, context);
}

async function deliverDerived(
  x: RoutedExchange,
  entry: StoredResponse,
  deriving: Promise<BodyForm>,
  nowMs: number,
  context: DeliverContext,
): Promise<ViewerResponse> {
  let form: BodyForm;
  try {
    form = await deriving;
  } catch {
    // What can not be recoded goes out as it is stored.
    form = entry;
  }
  return deliverForm(x, entry, form, nowMs, context);
}

/** The coding a viewer gets of a negotiable response. A range is served from the stored form where it is accepted. */
function chooseCoding(x: RoutedExchange, entry: StoredResponse): Coding {
  const { fields } = x.request;
  const { coding: stored } = entry;
  const accepted = acceptedCodings(fields.get("accept-encoding"));
  const isAccepted = stored === "identity" || accepted.includes(stored);
  if (isAccepted && (x.fromEdge || fields.has("range"))) return stored;
  // An edge codes for its viewers what it was given as the origin made it.
  if (x.fromEdge) return "identity";
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
  const answer = answerOf(x, entry, form, nowMs, context);
  if (isUnchanged(x, entry)) return notModified(answer);
  if (entry.status === 200 && form.coding === entry.coding && x.request.fields.has("range")) {
    const ranged = deliverRange(x, entry, form, answer);
    if (ranged !== null) return ranged;
  }
  return x.method === "HEAD" ? answer.head : answer.whole;
}

/** The answers that a stored form gives in this second, of which one is chosen. */
export function answerOf(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  nowMs: number,
  context: DeliverContext,
): HotAnswer {
  const hot = form.hot as HotAnswer | null;
  // Only a hit's answer says nothing about the exchange that fetched it; and what edges get is not for viewers.
  const plain = x.forwarded === undefined && !x.fromEdge;
  const sameBehavior = hot !== null && hot.behavior === x.behavior && !x.fromEdge;
  if (
    plain &&
    sameBehavior &&
    hot.second === Math.floor(nowMs / 1000) &&
    hot.result === x.result &&
    hot.reason === x.reason
  )
    return hot;
  const base = sameBehavior ? hot.base : baseFields(x, entry, form, context);
  const isOwn = !plain && !sameBehavior;
  const answer = prepare(x, entry, form, base, isOwn ? base : base.clone(), nowMs, context);
  if (plain) form.hot = answer;
  return answer;
}

function prepare(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  base: Fields,
  fields: Fields,
  nowMs: number,
  context: DeliverContext,
): HotAnswer {
  const about = { freshMs: entry.freshness.freshUntilMs - nowMs, ageSeconds: ageSeconds(entry, nowMs) };
  statusFields(fields, x, context.settings, about);
  lengthenBrowserTtl(fields, x, about.ageSeconds);
  applyResponseRules(fields, x);
  const { body } = form;
  const bodyless = entry.status === 204 || body instanceof LargeBody;
  const whole = { status: entry.status, fields, body: bodyless ? null : body };
  return new HotAnswer(x, Math.floor(nowMs / 1000), base, whole);
}

/** The stored fields for viewers, in this form, without what changes by the second. */
function baseFields(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  context: DeliverContext,
): Fields {
  const fields = viewerFields(entry.fields, x, context.settings, true);
  ensureDate(fields, entry.dateMs);
  if (form.coding !== entry.coding) recode(fields, form.coding);
  if (entry.negotiable && !x.fromEdge) addVary(fields, "Accept-Encoding");
  if (entry.status !== 204) fields.set("content-length", String(form.length));
  if (entry.status === 200 && form.coding === entry.coding) fields.set("accept-ranges", "bytes");
  return fields;
}

/** Has the viewer this representation already? Conditions are only evaluated for what would be a success (RFC 9110 section 13.2.1). */
export function isUnchanged(x: RoutedExchange, entry: StoredResponse): boolean {
  const { fields } = x.request;
  if (entry.status !== 200 || !(fields.has("if-none-match") || fields.has("if-modified-since"))) return false;
  return evaluateConditional(x.method, fields, entry) === "not-modified";
}

/** 304 with the fields that a 200 would have had and a cache needs (RFC 9110 section 15.4.5). */
export function notModified(answer: HotAnswer): ViewerResponse {
  if (answer.unchanged === null) {
    const fields = answer.head.fields.clone();
    for (const name of NOT_ON_304) fields.delete(name);
    answer.unchanged = { status: 304, fields, body: null };
  }
  return answer.unchanged;
}

/** 206 or 416; null to send the whole. */
function deliverRange(
  x: RoutedExchange,
  entry: StoredResponse,
  form: BodyForm,
  answer: HotAnswer,
): ViewerResponse | null {
  const { body } = answer.whole;
  if (!(body instanceof Uint8Array || body instanceof Blob)) return null;
  const { etag, lastModifiedMs, dateMs } = entry;
  const plan = planRanges(x.method, x.request.fields, { length: form.length, etag, lastModifiedMs, dateMs });
  if (plan.kind === "whole") return null;
  const [only] = plan.kind === "parts" ? plan.parts : [];
  if (plan.kind === "parts" && plan.parts.length === 1 && only !== undefined) {
    return new RangedAnswer(rangedFields(answer), body, form.length, only);
  }
  const fields = answer.whole.fields.clone();
  if (plan.kind === "unsatisfiable") return unsatisfiable(fields, form.length);
  return partial(fields, form.length, plan.parts, readerOf(body));
}

function readerOf(body: Uint8Array | Blob): (range: ByteRange) => Uint8Array | Blob {
  return ({ start, end }) =>
    body instanceof Uint8Array ? body.subarray(start, end + 1) : body.slice(start, end + 1);
}

function rangedFields(answer: HotAnswer): ViewerResponse {
  if (answer.ranged === null) {
    const fields = answer.whole.fields.clone();
    for (const name of ["content-length", "content-range"]) fields.delete(name);
    answer.ranged = { status: 206, fields, body: null };
  }
  return answer.ranged;
}

/** A 206 of one range. What a listener does not ask for is not made. */
class RangedAnswer implements ViewerResponse {
  readonly status = 206;
  readonly partOf: NonNullable<ViewerResponse["partOf"]> | undefined;
  readonly derived: NonNullable<ViewerResponse["derived"]>;
  readonly #whole: Uint8Array | Blob;
  readonly #range: ByteRange;
  #body: Uint8Array | Blob | null = null;
  #fields: Fields | null = null;
  prepared: unknown;

  constructor(from: ViewerResponse, whole: Uint8Array | Blob, length: number, range: ByteRange) {
    const { start, end } = range;
    const size = end + 1 - start;
    this.#whole = whole;
    this.#range = range;
    this.partOf = whole instanceof Blob ? { blob: whole, start, size } : undefined;
    this.derived = {
      from,
      fields: [
        ["content-range", formatContentRange(start, end, length)],
        ["content-length", String(size)],
      ],
    };
  }

  get body(): Uint8Array | Blob {
    const { start, end } = this.#range;
    this.#body ??=
      this.#whole instanceof Blob ? this.#whole.slice(start, end + 1) : this.#whole.subarray(start, end + 1);
    return this.#body;
  }

  get fields(): Fields {
    if (this.#fields === null) {
      this.#fields = this.derived.from.fields.clone();
      for (const [name, value] of this.derived.fields) this.#fields.append(name, value);
    }
    return this.#fields;
  }
}
