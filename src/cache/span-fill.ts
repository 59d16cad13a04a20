/** A span of a large body on its way: pieces come in as the next hop sends them, whole blocks go out. */
import { ProximaError } from "../base/errors.ts";
import type { BodyReader } from "../http/body.ts";

/** What a span needs of its body. */
export interface SpanTarget {
  readonly blockBytes: number;
  /** Length of the whole body: its last block may be shorter. */
  readonly length: number;
  /** Takes a whole block; waits while there is no room for more. */
  store(block: number, bytes: Uint8Array): Promise<void>;
  /** A block has been stored. */
  arrived(): void;
}

/** One fetch of bytes `start` to `end` (exclusive), both at the bounds of blocks. */
export class SpanFill {
  readonly start: number;
  readonly end: number;
  /** The first byte that has not been stored. */
  position: number;
  ended = false;
  /** Why it broke off; null when it did not, or was stopped. */
  error: unknown = null;
  readonly #target: SpanTarget;
  #source: BodyReader | null;
  #stopped = false;

  constructor(source: BodyReader | null, start: number, end: number, target: SpanTarget) {
    this.start = start;
    this.end = end;
    this.position = start;
    this.#source = source;
    this.#target = target;
  }

  /** Reads to the end; true when every block was handed over. Never rejects. */
  async run(source = this.#source): Promise<boolean> {
    if (source === null) return false;
    this.#source = source;
    const { blockBytes, length } = this.#target;
    let block: Uint8Array | null = null;
    let filled = 0;
    try {
      while (this.position < this.end && !this.#stopped) {
        const piece = await source.read();
        if (this.#stopped) break;
        if (piece === null)
          throw new ProximaError("body_incomplete", "the next hop sent fewer bytes than it said", {
            source: "origin",
          });
        for (let at = 0; at < piece.byteLength && this.position < this.end; ) {
          const size = Math.min(blockBytes, length - this.position);
          // Whole blocks need no copy.
          if (block === null && piece.byteLength - at >= size) {
            await this.#whole(piece.subarray(at, at + size));
            at += size;
            continue;
          }
          block ??= new Uint8Array(size);
          const taken = Math.min(size - filled, piece.byteLength - at);
          block.set(piece.subarray(at, at + taken), filled);
          filled += taken;
          at += taken;
          if (filled < size) break;
          await this.#whole(block);
          block = null;
          filled = 0;
        }
      }
    } catch (error) {
      if (!this.#stopped) this.error = error;
    }
    this.ended = true;
    // Also what the next hop sends beyond the end is not read.
    if (this.position < this.end || this.#stopped) source.cancel();
    else await this.#drain(source);
    return this.position >= this.end;
  }

  async #whole(bytes: Uint8Array): Promise<void> {
    await this.#target.store(Math.floor(this.position / this.#target.blockBytes), bytes);
    this.position += bytes.byteLength;
    this.#target.arrived();
  }

  /** A body whose end was read leaves its connection usable. */
  async #drain(source: BodyReader): Promise<void> {
    try {
      if ((await source.read()) !== null) source.cancel();
    } catch {
      // All that was wanted is here.
    }
  }

  /** Gives up what has not come. */
  stop(): void {
    this.#stopped = true;
    this.#source?.cancel();
  }
}
