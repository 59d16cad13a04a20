/**
 * A walk over all objects of a store that drops some and changes others. It works in slices: a few
 * milliseconds of looking and deciding, one transaction for what was decided, then everybody else's turn.
 */
import { messageOf } from "../../../base/errors.ts";
import { META_BYTES_MAX, SWEEP_CHANGES_MAX, SWEEP_ROWS, SWEEP_SLICE_MS } from "./limits.ts";
import type { SweepCounts, SweepVerdict } from "./options.ts";
import type { Problems } from "./problems.ts";
import type { Shard } from "./shard.ts";
import type { DiskVariant } from "./variant.ts";

/** What a sweep works with. */
export interface SweepContext {
  readonly shards: Iterable<Shard>;
  readonly problems: Problems;
  /** The store is being closed. */
  stopped(): boolean;
  decide(variant: DiskVariant): SweepVerdict;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Walks all shards. Never rejects. */
export async function sweep(context: SweepContext): Promise<SweepCounts> {
  const counts: Writable<SweepCounts> = { seen: 0, dropped: 0, droppedBytes: 0, changed: 0, complete: true };
  for (const shard of context.shards) {
    const { parts } = shard;
    let afterId: number | null = -1;
    // To the very end: what eviction writes again meanwhile lies there, and must not be missed.
    while (afterId !== null) {
      // A shard that is off, or was in between, may come back with what this walk did not see.
      if (parts === null || parts !== shard.parts || context.stopped()) {
        counts.complete = false;
        break;
      }
      afterId = slice(context, shard, afterId, counts);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }
  return counts;
}

/** One slice from behind a row; returns the row that it ended with, null when there are no more. */
function slice(
  context: SweepContext,
  shard: Shard,
  afterId: number,
  counts: Writable<SweepCounts>,
): number | null {
  const untilMs = performance.now() + SWEEP_SLICE_MS;
  const drop: DiskVariant[] = [];
  const change: DiskVariant[] = [];
  let last: number | null = afterId;
  let full = false;
  while (!full) {
    const rows = shard.rowsAfter(last, SWEEP_ROWS);
    if (rows === null) counts.complete = false;
    if (rows === null || rows.length === 0) {
      last = null;
      break;
    }
    for (const { id, variant } of rows) {
      last = id;
      if (variant === null) continue;
      counts.seen++;
      const verdict = judge(context, variant);
      if (verdict === null) counts.complete = false;
      else if (verdict === "drop") drop.push(variant);
      else if (verdict !== "keep") change.push({ ...variant, ...verdict });
      full = performance.now() >= untilMs || drop.length + change.length >= SWEEP_CHANGES_MAX;
      if (full) break;
    }
  }
  if (drop.length + change.length > 0) {
    if (shard.apply(drop, change)) {
      counts.dropped += drop.length;
      counts.changed += change.length;
      for (const { length } of drop) counts.droppedBytes += length;
    } else counts.complete = false;
  }
  return last;
}

/** The caller's verdict; null when it has none that can be used. */
function judge(
  context: SweepContext,
  variant: DiskVariant,
): "keep" | "drop" | Pick<DiskVariant, "meta" | "sequence"> | null {
  let why: string;
  try {
    const verdict = context.decide(variant);
    if (verdict === "keep" || verdict === "drop") return verdict;
    const { meta, sequence } = verdict;
    if (meta.byteLength <= META_BYTES_MAX && Number.isSafeInteger(sequence) && sequence >= 0)
      return { meta, sequence };
    why = `${meta.byteLength} bytes of metadata with sequence ${sequence}; at most ${META_BYTES_MAX} bytes and a whole number are allowed`;
  } catch (error) {
    why = messageOf(error);
  }
  context.problems.report("callback", "sweep", `a sweep of the disk cache failed for an object: ${why}`);
  return null;
}
