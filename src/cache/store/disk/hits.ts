/**
 * Which objects of a shard were hit since they were written: noted in memory, written to the index now and
 * then. Eviction gives what was hit a second chance.
 */
import { HITS_IN_MEMORY_MAX } from "./limits.ts";
import type { ShardIndex } from "./shard-index.ts";

/** Hits of one shard. */
export class Hits {
  readonly #write: (hits: ReadonlySet<number>) => void;
  #noted = new Set<number>();

  /** `write` brings hits into the index. */
  constructor(write: (hits: ReadonlySet<number>) => void) {
    this.#write = write;
  }

  add(born: number): void {
    if (this.#noted.size >= HITS_IN_MEMORY_MAX && !this.#noted.has(born)) this.flush();
    this.#noted.add(born);
  }

  /** True once for each time it was hit since it was written. Within a transaction. */
  take(index: ShardIndex, born: number): boolean {
    const inMemory = this.#noted.delete(born);
    return index.takeHit(born) || inMemory;
  }

  delete(born: number): void {
    this.#noted.delete(born);
  }

  flush(): void {
    if (this.#noted.size === 0) return;
    const hits = this.#noted;
    this.#noted = new Set();
    this.#write(hits);
  }

  clear(): void {
    this.#noted.clear();
  }
}
