/**
 * deliver, for bodies that are not stored (yet): from a flight that others may share, or from an
 * exchange that is this viewer's alone. A small body is sent whole, so that its length is known.
 */
import type { Clock } from "../../base/clock.ts";
import { Fill } from "../../cache/fill.ts";
import type { Coding, StoredResponse } from "../../cache/stored.ts";
import { acceptedCodings } from "../../http/accept-encoding.ts";
import type { BodyReader } from "../../http/body.ts";
import { bodyOf, joinBytes } from "../../http/body.ts";
import { evaluateConditional } from "../../http/conditional.ts";
import { parseHttpDate } from "../../http/date.ts";
import type { Fields } from "../../http/fields.ts";
import type { ByteRange } from "../../http/range.ts";
import { codingOf, decodeStream, encodeBytes, encodeStream } from "../../optimize/codings.ts";
import type { EdgeContext } from "../context.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { FlightResponse } from "../flights.ts";
import type { ViewerBody, ViewerResponse } from "../message.ts";
import {
  COMPRESS_BYTES_MIN,
  UNKNOWN_LENGTH_WAIT_MS,
  WHOLE_BODY_BYTES_MAX,
  WHOLE_BODY_WAIT_MS,
} from "../settings.ts";
import { deliverStored } from "./deliver.ts";
import { askOrigin } from "./fetch.ts";
import { partial, planRanges, RangeSource, unsatisfiable } from "./ranges.ts";
import {
  addVary,
  applyResponseRules,
  ensureDate,
  isNegotiable,
  lengthenBrowserTtl,
  mayBeWhole,
  NOT_ON_304,
  recode,
  statusFields,
  viewerFields,
} from "./viewer-fields.ts";

/** Answers from a flight: from the stored response when it is whole soon enough, else from the body on its way. */
export function deliverFlight(
  x: RoutedExchange,
  context: EdgeContext,
  flight: FlightResponse,
): ViewerResponse | Promise<ViewerResponse> {
  if (flight.kept != null && isSentWhole(flight)) return deliverKept(x, context, flight, flight.kept);
  // Whoever does not wait for the store reads at once.
  const waits = flight.storage.store && isSentWhole(flight) && flight.kept === undefined;
  return waits ? deliverWhenKept(x, context, flight) : answerNow(x, context, flight);
}

async function deliverWhenKept(
  x: RoutedExchange,
  context: EdgeContext,
  flight: FlightResponse,
): Promise<ViewerResponse> {
  // From the first byte on: while this waits, the body may outgrow what is stored, and is dropped where nobody reads it.
  const place = flight.fill.join();
  try {
    const waitMs = flight.bodyLength === null ? UNKNOWN_LENGTH_WAIT_MS : WHOLE_BODY_WAIT_MS;
    const entry = await within(flight.settled, waitMs, context.clock);
    return await (entry === null ? answerNow(x, context, flight) : deliverKept(x, context, flight, entry));
  } finally {
    place.cancel();
  }
}

function isSentWhole({ bodyLength }: FlightResponse): boolean {
  return (bodyLength ?? 0) <= WHOLE_BODY_BYTES_MAX;
}

/** Answers from what was stored of the flight. */
function deliverKept(
  x: RoutedExchange,
  context: EdgeContext,
  flight: FlightResponse,
  entry: StoredResponse,
): ViewerResponse | Promise<ViewerResponse> {
  const answer = deliverStored(x, entry, context.clock.now(), context);
  // Nearly nothing is kept out of the store.
  if (x.collapsed || fieldsNotForOthers(flight).length === 0) return answer;
  return answer instanceof Promise ? laterWithOwnFields(flight, answer) : withOwnFields(flight, answer);
}

async function laterWithOwnFields(
  flight: FlightResponse,
  answer: Promise<ViewerResponse>,
): Promise<ViewerResponse> {
  return withOwnFields(flight, await answer);
}

/** Answers from the body as far as it has come. */
function answerNow(
  x: RoutedExchange,
  context: EdgeContext,
  flight: FlightResponse,
): ViewerResponse | Promise<ViewerResponse> {
  const fields = viewerFields(flight.fields, x, context.settings, flight.storage.store);
  ensureDate(fields, flight.responseTimeMs);
  describe(x, context, flight, fields);
  if (x.collapsed) for (const name of fieldsNotForOthers(flight)) fields.delete(name);
  if (flight.given?.kind === "unchanged" || isNotModified(x, flight.status, fields)) {
    flight.fill.letGo();
    return bodyless(x, 304, fields);
  }
  if (x.method === "HEAD") {
    flight.fill.letGo();
    if (flight.negotiable) chooseCoding(x, fields);
    return bodyless(x, flight.status, fields);
  }
  const ranged = rangeOf(x, flight, fields);
  if (ranged !== null) return { ...ranged, fields: ruled(ranged.fields, x) };
  const { status, negotiable } = flight;
  const body = wholeOrStream(flight.fill, flight.bodyLength, context.clock, fields);
  return body instanceof Promise
    ? codedLater(x, status, fields, body, negotiable)
    : coded(x, status, fields, body, negotiable);
}

