/**
 * Roll-outs: new versions go to some of the nodes first, are watched there, and go on to more or back by
 * themselves. All that a roll-out is stands in the database, and each of its steps is one transaction with
 * the snapshot that it makes, so a control plane that is killed goes on where it was.
 */
import { createHash, randomBytes } from "node:crypto";
import { type Clock, every } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { type NodeReport, UNREACHABLE_MS } from "../../service/fleet-wire.ts";
import { type Audit, SYSTEM } from "../audit.ts";
import type { ControlDatabase } from "../database.ts";
import type { EventType, Tell } from "../events.ts";
import { LOOK_EVERY_MS, ROLLOUTS_KEPT_MAX, ROLLOUTS_OPEN_MAX } from "../limits.ts";
import type { Nodes, NodeView } from "../nodes.ts";
import { Refused } from "../refusal.ts";
import type { Sites } from "../sites.ts";
import { type NodeCounts, RolloutCounts, sumOf } from "./counts.ts";
import type { RolledSite } from "./staged.ts";
import { judge, percent, type RolloutLimits, type StageCounts, type StageNode } from "./verdict.ts";

/** States of a roll-out; the last three are ends. */
export const ROLLOUT_STATES = ["running", "paused", "completed", "rolledBack", "aborted"] as const;
/** One of them. */
export type RolloutState = (typeof ROLLOUT_STATES)[number];

/** How a roll-out is to go. */
export interface RolloutRequest extends RolloutLimits {
  /** Percentages of the nodes, growing, the last one 100. */
  readonly stages: readonly number[];
  /** Names or ids of nodes that get it before any percentage. */
  readonly nodes?: readonly string[] | undefined;
}

/** A stage: named nodes, or a share of all. */
type Stage = { readonly nodes: readonly string[] } | { readonly percent: number };
type Settings = RolloutLimits & { readonly stages: readonly Stage[] };

/** A node in a roll-out as one asks for it. */
export interface RolloutNodeView {
  readonly node: string;
  readonly name: string;
  readonly state: "waiting" | "in force" | "problem" | "unreachable";
  readonly problem: string | null;
  /** Since the stage began. */
  readonly requests: number;
  readonly errors: number;
}

/** A roll-out as one asks for it. */
export interface RolloutView extends RolloutLimits {
  readonly id: string;
  /** Grows from one to the next. */
  readonly sequence: number;
  readonly sites: Readonly<Record<string, RolledSite>>;
  readonly state: RolloutState;
  /** Why it ended; null while it goes on well. */
  readonly reason: string | null;
  /** The stage, from 1, and what the stages are: "10 %". */
  readonly stage: number;
  readonly stages: readonly string[];
  readonly stageAt: string;
  /** Since when it is in force on every node of the stage. */
  readonly holdAt: string | null;
  /** The snapshot of the stage. */
  readonly snapshot: number;
  readonly counts: StageCounts;
  readonly nodes: readonly RolloutNodeView[];
  readonly events: readonly { readonly at: string; readonly what: string; readonly detail: string }[];
  readonly createdAt: string;
  readonly createdBy: string;
  readonly endedAt: string | null;
}

interface Row {
  readonly sequence: number;
  readonly id: string;
  readonly sites: string;
  readonly settings: string;
  readonly state: RolloutState;
  readonly stage: number;
  readonly nodes: string;
  readonly snapshot: number;
  readonly stage_ms: number;
  readonly hold_ms: number | null;
  readonly reason: string | null;
  readonly created_ms: number;
  readonly created_by: string;
  readonly ended_ms: number | null;
}

/** Nodes of a stage: those that are waited for; `all` when those that join later belong to it too. */
interface StageNodes {
  readonly all: boolean;
  readonly ids: readonly string[];
}

/** In fleets up to this size each report is looked at when it comes. */
const WOKEN_NODES_MAX = 200;

/** What roll-outs act on. */
export interface RolloutParts {
  readonly database: ControlDatabase;
  readonly sites: Sites;
  readonly nodes: Nodes;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly tell: Tell;
  readonly onError: (message: string) => void;
}

/** The roll-outs. Changes that a caller asks for belong into his transaction. */
export class Rollouts {
  readonly #parts: RolloutParts;
  readonly #counts: RolloutCounts;
  readonly #startedMs: number;
  readonly #cancelLook: () => void;
  #isLookDue = false;
  #closed = false;

