/** What is stored of an answer, and under which variant: the decision, the tags, and the stored response itself. */
import type { Fill } from "../cache/fill.ts";
import type { Freshness, Storage, StorageRequest } from "../cache/freshness.ts";
import { decideStorage } from "../cache/freshness.ts";
import { keyQuery } from "../cache/key.ts";
import type { LargeBody } from "../cache/large-body.ts";
import { INLINE_BODY_BYTES_MAX, OWNERLESS_MS_MAX } from "../cache/limits.ts";
import type { StoredBody, StoredParts, StoredResponse } from "../cache/stored.ts";
import type { Tags } from "../cache/tags.ts";
import { parseHttpDate } from "../http/date.ts";
import type { Fields } from "../http/fields.ts";
import { NO_NAMES, parseVary } from "../http/vary.ts";
import type { codingOf } from "../optimize/codings.ts";
import type { UpstreamResponse } from "../upstream/next-hop.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import type { Flight, FlightStorage } from "./flights.ts";
import { cookieForwardedUnkeyed } from "./phases/origin-request.ts";
import { isEventStream, storedFields } from "./phases/viewer-fields.ts";
import { COMPRESS_BYTES_MAX, COMPRESS_BYTES_MIN } from "./settings.ts";
import type { TierResponse } from "./tier.ts";

/** The names that choose among variants here. */
export function varyOf(
  x: RoutedExchange,
  fields: Fields,
  coding: ReturnType<typeof codingOf>,
): readonly string[] {
  const names = parseVary(fields.get("vary"));
  if (names === "*") return NO_NAMES;
  // Where the edge negotiates codings itself it always asks the same way: that part of Vary is settled.
  if (x.behavior.compress)
    return names.includes("accept-encoding") ? names.filter((name) => name !== "accept-encoding") : names;
  // An origin that encodes and does not say so: its answer still is for those only who take the coding.
  return coding === "identity" || names.includes("accept-encoding")
    ? names
    : ["accept-encoding", ...names].sort();
}

export function storageRequest(x: RoutedExchange): StorageRequest {
  return {
    path: x.originPath,
    authorized: x.request.fields.has("authorization"),
    cookieForwardedUnkeyed: cookieForwardedUnkeyed(x),
    spread: x.behavior.ttl.jitterFraction === 0 ? 0 : Bun.hash.xxHash32(x.base) / 2 ** 32,
  };
}

export function storageOf(
  x: RoutedExchange,
  context: EdgeContext,
  response: UpstreamResponse,
): FlightStorage {
  const { fields, status } = response;
  const decided = decideStorage(
    storageRequest(x),
    {
      status,
      fields,
      completable: response.framing !== "close",
      requestTimeMs: response.requestTimeMs,
      responseTimeMs: response.responseTimeMs,
    },
    x.behavior.ttl,
  );
  if (!decided.store) return decided;
  const freshness = asGiven(decided.freshness, response);
  const storage = freshness === decided.freshness ? decided : { ...decided, freshness };
  // A stream of events is one viewer's: it has no end, and another would be given events of the past.
  if (isEventStream(fields)) return { store: false, reason: "response-not-cacheable" };
  const inMemory = context.store.objectBytesMaxOf(x.site.id);
  const bytesMax = mayBeOnDisk(x, context) ? Math.max(inMemory, context.disk?.objectBytesMax ?? 0) : inMemory;
  if ((response.bodyLength ?? 0) > bytesMax) return { store: false, reason: "response-too-large" };
  if (status >= 300 && status < 400 && leadsBack(x, fields.get("location")))
    return { store: false, reason: "response-self-redirect" };
  return storage;
}

/**
 * What a shield gave is fresh for no longer than it is there: lifetimes of the operator count once, not once
 * for each tier, and what the shield serves stale (it was purged softly, its origin is silent) is stale here.
 */
