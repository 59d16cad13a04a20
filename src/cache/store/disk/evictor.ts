/**
 * Eviction over all shards of a store: first in, first out by the rows' places in their queues (which are
 * times, so that shards compare), with a second chance for what was hit since it was written. A small
 * object that gets one is read, verified and appended again; a large one only changes its place. A large one
 * that is in use is passed over as long as there is anything else, because it frees its room only when its
 * last user has gone. A segment goes when no row refers to it. Each slice takes a few rows and then yields.
 */

import type { Budget } from "./budget.ts";
import type { IndexRow } from "./index-row.ts";
import { SECOND_CHANCE_SHARE, WALK_ROWS } from "./limits.ts";
import type { Shard } from "./shard.ts";
import type { DiskVariant } from "./variant.ts";

/** What eviction did since the start. */
export interface EvictionCounts {
  evicted: number;
  evictedBytes: number;
  reinserted: number;
}

/** Frees room; one run at a time. */
export class Evictor {
  readonly #budget: Budget;
  readonly #shards: () => Iterable<Shard>;
  readonly #isHot: (variant: DiskVariant) => boolean;
  readonly counts: EvictionCounts = { evicted: 0, evictedBytes: 0, reinserted: 0 };
  /** Bytes that may be written again: grows with what is scanned, up to half the headroom. */
  #creditBytes: number;
  #running: Promise<boolean> | null = null;
  #stopped = false;

  /** `isHot` tells what is used although the disk is not asked for it. */
  constructor(
    budget: Budget,
    shards: () => Iterable<Shard>,
    isHot: (variant: DiskVariant) => boolean = () => false,
  ) {
    this.#budget = budget;
    this.#shards = shards;
    this.#isHot = isHot;
    this.#creditBytes = budget.headroom / 2;
  }

