/**
 * A large object some of whose bytes are there: one version of it, never mixed with another. Blocks are
 * written in any order, by any number of slices, and read as soon as they are there. Removing, replacing or
 * evicting the object does not cut those who hold a handle: they go on until they release it.
 */

import type { LargeFile } from "./large-file.ts";
import { LARGE_BLOCK_BYTES } from "./limits.ts";
import type { DiskVariant } from "./variant.ts";

/** A half-open range of bytes. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

/** Handle of a sparse object; let go of it with `release`. */
export class SparseObject {
  /** Bytes of a block; the last one may be shorter. */
  readonly blockBytes = LARGE_BLOCK_BYTES;
  readonly variant: DiskVariant;
  readonly #file: LargeFile;
  readonly #flush: () => boolean;
  #released = false;

  constructor(variant: DiskVariant, file: LargeFile, flush: () => boolean) {
    this.variant = variant;
    this.#file = file;
    this.#flush = flush;
    file.use();
  }

  get length(): number {
    return this.variant.length;
  }

  /** Number of blocks. */
  get blocks(): number {
    return this.#file.blocks;
  }

  /** Length of block `index` in bytes. */
  blockLength(index: number): number {
    return this.#file.blockLength(index);
  }

  /**
   * Evicted, removed or replaced: nobody else finds it any more, and nothing of it outlives this handle. It can
   * still be read, and written while there is room; not after its shard was given up.
   */
  get gone(): boolean {
    return this.#file.gone;
  }

  /** All bytes are there. */
  get complete(): boolean {
    return this.#file.complete;
  }

  /** The bytes from `start` to `end` (exclusive) are there. */
  has(start: number, end: number): boolean {
    return !this.#file.closed && this.#file.has(start, end);
  }

  /** What of a range is not there, widened to whole blocks. */
  missing(start: number, end: number): ByteSpan[] {
    return this.#file.missing(start, end);
  }

  /** Writes a whole block; true when it is there. It is committed soon after, or with `flush`. */
  write(index: number, bytes: Uint8Array): Promise<boolean> {
    return this.#file.write(index, bytes);
  }

  /** Verified bytes of a range, or null when some are missing or damaged. */
  read(start: number, end: number): Promise<Uint8Array | null> {
    return this.#file.read(start, end);
  }

  /**
   * A slice of the file that holds the bytes, to be sent at once (within SLICE_LEASE_MS). Null unless they are
   * all there and verified; null for a removed object, which is read instead.
   */
  slice(start: number, end: number): Blob | null {
    return this.#file.slice(start, end);
  }

  /** Commits what was written: when it answers true, that survives the process. */
  flush(): boolean {
    return !this.#file.gone && this.#flush();
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#file.release();
  }
}
