/** What became of the URLs, counted: the report, and its form for a person. Foreign words are kept short and few. */
import { plainText, type Style, styleFor } from "../io.ts";
import type { Collection } from "./sources.ts";

/** Failures that are shown. */
const EXAMPLES_MAX = 5;
/** Reasons that are shown; of those that are counted apart, the rest is `other`. */
const REASONS_SHOWN = 5;
const REASONS_MAX = 50;
const URL_SHOWN_MAX = 200;

/** Words of X-Cache and what they mean to who warms, in the order of the report. */
const RESULTS = {
  miss: "filled now",
  hit: "was there",
  revalidated: "was there, and the origin says it is still good",
  expired: "was there but too old, filled anew",
  updating: "was there, and is being refreshed",
  stale: "was there, too old, and the origin gave nothing newer",
  bypass: "not stored",
  other: "an X-Cache of none of these words",
  none: "no X-Cache: is this an edge?",
} as const;
type Result = keyof typeof RESULTS;

/** A request that failed: no answer, or one of 400 and above. */
export interface Failure {
  readonly url: string;
  readonly problem: string;
}

/** What is reported at the end. Keys of `results` are the words of X-Cache in lower case, `other` and `none`. */
export interface WarmReport {
  /** URLs to warm, each counted once. */
  readonly urls: number;
  /** Of them, those that were answered, whatever the status. */
  readonly answered: number;
  readonly repeated: number;
  readonly sitemaps: number;
  /** Bytes of bodies as sent. */
  readonly bytes: number;
  readonly seconds: number;
  readonly results: Readonly<Partial<Record<Result, number>>>;
  readonly statuses: Readonly<Record<string, number>>;
  /** Why answers were not stored (`detail` of Cache-Status), most frequent first. */
  readonly notStored: readonly {
    readonly reason: string;
    readonly count: number;
    readonly example: string;
  }[];
  /** `urls` of those to warm; `sitemaps` counts sitemaps, and addresses in them, that are no good. */
  readonly failures: {
    readonly urls: number;
    readonly sitemaps: number;
    readonly examples: readonly Failure[];
  };
  /** Why it ended early; null when it did not. */
  readonly stopped: string | null;
  /** More URLs than the limit were found. */
  readonly leftOut: boolean;
}

/** Counts. */
export class Tally {
  #answered = 0;
  #failedUrls = 0;
  #failedSitemaps = 0;
  /** Bytes of bodies so far. */
  bytes = 0;
  readonly #results = new Map<Result, number>();
  readonly #statuses = new Map<number, number>();
  readonly #reasons = new Map<string, { count: number; example: string }>();
  readonly #examples: Failure[] = [];

  get answered(): number {
    return this.#answered;
  }

  get failed(): number {
    return this.#failedUrls;
  }

