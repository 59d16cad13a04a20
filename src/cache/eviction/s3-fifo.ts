/**
 * S3-FIFO (Yang et al., SOSP 2023), counted in bytes. What is new waits in a small queue, a tenth of
 * the room; what was hit twice there goes on to the main queue, the rest leaves early and its hash is
 * remembered; what comes back while it is remembered goes to the main queue at once. Main is FIFO with
 * reinsertion: each hit buys one more round, three at most.
 *
 * The guard for tiny caches: with a tenth of the room holding a handful of objects, everything leaves
 * before its second hit and the policy is far worse than LRU. The small queue therefore gets room for
 * SMALL_COUNT_MIN objects of the mean size, up to half of the cache.
 */
import { Ghost } from "./ghost.ts";
import type { EvictionNode, EvictionPolicy } from "./policy.ts";
import { EvictionQueue } from "./queue.ts";

const SMALL_SHARE = 0.1;
const SMALL_SHARE_MAX = 0.5;
const SMALL_COUNT_MIN = 100;
/** Hits are counted up to this. */
const HITS_MAX = 3;
/** Hits in the small queue that lead to the main queue. */
const PROMOTING_HITS = 2;
const HITS_MASK = 3;
const SMALL = 4;
const MAIN = 8;

/** Settings that the benchmark varies. */
export interface S3FifoOptions {
  /** False leaves out the guard for tiny caches, as published. */
  readonly guard?: boolean;
  /** Most bytes that the small queue may hold, also while there is room beside it: `isCrowded` says when that is too much. Left out, a tenth of a full cache. */
  readonly smallBytesMax?: number;
}

/** The S3-FIFO policy. */
export class S3Fifo<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "s3-fifo";
  readonly refuses = false;
  readonly #bytesMax: number;
  readonly #guard: boolean;
  readonly #smallLimit: number | null;
  readonly #small = new EvictionQueue<N>();
  readonly #main = new EvictionQueue<N>();
  readonly #ghost: Ghost;
  /** Bytes that left the small queue for good: the ghost's time. */
  #evictedBytes = 0;

  constructor(bytesMax: number, options: S3FifoOptions = {}) {
    this.#bytesMax = bytesMax;
    this.#guard = options.guard ?? true;
    this.#smallLimit = options.smallBytesMax ?? null;
    this.#ghost = new Ghost(bytesMax);
  }

  get bytes(): number {
    return this.#small.bytes + this.#main.bytes;
  }

  get count(): number {
    return this.#small.count + this.#main.count;
  }

  /** Somebody has to go: all together are too many, or those that are new. */
  get isCrowded(): boolean {
    return this.bytes > this.#bytesMax || (this.#smallLimit !== null && this.#small.bytes > this.#smallLimit);
  }

  insert(node: N): void {
    if (this.#ghost.take(node.hash, this.#evictedBytes)) {
      node.mark = MAIN;
      this.#main.push(node);
    } else {
      node.mark = SMALL;
      this.#small.push(node);
    }
  }

  hit(node: N): void {
    if ((node.mark & HITS_MASK) < HITS_MAX) node.mark++;
  }

  remove(node: N): void {
    this.#queueOf(node).unlink(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    this.#queueOf(node).bytes += bytes - node.bytes;
    node.bytes = bytes;
  }

  victim(keep: N | null): N | null {
    // Every turn moves a node out of small for good or takes a hit off one: it ends.
    for (;;) {
      const small = this.#small.oldestBut(keep);
      const main = this.#main.oldestBut(keep);
      // The small queue's own limit is kept by who is new: who leaves the main one makes no room there.
      if (this.#smallLimit !== null && this.bytes <= this.#bytesMax) {
        if (small === null || this.#small.bytes <= this.#smallLimit) return null;
      }
      if (small !== null && (main === null || this.#small.bytes > this.#smallBytesMax())) {
        this.#small.unlink(small);
        if ((small.mark & HITS_MASK) >= PROMOTING_HITS) {
          small.mark = MAIN;
          this.#main.push(small);
          continue;
        }
        this.#evictedBytes += small.bytes;
        this.#ghost.add(small.hash, this.#evictedBytes + this.#bytesMax * (1 - SMALL_SHARE));
        small.mark = 0;
        return small;
      }
      if (main === null) return null;
      if ((main.mark & HITS_MASK) === 0) {
        this.remove(main);
        return main;
      }
      main.mark--;
      this.#main.refresh(main);
    }
  }

  #queueOf(node: N): EvictionQueue<N> {
    return (node.mark & MAIN) === 0 ? this.#small : this.#main;
  }

  #smallBytesMax(): number {
    if (this.#smallLimit !== null) return this.#smallLimit;
    const tenth = this.#bytesMax * SMALL_SHARE;
    if (!this.#guard) return tenth;
    const meanBytes = this.bytes / this.count;
    return Math.max(tenth, Math.min(this.#bytesMax * SMALL_SHARE_MAX, meanBytes * SMALL_COUNT_MIN));
  }
}
