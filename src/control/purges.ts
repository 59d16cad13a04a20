/**
 * Purges of the fleet, with proof: an order becomes an entry of the change log; each node says when it has
 * applied it and how many objects it hit. Times are the control plane's own, when the news reached it.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type { PurgeOrder } from "../cache/purge-request.ts";
import type { NodeReport } from "../service/fleet-wire.ts";
import type { ChangeLog } from "./change-log.ts";
import type { ControlDatabase } from "./database.ts";
import { PURGES_KEPT_MAX } from "./limits.ts";
import { News } from "./news.ts";
import type { Nodes } from "./nodes.ts";
import { Refused } from "./refusal.ts";

/** What became of a purge on one node. */
export interface NodePurge {
  readonly node: string;
  readonly name: string;
  /** "accepted": it is in the log and the node will get it; "unreachable": the same, but nobody knows when. */
  readonly state: "accepted" | "unreachable" | "applied" | "counted";
  readonly appliedAt: string | null;
  /** From the order to the news of it, in milliseconds. */
  readonly appliedAfterMs: number | null;
  readonly objects: number | null;
  readonly countedAt: string | null;
}

/** A purge as one asks for it. */
export interface FleetPurge {
  readonly id: string;
  readonly sequence: number;
  readonly site: string;
  readonly scope: string;
  readonly mode: string;
  readonly targets: readonly string[];
  readonly targetCount: number;
  readonly acceptedAt: string;
  readonly by: string;
  /** "counted" when every node has counted, "applied" when every node has applied, "accepted" before. */
  readonly state: "accepted" | "applied" | "counted";
  /** From the order to the news of the last node, in milliseconds; null until then. */
  readonly appliedAfterMs: number | null;
  /** Objects on all nodes that have counted. */
  readonly objects: number | null;
  readonly nodes: readonly NodePurge[];
}

/** A purge that every node has applied. */
export interface AppliedPurge
  extends Pick<FleetPurge, "id" | "site" | "scope" | "mode" | "sequence" | "targetCount"> {
  /** From the order to the news of the last node, in milliseconds. */
  readonly appliedAfterMs: number;
}

/** What one waits for. */
export type WaitFor = "applied" | "counted";

const TARGETS_SHOWN_MAX = 20;
/** How often a wait looks whether a node has become unreachable, in milliseconds. */
const LOOK_EVERY_MS = 1_000;

interface Row {
  readonly id: string;
  readonly sequence: number;
  readonly site: string;
  readonly scope: string;
  readonly mode: string;
  readonly targets: string;
  readonly target_count: number;
  readonly accepted_ms: number;
  readonly by: string;
}

/** The purges. */
export class FleetPurges {
  readonly #database: ControlDatabase;
  readonly #log: ChangeLog;
  readonly #nodes: Nodes;
  readonly #clock: Clock;
  readonly #news: News;
  /** How far nodes have come, by what they asked for in this turn. */
  readonly #acknowledged = new Map<string, number>();
  #closed = false;
  /** Up to here purges were found to be applied on every node. */
  #appliedByAll = 0;
  /** Called within the transaction when a purge has been applied on every node. */
  onApplied: (purge: AppliedPurge) => void = () => {};

  constructor(database: ControlDatabase, log: ChangeLog, nodes: Nodes, clock: Clock) {
    this.#database = database;
    this.#log = log;
    this.#nodes = nodes;
    this.#clock = clock;
    this.#news = new News(clock);
  }