/** Age and the cache's words about a response that is still on its way into the store, or never goes there. */
function describe(x: RoutedExchange, context: EdgeContext, flight: FlightResponse, fields: Fields): void {
  if (!flight.storage.store) {
    statusFields(fields, x, context.settings, { freshMs: null });
    return;
  }
  const { bornMs, freshUntilMs } = flight.storage.freshness;
  const nowMs = context.clock.now();
  const ageSeconds = Math.max(0, Math.floor((nowMs - bornMs) / 1000));
  statusFields(fields, x, context.settings, {
    freshMs: freshUntilMs - nowMs,
    ageSeconds,
  });
  lengthenBrowserTtl(fields, x, ageSeconds);
}

/** What `private="..."`, `no-cache="..."` or the behaviour keep out of the store: it is for the one who asked. */
function fieldsNotForOthers(flight: FlightResponse): readonly string[] {
  return flight.storage.store ? flight.storage.removeFields : [];
}

/** Gives the viewer who asked the fields that were kept out of the store. */
function withOwnFields(flight: FlightResponse, response: ViewerResponse): ViewerResponse {
  const names = fieldsNotForOthers(flight).filter((name) => flight.fields.has(name));
  if (names.length === 0) return response;
  const fields = response.fields.clone();
  for (const [name, value] of flight.fields.entries()) if (names.includes(name)) fields.append(name, value);
  return { status: response.status, fields, body: response.body };
}

/** Does the viewer have this representation already (RFC 9110 section 13.2)? */
function isNotModified(x: RoutedExchange, status: number, fields: Fields): boolean {
  const asked = x.request.fields;
  if (status !== 200 || !(asked.has("if-none-match") || asked.has("if-modified-since"))) return false;
  const stored = {
    etag: fields.get("etag"),
    lastModifiedMs: parseHttpDate(fields.get("last-modified")),
    dateMs: parseHttpDate(fields.get("date")),
  };
  return evaluateConditional(x.method, asked, stored) === "not-modified";
}

function bodyless(x: RoutedExchange, status: number, fields: Fields): ViewerResponse {
  if (status === 304) for (const name of NOT_ON_304) fields.delete(name);
  return { status, fields: ruled(fields, x), body: null };
}

/** Ranges cut from a body on its way, when its length is known and they come in order. */
function rangeOf(x: RoutedExchange, flight: FlightResponse, fields: Fields): ViewerResponse | null {
  const { bodyLength } = flight;
  if (!x.request.fields.has("range") || flight.status !== 200 || bodyLength === null) return null;
  const coding = codingOf(fields.get("content-encoding"));
  if (coding !== "identity" && !accepts(x, coding)) return null;
  const about = {
    length: bodyLength,
    etag: fields.get("etag"),
    lastModifiedMs: parseHttpDate(fields.get("last-modified")),
    dateMs: parseHttpDate(fields.get("date")) ?? flight.responseTimeMs,
  };
  const given = flight.given?.kind === "unchanged" ? null : flight.given;
  const plan = given ?? planRanges(x.method, x.request.fields, about);
  fields.set("accept-ranges", "bytes");
  if (plan.kind === "unsatisfiable") {
    flight.fill.letGo();
    return unsatisfiable(fields, bodyLength);
  }
  // A body from its beginning is read once: ranges that go back are answered with the whole (RFC 9110 section 14.2).
  if (plan.kind === "whole" || (given === null && !inOrder(plan.parts))) return null;
  const held = given === null ? [{ start: 0, end: bodyLength - 1 }] : plan.parts;
  const source = new RangeSource(flight.fill.join(), held, plan.parts);
  return partial(fields, bodyLength, plan.parts, (range) => source.reader(range));
}

function inOrder(parts: readonly ByteRange[]): boolean {
  return parts.every(({ start }, i) => i === 0 || start > (parts[i - 1] as ByteRange).end);
}

