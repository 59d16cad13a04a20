/**
 * One flight: asks the owner of the key or the origin, and makes of what comes an outcome for all who
 * wait. Its body is stored when, and only when, it is whole.
 */
import { Fill } from "../cache/fill.ts";
import type { NotStoredReason } from "../cache/freshness.ts";
import { selectingKey, variantOf } from "../cache/key.ts";
import { HOT_COPY_BYTES_MAX, MEMORY_BODY_BYTES_MAX, PASS_MS } from "../cache/limits.ts";
import type { PassMarker, StoredResponse } from "../cache/stored.ts";
import { readTags } from "../cache/tags.ts";
import { bodyOf } from "../http/body.ts";
import { type FieldReader, flatOf } from "../http/fields.ts";
import { NO_NAMES } from "../http/vary.ts";
import { codingOf } from "../optimize/codings.ts";
import type { UpstreamResponse } from "../upstream/next-hop.ts";
import { UpstreamError } from "../upstream/next-hop.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import type { Flight, FlightOutcome, FlightResponse, FlightStorage } from "./flights.ts";
import { freshen } from "./freshen.ts";
import { askOrigin } from "./phases/fetch.ts";
import { isNegotiable, mayBeWhole } from "./phases/viewer-fields.ts";
import { WHOLE_BODY_BYTES_MAX } from "./settings.ts";
import { blocksOf, firstRange, partOf } from "./spans.ts";
import { lifeOf } from "./staleness.ts";
import { type Keeping, keep, keepLarge, mayBeOnDisk, type Stored, storageOf, varyOf } from "./storing.ts";
import { askOwner, type TierOutcome, type TierResponse, wantsOnlyStored } from "./tier.ts";

/** Statuses for which a stale copy is better (RFC 5861 section 4). */
const ERROR_STATUSES: ReadonlySet<number> = new Set([500, 502, 503, 504]);

/** Bytes of an error's body that is kept for those who wait with its first viewer. */
const SHARED_ERROR_BYTES_MAX = 1024 * 1024;

const NOT_KEPT: Promise<StoredResponse | null> = Promise.resolve(null);

/** What names a flight below its base key. */
export function flightKey(x: RoutedExchange, context: EdgeContext): string {
  const vary = context.store.get(x.base)?.vary ?? NO_NAMES;
  // Where an edge asks a node that has shields of its own, viewers' flights go there: two nodes that are
  // shields to each other would wait for one another.
  const tier = x.fromEdge && context.shields !== null ? "tier|" : "";
  return vary.length === 0
    ? tier + x.secondary
    : `${tier}${x.secondary}|${vary.join(",")}|${selectingKey(vary, x.request.fields)}`;
}

/** Does a response that another viewer fetched answer this one's request (RFC 9111 section 4.1), and was it not purged since? */
export function fits(x: RoutedExchange, outcome: FlightResponse, { purges }: EdgeContext): boolean {
  if (!outcome.fill.retained || !purges.covers(x.base, outcome.tags, outcome.asked)) return false;
  if (outcome.vary.length === 0) return true;
  return outcome.variant === variantOf(x.secondary, outcome.vary, x.request.fields);
}

/** Stands for an outcome until the flight has left. */
const NOT_BEGUN = new Promise<FlightOutcome>(() => {});

/**
 * The flight that a request may wait for; or why it does not wait, although there is one: what comes is not
 * going to be for more than one viewer. Null when there is nothing to wait for.
 */
export function underwayFor(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
): Flight | NotStoredReason | null {
  const flight = context.flights.find(x.base, flightKey(x, context));
  if (flight === undefined) return null;
  if (entry !== null || (context.store.get(x.base)?.count ?? 0) > 0) return flight;
  return context.forecast.of(x.base, context.clock.now()) ?? flight;
}

/** Sends a cacheable request to the next hop. `entry` is a stored response to revalidate; `shared` lets others join. */
export function startFlight(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  shared: boolean,
): Flight {
  const flight: Flight = {
    key: flightKey(x, context),
    shared,
    invalidated: false,
    outcome: NOT_BEGUN,
    asked: context.purges.now(),
  };
  context.flights.add(x.base, flight);
  flight.outcome = flyAndLand(x, context, entry, flight);
  return flight;
}

