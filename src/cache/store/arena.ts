/**
 * Memory for many small records, outside of the engine's heap of objects: slabs of blocks of one size, a
 * record being a chain of blocks. Any free block fits any record, so nothing is lost between records of
 * different sizes, however they come and go; what a record wastes is part of its last block.
 *
 * Records are copied in and copied out. No view of a slab leaves this file: a block that is freed and used
 * again can not be seen by who read it before.
 */
import { assert } from "../../base/assert.ts";

/** Size of a block. */
export const BLOCK_BYTES = 128;
/** What a block costs beside its bytes: the number of the next one. */
const LINK_BYTES = 4;
/** Blocks of a slab: 1 MiB. */
export const SLAB_BLOCKS = 8_192;
const SLAB_SHIFT = 13;
const BLOCK_MASK = SLAB_BLOCKS - 1;
/** No block. */
export const NOWHERE = -1;

/** What a record of so many bytes takes. */
export function recordCost(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * (BLOCK_BYTES + LINK_BYTES);
}

/** A slab; without memory of its own while nothing is in it. */
class Slab {
  bytes: Buffer<ArrayBuffer> | null = null;
  doubles = new Float64Array(0);
  /** The block after each block of a record, or after each free one. */
  next = new Int32Array(0);
  /** The first free block of those that were used before; the others begin at `fresh`. */
  free = NOWHERE;
  fresh = 0;
  used = 0;
  /** Stands among those in which something was freed. */
  isOpen = false;
  /** Its records are being moved to others: nothing more comes in. */
  isDraining = false;

  open(): void {
    if (this.bytes !== null) return;
    this.bytes = Buffer.from(new ArrayBuffer(SLAB_BLOCKS * BLOCK_BYTES));
    this.doubles = new Float64Array(this.bytes.buffer);
    this.next = new Int32Array(SLAB_BLOCKS);
  }

  /** Gives its memory back. */
  release(): void {
    assert(this.used === 0, "a slab that is released holds nothing");
    this.bytes = null;
    this.doubles = new Float64Array(0);
    this.next = new Int32Array(0);
    this.free = NOWHERE;
    this.fresh = 0;
    this.isDraining = false;
  }
}

/** An arena. A record is named by the number of its first block. */
export class Arena {
  readonly #slabs: Slab[] = [];
  /** Number of the slab that is being filled. */
  #current = NOWHERE;
  /** Numbers of others in which something was freed; they may be full, or released, by now. */
  readonly #open: number[] = [];
  /** Numbers of slabs without memory that are not among them. */
  readonly #empty: number[] = [];
  /** For the blocks of a record that is being freed. */
  readonly #chain: number[] = [];
  #used = 0;
  #held = 0;

  /** Bytes that records take: what `recordCost` says of each. */
  get usedBytes(): number {
    return this.#used * (BLOCK_BYTES + LINK_BYTES);
  }

  /** Bytes of all slabs. */
  get heldBytes(): number {
    return this.#held * SLAB_BLOCKS * (BLOCK_BYTES + LINK_BYTES);
  }

  /** Bytes of slabs in which there is no record. */
  get slackBytes(): number {
    return this.heldBytes - this.usedBytes;
  }

  /**
   * Begins to empty as many slabs as the others have room for, the emptiest first: whoever knows every
   * record then calls `moved` for each, and `drained` at the end.
   */
  drain(): void {
    const held = this.#slabs.filter(({ bytes }, number) => bytes !== null && number !== this.#current);
    held.sort((a, b) => a.used - b.used);
    let room = held.reduce((sum, { used }) => sum + SLAB_BLOCKS - used, 0);
    for (const slab of held) {
      // Its own room is none any more, and what is in it needs as much of the others'.
      room -= SLAB_BLOCKS;
      if (room < 0) return;
      slab.isDraining = true;
    }
  }

  /** Moves a record if a part of it stands in a slab that is being emptied; returns its number, which may be another. */
  moved(record: number): number {
    let drains = false;
    let blocks = 0;
    for (let block = record; block !== NOWHERE; block = this.#after(block)) {
      blocks++;
      drains ||= this.#slabOf(block).isDraining;
    }
    if (!drains) return record;
    const copy = Buffer.allocUnsafe(blocks * BLOCK_BYTES);
    this.read(record, 0, copy.length, copy);
    this.free(record);
    return this.store(copy, copy.length);
  }

