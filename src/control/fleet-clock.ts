/**
 * The time of the fleet where it can be moved: in the local CI mode, and nowhere else. A move is an entry of
 * the fleet's log like any other order: the control plane and every node take the same setting, and whoever
 * moved the clock is answered when all of them have it. It only goes forward: ages, sequences and tokens
 * were never made for a time that comes twice.
 */
import type { ClockSetting, MovableClock } from "../base/clock.ts";
import { CLOCK_OFFSET_MS_MAX } from "../service/fleet-wire.ts";
import type { ChangeLog } from "./change-log.ts";
import { CLOCK_LOOK_EVERY_MS, CLOCK_WAIT_MS_MAX } from "./limits.ts";
import type { Nodes } from "./nodes.ts";
import { Refused } from "./refusal.ts";

/** How the clock is to be moved: one of the three or none, and whether it is to stand. */
export interface ClockOrder {
  readonly advanceMs?: number | undefined;
  /** "1h", "90s", "1h30m", "2d", "500ms". */
  readonly advance?: string | undefined;
  /** ISO 8601. */
  readonly set?: string | undefined;
  readonly freeze?: boolean | undefined;
}

/** The clock as one asks for it. */
export interface ClockView {
  /** The fleet's time, ISO 8601. */
  readonly now: string;
  readonly frozen: boolean;
  /** Ahead of the machine's time, in milliseconds. */
  readonly offsetMs: number;
  /** The log's entry that set it last; null before any did. */
  readonly sequence: number | null;
  /** Nodes, and whether they have it. */
  readonly nodes: readonly { readonly name: string; readonly applied: boolean }[];
}

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION = /^(?:\d{1,9}(?:ms|s|m|h|d)){1,5}$/;

/** The fleet's clock. */
export class FleetClock {
  readonly #clock: MovableClock;
  readonly #log: ChangeLog;
  readonly #nodes: Nodes;
  #sequence: number | null = null;

  constructor(clock: MovableClock, log: ChangeLog, nodes: Nodes) {
    this.#clock = clock;
    this.#log = log;
    this.#nodes = nodes;
  }

  /** For nodes that begin anew. */
  get setting(): ClockSetting {
    return this.#clock.setting;
  }

  /** Moves the clock, within the caller's transaction. Throws a Refused. */
  move(order: ClockOrder): ClockView {
    const nowMs = this.#clock.now();
    const toMs = readTarget(order, nowMs);
    if (toMs < nowMs)
      throw new Refused(
        409,
        `the clock only goes forward: it is ${isoOf(nowMs)}, which is after ${isoOf(toMs)}; start anew for an earlier time`,
      );
    const offsetMs = toMs - this.#clock.steady.now();
    if (offsetMs > CLOCK_OFFSET_MS_MAX)
      throw new Refused(400, "the clock can be set a hundred years ahead at most");
    const stands = order.freeze ?? this.#clock.setting.frozenAtMs !== null;
    const setting: ClockSetting = { offsetMs, frozenAtMs: stands ? toMs : null };
    this.#sequence = this.#log.append({ kind: "clock", ...setting }).sequence;
    this.#clock.set(setting);
    return this.view();
  }

  view(): ClockView {
    const sequence = this.#sequence;
    return {
      now: isoOf(this.#clock.now()),
      frozen: this.#clock.setting.frozenAtMs !== null,
      offsetMs: Math.round(this.#clock.now() - this.#clock.steady.now()),
      sequence,
      nodes: (sequence === null ? [] : this.#nodes.concernedBy(sequence)).map(({ name, applied }) => ({
        name,
        applied: applied >= (sequence ?? 0),
      })),
    };
  }

  /** Resolves when every node that can be reached has the setting. Rejects with a Refused when one does not in time. */
  async everywhere(signal: AbortSignal): Promise<ClockView> {
    const { steady } = this.#clock;
    const endMs = steady.now() + CLOCK_WAIT_MS_MAX;
    for (;;) {
      const sequence = this.#sequence ?? 0;
      const late = this.#nodes
        .concernedBy(sequence)
        .filter(({ state, applied }) => state === "reachable" && applied < sequence);
      if (late.length === 0 || signal.aborted) return this.view();
      if (steady.now() >= endMs)
        throw new Refused(
          503,
          `the clock was moved, but ${late.map(({ name }) => name).join(", ")} did not follow within ${CLOCK_WAIT_MS_MAX / 1_000} s`,
        );
      await new Promise<void>((resolve) => void steady.after(CLOCK_LOOK_EVERY_MS, resolve));
    }
  }
}

/** Milliseconds of a duration such as "1h30m"; null for what is none. */
export function parseDuration(text: string): number | null {
  if (!DURATION.test(text)) return null;
  let sumMs = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g))
    sumMs += Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
  return sumMs;
}

function readTarget({ advanceMs, advance, set, freeze }: ClockOrder, nowMs: number): number {
  const given = [advanceMs, advance, set].filter((one) => one !== undefined).length;
  if (given > 1 || (given === 0 && freeze === undefined))
    throw new Refused(
      400,
      'say how to move the clock: one of {"advance": "1h"}, {"advanceMs": 3600000}, {"set": "2027-01-01T00:00:00Z"}, and "freeze": true or false',
    );
  if (set !== undefined) return Date.parse(set);
  if (advance === undefined) return nowMs + (advanceMs ?? 0);
  const durationMs = parseDuration(advance);
  if (durationMs === null)
    throw new Refused(
      400,
      `advance: "${advance}" is not a duration; expected numbers with ms, s, m, h or d, such as 90s, 1h30m or 2d`,
    );
  return nowMs + durationMs;
}

function isoOf(ms: number): string {
  return new Date(Math.min(8.64e15, ms)).toISOString();
}
