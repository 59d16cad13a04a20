/** `proxima alert list` and `proxima alert test`: what fires on a running node, and whether its channels deliver. */
import type { Command } from "commander";
import { ProximaError } from "../base/errors.ts";
import {
  askControl,
  baseOf,
  type ControlAddress,
  controlOption,
  detailOf,
  isRecord,
} from "./control-client.ts";
import { EXIT, SilentExit, UsageError } from "./failure.ts";
import { type Io, plainText, styleFor } from "./io.ts";

interface AlertOptions {
  readonly control: ControlAddress;
  readonly json?: boolean;
}

interface AlertTestOptions extends AlertOptions {
  readonly to?: string;
}

const LIST_TIMEOUT_MS = 10_000;
/** The slowest channel is a mail server that answers each step at the last moment. */
const TEST_TIMEOUT_MS = 90_000;

/** Adds the commands to the program. */
export function addAlertCommand(root: Command, io: Io, exitHelp: string): void {
  const alert = root.command("alert").description("alerts of a running node");
  alert
    .command("test")
    .description("have a running node send a test to its alert channels, and say how each ended")
    .option("--to <NAME>", "this channel only")
    .addOption(controlOption())
    .option("--json", "print the node's answer as JSON")
    .addHelpText(
      "after",
      `
The status is 0 only when every channel took it.

Examples:
  $ proxima alert test
  $ proxima alert test --to ops
${exitHelp}`,
    )
    .action((options: AlertTestOptions) => alertTestCommand(options, io));
  alert
    .command("list")
    .description("show what fires on a running node, and how its channels stand")
    .addOption(controlOption())
    .option("--json", "print the node's answer as JSON")
    .addHelpText("after", `\nExample:\n  $ proxima alert list --control 127.0.0.1:9081\n${exitHelp}`)
    .action((options: AlertOptions) => alertListCommand(options, io));
}

async function alertTestCommand(options: AlertTestOptions, io: Io): Promise<void> {
  const body = options.to === undefined ? {} : { to: options.to };
  const answer = await ask(options.control, "/v1/alerts/test", TEST_TIMEOUT_MS, io, body);
  const results = listOf(answer, "results");
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else {
    const style = styleFor(io.color);
    const width = Math.max(...results.map((one) => text(one.channel).length), 0) + 2;
    for (const one of results) {
      const how = one.delivered === true ? "delivered" : `not delivered: it ${text(one.problem)}`;
      io.out(`${style.bold(text(one.channel).padEnd(width))}${text(one.kind).padEnd(9)}${how}\n`);
    }
  }
  if (!results.every(({ delivered }) => delivered === true)) throw new SilentExit(EXIT.runtime);
}

async function alertListCommand(options: AlertOptions, io: Io): Promise<void> {
  const answer = await ask(options.control, "/v1/alerts", LIST_TIMEOUT_MS, io);
  if (options.json === true) {
    io.out(`${JSON.stringify(answer, null, 2)}\n`);
    return;
  }
  const style = styleFor(io.color);
  const firing = listOf(answer, "firing");
  const channels = listOf(answer, "channels");
  io.out(firing.length === 0 ? "nothing fires\n" : "");
  for (const one of firing)
    io.out(
      `${style.bold(text(one.severity).padEnd(10))}${text(one.summary)} ${style.dim(`since ${text(one.since)}`)}\n`,
    );
  io.out(channels.length === 0 ? "there are no channels (alerts.channels)\n" : "\n");
  for (const one of channels) {
    const waiting = Number(one.waiting) > 0 ? `, ${text(one.waiting)} waiting` : "";
    const problem = one.problem === null ? "" : `, it ${text(one.problem)}`;
    io.out(
      `${style.bold(text(one.name))} ${text(one.kind)}: ${text(one.delivered)} delivered${waiting}${problem}\n`,
    );
  }
}

async function ask(
  control: ControlAddress,
  target: string,
  timeoutMs: number,
  io: Io,
  body?: unknown,
): Promise<unknown> {
  const { status, answer } = await askControl({ control, target, timeoutMs, body, code: "alert_failed" }, io);
  const detail = detailOf(answer);
  if (status === 400) throw new UsageError(detail ?? "the node calls the request bad");
  if (status === 200) return answer;
  throw new ProximaError(
    "alert_failed",
    `the node at ${baseOf(control)} answered ${status}${detail === null ? "" : `: ${detail}`}`,
    { source: "node" },
  );
}

/** The objects of a list in what a node sent, whatever its version. */
function listOf(answer: unknown, name: string): Record<string, unknown>[] {
  const list = isRecord(answer) ? answer[name] : undefined;
  return Array.isArray(list) ? list.filter(isRecord) : [];
}

function text(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? plainText(String(value)) : "-";
}
