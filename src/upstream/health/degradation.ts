/**
 * An origin that says `X-Origin-Status: degraded` suffers and wants to be asked less. The state holds
 * while it goes on saying so; time is an argument.
 */
import { DEGRADED_CLEAR_MS, DEGRADED_MS, DEGRADED_TOLD_MS } from "./limits.ts";

/** The field by which an origin says how it is; it ends at the edge that asked. */
export const ORIGIN_STATUS_FIELD = "x-origin-status";

/** True when a value of the field says that the origin suffers. */
export function saysDegraded(value: string | null): boolean {
  return value !== null && value.trim().toLowerCase() === "degraded";
}

/** Whether one origin is degraded. */
export class Degradation {
  #untilMs = Number.NEGATIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;
  #toldMs = Number.NEGATIVE_INFINITY;

  is(nowMs: number): boolean {
    return nowMs < this.#untilMs;
  }

  /** Until when it holds if nothing more is heard, in ms since the epoch. */
  get untilMs(): number {
    return this.#untilMs;
  }

  /** Takes what an answer says. Returns what the others have to be told: the state began, goes on, or ended. */
  heard(degraded: boolean, nowMs: number): "began" | "goes on" | "ended" | null {
    const was = this.is(nowMs);
    if (degraded) {
      this.#lastMs = nowMs;
      this.#untilMs = nowMs + DEGRADED_MS;
      if (was && nowMs - this.#toldMs < DEGRADED_TOLD_MS) return null;
      this.#toldMs = nowMs;
      return was ? "goes on" : "began";
    }
    if (!was || nowMs - this.#lastMs < DEGRADED_CLEAR_MS) return null;
    this.#untilMs = nowMs;
    return "ended";
  }

  /** Takes what another worker heard. */
  heardElsewhere(untilMs: number, nowMs: number): void {
    if (untilMs > nowMs) this.#lastMs = nowMs;
    this.#untilMs = Math.min(untilMs, nowMs + DEGRADED_MS);
  }
}
