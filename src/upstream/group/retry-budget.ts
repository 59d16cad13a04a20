/**
 * How many requests may be sent a second time: a share of all requests and a small rate beside it, both
 * over the last ten seconds. When everything fails the load on the members grows by that share and no
 * more. The model and the usual values (a fifth, ten a second) are those of Finagle's RetryBudget and of
 * Envoy's retry budgets.
 */
import { BUDGET_WINDOW_MS } from "./limits.ts";

/** What a budget allows. */
export interface BudgetLimits {
  /** Retries for each request, 0 to 1. */
  readonly fraction: number;
  /** Retries a second that are allowed in any case. */
  readonly perSecondMin: number;
}

const SLICES = 10;
const SLICE_MS = BUDGET_WINDOW_MS / SLICES;

/** Requests and retries of the last ten seconds, in slices of one. */
export class RetryBudget {
  readonly #limits: BudgetLimits;
  readonly #requests = new Float64Array(SLICES);
  readonly #retries = new Float64Array(SLICES);
  #slice = 0;

  constructor(limits: BudgetLimits) {
    this.#limits = limits;
  }

  /** A request came. */
  deposit(nowMs: number): void {
    const at = this.#turn(nowMs);
    this.#requests[at] = (this.#requests[at] as number) + 1;
  }

  /** A retry is wanted: counts it and returns true when there is one left. */
  withdraw(nowMs: number): boolean {
    const at = this.#turn(nowMs);
    const { fraction, perSecondMin } = this.#limits;
    const allowed = sum(this.#requests) * fraction + perSecondMin * (BUDGET_WINDOW_MS / 1000);
    if (sum(this.#retries) + 1 > allowed) return false;
    this.#retries[at] = (this.#retries[at] as number) + 1;
    return true;
  }

  /** Empties the slices that time has passed over; a clock that was set back empties none. */
  #turn(nowMs: number): number {
    const slice = Math.floor(nowMs / SLICE_MS);
    const passed = Math.min(SLICES, Math.max(0, slice - this.#slice));
    for (let i = 0; i < passed; i++) {
      const at = (slice - i) % SLICES;
      this.#requests[at] = 0;
      this.#retries[at] = 0;
    }
    this.#slice = Math.max(this.#slice, slice);
    return this.#slice % SLICES;
  }
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