function accepts(x: RoutedExchange, coding: Coding | null): boolean {
  return (
    coding === null ||
    coding === "identity" ||
    acceptedCodings(x.request.fields.get("accept-encoding")).includes(coding)
  );
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
  x.originFields = response.fields;
  const fields = viewerFields(response.fields, x, context.settings, false);
  ensureDate(fields, response.responseTimeMs);
  statusFields(fields, x, context.settings, { freshMs: null });
  const { body, bodyLength, status } = response;
  // Conditions do not go on with a cacheable request: they are answered here.
  if (options.cacheable && isNotModified(x, status, fields)) {
    body?.cancel();
    return bodyless(x, 304, fields);
  }
  const negotiable = isNegotiable(x.behavior, status, response.fields, bodyLength);
  if (body === null) {
    if (x.method === "HEAD" && negotiable) chooseCoding(x, fields);
    return bodyless(x, status, fields);
  }
  const fill = new Fill(body, {
    clock: context.clock,
    budget: context.fillBudget,
    readsOn: false,
    retainBytesMax: mayBeWhole(fields, bodyLength) ? WHOLE_BODY_BYTES_MAX : 0,
  });
  const sent = wholeOrStream(fill, bodyLength, context.clock, fields);
  return coded(x, status, fields, sent instanceof Promise ? await sent : sent, negotiable);
}

/** The whole body when it is small and comes soon; otherwise the stream of it. */
function wholeOrStream(
  fill: Fill,
  length: number | null,
  clock: Clock,
  fields: Fields,
): ViewerBody | Promise<ViewerBody> {
  const reader = fill.join();
  if (!fill.retained || !mayBeWhole(fields, length)) return reader;
  if (fill.state === "complete") return given(fill, reader, fill.retained);
  return wholeInTime(fill, reader, length === null ? UNKNOWN_LENGTH_WAIT_MS : WHOLE_BODY_WAIT_MS, clock);
}

async function wholeInTime(
  fill: Fill,
  reader: BodyReader,
  waitMs: number,
  clock: Clock,
): Promise<ViewerBody> {
  return given(fill, reader, (await within(fill.whole(), waitMs, clock)) === true);
}

/** The body's bytes where it is whole, and small; otherwise the reader of it. */
function given(fill: Fill, reader: BodyReader, whole: boolean): ViewerBody {
  if (!whole || fill.bytes > WHOLE_BODY_BYTES_MAX) return reader;
  reader.cancel();
  return joinBytes(fill.takePieces());
}

async function codedLater(
  x: RoutedExchange,
  status: number,
  fields: Fields,
  body: Promise<ViewerBody>,
  negotiable: boolean,
): Promise<ViewerResponse> {
  return coded(x, status, fields, await body, negotiable);
}

/** Codes an answer that is not stored as the viewer takes it, and finishes its fields. */
function coded(
  x: RoutedExchange,
  status: number,
  fields: Fields,
  body: ViewerBody,
  negotiable: boolean,
): ViewerResponse | Promise<ViewerResponse> {
  let sent = body;
  if (negotiable && body !== null && !(body instanceof Blob)) {
    const tooSmall = body instanceof Uint8Array && body.byteLength < COMPRESS_BYTES_MIN;
    const { from, to } = chooseCoding(x, fields, tooSmall);
    if (from !== to && from !== "identity") sent = decodeStream(asReader(body), from);
    else if (from !== to && to !== "identity") {
      if (body instanceof Uint8Array) return finishedLater(x, status, fields, encodeBytes(body, to));
      sent = encodeStream(body, to);
    }
  }
  return finished(x, status, fields, sent);
}

async function finishedLater(
  x: RoutedExchange,
  status: number,
  fields: Fields,
  sent: Promise<Uint8Array>,
): Promise<ViewerResponse> {
  return finished(x, status, fields, await sent);
}

function finished(x: RoutedExchange, status: number, fields: Fields, sent: ViewerBody): ViewerResponse {
  if (sent instanceof Uint8Array) fields.set("content-length", String(sent.byteLength));
  return { status, fields: ruled(fields, x), body: sent };
}

/** The coding of a negotiable answer, and the one the viewer gets; the fields are put right for it. */
function chooseCoding(
  x: RoutedExchange,
  fields: Fields,
  tooSmall = false,
): { readonly from: Coding; readonly to: Coding } {
  const from = codingOf(fields.get("content-encoding")) ?? "identity";
  const accepted = acceptedCodings(x.request.fields.get("accept-encoding"));
  // An edge codes for its viewers what it was given as the origin made it.
  const best = tooSmall || x.fromEdge ? "identity" : (accepted[0] ?? "identity");
  const to: Coding = from === "identity" ? best : accepted.includes(from) ? from : "identity";
  if (!x.fromEdge) addVary(fields, "Accept-Encoding");
  if (from !== to) {
    recode(fields, to);
    fields.delete("content-length");
  }
  return { from, to };
}

function asReader(body: Uint8Array | BodyReader): BodyReader {
  return body instanceof Uint8Array ? bodyOf(body) : body;
}

function ruled(fields: Fields, x: RoutedExchange): Fields {
  applyResponseRules(fields, x);
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
