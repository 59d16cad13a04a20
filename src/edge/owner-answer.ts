/**
 * The owner's side between the workers of a node: the lookup of pipeline.ts for a viewer who came in at
 * another worker. What differs is what it comes to: not a viewer's response, but the origin's fields and
 * the cache's decision about them, which the asker delivers from.
 */
import { unreachable } from "../base/assert.ts";
import { messageOf } from "../base/errors.ts";
import { LargeBody } from "../cache/large-body.ts";
import { PASS_MS } from "../cache/limits.ts";
import type { StoredResponse } from "../cache/stored.ts";
import { type BodyReader, closing, joinBytes } from "../http/body.ts";
import { Fields } from "../http/fields.ts";
import { UpstreamError } from "../upstream/next-hop.ts";
import type { EdgeContext } from "./context.ts";
import { Exchange, type RoutedExchange } from "./exchange.ts";
import { fits, startFlight, underwayFor } from "./flight.ts";
import type { FlightOutcome, FlightResponse } from "./flights.ts";
import { findStored } from "./lookup.ts";
import type { CacheReason, ViewerRequest } from "./message.ts";
import { endUnfresh, mayUse } from "./phases/cacheability.ts";
import { isUnchanged } from "./phases/deliver.ts";
import { type OpenedLarge, openLarge, selectLarge } from "./phases/deliver-large.ts";
import { within } from "./phases/deliver-stream.ts";
import { chain } from "./phases/ranges.ts";
import { VARIANT_RESTARTS_MAX, WHOLE_BODY_BYTES_MAX, WHOLE_BODY_WAIT_MS } from "./settings.ts";
import { lifeOf, tookTooLong, usableNow } from "./staleness.ts";
import type { TierAnswer, TierFacts, TierQuestion } from "./tier.ts";

/** An answer with its body. */
export interface OwnerReply {
  readonly head: TierAnswer;
  readonly body: null | Uint8Array | Blob | BodyReader;
}

/** What answering needs beside the edge's state. */
export interface OwnerSide {
  readonly context: EdgeContext;
  /** Fetches a stale response anew while it is still served. */
  refresh(x: RoutedExchange, entry: StoredResponse, nowMs: number): void;
  /** Makes names for stored responses that no other worker, and no other start of this one, uses. */
  readonly copyPrefix: string;
}

let copies = 0;

/** Answers a question of another worker. Never rejects. */
export async function answerAsOwner(question: TierQuestion, side: OwnerSide): Promise<OwnerReply> {
  const { context } = side;
  try {
    const { peers, purges } = context;
    if (peers === null || peers.slotOf(question.base) !== peers.slot)
      return unavailable("this worker does not own the key");
    // What the asker knows to be invalid must not come from here.
    if (!(await peers.caughtUp(question.asked, () => purges.now())))
      return unavailable("this worker is behind with invalidations");
    const x = exchangeOf(question, context);
    if (x === null) return unavailable("another snapshot is in force here");
    return (await lookUp(x, question, side)) ?? passOn("not-stored", 0);
  } catch (error) {
    return failed(error, null);
  }
}

/** The asker's exchange as far as it went; null when the snapshots differ. */
function exchangeOf(question: TierQuestion, context: EdgeContext): RoutedExchange | null {
  const site =
    context.snapshot.number === question.snapshot ? context.snapshot.sites.get(question.site) : undefined;
  const behavior = site?.behaviors[question.behavior];
  if (site === undefined || behavior === undefined) return null;
  const x = new Exchange(new AskedRequest(question), context.clock.now());
  x.fromPeer = true;
  x.fromEdge = question.fromEdge;
  x.authority = question.authority;
  x.hostname = question.hostname;
  x.path = question.path;
  x.query = question.query;
  x.forwardedClient = question.client;
  x.site = site;
  x.behavior = behavior;
  x.originPath = question.originPath;
  x.keyQuery = question.keyQuery;
  x.base = question.base;
  x.secondary = question.secondary;
  return x as RoutedExchange;
}

/** The viewer's request as its worker tells it. Nobody here hears that the viewer has gone. */
class AskedRequest implements ViewerRequest {
  readonly #question: TierQuestion;
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly http3 = false;
  readonly fields: Fields;
  readonly peerAddress: string;
  #signal: AbortSignal | null = null;

  constructor(question: TierQuestion) {
    this.#question = question;
    this.method = question.method;
    this.scheme = question.scheme;
    this.fields = fieldsOf(question);
    this.peerAddress = question.peer;
  }

  get url(): string {
    const { scheme, authority, path } = this.#question;
    return `${scheme}://${authority}${path}`;
  }

  body(): null {
    return null;
  }

  // A native object, dear for what is hardly ever asked for.
  get signal(): AbortSignal {
    this.#signal ??= new AbortController().signal;
    return this.#signal;
  }
}

