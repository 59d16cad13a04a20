/**
 * A flight is one request to a next hop on behalf of every viewer who waits for the same object
 * (collapsed forwarding). It is not bound to the viewer who started it: when that one leaves, the
 * others still get the object.
 */
import { decideStorage } from "../cache/freshness.ts";
import type { NotStoredReason, Storage } from "../cache/freshness.ts";
import { Fill } from "../cache/fill.ts";
import { keyQuery, selectingKey } from "../cache/key.ts";
import { INLINE_BODY_BYTES_MAX, PASS_MS } from "../cache/limits.ts";
import type { BodyForm, StoredResponse } from "../cache/stored.ts";
import { bodyOf } from "../http/body.ts";
import { weakMatch } from "../http/conditional.ts";
import { formatHttpDate, parseHttpDate } from "../http/date.ts";
import type { FieldReader, Fields } from "../http/fields.ts";
import { parseVary } from "../http/vary.ts";
import { readTags } from "../cache/tags.ts";
import { codingOf } from "../optimize/codings.ts";
import { UpstreamError } from "../upstream/next-hop.ts";
import type { UpstreamResponse } from "../upstream/next-hop.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import type { AskedAt } from "./purges.ts";
import { askOrigin } from "./phases/fetch.ts";
import { cookieForwardedUnkeyed } from "./phases/origin-request.ts";
import { isEventStream, isNegotiable, mayBeWhole, storedFields } from "./phases/viewer-fields.ts";
import { COMPRESS_BYTES_MAX, COMPRESS_BYTES_MIN, WHOLE_BODY_BYTES_MAX } from "./settings.ts";

/** Statuses for which a stale copy is better (RFC 5861 section 4). */
const ERROR_STATUSES: ReadonlySet<number> = new Set([500, 502, 503, 504]);

/** Bytes of an error's body that is kept for those who wait with its first viewer. */
const SHARED_ERROR_BYTES_MAX = 1024 * 1024;

/** Why a response is not stored, with the reasons that only a flight can see. */
export type FlightStorage =
  | Extract<Storage, { store: true }>
  | { readonly store: false; readonly reason: NotStoredReason | "response-too-large" | "response-self-redirect" };

/** A response on its way, to be shared by those whom it fits. */
export interface FlightResponse {
  readonly kind: "response";
  readonly status: number;
  readonly fields: Fields;
  readonly bodyLength: number | null;
  readonly storage: FlightStorage;
  readonly vary: readonly string[];
  readonly variant: string;
  /** Where the purges stood when it was asked for. */
  readonly asked: AskedAt;
  readonly tags: readonly string[];
  readonly fill: Fill;
  /** Other codings may be derived from it. */
  readonly negotiable: boolean;
  readonly responseTimeMs: number;
  /** False when each request has to be validated for itself (no-cache, max-age=0): nobody else may be given it. */
  readonly reusable: boolean;
  /** Resolves when the body is whole: to the stored response, or null when it was not stored. */
  readonly settled: Promise<StoredResponse | null>;
}

/** What a flight comes back with. */
export type FlightOutcome =
  | FlightResponse
  /** `reusable` as in a response: false when each request has to be validated for itself. */
  | { readonly kind: "freshened"; readonly entry: StoredResponse; readonly reusable: boolean }
  | { readonly kind: "stale"; readonly status: number }
  | { readonly kind: "error"; readonly error: unknown };

/** One flight, while it is in the air or its body is. */
export interface Flight {
  /** What identifies it below its base key: the secondary key and the fields that Vary is known to name. */
  readonly key: string;
  /** Others may join; a flight that is one viewer's alone is only listed so that an invalidation finds it. */
  readonly shared: boolean;
  /** Set by an invalidation or a purge: what comes back is not stored, and nobody joins. */
  invalidated: boolean;
  readonly outcome: Promise<FlightOutcome>;
  /** Where the purges stood when it started: what comes back is valid up to there. */
  readonly asked: AskedAt;
}

/** The flights of an edge, by base key. */
export class Flights {
  readonly #byBase = new Map<string, Flight[]>();

  find(base: string, key: string): Flight | undefined {
    return this.#byBase.get(base)?.find((flight) => flight.shared && flight.key === key);
  }

  add(base: string, flight: Flight): void {
    const list = this.#byBase.get(base);
    if (list === undefined) this.#byBase.set(base, [flight]);
    else list.push(flight);
  }

  remove(base: string, flight: Flight): void {
    const rest = this.#byBase.get(base)?.filter((other) => other !== flight) ?? [];
    if (rest.length === 0) this.#byBase.delete(base);
    else this.#byBase.set(base, rest);
  }

