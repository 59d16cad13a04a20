/** One line on a terminal that says how far the command is; nothing where standard error is no terminal. */
import { type Io, styleFor } from "../io.ts";
import { number } from "./tally.ts";

const INTERVAL_MS = 100;
const BAR_CHARS = 24;
const COLUMNS_DEFAULT = 80;

/** How far warming is. */
export interface WarmProgress {
  readonly done: number;
  readonly total: number;
  readonly failed: number;
  readonly elapsedMs: number;
}

/** The line. */
export interface ProgressLine {
  /** Replaces it, unless it was replaced a moment ago. `make` is called with the terminal's width. */
  show(make: (columns: number) => string): void;
  /** Takes it away. */
  clear(): void;
}

/** The line on the process's standard error. */
export function progressLine(
  io: Io,
  terminal: { readonly isTTY?: boolean; readonly columns?: number } = process.stderr,
): ProgressLine {
  if (terminal.isTTY !== true || io.env.TERM === "dumb") return { show() {}, clear() {} };
  let shownMs = Number.NEGATIVE_INFINITY;
  let isShown = false;
  return {
    show(make) {
      const nowMs = performance.now();
      if (nowMs - shownMs < INTERVAL_MS) return;
      shownMs = nowMs;
      isShown = true;
      const columns = terminal.columns ?? 0;
      io.err(`\r\u001b[K${make(columns > 0 ? columns : COLUMNS_DEFAULT)}`);
    },
    clear() {
      if (isShown) io.err("\r\u001b[K");
      isShown = false;
      shownMs = Number.NEGATIVE_INFINITY;
    },
  };
}

/** The bar and what stands beside it, never wider than the terminal. */
export function formatProgress(
  { done, total, failed, elapsedMs }: WarmProgress,
  columns: number,
  color: boolean,
): string {
  const share = total === 0 ? 1 : done / total;
  const left = done === 0 ? null : Math.ceil(((elapsedMs / done) * (total - done)) / 1_000);
  const facts = [
    `${Math.floor(share * 100)} %`,
    `${number(done)} of ${number(total)}`,
    ...(elapsedMs >= 1_000 ? [`${number(Math.round((done / elapsedMs) * 1_000))} a second`] : []),
    ...(failed > 0 ? [`${number(failed)} failed`] : []),
    ...(left === null ? [] : [`${duration(left)} left`]),
  ].join(", ");
  const bar = Math.min(BAR_CHARS, columns - facts.length - 4);
  // The last column stays free: a terminal may wrap when it is written.
  if (bar < 4) return facts.slice(0, Math.max(0, columns - 1));
  const full = Math.round(share * bar);
  return `[${"#".repeat(full)}${styleFor(color).dim("-".repeat(bar - full))}] ${facts}`;
}

function duration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