  /** Every record was moved that had to be. A slab that still holds something is one like the others again. */
  drained(): void {
    for (const [number, slab] of this.#slabs.entries()) {
      if (!slab.isDraining) continue;
      slab.isDraining = false;
      if (slab.isOpen || number === this.#current) continue;
      slab.isOpen = true;
      this.#open.push(number);
    }
  }

  /** Stores the first `length` bytes of `source`, at least one. */
  store(source: Buffer, length: number): number {
    assert(length > 0, "a record has a byte");
    let first = NOWHERE;
    let last = NOWHERE;
    // Blocks that follow each other are written at once.
    let runStart = NOWHERE;
    let written = 0;
    for (let left = length; left > 0; left -= BLOCK_BYTES) {
      const block = this.#take();
      if (first === NOWHERE) first = block;
      else this.#slabOf(last).next[last & BLOCK_MASK] = block;
      if (runStart === NOWHERE) runStart = block;
      else if (block !== last + 1 || (block & BLOCK_MASK) === 0) {
        written += this.#write(runStart, last, source, written, length);
        runStart = block;
      }
      last = block;
    }
    this.#write(runStart, last, source, written, length);
    this.#slabOf(last).next[last & BLOCK_MASK] = NOWHERE;
    return first;
  }

  /** Copies the bytes `start` to `end` of a record to `target`, from `targetStart` on. */
  read(record: number, start: number, end: number, target: Uint8Array, targetStart = 0): void {
    let block = record;
    let at = BLOCK_BYTES;
    for (; at <= start; at += BLOCK_BYTES) block = this.#after(block);
    at -= BLOCK_BYTES;
    let to = targetStart;
    for (let from = start; from < end; ) {
      // To the end of the blocks that follow each other.
      let last = block;
      let next = this.#after(last);
      let until = at + BLOCK_BYTES;
      while (until < end && next === last + 1 && (next & BLOCK_MASK) !== 0) {
        last = next;
        next = this.#after(last);
        until += BLOCK_BYTES;
      }
      const offset = (block & BLOCK_MASK) * BLOCK_BYTES + from - at;
      const count = Math.min(end, until) - from;
      this.#bytesOf(block).copy(target, to, offset, offset + count);
      to += count;
      from += count;
      at = until;
      block = next;
    }
  }

  /** The number at `index` (in eights of bytes) of a record's first block. */
  double(record: number, index: number): number {
    return this.#slabOf(record).doubles[((record & BLOCK_MASK) * BLOCK_BYTES) / 8 + index] as number;
  }

  /** Writes a number in a record's first block. */
  setDouble(record: number, index: number, value: number): void {
    assert(index >= 0 && index < BLOCK_BYTES / 8, "it is in the first block");
    this.#slabOf(record).doubles[((record & BLOCK_MASK) * BLOCK_BYTES) / 8 + index] = value;
  }

  /** Frees a record. Its number means nothing any more. */
  free(record: number): void {
    const chain = this.#chain;
    for (let block = record; block !== NOWHERE; block = this.#after(block)) chain.push(block);
    // The last first: who takes them gets them in their order, and so at once.
    for (let block = chain.pop(); block !== undefined; block = chain.pop()) this.#give(block);
  }

  /** Takes a block. */
  #take(): number {
    let slab = this.#slabs[this.#current];
    if (slab === undefined || slab.used === SLAB_BLOCKS) {
      this.#current = this.#next();
      slab = this.#slabs[this.#current] as Slab;
    }
    let block = slab.free;
    if (block === NOWHERE) block = slab.fresh++;
    else slab.free = slab.next[block] as number;
    slab.used++;
    this.#used++;
    return (this.#current << SLAB_SHIFT) | block;
  }

  #give(block: number): void {
    const number = block >> SLAB_SHIFT;
    const slab = this.#slabOf(block);
    slab.next[block & BLOCK_MASK] = slab.free;
    slab.free = block & BLOCK_MASK;
    slab.used--;
    this.#used--;
    assert(slab.used >= 0, "a block is freed once");
    if (number === this.#current) return;
    if (slab.used === 0) {
      slab.release();
      this.#held--;
      if (!slab.isOpen) this.#empty.push(number);
    } else if (!slab.isOpen && !slab.isDraining) {
      slab.isOpen = true;
      this.#open.push(number);
    }
  }

  /** The slab to fill next: one with room, or one more. */
  #next(): number {
    for (let number = this.#open.pop(); number !== undefined; number = this.#open.pop()) {
      const slab = this.#slabs[number] as Slab;
      slab.isOpen = false;
      if (slab.isDraining) continue;
      if (slab.bytes !== null && slab.used < SLAB_BLOCKS) return number;
      if (slab.bytes === null) this.#empty.push(number);
    }
    return this.#grow();
  }

  /** Makes one more slab; returns its number. */
  #grow(): number {
    const number = this.#empty.pop() ?? this.#slabs.push(new Slab()) - 1;
    const slab = this.#slabs[number] as Slab;
    slab.open();
    this.#held++;
    return number;
  }

  /** Writes the part of `source` from `written` on that fits into consecutive blocks; returns how much that is. */
  #write(first: number, last: number, source: Buffer, written: number, length: number): number {
    const count = Math.min(length - written, (last - first + 1) * BLOCK_BYTES);
    source.copy(this.#bytesOf(first), (first & BLOCK_MASK) * BLOCK_BYTES, written, written + count);
    return count;
  }

  #after(block: number): number {
    return this.#slabOf(block).next[block & BLOCK_MASK] as number;
  }

  #slabOf(block: number): Slab {
    return this.#slabs[block >> SLAB_SHIFT] as Slab;
  }

  #bytesOf(block: number): Buffer {
    const { bytes } = this.#slabOf(block);
    assert(bytes !== null, "a record stands in a slab with memory");
    return bytes;
  }
}
