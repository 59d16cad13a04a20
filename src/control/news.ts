/** Those who wait for something to happen, each for a limited time. */
import type { Clock } from "../base/clock.ts";

/** Something that may happen again and again. */
export class News {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves at the next news, after `ms` milliseconds, or when the signal fires. */
  next(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.#clock.after(ms, done);
      signal.addEventListener("abort", done);
      this.#waiting.add(done);
    });
  }

  /** It happened: all who wait go on. */
  tell(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size;
  }
}