  /** Frees until there is headroom again; false when nothing was left to free. Never rejects. */
  run(): Promise<boolean> {
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** No further slices. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<boolean> {
    const stuck = new Set<Shard>();
    const passedOver = new Set<number>();
    // It may have been called from within a shard's work: never in the same turn.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#budget.over > 0 && !this.#stopped) {
      const shard = this.#oldest(stuck);
      if (shard === null) {
        await this.#budget.removed();
        if (this.#budget.over <= 0) return true;
        if (await this.#shrinkAll()) continue;
        return false;
      }
      if (!(await this.#slice(shard, passedOver))) stuck.add(shard);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await this.#budget.removed();
    return true;
  }

  /** No objects are left to take: their indexes may still have room to give back. */
  async #shrinkAll(): Promise<boolean> {
    let shrunk = false;
    for (const shard of this.#shards()) {
      while (this.#budget.over > 0 && !this.#stopped) {
        if (!((await shard.parts?.log.shrinkNow()) ?? false)) break;
        shrunk = true;
      }
    }
    return shrunk;
  }

  /** The shard whose queue begins with the oldest. */
  #oldest(except: ReadonlySet<Shard>): Shard | null {
    let oldest: Shard | null = null;
    let oldestId = Number.POSITIVE_INFINITY;
    for (const shard of this.#shards()) {
      if (except.has(shard)) continue;
      const id = shard.guard(null, ({ index, segments }) => {
        const [row, segment] = [index.frontId(), segments.oldest];
        return row === null ? segment : segment === null ? row : Math.min(row, segment);
      });
      if (id !== null && id < oldestId) {
        oldest = shard;
        oldestId = id;
      }
    }
    return oldest;
  }

  /** One slice of one shard; false when it could free nothing. */
  async #slice(shard: Shard, passedOver: Set<number>): Promise<boolean> {
    if (dropDeadSegments(shard)) return true;
    const rows = shard.rowsAfter(-1, WALK_ROWS) ?? [];
    if (rows.length === 0) return false;
    const moves: IndexRow[] = [];
    let progress = false;
    // What is written again is room like any other, until it has been.
    let reserved = 0;
    const done = shard.guard(false, ({ index, large, objects }) => {
      const removed: IndexRow[] = [];
      index.transaction(() => {
        let { over, overWhenLeft } = this.#budget;
        for (const row of rows) {
          // Large objects free their room at once: no further than needed.
          if (over <= 0) break;
          if (row.variant !== null && row.large && objects.inUse(row.born)) {
            if (!passedOver.has(row.born)) {
              passedOver.add(row.born);
              progress = shard.storing.requeue(index, row.variant) || progress;
              continue;
            }
            // Nothing else is left in this shard.
            if (overWhenLeft <= 0) break;
            index.removeRow(row);
            removed.push(row);
            overWhenLeft -= large.size(row.born);
            continue;
          }
          const bytes = row.variant?.length ?? 0;
          this.#creditBytes = Math.min(
            this.#budget.headroom / 2,
            this.#creditBytes + bytes * SECOND_CHANCE_SHARE,
          );
          const wasHit = shard.hits.take(index, row.born);
          // What is hot may stay so: once a run, or a run among nothing else would never end.
          const hot = row.variant !== null && !passedOver.has(row.born) && this.#isHot(row.variant);
          if (hot) passedOver.add(row.born);
          const hit = wasHit || hot;
          // A large object is only given another place, which costs nothing.
          const costBytes = row.large ? 0 : bytes;
          // On a disk that was full there may be no room to write anything again.
          const affordable = costBytes <= (this.#budget.lowered ? 0 : this.#creditBytes);
          if (hit && row.variant !== null && affordable && this.#budget.takeAgain(costBytes)) {
            reserved += costBytes;
            this.#creditBytes -= costBytes;
            moves.push(row);
            continue;
          }
          index.removeRow(row);
          removed.push(row);
          if (row.large) {
            over -= large.size(row.born);
            overWhenLeft -= large.size(row.born);
          }
        }
      });
      progress ||= removed.length > 0 || moves.length > 0;
      for (const row of removed) {
        this.counts.evicted++;
        this.counts.evictedBytes += row.variant?.length ?? 0;
        if (row.variant !== null) shard.dropped(row.variant, true);
        else if (row.large) shard.droppedLarge(row.born);
      }
      shard.committed();
      return true;
    });
    // A disk may be so full that not even rows can be deleted.
    if (!done) {
      this.#budget.give(reserved);
      return dropOldestFile(shard, this.#budget);
    }
    await Promise.all(moves.map((row) => this.#move(shard, row)));
    this.#budget.give(reserved);
    shard.parts?.log.shrink();
    return dropDeadSegments(shard) || progress;
  }

  async #move(shard: Shard, row: IndexRow): Promise<void> {
    const { variant } = row;
    if (variant === null) return;
    if (variant.large) {
      const moved = shard.storing.moveLarge(variant);
      if (moved) this.counts.reinserted++;
      return;
    }
    const body = await shard.parts?.small.read(variant, 0, variant.length);
    if (body instanceof Uint8Array && (await shard.storing.moveSmall(variant, body)))
      this.counts.reinserted++;
    else shard.remove(variant);
  }
}

/** Removes segments at the front to which no row refers; true when there were any. */
function dropDeadSegments(shard: Shard): boolean {
  return shard.guard(false, ({ index, segments, writer }) => {
    let dropped = false;
    const numbers = segments.numbers();
    let current = numbers.next();
    while (!current.done) {
      const number = current.value;
      const next = numbers.next();
      const open = number === writer.openSegment;
      if (index.usesSegment(number, next.done ? Number.MAX_SAFE_INTEGER : next.value)) {
        // The one that is being filled is ended, so that it can go once its rows have gone.
        if (open) writer.seal();
        break;
      }
      if (open && (segments.size(number) === 0 || !writer.seal())) break;
      segments.retire(number);
      dropped = true;
      current = next;
    }
    return dropped;
  });
}

/** Removes the oldest file although rows refer to it: they are found out when they are read, or evicted. */
function dropOldestFile(shard: Shard, budget: Budget): boolean {
  const { parts } = shard;
  if (parts === null) return false;
  const { segments, large, objects, writer } = parts;
  const segment = segments.oldest;
  const object = [...large.numbers()].find((born) => !objects.inUse(born));
  if (object !== undefined && (segment === null || object < segment)) {
    shard.droppedLarge(object);
    return true;
  }
  if (segment !== null && (segment !== writer.openSegment || writer.seal())) {
    segments.retire(segment);
    return true;
  }
  if (large.oldest === null || budget.overWhenLeft <= 0) return false;
  shard.droppedLarge(large.oldest);
  return true;
}
