/** `proxima drill failover SITE`: takes an origin away from a running node for a while, and shows who noticed. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { ProximaError } from "../base/errors.ts";
import {
  askControl,
  baseOf,
  type ControlAddress,
  type ControlQuestion,
  controlOption,
  detailOf,
  isRecord,
} from "./control-client.ts";
import { SilentExit, UsageError } from "./failure.ts";
import { type Io, plainText, styleFor } from "./io.ts";

/** Options of the command. */
interface DrillOptions {
  readonly control: ControlAddress;
  readonly group?: string;
  readonly origin?: string;
  readonly fault: string;
  /** Seconds. */
  readonly for: number;
  readonly json?: boolean;
}

const TIMEOUT_MS = 10_000;
const POLL_MS = 250;
/** How long the node's answers may stay away before the command gives up; the drill ends by itself. */
const SILENCE_MS_MAX = 15_000;

/** Adds the command. */
export function addDrillCommand(root: Command, io: Io, exitHelp: string): void {
  root
    .command("drill")
    .description("take something away from a running node on purpose, and see who notices")
    .command("failover")
    .description("take the first origin of a group away for a while; it is back by itself")
    .argument("<SITE>", "id of the site")
    .option("--group <NAME>", "the group; may be left out where the site has one")
    .option("--origin <NAME>", "the origin, instead of the group's first")
    .addOption(
      new Option("--fault <KIND>", "no connection, no answer, answers of 503, or answers that break off")
        .choices(["refuse", "delay", "5xx", "cut"])
        .default("refuse"),
    )
    .addOption(
      new Option("--for <TIME>", "how long, such as 30s or 2m, up to 1h")
        .default(30, "30s")
        .argParser(readTime),
    )
    .addOption(controlOption())
    .option("--json", "print the node's report as JSON")
    .addHelpText(
      "after",
      `
PROXIMA_CONTROL_TOKEN is sent to a node that asks for a token. Ctrl+C ends the drill; so does its time, whatever
becomes of this command or of the node. Status 1 when a viewer's request failed, or the origin did not come back.

Examples:
  $ proxima drill failover shop
  $ proxima drill failover shop --for 10s --fault delay
${exitHelp}`,
    )
    .action((site: string, options: DrillOptions) => drillCommand(site, options, io));
}

function readTime(text: string): number {
  const match = /^(\d{1,7})(ms|s|m|h)?$/.exec(text);
  const unit = { ms: 0.001, s: 1, m: 60, h: 3_600 }[match?.[2] ?? "s"] ?? 1;
  const seconds = Number(match?.[1] ?? 0) * unit;
  if (!(seconds >= 0.1 && seconds <= 3_600))
    throw new InvalidArgumentError("Expected a time from 100ms to 1h, such as 30s or 2m.");
  return seconds;
}

async function drillCommand(site: string, options: DrillOptions, io: Io): Promise<void> {
  const ask = askOf(options.control, io);
  const { group, origin, fault } = options;
  const started = await ask({
    target: "/v1/drills",
    body: {
      site,
      fault,
      seconds: options.for,
      ...(group === undefined ? {} : { group }),
      ...(origin === undefined ? {} : { origin }),
    },
  });
  const id = String(started.id ?? "");
  if (options.json !== true) io.err(`${beginning(started)}\n`);
  let isStopped = false;
  const stop = (): void => {
    isStopped = true;
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    const report = await ended(ask, id, () => isStopped);
    io.out(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report, io.color));
    if (numberOf(report, "failed") > 0 || isNotBack(report)) throw new SilentExit(1);
  } finally {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
}

/** Waits for the end of the drill; ends it when it is told to. */
async function ended(ask: Ask, id: string, isStopped: () => boolean): Promise<Record<string, unknown>> {
  let silentSinceMs: number | null = null;
  let hasStopped = false;
  for (;;) {
    try {
      const mayStop: boolean = isStopped() && !hasStopped;
      const report = await ask({
        target: `/v1/drills/${encodeURIComponent(id)}`,
        ...(mayStop ? { method: "DELETE" } : {}),
      });
      silentSinceMs = null;
      hasStopped ||= mayStop;
      // Whoever interrupts does not want to wait for the recovery as well.
      if (report.state === "ended" || hasStopped) return report;
    } catch (error) {
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > SILENCE_MS_MAX) throw error;
    }
    await Bun.sleep(POLL_MS);
  }
}

/** The node's report. Rejects with a UsageError for what the node calls a bad request, else a ProximaError. */
type Ask = (
  question: Pick<ControlQuestion, "target" | "body" | "method">,
) => Promise<Record<string, unknown>>;

function askOf(control: ControlAddress, io: Io): Ask {
  return async (question) => {
    const { status, answer } = await askControl(
      { control, timeoutMs: TIMEOUT_MS, code: "drill_failed", ...question },
      io,
    );
    if ((status === 200 || status === 201) && isRecord(answer)) return answer;
    const detail = detailOf(answer);
    if (status === 400) throw new UsageError(detail ?? "the node calls the request bad");
    const said = detail === null ? "" : `: ${detail}`;
    throw new ProximaError("drill_failed", `the node at ${baseOf(control)} answered ${status}${said}`, {
      source: "node",
    });
  };
}

function beginning(report: Record<string, unknown>): string {
  const fault = { refuse: "refuses connections", delay: "does not answer", "5xx": "answers 503" }[
    String(report.fault)
  ];
  return `origin ${textOf(report, "origin")} of site ${textOf(report, "site")} ${fault ?? "breaks off its answers"} for ${textOf(report, "seconds")} s`;
}

/** The report for a person. */
function formatReport(report: Record<string, unknown>, color: boolean): string {
  const style = styleFor(color);
  const detected = report.detectedAfterMs;
  const recovered = report.recoveredAfterMs;
  const requests = numberOf(report, "requests");
  const failedCount = numberOf(report, "failed");
  const rows = [
    ["viewer requests", String(requests)],
    ["of them failed", String(failedCount)],
    ["asked elsewhere", String(numberOf(report, "failovers"))],
    [
      "taken out",
      typeof detected === "number" ? `after ${detected} ms` : "never: too few requests or checks failed",
    ],
    [
      "back",
      typeof recovered === "number"
        ? `${recovered} ms after the fault ended`
        : typeof detected === "number"
          ? "not yet"
          : "was never out",
    ],
  ];
  return rows.map(([name = "", value = ""]) => `  ${style.bold(name.padEnd(17))}${value}\n`).join("");
}

function isNotBack(report: Record<string, unknown>): boolean {
  return typeof report.detectedAfterMs === "number" && typeof report.recoveredAfterMs !== "number";
}

function numberOf(report: Record<string, unknown>, name: string): number {
  const value = report[name];
  return typeof value === "number" ? value : 0;
}

function textOf(report: Record<string, unknown>, name: string): string {
  const value = report[name];
  return typeof value === "string" || typeof value === "number" ? plainText(String(value)) : "?";
}
