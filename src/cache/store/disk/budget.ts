/**
 * Bytes of a store: what its files take, and what is about to be written. A reservation that does not
 * fit waits for eviction. The ceiling sinks when the disk itself turned out to be full before.
 */

import { LINGER_SHARE_MAX } from "./limits.ts";

const HEADROOM_BYTES_MAX = 64 * 1024 * 1024;

/** One limit for all shards of a store. */
export class Budget {
  readonly bytesMax: number;
  #ceiling: number;
  #used = 0;
  #reserved = 0;
  /** What waits for eviction. */
  #wanted = 0;
  /** Files that live on only because somebody may still be reading them. */
  #retiring = 0;
  /** Files of removed objects that are still in use: room that eviction can not free, only their users. */
  #lingering = 0;
  readonly #removals = new Set<Promise<void>>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    this.#ceiling = bytesMax;
  }

  /** Eviction begins when less than this is free, so that writers seldom wait. */
  get headroom(): number {
    return Math.min(HEADROOM_BYTES_MAX, Math.floor(this.#ceiling / 16));
  }

  get used(): number {
    return this.#used;
  }

  get ceiling(): number {
    return this.#ceiling;
  }

  /** True while the disk itself sets the limit. */
  get lowered(): boolean {
    return this.#ceiling < this.bytesMax;
  }

  /** Bytes over what eviction aims at; zero or less when there is nothing to do. */
  get over(): number {
    return this.#used - this.#retiring + this.#reserved + this.#wanted - (this.#ceiling - this.headroom);
  }

  /** The same, as if all who use removed objects had gone: whether it helps to take one more that is in use. */
  get overWhenLeft(): number {
    return this.over - this.#lingering;
  }

  linger(bytes: number): void {
    this.#lingering += bytes;
  }

  /** True when removed objects may grow by so much. */
  mayLinger(bytes: number): boolean {
    return this.#lingering + bytes <= this.bytesMax * LINGER_SHARE_MAX;
  }

  add(bytes: number): void {
    this.#used += bytes;
  }

  retire(bytes: number): void {
    this.#retiring += bytes;
  }

  /** A file is being removed; its bytes are free when that has ended. */
  removing(removal: Promise<void>): void {
    this.#removals.add(removal);
    void removal.finally(() => this.#removals.delete(removal));
  }

  /** Resolves when the files that are being removed now are gone. */
  async removed(): Promise<void> {
    await Promise.all(this.#removals);
  }

  /** True when so much may be written now; give it back when it has been counted or given up. */
  take(bytes: number): boolean {
    return this.#take(bytes, (this.headroom * 3) / 4);
  }

  /** The same for what eviction writes again: writers leave it as much room as it may use at a time. */
  takeAgain(bytes: number): boolean {
    return this.#take(bytes, this.headroom / 4);
  }

  /** Somebody waits for so much room, until it is taken back with a negative number. */
  want(bytes: number): void {
    this.#wanted += bytes;
  }

  /** A little is left for the indexes, whose growth is only known afterwards. */
  #take(bytes: number, left: number): boolean {
    if (this.#used + this.#reserved + bytes > this.#ceiling - left) return false;
    this.#reserved += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#reserved -= bytes;
  }

  /** The disk was full: no more than a little less than what is used now. */
  lower(): void {
    const lower = Math.max(Math.floor(this.#used * 0.9), Math.floor(this.bytesMax / 64));
    this.#ceiling = Math.min(this.#ceiling, lower);
  }

  /** The disk takes bytes again: a little more each time. */
  raise(): void {
    this.#ceiling = Math.min(this.bytesMax, this.#ceiling + Math.ceil(this.bytesMax / 64));
  }
}
