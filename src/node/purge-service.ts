/**
 * Purges of a node: a request is checked, logged durably, applied everywhere on the node, and only then
 * acknowledged; the sweep behind it counts what it hit. In a fleet the requests are the control plane's, and
 * what comes here are entries of its log.
 */
import type { Clock } from "../base/clock.ts";
import { ProximaError } from "../base/errors.ts";
// Not on demand: a purge must not fail for want of a file that an upgrade has taken away.
import { type PurgeSites, parsePurgeRequest } from "../cache/purge-request.ts";
import { PURGE_MARKS_MAX, PURGE_PATTERNS_MAX, type Purge } from "../cache/purge-table.ts";
import type { FleetPosition, LoggedPurge, PurgeLog } from "./purge-log.ts";

const LIST_MAX = 1_000;

/** What has not been swept everywhere yet: targets of all sites, and patterns of one. */
export interface PurgesInForce {
  readonly marks: number;
  readonly patterns: number;
}

/** What the service needs of the data plane. */
export interface PurgeTarget extends PurgeSites {
  /** Applies an entry: `applied` when nothing older is served any more, `counted` with the objects it hit. */
  purge(purge: Purge): { readonly applied: Promise<void>; readonly counted: Promise<number> };
  /** The most that any part of the data plane still holds objects against. */
  purgesInForce(site: string): PurgesInForce | Promise<PurgesInForce>;
  /** Objects that an entry from before the start hit, once the sweep has passed; 0 when nothing outlived the start. */
  counted(sequence: number): Promise<number>;
}

/** A purge as one asks for it. */
export interface PurgeReport {
  readonly id: string;
  readonly sequence: number;
  readonly site: string;
  readonly scope: Purge["scope"];
  readonly mode: Purge["mode"];
  /** The first targets, and how many there are. */
  readonly targets: readonly string[];
  readonly targetCount: number;
  readonly acceptedAt: string;
  readonly state: "applied" | "counted";
  /** Objects it hit; null until the sweep has ended. */
  readonly counted: number | null;
}

const TARGETS_SHOWN_MAX = 20;

/** Takes purges, and tells of them. */
export class PurgeService {
  readonly #log: PurgeLog;
  readonly #target: PurgeTarget;
  readonly #clock: Clock;
  /** Purges are applied in the order of the log. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #counting = new Map<number, Promise<void>>();

  /** Told of each count when its sweep has ended. */
  onCounted: (sequence: number, objects: number) => void = () => {};

  /** What was not counted before the last end is counted now: the edge has applied it again to what outlived the start. */
  constructor(log: PurgeLog, target: PurgeTarget, clock: Clock) {
    this.#log = log;
    this.#target = target;
    this.#clock = clock;
    for (const { sequence } of [...log.unswept()]) this.#count(sequence, target.counted(sequence));
  }

  /**
   * Logs and applies a purge. Rejects with a ProximaError (source viewer) that says what is wrong with the
   * request, or with "purges_full": nothing was done then, and it may be tried again soon.
   */
  async create(body: unknown): Promise<{ readonly report: PurgeReport; readonly isNew: boolean }> {
    const request = parsePurgeRequest(body, this.#target);
    const applied = this.#last.then(async () => {
      if (request.idempotencyKey === null || !this.#log.hasKey(request.idempotencyKey))
        await this.#needRoom(request);
      const { entry, isNew } = this.#log.append(
        {
          site: request.site,
          scope: request.scope,
          targets: request.targets,
          mode: request.mode,
          acceptedMs: this.#clock.now(),
        },
        request.idempotencyKey,
      );
      if (isNew) await this.#apply(entry);
      return { report: reportOf(entry), isNew };
    });
    this.#last = applied.catch(() => undefined);
    return await applied;
  }

  /**
   * Logs entries of the fleet's log with the place behind them, and applies them. Resolves when nothing older
   * than the last of them is served any more.
   */
  async take(entries: readonly (Purge & { readonly id: string })[], position: FleetPosition): Promise<void> {
    const applied = this.#last.then(async () => {
      // Each has its place in the edge's order when it is handed over: they need not wait for one another.
      await Promise.all(this.#log.take(entries, position).map((entry) => this.#apply(entry)));
    });
    this.#last = applied.catch(() => undefined);
    await applied;
  }

  get(id: string): PurgeReport | null {
    const entry = this.#log.get(id);
    return entry === null ? null : reportOf(entry);
  }

  /** Resolves with the report when the sweep has counted; null for an id that is not known. */
  async counted(id: string): Promise<PurgeReport | null> {
    const entry = this.#log.get(id);
    if (entry === null) return null;
    await this.#counting.get(entry.sequence);
    return this.get(id);
  }

  /** The newest purges first; `before` is a sequence. */
  list(limit: number, before?: number): PurgeReport[] {
    return this.#log.list(Math.min(limit, LIST_MAX), before).map(reportOf);
  }

  /**
   * The tables have limits, beyond which a purge would take everything of its site: it is better refused
   * than an origin asked for all of it.
   */
  async #needRoom({ site, scope, targets }: Pick<Purge, "site" | "scope" | "targets">): Promise<void> {
    if (targets.length === 0) return;
    const { marks, patterns } = await this.#target.purgesInForce(site);
    const full = (what: string, inForce: number, allowed: number): ProximaError =>
      new ProximaError(
        "purges_full",
        `${inForce} ${what} are in force and ${targets.length} more would be too many, allowed are ${allowed}; try again when they have been swept, or purge everything`,
        { source: "node" },
      );
    if (scope === "wildcard" && patterns + targets.length > PURGE_PATTERNS_MAX)
      throw full(`patterns of site ${site}`, patterns, PURGE_PATTERNS_MAX);
    if (marks + targets.length > PURGE_MARKS_MAX) throw full("targets", marks, PURGE_MARKS_MAX);
  }

  async #apply(entry: LoggedPurge): Promise<void> {
    const { applied, counted } = this.#target.purge(entry);
    this.#count(entry.sequence, counted);
    await applied;
  }

  #count(sequence: number, counted: Promise<number>): void {
    const counting = counted
      .then((objects) => {
        this.#log.setCounted(sequence, objects);
        this.onCounted(sequence, objects);
      })
      .catch(() => undefined)
      .finally(() => this.#counting.delete(sequence));
    this.#counting.set(sequence, counting);
  }
}

function reportOf(entry: LoggedPurge): PurgeReport {
  return {
    id: entry.id,
    sequence: entry.sequence,
    site: entry.site,
    scope: entry.scope,
    mode: entry.mode,
    targets: entry.targets.slice(0, TARGETS_SHOWN_MAX),
    targetCount: entry.targets.length,
    acceptedAt: new Date(entry.acceptedMs).toISOString(),
    state: entry.counted === null ? "applied" : "counted",
    counted: entry.counted,
  };
}
