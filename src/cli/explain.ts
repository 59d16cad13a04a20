/** `proxima explain URL`: asks a running node what it would do with a request, and shows the steps. */
import { ProximaError } from "../base/errors.ts";
import { askControl, baseOf, type ControlAddress, detailOf, isRecord } from "./control-client.ts";
import { UsageError } from "./failure.ts";
import { type Io, plainText, styleFor } from "./io.ts";

/** Options of the command. */
export interface ExplainCommandOptions {
  readonly control: ControlAddress;
  readonly header: readonly string[];
  readonly method?: string;
  readonly json?: boolean;
}

const TIMEOUT_MS = 10_000;
const VALUE_LENGTH_MAX = 500;

/** Runs the command. Rejects with a UsageError for what the node calls a bad request, else a ProximaError. */
export async function explainCommand(url: string, options: ExplainCommandOptions, io: Io): Promise<void> {
  const parsed = URL.parse(url);
  if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    throw new UsageError(`${JSON.stringify(plainText(url))} is not a URL; write http(s)://host/path`);
  }
  const query = new URLSearchParams({ url });
  if (options.method !== undefined) query.set("method", options.method);
  for (const line of options.header) query.append("header", line);
  const { status, answer } = await askControl(
    {
      control: options.control,
      target: `/v1/explain?${query}`,
      timeoutMs: TIMEOUT_MS,
      code: "explain_failed",
    },
    io,
  );
  if (status === 400) throw new UsageError(detailOf(answer) ?? "the node calls the request bad");
  if (status !== 200) {
    const detail = detailOf(answer);
    throw new ProximaError(
      "explain_failed",
      `the node at ${baseOf(options.control)} answered ${status}${detail === null ? "" : `: ${detail}`}`,
      { source: "node" },
    );
  }
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else io.out(formatExplanation(answer, io.color));
}

/** The steps for a person: one line each, details below. Takes what a node sent, whatever its version. */
export function formatExplanation(answer: unknown, color: boolean): string {
  const style = styleFor(color);
  const record = isRecord(answer) ? answer : {};
  const lines = [style.bold(show(record.url)), ""];
  const steps = Array.isArray(record.steps) ? record.steps.filter(isRecord) : [];
  const width = Math.max(9, ...steps.map((step) => show(step.step).length)) + 2;
  for (const step of steps) {
    lines.push(`  ${style.bold(show(step.step).padEnd(width))}${show(step.outcome)}`);
    if (!isRecord(step.details)) continue;
    for (const [name, value] of Object.entries(step.details)) {
      if (isRecord(value) && Object.keys(value).length > 0) {
        lines.push(style.dim(`${" ".repeat(width + 2)}${plainText(name)}:`));
        for (const [inner, one] of Object.entries(value)) {
          lines.push(style.dim(`${" ".repeat(width + 4)}${plainText(inner)}: ${show(one)}`));
        }
      } else {
        lines.push(style.dim(`${" ".repeat(width + 2)}${plainText(name)}: ${show(value)}`));
      }
    }
  }
  const would = isRecord(record.would) ? record.would : {};
  lines.push("", `  ${style.bold("now".padEnd(width))}${show(would.result)} (${show(would.reason)})`, "");
  return lines.join("\n");
}

function show(value: unknown): string {
  const text =
    value === null || value === undefined
      ? "-"
      : typeof value === "string"
        ? value
        : Array.isArray(value) && value.every((item) => typeof item !== "object")
          ? value.length === 0
            ? "none"
            : value.join(", ")
          : JSON.stringify(value);
  const plain = plainText(text);
  return plain.length > VALUE_LENGTH_MAX ? `${plain.slice(0, VALUE_LENGTH_MAX)}...` : plain;
}
