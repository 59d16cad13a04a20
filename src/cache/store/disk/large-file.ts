/**
 * A large object: a sparse file of its own with blocks of one size, a checksum for each block that is
 * there. The checksums are the bitmap: 0 is a block that is not there. A block is written first, its
 * checksum is committed after it (a batch of them at once), so that a crash can lose a block but not
 * present what was not written. Blocks never change once they are there.
 *
 * An object that is removed while somebody uses it stays as it is for those who do, under its name: they go
 * on reading and writing, nobody else finds it, and its file goes with the last of them.
 */
import { assert } from "../../../base/assert.ts";
import { blockSum } from "./checksum.ts";
import type { Descriptors } from "./descriptors.ts";
import type { FileSet } from "./file-set.ts";
import type { DiskFiles } from "./files.ts";
import { CHUNK_BLOCKS, LARGE_BLOCK_BYTES, LARGE_COMMIT_BLOCKS } from "./limits.ts";

/** What a large file needs of its shard. */
export interface LargeFileOwner {
  readonly files: DiskFiles;
  readonly descriptors: Descriptors;
  readonly large: FileSet;
  /** Room for a block; `removed` when the object is not stored any more. */
  reserve(bytes: number, removed: boolean): Promise<boolean>;
  release(bytes: number): void;
  /** Its last user has gone, and it was removed before. */
  unused(file: LargeFile): void;
  /** Commits the chunks that changed, and whether the object is complete; false when that failed. */
  commit(file: LargeFile): boolean;
  /** There is something to commit before long. */
  commitSoon(file: LargeFile): void;
  /** A block failed its checksum or could not be read. */
  damaged(file: LargeFile, block: number, error: unknown): void;
  /** Writing failed. */
  failed(error: unknown): void;
}

/** Bytes of one large object. */
export class LargeFile {
  readonly born: number;
  readonly #owner: LargeFileOwner;
  readonly #writing = new Map<number, Promise<boolean>>();
  /** Room for at least as many as there are blocks. */
  #sums: Float64Array;
  #blocks: number;
  #verified: Uint8Array;
  #have = 0;
  #length: number | null;
  #dirty = new Set<number>();
  #dirtyBlocks = 0;
  /** "removed" is for its users alone; "closed" is for nobody. */
  #state: "stored" | "removed" | "closed" = "stored";
  #users = 0;

  /** `length` is null while a body of unknown length is being written. */
  constructor(born: number, length: number | null, owner: LargeFileOwner) {
    this.born = born;
    this.#owner = owner;
    this.#length = length;
    const blocks = Math.ceil((length ?? 0) / LARGE_BLOCK_BYTES);
    this.#blocks = blocks;
    this.#sums = new Float64Array(blocks);
    this.#verified = new Uint8Array(Math.ceil(blocks / 8));
  }

