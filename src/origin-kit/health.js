/**
 * Whether this process suffers: its event loop is late, its heap is nearly full, or the application says so.
 * It holds on to its word until it was well for some time, so that an edge is not told of each breath.
 */
import { getHeapStatistics } from "node:v8";

/** How often the event loop's delay is measured, in milliseconds. */
const TICK_MS = 100;
/** Over how long its mean is taken, in milliseconds: one long pause is not a state. */
const WINDOW_MS = 5_000;
/** It is well again below these shares of the thresholds. */
const WELL_SHARE = { delay: 0.5, heap: 0.95 };

/** The judgement; it is given time and measurements, and has no timer of its own. */
export class Health {
  #limits;
  /** @type {{ atMs: number, delayMs: number }[]} */
  #samples = [];
  /** Since when it is well; null while it is not. @type {number | null} */
  #wellSinceMs = null;
  #measured = false;
  /** @type {string | null} */
  #reason = null;

  /** @param {{ delayMs: number, heapFraction: number, recoverMs: number }} limits */
  constructor(limits) {
    this.#limits = limits;
  }

  get degraded() {
    return this.#measured || this.#reason !== null;
  }

  /** The application's own reason; null takes it back. @param {string | null} reason */
  suffer(reason) {
    this.#reason = reason;
  }

  /** Takes one measurement. @param {number} nowMs @param {number} delayMs @param {number} heapFraction */
  sample(nowMs, delayMs, heapFraction) {
    this.#samples.push({ atMs: nowMs, delayMs });
    while ((this.#samples[0]?.atMs ?? nowMs) <= nowMs - WINDOW_MS) this.#samples.shift();
    const mean = this.#samples.reduce((sum, one) => sum + one.delayMs, 0) / this.#samples.length;
    const { delayMs: delayMax, heapFraction: heapMax, recoverMs } = this.#limits;
    if (mean > delayMax || heapFraction > heapMax) {
      this.#measured = true;
      this.#wellSinceMs = null;
    } else if (mean <= delayMax * WELL_SHARE.delay && heapFraction <= heapMax * WELL_SHARE.heap) {
      this.#wellSinceMs ??= nowMs;
      if (nowMs - this.#wellSinceMs >= recoverMs) this.#measured = false;
    } else {
      this.#wellSinceMs = null;
    }
  }
}

/**
 * Measures this process for `health` until the function returned is called. Never keeps the process alive.
 * @param {Health} health
 * @returns {() => void}
 */
export function watchProcess(health) {
  let expectedMs = performance.now() + TICK_MS;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    health.sample(nowMs, Math.max(0, nowMs - expectedMs), heapFraction());
    expectedMs = nowMs + TICK_MS;
  }, TICK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function heapFraction() {
  const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
  return limit > 0 ? used / limit : 0;
}
