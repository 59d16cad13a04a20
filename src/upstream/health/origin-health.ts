/**
 * Whether an origin is to be asked: a state machine without sockets and with time as an argument.
 *
 *   up --failures in a row, or health checks--> down --time is over, checks agree--> trial --requests go well--> up
 *                                                ^---------------a request fails---------------'
 *
 * On trial (half-open) one request at a time is let through. Each time that an origin goes down doubles
 * the time it stays out, up to a limit; time spent up takes that back. So one that flaps is asked ever
 * more rarely. A result counts only if its request began in the present state: the last answers of a
 * dying origin say nothing about its recovery, and the last failures nothing about the recovered one.
 */
import { FLAP_FORGOTTEN_MS, FLAPS_MAX, HOLD_MS_MAX, TRIAL_SUCCESSES } from "./limits.ts";

/** What an origin is to those who choose among several. */
export type HealthState = "up" | "down" | "trial";

/** When an origin is left out. */
export interface HealthPolicy {
  /** Requests that fail in a row. */
  readonly failures: number;
  /** For how long, the first time, in milliseconds. */
  readonly holdMs: number;
}

/** A request that was let through: what its result is held against. */
export interface Ticket {
  readonly epoch: number;
  readonly trial: boolean;
}

/** A change of state that was decided here. */
export type HealthChange =
  | { readonly kind: "down"; readonly untilMs: number; readonly reason: string }
  | { readonly kind: "up" };

/** The health of one origin. */
export class OriginHealth {
  readonly #policy: HealthPolicy;
  #up = true;
  #sinceMs: number;
  #reason: string | null = null;
  /** What the health checks say; null while there are none, or none has come to a verdict. */
  #checks: "up" | "down" | null = null;
  #epoch = 0;
  /** Of every request of this epoch that is no trial. */
  #ticket: Ticket = { epoch: 0, trial: false };
  #failures = 0;
  #successes = 0;
  #holdUntilMs = 0;
  #flaps = 0;
  #onTrial = false;
  #ejections = 0;

  constructor(policy: HealthPolicy, nowMs: number) {
    this.#policy = policy;
    this.#sinceMs = nowMs;
  }

  /** The state now. */
  state(nowMs: number): HealthState {
    if (this.#up) return "up";
    return nowMs >= this.#holdUntilMs && this.#checks !== "down" ? "trial" : "down";
  }

  /** Since when it is up, or not, in ms since the epoch. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** Why it is not up; null when it is. */
  get reason(): string | null {
    return this.#reason;
  }

  /** How often it went down. */
  get ejections(): number {
    return this.#ejections;
  }

  /** What the health checks say. */
  get checks(): "up" | "down" | null {
    return this.#checks;
  }

  /** May a request be sent that could be sent elsewhere? "trial": only one that can be repeated if it fails. */
  admits(nowMs: number): boolean | "trial" {
    const state = this.state(nowMs);
    return state === "up" || (state === "trial" && !this.#onTrial ? "trial" : false);
  }

  /** A request is sent. */
  begin(nowMs: number): Ticket {
    if (this.state(nowMs) !== "trial") return this.#ticket;
    this.#onTrial = true;
    return { epoch: this.#epoch, trial: true };
  }

  /** Its answer has begun, or it was given up: the next one may be tried. */
  release(ticket: Ticket): void {
    if (ticket.trial && ticket.epoch === this.#epoch) this.#onTrial = false;
  }

  /** It was answered well, to the end. */
  succeeded(ticket: Ticket, nowMs: number): HealthChange | null {
    this.release(ticket);
    if (ticket.epoch !== this.#epoch) return null;
    this.#failures = 0;
    if (this.#up || this.#checks === "down" || ++this.#successes < TRIAL_SUCCESSES) return null;
    this.#goUp(nowMs);
    return { kind: "up" };
  }

  /** It failed, by the origin's fault. */
  failed(ticket: Ticket, reason: string, nowMs: number): HealthChange | null {
    this.release(ticket);
    if (ticket.epoch !== this.#epoch) return null;
    this.#successes = 0;
    if (this.#up && ++this.#failures < this.#policy.failures) return null;
    // What is sent because all are down says nothing new.
    if (!this.#up && !ticket.trial) return null;
    this.#goDown(
      this.#up ? `${this.#failures} requests in a row failed, the last: ${reason}` : reason,
      nowMs,
    );
    return { kind: "down", untilMs: this.#holdUntilMs, reason: this.#reason ?? reason };
  }

  /** The health checks have come to another verdict. True when the origin went down by it. */
  checked(verdict: "up" | "down", reason: string, nowMs: number): boolean {
    this.#checks = verdict;
    if (verdict === "up" || !this.#up) return false;
    this.#goDown(reason, nowMs);
    return true;
  }

  /** There are no checks any more: what they said does not hold. */
  unchecked(): void {
    this.#checks = null;
  }

  /** Another worker found it down. True when it was up here. */
  downElsewhere(untilMs: number, reason: string, nowMs: number): boolean {
    const wasUp = this.#up;
    if (wasUp) this.#goDown(reason, nowMs);
    this.#holdUntilMs = Math.max(this.#holdUntilMs, Math.min(untilMs, nowMs + HOLD_MS_MAX));
    return wasUp;
  }

  /** Another worker found it well again. */
  upElsewhere(nowMs: number): void {
    if (!this.#up && this.#checks !== "down") this.#goUp(nowMs);
  }

  #goDown(reason: string, nowMs: number): void {
    const calm = this.#up ? Math.floor((nowMs - this.#sinceMs) / FLAP_FORGOTTEN_MS) : 0;
    this.#flaps = Math.min(FLAPS_MAX, Math.max(0, this.#flaps - calm) + 1);
    this.#holdUntilMs = nowMs + Math.min(HOLD_MS_MAX, this.#policy.holdMs * 2 ** (this.#flaps - 1));
    if (this.#up) this.#sinceMs = nowMs;
    this.#up = false;
    this.#reason = reason;
    this.#ejections++;
    this.#begin();
  }

  #goUp(nowMs: number): void {
    this.#up = true;
    this.#sinceMs = nowMs;
    this.#reason = null;
    this.#begin();
  }

  #begin(): void {
    this.#epoch++;
    this.#ticket = { epoch: this.#epoch, trial: false };
    this.#failures = 0;
    this.#successes = 0;
    this.#onTrial = false;
  }
}