  /** Takes in checksums from the index. */
  load(chunks: readonly { number: number; sums: Float64Array }[]): void {
    for (const { number, sums } of chunks) {
      for (let i = 0; i < sums.length; i++) {
        const block = number * CHUNK_BLOCKS + i;
        if (block < this.#blocks) this.#sums[block] = sums[i] ?? 0;
      }
    }
    this.#have = this.#sums.reduce((count, sum) => count + (sum === 0 ? 0 : 1), 0);
  }

  /** Removed, replaced or evicted, or its shard is off. */
  get gone(): boolean {
    return this.#state !== "stored";
  }

  /** Nothing can be read or written any more. */
  get closed(): boolean {
    return this.#state === "closed";
  }

  /** Somebody reads, writes or holds it. */
  get inUse(): boolean {
    return this.#users > 0;
  }

  /** Keeps it in memory, and on disk if it is removed, until `release`. */
  use(): void {
    this.#users++;
  }

  release(): void {
    this.#users--;
    if (this.#users > 0 || this.#state !== "removed") return;
    this.#state = "closed";
    this.#owner.unused(this);
  }

  /** Its row was taken out. */
  remove(): void {
    if (this.#state === "stored") this.#state = this.inUse ? "removed" : "closed";
  }

  /** Its shard is given up. */
  close(): void {
    this.#state = "closed";
  }

  get length(): number {
    return this.#length ?? this.#blocks * LARGE_BLOCK_BYTES;
  }

  get blocks(): number {
    return this.#blocks;
  }

  get complete(): boolean {
    return this.#length !== null && this.#have === this.#blocks;
  }

  /** Length of one block: all are full but the last. */
  blockLength(block: number): number {
    return Math.min(LARGE_BLOCK_BYTES, this.length - block * LARGE_BLOCK_BYTES);
  }

  hasBlock(block: number): boolean {
    return (this.#sums[block] ?? 0) !== 0;
  }

  has(start: number, end: number): boolean {
    for (let block = Math.floor(start / LARGE_BLOCK_BYTES); block * LARGE_BLOCK_BYTES < end; block++) {
      if (!this.hasBlock(block)) return false;
    }
    return true;
  }

  /** Bytes from `start` to `end` that are not there, in whole blocks. */
  missing(start: number, end: number): { start: number; end: number }[] {
    const gaps: { start: number; end: number }[] = [];
    const last = Math.min(end, this.length);
    for (let block = Math.floor(start / LARGE_BLOCK_BYTES); block * LARGE_BLOCK_BYTES < last; block++) {
      if (this.hasBlock(block)) continue;
      const from = block * LARGE_BLOCK_BYTES;
      const to = from + this.blockLength(block);
      const gap = gaps.at(-1);
      if (gap !== undefined && gap.end === from) gap.end = to;
      else gaps.push({ start: from, end: to });
    }
    return gaps;
  }

  /** Writes one block; true when it is there (it may have been before). Committed soon after. */
  write(block: number, bytes: Uint8Array): Promise<boolean> {
    if (this.#length === null) this.#grow(block + 1);
    assert(block >= 0 && block < this.#blocks, "a block lies within its object");
    assert(
      this.#length === null || bytes.byteLength === this.blockLength(block),
      "a block has its full length",
    );
    if (this.closed) return Promise.resolve(false);
    if (this.hasBlock(block)) return Promise.resolve(true);
    const running = this.#writing.get(block);
    if (running !== undefined) return running;
    const writing = this.#write(block, bytes).finally(() => this.#writing.delete(block));
    this.#writing.set(block, writing);
    return writing;
  }

  async #write(block: number, bytes: Uint8Array): Promise<boolean> {
    const { files, descriptors, large } = this.#owner;
    if (!(await this.#owner.reserve(bytes.byteLength, this.gone))) return false;
    this.use();
    try {
      if (this.closed) return false;
      const sum = blockSum(bytes);
      files.step("before-data");
      await descriptors.with(large.path(this.born), "write", (descriptor) =>
        files.write(descriptor, [bytes], block * LARGE_BLOCK_BYTES),
      );
      if (this.closed) return false;
      large.grow(this.born, bytes.byteLength);
      this.#setSum(block, sum);
      this.#have++;
      this.#setVerified(block, true);
      this.#dirtyBlocks++;
      if (this.#length !== null && !this.gone) {
        if (this.complete || this.#dirtyBlocks >= LARGE_COMMIT_BLOCKS) this.#owner.commit(this);
        else this.#owner.commitSoon(this);
      }
      return true;
    } catch (error) {
      if (!this.closed) this.#owner.failed(error);
      return false;
    } finally {
      this.#owner.release(bytes.byteLength);
      this.release();
    }
  }

  /** The body of unknown length has ended. */
  finish(length: number): void {
    assert(this.#length === null, "a body ends once");
    this.#length = length;
  }

  /** Chunks whose checksums are not committed yet; they count as committed from now on. */
  takeDirty(): { number: number; sums: Float64Array }[] {
    const chunks = [...this.#dirty].map((number) => ({
      number,
      sums: this.#sums.slice(number * CHUNK_BLOCKS, Math.min((number + 1) * CHUNK_BLOCKS, this.#blocks)),
    }));
    this.#dirty.clear();
    this.#dirtyBlocks = 0;
    return chunks;
  }

  /** Their commit failed: they are not committed after all. */
  markDirty(chunks: readonly number[]): void {
    for (const number of chunks) this.#dirty.add(number);
  }

  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** Verified bytes of a range; null when a block is missing, damaged or can not be read. */
  async read(start: number, end: number): Promise<Uint8Array | null> {
    if (this.closed || !this.has(start, end)) return null;
    const first = Math.floor(start / LARGE_BLOCK_BYTES);
    const from = first * LARGE_BLOCK_BYTES;
    const last = Math.ceil(end / LARGE_BLOCK_BYTES);
    const buffer = new Uint8Array(Math.min(this.length, last * LARGE_BLOCK_BYTES) - from);
    this.use();
    try {
      return (await this.#fill(first, buffer)) ? buffer.subarray(start - from, end - from) : null;
    } finally {
      this.release();
    }
  }

  /** Verifies a range unless it was since the start; false when it may not be served. */
  async verify(start: number, end: number): Promise<boolean> {
    if (this.gone || !this.has(start, end)) return false;
    const last = Math.ceil(end / LARGE_BLOCK_BYTES);
    this.use();
    try {
      for (let block = Math.floor(start / LARGE_BLOCK_BYTES); block < last; block++) {
        if (!this.#isVerified(block) && !(await this.#fill(block, new Uint8Array(this.blockLength(block)))))
          return false;
      }
      return !this.gone;
    } finally {
      this.release();
    }
  }

  verified(start: number, end: number): boolean {
    for (let block = Math.floor(start / LARGE_BLOCK_BYTES); block * LARGE_BLOCK_BYTES < end; block++) {
      if (!this.hasBlock(block) || !this.#isVerified(block)) return false;
    }
    return true;
  }

  /** A slice of the file, to be sent within SLICE_LEASE_MS; null when it is not all there and verified, or removed. */
  slice(start: number, end: number): Blob | null {
    if (this.gone || !this.verified(start, end)) return null;
    if (start === end) return new Blob([]);
    const { large } = this.#owner;
    large.lease(this.born);
    return Bun.file(large.path(this.born)).slice(start, end);
  }

  /** A damaged block is missing from now on. */
  clear(block: number): void {
    if (!this.hasBlock(block)) return;
    this.#owner.large.grow(this.born, -this.blockLength(block));
    this.#setSum(block, 0);
    this.#have--;
    this.#setVerified(block, false);
  }

  /** Reads whole blocks into a buffer and checks each. */
  async #fill(first: number, buffer: Uint8Array): Promise<boolean> {
    const { files, descriptors, large } = this.#owner;
    try {
      await descriptors.with(large.path(this.born), "read", (descriptor) =>
        files.read(descriptor, buffer, first * LARGE_BLOCK_BYTES),
      );
    } catch (error) {
      if (this.closed) return false;
      if (buffer.byteLength <= LARGE_BLOCK_BYTES) {
        this.#owner.damaged(this, first, error);
        return false;
      }
      // Which of the blocks it is.
      for (let i = 0; i * LARGE_BLOCK_BYTES < buffer.byteLength; i++) {
        await this.#fill(first + i, buffer.subarray(i * LARGE_BLOCK_BYTES, (i + 1) * LARGE_BLOCK_BYTES));
      }
      return false;
    }
    let good = true;
    for (let i = 0; i * LARGE_BLOCK_BYTES < buffer.byteLength; i++) {
      const block = first + i;
      const sum = this.#sums[block] ?? 0;
      if (
        sum !== 0 &&
        blockSum(buffer.subarray(i * LARGE_BLOCK_BYTES, (i + 1) * LARGE_BLOCK_BYTES)) === sum
      ) {
        this.#setVerified(block, true);
        continue;
      }
      good = false;
      if (sum !== 0 && !this.closed) this.#owner.damaged(this, block, null);
    }
    return good;
  }

  #isVerified(block: number): boolean {
    return ((this.#verified[block >> 3] ?? 0) & (1 << (block & 7))) !== 0;
  }

  #setVerified(block: number, verified: boolean): void {
    const bit = 1 << (block & 7);
    const bits = this.#verified[block >> 3] ?? 0;
    this.#verified[block >> 3] = verified ? bits | bit : bits & ~bit;
  }

  #setSum(block: number, sum: number): void {
    this.#sums[block] = sum;
    this.#dirty.add(Math.floor(block / CHUNK_BLOCKS));
  }

  /** The body of unknown length comes block after block: a chunk's room at a time. */
  #grow(blocks: number): void {
    if (blocks <= this.#blocks) return;
    this.#blocks = blocks;
    if (blocks <= this.#sums.length) return;
    const room = Math.ceil(blocks / CHUNK_BLOCKS) * CHUNK_BLOCKS;
    const sums = new Float64Array(room);
    sums.set(this.#sums);
    const verified = new Uint8Array(Math.ceil(room / 8));
    verified.set(this.#verified);
    this.#sums = sums;
    this.#verified = verified;
  }
}
