/**
 * The access log: one JSON line for each request. `write` only pushes onto a bounded list; lines are
 * built and written later, a batch at a time, so that neither a slow disk nor a full one is felt by a
 * request. Past the limit entries are dropped, counted, and told of in a line of their own.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { LogSink } from "./log-sink.ts";

/** What is known of a request when it has ended. docs/reference/access-log.md describes each field. */
export interface AccessLogEntry {
  /** When the request came, in milliseconds since the Unix epoch. */
  readonly timeMs: number;
  readonly site: string | null;
  readonly behavior: string | null;
  /** The viewer, after trusted proxies were asked. */
  readonly client: string;
  /** The other end of the connection. */
  readonly peer: string;
  readonly method: string;
  readonly scheme: "http" | "https";
  /** The runtime does not tell HTTP/1.1 and HTTP/2 apart: both are "tcp". */
  readonly transport: "tcp" | "h3";
  readonly host: string;
  readonly path: string;
  /** Without the question mark; empty when there is none. */
  readonly query: string;
  readonly status: number;
  readonly result: string;
  readonly reason: string;
  /** Body bytes that were meant to be sent. */
  readonly bytesSent: number;
  readonly durationMs: number;
  readonly firstByteMs: number | null;
  readonly originStatus: number | null;
  readonly originMs: number | null;
  readonly originName: string | null;
  readonly key: string | null;
  readonly userAgent: string | null;
  readonly referer: string | null;
  readonly requestId: string | null;
  readonly error: string | null;
}

/** A string of the log is cut after this many UTF-16 units. */
export const STRING_LENGTH_MAX = 1_024;
/** Lines built in one go: what a flush may hold the event loop for (about a millisecond). */
const LINES_PER_BATCH_MAX = 256;
/** How often, and how long, `close` tries a sink that takes nothing (a full disk, a pipe nobody reads). */
const CLOSE_ATTEMPTS_MAX = 3;
const CLOSE_WAIT_MS = 2_000;
/** What an entry is counted as beside its strings. */
const ENTRY_BYTES_BASE = 400;

/** How an access log is set up. */
export interface AccessLogOptions {
  /** "-" is standard output, anything else the path of a file that is appended to. */
  readonly sink: string;
  readonly clock: Clock;
  /** The longest that an entry waits for its batch. */
  readonly flushMs?: number;
  /** Estimated bytes of the entries that may wait. */
  readonly bufferBytesMax?: number;
  /** Called once when writing begins to fail, and not again before it has worked. */
  readonly onProblem?: (message: string) => void;
}

/** Writes access log entries in batches. No method throws or rejects. */
export class AccessLog {
  readonly #clock: Clock;
  readonly #flushMs: number;
  readonly #bufferBytesMax: number;
  readonly #onProblem: (message: string) => void;
  readonly #sink: LogSink;
  #entries: AccessLogEntry[] = [];
  #waitingBytes = 0;
  #cancelTimer: (() => void) | null = null;
  #flushing: Promise<void> | null = null;
  #failing = false;
  #closed = false;
  #droppedTotal = 0;
  #droppedUntold = 0;
  #writtenTotal = 0;

  constructor(options: AccessLogOptions) {
    this.#clock = options.clock;
    this.#flushMs = options.flushMs ?? 200;
    this.#bufferBytesMax = options.bufferBytesMax ?? 8 * 1024 * 1024;
    this.#onProblem = options.onProblem ?? (() => {});
    this.#sink = new LogSink(options.sink);
  }

  /** Entries dropped since the start, because more waited than the limit allows. */
  get dropped(): number {
    return this.#droppedTotal;
  }

  /** Entries written since the start. */
  get written(): number {
    return this.#writtenTotal;
  }

  /** Takes an entry; it is written with the next batch. */
  write(entry: AccessLogEntry): void {
    if (this.#closed || this.#waitingBytes >= this.#bufferBytesMax) {
      this.#droppedTotal++;
      this.#droppedUntold++;
      return;
    }
    this.#entries.push(entry);
    this.#waitingBytes += weightOf(entry);
    if (this.#cancelTimer === null) this.#arm(this.#flushMs);
    // A full batch goes at once, but never inside the request that filled it.
    if (this.#entries.length === LINES_PER_BATCH_MAX && !this.#failing && this.#flushing === null) {
      setImmediate(() => void this.flush());
    }
  }

  /** Writes everything that waits, or joins whoever is writing. Resolves when it is written, or when the sink has refused it. */
  flush(): Promise<void> {
    this.#flushing ??= this.#drain().finally(() => {
      this.#flushing = null;
      if (this.#closed) return;
      if (this.#entries.length >= LINES_PER_BATCH_MAX && !this.#failing) {
        setImmediate(() => void this.flush());
      } else if (this.#entries.length > 0 || this.#sink.pending || this.#droppedUntold > 0) {
        this.#arm(this.#flushMs);
      }
    });
    return this.#flushing;
  }

