/**
 * A histogram of durations in fixed buckets. Bounds are those of Prometheus' habit, from a quarter of a
 * millisecond to a minute; a hit falls into the first, so that recording it is one comparison.
 */

/** Upper bounds of the buckets, in milliseconds; what is longer counts only in the total. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
];

/** A histogram as plain data. `buckets` are cumulative, as Prometheus wants them. */
export interface LatencySnapshot {
  readonly count: number;
  readonly sumMs: number;
  /** Estimates: the upper bound of the bucket that holds the quantile; null when empty or past the last bound. */
  readonly p50Ms: number | null;
  readonly p90Ms: number | null;
  readonly p99Ms: number | null;
  readonly buckets: readonly { readonly leMs: number; readonly count: number }[];
}

/** Counts durations. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(LATENCY_BOUNDS_MS.length + 1);
  #sumMs = 0;

  /** Counts one duration. */
  record(durationMs: number): void {
    let index = 0;
    while (index < LATENCY_BOUNDS_MS.length && durationMs > (LATENCY_BOUNDS_MS[index] as number)) index++;
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#sumMs += durationMs;
  }

  snapshot(): LatencySnapshot {
    const buckets: { leMs: number; count: number }[] = [];
    let running = 0;
    for (const [index, leMs] of LATENCY_BOUNDS_MS.entries()) {
      running += this.#counts[index] as number;
      buckets.push({ leMs, count: running });
    }
    return snapshotOf(buckets, running + (this.#counts[LATENCY_BOUNDS_MS.length] as number), this.#sumMs);
  }
}

/** Two histograms as one. */
export function mergeLatency(a: LatencySnapshot, b: LatencySnapshot): LatencySnapshot {
  const buckets = a.buckets.map(({ leMs, count }, index) => ({
    leMs,
    count: count + (b.buckets[index]?.count ?? 0),
  }));
  return snapshotOf(buckets, a.count + b.count, a.sumMs + b.sumMs);
}

function snapshotOf(buckets: LatencySnapshot["buckets"], count: number, sumMs: number): LatencySnapshot {
  const quantile = (share: number) =>
    count === 0 ? null : (buckets.find((bucket) => bucket.count >= share * count)?.leMs ?? null);
  return {
    count,
    sumMs: Math.round(sumMs * 1_000) / 1_000,
    p50Ms: quantile(0.5),
    p90Ms: quantile(0.9),
    p99Ms: quantile(0.99),
    buckets,
  };
}
