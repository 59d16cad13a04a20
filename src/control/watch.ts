/** What nodes' reports and their silence tell of: nodes that go and come back, origins that are left out. */
import { type Clock, every } from "../base/clock.ts";
import { type NodeReport, UNREACHABLE_MS } from "../service/fleet-wire.ts";
import type { ControlDatabase } from "./database.ts";
import type { Tell } from "./events.ts";
import { LOOK_EVERY_MS } from "./limits.ts";
import type { Nodes } from "./nodes.ts";

/** What it looks at. */
export interface WatchParts {
  readonly database: ControlDatabase;
  readonly nodes: Nodes;
  readonly clock: Clock;
  readonly tell: Tell;
}

/** Looks at the fleet from time to time. */
export class FleetWatch {
  readonly #parts: WatchParts;
  readonly #startedMs: number;
  readonly #cancelLook: () => void;

  constructor(parts: WatchParts) {
    this.#parts = parts;
    this.#startedMs = parts.clock.now();
    this.#cancelLook = every(parts.clock, LOOK_EVERY_MS, () => this.#look());
  }

  /** Takes the origins that a node leaves out now, within the caller's transaction. */
  reported(node: string, report: Pick<NodeReport, "originsOut">): void {
    // A version that does not tell of them.
    if (report.originsOut !== undefined) this.#setOut(node, report.originsOut);
  }

  /** A node was removed: what it left out is nobody's any more. */
  removed(node: string): void {
    this.#setOut(node, []);
  }

  close(): void {
    this.#cancelLook();
  }

  #look(): void {
    const { database, nodes, clock, tell } = this.#parts;
    // After a start nobody was heard of yet.
    const isSettled = clock.now() - this.#startedMs >= UNREACHABLE_MS;
    const { lost, back } = nodes.comings();
    if (back.length === 0 && (lost.length === 0 || !isSettled)) return;
    database.transaction(() => {
      for (const { id, name } of isSettled ? lost : []) {
        nodes.setLost(id, true);
        tell({ type: "node.unreachable", sites: null, data: { node: id, name } });
      }
      for (const { id, name } of back) {
        nodes.setLost(id, false);
        tell({ type: "node.reachable", sites: null, data: { node: id, name } });
      }
    });
  }

  /** The first node that leaves an origin out, and the last one that takes it back, are told of. */
  #setOut(node: string, out: NonNullable<NodeReport["originsOut"]>): void {
    const { database, tell } = this.#parts;
    const known = database.all<{ site: string; origin: string }>(
      "SELECT site, origin FROM origins_out WHERE node = ?",
      node,
    );
    const count = (site: string, origin: string): number =>
      database.get<{ n: number }>(
        "SELECT count(*) AS n FROM origins_out WHERE site = ? AND origin = ?",
        site,
        origin,
      )?.n ?? 0;
    for (const { site, origin, reason } of out) {
      if (known.some((one) => one.site === site && one.origin === origin)) continue;
      const isFirst = count(site, origin) === 0;
      database.run(
        "INSERT OR IGNORE INTO origins_out (site, origin, node) VALUES (?, ?, ?)",
        site,
        origin,
        node,
      );
      if (isFirst) tell({ type: "origin.failover", sites: [site], data: { site, origin, reason, node } });
    }
    for (const { site, origin } of known) {
      if (out.some((one) => one.site === site && one.origin === origin)) continue;
      database.run("DELETE FROM origins_out WHERE site = ? AND origin = ? AND node = ?", site, origin, node);
      if (count(site, origin) === 0)
        tell({ type: "origin.recovery", sites: [site], data: { site, origin, node } });
    }
  }
}
