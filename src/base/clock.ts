/**
 * Time is always an argument. One Clock is made at the top of the program and handed down; policy
 * functions take `now` as a number. Tests and the CI mode move a ManualClock instead of sleeping.
 */

/** A source of time and of timers. All times are milliseconds since the Unix epoch. */
export interface Clock {
  /** Now, in milliseconds since the Unix epoch. */
  now(): number;
  /** Calls `run` once, `delayMs` from now. Returns a function that cancels it. Never keeps the process alive. */
  after(delayMs: number, run: () => void): () => void;
  /**
   * The clock that nobody moves: for sockets, deadlines, health, and all else that is of the machine and not of
   * what is cached. It is the same clock unless this one is a MovableClock.
   */
  readonly steady: Clock;
}

/** Calls `run` every `everyMs` milliseconds, first after that time. Returns a function that ends it, also from within `run`. */
export function every(clock: Clock, everyMs: number, run: () => void): () => void {
  let isEnded = false;
  const again = (): (() => void) =>
    clock.after(everyMs, () => {
      run();
      if (!isEnded) cancel = again();
    });
  let cancel = again();
  return () => {
    isEnded = true;
    cancel();
  };
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
  get steady() {
    return systemClock;
  },
};

/** How a movable clock differs from the machine's. */
export interface ClockSetting {
  /** What is added to the machine's time, in milliseconds. */
  readonly offsetMs: number;
  /** The time at which it stands, in milliseconds since the epoch; null while it runs. */
  readonly frozenAtMs: number | null;
}

/** A movable clock as it begins. */
export const UNMOVED: ClockSetting = { offsetMs: 0, frozenAtMs: null };

/**
 * A clock that can be set ahead, and made to stand still: the local CI mode's. Only `now` is moved. Timers
 * are waits of the machine and keep to its time, also while the clock stands: nothing in the cache depends
 * on a timer that fires.
 */
export class MovableClock implements Clock {
  readonly steady: Clock;
  #setting: ClockSetting;

  constructor(steady: Clock = systemClock, setting: ClockSetting = UNMOVED) {
    this.steady = steady;
    this.#setting = setting;
  }

  now(): number {
    const { offsetMs, frozenAtMs } = this.#setting;
    return frozenAtMs ?? this.steady.now() + offsetMs;
  }

  after(delayMs: number, run: () => void): () => void {
    return this.steady.after(delayMs, run);
  }

  get setting(): ClockSetting {
    return this.#setting;
  }

  set(setting: ClockSetting): void {
    this.#setting = setting;
  }
}

/** A clock that stands still until it is moved; timers run, in order, while it moves past them. */
export class ManualClock implements Clock {
  #nowMs: number;
  #timers: { atMs: number; order: number; run: () => void }[] = [];
  #order = 0;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  get steady(): Clock {
    return this;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Moves time forward by `deltaMs`, running every timer that falls due, each at its own time. */
  advance(deltaMs: number): void {
    const endMs = this.#nowMs + deltaMs;
    for (;;) {
      const due = this.#timers
        .filter((timer) => timer.atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.run();
    }
    this.#nowMs = endMs;
  }
}
