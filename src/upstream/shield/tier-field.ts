/**
 * `x-proxima-tier`, the one field that an edge and its shield add for each other. In a request it is the
 * edge's signature; in an answer it is the shield's word that it has answered as a shield. Both begin
 * with the version of the protocol.
 *
 * In a fleet a request says up to which entry of the fleet's log its edge has applied it, and the answer
 * up to which it is valid: a shield that is behind catches up first, or does not use what it has stored.
 *
 * The signature is an HMAC-SHA256 with a key derived from the shared secret, over the method, the host,
 * the target, and what the shield would not believe of a viewer. It holds for a minute. It does not hide
 * anything and does not cover the other fields or the answer: over networks that others can read, shields
 * are asked over https (docs/decisions/0017-shields.md).
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { FieldReader, Fields } from "../../http/fields.ts";
import { SIGNATURE_AGE_MS_MAX } from "./limits.ts";

/** The field's name. */
export const TIER_FIELD = "x-proxima-tier";

/** The host of a request that only asks whether the shield lives and takes this edge's signature. */
export const PROBE_HOST = "proxima-shield.invalid";

const VERSION = "1";

/** Fields by which the edge speaks for its viewer. */
const SPOKEN_FOR = ["x-forwarded-for", "x-forwarded-proto", "forwarded"] as const;

/** What a signature is over, beside the fields by which the edge speaks for its viewer. */
export interface SignedRequest {
  readonly method: string;
  /** The viewer's Host, in its normal form. */
  readonly authority: string;
  /** Path and query, in their normal form. */
  readonly target: string;
  readonly fields: FieldReader;
}

/** A place in a fleet's log. */
export interface AskedPlace {
  /** Identity of the log. */
  readonly log: string;
  /** The newest purge that the edge has applied. */
  readonly sequence: number;
}

/** What a shield is told by a signature that is right. */
export interface TierClaim {
  /** Address of the viewer; empty when the edge did not know it. */
  readonly client: string;
  /** Where the edge stands in its fleet's log; null without a fleet. */
  readonly asked: AskedPlace | null;
}

/** Who signs, and what he says. */
export interface Signer extends TierClaim {
  readonly nowMs: number;
}

/** Why a shield does not answer a request as a shield. */
export type Refusal = "signature" | "time" | "version" | "loop" | "request";

const REFUSALS: ReadonlySet<string> = new Set<Refusal>(["signature", "time", "version", "loop", "request"]);

/** What a shield says of its answer. */
export interface TierMark {
  /** For how long the shield takes it for fresh, 0 when it serves it stale, in milliseconds; null when it does not keep it. */
  readonly freshMs: number | null;
  /** The origin failed, with this error of RFC 9209 section 2.3; the body is the shield's own. */
  readonly error: string | null;
  readonly refused: Refusal | null;
  /** Up to which entry of the fleet's log the answer is valid; null where edge and shield have no log in common. */
  readonly valid: number | null;
}

/** The key of signatures, derived from the shared secret. */
export function tierKey(secret: string): Buffer {
  return createHmac("sha256", secret).update("proxima tier request").digest();
}

/** The value of the field that signs a request. */
export function signTier(key: Buffer, request: SignedRequest, signer: Signer): string {
  const client = CLIENT.test(signer.client) ? signer.client : "";
  const claim = { ...signer, client };
  return `${VERSION};t=${signer.nowMs};client=${client}${placeText(signer.asked)};mac=${macOf(key, request, claim)}`;
}

function placeText(asked: AskedPlace | null): string {
  return asked === null ? "" : `;log=${asked.log};seq=${asked.sequence}`;
}

const CLIENT = /^[0-9A-Za-z.:%]{0,64}$/;
const REQUEST =
  /^1;t=(\d{1,15});client=([0-9A-Za-z.:%]{0,64})(?:;log=([0-9A-Za-z-]{1,64});seq=(\d{1,15}))?;mac=([A-Za-z0-9_-]{43})$/;

/** Reads and verifies a request's field. `keys` are those in force, the former one as well. */
export function verifyTier(
  value: string,
  keys: readonly Buffer[],
  request: SignedRequest,
  nowMs: number,
): TierClaim | Refusal {
  const match = REQUEST.exec(value);
  if (match === null) return value.startsWith(`${VERSION};`) ? "signature" : "version";
  const [, time = "", client = "", log, sequence, mac = ""] = match;
  const signedMs = Number(time);
  // As text: two texts can stand for the same bytes.
  const given = Buffer.from(mac);
  const asked = log === undefined ? null : { log, sequence: Number(sequence) };
  const claim = { client, asked, nowMs: signedMs };
  // Every key is tried, so that the time taken does not tell which one was right.
  let right = false;
  for (const key of keys) {
    const made = Buffer.from(macOf(key, request, claim));
    if (given.length === made.length && timingSafeEqual(given, made)) right = true;
  }
  if (!right) return "signature";
  return Math.abs(nowMs - signedMs) > SIGNATURE_AGE_MS_MAX ? "time" : { client, asked };
}

function macOf(key: Buffer, request: SignedRequest, signer: Signer): string {
  const { method, authority, target, fields } = request;
  const text = JSON.stringify([
    VERSION,
    method,
    authority,
    target,
    String(signer.nowMs),
    signer.client,
    ...SPOKEN_FOR.map((name) => fields.get(name)),
    ...(signer.asked === null ? [] : [signer.asked.log, String(signer.asked.sequence)]),
  ]);
  return createHmac("sha256", key).update(text).digest("base64url");
}

/** The value of an answer's field. */
export function formatMark({ freshMs, error, refused, valid }: Partial<TierMark>): string {
  const parameter = (name: string, value: string | number | null | undefined) =>
    value == null ? "" : `;${name}=${value}`;
  const fresh = freshMs == null ? null : Math.max(0, Math.floor(freshMs));
  return [
    VERSION,
    parameter("fresh", fresh),
    parameter("error", error),
    parameter("refused", refused),
    parameter("valid", valid),
  ].join("");
}

/** Takes the mark out of an answer's fields; null when it is not a shield's. Parameters that are not known are passed over. */
export function takeMark(fields: Fields): TierMark | null {
  const value = fields.get(TIER_FIELD);
  fields.delete(TIER_FIELD);
  const [version, ...parameters] = value?.split(";", 16) ?? [];
  if (version !== VERSION) return null;
  let freshMs: number | null = null;
  let error: string | null = null;
  let refused: Refusal | null = null;
  let valid: number | null = null;
  for (const parameter of parameters) {
    const [name, text = ""] = parameter.split("=", 2);
    if (name === "fresh") freshMs = /^\d{1,15}$/.test(text) ? Number(text) : 0;
    if (name === "error") error = text;
    // What can not be read is valid for nothing.
    if (name === "valid") valid = /^\d{1,15}$/.test(text) ? Number(text) : 0;
    // A word of a newer shield: it refuses all the same.
    if (name === "refused") refused = REFUSALS.has(text) ? (text as Refusal) : "request";
  }
  return { freshMs, error, refused, valid };
}
