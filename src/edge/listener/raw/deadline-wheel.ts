/**
 * Deadlines of many connections with one timer. A member stands in the slot of a time at or before its
 * deadline and is moved on when that slot comes up too early, so that putting a deadline off, which each
 * request does, is a comparison and an assignment. The timer is armed while there are members.
 */
import type { Clock } from "../../../base/clock.ts";
import { takeOut } from "../../../base/take-out.ts";

/** Something with a deadline. Only the wheel writes to these three. */
export interface WheelMember {
  /** When it is due, in milliseconds since the Unix epoch; infinite while nothing is waited for. */
  deadlineMs: number;
  /** The tick at which it is looked at; -1 while it is in no wheel. */
  wheelTick: number;
  /** Its place in the slot of that tick. */
  wheelPlace: number;
  /** Called once the deadline has passed, two ticks late at most; the deadline is infinite by then. */
  onDeadline(): void;
}

/** The place of a member whose slot has come up. */
const TAKEN = -1;

/** A wheel. Deadlines further away than its slots reach are looked at in between. */
export class DeadlineWheel {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #slots: WheelMember[][];
  #tick: number;
  #size = 0;
  #stopTimer: (() => void) | null = null;

  constructor(clock: Clock, tickMs: number, slots = 512) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#slots = Array.from({ length: slots }, () => []);
    this.#tick = this.#tickOf(clock.now());
  }

  /** Members held. */
  get size(): number {
    return this.#size;
  }

  /** Takes a member up, or moves its deadline to `delayMs` from now; infinite takes the deadline away. */
  set(member: WheelMember, delayMs: number): void {
    const deadlineMs = this.#clock.now() + delayMs;
    member.deadlineMs = deadlineMs;
    if (member.wheelTick === -1) {
      if (this.#size === 0) this.#tick = this.#tickOf(this.#clock.now());
      this.#size += 1;
      if (this.#stopTimer === null) this.#arm();
    } else {
      if (this.#tickOf(deadlineMs) + 1 >= member.wheelTick) return;
      this.#takeOut(member);
    }
    this.#place(member);
  }

  /** Lets a member go; one that is not held is no error. */
  remove(member: WheelMember): void {
    if (member.wheelTick === -1) return;
    this.#takeOut(member);
    member.wheelTick = -1;
    member.deadlineMs = Number.POSITIVE_INFINITY;
    this.#size -= 1;
    if (this.#size > 0) return;
    this.#stopTimer?.();
    this.#stopTimer = null;
  }

  #place(member: WheelMember): void {
    const last = this.#tick + this.#slots.length - 1;
    member.wheelTick = Math.min(last, Math.max(this.#tick, this.#tickOf(member.deadlineMs)) + 1);
    member.wheelPlace = this.#slotOf(member.wheelTick).push(member) - 1;
  }

  #takeOut(member: WheelMember): void {
    if (member.wheelPlace === TAKEN) return;
    const moved = takeOut(this.#slotOf(member.wheelTick), member.wheelPlace);
    if (moved !== null) moved.wheelPlace = member.wheelPlace;
  }

  #slotOf(tick: number): WheelMember[] {
    return this.#slots[tick % this.#slots.length] as WheelMember[];
  }

  #arm(): void {
    this.#stopTimer = this.#clock.after(this.#tickMs, () => this.#turn());
  }

  #turn(): void {
    this.#stopTimer = null;
    const nowMs = this.#clock.now();
    const now = this.#tickOf(nowMs);
    // After a jump of the clock each slot is looked at once, not each tick that was missed.
    for (let tick = Math.max(this.#tick, now - this.#slots.length) + 1; tick <= now; tick += 1) {
      this.#tick = tick;
      const slot = this.#slotOf(tick);
      if (slot.length === 0) continue;
      this.#slots[tick % this.#slots.length] = [];
      for (const member of slot) member.wheelPlace = TAKEN;
      for (const member of slot) {
        // One that an earlier one of this slot has let go, or moved.
        if (member.wheelTick === -1 || member.wheelPlace !== TAKEN) continue;
        const isDue = member.deadlineMs <= nowMs;
        if (isDue) member.deadlineMs = Number.POSITIVE_INFINITY;
        this.#place(member);
        if (isDue) member.onDeadline();
      }
    }
    if (this.#size > 0 && this.#stopTimer === null) this.#arm();
  }

  #tickOf(ms: number): number {
    return Math.floor(ms / this.#tickMs);
  }
}
