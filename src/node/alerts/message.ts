/** Alerts in words: one text for chats and mails. */
import type { AlertChange } from "./alert.ts";

/** A message to a channel. */
export interface Notification {
  /** The same for every attempt at this very content. */
  readonly id: string;
  readonly node: string;
  readonly changes: readonly AlertChange[];
}

/** Changes that are written out in a text; the rest is counted. */
const LINES_MAX = 20;
const SUMMARY_CHARS_MAX = 500;

/** What it is about, in one short line. */
export function subjectOf({ node, changes }: Notification): string {
  const [first] = changes;
  if (first === undefined) return `Proxima ${node}`;
  const { condition } = first;
  const word = wordOf(first);
  return changes.length === 1
    ? `[${word}] ${condition.kind} ${plain(condition.subject, 100)} on ${node}`
    : `[${changes.some(({ state }) => state === "firing") ? "FIRING" : word}] ${changes.length} alerts on ${node}`;
}

/** One line for each change. */
export function linesOf({ changes }: Notification): string[] {
  const lines = changes
    .slice(0, LINES_MAX)
    .map(
      (change) =>
        `${wordOf(change)} (${change.condition.severity}): ${plain(change.condition.summary, SUMMARY_CHARS_MAX)}${sinceOf(change)}`,
    );
  return changes.length > LINES_MAX ? [...lines, `and ${changes.length - LINES_MAX} more`] : lines;
}

function wordOf({ state }: AlertChange): string {
  switch (state) {
    case "firing":
      return "FIRING";
    case "reminder":
      return "STILL FIRING";
    case "resolved":
      return "RESOLVED";
  }
}

function sinceOf({ state, sinceMs, atMs }: AlertChange): string {
  const minutes = Math.round((atMs - sinceMs) / 60_000);
  const lasted = minutes < 1 ? "less than a minute" : `${minutes} ${minutes === 1 ? "minute" : "minutes"}`;
  const began = new Date(sinceMs).toISOString().replace(/\.\d+Z$/, "Z");
  return state === "resolved" ? ` (it held for ${lasted}, from ${began})` : ` (since ${began})`;
}

/** Foreign words on one line: what an origin or a file name holds must not make another line. */
function plain(text: string, charsMax: number): string {
  const line = text.replace(/[\p{Cc}\u2028\u2029]/gu, "?");
  return line.length > charsMax ? `${line.slice(0, charsMax)}...` : line;
}