/** The flight, listed for as long as others may join it. Never rejects. */
async function flyAndLand(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  flight: Flight,
): Promise<FlightOutcome> {
  let outcome: FlightOutcome;
  try {
    outcome = await fly(x, context, entry, flight);
  } catch (error) {
    outcome = { kind: "error", error };
  }
  // Others may join while a retained body is on its way; everything else ends the flight here.
  if (outcome.kind === "response" && outcome.kept === undefined)
    void outcome.settled.then(() => context.flights.remove(x.base, flight));
  else context.flights.remove(x.base, flight);
  return outcome;
}

/** Sends the request and makes an outcome of what comes. Rejects as askOrigin does. */
async function fly(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  flight: Flight,
  byRange = true,
): Promise<FlightOutcome> {
  const owned = context.peers === null || x.fromPeer ? null : await askPeer(x, context, entry, flight);
  if (owned !== null) return owned;
  const range = byRange ? firstRange(x, context, entry) : null;
  const method = x.method === "OPTIONS" ? "OPTIONS" : "GET";
  const conditional = entry !== null && (entry.etag !== null || entry.lastModifiedMs !== null) ? entry : null;
  const response = await askOrigin(x, context, {
    cacheable: true,
    revalidate: conditional,
    method,
    body: null,
    signal: null,
    keepRange: false,
    span: range === null ? undefined : { range, ifRange: null },
  });
  if (response.status === 304) {
    if (conditional === null)
      throw new UpstreamError(
        "http_protocol_error",
        "the origin answered 304 to a request without a condition",
      );
    const freshened = freshen(x, context, flight, conditional, response);
    if (freshened !== null) return freshened;
    if (!flight.invalidated) context.store.remove(conditional);
    return fly(x, context, null, flight);
  }
  // What is still being written of this URL must not come after what is begun now.
  if (context.disk !== null) await context.disk.quiet(x.base);
  if (response.status === 206 && range === null) {
    response.body?.cancel();
    throw new UpstreamError("http_protocol_error", "the origin answered 206 to a request without a range");
  }
  if (response.status === 206) return receivePart(x, context, entry, flight, response);
  // The viewer's own Range tells him how long it is.
  if (response.status === 416 && range !== null) {
    response.body?.cancel();
    return { kind: "pass", reason: "not-stored" };
  }
  return replace(x, context, entry, flight, response, null);
}

/** Asks the worker that owns the key; null when that is this one, or it is down. */
async function askPeer(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  flight: Flight,
): Promise<FlightOutcome | null> {
  const owner = context.peers?.ownerOf(x.base) ?? null;
  if (owner === "self") return null;
  const outcome: TierOutcome =
    owner === null ? { kind: "unavailable" } : await askOwner(owner, x, context, entry, flight.asked);
  switch (outcome.kind) {
    case "unavailable":
      if (entry === null && wantsOnlyStored(x)) return { kind: "pass", reason: "not-stored" };
      x.ownerless = true;
      return null;
    case "pass":
      if (outcome.untilMs > context.clock.now())
        context.store.markPass(x.base, outcome.untilMs, outcome.reason as PassMarker["reason"]);
      return { kind: "pass", reason: outcome.reason };
    case "same": {
      if (entry === null)
        throw new UpstreamError("http_protocol_error", "the owner confirmed a copy that is not there");
      entry.setFields(outcome.fields, outcome.receivedMs);
      entry.renew(outcome.freshness, outcome.receivedMs);
      entry.validSequence = Math.min(flight.asked.sequence, outcome.tier.valid.sequence);
      entry.validLocal = Math.min(flight.asked.local, outcome.tier.valid.local);
      context.store.recount(entry);
      const reusable = context.purges.holds(entry) && outcome.tier.reusable;
      return { kind: "freshened", entry, reusable, tier: outcome.tier };
    }
    case "response":
      return replace(x, context, entry, flight, outcome.response, outcome.response);
  }
}

/** A response that is to stand for `entry`, from the origin or from the owner. */
function replace(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  flight: Flight,
  response: UpstreamResponse,
  owned: TierResponse | null,
): FlightOutcome {
  // A background refresh that gets an error has failed: the stale answer is served on (RFC 5861 sections 3 and 4).
  if (
    entry !== null &&
    ERROR_STATUSES.has(response.status) &&
    context.clock.now() < staleUntilMs(x, entry, context)
  ) {
    response.body?.cancel();
    return { kind: "stale", status: response.status };
  }
  const decided = decide(x, context, response, owned);
  if (isLarge(x, context, flight, decided)) {
    const begun = beginLarge(x, context, flight, decided);
    if (begun !== null) {
      void begun.body.fill(response.body ?? bodyOf(new Uint8Array(0)), 0, decided.bodyLength).then(() => {
        if (x.refreshing) begun.body.rest();
      });
      return begun;
    }
  }
  const received = receiveResponse(x, context, flight, decided);
  if (entry !== null && supersedes(received)) context.store.remove(entry);
  return received;
}

