/** What is stored of an answer, and under which variant: the decision, the tags, and the stored response itself. */
import type { Fill } from "../cache/fill.ts";
import type { Freshness, Storage, StorageRequest } from "../cache/freshness.ts";
import { decideStorage } from "../cache/freshness.ts";
import { keyQuery } from "../cache/key.ts";
import { INLINE_BODY_BYTES_MAX, OWNERLESS_MS_MAX } from "../cache/limits.ts";
import type { StoredResponse } from "../cache/stored.ts";
import type { Tags } from "../cache/tags.ts";
import { parseHttpDate } from "../http/date.ts";
import type { Fields } from "../http/fields.ts";
import { parseVary } from "../http/vary.ts";
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
  if (names === "*") return [];
  // Where the edge negotiates codings itself it always asks the same way: that part of Vary is settled.
  if (x.behavior.compress) return names.filter((name) => name !== "accept-encoding");
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
  const storage = decideStorage(
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
  if (!storage.store) return storage;
  // A stream of events is one viewer's: it has no end, and another would be given events of the past.
  if (isEventStream(fields)) return { store: false, reason: "response-not-cacheable" };
  if ((response.bodyLength ?? 0) > context.store.objectBytesMax)
    return { store: false, reason: "response-too-large" };
  if (status >= 300 && status < 400 && leadsBack(x, fields.get("location")))
    return { store: false, reason: "response-self-redirect" };
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

export function keep(
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
    readonly tags: Tags;
    readonly owned: TierResponse | null;
  },
): StoredResponse | null {
  const { response, storage, owned } = parts;
  const body = joinPieces(parts.fill.takePieces());
  const length = body instanceof Uint8Array ? body.byteLength : body.size;
  const fields = storedFields(response.fields, storage.removeFields);
  // What a limit cut off is counted once for the node, so that nobody relies on a purge that can not work.
  if (owned === null && parts.tags.dropped > 0) context.stats.recordTagsDropped(parts.tags.dropped);
  const stored = context.store.put(
    x.base,
    parts.vary,
    parts.variant,
    {
      status: response.status,
      fields,
      body,
      coding: parts.coding ?? "identity",
      negotiable:
        parts.negotiable &&
        (parts.coding !== "identity" || (length >= COMPRESS_BYTES_MIN && length <= COMPRESS_BYTES_MAX)),
      freshness: x.ownerless ? shortLived(storage.freshness, context.clock.now()) : storage.freshness,
      tags: parts.tags.tags,
      validSequence: Math.min(flight.asked.sequence, owned?.tier.valid.sequence ?? Number.POSITIVE_INFINITY),
      validLocal: Math.min(flight.asked.local, owned?.tier.valid.local ?? Number.POSITIVE_INFINITY),
      etag: fields.get("etag"),
      lastModifiedMs: parseHttpDate(fields.get("last-modified")),
      dateMs: parseHttpDate(fields.get("date")) ?? response.responseTimeMs,
      storedAtMs: response.responseTimeMs,
    },
    x.behavior.variantsMax,
  );
  if (stored !== null && owned !== null) stored.copy = owned.copy;
  return stored;
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