function fieldsOf(question: TierQuestion): Fields {
  const fields = new Fields([...question.fields]);
  if (question.range !== null) fields.set("range", question.range);
  if (question.ifRange !== null) fields.set("if-range", question.ifRange);
  if (question.ifNoneMatch !== null) fields.set("if-none-match", question.ifNoneMatch);
  if (question.ifModifiedSince !== null) fields.set("if-modified-since", question.ifModifiedSince);
  return fields;
}

async function lookUp(
  x: RoutedExchange,
  question: TierQuestion,
  side: OwnerSide,
): Promise<OwnerReply | null> {
  const { context } = side;
  for (let attempt = 0; attempt <= VARIANT_RESTARTS_MAX; attempt++) {
    const nowMs = context.clock.now();
    const found = findStored(x, context);
    const entry = found instanceof Promise ? await found : found;
    if (entry !== null && !mayUse(x, entry.freshness)) return passOn("request-cookie", 0);
    const use = entry === null ? null : usableNow(x, entry, context, nowMs);
    if (entry !== null && use !== null) {
      if (use.refresh) side.refresh(x, entry, nowMs);
      x.end(use.result, use.reason);
      x.forwarded = undefined;
      const reply = await give(x, entry, question, side);
      if (reply !== null) return reply;
      continue;
    }
    if (question.onlyStored) return passOn("not-stored", 0);
    const url = context.store.get(x.base);
    endUnfresh(x, url, entry);
    const pass = url?.pass ?? null;
    if (pass !== null && nowMs < pass.untilMs) return passOn(pass.reason, pass.untilMs);
    const alone = entry !== null && !entry.reusable;
    const underway = x.behavior.collapse && !alone ? underwayFor(x, context, entry) : null;
    if (typeof underway === "string") return passOn(underway, 0);
    x.collapsed = underway !== null;
    const flight = underway ?? startFlight(x, context, entry, x.behavior.collapse && !alone);
    if (entry !== null && (await tookTooLong(x, entry, flight.outcome, context))) {
      x.end("stale", "origin-slow");
      const reply = await give(x, entry, question, side);
      if (reply !== null) return reply;
      continue;
    }
    const reply = await land(x, entry, await flight.outcome, question, side);
    if (reply !== null) return reply;
  }
  return null;
}

/** What a flight's outcome is to the asker; null to look again. */
async function land(
  x: RoutedExchange,
  entry: StoredResponse | null,
  outcome: FlightOutcome,
  question: TierQuestion,
  side: OwnerSide,
): Promise<OwnerReply | null> {
  const { context } = side;
  switch (outcome.kind) {
    case "freshened":
      if (x.collapsed && entry !== outcome.entry) return null;
      if (x.collapsed && !outcome.reusable) return alone(x, entry, question, side);
      x.end("revalidated", "not-modified");
      return give(x, outcome.entry, question, side);
    case "large":
      if (x.collapsed) return null;
      x.stored = true;
      return give(x, outcome.entry, question, side);
    case "stale":
    case "error":
      if (
        entry !== null &&
        context.clock.now() < lifeOf(x, entry, context, context.clock.now()).ifErrorUntilMs
      ) {
        x.end("stale", "stale-if-error");
        return give(x, entry, question, side);
      }
      return outcome.kind === "stale" ? null : failed(outcome.error, x);
    case "pass":
      return passOn(outcome.reason, 0);
    case "response":
      break;
    default:
      return unreachable(outcome);
  }
  const { storage } = outcome;
  if (!storage.store) {
    x.end("bypass", storage.reason);
    if (!x.collapsed) return stream(x, outcome, context);
    if (outcome.reusable && fits(x, outcome, context)) return stream(x, outcome, context);
    return passOn(storage.reason, context.clock.now() + PASS_MS);
  }
  if (x.collapsed && !mayUse(x, storage.freshness)) return passOn("request-cookie", 0);
  if (x.collapsed && !outcome.reusable) {
    const stored = await within(outcome.settled, WHOLE_BODY_WAIT_MS, context.clock);
    return alone(x, stored !== null && fits(x, outcome, context) ? stored : null, question, side);
  }
  if (x.collapsed && !fits(x, outcome, context)) return null;
  x.stored = !x.collapsed;
  const ownFields = !x.collapsed && storage.removeFields.length > 0;
  if (!ownFields && (outcome.bodyLength ?? 0) <= WHOLE_BODY_BYTES_MAX) {
    // It may turn out to be larger than is stored: then it is read from its beginning.
    const body = outcome.fill.join();
    const stored = await within(outcome.settled, WHOLE_BODY_WAIT_MS, context.clock);
    if (stored === null) return stream(x, outcome, context, body);
    body.cancel();
    return give(x, stored, question, side);
  }
  return stream(x, outcome, context);
}

