/**
 * `proxima warm SOURCE...`: asks a running edge for URLs ahead of demand, so that viewers find them
 * filled. All requests, those for sitemaps too, go to the edge at one pace.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, ProximaError } from "../base/errors.ts";
import type { ListenAddress } from "../config/address.ts";
import { readCa } from "./ca-file.ts";
import { UsageError } from "./failure.ts";
import { onInterrupt } from "./interrupt.ts";
import type { Io } from "./io.ts";
import { type EdgeAnswer, EdgeClient, EdgeError } from "./warm/edge-client.ts";
import { Pacer } from "./warm/pacer.ts";
import { formatProgress, type ProgressLine, progressLine } from "./warm/progress.ts";
import { type Collection, readSources } from "./warm/sources.ts";
import { formatReport, number, Tally, type WarmReport } from "./warm/tally.ts";

/** Options of the command. */
export interface WarmOptions {
  readonly http: ListenAddress;
  readonly https: ListenAddress;
  readonly cacert?: string;
  readonly rate: number;
  readonly concurrency: number;
  readonly header: readonly (readonly [name: string, value: string])[];
  /** Seconds. */
  readonly timeout: number;
  readonly maxUrls: number;
  readonly sitemap: readonly string[];
  readonly json?: boolean;
}

/** Requests without an answer, one after the other, after which the edge is taken for gone. */
const UNANSWERED_MAX = 20;

/** Runs the command. Rejects with a UsageError for sources that are wrong, with a ProximaError when not every URL was answered below 400. */
export async function warmCommand(sources: readonly string[], options: WarmOptions, io: Io): Promise<void> {
  if (sources.length + options.sitemap.length === 0) {
    throw new UsageError("name what to warm: URLs, a file of URLs, a sitemap, or - for standard input");
  }
  if ([...sources, ...options.sitemap].filter((source) => source === "-").length > 1) {
    throw new UsageError("standard input (-) can be read once only");
  }
  const run = new WarmRun(options, io);
  const release = onInterrupt((signal) => run.stop(signal));
  try {
    const report = await run.run(sources);
    if (options.json === true) io.out(`${JSON.stringify(report, null, 2)}\n`);
    else if (report.answered + report.failures.urls + report.failures.sitemaps > 0)
      io.out(formatReport(report, io.color));
    const problem = problemOf(report, options.maxUrls);
    if (problem !== null) throw new ProximaError("warm_incomplete", problem, { source: "node" });
  } finally {
    release();
  }
}

/** One run of the command. */
class WarmRun {
  readonly #options: WarmOptions;
  readonly #io: Io;
  readonly #client: EdgeClient;
  readonly #pacer: Pacer;
  readonly #tally = new Tally();
  readonly #stopping = new AbortController();
  readonly #line: ProgressLine;
  readonly #collection: Collection = { urls: new Set(), repeated: 0, sitemaps: 0, leftOut: false };
  #stopped: string | null = null;
  /** Requests without an answer since the last one with. */
  #unanswered = 0;
  #reached = false;
  /** URLs that are dealt with. */
  #done = 0;

