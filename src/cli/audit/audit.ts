/** `proxima audit URL...`: walks an origin and says what will cost hit ratio or leak, each with its fix. */
import { ProximaError } from "../../base/errors.ts";
import { readCa } from "../ca-file.ts";
import { EXIT, SilentExit, UsageError } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";
import { type Io, plainText } from "../io.ts";
import { progressLine } from "../warm/progress.ts";
import { number } from "../warm/tally.ts";
import { AuditClient } from "./client.ts";
import { Crawl } from "./crawler.ts";
import { LEVELS, type Level } from "./finding.ts";
import { type AuditReport, formatReport, reportOf } from "./report.ts";

/** Options of the command. */
export interface AuditOptions {
  readonly maxUrls: number;
  readonly depth: number;
  readonly maxBytes: number;
  /** Seconds. */
  readonly time: number;
  readonly rate: number;
  readonly concurrency: number;
  /** Seconds. */
  readonly timeout: number;
  readonly header: readonly (readonly [name: string, value: string])[];
  readonly cacert?: string;
  readonly level: Level | "never";
  readonly json?: boolean;
}

const STARTS_MAX = 1_000;

/** Runs the command. Ends with status 1 where something was found. */
export async function auditCommand(urls: readonly string[], options: AuditOptions, io: Io): Promise<void> {
  const starts = urls.map(readStart);
  if (starts.length > STARTS_MAX) throw new UsageError(`at most ${STARTS_MAX} URLs can be named`);
  const stop = new AbortController();
  const hasSession = options.header.some(([name]) => /^(?:cookie|authorization)$/i.test(name));
  const client = new AuditClient({
    ca: options.cacert === undefined ? null : readCa(options.cacert),
    fields: options.header,
    timeoutMs: options.timeout * 1_000,
    signal: stop.signal,
  });
  const limits = {
    urlsMax: options.maxUrls,
    depthMax: options.depth,
    bytesMax: options.maxBytes,
    timeMs: options.time * 1_000,
    concurrency: options.concurrency,
    rate: options.rate,
  };
  const crawl = new Crawl(client, limits, stop, hasSession);
  const line = progressLine(io);
  const release = onInterrupt(() => stop.abort());
  const startMs = performance.now();
  try {
    const result = await crawl.run(starts, () => {
      const { answered, waiting, found } = crawl.progress;
      line.show((columns) =>
        `${number(answered)} answered, ${number(waiting)} waiting, ${number(found)} found`.slice(
          0,
          columns - 1,
        ),
      );
    });
    const seconds = (performance.now() - startMs) / 1_000;
    const report = reportOf(
      starts.map(({ href }) => href),
      result,
      limits,
      seconds,
    );
    line.clear();
    io.out(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report, io.color));
    conclude(report, options.level);
  } finally {
    line.clear();
    release();
  }
}

/** Ends with status 1 where the report is not good. */
function conclude(report: AuditReport, level: Level | "never"): void {
  const [failure] = report.failures.filter(({ url }) => report.urls.includes(url));
  if (failure !== undefined) {
    throw new ProximaError("audit_failed", `${plainText(failure.url)}: ${failure.problem}`, {
      source: "origin",
    });
  }
  if (level === "never") return;
  const counted = LEVELS.slice(0, LEVELS.indexOf(level) + 1);
  if (counted.some((one) => report.counts[one] > 0)) throw new SilentExit(EXIT.runtime);
}

function readStart(text: string): URL {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null)
    throw new UsageError(
      `${JSON.stringify(plainText(text.slice(0, 200)))} is not a URL; write http(s)://host/path`,
    );
  if (url.username !== "" || url.password !== "")
    throw new UsageError("a URL holds a user name or a password; give it with --header 'Authorization: ...'");
  url.hash = "";
  return url;
}
