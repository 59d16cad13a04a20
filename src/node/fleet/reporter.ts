/** Tells the control plane how the node is: from time to time, and soon after something has changed. */
import { type Clock, every } from "../../base/clock.ts";
import { HEARTBEAT_MS, type NodeReport, REPORTED_PURGES_MAX } from "../../service/fleet-wire.ts";

/** Counts that end within so long are told together, in milliseconds. */
const REPORT_DELAY_MS = 10;

/** What it needs. */
export interface ReporterOptions {
  readonly clock: Clock;
  /** How the node is now. */
  readonly describe: () => Promise<Omit<NodeReport, "counted">>;
  readonly send: (report: NodeReport) => Promise<void>;
  /** A report did not arrive. */
  readonly failed: () => void;
}

/** Sends one report at a time. */
export class Reporter {
  readonly #options: ReporterOptions;
  /** Objects that purges hit, which the control plane has not heard of yet. */
  readonly #counted = new Map<number, number>();
  #sending: Promise<void> | null = null;
  #again = false;
  #started = false;
  #closed = false;
  #cancelHeartbeat: () => void = () => {};
  #cancelSoon: (() => void) | null = null;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** Begins to report. */
  start(): void {
    this.#started = true;
    this.#cancelHeartbeat = every(this.#options.clock, HEARTBEAT_MS, () => this.now());
    this.now();
  }

  /** Notes how many objects a purge hit, to be told soon. */
  counted(sequence: number, objects: number): void {
    this.#counted.set(sequence, objects);
    // The oldest go: whoever asked has given up long ago.
    if (this.#counted.size > 10 * REPORTED_PURGES_MAX) {
      const [oldest] = this.#counted.keys();
      if (oldest !== undefined) this.#counted.delete(oldest);
    }
    this.#cancelSoon ??= this.#options.clock.after(REPORT_DELAY_MS, () => {
      this.#cancelSoon = null;
      this.now();
    });
  }

  /** Sends a report, or one more after the one that is under way. */
  now(): void {
    if (this.#closed || !this.#started) return;
    if (this.#sending !== null) {
      this.#again = true;
      return;
    }
    this.#sending = this.#send()
      .catch(() => this.#options.failed())
      .finally(() => {
        this.#sending = null;
        const again = this.#again;
        this.#again = false;
        if (again) this.now();
      });
  }

  close(): void {
    this.#closed = true;
    this.#cancelHeartbeat();
    this.#cancelSoon?.();
  }

  async #send(): Promise<void> {
    const counted = [...this.#counted].slice(0, REPORTED_PURGES_MAX);
    const report = {
      ...(await this.#options.describe()),
      counted: counted.map(([sequence, objects]) => ({ sequence, objects })),
    };
    await this.#options.send(report);
    for (const [sequence, objects] of counted)
      if (this.#counted.get(sequence) === objects) this.#counted.delete(sequence);
    if (this.#counted.size > 0) this.#again = true;
  }
}