export function asGiven(freshness: Freshness, response: UpstreamResponse): Freshness {
  const { freshUntilMs, whileRevalidateUntilMs, ifErrorUntilMs } = freshness;
  const moreMs = freshUntilMs - response.responseTimeMs - (response.freshMs ?? Number.POSITIVE_INFINITY);
  if (moreMs <= 0) return freshness;
  return {
    ...freshness,
    freshUntilMs: freshUntilMs - moreMs,
    whileRevalidateUntilMs: whileRevalidateUntilMs - moreMs,
    ifErrorUntilMs: ifErrorUntilMs - moreMs,
  };
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

/** The decision that a response is to be stored. */
export type Stored = Extract<Storage, { store: true }>;

/** What a response is stored as. */
export interface Keeping {
  readonly response: UpstreamResponse;
  readonly vary: readonly string[];
  readonly variant: string;
  readonly negotiable: boolean;
  readonly coding: ReturnType<typeof codingOf>;
  readonly tags: Tags;
  readonly owned: TierResponse | null;
}

/** Stores a response whose body is whole. */
export function keep(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  keeping: Keeping,
  storage: Stored,
  fill: Fill,
): StoredResponse | null {
  const { owned, coding } = keeping;
  const body = joinPieces(fill.takePieces());
  const length = body instanceof Uint8Array ? body.byteLength : body.size;
  const negotiable =
    keeping.negotiable &&
    (coding !== "identity" || (length >= COMPRESS_BYTES_MIN && length <= COMPRESS_BYTES_MAX));
  const parts = partsOf(x, context, flight, keeping, storage, body, negotiable);
  const stored = context.store.put(x.base, keeping.vary, keeping.variant, parts, x.behavior.variantsMax);
  if (stored === null) return null;
  if (owned !== null) stored.copy = owned.copy;
  // Now, while the marks of purges that it is older than are still there.
  if (!context.purges.holds(stored)) return stored;
  if (owned === null && !x.ownerless && mayBeOnDisk(x, context)) context.disk?.save(stored);
  return stored;
}

/** Begins to store a large response, whose body is still on its way. Null when the disk does not take it. */
export function keepLarge(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  keeping: Keeping,
  storage: Stored,
  length: number,
): { readonly entry: StoredResponse; readonly body: LargeBody } | null {
  const { vary, variant } = keeping;
  const parts = partsOf(x, context, flight, keeping, storage, null, keeping.negotiable);
  const body = context.disk?.startLarge(x.base, vary, variant, parts, length) ?? null;
  if (body === null) return null;
  const stored = { ...parts, body };
  const entry =
    context.store.put(x.base, vary, variant, stored, x.behavior.variantsMax) ??
    context.store.unkept(x.base, vary, variant, stored);
  entry.disk = body.variant;
  body.onGone = () => context.store.remove(entry);
  context.purges.holds(entry);
  return { entry, body };
}

/** What is stored of a response; its body is null where it comes later. */
function partsOf<Body extends StoredBody | null>(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  keeping: Keeping,
  storage: Stored,
  body: Body,
  negotiable: boolean,
): Omit<StoredParts, "body"> & { readonly body: Body } {
  const { response, owned, tags } = keeping;
  const fields = storedFields(response.fields, storage.removeFields);
  // What a limit cut off is counted once for the node, so that nobody relies on a purge that can not work.
  if (owned === null && tags.dropped > 0) context.stats.recordTagsDropped(tags.dropped);
  return {
    status: response.status,
    fields,
    coding: keeping.coding ?? "identity",
    body,
    negotiable,
    freshness: x.ownerless ? shortLived(storage.freshness, context.clock.now()) : storage.freshness,
    tags: tags.tags,
    validSequence: Math.min(
      flight.asked.sequence,
      owned?.tier.valid.sequence ?? response.validSequence ?? Number.POSITIVE_INFINITY,
    ),
    validLocal: Math.min(flight.asked.local, owned?.tier.valid.local ?? Number.POSITIVE_INFINITY),
    etag: fields.get("etag"),
    lastModifiedMs: parseHttpDate(fields.get("last-modified")),
    dateMs: parseHttpDate(fields.get("date")) ?? response.responseTimeMs,
    storedAtMs: response.responseTimeMs,
  };
}

/** May what comes for this request be kept on disk? What lies in a directory of this machine is on a disk already. */
export function mayBeOnDisk(x: RoutedExchange, context: EdgeContext): boolean {
  return context.disk?.owns(x.base) === true && !context.origins.isLocal(x.site, x.origin);
}

/** What was fetched while its owner was down is not kept for long. */
function shortLived(freshness: Freshness, nowMs: number): Freshness {
  const untilMs = nowMs + OWNERLESS_MS_MAX;
  return {
    ...freshness,
    freshUntilMs: Math.min(freshness.freshUntilMs, untilMs),
    whileRevalidateUntilMs: Math.min(freshness.whileRevalidateUntilMs, untilMs),
  };
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