  constructor(parts: RolloutParts) {
    this.#parts = parts;
    this.#counts = new RolloutCounts(parts.database, parts.clock);
    this.#startedMs = parts.clock.now();
    this.#cancelLook = every(parts.clock, LOOK_EVERY_MS, () => this.look());
  }

  /** Begins a roll-out. Throws a Refused 409 when a site is in one already, or no node can be reached. */
  start(targets: ReadonlyMap<string, number>, request: RolloutRequest, by: string): RolloutView {
    const { database, sites, nodes } = this.#parts;
    if (this.#open().length >= ROLLOUTS_OPEN_MAX)
      throw new Refused(
        409,
        `${ROLLOUTS_OPEN_MAX} roll-outs are under way, and more are not allowed: wait for one to end`,
      );
    const { stages: percents, nodes: named = [], ...limits } = request;
    const first: Stage[] = named.length === 0 ? [] : [{ nodes: named.map((name) => nodes.get(name).id) }];
    const stages = [...first, ...percents.map((one) => ({ percent: one }))];
    const unfit = first.length === 0 ? undefined : named.find((name) => !isFit(nodes.get(name)));
    if (unfit !== undefined)
      throw new Refused(409, `node "${unfit}" can not be reached, or its version knows no roll-outs`);
    const rolled: Record<string, RolledSite> = {};
    for (const [site, to] of targets) rolled[site] = { from: sites.get(site).activeVersion, to };
    sites.reserve(targets);
    const id = `ro_${randomBytes(6).toString("hex")}`;
    database.run(
      `INSERT INTO rollouts (id, sites, settings, state, stage, nodes, snapshot, stage_ms, created_ms, created_by)
       VALUES (?, ?, ?, 'running', 0, '{"all":false,"ids":[]}', 0, ?, ?, ?)`,
      id,
      JSON.stringify(rolled),
      JSON.stringify({ ...limits, stages } satisfies Settings),
      this.#now(),
      this.#now(),
      by,
    );
    this.#event(id, "started", describeSites(rolled));
    this.#enter(this.#mustGet(id), 0, by);
    this.#tell(this.#mustGet(id), "rollout.started");
    this.#trim();
    return this.get(id);
  }

  get(id: string): RolloutView {
    return this.#view(this.#mustGet(id));
  }

  /** Ids of its sites. */
  sitesOf(id: string): readonly string[] {
    return Object.keys(rolledSites(this.#mustGet(id)));
  }

  /** The newest first, older than the sequence `before`; of these sites alone, when any are given. */
  list(limit: number, before: number, only: readonly string[] | null): RolloutView[] {
    return this.#parts.database
      .all<Row>("SELECT rowid AS sequence, * FROM rollouts WHERE rowid < ? ORDER BY rowid DESC", before)
      .filter((row) => only === null || Object.keys(rolledSites(row)).every((site) => only.includes(site)))
      .slice(0, limit)
      .map((row) => this.#view(row));
  }

  /** How many are in each state. */
  states(): Readonly<Record<string, number>> {
    const rows = this.#parts.database.all<{ state: string; n: number }>(
      "SELECT state, count(*) AS n FROM rollouts GROUP BY state",
    );
    return Object.fromEntries(
      ROLLOUT_STATES.map((state) => [state, rows.find((row) => row.state === state)?.n ?? 0]),
    );
  }

  /** Stays in its stage until it is resumed; it still goes back by itself. */
  pause(id: string): RolloutView {
    return this.#setState(id, "running", "paused", "paused");
  }

  resume(id: string): RolloutView {
    return this.#setState(id, "paused", "running", "resumed");
  }

  /** Goes on to the next stage now, or to the end at once; it runs again when it was paused. */
  promote(id: string, all: boolean, by: string): RolloutView {
    const row = this.#mustBeOpen(id);
    this.#event(id, "promoted", all ? "to the end" : "");
    this.#parts.database.run("UPDATE rollouts SET state = 'running' WHERE id = ?", id);
    if (all) this.#complete(row, by);
    else this.#advance(row, by);
    return this.get(id);
  }

  /** Ends it: every node goes back to the versions of before. */
  abort(id: string, by: string): RolloutView {
    this.#back(this.#mustBeOpen(id), "aborted", "aborted by hand", by);
    return this.get(id);
  }

  /** Takes what a node tells, within the caller's transaction. */
  reported(node: string, report: Pick<NodeReport, "rollouts">): void {
    const told = report.rollouts ?? [];
    if (told.length === 0) return;
    const open = new Set(this.#open().map(({ id }) => id));
    for (const one of told) if (open.has(one.rollout)) this.#counts.take(node, one);
  }

  /** Something may have changed: looks soon. */
  wake(): void {
    // Of many nodes one or another reports all the time: each second is often enough.
    if (this.#isLookDue || this.#closed || this.#parts.nodes.count() > WOKEN_NODES_MAX) return;
    this.#isLookDue = true;
    setImmediate(() => {
      this.#isLookDue = false;
      this.look();
    });
  }

  /** Looks at every open roll-out now. */
  look(): void {
    if (this.#closed) return;
    for (const { id } of this.#open()) {
      try {
        this.#parts.database.transaction(() => this.#step(this.#mustGet(id)));
      } catch (error) {
        this.#parts.onError(`roll-out ${id}: ${messageOf(error)}`);
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#cancelLook();
  }

  #step(row: Row): void {
    const nodes = this.#stageNodes(row);
    const isLongUp = this.#now() - this.#startedMs >= UNREACHABLE_MS;
    const verdict = judge(
      {
        limits: settingsOf(row),
        nodes: nodes.map(({ stage }) => stage),
        counts: this.#stageCounts(row),
        stageMs: row.stage_ms,
        holdMs: row.hold_ms,
        isPaused: row.state === "paused",
        isSettled: isLongUp || nodes.every(({ view }) => this.#parts.nodes.isHeard(view.id)),
      },
      this.#now(),
    );
    switch (verdict.kind) {
      case "wait":
        return;
      case "hold":
        this.#parts.database.run("UPDATE rollouts SET hold_ms = ? WHERE id = ?", this.#now(), row.id);
        this.#event(
          row.id,
          "in force",
          `stage ${row.stage + 1}: watched for ${settingsOf(row).holdSeconds} s`,
        );
        return;
      case "advance":
        this.#advance(row, SYSTEM.id);
        return;
      case "rollBack":
        this.#back(row, "rolledBack", verdict.reason, SYSTEM.id);
    }
  }

  /** To the next stage that has other nodes, or to the end. */
  #advance(row: Row, by: string): void {
    const { stages } = settingsOf(row);
    const now = stageNodesOf(row);
    for (let next = row.stage + 1; next < stages.length; next++) {
      const nodes = this.#nodesOf(row, next);
      if (!nodes.all && nodes.ids.length <= now.ids.length) continue;
      this.#enter(row, next, by);
      return;
    }
    this.#complete(row, by);
  }

  #enter(row: Row, index: number, by: string): void {
    const { database, sites, audit } = this.#parts;
    const nodes = this.#nodesOf(row, index);
    if (nodes.ids.length === 0)
      throw new Refused(
        409,
        "no node can be reached that a stage could begin with; activate it without stages",
      );
    database.run(
      "UPDATE rollouts SET stage = ?, nodes = ?, stage_ms = ?, hold_ms = NULL WHERE id = ?",
      index,
      JSON.stringify(nodes),
      this.#now(),
      row.id,
    );
    this.#counts.mark(row.id);
    const { number } = sites.publish(by);
    database.run("UPDATE rollouts SET snapshot = ? WHERE id = ?", number, row.id);
    const [stage] = settingsOf(row).stages.slice(index);
    const detail = `stage ${index + 1} of ${settingsOf(row).stages.length} (${stageName(stage)}): ${nodes.ids.length} nodes, snapshot ${number}`;
    this.#event(row.id, "stage", detail);
    if (by === SYSTEM.id) audit.done(SYSTEM, "rollout.stage", siteNames(row), `${row.id}: ${detail}`);
  }

  #complete(row: Row, by: string): void {
    const { sites, audit } = this.#parts;
    this.#end(row, "completed", null);
    const targets = new Map(Object.entries(rolledSites(row)).map(([site, { to }]) => [site, to]));
    const snapshot = sites.activate(targets, by);
    this.#event(row.id, "completed", `snapshot ${snapshot?.number ?? row.snapshot}`);
    if (by === SYSTEM.id) audit.done(SYSTEM, "rollout.complete", siteNames(row), row.id);
    this.#tell(row, "rollout.completed");
  }

  #back(row: Row, state: "rolledBack" | "aborted", reason: string, by: string): void {
    const { sites, audit } = this.#parts;
    this.#end(row, state, reason);
    sites.release(Object.keys(rolledSites(row)));
    const { number } = sites.publish(by);
    this.#event(row.id, state === "aborted" ? "aborted" : "rolled back", `${reason}; snapshot ${number}`);
    if (by === SYSTEM.id) audit.done(SYSTEM, "rollout.rollBack", siteNames(row), `${row.id}: ${reason}`);
    this.#tell(row, state === "aborted" ? "rollout.aborted" : "rollout.rolledBack", reason);
  }

  #end(row: Row, state: RolloutState, reason: string | null): void {
    this.#parts.database.run(
      "UPDATE rollouts SET state = ?, reason = ?, ended_ms = ? WHERE id = ?",
      state,
      reason,
      this.#now(),
      row.id,
    );
  }

  #setState(id: string, from: RolloutState, to: RolloutState, what: string): RolloutView {
    const row = this.#mustBeOpen(id);
    if (row.state !== from) throw new Refused(409, `roll-out ${id} is ${row.state}`);
    this.#parts.database.run("UPDATE rollouts SET state = ? WHERE id = ?", to, id);
    this.#event(id, what, "");
    return this.get(id);
  }

