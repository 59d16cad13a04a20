/** How often one may ask: a bucket for each caller that fills with time. In memory: a restart is generous. */
import type { Clock } from "../base/clock.ts";
import { RATES_MAX } from "./limits.ts";

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Buckets of one kind. */
export class Rates {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock.steady;
    this.#perSecond = perSecond;
    this.#burst = burst;
  }

  /** Takes one for `caller`: 0, or how many seconds it has to wait for one. */
  take(caller: string): number {
    const bucket = this.#fill(caller);
    if (bucket.tokens < 1) return Math.ceil((1 - bucket.tokens) / this.#perSecond);
    bucket.tokens--;
    return 0;
  }

  #fill(caller: string): Bucket {
    const nowMs = this.#clock.now();
    const known = this.#buckets.get(caller);
    this.#buckets.delete(caller);
    const bucket = known ?? { tokens: this.#burst, atMs: nowMs };
    bucket.tokens = Math.min(
      this.#burst,
      bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1_000) * this.#perSecond,
    );
    bucket.atMs = nowMs;
    // The one that asked last stands last: the first is forgotten when there are too many.
    this.#buckets.set(caller, bucket);
    if (this.#buckets.size > RATES_MAX) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return bucket;
  }
}
