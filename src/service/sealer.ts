/**
 * Secrets that have to be known again in clear, and so can not be hashed: sealed with AES-256-GCM under a key
 * that stands in a file of its own, so that a copy of the database alone gives nothing away. What a secret
 * belongs to is bound to it: a sealed text that is moved to another row does not open there.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from "node:fs";
import { messageOf, ProximaError } from "../base/errors.ts";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Of the form below; another one gets another number. */
const VERSION = 1;

/** Seals and opens. */
export class Sealer {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** Version, nonce, tag, and the text in cipher. `context` says what the secret belongs to. */
  seal(text: string, context: string): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(Buffer.from(context));
    const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([Buffer.from([VERSION]), nonce, cipher.getAuthTag(), sealed]);
  }

  /** The text; null when it was not sealed with this key for this context, or was changed. */
  open(sealed: Uint8Array, context: string): string | null {
    const start = 1 + NONCE_BYTES + TAG_BYTES;
    if (sealed[0] !== VERSION || sealed.byteLength < start) return null;
    try {
      const cipher = createDecipheriv("aes-256-gcm", this.#key, sealed.subarray(1, 1 + NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
        .setAAD(Buffer.from(context))
        .setAuthTag(sealed.subarray(1 + NONCE_BYTES, start));
      return Buffer.concat([cipher.update(sealed.subarray(start)), cipher.final()]).toString("utf8");
    } catch {
      return null;
    }
  }
}

/** Opens the key file, or makes it (mode 0600). Throws a ProximaError "seal_key_unusable". */
export function openSealer(path: string): Sealer {
  try {
    return new Sealer(readKey(path) ?? makeKey(path));
  } catch (cause) {
    throw new ProximaError(
      "seal_key_unusable",
      `the key file ${path} can not be used: ${messageOf(cause)}; secrets that were sealed with it are lost without it`,
      { source: "node", cause },
    );
  }
}

function readKey(path: string): Uint8Array | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  if ((statSync(path).mode & 0o077) !== 0) throw new Error("others may read it; its mode has to be 0600");
  if (!/^[0-9a-f]{64}\n$/.test(text)) throw new Error("it does not hold a key");
  return Buffer.from(text.trim(), "hex");
}

function makeKey(path: string): Uint8Array {
  const key = randomBytes(KEY_BYTES);
  const beside = `${path}.new`;
  const file = openSync(beside, "w", 0o600);
  try {
    writeSync(file, `${key.toString("hex")}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
  return key;
}