  /** Nodes of a stage as they are now: those of the stage before, and more in an order that is the roll-out's own. */
  #nodesOf(row: Row, index: number): StageNodes {
    const [stage] = settingsOf(row).stages.slice(index);
    if (stage === undefined) throw new Error("there is no such stage");
    const known = this.#parts.nodes.all();
    const fit = known.filter(isFit);
    const present = new Set(known.map(({ id }) => id));
    const before = stageNodesOf(row).ids.filter((id) => present.has(id));
    if ("nodes" in stage) return { all: false, ids: [...new Set([...before, ...stage.nodes])] };
    if (stage.percent >= 100) return { all: true, ids: fit.map(({ id }) => id) };
    const wanted = Math.max(1, Math.ceil((fit.length * stage.percent) / 100));
    const further = fit
      .filter(({ id }) => !before.includes(id))
      .map(({ id }) => ({ id, place: createHash("sha256").update(`${row.id}:${id}`).digest("hex") }))
      .sort((a, b) => (a.place < b.place ? -1 : 1))
      .map(({ id }) => id);
    return { all: false, ids: [...before, ...further].slice(0, Math.max(wanted, before.length)) };
  }

  #stageNodes(
    row: Row,
  ): { readonly view: NodeView; readonly counts: NodeCounts | null; readonly stage: StageNode }[] {
    const counts = this.#counts.of(row.id);
    const ids = new Set(stageNodesOf(row).ids);
    return this.#parts.nodes
      .all()
      .filter(({ id }) => ids.has(id))
      .map((view) => {
        const told = counts.find(({ node, arm }) => node === view.id && arm === "candidate") ?? null;
        const { snapshot } = view.report ?? { snapshot: { number: 0, problem: null, refused: null } };
        const isThere = snapshot.number >= row.snapshot;
        const refused = (snapshot.refused ?? 0) >= row.snapshot ? snapshot.problem : null;
        const problem = refused ?? (isThere ? (told?.problem ?? null) : null);
        const isHeard =
          told !== null &&
          row.hold_ms !== null &&
          told.atMs >= row.hold_ms &&
          this.#now() - told.atMs <= UNREACHABLE_MS;
        const isInForce = isThere && told !== null && problem === null;
        const isReachable = view.state === "reachable";
        return { view, counts: told, stage: { name: view.name, isReachable, isInForce, problem, isHeard } };
      });
  }

  #stageCounts(row: Row): StageCounts {
    const ids = new Set(stageNodesOf(row).ids);
    const counts = this.#counts.of(row.id);
    const candidates = counts.filter(({ node, arm }) => arm === "candidate" && ids.has(node));
    const rest = counts.filter(({ node, arm }) => arm === "base" && !ids.has(node));
    return {
      candidate: sumOf(candidates.map(({ stage }) => stage)),
      rest: sumOf(rest.map(({ stage }) => stage)),
      before: sumOf(candidates.map(({ before }) => before)),
    };
  }

  #tell(row: Row, type: EventType, reason: string | null = null): void {
    const sites = rolledSites(row);
    this.#parts.tell({ type, sites: Object.keys(sites), data: { rollout: row.id, sites, reason } });
  }

  #event(rollout: string, what: string, detail: string): void {
    this.#parts.database.run(
      "INSERT INTO rollout_events (rollout, at_ms, what, detail) VALUES (?, ?, ?, ?)",
      rollout,
      this.#now(),
      what,
      detail.slice(0, 1_000),
    );
  }

  #open(): Row[] {
    return this.#parts.database.all<Row>(
      "SELECT rowid AS sequence, * FROM rollouts WHERE ended_ms IS NULL ORDER BY rowid",
    );
  }

  #mustGet(id: string): Row {
    const row = this.#parts.database.get<Row>("SELECT rowid AS sequence, * FROM rollouts WHERE id = ?", id);
    if (row === null) throw new Refused(404, `there is no roll-out "${id.slice(0, 100)}" (any more)`);
    return row;
  }

  #mustBeOpen(id: string): Row {
    const row = this.#mustGet(id);
    if (row.ended_ms !== null) throw new Refused(409, `roll-out ${id} has ended: it is ${row.state}`);
    return row;
  }

  /** The oldest that have ended go. */
  #trim(): void {
    const { database } = this.#parts;
    const old = database.all<{ id: string }>(
      "SELECT id FROM rollouts WHERE ended_ms IS NOT NULL ORDER BY created_ms DESC LIMIT -1 OFFSET ?",
      ROLLOUTS_KEPT_MAX,
    );
    for (const { id } of old) {
      this.#counts.forget(id);
      database.run("DELETE FROM rollout_events WHERE rollout = ?", id);
      database.run("DELETE FROM rollouts WHERE id = ?", id);
    }
  }

  #view(row: Row): RolloutView {
    const { stages, ...limits } = settingsOf(row);
    const date = (ms: number): string => new Date(ms).toISOString();
    return {
      id: row.id,
      sequence: row.sequence,
      sites: rolledSites(row),
      state: row.state,
      reason: row.reason,
      stage: row.stage + 1,
      stages: stages.map(stageName),
      stageAt: date(row.stage_ms),
      holdAt: row.hold_ms === null ? null : date(row.hold_ms),
      snapshot: row.snapshot,
      ...limits,
      counts: this.#stageCounts(row),
      // What nodes serve later is not this roll-out's any more.
      nodes: (row.ended_ms === null ? this.#stageNodes(row) : []).map(({ view, counts, stage }) => ({
        node: view.id,
        name: view.name,
        state: nodeState(stage),
        problem: stage.problem,
        requests: counts?.stage.requests ?? 0,
        errors: counts?.stage.errors ?? 0,
      })),
      events: this.#parts.database
        .all<{ at_ms: number; what: string; detail: string }>(
          "SELECT at_ms, what, detail FROM rollout_events WHERE rollout = ? ORDER BY sequence",
          row.id,
        )
        .map(({ at_ms, what, detail }) => ({ at: date(at_ms), what, detail })),
      createdAt: date(row.created_ms),
      createdBy: row.created_by,
      endedAt: row.ended_ms === null ? null : date(row.ended_ms),
    };
  }

  #now(): number {
    return Math.floor(this.#parts.clock.now());
  }
}

