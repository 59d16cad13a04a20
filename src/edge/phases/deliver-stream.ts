/**
 * deliver, for bodies that are not stored (yet): from a flight that others may share, or from an
 * exchange that is this viewer's alone. A small body is sent whole, so that its length is known.
 */
import type { Clock } from "../../base/clock.ts";
import { Fill } from "../../cache/fill.ts";
import type { Coding } from "../../cache/stored.ts";
import { acceptedCodings } from "../../http/accept-encoding.ts";
import { bodyOf } from "../../http/body.ts";
import type { BodyReader } from "../../http/body.ts";
import { parseCacheControl } from "../../http/cache-control.ts";
import { evaluateConditional } from "../../http/conditional.ts";
import { parseHttpDate } from "../../http/date.ts";
import type { Fields } from "../../http/fields.ts";
import { isCompressible } from "../../http/media-type.ts";
import { formatContentRange, ifRangeMatches, parseRange } from "../../http/range.ts";
import { codingOf, decodeStream, encodeBytes, encodeStream } from "../../optimize/codings.ts";
import type { EdgeContext } from "../context.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { FlightResponse } from "../flight.ts";
import type { ViewerBody, ViewerResponse } from "../message.ts";
import { COMPRESS_BYTES_MAX, COMPRESS_BYTES_MIN, UNKNOWN_LENGTH_WAIT_MS, WHOLE_BODY_BYTES_MAX, WHOLE_BODY_WAIT_MS } from "../settings.ts";
import { deliverStored, sliceReader } from "./deliver.ts";
import { askOrigin } from "./fetch.ts";
import { addVary, applyRules, ensureDate, isEventStream, mayBeWhole, recode, statusFields, viewerFields } from "./viewer-fields.ts";

/** Answers from a flight: from the stored response when it is whole soon enough, else from the body on its way. */
export async function deliverFlight(x: RoutedExchange, context: EdgeContext, flight: FlightResponse): Promise<ViewerResponse> {
  if (flight.storage.store && (flight.bodyLength ?? 0) <= WHOLE_BODY_BYTES_MAX) {
    const waitMs = flight.bodyLength === null ? UNKNOWN_LENGTH_WAIT_MS : WHOLE_BODY_WAIT_MS;
    const entry = await within(flight.settled, waitMs, context.clock);
    if (entry !== null) return deliverStored(x, entry, context.clock.now(), context);
  }
  const fields = viewerFields(flight.fields, x.behavior, context.settings, flight.storage.store);
  ensureDate(fields, flight.responseTimeMs);
  const freshUntilMs = flight.storage.store ? flight.storage.freshness.freshUntilMs : null;
  const ttl = freshUntilMs === null ? null : Math.floor((freshUntilMs - flight.responseTimeMs) / 1000);
  statusFields(fields, x, context.settings, { ttlSeconds: ttl });
  if (flight.status === 200) {
    const stored = { etag: fields.get("etag"), lastModifiedMs: parseHttpDate(fields.get("last-modified")) };
    if (evaluateConditional(x.method, x.request.fields, stored) === "not-modified") {
      for (const name of ["content-length", "content-encoding", "content-type"]) fields.delete(name);
      applyRules(fields, x.behavior.responseRules);
      flight.fill.letGo();
      return { status: 304, fields, body: null };
    }
  }
  if (x.method === "HEAD") {
    applyRules(fields, x.behavior.responseRules);
    flight.fill.letGo();
    return { status: flight.status, fields, body: null };
  }
  const ranged = rangeOf(x, flight, fields);
  if (ranged !== null) return { ...ranged, fields: ruled(ranged.fields, x) };
  const body = await wholeOrStream(flight.fill, flight.bodyLength, context.clock, fields);
  return coded(x, flight.status, fields, body, flight.negotiable);
}

/** A single range cut from a body on its way, when its length is known. */
function rangeOf(x: RoutedExchange, flight: FlightResponse, fields: Fields): ViewerResponse | null {
  const value = x.request.fields.get("range");
  if (value === null || flight.status !== 200 || flight.bodyLength === null || x.method !== "GET") return null;
  const coding = codingOf(fields.get("content-encoding"));
  if (coding !== "identity" && !accepts(x, coding)) return null;
  const stored = {
    etag: fields.get("etag"),
    lastModifiedMs: parseHttpDate(fields.get("last-modified")),
    dateMs: parseHttpDate(fields.get("date")) ?? flight.responseTimeMs,
  };
  if (!ifRangeMatches(x.request.fields.get("if-range"), stored)) return null;
  const range = parseRange(value, flight.bodyLength);
  const only = range.kind === "ranges" && range.ranges.length === 1 ? range.ranges[0] : undefined;
  if (only === undefined) return null;
  fields.set("content-range", formatContentRange(only.start, only.end, flight.bodyLength));
  fields.set("content-length", String(only.end - only.start + 1));
  return { status: 206, fields, body: sliceReader(flight.fill.join(), only.start, only.end) };
}