  /** Takes an order, within the caller's transaction: when that is over, every node will get it. */
  create(order: PurgeOrder, by: string): FleetPurge {
    const { site, scope, targets, mode } = order;
    const id = randomUUID();
    const { sequence, acceptedMs } = this.#log.append(
      { kind: "purge", id, site, scope, targets: [...targets], mode },
      targets.length,
    );
    this.#database.run(
      "INSERT INTO purges (id, sequence, site, scope, mode, targets, target_count, accepted_ms, by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      id,
      sequence,
      site,
      scope,
      mode,
      JSON.stringify(targets.slice(0, TARGETS_SHOWN_MAX)),
      targets.length,
      acceptedMs,
      by,
    );
    this.#trim();
    return this.get(id);
  }

  get(id: string): FleetPurge {
    const purge = this.find(id);
    if (purge === null) throw new Refused(404, "there is no purge with this id (any more)");
    return purge;
  }

  /** The same, null when there is none. */
  find(id: string): FleetPurge | null {
    const row = this.#database.get<Row>("SELECT * FROM purges WHERE id = ?", id);
    return row === null ? null : this.#view(row);
  }

  /** The newest first, older than the sequence `before`, of these sites. */
  list(limit: number, before: number, only: readonly string[] | null): FleetPurge[] {
    const among = only === null ? "" : `AND site IN (${only.map(() => "?").join(", ")})`;
    return this.#database
      .all<Row>(
        `SELECT * FROM purges WHERE sequence < ? ${among} ORDER BY sequence DESC LIMIT ?`,
        before,
        ...(only ?? []),
        limit,
      )
      .map((row) => this.#view(row));
  }

  /** A node has applied the log up to an entry, which its next question says; those who do so together are noted together. */
  acknowledged(node: string, sequence: number): void {
    if (this.#acknowledged.size === 0) setImmediate(() => this.#noteAcknowledged());
    this.#acknowledged.set(node, Math.max(sequence, this.#acknowledged.get(node) ?? 0));
  }

  #noteAcknowledged(): void {
    const all = [...this.#acknowledged];
    this.#acknowledged.clear();
    if (this.#closed) return;
    // What is lost with the power the nodes say again.
    this.#database.relaxed(() => {
      for (const [node, applied] of all) {
        const before = this.#nodes.applied(node, applied);
        if (before !== null) this.reported(node, before, { applied, counted: [] });
      }
    });
  }

  /** A node said how far it has come (`before` is where it was) and what it counted. */
  reported(node: string, before: number, report: Pick<NodeReport, "applied" | "counted">): void {
    const nowMs = Math.floor(this.#clock.now());
    this.#database.run(
      `INSERT INTO purge_reports (sequence, node, applied_ms)
       SELECT sequence, ?, ? FROM purges WHERE sequence > ? AND sequence <= ? ON CONFLICT DO NOTHING`,
      node,
      nowMs,
      before,
      report.applied,
    );
    for (const { sequence, objects } of report.counted)
      this.#database.run(
        "UPDATE purge_reports SET objects = ?, counted_ms = ? WHERE sequence = ? AND node = ? AND objects IS NULL",
        objects,
        nowMs,
        sequence,
        node,
      );
    this.#noteApplied(nowMs);
    setImmediate(() => this.#wake());
  }

  /**
   * Resolves when every node that can be reached has applied (or counted), or when the time is over: the
   * answer says which it was.
   */
  async wait(id: string, what: WaitFor, ms: number, signal: AbortSignal): Promise<FleetPurge> {
    const { steady } = this.#clock;
    const endMs = steady.now() + ms;
    let [wanted, lookedMs] = [0, 0];
    for (;;) {
      const nowMs = steady.now();
      const leftMs = endMs - nowMs;
      // Each news of a node is cheap to look at; the whole picture is not.
      if (
        this.#done(id, what) >= wanted ||
        leftMs <= 0 ||
        nowMs - lookedMs >= LOOK_EVERY_MS ||
        signal.aborted
      ) {
        lookedMs = nowMs;
        const purge = this.get(id);
        const open = purge.nodes.some(
          ({ state }) => state === "accepted" || (what === "counted" && state === "applied"),
        );
        if (!open || leftMs <= 0 || signal.aborted) return purge;
        wanted = purge.nodes.filter(({ state }) => state !== "unreachable").length;
      }
      await this.#news.next(Math.min(leftMs, LOOK_EVERY_MS), signal);
    }
  }

  /** How many some node has not applied yet. */
  open(): number {
    return (
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM purges WHERE applied_ms IS NULL")?.n ?? 0
    );
  }

  /** Ends every wait. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  /** How many nodes have done what is waited for. */
  #done(id: string, what: WaitFor): number {
    const column = what === "counted" ? "counted_ms" : "applied_ms";
    return (
      this.#database.get<{ n: number }>(
        `SELECT count(${column}) AS n FROM purge_reports WHERE sequence = (SELECT sequence FROM purges WHERE id = ?)`,
        id,
      )?.n ?? 0
    );
  }

  /** Purges that the slowest node has applied are applied on all of them; those that join later come after them. */
  #noteApplied(nowMs: number): void {
    const upTo = this.#nodes.appliedByAll() ?? 0;
    if (upTo <= this.#appliedByAll) return;
    const done = this.#database.all<Row>(
      "UPDATE purges SET applied_ms = ? WHERE sequence > ? AND sequence <= ? AND applied_ms IS NULL RETURNING *",
      nowMs,
      this.#appliedByAll,
      upTo,
    );
    this.#appliedByAll = upTo;
    for (const { id, site, scope, mode, sequence, target_count, accepted_ms } of done)
      this.onApplied({
        id,
        site,
        scope,
        mode,
        sequence,
        targetCount: target_count,
        appliedAfterMs: nowMs - accepted_ms,
      });
  }

  #wake(): void {
    this.#news.tell();
  }

  #trim(): void {
    const last = this.#database.get<{ sequence: number }>(
      "SELECT sequence FROM purges ORDER BY sequence DESC LIMIT 1 OFFSET ?",
      PURGES_KEPT_MAX,
    );
    if (last === null) return;
    this.#database.run("DELETE FROM purges WHERE sequence <= ?", last.sequence);
    this.#database.run("DELETE FROM purge_reports WHERE sequence <= ?", last.sequence);
  }

  #view(row: Row): FleetPurge {
    const reports = new Map(
      this.#database
        .all<{ node: string; applied_ms: number; objects: number | null; counted_ms: number | null }>(
          "SELECT * FROM purge_reports WHERE sequence = ?",
          row.sequence,
        )
        .map((report) => [report.node, report]),
    );
    const nodes = this.#nodes.concernedBy(row.sequence).map((node): NodePurge => {
      const report = reports.get(node.id);
      if (report === undefined)
        return {
          node: node.id,
          name: node.name,
          state: node.state === "reachable" ? "accepted" : "unreachable",
          appliedAt: null,
          appliedAfterMs: null,
          objects: null,
          countedAt: null,
        };
      return {
        node: node.id,
        name: node.name,
        state: report.objects === null ? "applied" : "counted",
        appliedAt: new Date(report.applied_ms).toISOString(),
        appliedAfterMs: report.applied_ms - row.accepted_ms,
        objects: report.objects,
        countedAt: report.counted_ms === null ? null : new Date(report.counted_ms).toISOString(),
      };
    });
    const isApplied = nodes.every(({ appliedAt }) => appliedAt !== null);
    const counts = nodes.flatMap(({ objects }) => (objects === null ? [] : [objects]));
    return {
      id: row.id,
      sequence: row.sequence,
      site: row.site,
      scope: row.scope,
      mode: row.mode,
      targets: JSON.parse(row.targets) as string[],
      targetCount: row.target_count,
      acceptedAt: new Date(row.accepted_ms).toISOString(),
      by: row.by,
      state: !isApplied ? "accepted" : counts.length === nodes.length ? "counted" : "applied",
      appliedAfterMs: isApplied
        ? Math.max(0, ...nodes.map(({ appliedAfterMs }) => appliedAfterMs ?? 0))
        : null,
      objects: counts.length === 0 ? null : counts.reduce((sum, count) => sum + count, 0),
      nodes,
    };
  }
}
