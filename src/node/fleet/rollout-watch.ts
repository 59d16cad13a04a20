/**
 * What this node counts for the roll-outs that its snapshot names: requests of their sites, and how many of
 * them failed, since it serves the versions that it serves now; and in the minutes before, for comparison.
 */
import type { Clock } from "../../base/clock.ts";
import {
  REPORTED_ROLLOUTS_MAX,
  type RequestCounts,
  type RolloutReport,
  type StagedSites,
} from "../../service/fleet-wire.ts";
import type { StatsSnapshot } from "../../telemetry/stats.ts";

/** What is before: between one and two times so long ago and the change, in milliseconds. */
const BEFORE_MS = 60_000;
const PROBLEM_CHARS_MAX = 900;

type SiteStats = StatsSnapshot["sites"];

interface Watched {
  readonly rollout: string;
  readonly arm: RolloutReport["arm"];
  readonly sites: readonly string[];
  readonly sinceMs: number;
  /** The counters when the arm began. */
  readonly base: RequestCounts;
  readonly before: RequestCounts;
  problem: string | null;
}

/** The counts of one node. */
export class RolloutWatch {
  readonly #clock: Clock;
  #watched: Watched[] = [];
  /** The counters lately, the older one first. */
  #samples: { readonly atMs: number; readonly sites: SiteStats }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Keeps the counters from time to time, for what will be "before". */
  sample({ sites }: StatsSnapshot): void {
    const nowMs = this.#clock.now();
    const last = this.#samples.at(-1);
    if (last !== undefined && nowMs - last.atMs < BEFORE_MS) return;
    this.#samples = [...this.#samples.slice(-1), { atMs: nowMs, sites }];
  }

  /** A snapshot is in force. An arm that goes on keeps its counts. `problems` are of candidates that are not served, by roll-out. */
  follow(
    staged: readonly StagedSites[],
    node: string,
    problems: ReadonlyMap<string, string>,
    stats: StatsSnapshot,
  ): void {
    const [older] = this.#samples;
    this.#watched = staged.slice(0, REPORTED_ROLLOUTS_MAX).map((one): Watched => {
      const arm = isFor(one, node) ? "candidate" : "base";
      const problem = problems.get(one.rollout)?.slice(0, PROBLEM_CHARS_MAX) ?? null;
      const known = this.#watched.find((other) => other.rollout === one.rollout && other.arm === arm);
      if (known !== undefined) return { ...known, problem };
      const sites = Object.keys(one.sites);
      const base = countsOf(sites, stats.sites);
      return {
        rollout: one.rollout,
        arm,
        sites,
        sinceMs: Math.floor(this.#clock.now()),
        base,
        before: difference(base, older === undefined ? base : countsOf(sites, older.sites)),
        problem,
      };
    });
  }

  /** What to tell now. */
  reports(stats: StatsSnapshot): RolloutReport[] {
    return this.#watched.map(({ rollout, arm, sites, sinceMs, base, before, problem }) => ({
      rollout,
      arm,
      problem,
      sinceMs,
      counts: difference(countsOf(sites, stats.sites), base),
      before,
    }));
  }
}

/** Is a roll-out for this node? */
export function isFor(staged: StagedSites, node: string): boolean {
  return staged.nodes === null || staged.nodes.includes(node);
}

function countsOf(ids: readonly string[], sites: SiteStats): RequestCounts {
  let [requests, errors] = [0, 0];
  for (const id of ids) {
    const site = sites[id];
    if (site === undefined) continue;
    requests += site.requests;
    errors += (site.statusClasses["5xx"] ?? 0) + site.broken;
  }
  return { requests, errors };
}

function difference(now: RequestCounts, then: RequestCounts): RequestCounts {
  return {
    requests: Math.max(0, now.requests - then.requests),
    errors: Math.max(0, now.errors - then.errors),
  };
}