function accepts(x: RoutedExchange, coding: Coding | null): boolean {
  return coding === null || coding === "identity" || acceptedCodings(x.request.fields.get("accept-encoding")).includes(coding);
}

/** Asks the origin for this viewer alone and answers with what comes. Rejects as askOrigin does. */
export async function deliverPass(
  x: RoutedExchange,
  context: EdgeContext,
  options: { readonly cacheable: boolean; readonly keepRange: boolean },
): Promise<ViewerResponse> {
  const response = await askOrigin(x, context, {
    cacheable: options.cacheable,
    revalidate: null,
    method: x.method,
    body: options.cacheable ? null : x.request.body(),
    signal: x.request.signal,
    keepRange: options.keepRange,
  });
  const fields = viewerFields(response.fields, x.behavior, context.settings, false);
  ensureDate(fields, response.responseTimeMs);
  statusFields(fields, x, context.settings, { ttlSeconds: null });
  const { body, bodyLength, status } = response;
  if (body === null) {
    applyRules(fields, x.behavior.responseRules);
    return { status, fields, body: null };
  }
  const negotiable = isNegotiable(x, status, bodyLength, response.fields);
  const fill = new Fill(body, {
    clock: context.clock,
    budget: context.fillBudget,
    readsOn: false,
    retainBytesMax: mayBeWhole(fields, bodyLength) ? WHOLE_BODY_BYTES_MAX : 0,
  });
  const sent = await wholeOrStream(fill, bodyLength, context.clock, fields);
  return coded(x, status, fields, sent, negotiable);
}

function isNegotiable(x: RoutedExchange, status: number, length: number | null, fields: Fields): boolean {
  const coding = codingOf(fields.get("content-encoding"));
  if (!x.behavior.compress || status !== 200 || coding === null || x.method === "HEAD") return false;
  if (length !== null && (length < COMPRESS_BYTES_MIN || length > COMPRESS_BYTES_MAX)) return coding !== "identity";
  if (isEventStream(fields) || parseCacheControl(fields.get("cache-control")).noTransform) return false;
  return coding !== "identity" || isCompressible(fields.get("content-type"));
}

/** The whole body when it is small and comes soon; otherwise the stream of it. */
async function wholeOrStream(fill: Fill, length: number | null, clock: Clock, fields: Fields): Promise<ViewerBody> {
  const reader = fill.join();
  if (fill.retained && mayBeWhole(fields, length)) {
    const whole = await within(fill.whole(), length === null ? UNKNOWN_LENGTH_WAIT_MS : WHOLE_BODY_WAIT_MS, clock);
    if (whole === true && fill.bytes <= WHOLE_BODY_BYTES_MAX) {
      reader.cancel();
      return Buffer.concat(fill.takePieces());
    }
  }
  return reader;
}

/** Chooses the coding of an answer that is not stored, and finishes its fields. */
async function coded(
  x: RoutedExchange,
  status: number,
  fields: Fields,
  body: ViewerBody,
  negotiable: boolean,
): Promise<ViewerResponse> {
  const from = codingOf(fields.get("content-encoding"));
  const accepted = acceptedCodings(x.request.fields.get("accept-encoding"));
  let sent = body;
  if (negotiable && from !== null && body !== null && !(body instanceof Blob)) {
    addVary(fields, "Accept-Encoding");
    const to: Coding = from !== "identity" && accepted.includes(from) ? from : from === "identity" ? (accepted[0] ?? "identity") : "identity";
    if (from !== "identity" && to === "identity") {
      recode(fields, to);
      fields.delete("content-length");
      sent = decodeStream(asReader(body), from);
    } else if (from === "identity" && to !== "identity") {
      const tooSmall = body instanceof Uint8Array && body.byteLength < COMPRESS_BYTES_MIN;
      if (!tooSmall) {
        recode(fields, to);
        fields.delete("content-length");
        sent = body instanceof Uint8Array ? await encodeBytes(body, to) : encodeStream(body, to);
      }
    }
  }
  if (sent instanceof Uint8Array) fields.set("content-length", String(sent.byteLength));
  applyRules(fields, x.behavior.responseRules);
  return { status, fields, body: sent };
}

function asReader(body: Uint8Array | BodyReader): BodyReader {
  return body instanceof Uint8Array ? bodyOf(body) : body;
}

function ruled(fields: Fields, x: RoutedExchange): Fields {
  applyRules(fields, x.behavior.responseRules);
  return fields;
}

/** The promise's value, or null when it takes longer than `waitMs`. */
export async function within<T>(promise: Promise<T>, waitMs: number, clock: Clock): Promise<T | null> {
  let cancel = (): void => undefined;
  const late = new Promise<null>((resolve) => {
    cancel = clock.after(waitMs, () => resolve(null));
  });
  const value = await Promise.race([promise, late]);
  cancel();
  return value;
}
