/**
 * What nodes count for a roll-out. A node counts from when it began to serve an arm, and anew after its own
 * start; here that becomes sums which only grow, with a mark at the beginning of each stage.
 */
import type { Clock } from "../../base/clock.ts";
import type { RequestCounts, RolloutReport } from "../../service/fleet-wire.ts";
import type { ControlDatabase } from "../database.ts";

/** What one node has told of one arm. */
export interface NodeCounts {
  readonly node: string;
  readonly arm: RolloutReport["arm"];
  readonly atMs: number;
  readonly problem: string | null;
  /** Since the stage began. */
  readonly stage: RequestCounts;
  readonly before: RequestCounts;
}

interface Row {
  readonly node: string;
  readonly arm: RolloutReport["arm"];
  readonly since_ms: number;
  readonly at_ms: number;
  readonly problem: string | null;
  readonly last_requests: number;
  readonly last_errors: number;
  readonly requests: number;
  readonly errors: number;
  readonly mark_requests: number;
  readonly mark_errors: number;
  readonly before_requests: number;
  readonly before_errors: number;
}

/** The sums, by roll-out and node. */
export class RolloutCounts {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;

  constructor(database: ControlDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Adds what a node tells. */
  take(node: string, report: RolloutReport): void {
    const { rollout, arm, sinceMs, counts, before, problem } = report;
    const known = this.#database.get<Row>(
      "SELECT * FROM rollout_counts WHERE rollout = ? AND node = ? AND arm = ?",
      rollout,
      node,
      arm,
    );
    const isSame = known?.since_ms === sinceMs;
    // What is less than before began anew as well.
    const added = (now: number, last: number): number => (isSame && now >= last ? now - last : now);
    const requests = (known?.requests ?? 0) + added(counts.requests, known?.last_requests ?? 0);
    const errors = (known?.errors ?? 0) + added(counts.errors, known?.last_errors ?? 0);
    this.#database.run(
      `INSERT OR REPLACE INTO rollout_counts (rollout, node, arm, since_ms, at_ms, problem, last_requests, last_errors,
         requests, errors, mark_requests, mark_errors, before_requests, before_errors)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      rollout,
      node,
      arm,
      sinceMs,
      Math.floor(this.#clock.now()),
      problem,
      counts.requests,
      counts.errors,
      requests,
      errors,
      known?.mark_requests ?? 0,
      known?.mark_errors ?? 0,
      // The first tells how it was before; after a start of the node that is forgotten there.
      known?.before_requests ?? before.requests,
      known?.before_errors ?? before.errors,
    );
  }

  /** A stage begins: what was counted so far is of the one before. */
  mark(rollout: string): void {
    this.#database.run(
      "UPDATE rollout_counts SET mark_requests = requests, mark_errors = errors, problem = NULL WHERE rollout = ?",
      rollout,
    );
  }

  of(rollout: string): NodeCounts[] {
    return this.#database.all<Row>("SELECT * FROM rollout_counts WHERE rollout = ?", rollout).map((row) => ({
      node: row.node,
      arm: row.arm,
      atMs: row.at_ms,
      problem: row.problem,
      stage: { requests: row.requests - row.mark_requests, errors: row.errors - row.mark_errors },
      before: { requests: row.before_requests, errors: row.before_errors },
    }));
  }

  /** Forgets a roll-out. */
  forget(rollout: string): void {
    this.#database.run("DELETE FROM rollout_counts WHERE rollout = ?", rollout);
  }
}

/** The sum of several. */
export function sumOf(counts: readonly RequestCounts[]): RequestCounts {
  return counts.reduce(
    (sum, one) => ({ requests: sum.requests + one.requests, errors: sum.errors + one.errors }),
    {
      requests: 0,
      errors: 0,
    },
  );
}