/** Validates for one asker alone. */
async function alone(
  x: RoutedExchange,
  entry: StoredResponse | null,
  question: TierQuestion,
  side: OwnerSide,
): Promise<OwnerReply | null> {
  x.collapsed = false;
  return land(x, entry, await startFlight(x, side.context, entry, false).outcome, question, side);
}

/** A stored response; without its body when the asker holds the same. Null when its version is gone. */
async function give(
  x: RoutedExchange,
  entry: StoredResponse,
  question: TierQuestion,
  side: OwnerSide,
): Promise<OwnerReply | null> {
  const { context } = side;
  context.store.hit(entry);
  if (entry.body instanceof LargeBody) return giveLarge(x, entry, entry.body, context);
  entry.copy ??= `${side.copyPrefix}${++copies}`;
  const same = question.have === entry.copy;
  return { head: { ...headOf(x, entry, context), same, whole: true }, body: same ? null : entry.body };
}

/** What the asker's viewer wants of a large stored response. */
async function giveLarge(
  x: RoutedExchange,
  entry: StoredResponse,
  body: LargeBody,
  context: EdgeContext,
): Promise<OwnerReply | null> {
  if (isUnchanged(x, entry))
    return { head: { ...headOf(x, entry, context), copy: null, given: { kind: "unchanged" } }, body: null };
  const { plan, ranges } = selectLarge(x, entry);
  let opened: OpenedLarge | null;
  try {
    opened = await openLarge(x, context, body, ranges, false);
  } catch (error) {
    return failed(error, x);
  }
  if (opened === null) {
    context.store.remove(entry);
    return null;
  }
  const { read, close } = opened;
  const head = { ...headOf(x, entry, context), copy: null, given: plan };
  const [only] = ranges;
  if (only === undefined) return { head, body: null };
  if (ranges.length === 1) {
    const given = read(only);
    return { head, body: given };
  }
  return { head, body: closing(chain(ranges.map((range) => () => read(range))), close) };
}

/** The head of an answer from a stored response. */
function headOf(
  x: RoutedExchange,
  entry: StoredResponse,
  context: EdgeContext,
): Extract<TierAnswer, { kind: "response" }> {
  return {
    kind: "response",
    ...factsOf(x, context),
    reusable: entry.reusable,
    same: false,
    copy: entry.copy,
    status: entry.status,
    fields: flat(entry.fields),
    storage: { store: true, freshness: entry.freshness, removeFields: [] },
    bodyLength: entry.length,
    given: null,
    whole: false,
    receivedMs: entry.storedAtMs,
  };
}

/** A response on its way. */
function stream(
  x: RoutedExchange,
  outcome: FlightResponse,
  context: EdgeContext,
  body: BodyReader = outcome.fill.join(),
): OwnerReply {
  const { fill } = outcome;
  const { storage, fields } = outcome;
  const own = storage.store && x.collapsed ? storage.removeFields : [];
  const head: TierAnswer = {
    kind: "response",
    ...factsOf(x, context),
    reusable: outcome.reusable,
    same: false,
    copy: null,
    status: outcome.status,
    fields: flat(fields, own),
    storage,
    bodyLength: outcome.bodyLength,
    given: null,
    whole: false,
    receivedMs: outcome.responseTimeMs,
  };
  if (fill.state !== "complete" || !fill.retained || fill.bytes > WHOLE_BODY_BYTES_MAX) return { head, body };
  body.cancel();
  return { head: { ...head, whole: true }, body: joinBytes(fill.takePieces()) };
}

function factsOf(x: RoutedExchange, context: EdgeContext): Omit<TierFacts, "reusable"> {
  const { result, reason, forwarded, stored, collapsed, upstream } = x;
  // What is given was just held against every purge that is known here.
  return {
    result,
    reason,
    forwarded,
    stored,
    collapsed,
    trace: collapsed ? null : upstream,
    valid: context.purges.now(),
  };
}

function flat(fields: Fields, leftOut: readonly string[] = []): readonly string[] {
  const { flat: all } = fields;
  if (leftOut.length === 0) return all;
  const list: string[] = [];
  for (let i = 0; i < all.length; i += 2) {
    const name = all[i] as string;
    if (!leftOut.includes(name)) list.push(name, all[i + 1] as string);
  }
  return list;
}

function passOn(reason: CacheReason, untilMs: number): OwnerReply {
  return { head: { kind: "pass", reason, untilMs }, body: null };
}

function unavailable(why: string): OwnerReply {
  return { head: { kind: "unavailable", why }, body: null };
}

function failed(error: unknown, x: RoutedExchange | null): OwnerReply {
  const known = error instanceof UpstreamError ? error : null;
  return {
    head: {
      kind: "error",
      code: known?.code ?? "proxy_internal_error",
      message: messageOf(error),
      retryable: known?.retryable ?? false,
      collapsed: x?.collapsed ?? false,
      trace: x?.collapsed === false ? x.upstream : null,
    },
    body: null,
  };
}
