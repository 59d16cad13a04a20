/** What a node tells of its origins and groups: plain data, and how that of several processes becomes one. */

/** What an origin is to those who choose among several. */
export type ReportedState = "up" | "trial" | "down";

/** One origin. Counters count since the start. */
export interface OriginReport {
  readonly site: string;
  readonly name: string;
  /** The worst state that a process of the node sees it in. */
  readonly state: ReportedState;
  /** ISO 8601. */
  readonly since: string;
  /** Why it is not up. */
  readonly reason: string | null;
  /** How many processes see it in which state. */
  readonly workers: Readonly<Record<ReportedState, number>>;
  /** The origin says that it suffers (X-Origin-Status). */
  readonly degraded: boolean;
  readonly requests: number;
  readonly failures: number;
  /** How often it was taken out. */
  readonly ejections: number;
  readonly inFlight: number;
  /** Requests that wait for a place, and those that got none. */
  readonly waiting: number;
  readonly refused: number;
  /** The last health check; null where there is none. */
  readonly check: {
    readonly ok: boolean;
    readonly at: string;
    readonly durationMs: number;
    readonly said: string;
  } | null;
}

/** One group. Counters count since the start, or since its config changed. */
export interface GroupReport {
  readonly site: string;
  readonly name: string;
  readonly balance: string;
  readonly members: readonly string[];
  readonly requests: number;
  readonly failovers: number;
  readonly moved: number;
  readonly retriesDenied: number;
}

/** What is told of origins. */
export interface OriginReports {
  readonly origins: readonly OriginReport[];
  readonly groups: readonly GroupReport[];
}

/** Nothing to tell. */
export const NO_ORIGINS: OriginReports = { origins: [], groups: [] };

/** The reports of two processes of one node. */
export function mergeOriginReports(a: OriginReports, b: OriginReports): OriginReports {
  return {
    origins: merge(a.origins, b.origins, mergeOrigins),
    groups: merge(a.groups, b.groups, mergeGroups),
  };
}

/** What remains of a process that has ended: its counters. */
export function endedOriginReports({ origins, groups }: OriginReports): OriginReports {
  return {
    origins: origins.map((origin) => ({
      ...origin,
      state: "up",
      since: "",
      reason: null,
      workers: { up: 0, trial: 0, down: 0 },
      degraded: false,
      inFlight: 0,
      waiting: 0,
      check: null,
    })),
    groups,
  };
}

function merge<T extends { readonly site: string; readonly name: string }>(
  a: readonly T[],
  b: readonly T[],
  both: (a: T, b: T) => T,
): readonly T[] {
  if (a.length === 0) return b;
  const merged = new Map(a.map((one) => [keyOf(one), one]));
  for (const one of b) {
    const known = merged.get(keyOf(one));
    merged.set(keyOf(one), known === undefined ? one : both(known, one));
  }
  return [...merged.values()];
}

function keyOf({ site, name }: { readonly site: string; readonly name: string }): string {
  return `${site}\n${name}`;
}

const WORSE: Readonly<Record<ReportedState, number>> = { up: 0, trial: 1, down: 2 };

function mergeOrigins(a: OriginReport, b: OriginReport): OriginReport {
  const worst = WORSE[b.state] > WORSE[a.state] || a.since === "" ? b : a;
  return {
    site: a.site,
    name: a.name,
    state: worst.state,
    since: worst.since,
    reason: worst.reason,
    workers: {
      up: a.workers.up + b.workers.up,
      trial: a.workers.trial + b.workers.trial,
      down: a.workers.down + b.workers.down,
    },
    degraded: a.degraded || b.degraded,
    requests: a.requests + b.requests,
    failures: a.failures + b.failures,
    ejections: a.ejections + b.ejections,
    inFlight: a.inFlight + b.inFlight,
    waiting: a.waiting + b.waiting,
    refused: a.refused + b.refused,
    check: newer(a.check, b.check),
  };
}

function newer(a: OriginReport["check"], b: OriginReport["check"]): OriginReport["check"] {
  if (a === null || b === null) return a ?? b;
  return a.at < b.at ? b : a;
}

function mergeGroups(a: GroupReport, b: GroupReport): GroupReport {
  return {
    ...b,
    requests: a.requests + b.requests,
    failovers: a.failovers + b.failovers,
    moved: a.moved + b.moved,
    retriesDenied: a.retriesDenied + b.retriesDenied,
  };
}
