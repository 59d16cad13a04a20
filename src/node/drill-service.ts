/**
 * Drills: an origin is taken away for a time on a running node, to see who notices. The fault is put in
 * front of the origin in every process and carries its own end, so that it goes whatever becomes of the
 * one who asked for it. One drill at a time: the report of two would tell nothing of either.
 */

import { randomUUID } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { ProximaError } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import type { StatsSnapshot } from "../telemetry/stats.ts";
import type { Fault, FaultKind } from "../upstream/faults.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";
import { readDrill } from "./drill-request.ts";
import type { OriginBoard } from "./origin-board.ts";

/** How long after a drill the origin is waited for, in seconds. */
const RECOVERY_SECONDS_MAX = 600;
/** Drills that are remembered. */
const KEPT_MAX = 50;

/** What the service needs of the node. */
export interface DrillTarget {
  /** The sites in force. */
  sites(): Config["sites"];
  stats(): StatsSnapshot | Promise<StatsSnapshot>;
  /** Puts a fault in front of an origin in every process, or takes it away. */
  setFault(site: string, origin: string, fault: Fault | null): Promise<void>;
}

/** A drill as one asks for it. Times are in milliseconds; counts are of the site's viewers since it began. */
export interface DrillReport {
  readonly id: string;
  readonly site: string;
  readonly group: string | null;
  readonly origin: string;
  readonly fault: FaultKind;
  readonly seconds: number;
  readonly startedAt: string;
  /** running: the fault is there; recovering: it is gone and the origin is not up again; ended. */
  readonly state: "running" | "recovering" | "ended";
  /** From the beginning until the origin was taken out; null: it was not. */
  readonly detectedAfterMs: number | null;
  /** From the end of the fault until the origin was up again; null: it is not yet, or was never out. */
  readonly recoveredAfterMs: number | null;
  readonly requests: number;
  /** Answered with 5xx, or with an answer that broke off. */
  readonly failed: number;
  /** Requests asked of another origin after this one failed them. */
  readonly failovers: number;
}

interface Counts {
  readonly requests: number;
  readonly failed: number;
  readonly failovers: number;
}

interface Drill {
  readonly id: string;
  readonly site: string;
  readonly group: string | null;
  readonly origin: string;
  readonly fault: FaultKind;
  readonly seconds: number;
  readonly startMs: number;
  state: DrillReport["state"];
  endMs: number;
  detectedMs: number | null;
  recoveredMs: number | null;
  readonly before: Counts;
  /** Set when it has ended. */
  after: Counts | null;
  cancelTimer: () => void;
}

/** Runs drills, and tells of them. */
export class DrillService {
  readonly #target: DrillTarget;
  readonly #clock: Clock;
  readonly #drills = new Map<string, Drill>();
  #current: Drill | null = null;
  #isStarting = false;

  constructor(target: DrillTarget, board: OriginBoard, clock: Clock) {
    this.#target = target;
    this.#clock = clock;
    board.watch((event) => this.#heard(event));
  }

  /** Begins a drill. Rejects with a ProximaError (source viewer) that says what is wrong; drill_conflict while one runs. */
  async start(body: unknown): Promise<DrillReport> {
    const asked = readDrill(body, this.#target.sites());
    if (this.#isStarting || (this.#current !== null && this.#current.state !== "ended"))
      throw new ProximaError("drill_conflict", "another drill has not ended yet", { source: "viewer" });
    this.#isStarting = true;
    try {
      const before = await this.#counts(asked.site, asked.group);
      const startMs = this.#clock.now();
      const endMs = startMs + asked.seconds * 1_000;
      const drill: Drill = {
        id: randomUUID(),
        ...asked,
        startMs,
        endMs,
        state: "running",
        detectedMs: null,
        recoveredMs: null,
        before,
        after: null,
        cancelTimer: this.#clock.after(asked.seconds * 1_000, () => this.#faultEnded(drill)),
      };
      this.#current = drill;
      this.#drills.set(drill.id, drill);
      for (const [id] of this.#drills) if (this.#drills.size > KEPT_MAX) this.#drills.delete(id);
      await this.#target.setFault(drill.site, drill.origin, { kind: drill.fault, untilMs: endMs });
      return await this.#report(drill);
    } finally {
      this.#isStarting = false;
    }
  }

  /** The report of a drill; null for an id that is not known. */
  async get(id: string): Promise<DrillReport | null> {
    const drill = this.#drills.get(id);
    return drill === undefined ? null : await this.#report(drill);
  }

  /** Ends a drill before its time. */
  async stop(id: string): Promise<DrillReport | null> {
    const drill = this.#drills.get(id);
    if (drill === undefined) return null;
    if (drill.state === "running") {
      await this.#target.setFault(drill.site, drill.origin, null);
      drill.endMs = this.#clock.now();
      this.#faultEnded(drill);
    }
    return await this.#report(drill);
  }

  #heard(event: OriginEvent): void {
    const drill = this.#current;
    if (drill === null || drill.state === "ended") return;
    if (event.site !== drill.site || event.origin !== drill.origin) return;
    const isDown = event.kind === "down" || (event.kind === "checks" && event.verdict === "down");
    if (isDown && drill.state === "running") drill.detectedMs ??= event.atMs;
    if (event.kind !== "up" || drill.detectedMs === null || drill.state !== "recovering") return;
    drill.recoveredMs = event.atMs;
    void this.#end(drill);
  }

  /** The fault is gone by itself: what is left is to see the origin come back. */
  #faultEnded(drill: Drill): void {
    if (drill.state !== "running") return;
    drill.cancelTimer();
    drill.state = "recovering";
    if (drill.detectedMs === null) void this.#end(drill);
    else drill.cancelTimer = this.#clock.after(RECOVERY_SECONDS_MAX * 1_000, () => void this.#end(drill));
  }

  async #end(drill: Drill): Promise<void> {
    if (drill.state === "ended") return;
    drill.cancelTimer();
    drill.state = "ended";
    drill.after = await this.#counts(drill.site, drill.group).catch(() => null);
  }

  async #counts(site: string, group: string | null): Promise<Counts> {
    const stats = await this.#target.stats();
    const counted = stats.sites[site];
    const asked = stats.upstream.groups.filter((one) => one.site === site && one.name === group);
    return {
      requests: counted?.requests ?? 0,
      failed: (counted?.statusClasses["5xx"] ?? 0) + (counted?.broken ?? 0),
      failovers: asked.reduce((sum, { failovers }) => sum + failovers, 0),
    };
  }

  async #report(drill: Drill): Promise<DrillReport> {
    const { before, startMs, endMs, detectedMs, recoveredMs } = drill;
    const now = drill.after ?? (await this.#counts(drill.site, drill.group));
    return {
      id: drill.id,
      site: drill.site,
      group: drill.group,
      origin: drill.origin,
      fault: drill.fault,
      seconds: drill.seconds,
      startedAt: new Date(startMs).toISOString(),
      state: drill.state,
      detectedAfterMs: detectedMs === null ? null : Math.max(0, detectedMs - startMs),
      recoveredAfterMs: recoveredMs === null ? null : Math.max(0, recoveredMs - endMs),
      requests: now.requests - before.requests,
      failed: now.failed - before.failed,
      failovers: Math.max(0, now.failovers - before.failovers),
    };
  }
}
