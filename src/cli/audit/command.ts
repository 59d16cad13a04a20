/** `proxima audit URL...`: walks an origin and says what will cost hit ratio or leak, each with its fix. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { ProximaError } from "../../base/errors.ts";
import { parseSize } from "../../config/size.ts";
import { readCa } from "../ca-file.ts";
import { EXIT, SilentExit, UsageError } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";
import { type Io, plainText } from "../io.ts";
import { numberOption, readField, wholeOption } from "../option-values.ts";
import { progressLine } from "../warm/progress.ts";
import { number } from "../warm/tally.ts";
import { AuditClient } from "./client.ts";
import { Crawl } from "./crawler.ts";
import { LEVELS, type Level } from "./finding.ts";
import { type AuditReport, formatReport, reportOf } from "./report.ts";

/** Options of the command. */
interface AuditOptions {
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

const URLS_MAX = 100_000;
const DEPTH_MAX = 1_000;
const STARTS_MAX = 1_000;
const BYTES_MAX = 2 ** 40;

/** Adds the command to the program. */
export function addAuditCommand(root: Command, io: Io, exitHelp: string): void {
  root
    .command("audit")
    .description("walk an origin and say what will cost hit ratio or leak, each with its fix")
    .argument("<URL...>", "where to begin; only their hosts are asked")
    .addOption(wholeOption("--max-urls <N>", "most URLs", 500, URLS_MAX))
    .addOption(wholeOption("--depth <N>", "most links from the first URLs", 10, DEPTH_MAX))
    .addOption(
      new Option("--max-bytes <SIZE>", "most bytes of bodies, such as 256MiB")
        .default(256 * 1_024 * 1_024, "256MiB")
        .argParser(readBytes),
    )
    .addOption(numberOption("--time <SECONDS>", "most time for all of it", 120, 0.1, 86_400))
    .addOption(numberOption("--rate <N>", "most requests a second", 20, 0.01, 100_000))
    .addOption(wholeOption("--concurrency <N>", "most requests at once", 4, 256))
    .addOption(numberOption("--timeout <SECONDS>", "most time for one answer", 15, 0.1, 3_600))
    .addOption(
      new Option("--header <LINE>", "a header field 'Name: value'; may be repeated")
        .default([], "none")
        .argParser(readField),
    )
    .option("--cacert <FILE>", "check certificates against these CAs (PEM)")
    .addOption(
      new Option("--level <LEVEL>", "the status is 1 when something of this level, or a graver one, is found")
        .choices([...LEVELS, "never"])
        .default("warning"),
    )
    .option("--json", "print the report as JSON")
    .addHelpText(
      "after",
      `
Links are followed on the hosts of the URLs, in HTML, CSS and sitemaps; redirects too. What may be kept is asked for
a second time, with its validators. With a Cookie or Authorization in --header, what shared caches may keep is also
asked for without them: an answer that is another one then would leak. What a limit leaves out is told.

The status is 1 when something was found (--level), or when a URL that was named gave no answer.

Examples:
  $ proxima audit http://127.0.0.1:3000/
  $ proxima audit https://shop.example/ --max-urls 2000 --json
  $ proxima audit https://shop.example/account --header 'Cookie: sid=...' --level error
${exitHelp}`,
    )
    .action((urls: string[], options: AuditOptions) => auditCommand(urls, options, io));
}

async function auditCommand(urls: readonly string[], options: AuditOptions, io: Io): Promise<void> {
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

function readBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes === null || bytes < 1 || bytes > BYTES_MAX)
    throw new InvalidArgumentError("Expected a size from 1 to 1TiB, such as 256MiB.");
  return bytes;
}
