/**
 * How bodies come in: what stays small is collected and appended to a segment, what grows beyond becomes a
 * file of its own, block by block, while it still comes. What waits in memory has one limit for all.
 */
import { joinBytes } from "../../../http/body.ts";
import { LARGE_BLOCK_BYTES, META_BYTES_MAX, PENDING_BYTES_MAX } from "./limits.ts";
import type { DiskBody } from "./options.ts";
import type { Shard } from "./shard.ts";
import type { Pending } from "./shard-context.ts";
import type { DiskVariant, VariantParts } from "./variant.ts";

/** What the intake needs of its store. */
export interface IntakeContext {
  readonly smallBytesMax: number;
  readonly objectBytesMax: number;
  reserve(bytes: number): Promise<boolean>;
  release(bytes: number): void;
}

/** Takes bodies in. */
export class Intake {
  readonly #context: IntakeContext;
  #pendingBytes = 0;

  constructor(context: IntakeContext) {
    this.#context = context;
  }

  /** Stores a body; null when it was not stored. Never rejects. */
  async put(shard: Shard, key: string, parts: VariantParts, body: DiskBody): Promise<DiskVariant | null> {
    if (!isStorable(key, parts)) return null;
    const pending = shard.storing.begin(key);
    const pieces: Uint8Array[] = [];
    let held = 0;
    const hold = (bytes: number): boolean => {
      if (this.#pendingBytes + bytes > PENDING_BYTES_MAX) return false;
      this.#pendingBytes += bytes;
      held += bytes;
      return true;
    };
    const source = body instanceof Uint8Array ? [body] : body;
    const iterator =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    let ended = false;
    try {
      let bytes = 0;
      while (bytes <= this.#context.smallBytesMax) {
        const next = await iterator.next();
        if (next.done === true) {
          ended = true;
          break;
        }
        if (!hold(next.value.byteLength)) return null;
        pieces.push(next.value);
        bytes += next.value.byteLength;
      }
      if (pending.cancelled) return null;
      if (!ended) {
        const stored = await this.#putLarge(shard, pending, parts, pieces, iterator);
        ended = stored !== null;
        return stored;
      }
      if (bytes > this.#context.smallBytesMax)
        return await this.#putLarge(shard, pending, parts, pieces, iterator);
      const reserved = bytes + rowBytes(key, parts);
      if (!(await this.#context.reserve(reserved))) return null;
      try {
        return await shard.storing.putSmall(pending, parts, joinBytes(pieces));
      } finally {
        this.#context.release(reserved);
      }
    } catch {
      // The body failed: that is for those who read it as well to report.
      return null;
    } finally {
      this.#pendingBytes -= held;
      shard.storing.end(pending);
      // What is not wanted any more is let go of; an iterator that hangs does not hold this up.
      if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
    }
  }

  /** Streams a body into a file of its own, block by block. */
  async #putLarge(
    shard: Shard,
    pending: Pending,
    parts: VariantParts,
    first: Uint8Array[],
    rest: AsyncIterator<Uint8Array> | Iterator<Uint8Array>,
  ): Promise<DiskVariant | null> {
    const file = shard.storing.newLarge();
    if (file === null) return null;
    let stored: DiskVariant | null = null;
    try {
      let block = new Uint8Array(LARGE_BLOCK_BYTES);
      let filled = 0;
      let number = 0;
      let length = 0;
      const add = async (piece: Uint8Array): Promise<boolean> => {
        length += piece.byteLength;
        if (length > this.#context.objectBytesMax || pending.cancelled) return false;
        for (let at = 0; at < piece.byteLength; ) {
          const part = piece.subarray(at, at + LARGE_BLOCK_BYTES - filled);
          block.set(part, filled);
          filled += part.byteLength;
          at += part.byteLength;
          if (filled < LARGE_BLOCK_BYTES) continue;
          if (!(await file.write(number++, block))) return false;
          block = new Uint8Array(LARGE_BLOCK_BYTES);
          filled = 0;
        }
        return true;
      };
      for (const piece of first.splice(0)) if (!(await add(piece))) return null;
      for (let next = await rest.next(); next.done !== true; next = await rest.next()) {
        if (!(await add(next.value))) return null;
      }
      if (filled > 0 && !(await file.write(number, block.subarray(0, filled)))) return null;
      stored = shard.storing.finishLarge(pending, file, parts, length);
      return stored;
    } finally {
      if (stored === null) shard.storing.discardLarge(file);
    }
  }
}

/** About what a row takes in the index and its log. */
function rowBytes(key: string, parts: VariantParts): number {
  return 1_024 + 2 * (key.length + parts.meta.byteLength);
}

/** Texts that come back from SQLite as they went in, within their limits. */
export function isStorable(key: string, parts: VariantParts): boolean {
  const texts = [key, parts.variant, ...parts.vary, ...(parts.tags ?? [])];
  let bytes = parts.meta.byteLength;
  for (const text of texts) {
    if (!text.isWellFormed()) return false;
    bytes += text.length;
  }
  return bytes <= META_BYTES_MAX && Number.isSafeInteger(parts.sequence) && parts.sequence >= 0;
}
