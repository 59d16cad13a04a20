/** What the control plane counts of itself since its start, for its metrics page. */
import type { Clock } from "../base/clock.ts";
import { LatencyHistogram } from "../telemetry/latency.ts";
import type { BusFeedView } from "./bus/bus-feed.ts";

/** The counters. */
export class Meters {
  readonly startedMs: number;
  /** From the order of a purge to the news of the last node. */
  readonly purges = new LatencyHistogram();
  /** How the bus is fed; null without one. */
  bus: (() => BusFeedView) | null = null;
  /** Answers by route and status. */
  readonly #answers = new Map<string, { readonly route: string; readonly status: number; count: number }>();

  constructor(clock: Clock) {
    this.startedMs = clock.now();
  }

  /** A request was answered; `route` is a path's pattern, of which there are few. */
  answered(route: string, status: number): void {
    const key = `${status} ${route}`;
    const known = this.#answers.get(key);
    if (known === undefined) this.#answers.set(key, { route, status, count: 1 });
    else known.count++;
  }

  answers(): readonly { readonly route: string; readonly status: number; readonly count: number }[] {
    return [...this.#answers.values()];
  }
}
