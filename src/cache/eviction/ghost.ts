/**
 * Hashes of what was evicted of late, without the objects: a bounded table of buckets, in place of a
 * queue. Each entry is valid until a time of its policy's own, which only moves forward (bytes evicted,
 * age). A full bucket loses the entry that ends first. Two keys with one hash are taken for the same:
 * the price is one wrong admission.
 */

/** Entries of a bucket. */
const WAYS = 4;
const ENTRIES_MIN = 1_024;
const ENTRIES_MAX = 1_048_576;
/** The object size the table is made for: 12 bytes of table for 2 KiB of cache. */
const BYTES_PER_ENTRY = 2_048;

/** A bounded set of hashes that forgets. */
export class Ghost {
  readonly #hashes: Int32Array;
  /** When each entry ends; 0 in an empty one. */
  readonly #ends: Float64Array;
  readonly #bucketMask: number;

  /** A table for a cache of `bytesMax` bytes. */
  constructor(bytesMax: number) {
    const wanted = Math.min(ENTRIES_MAX, Math.max(ENTRIES_MIN, bytesMax / BYTES_PER_ENTRY));
    const entries = 2 ** Math.ceil(Math.log2(wanted));
    this.#hashes = new Int32Array(entries);
    this.#ends = new Float64Array(entries);
    this.#bucketMask = entries / WAYS - 1;
  }

  /** Remembers a hash until `end`, which is above 0. */
  add(hash: number, end: number): void {
    const base = (hash & this.#bucketMask) * WAYS;
    let place = base;
    for (let at = base; at < base + WAYS; at++) {
      if (this.#hashes[at] === (hash | 0)) {
        place = at;
        break;
      }
      if ((this.#ends[at] as number) < (this.#ends[place] as number)) place = at;
    }
    this.#hashes[place] = hash | 0;
    this.#ends[place] = end;
  }

  /** Whether the hash is remembered at `now`; it is forgotten thereby. */
  take(hash: number, now: number): boolean {
    const base = (hash & this.#bucketMask) * WAYS;
    for (let at = base; at < base + WAYS; at++) {
      if (this.#hashes[at] !== (hash | 0)) continue;
      const valid = now < (this.#ends[at] as number);
      this.#ends[at] = 0;
      if (valid) return true;
    }
    return false;
  }
}