  /** A URL was answered, and its answer read to the end. */
  answer(url: string, status: number, result: string | null, reason: string | null): void {
    this.#answered++;
    const known = resultOf(result);
    increase(this.#results, known);
    increase(this.#statuses, status);
    if (status >= 400) this.fail(url, `was answered with ${status}`);
    if (known !== "bypass") return;
    const given = reason ?? "no reason given";
    const word = this.#reasons.has(given) || this.#reasons.size < REASONS_MAX ? given : "other";
    const kept = this.#reasons.get(word);
    if (kept === undefined) this.#reasons.set(word, { count: 1, example: url });
    else kept.count++;
  }

  /** A URL is a failure. */
  fail(url: string, problem: string): void {
    this.#failedUrls++;
    this.#example(url, problem);
  }

  /** A sitemap, or an address in one, is no good. */
  failSitemap(url: string, problem: string): void {
    this.#failedSitemaps++;
    this.#example(url, problem);
  }

  #example(url: string, problem: string): void {
    if (this.#examples.length < EXAMPLES_MAX) this.#examples.push({ url, problem });
  }

  report(collection: Collection, seconds: number, stopped: string | null): WarmReport {
    return {
      urls: collection.urls.size,
      answered: this.#answered,
      repeated: collection.repeated,
      sitemaps: collection.sitemaps,
      bytes: this.bytes,
      seconds: Math.round(seconds * 1_000) / 1_000,
      results: Object.fromEntries(this.#results),
      statuses: Object.fromEntries([...this.#statuses].sort(([a], [b]) => a - b)),
      notStored: [...this.#reasons]
        .map(([reason, { count, example }]) => ({ reason, count, example }))
        .sort((a, b) => b.count - a.count),
      failures: { urls: this.#failedUrls, sitemaps: this.#failedSitemaps, examples: this.#examples },
      stopped,
      leftOut: collection.leftOut,
    };
  }
}

function resultOf(word: string | null): Result {
  if (word === null) return "none";
  // The report's own two words can not be an edge's.
  return word !== "none" && Object.hasOwn(RESULTS, word) ? (word as Result) : "other";
}

function increase<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** The report for a person. */
export function formatReport(report: WarmReport, color: boolean): string {
  const style = styleFor(color);
  const { urls, answered, bytes, seconds, sitemaps, repeated } = report;
  const rate = seconds > 0 ? `, ${number(Math.round(answered / seconds))} a second` : "";
  const also = [
    sitemaps > 0 ? `${number(sitemaps)} ${sitemaps === 1 ? "sitemap" : "sitemaps"} read` : "",
    repeated > 0 ? `${number(repeated)} URLs named again` : "",
    answered < urls ? `${number(urls - answered)} without an answer` : "",
  ].filter((text) => text !== "");
  const lines = [
    `${style.bold(`${number(answered)} ${answered === 1 ? "URL" : "URLs"}`)} in ${seconds.toFixed(1)} s${rate}, ${size(bytes)}`,
    ...(also.length > 0 ? [style.dim(also.join(", "))] : []),
    ...resultLines(report, style),
    ...failureLines(report, style),
  ];
  return `${lines.join("\n")}\n`;
}

function resultLines({ results, statuses, notStored }: WarmReport, style: Style): string[] {
  const words = Object.entries(RESULTS).filter(([word]) => Object.hasOwn(results, word));
  if (words.length === 0) return [];
  const counts = Object.values(results).map(number);
  const width = Math.max(...counts.map((text) => text.length));
  const lines = [""];
  for (const [word, meaning] of words) {
    const count = number(results[word as Result] ?? 0).padStart(width);
    lines.push(`  ${style.bold(word.toUpperCase().padEnd(12))}${count}  ${style.dim(meaning)}`);
    if (word !== "bypass") continue;
    for (const { reason, count: times, example } of notStored.slice(0, REASONS_SHOWN)) {
      lines.push(`    ${plainText(reason)} ${number(times)}  ${style.dim(`such as ${shownUrl(example)}`)}`);
    }
    const more = notStored.length - REASONS_SHOWN;
    if (more > 0) lines.push(`    and ${more} more ${more === 1 ? "reason" : "reasons"}`);
  }
  const byStatus = Object.entries(statuses).map(([status, count]) => `${status}: ${number(count)}`);
  lines.push("", `  ${style.bold("status".padEnd(12))}${byStatus.join("   ")}`);
  return lines;
}

function failureLines({ failures }: WarmReport, style: Style): string[] {
  const { examples } = failures;
  const count = failures.urls + failures.sitemaps;
  if (count === 0) return [];
  const head =
    count > examples.length
      ? `${number(count)} failures, the first ${examples.length}`
      : `${count} ${count === 1 ? "failure" : "failures"}`;
  return [
    "",
    `  ${style.bold(head)}`,
    ...examples.map(({ url, problem }) => `    ${shownUrl(url)}  ${plainText(problem)}`),
  ];
}

function shownUrl(url: string): string {
  return plainText(url.length > URL_SHOWN_MAX ? `${url.slice(0, URL_SHOWN_MAX)}...` : url);
}

/** A count with commas between thousands. */
export function number(count: number): string {
  return count.toLocaleString("en");
}

function size(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit++;
  }
  return `${unit === 0 ? number(bytes) : value.toFixed(1)} ${units[unit]}`;
}
