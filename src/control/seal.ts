/**
 * Secrets that the control plane has to know in clear, such as keys of signatures, are kept sealed: AES-256-GCM
 * with a key that is a file of its own, so that a copy of the database alone gives nothing away.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { messageOf, ProximaError } from "../base/errors.ts";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Seals and opens with one key. */
export class Seal {
  readonly #key: Buffer;

  /** Reads the key file, or makes it (mode 0600). Throws a ProximaError "seal_key_unusable". */
  constructor(file: string) {
    this.#key = readOrMake(file);
    if (this.#key.byteLength !== KEY_BYTES)
      throw unusable(file, `it has ${this.#key.byteLength} bytes, not ${KEY_BYTES}`);
  }

  /** `place` is where it will stand: what is sealed for one place opens in no other. */
  close(text: string, place: string): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(Buffer.from(place));
    const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
  }

  /** Null for what was sealed with another key, for another place, or was changed. */
  open(sealed: Uint8Array, place: string): string | null {
    const bytes = Buffer.from(sealed);
    if (bytes.byteLength < NONCE_BYTES + TAG_BYTES) return null;
    const decipher = createDecipheriv("aes-256-gcm", this.#key, bytes.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(place))
      .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    try {
      const opened = [decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()];
      return Buffer.concat(opened).toString("utf8");
    } catch {
      return null;
    }
  }
}

function readOrMake(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause && cause.code === "ENOENT"))
      throw unusable(file, messageOf(cause), cause);
  }
  const key = randomBytes(KEY_BYTES);
  try {
    const opened = openSync(file, "wx", 0o600);
    writeSync(opened, key);
    fsyncSync(opened);
    closeSync(opened);
  } catch (cause) {
    throw unusable(file, messageOf(cause), cause);
  }
  return key;
}

function unusable(file: string, why: string, cause?: unknown): ProximaError {
  return new ProximaError("seal_key_unusable", `${file} can not be used: ${why}`, { source: "node", cause });
}