  /** Opens the file anew: after a log rotation (SIGHUP). What waited goes to the file that was open. */
  async reopen(): Promise<void> {
    // The first may be one that was under way and that leaves what came meanwhile.
    await this.flush();
    await this.flush();
    await this.#sink.close();
    await this.flush();
  }

  /** Writes what waits and closes the file. Entries that come later are counted as dropped. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    let cancelWait = () => {};
    const waited = new Promise<void>((resolve) => {
      cancelWait = this.#clock.after(CLOSE_WAIT_MS, resolve);
    });
    await Promise.race([this.#finish(), waited]);
    cancelWait();
  }

  async #finish(): Promise<void> {
    for (let attempt = 0; attempt < CLOSE_ATTEMPTS_MAX; attempt++) {
      await this.flush();
      if (this.#entries.length === 0 && !this.#sink.pending) break;
    }
    await this.#sink.close();
  }

  #arm(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.after(delayMs, () => {
      this.#cancelTimer = null;
      void this.flush();
    });
  }

  async #drain(): Promise<void> {
    try {
      if (this.#sink.pending) await this.#sink.retry();
      // What comes while this is written waits for the next time: a steady load would be written in scraps.
      let left = this.#entries.length;
      while (left > 0 || this.#droppedUntold > 0) {
        const batch = this.#takeBatch();
        left -= batch.length;
        let lines = "";
        for (const entry of batch) lines += lineOf(entry);
        const dropped = this.#droppedUntold;
        this.#droppedUntold = 0;
        if (dropped > 0) lines += droppedLine(this.#clock.now(), dropped);
        this.#writtenTotal += batch.length;
        // From here on the sink holds the lines, also when it fails half-way: a line is never torn.
        await this.#sink.write(lines);
      }
      this.#failing = false;
    } catch (error) {
      if (this.#failing) return;
      this.#failing = true;
      this.#onProblem(`the access log can not be written: ${messageOf(error)}`);
    }
  }

  #takeBatch(): AccessLogEntry[] {
    if (this.#entries.length <= LINES_PER_BATCH_MAX) {
      const batch = this.#entries;
      this.#entries = [];
      this.#waitingBytes = 0;
      return batch;
    }
    const batch = this.#entries.slice(0, LINES_PER_BATCH_MAX);
    this.#entries = this.#entries.slice(LINES_PER_BATCH_MAX);
    for (const entry of batch) this.#waitingBytes -= weightOf(entry);
    return batch;
  }
}

function weightOf(entry: AccessLogEntry): number {
  return (
    ENTRY_BYTES_BASE +
    Math.min(entry.path.length, STRING_LENGTH_MAX) +
    Math.min(entry.query.length, STRING_LENGTH_MAX) +
    Math.min(entry.key?.length ?? 0, STRING_LENGTH_MAX) +
    Math.min(entry.userAgent?.length ?? 0, STRING_LENGTH_MAX) +
    Math.min(entry.referer?.length ?? 0, STRING_LENGTH_MAX)
  );
}

function cut(value: string | null): string | undefined {
  if (value === null) return undefined;
  return value.length > STRING_LENGTH_MAX ? value.slice(0, STRING_LENGTH_MAX) : value;
}

/** Times are kept to a thousandth of a millisecond. */
function round(value: number | null): number | undefined {
  return value === null ? undefined : Math.round(value * 1_000) / 1_000;
}

let isoMs = Number.NaN;
let iso = "";

/** The time as text; that of the last one is kept, for many requests share a millisecond. */
function isoOf(timeMs: number): string {
  if (timeMs === isoMs) return iso;
  const date = new Date(timeMs);
  iso = Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString();
  isoMs = timeMs;
  return iso;
}

/** One line of the log; fields without a value are left out. */
export function lineOf(entry: AccessLogEntry): string {
  const line = JSON.stringify({
    time: isoOf(entry.timeMs),
    site: cut(entry.site),
    behavior: cut(entry.behavior),
    client: cut(entry.client),
    peer: cut(entry.peer),
    method: cut(entry.method),
    scheme: entry.scheme,
    transport: entry.transport,
    host: cut(entry.host),
    path: cut(entry.path),
    query: entry.query === "" ? undefined : cut(entry.query),
    status: entry.status,
    result: entry.result,
    reason: entry.reason,
    bytesSent: entry.bytesSent,
    durationMs: round(entry.durationMs),
    firstByteMs: round(entry.firstByteMs),
    originStatus: entry.originStatus ?? undefined,
    originMs: round(entry.originMs),
    originName: cut(entry.originName),
    key: cut(entry.key),
    userAgent: cut(entry.userAgent),
    referer: cut(entry.referer),
    requestId: cut(entry.requestId),
    error: cut(entry.error),
  });
  return `${line}\n`;
}

function droppedLine(nowMs: number, dropped: number): string {
  return `${JSON.stringify({ time: isoOf(nowMs), dropped })}\n`;
}
