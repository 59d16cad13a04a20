/**
 * Which alerts hold. A condition is pending until it has held for the rule's hold time, then it fires; it
 * keeps firing until it was away for the hold time, then it is resolved. While it fires it is not told again,
 * but for reminders. Pure: time is an argument.
 *
 *   (nothing) -> pending -> firing <-> fading -> (nothing)
 */
import { type AlertChange, type AlertKind, type Condition, keyOf } from "./alert.ts";

/** Alerts that are followed at once; further conditions wait until one of them is over. */
export const ALERTS_MAX = 1_000;

interface Followed {
  condition: Condition;
  state: "pending" | "firing" | "fading";
  /** Since when the condition holds. */
  sinceMs: number;
  /** Since when it is in its state. */
  stateMs: number;
  toldMs: number;
}

/** What holds now, for who asks. */
export interface FiringAlert {
  readonly condition: Condition;
  readonly sinceMs: number;
}

/** The alerts of a node. */
export class AlertBoard {
  readonly #followed = new Map<string, Followed>();

  /** All conditions of one kind that hold now; what is not among them is over, or will be. Returns what is to be told. */
  update(
    kind: AlertKind,
    conditions: readonly Condition[],
    nowMs: number,
    times: { readonly holdMs: number; readonly reminderMs: number },
  ): AlertChange[] {
    const changes: AlertChange[] = [];
    const holding = new Set<string>();
    for (const condition of conditions) {
      const key = keyOf(condition);
      holding.add(key);
      let one = this.#followed.get(key);
      if (one === undefined) {
        if (this.#followed.size >= ALERTS_MAX) continue;
        one = { condition, state: "pending", sinceMs: nowMs, stateMs: nowMs, toldMs: nowMs };
        this.#followed.set(key, one);
      }
      one.condition = condition;
      const change = advance(one, nowMs, times);
      if (change !== null) changes.push(change);
    }
    for (const [key, one] of this.#followed) {
      if (one.condition.kind !== kind || holding.has(key)) continue;
      if (one.state === "firing") {
        one.state = "fading";
        one.stateMs = nowMs;
      }
      if (one.state === "pending") this.#followed.delete(key);
      else if (nowMs - one.stateMs >= times.holdMs) {
        this.#followed.delete(key);
        changes.push({ state: "resolved", condition: one.condition, sinceMs: one.sinceMs, atMs: nowMs });
      }
    }
    return changes;
  }

  /** A kind is not watched any more: its alerts are neither over nor not. */
  forget(kind: AlertKind): void {
    for (const [key, one] of this.#followed) if (one.condition.kind === kind) this.#followed.delete(key);
  }

  /** What fires now, the oldest first. */
  firing(): FiringAlert[] {
    return [...this.#followed.values()]
      .filter(({ state }) => state !== "pending")
      .map(({ condition, sinceMs }) => ({ condition, sinceMs }))
      .sort((a, b) => a.sinceMs - b.sinceMs);
  }
}

/** What a condition that holds makes of the alert. */
function advance(
  one: Followed,
  nowMs: number,
  { holdMs, reminderMs }: { readonly holdMs: number; readonly reminderMs: number },
): AlertChange | null {
  if (one.state === "fading") {
    one.state = "firing";
    one.stateMs = nowMs;
  }
  const told = (state: "firing" | "reminder"): AlertChange => {
    one.toldMs = nowMs;
    return { state, condition: one.condition, sinceMs: one.sinceMs, atMs: nowMs };
  };
  if (one.state === "pending") {
    if (nowMs - one.stateMs < holdMs) return null;
    one.state = "firing";
    one.stateMs = nowMs;
    return told("firing");
  }
  return reminderMs > 0 && nowMs - one.toldMs >= reminderMs ? told("reminder") : null;
}
