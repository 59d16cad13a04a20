/** Whether a node is in step with its fleet's log, and what it may serve while it is not. */
import type { Clock } from "../../base/clock.ts";

/** What it is made from. */
export interface SyncOptions {
  readonly clock: Clock;
  /** For how long stored answers are served on without the log, in seconds; null for ever. */
  readonly limitSeconds: number | null;
  /** Told of every change. */
  readonly changed: () => void;
  /** The limit has passed. */
  readonly limitPassed: (seconds: number) => void;
}

/** In step or not. */
export class Sync {
  readonly #options: SyncOptions;
  #synced = false;
  #mustValidate = false;
  #closed = false;
  #cancelLimit: (() => void) | null = null;

  constructor(options: SyncOptions) {
    this.#options = options;
  }

  get synced(): boolean {
    return this.#synced;
  }

  /** Nothing stored is served without asking its origin. */
  get mustValidate(): boolean {
    return this.#mustValidate;
  }

  /** The node starts: in step, or without the log, and for how long it was away then nobody knows. */
  start(synced: boolean): void {
    this.#synced = synced;
    this.#mustValidate = !synced && this.#options.limitSeconds !== null;
  }

  set(synced: boolean): void {
    // A report that breaks off because the node ends says nothing.
    if (this.#closed || this.#synced === synced) return;
    this.#synced = synced;
    this.#cancelLimit?.();
    this.#cancelLimit = null;
    this.#mustValidate = false;
    const { limitSeconds: limit, clock, changed, limitPassed } = this.#options;
    if (!synced && limit !== null)
      this.#cancelLimit = clock.steady.after(limit * 1_000, () => {
        this.#mustValidate = true;
        limitPassed(limit);
        changed();
      });
    changed();
  }

  close(): void {
    this.#closed = true;
    this.#cancelLimit?.();
  }
}