/** May a stage begin with it? */
function isFit(node: NodeView): boolean {
  return node.state === "reachable" && node.report?.rollouts !== undefined;
}

function nodeState(stage: StageNode): RolloutNodeView["state"] {
  if (stage.problem !== null) return "problem";
  if (!stage.isReachable) return "unreachable";
  return stage.isInForce ? "in force" : "waiting";
}

// Rows are written by `Rollouts` alone.
function settingsOf(row: Row): Settings {
  return JSON.parse(row.settings) as Settings;
}

function rolledSites(row: Row): Readonly<Record<string, RolledSite>> {
  return JSON.parse(row.sites) as Record<string, RolledSite>;
}

function stageNodesOf(row: Row): StageNodes {
  return JSON.parse(row.nodes) as StageNodes;
}

function stageName(stage: Stage | undefined): string {
  if (stage === undefined) return "";
  return "nodes" in stage ? `${stage.nodes.length} named` : percent(stage.percent / 100);
}

function siteNames(row: Row): string {
  return Object.keys(rolledSites(row)).join(" ");
}

function describeSites(sites: Readonly<Record<string, RolledSite>>): string {
  return Object.entries(sites)
    .map(([site, { from, to }]) => `${site} ${from ?? "none"} -> ${to}`)
    .join(", ");
}
