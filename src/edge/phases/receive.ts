/**
 * receive: limits, the URL in its one form, and who the viewer is. What is ambiguous is refused here,
 * before a key is made or an origin is asked.
 */
import type { Clock } from "../../base/clock.ts";
import { parseAuthority } from "../../http/authority.ts";
import { countCdnLoop, withoutLast } from "../../http/cdn-loop.ts";
import { type FieldReader, Fields, flatOf } from "../../http/fields.ts";
import { parseForwardedFor } from "../../http/forwarded.ts";
import { parseIp } from "../../http/ip.ts";
import { parseTarget, TARGET_CHARS_MAX } from "../../http/target.ts";
import {
  formatMark,
  PROBE_HOST,
  type Refusal,
  TIER_FIELD,
  verifyTier,
} from "../../upstream/shield/tier-field.ts";
import type { Exchange } from "../exchange.ts";
import type { ViewerResponse } from "../message.ts";
import type { EdgeSettings } from "../settings.ts";
import { LOOP_COUNT_MAX } from "../settings.ts";
import { madeAnswer, refusedEdge } from "./answer.ts";

const METHOD = /^[A-Z][A-Z0-9_-]{0,31}$/;

/** Fills in the exchange's first part; returns an answer when the request is refused. */
export function receive(x: Exchange, settings: EdgeSettings, clock: Clock): ViewerResponse | null {
  const { fields } = x.request;
  if (x.method !== "GET" && (x.method === "CONNECT" || x.method === "TRACE" || !METHOD.test(x.method))) {
    return refuse(x, 405, `method ${x.method.slice(0, 32)} is not served here`, settings);
  }
  if (settings.headerCharsMax !== null && headerChars(fields) > settings.headerCharsMax) {
    return refuse(x, 431, `the header is larger than the allowed ${settings.headerCharsMax} bytes`, settings);
  }
  const length = fields.get("content-length");
  if (length !== null && Number(length) > settings.requestBodyBytesMax) {
    return refuse(
      x,
      413,
      `the request's body is larger than the allowed ${settings.requestBodyBytesMax} bytes`,
      settings,
    );
  }
  const asked = x.request.target ?? x.request.url;
  const target = parseTarget(asked);
  if (target === null) {
    // What is longer than any target is not looked at more closely (RFC 9110 section 15.5.15).
    if (asked.length > TARGET_CHARS_MAX)
      return refuse(x, 414, `the request target is longer than ${TARGET_CHARS_MAX} characters`, settings);
    return refuse(x, 400, "the request target is malformed", settings);
  }
  // Who the peer is costs the runtime as much as a tenth of a hit: asked where it decides something.
  const peer = settings.trustedProxies === null ? null : x.request.peerAddress;
  if (peer !== null && settings.trustedProxies?.has(peer) === true) {
    // The last word is the nearest proxy's own; what stands left of it came from further away.
    const proto = fields.get("x-forwarded-proto")?.split(",").at(-1)?.trim().toLowerCase();
    if (proto === "https" || proto === "http") x.scheme = proto;
    x.forwardedClient = originalClient(fields.get("x-forwarded-for"), peer, settings);
  }
  const authority = parseAuthority(fields.get("host"), x.scheme);
  if (authority === null) return refuse(x, 400, "the Host field is missing or malformed", settings);
  x.authority = authority.authority;
  x.hostname = authority.hostname;
  x.path = target.path;
  x.originPath = target.path;
  x.query = target.query;
  const signature = settings.tierKeys === null ? null : fields.get(TIER_FIELD);
  if (signature !== null) {
    const refusal = receiveEdge(x, settings, signature, clock.steady.now());
    if (refusal !== null) return refusedEdge(x, settings, refusal);
    if (x.authority === PROBE_HOST) return { status: 204, fields: markedFields(), body: null };
    return null;
  }
  const loop = fields.get("cdn-loop");
  if (loop !== null && countCdnLoop(loop, settings.loopId) > LOOP_COUNT_MAX) {
    return refuse(x, 508, "this request has been here before: the origin leads back to this edge", settings);
  }
  return null;
}

/** A request that says it comes from an edge of ours: null when that is so, and this node may answer it as a shield. */
function receiveEdge(x: Exchange, settings: EdgeSettings, signature: string, nowMs: number): Refusal | null {
  const { fields } = x.request;
  const signed = {
    method: x.method,
    authority: x.authority,
    target: x.query === null ? x.path : `${x.path}?${x.query}`,
    fields,
  };
  const claim = verifyTier(signature, settings.tierKeys ?? [], signed, nowMs);
  if (typeof claim === "string") return claim;
  x.fromEdge = true;
  x.scheme = fields.get("x-forwarded-proto") === "https" ? "https" : "http";
  x.forwardedClient = claim.client === "" ? null : claim.client;
  // Numbers of another log say nothing here.
  const { asked } = claim;
  if (asked !== null && asked.log === settings.fleet.log) x.askedSequence = asked.sequence;
  // The last one is the edge's own: the fleet may have one token for all of its nodes.
  const loop = withoutLast(fields.get("cdn-loop"));
  return countCdnLoop(loop, settings.loopId) > LOOP_COUNT_MAX ? "loop" : null;
}

function markedFields(): Fields {
  return Fields.from([[TIER_FIELD, formatMark({})]]);
}

/** The address nearest to us that is not a trusted proxy: what stands left of it can be forged. */
function originalClient(forwardedFor: string | null, peer: string, settings: EdgeSettings): string {
  const chain = parseForwardedFor(forwardedFor);
  let client = peer;
  for (let i = chain.length - 1; i >= 0; i--) {
    const address = chain[i] as string;
    if (parseIp(address) === null) break;
    client = address;
    if (settings.trustedProxies?.has(address) !== true) break;
  }
  return client;
}

/** The size of the header section as it is sent: with ": " and the line's end. */
function headerChars(fields: FieldReader): number {
  let sum = 0;
  const flat = flatOf(fields);
  for (let i = 0; i < flat.length; i += 2)
    sum += (flat[i] as string).length + (flat[i + 1] as string).length + 4;
  return sum;
}

function refuse(x: Exchange, status: number, message: string, settings: EdgeSettings): ViewerResponse {
  x.end("bypass", "bad-request");
  // A 405 names what is allowed (RFC 9110 section 15.5.6); which behaviour is not known yet.
  return madeAnswer(x, settings, {
    status,
    message,
    ...(status === 405 ? { allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" } : {}),
  });
}
