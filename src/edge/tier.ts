/**
 * What workers of a node say to each other about one key, and the asker's side of it. The viewer's phases
 * have run where the viewer came in: the question carries the key and what it was made from, and the owner
 * does not route again. The answer carries the origin's stored fields unmodified and the owner's decision
 * about them, so that a hot copy here is never fresher than the original.
 */
import type { Freshness } from "../cache/freshness.ts";
import type { StoredResponse } from "../cache/stored.ts";
import { type BodyReader, bodyOf } from "../http/body.ts";
import { parseCacheControl } from "../http/cache-control.ts";
import { Fields, flatOf } from "../http/fields.ts";
import {
  UpstreamError,
  type UpstreamErrorCode,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "../upstream/next-hop.ts";
import { DELAY_MS_MAX } from "../upstream/shield/limits.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange, UpstreamTrace } from "./exchange.ts";
import type { FlightStorage } from "./flights.ts";
import type { CacheReason, CacheResult } from "./message.ts";
import type { Owner } from "./peers.ts";
import type { GivenPart } from "./phases/ranges.ts";
import { isShielded } from "./phases/shield.ts";
import type { AskedAt } from "./purges.ts";
import { WHOLE_BODY_BYTES_MAX } from "./settings.ts";

/** A question to an owner. */
export interface TierQuestion {
  readonly snapshot: number;
  readonly site: string;
  /** Index of the behaviour in its site. */
  readonly behavior: number;
  readonly base: string;
  readonly secondary: string;
  readonly keyQuery: string | null;
  readonly originPath: string;
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly hostname: string;
  readonly path: string;
  readonly query: string | null;
  readonly client: string;
  readonly peer: string;
  /** An edge asks this node as its shield. */
  readonly fromEdge: boolean;
  /** The viewer's fields as name, value, name, value, without conditions and ranges. */
  readonly fields: readonly string[];
  /** The viewer's Range and conditions: the owner heeds them for what it keeps on disk alone, and for nothing else. */
  readonly range: string | null;
  readonly ifRange: string | null;
  readonly ifNoneMatch: string | null;
  readonly ifModifiedSince: string | null;
  /** How far the asker has applied purges and invalidations. */
  readonly asked: AskedAt;
  /** Nothing is fetched: only what is stored is wanted. */
  readonly onlyStored: boolean;
  /** The copy that the asker holds: if it is the owner's still, its body need not be sent. */
  readonly have: string | null;
}

/** How the owner came by its answer: what the viewer's answer, the log and the counters tell. */
export interface TierFacts {
  readonly result: CacheResult;
  readonly reason: CacheReason;
  readonly forwarded: RoutedExchange["forwarded"];
  readonly stored: boolean;
  /** It waited at the owner for what another worker's viewer had asked for. */
  readonly collapsed: boolean;
  readonly trace: UpstreamTrace | null;
  /** The purges up to which the answer is valid. */
  readonly valid: AskedAt;
  /** May be given to everyone who waits for it here. */
  readonly reusable: boolean;
}

/** The head of an owner's answer. */
export type TierAnswer =
  /** The owner can not answer for this key now: the asker does without it. */
  | { readonly kind: "unavailable"; readonly why: string }
  /** Not from the cache: the asker fetches it for its viewer alone, and for others until a moment. */
  | { readonly kind: "pass"; readonly reason: CacheReason; readonly untilMs: number }
  | {
      readonly kind: "error";
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
      readonly collapsed: boolean;
      readonly trace: UpstreamTrace | null;
    }
  | ({
      readonly kind: "response";
      /** True when the asker's copy is the same: no body follows. */
      readonly same: boolean;
      /** The owner's name for its stored response; null when it has not stored it (yet). */
      readonly copy: string | null;
      readonly status: number;
      readonly fields: readonly string[];
      readonly storage: FlightStorage;
      readonly bodyLength: number | null;
      /** What of the body follows, when the owner has answered the viewer's Range or condition; null when it is the whole. */
      readonly given: GivenPart | null;
      /** True when the body is complete at the owner. */
      readonly whole: boolean;
      readonly receivedMs: number;
    } & TierFacts);

/** A response that an owner gave. */
export interface TierResponse extends UpstreamResponse {
  readonly tier: TierFacts;
  readonly storage: FlightStorage;
  readonly copy: string | null;
  readonly given: GivenPart | null;
}

/** What asking an owner comes to. */
export type TierOutcome =
  | { readonly kind: "unavailable" }
  | { readonly kind: "pass"; readonly reason: CacheReason; readonly untilMs: number }
  /** The asker's copy stands, with new fields and a new life. */
  | {
      readonly kind: "same";
      readonly fields: Fields;
      readonly freshness: Freshness;
      readonly receivedMs: number;
      readonly tier: TierFacts;
    }
  | { readonly kind: "response"; readonly response: TierResponse };

/** Beside the origin's own limits, in milliseconds: what two workers need between them. */
const TIER_MARGIN_MS = 1_500;
const TIER_CONNECT_MS = 1_000;

/** Fields of a question that its asker answers itself. */
const NOT_ASKED: ReadonlySet<string> = new Set([
  "range",
  "connection",
  "keep-alive",
  "upgrade",
  "te",
  "transfer-encoding",
  "content-length",
]);

/** Asks the owner. Rejects with the UpstreamError that the origin's failure was to the owner. */
export async function askOwner(
  owner: Owner,
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  asked: AskedAt,
): Promise<TierOutcome> {
  let answer: TierAnswer;
  let body: BodyReader;
  let requestTimeMs: number;
  let reused: boolean;
  try {
    const given = await owner.hop.ask(questionOf(x, context, entry, asked), timeoutsOf(x, context));
    // The other end is this very program, of this very version.
    answer = given.head as TierAnswer;
    ({ body, requestTimeMs, reused } = given);
  } catch (error) {
    // An owner that is silent for as long as an origin may be has the same fault; one that is gone has not.
    if (error instanceof UpstreamError && error.code !== "http_response_timeout")
      return { kind: "unavailable" };
    throw error;
  }
  if (answer.kind !== "response") body.cancel();
  x.collapsedAtOwner = "collapsed" in answer && answer.collapsed;
  switch (answer.kind) {
    case "unavailable":
      return { kind: "unavailable" };
    case "pass":
      return answer;
    case "error":
      x.upstream = answer.trace;
      throw new UpstreamError(answer.code as UpstreamErrorCode, answer.message, {
        retryable: answer.retryable,
      });
    case "response":
      break;
  }
  x.upstream = answer.trace;
  const fields = new Fields([...answer.fields]);
  const { storage, receivedMs, bodyLength } = answer;
  if (answer.same && storage.store)
    return { kind: "same", fields, freshness: storage.freshness, receivedMs, tier: answer };
  // A stored response is kept without it; who asks for a HEAD gets it.
  if (bodyLength !== null) fields.set("content-length", String(bodyLength));
  let given = body;
  if (answer.whole && bodyLength !== null && bodyLength <= WHOLE_BODY_BYTES_MAX) {
    // Taken whole before it is used: an owner that dies in the middle of it is no viewer's loss.
    const bytes = await readWhole(body);
    if (bytes === null) return { kind: "unavailable" };
    given = bodyOf(bytes);
  }
  const response: TierResponse = {
    status: answer.status,
    fields,
    framing: bodyLength === null ? "chunked" : "length",
    bodyLength,
    body: given,
    requestTimeMs,
    responseTimeMs: receivedMs,
    reused,
    tier: answer,
    storage,
    copy: answer.copy,
    given: answer.given,
  };
  return { kind: "response", response };
}

/** True when a request wants what is stored or nothing: a HEAD fetches no body that nobody asked for. */
export function wantsOnlyStored(x: RoutedExchange): boolean {
  return x.method === "HEAD" || parseCacheControl(x.request.fields.get("cache-control")).onlyIfCached;
}

function questionOf(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
  asked: AskedAt,
): TierQuestion {
  const fields: string[] = [];
  const flat = flatOf(x.request.fields);
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    if (!NOT_ASKED.has(name) && !name.startsWith("if-")) fields.push(name, flat[i + 1] as string);
  }
  return {
    snapshot: context.snapshot.number,
    site: x.site.id,
    behavior: x.behavior.index,
    base: x.base,
    secondary: x.secondary,
    keyQuery: x.keyQuery,
    originPath: x.originPath,
    method: x.method,
    scheme: x.scheme,
    authority: x.authority,
    hostname: x.hostname,
    path: x.path,
    query: x.query,
    client: x.client,
    peer: x.request.peerAddress,
    fromEdge: x.fromEdge,
    fields,
    range: x.method === "GET" ? x.request.fields.get("range") : null,
    ifRange: x.request.fields.get("if-range"),
    ifNoneMatch: x.request.fields.get("if-none-match"),
    ifModifiedSince: x.request.fields.get("if-modified-since"),
    asked,
    onlyStored: entry === null && wantsOnlyStored(x),
    have: entry?.copy ?? null,
  };
}

/** The owner may take as long as the origin may, and a little more. */
function timeoutsOf(x: RoutedExchange, context: EdgeContext): UpstreamTimeouts {
  const { timeouts, headMsMax } = context.origins.get(x.site, x.origin);
  return {
    connectMs: TIER_CONNECT_MS,
    firstByteMs: headMsMax + TIER_MARGIN_MS + (isShielded(x, context) ? headMsMax + DELAY_MS_MAX : 0),
    betweenBytesMs: timeouts.betweenBytesMs + TIER_MARGIN_MS,
  };
}

async function readWhole(body: BodyReader): Promise<Uint8Array | null> {
  const pieces: Uint8Array[] = [];
  try {
    for (;;) {
      const now = body.readNow?.();
      const piece = now === undefined ? await body.read() : now;
      if (piece === null) break;
      pieces.push(piece);
    }
  } catch {
    return null;
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}