/**
 * 206 to a range of our own: the whole when it is the whole; else the first span of a large object. What can
 * not be put together from parts is asked for anew, as a whole.
 */
async function receivePart(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  flight: Flight,
  response: UpstreamResponse,
): Promise<FlightOutcome> {
  const part = partOf(response);
  if (part !== null && part.start === 0 && part.end === part.response.bodyLength)
    return replace(x, context, entry, flight, part.response, null);
  const decided = part === null ? null : decide(x, context, part.response, null);
  const blocks = part === null || part.validator === null ? null : blocksOf(part);
  if (decided === null || blocks === null || !isLarge(x, context, flight, decided)) {
    response.body?.cancel();
    if (decided === null || decided.storage.store) return await fly(x, context, entry, flight, false);
    // Not to be stored at all: the viewer's own Range goes to the origin.
    context.store.markPass(x.base, context.clock.now() + PASS_MS, decided.storage.reason);
    return { kind: "pass", reason: decided.storage.reason };
  }
  const begun = beginLarge(x, context, flight, decided);
  if (begun === null) {
    blocks.body.cancel();
    return await fly(x, context, entry, flight, false);
  }
  void begun.body.fill(blocks.body, blocks.start, blocks.end);
  return begun;
}

/** What was decided about a response: whether and as what it is stored. */
interface Decided extends Keeping {
  readonly storage: FlightStorage;
  readonly bodyLength: number | null;
}

type DecidedLarge = Decided & { readonly storage: Stored; readonly bodyLength: number };

function decide(
  x: RoutedExchange,
  context: EdgeContext,
  response: UpstreamResponse,
  owned: TierResponse | null,
): Decided {
  const { fields, status, bodyLength } = response;
  const coding = codingOf(fields.get("content-encoding"));
  const vary = varyOf(x, fields, coding);
  return {
    response,
    bodyLength,
    storage: owned?.storage ?? storageOf(x, context, response),
    coding,
    vary,
    variant: variantOf(x.secondary, vary, x.request.fields),
    negotiable: isNegotiable(x.behavior, status, fields, bodyLength),
    tags: readTags(fields, x.authority, x.site.foldsTags),
    owned,
  };
}

/** Is it for the disk alone? */
function isLarge(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  decided: Decided,
): decided is DecidedLarge {
  const { storage, response, bodyLength, coding, negotiable, owned } = decided;
  return (
    storage.store &&
    owned === null &&
    !flight.invalidated &&
    response.status === 200 &&
    bodyLength !== null &&
    bodyLength > MEMORY_BODY_BYTES_MAX &&
    coding === "identity" &&
    !negotiable &&
    mayBeOnDisk(x, context)
  );
}

function beginLarge(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  decided: DecidedLarge,
): Extract<FlightOutcome, { kind: "large" }> | null {
  const kept = keepLarge(x, context, flight, decided, decided.storage, decided.bodyLength);
  return kept === null ? null : { kind: "large", ...kept, reusable: kept.entry.reusable };
}

function staleUntilMs(x: RoutedExchange, entry: StoredResponse, context: EdgeContext): number {
  const freshness = lifeOf(x, entry, context, context.clock.now());
  return Math.max(freshness.whileRevalidateUntilMs, freshness.ifErrorUntilMs);
}

/** Does an answer that is not stored end the life of the one it was to replace? One viewer's own answer does not. */
function supersedes({ status, storage }: FlightResponse): boolean {
  if (storage.store || ERROR_STATUSES.has(status)) return false;
  return (
    storage.reason === "response-no-store" ||
    storage.reason === "response-no-freshness" ||
    storage.reason === "response-vary-star"
  );
}

