/**
 * Secrets that the control plane gives out: a kind, an id that may be shown, and 256 random bits. Only their
 * SHA-256 is kept: with that much randomness there is nothing to guess, so a slow hash would add nothing but
 * load for whoever sends wrong ones.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { assert } from "../base/assert.ts";

/** A secret as it is given out, once. */
export interface NewSecret {
  readonly id: string;
  /** The random part alone. */
  readonly secret: string;
  readonly text: string;
  readonly hash: Buffer;
}

/** Makes one of a kind. */
export function newSecret(kind: string): NewSecret {
  const id = randomBytes(6).toString("hex");
  const secret = randomBytes(32).toString("base64url");
  return { id, secret, text: `${kind}_${id}_${secret}`, hash: hashOf(secret) };
}

/** One whose text stands before: for what is not secret. */
export function knownSecret(text: string): NewSecret {
  const read = readSecretText(text);
  assert(read !== null, "a known token has the shape of one");
  const { kind, id, hash } = read;
  return { id, secret: text.slice(`${kind}_${id}_`.length), text, hash };
}

/** A secret as somebody gave it; null for what can not be one. */
export function readSecretText(
  text: string,
): { readonly kind: string; readonly id: string; readonly hash: Buffer } | null {
  const match = /^(px[anj])_([0-9a-f]{12})_([\w-]{43})$/.exec(text);
  return match === null
    ? null
    : { kind: match[1] as string, id: match[2] as string, hash: hashOf(match[3] as string) };
}

/** Are they the same, in a time that tells nothing? For an unknown id `known` is null. */
export function isSame(given: Buffer, known: Uint8Array | null): boolean {
  const against = known ?? Buffer.alloc(given.length);
  return timingSafeEqual(given, against) && known !== null;
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
