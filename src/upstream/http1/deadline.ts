/**
 * A deadline that moves often and rarely passes. One timer is armed at most; moving the deadline
 * later, or away, leaves it armed, and when it fires too early it is armed again for the rest. A busy
 * connection so arms a timer once in a while and not twice for each exchange.
 */
import type { Clock } from "../../base/clock.ts";

/** A movable deadline. */
export class Deadline {
  readonly #clock: Clock;
  readonly #onPassed: () => void;
  #atMs = Number.POSITIVE_INFINITY;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #cancelTimer: (() => void) | null = null;

  /** `onPassed` runs each time a deadline passes; the deadline is clear by then. */
  constructor(clock: Clock, onPassed: () => void) {
    this.#clock = clock;
    this.#onPassed = onPassed;
  }

  /** Replaces the deadline by one `delayMs` from now. */
  set(delayMs: number): void {
    const nowMs = this.#clock.now();
    this.#atMs = nowMs + delayMs;
    if (this.#atMs >= this.#timerAtMs) return;
    this.#cancelTimer?.();
    this.#arm(delayMs, this.#atMs);
  }

  /** Takes the deadline away; a timer may stay armed and will do nothing. */
  clear(): void {
    this.#atMs = Number.POSITIVE_INFINITY;
  }

  /** Takes the deadline and the timer away: for the end of its owner. */
  stop(): void {
    this.clear();
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  #arm(delayMs: number, atMs: number): void {
    this.#timerAtMs = atMs;
    this.#cancelTimer = this.#clock.after(delayMs, () => this.#fired());
  }

  #fired(): void {
    this.#cancelTimer = null;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (this.#atMs === Number.POSITIVE_INFINITY) return;
    const restMs = this.#atMs - this.#clock.now();
    if (restMs > 0) {
      this.#arm(restMs, this.#atMs);
      return;
    }
    this.clear();
    this.#onPassed();
  }
}
