import { decideStorage } from "../cache/freshness.ts";
import { variantOf } from "../cache/key.ts";
import type { StoredResponse } from "../cache/stored.ts";
import { readTags } from "../cache/tags.ts";
import { weakMatch } from "../http/conditional.ts";
import { formatHttpDate, parseHttpDate } from "../http/date.ts";
import type { Fields } from "../http/fields.ts";
import type { UpstreamResponse } from "../upstream/next-hop.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import type { Flight, FlightOutcome } from "./flights.ts";
import { storedFields } from "./phases/viewer-fields.ts";
import { asGiven, mayBeOnDisk, storageRequest, varyOf } from "./storing.ts";

/** 304: the stored response gets the new fields and a new life (RFC 9111 section 4.3.4). Null when it does not fit. */
export function freshen(
  x: RoutedExchange,
  context: EdgeContext,
  flight: Flight,
  entry: StoredResponse,
  response: UpstreamResponse,
): Extract<FlightOutcome, { kind: "freshened" }> | null {
  if (!isSameRepresentation(entry, response.fields)) return null;
  const fields = entry.fields;
  const update = storedFields(response.fields, [
    "content-encoding",
    "content-type",
    "content-range",
    "set-cookie",
    ...(entry.etag === null ? [] : ["etag"]),
  ]);
  // A 304 without a Date was made when it was received (RFC 9110 section 6.6.1), not when the stored one was.
  if (parseHttpDate(update.get("date")) === null) update.set("date", formatHttpDate(response.responseTimeMs));
  const seen = new Set<string>();
  for (const [name, value] of update.entries()) {
    if (seen.has(name)) fields.append(name, value);
    else fields.set(name, value);
    seen.add(name);
  }
  const storage = decideStorage(
    storageRequest(x),
    {
      status: entry.status,
      fields: withAge(fields, response.fields),
      completable: true,
      requestTimeMs: response.requestTimeMs,
      responseTimeMs: response.responseTimeMs,
    },
    x.behavior.ttl,
  );
  if (storage.store) for (const name of storage.removeFields) fields.delete(name);
  entry.setFields(fields, response.responseTimeMs);
  if (!storage.store) {
    // The origin now says that it may not be kept: it serves the one who asked, and goes.
    context.store.remove(entry);
    return { kind: "freshened", entry, reusable: false };
  }
  entry.renew(asGiven(storage.freshness, response), response.responseTimeMs);
  // Confirmed as of when this was asked; tags that a 304 does not repeat stay.
  entry.validSequence = Math.min(flight.asked.sequence, response.validSequence ?? Number.POSITIVE_INFINITY);
  entry.validLocal = flight.asked.local;
  const { tags } = readTags(response.fields, x.authority, x.site.foldsTags);
  if (tags.length > 0) entry.tags = tags;
  context.store.recount(entry);
  // What was not worth its place on disk, or found none, may be now.
  if (entry.disk === null && mayBeOnDisk(x, context)) context.disk?.save(entry);
  else context.disk?.renew(entry);
  // A purge that came since this was asked has its word, while its mark is still there.
  if (!context.purges.holds(entry)) return { kind: "freshened", entry, reusable: false };
  const reusable = entry.freshness.freshUntilMs > response.responseTimeMs;
  const vary = varyOf(x, fields, entry.coding);
  if (vary.join() === entry.vary.join() || flight.invalidated || !context.store.holds(entry))
    return { kind: "freshened", entry, reusable };
  // The 304's Vary is another: the response is filed anew, under what this request said.
  if (entry.large !== null) {
    // Its place on disk is bound to the old one: it serves the one who asked, and goes.
    context.store.remove(entry);
    return { kind: "freshened", entry, reusable: false };
  }
  const moved = refile(x, context, entry, vary);
  return { kind: "freshened", entry: moved, reusable };
}

/** Is what a 304 speaks of the stored response (RFC 9111 section 4.3.4)? By ETag; without one by Last-Modified. */
function isSameRepresentation(entry: StoredResponse, fields: Fields): boolean {
  const etag = fields.get("etag");
  if (etag !== null && entry.etag !== null) return weakMatch(etag, entry.etag);
  const lastModified = fields.get("last-modified");
  return (
    etag !== null ||
    lastModified === null ||
    entry.etag !== null ||
    lastModified === entry.fields.get("last-modified")
  );
}

function refile(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse,
  vary: readonly string[],
): StoredResponse {
  context.store.remove(entry);
  const variant = variantOf(x.secondary, vary, x.request.fields);
  const moved = context.store.put(x.base, vary, variant, entry.parts, x.behavior.variantsMax);
  if (moved === null) return entry;
  context.disk?.save(moved);
  return moved;
}

function withAge(fields: Fields, received: Fields): Fields {
  const age = received.get("age");
  if (age === null) return fields;
  const copy = fields.clone();
  copy.set("age", age);
  return copy;
}