  constructor(options: WarmOptions, io: Io) {
    this.#options = options;
    this.#io = io;
    this.#client = new EdgeClient({
      http: options.http,
      https: options.https,
      ca: options.cacert === undefined ? null : readCa(options.cacert),
      fields: options.header,
      timeoutMs: options.timeout * 1_000,
    });
    this.#pacer = new Pacer(options.rate);
    this.#line = progressLine(io);
  }

  /** Ends it early; `why` is told in the report. */
  stop(why: string): void {
    this.#stopped ??= why;
    this.#stopping.abort();
  }

  async run(sources: readonly string[]): Promise<WarmReport> {
    const startMs = performance.now();
    const { signal } = this.#stopping;
    const collection = this.#collection;
    try {
      await readSources(
        sources,
        this.#options.sitemap,
        {
          urlsMax: this.#options.maxUrls,
          signal,
          fetch: (url) => this.#ask(url, { "accept-encoding": "identity" }),
          failed: (url, problem) => this.#tally.failSitemap(url, problem),
          progress: ({ urls, sitemaps }) =>
            this.#line.show((columns) =>
              `reading: ${number(urls.size)} URLs, ${number(sitemaps)} sitemaps`.slice(0, columns - 1),
            ),
        },
        collection,
      );
      const warmMs = performance.now();
      const urls = collection.urls.values();
      const worker = async (): Promise<void> => {
        while (await this.#turn()) {
          const { done, value } = urls.next();
          if (done === true) return;
          await this.#warm(value);
          this.#show(warmMs);
        }
      };
      const count = Math.min(this.#options.concurrency, collection.urls.size);
      await Promise.all(Array.from({ length: count }, worker));
    } finally {
      this.#line.clear();
    }
    return this.#tally.report(collection, (performance.now() - startMs) / 1_000, this.#stopped);
  }

  #show(startMs: number): void {
    const failed = this.#tally.failed;
    this.#line.show((columns) =>
      formatProgress(
        {
          done: this.#done,
          total: this.#collection.urls.size,
          failed,
          elapsedMs: performance.now() - startMs,
        },
        columns,
        (this.#io.env.NO_COLOR ?? "") === "",
      ),
    );
  }

  /** Waits for the next start; false when the command ends. */
  async #turn(): Promise<boolean> {
    const { signal } = this.#stopping;
    if (signal.aborted) return false;
    const waitMs = this.#pacer.book(performance.now());
    try {
      if (waitMs > 0) await sleep(waitMs, undefined, { signal });
    } catch {
      // Nothing but the end of the command breaks the sleep.
    }
    return !signal.aborted;
  }

  async #ask(url: URL, fields: Readonly<Record<string, string>>): Promise<EdgeAnswer> {
    if (!(await this.#turn())) throw new EdgeError("stopped", "was stopped");
    return this.#watched(url, () => this.#client.get(url, this.#stopping.signal, fields));
  }

  async #warm(href: string): Promise<void> {
    const url = new URL(href);
    try {
      const answer = await this.#watched(url, () => this.#client.get(url, this.#stopping.signal));
      await this.#discard(answer);
      this.#tally.answer(href, answer.status, answer.result, answer.reason);
      this.#done++;
    } catch (error) {
      // What the command's own end cut short is not the URL's failure.
      if (
        error instanceof EdgeError &&
        (error.code === "stopped" || (!this.#reached && error.code === "refused"))
      )
        return;
      this.#tally.fail(href, messageOf(error));
      this.#done++;
    }
  }

  async #discard(answer: EdgeAnswer): Promise<void> {
    // A stream of events has no end, and is not stored.
    const endless = answer.fields.get("content-type")?.toLowerCase().startsWith("text/event-stream") === true;
    for await (const piece of answer.body) {
      this.#tally.bytes += piece.byteLength;
      if (endless) break;
    }
  }

  /** Gives up when nothing listens, or when nothing answers any more: a million failures would tell no more. */
  async #watched(url: URL, get: () => Promise<EdgeAnswer>): Promise<EdgeAnswer> {
    try {
      const answer = await get();
      this.#reached = true;
      this.#unanswered = 0;
      return answer;
    } catch (error) {
      if (error instanceof EdgeError && error.code !== "stopped") {
        this.#unanswered++;
        const option = url.protocol === "https:" ? "--https" : "--http";
        if (error.code === "refused" && !this.#reached) {
          this.stop(
            `nothing listens at ${this.#client.address(url)}; start proxima, or name its address with ${option}`,
          );
        } else if (this.#unanswered >= UNANSWERED_MAX) {
          this.stop(
            `${UNANSWERED_MAX} requests in a row got no answer from ${this.#client.address(url)} (${error.message})`,
          );
        }
      }
      throw error;
    }
  }
}

/** One sentence for what was not done; null when everything was. */
function problemOf(report: WarmReport, urlsMax: number): string | null {
  const { urls, answered, failures, stopped, leftOut } = report;
  const of = `of ${number(urls)} ${urls === 1 ? "URL" : "URLs"}`;
  if (stopped !== null) {
    const failed = failures.urls > 0 ? `, ${number(failures.urls)} failed` : "";
    return `stopped after ${number(answered)} ${of}${failed}: ${stopped}`;
  }
  const parts: string[] = [];
  if (failures.urls > 0) parts.push(`${number(failures.urls)} ${of} failed`);
  if (failures.sitemaps > 0) {
    parts.push(
      `${number(failures.sitemaps)} ${failures.sitemaps === 1 ? "sitemap, or address in one, is" : "sitemaps, or addresses in them, are"} no good`,
    );
  }
  if (leftOut) {
    parts.push(
      `the sources name more than ${number(urlsMax)} URLs (--max-urls), or too many sitemaps: the rest was left out`,
    );
  }
  if (urls === 0 && failures.sitemaps === 0) parts.push("the sources name no URL");
  return parts.length === 0 ? null : parts.join("; ");
}
