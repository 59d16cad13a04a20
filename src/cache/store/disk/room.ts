/**
 * Room for what is to be written: from the budget, and from eviction when that has none. A disk that turned
 * out to be full is left alone for a while; then the store grows again, a step at a time.
 */
import type { Clock } from "../../../base/clock.ts";
import { messageOf } from "../../../base/errors.ts";
import type { Budget } from "./budget.ts";
import type { Evictor } from "./evictor.ts";
import { FULL_PAUSE_MS, FULL_RECOVER_MS } from "./limits.ts";
import type { Problems } from "./problems.ts";

/** What it works with. */
export interface RoomContext {
  readonly path: string;
  readonly clock: Clock;
  readonly budget: Budget;
  readonly evictor: Evictor;
  readonly problems: Problems;
}

/** The room of one store. */
export class Room {
  readonly #context: RoomContext;
  #pausedUntilMs = 0;
  #fullAtMs = 0;

  constructor(context: RoomContext) {
    this.#context = context;
  }

  /** Nothing is written now, because the disk was full. */
  get paused(): boolean {
    return this.#context.clock.now() < this.#pausedUntilMs;
  }

  /** The disk is full. */
  full(error: unknown): void {
    const { path, clock, budget, evictor, problems } = this.#context;
    problems.report(
      "full",
      "store",
      `the disk of ${path} is full (${messageOf(error)}): the cache stores less on it`,
    );
    this.#fullAtMs = clock.now();
    this.#pausedUntilMs = this.#fullAtMs + FULL_PAUSE_MS;
    budget.lower();
    void evictor.run();
  }

  /** Takes room; false when there is none, not even after eviction. Give it back to the budget. */
  async reserve(bytes: number): Promise<boolean> {
    const { budget, evictor, problems } = this.#context;
    if (this.paused) return false;
    if (this.#pausedUntilMs > 0) {
      // The first writes after a full disk.
      this.#pausedUntilMs = 0;
      problems.clear("full", "store");
    }
    if (budget.lowered && budget.used + bytes > budget.ceiling) budget.raise();
    for (let attempt = 0; attempt < 8; attempt++) {
      if (budget.take(bytes)) {
        this.evict();
        return true;
      }
      budget.want(bytes);
      const freed = await evictor.run();
      budget.want(-bytes);
      if (!freed && !budget.take(0)) break;
    }
    return false;
  }

  /** Starts eviction when it is time. */
  evict(): void {
    if (this.#context.budget.over > 0) void this.#context.evictor.run();
  }

  /** Called every so often. */
  recover(): void {
    const { clock, budget } = this.#context;
    if (budget.lowered && clock.now() - this.#fullAtMs >= FULL_RECOVER_MS) {
      this.#fullAtMs = clock.now();
      budget.raise();
    }
    this.evict();
  }
}