function receiveResponse(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  decided: Decided,
): FlightResponse {
  const { response, owned, vary, variant, negotiable, tags } = decided;
  const { fields, status } = response;
  // The disk did not take what is too large for memory.
  const storage =
    owned === null &&
    decided.storage.store &&
    (response.bodyLength ?? 0) > context.store.objectBytesMaxOf(x.site.id)
      ? ({ store: false, reason: "response-too-large" } as const)
      : decided.storage;
  const shareError =
    !storage.store &&
    storage.reason === "response-no-freshness" &&
    status >= 500 &&
    isImpersonal(x.request.fields);
  const fill = new Fill(response.body ?? bodyOf(new Uint8Array(0)), {
    clock: context.clock,
    budget: context.fillBudget,
    readsOn: storage.store,
    retainBytesMax: storage.store
      ? owned === null
        ? context.store.objectBytesMaxOf(x.site.id)
        : copyBytesMax(x, context, response.bodyLength)
      : shareError
        ? SHARED_ERROR_BYTES_MAX
        : mayBeWhole(fields, response.bodyLength)
          ? WHOLE_BODY_BYTES_MAX
          : 0,
  });
  learn(x, context, status, decided.storage);
  if (!storage.store && !shareError && owned === null)
    context.store.markPass(x.base, context.clock.now() + PASS_MS, storage.reason);
  if (storage.store || shareError) fill.start();
  let kept: StoredResponse | null | undefined = null;
  let settled = NOT_KEPT;
  if (storage.store && fill.state === "complete") {
    // A small body mostly comes with its head: it is stored before anybody has to wait for it.
    kept = settle(x, context, flight, decided, storage, fill, fill.retained);
    settled = Promise.resolve(kept);
  } else if (storage.store) {
    kept = undefined;
    settled = settleLater(x, context, flight, decided, storage, fill);
  }
  return {
    kind: "response",
    status,
    fields,
    bodyLength: response.bodyLength,
    storage,
    vary,
    variant,
    fill,
    given: owned?.given ?? null,
    negotiable,
    asked: flight.asked,
    tags: tags.tags,
    responseTimeMs: response.responseTimeMs,
    settled,
    kept,
    reusable:
      owned?.tier.reusable ??
      (storage.store ? storage.freshness.freshUntilMs > response.responseTimeMs : shareError),
    tier: owned?.tier ?? null,
  };
}

/** What becomes of a response that is to be stored, when its body has ended: whole and retained, or not. */
function settle(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  decided: Decided,
  storage: Stored,
  fill: Fill,
  whole: boolean,
): StoredResponse | null {
  if (whole && !flight.invalidated) return keep(x, context, flight, decided, storage, fill);
  if (decided.owned === null && fill.state !== "failed" && !fill.retained)
    context.store.markPass(x.base, context.clock.now() + PASS_MS, "response-too-large");
  return null;
}

async function settleLater(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  decided: Decided,
  storage: Stored,
  fill: Fill,
): Promise<StoredResponse | null> {
  return settle(x, context, flight, decided, storage, fill, await fill.whole());
}

/** What an answer says about others of its folder; an error says nothing, and neither does what one viewer's request was like. */
function learn(
  x: RoutedExchange,
  { forecast, store, clock }: EdgeContext,
  status: number,
  storage: FlightStorage,
): void {
  if (status >= 400) return;
  const nowMs = clock.now();
  if (storage.store) forecast.storable(x.base, nowMs);
  // One URL asked for eight times says nothing about others.
  else if (isOfResponse(storage.reason) && nowMs >= (store.get(x.base)?.pass?.untilMs ?? 0))
    forecast.unstorable(x.base, storage.reason, nowMs);
}

function isOfResponse(reason: Extract<FlightStorage, { store: false }>["reason"]): reason is NotStoredReason {
  switch (reason) {
    case "response-no-store":
    case "response-private":
    case "response-set-cookie":
    case "response-vary-star":
    case "response-no-freshness":
      return true;
    default:
      return false;
  }
}

/** Most of an owner's response that is kept as a copy here; 0 when it is known to be larger. */
function copyBytesMax(x: RoutedExchange, context: EdgeContext, bodyLength: number | null): number {
  const bytesMax = Math.min(HOT_COPY_BYTES_MAX, context.store.objectBytesMaxOf(x.site.id));
  return (bodyLength ?? 0) > bytesMax ? 0 : bytesMax;
}

/** Fields that say nothing of who asks; any other one may be a credential of some kind. */
const IMPERSONAL =
  /^(?:host|connection|keep-alive|te|accept(?:-.*)?|user-agent|referer|origin|cache-control|pragma|range|if-.*|dnt|upgrade-insecure-requests|sec-.*|priority|save-data|content-.*|via|forwarded|x-forwarded-.*|cdn-loop|access-control-request-.*|traceparent|tracestate)$/;

/** True when nothing in a request tells one viewer from another: even an error may be given to those who wait with it. */
function isImpersonal(fields: FieldReader): boolean {
  const flat = flatOf(fields);
  for (let i = 0; i < flat.length; i += 2) if (!IMPERSONAL.test(flat[i] as string)) return false;
  return true;
}
