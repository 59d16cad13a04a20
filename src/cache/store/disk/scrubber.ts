/**
 * The scrubber reads everything once a round, slowly, and checks it: what rotted is forgotten before a
 * viewer asks for it. It keeps no state over restarts; what was not reached is verified when it is read.
 */
import type { Clock } from "../../../base/clock.ts";
import { LARGE_BLOCK_BYTES, SCRUB_ROUND_MS, SCRUB_TICK_MS } from "./limits.ts";
import type { Shard } from "./shard.ts";
import type { DiskVariant } from "./variant.ts";

/** What the scrubber found since the start. */
export interface ScrubCounts {
  verified: number;
  verifiedBytes: number;
  damaged: number;
  rounds: number;
}

/** Walks all shards, `bytesPerTick` each second. */
export class Scrubber {
  readonly counts: ScrubCounts = { verified: 0, verifiedBytes: 0, damaged: 0, rounds: 0 };
  readonly #shards: readonly Shard[];
  readonly #clock: Clock;
  readonly #bytesPerTick: number;
  #shardIndex = 0;
  #afterId = -1;
  /** The large object it is in, and how far. */
  #inside: { variant: DiskVariant; id: number; at: number } | null = null;
  #roundAtMs: number;
  #cancel: () => void = () => {};
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(shards: readonly Shard[], clock: Clock, bytesPerTick: number) {
    this.#shards = shards;
    this.#clock = clock;
    this.#bytesPerTick = bytesPerTick;
    this.#roundAtMs = clock.now();
  }

  start(): void {
    if (this.#bytesPerTick > 0) this.#wait(SCRUB_TICK_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#working;
  }

  #wait(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#working = this.tick(this.#bytesPerTick).then((roundEnded) => {
        this.#wait(roundEnded ? Math.max(SCRUB_TICK_MS, this.#nextRoundMs()) : SCRUB_TICK_MS);
      });
    });
  }

  #nextRoundMs(): number {
    const startMs = this.#roundAtMs + SCRUB_ROUND_MS;
    this.#roundAtMs = Math.max(startMs, this.#clock.now());
    return startMs - this.#clock.now();
  }

  /** Verifies about so many bytes; true when a round has ended. Never rejects. */
  async tick(bytes: number): Promise<boolean> {
    let left = bytes;
    while (left > 0 && !this.#stopped) {
      const shard = this.#shards[this.#shardIndex];
      if (shard === undefined) {
        this.#shardIndex = 0;
        this.#afterId = -1;
        this.counts.rounds++;
        return true;
      }
      const step = await this.#step(shard);
      if (step === null) {
        this.#shardIndex++;
        this.#afterId = -1;
      } else left -= Math.max(4_096, step);
    }
    return false;
  }

  /** Verifies one small object or one block of a large one; null at the shard's end. */
  async #step(shard: Shard): Promise<number | null> {
    const inside = this.#inside;
    if (inside !== null) {
      const end = Math.min(inside.at + LARGE_BLOCK_BYTES, inside.variant.length);
      const file = shard.largeOf(inside.variant);
      if (file === null || inside.at >= inside.variant.length) {
        this.#inside = null;
        return 0;
      }
      inside.at = end;
      const from = end - Math.min(LARGE_BLOCK_BYTES, end % LARGE_BLOCK_BYTES || LARGE_BLOCK_BYTES);
      if (!file.has(from, end)) return 0;
      this.#count((await file.read(from, end)) !== null || file.gone, end - from);
      return end - from;
    }
    const [row] = shard.rowsAfter(this.#afterId, 1) ?? [];
    if (row === undefined) return null;
    this.#afterId = row.id;
    const { variant } = row;
    if (variant === null) {
      shard.guard(undefined, ({ index }) => index.removeRow(row));
      this.#count(false, 0);
      return 0;
    }
    if (variant.large) {
      this.#inside = { variant, id: row.id, at: 0 };
      return 0;
    }
    const body = await shard.parts?.small.read(variant, 0, variant.length);
    // "gone" is eviction at work, or a lost file: reading it finds out which.
    if (body === "damaged") shard.damaged(variant, "objects");
    this.#count(body !== "damaged", variant.length);
    return variant.length;
  }

  #count(good: boolean, bytes: number): void {
    if (good) {
      this.counts.verified++;
      this.counts.verifiedBytes += bytes;
    } else this.counts.damaged++;
  }
}
