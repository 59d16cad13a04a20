/**
 * Bytes of a store: what its files take, and what is about to be written. A reservation that does not
 * fit waits for eviction. The ceiling sinks when the disk itself turned out to be full before.
 */

/** Frees about so many bytes; resolves false when nothing more can be freed. */
export type FreeBytes = () => Promise<boolean>;

/** One limit for all shards of a store. */
export class Budget {
  readonly bytesMax: number;
  /** Eviction begins when less than this is free, so that writers seldom wait. */
  readonly headroom: number;
  #ceiling: number;
  #used = 0;
  #reserved = 0;
  /** Files that live on only because somebody may still be reading them. */
  #retiring = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    this.#ceiling = bytesMax;
    this.headroom = Math.min(64 * 1024 * 1024, Math.floor(bytesMax / 16));
  }

  get used(): number {
    return this.#used;
  }

  get ceiling(): number {
    return this.#ceiling;
  }

  /** Bytes over what eviction aims at; zero or less when there is nothing to do. */
  get over(): number {
    return this.#used - this.#retiring + this.#reserved - (this.#ceiling - this.headroom);
  }

  add(bytes: number): void {
    this.#used += bytes;
  }

  retire(bytes: number): void {
    this.#retiring += bytes;
  }

  /** True when so much may be written now; give it back when it has been counted or given up. */
  take(bytes: number): boolean {
    if (this.#used + this.#reserved + bytes > this.#ceiling) return false;
    this.#reserved += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#reserved -= bytes;
  }

  /** The disk was full: no more than a little less than what is used now. */
  lower(): void {
    this.#ceiling = Math.max(this.headroom * 2, Math.min(this.#ceiling, Math.floor(this.#used * 0.95)));
  }

  /** The disk takes bytes again: a little more each time. */
  raise(): void {
    this.#ceiling = Math.min(this.bytesMax, this.#ceiling + Math.ceil(this.bytesMax / 64));
  }
}
