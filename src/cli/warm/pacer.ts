/** A steady rate: each start is booked an interval after the one before, whoever asks. */

/** How late a start may be and still not push back those after it, in milliseconds: timers are late by as much. */
const SLACK_MS = 10;

/** Books starts at a rate. Time is an argument. */
export class Pacer {
  readonly #intervalMs: number;
  #nextMs: number | null = null;

  constructor(perSecond: number) {
    this.#intervalMs = 1_000 / perSecond;
  }

  /** Books the next start; milliseconds to wait for it from `nowMs`. */
  book(nowMs: number): number {
    const startMs = Math.max(this.#nextMs ?? nowMs, nowMs - SLACK_MS);
    this.#nextMs = startMs + this.#intervalMs;
    return Math.max(0, startMs - nowMs);
  }
}