  /** What is in the air for this base key is not stored, and nobody joins it. */
  invalidate(base: string): void {
    for (const flight of this.#byBase.get(base) ?? []) flight.invalidated = true;
    this.#byBase.delete(base);
  }

  /** The least sequence that a flight started at, or `otherwise` when there is none. */
  oldestSequence(otherwise: number): number {
    let oldest = otherwise;
    for (const list of this.#byBase.values()) for (const flight of list) oldest = Math.min(oldest, flight.asked.sequence);
    return oldest;
  }

  get size(): number {
    return this.#byBase.size;
  }
}

/** What names a flight below its base key. */
export function flightKey(x: RoutedExchange, context: EdgeContext): string {
  const vary = context.store.get(x.base)?.vary ?? [];
  return vary.length === 0 ? x.secondary : `${x.secondary}|${vary.join(",")}|${selectingKey(vary, x.request.fields)}`;
}

/** Sends a cacheable request to the next hop. `entry` is a stored response to revalidate; `shared` lets others join. */
export function startFlight(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  shared: boolean,
): Flight {
  const { promise, resolve } = Promise.withResolvers<FlightOutcome>();
  const flight: Flight = { key: flightKey(x, context), shared, invalidated: false, outcome: promise, asked: context.purges.now() };
  context.flights.add(x.base, flight);
  void fly(x, context, entry, flight).then((outcome) => {
    // Others may join while a retained body is on its way; everything else ends the flight here.
    const open = outcome.kind === "response" && outcome.storage.store;
    if (!open) context.flights.remove(x.base, flight);
    else void outcome.settled.then(() => context.flights.remove(x.base, flight));
    resolve(outcome);
  });
  return flight;
}

async function fly(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  flight: Flight,
): Promise<FlightOutcome> {
  try {
    const method = x.method === "OPTIONS" ? "OPTIONS" : "GET";
    const conditional = entry !== null && (entry.etag !== null || entry.lastModifiedMs !== null) ? entry : null;
    const response = await askOrigin(x, context, { cacheable: true, revalidate: conditional, method, body: null, signal: null, keepRange: false });
    if (response.status === 304) {
      if (conditional === null) throw new UpstreamError("http_protocol_error", "the origin answered 304 to a request without a condition");
      const freshened = freshen(x, context, flight, conditional, response);
      if (freshened !== null) return freshened;
      if (!flight.invalidated) context.store.remove(conditional);
      return await fly(x, context, null, flight);
    }
    if (response.status === 206) {
      response.body?.cancel();
      throw new UpstreamError("http_protocol_error", "the origin answered 206 to a request without a range");
    }
    // A background refresh that gets an error has failed: the stale answer is served on (RFC 5861 sections 3 and 4).
    if (entry !== null && ERROR_STATUSES.has(response.status) && context.clock.now() < staleUntilMs(entry)) {
      response.body?.cancel();
      return { kind: "stale", status: response.status };
    }
    const received = receiveResponse(x, context, flight, response);
    if (entry !== null && supersedes(received)) context.store.remove(entry);
    return received;
  } catch (error) {
    return { kind: "error", error };
  }
}

function staleUntilMs({ freshness }: StoredResponse): number {
  return Math.max(freshness.whileRevalidateUntilMs, freshness.ifErrorUntilMs);
}

/** Does an answer that is not stored end the life of the one it was to replace? One viewer's own answer does not. */
function supersedes({ status, storage }: FlightResponse): boolean {
  if (storage.store || ERROR_STATUSES.has(status)) return false;
  return storage.reason === "response-no-store" || storage.reason === "response-no-freshness" || storage.reason === "response-vary-star";
}

/** 304: the stored response gets the new fields and a new life (RFC 9111 section 4.3.4). Null when it does not fit. */
function freshen(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  entry: StoredResponse,
  response: UpstreamResponse,
): Extract<FlightOutcome, { kind: "freshened" }> | null {
  if (!isSameRepresentation(entry, response.fields)) return null;
  const fields = entry.fields.clone();
  const update = storedFields(response.fields, ["content-encoding", "content-type", "content-range", "set-cookie", ...(entry.etag === null ? [] : ["etag"])]);
  // A 304 without a Date was made when it was received (RFC 9110 section 6.6.1), not when the stored one was.
  if (parseHttpDate(update.get("date")) === null) update.set("date", formatHttpDate(response.responseTimeMs));
  const seen = new Set<string>();
  for (const [name, value] of update.entries()) {
    if (seen.has(name)) fields.append(name, value);
    else fields.set(name, value);
    seen.add(name);
  }
  const storage = decideStorage(
    { path: x.originPath, authorized: x.request.fields.has("authorization"), cookieForwardedUnkeyed: cookieForwardedUnkeyed(x) },
    { status: entry.status, fields: withAge(fields, response.fields), completable: true, requestTimeMs: response.requestTimeMs, responseTimeMs: response.responseTimeMs },
    x.behavior.ttl,
  );
  for (const form of entry.forms) form.hot = null;
  entry.fields = fields;
  entry.etag = fields.get("etag");
  entry.lastModifiedMs = parseHttpDate(fields.get("last-modified"));
  entry.dateMs = parseHttpDate(fields.get("date")) ?? response.responseTimeMs;
  if (!storage.store) {
    // The origin now says that it may not be kept: it serves the one who asked, and goes.
    context.store.remove(entry);
    return { kind: "freshened", entry, reusable: false };
  }
  for (const name of storage.removeFields) fields.delete(name);
  entry.freshness = storage.freshness;
  // Confirmed as of when this was asked; tags that a 304 does not repeat stay.
  entry.validSequence = flight.asked.sequence;
  entry.validLocal = flight.asked.local;
  const { tags } = readTags(response.fields, x.authority);
  if (tags.length > 0) entry.tags = tags;
  entry.storedAtMs = response.responseTimeMs;
  context.store.recount(entry);
  const reusable = storage.freshness.freshUntilMs > response.responseTimeMs;
  const vary = varyOf(x, fields, entry.coding);
  if (vary.join() === entry.vary.join() || flight.invalidated || !context.store.holds(entry)) return { kind: "freshened", entry, reusable };
  // The 304's Vary is another: the response is filed anew, under what this request said.
  const moved = refile(x, context, entry, vary);
  return { kind: "freshened", entry: moved, reusable };
}

/** Is what a 304 speaks of the stored response (RFC 9111 section 4.3.4)? By ETag; without one by Last-Modified. */
function isSameRepresentation(entry: StoredResponse, fields: Fields): boolean {
  const etag = fields.get("etag");
  if (etag !== null && entry.etag !== null) return weakMatch(etag, entry.etag);
  const lastModified = fields.get("last-modified");
  return etag !== null || lastModified === null || entry.etag !== null || lastModified === entry.fields.get("last-modified");
}

function refile(x: RoutedExchange, context: EdgeContext, entry: StoredResponse, vary: readonly string[]): StoredResponse {
  const { body } = entry.forms[0] as BodyForm;
  context.store.remove(entry);
  return context.store.put(x.base, vary, x.secondary + selectingKey(vary, x.request.fields), { ...entry, body }, x.behavior.variantsMax) ?? entry;
}

/** The names that choose among variants here. */
function varyOf(x: RoutedExchange, fields: Fields, coding: ReturnType<typeof codingOf>): readonly string[] {
  const names = parseVary(fields.get("vary"));
  if (names === "*") return [];
  // Where the edge negotiates codings itself it always asks the same way: that part of Vary is settled.
  if (x.behavior.compress) return names.filter((name) => name !== "accept-encoding");
  // An origin that encodes and does not say so: its answer still is for those only who take the coding.
  return coding === "identity" || names.includes("accept-encoding") ? names : ["accept-encoding", ...names].sort();
}

function withAge(fields: Fields, received: Fields): Fields {
  const age = received.get("age");
  if (age === null) return fields;
  const copy = fields.clone();
  copy.set("age", age);
  return copy;
}

function receiveResponse(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  response: UpstreamResponse,
): FlightResponse {
  const { fields, status } = response;
  const storage = storageOf(x, context, response);
  const coding = codingOf(fields.get("content-encoding"));
  const negotiable = isNegotiable(x.behavior, status, fields, response.bodyLength);
  const vary = varyOf(x, fields, coding);
  const variant = x.secondary + (vary.length > 0 ? selectingKey(vary, x.request.fields) : "");
  const shareError = !storage.store && storage.reason === "response-no-freshness" && status >= 500 && isImpersonal(x.request.fields);
  const fill = new Fill(response.body ?? bodyOf(new Uint8Array(0)), {
    clock: context.clock,
    budget: context.fillBudget,
    readsOn: storage.store,
    retainBytesMax: storage.store
      ? context.store.objectBytesMax
      : shareError
        ? SHARED_ERROR_BYTES_MAX
        : mayBeWhole(fields, response.bodyLength)
          ? WHOLE_BODY_BYTES_MAX
          : 0,
  });
  const settled = storage.store
    ? fill.whole().then((whole) => {
        if (whole && !flight.invalidated) return keep(x, context, flight, { response, fill, storage, vary, variant, negotiable, coding });
        if (fill.state !== "failed" && !fill.retained) context.store.markPass(x.base, context.clock.now() + PASS_MS, "response-too-large");
        return null;
      })
    : Promise.resolve(null);
  if (!storage.store && !shareError) context.store.markPass(x.base, context.clock.now() + PASS_MS, storage.reason);
  if (storage.store || shareError) fill.start();
  return {
    kind: "response", status, fields, bodyLength: response.bodyLength, storage, vary, variant, fill, negotiable,
    asked: flight.asked, tags: readTags(fields, x.authority).tags,
    responseTimeMs: response.responseTimeMs, settled,
    reusable: storage.store ? storage.freshness.freshUntilMs > response.responseTimeMs : shareError,
  };
}

/** The tags to store; what a limit cut off is counted, so that nobody relies on a purge that can not work. */
function tagsOf(x: RoutedExchange, context: EdgeContext, fields: Fields): readonly string[] {
  const { tags, dropped } = readTags(fields, x.authority);
  if (dropped > 0) context.stats.recordTagsDropped(dropped);
  return tags;
}

/** Fields that say nothing of who asks; any other one may be a credential of some kind. */
const IMPERSONAL = /^(?:host|connection|keep-alive|te|accept(?:-.*)?|user-agent|referer|origin|cache-control|pragma|range|if-.*|dnt|upgrade-insecure-requests|sec-.*|priority|save-data|content-.*|via|forwarded|x-forwarded-.*|cdn-loop|access-control-request-.*|traceparent|tracestate)$/;

/** True when nothing in a request tells one viewer from another: even an error may be given to those who wait with it. */
function isImpersonal(fields: FieldReader): boolean {
  for (const [name] of fields.entries()) if (!IMPERSONAL.test(name)) return false;
  return true;
}

function storageOf(x: RoutedExchange, context: EdgeContext, response: UpstreamResponse): FlightStorage {
  const { fields, status } = response;
  const storage = decideStorage(
    { path: x.originPath, authorized: x.request.fields.has("authorization"), cookieForwardedUnkeyed: cookieForwardedUnkeyed(x) },
    { status, fields, completable: response.framing !== "close", requestTimeMs: response.requestTimeMs, responseTimeMs: response.responseTimeMs },
    x.behavior.ttl,
  );
  if (!storage.store) return storage;
  // A stream of events is one viewer's: it has no end, and another would be given events of the past.
  if (isEventStream(fields)) return { store: false, reason: "response-not-cacheable" };
  if ((response.bodyLength ?? 0) > context.store.objectBytesMax) return { store: false, reason: "response-too-large" };
  if (status >= 300 && status < 400 && leadsBack(x, fields.get("location"))) return { store: false, reason: "response-self-redirect" };
  return storage;
}

/**
 * A redirect to what it is stored for would be a loop that nobody can leave: to the URL that was asked
 * for, as far as it is in the key, or to the one that a rewrite made of it.
 */
function leadsBack(x: RoutedExchange, location: string | null): boolean {
  if (location === null) return false;
  const self = `${x.scheme}://${x.authority}`;
  const url = URL.parse(location, `${self}${x.path}`);
  if (url === null) return true;
  if (url.origin !== new URL(self).origin) return false;
  const sameQuery = keyQuery(x.behavior.key, url.search === "" ? null : url.search.slice(1)) === x.keyQuery;
  return sameQuery && [x.path, x.originPath].some((path) => new URL(self + path).pathname === url.pathname);
}

function keep(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  parts: {
    readonly response: UpstreamResponse;
    readonly fill: Fill;
    readonly storage: Extract<Storage, { store: true }>;
    readonly vary: readonly string[];
    readonly variant: string;
    readonly negotiable: boolean;
    readonly coding: ReturnType<typeof codingOf>;
  },
): StoredResponse | null {
  const { response, storage } = parts;
  const body = joinPieces(parts.fill.takePieces());
  const length = body instanceof Uint8Array ? body.byteLength : body.size;
  const fields = storedFields(response.fields, storage.removeFields);
  return context.store.put(
    x.base,
    parts.vary,
    parts.variant,
    {
      status: response.status,
      fields,
      body,
      coding: parts.coding ?? "identity",
      negotiable: parts.negotiable && (parts.coding !== "identity" || (length >= COMPRESS_BYTES_MIN && length <= COMPRESS_BYTES_MAX)),
      freshness: storage.freshness,
      tags: tagsOf(x, context, response.fields),
      validSequence: flight.asked.sequence,
      validLocal: flight.asked.local,
      etag: fields.get("etag"),
      lastModifiedMs: parseHttpDate(fields.get("last-modified")),
      dateMs: parseHttpDate(fields.get("date")) ?? response.responseTimeMs,
      storedAtMs: response.responseTimeMs,
    },
    x.behavior.variantsMax,
  );
}

/** One exact-sized body; a large one as a Blob, which many viewers can be sent without a copy each. */
function joinPieces(pieces: readonly Uint8Array[]): Uint8Array | Blob {
  let length = 0;
  for (const piece of pieces) length += piece.byteLength;
  if (length > INLINE_BODY_BYTES_MAX) return new Blob(pieces as Uint8Array<ArrayBuffer>[]);
  const body = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    body.set(piece, offset);
    offset += piece.byteLength;
  }
  return body;
}
