/** `proxima explain URL`: asks a running node what it would do with a request, and shows the steps. */
import { messageOf, ProximaError } from "../base/errors.ts";
import type { ListenAddress } from "../config/address.ts";
import { UsageError } from "./failure.ts";
import { type Io, plainText, styleFor } from "./io.ts";
import { onLoopback } from "./options.ts";

/** Options of the command. */
export interface ExplainCommandOptions {
  /** An address, or an http(s) URL of a control listener. */
  readonly control: ListenAddress | URL;
  readonly header: readonly string[];
  readonly method?: string;
  readonly json?: boolean;
}

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 4 * 1_024 * 1_024;
const VALUE_LENGTH_MAX = 500;

/** Runs the command. Rejects with a UsageError for what the node calls a bad request, else a ProximaError. */
export async function explainCommand(url: string, options: ExplainCommandOptions, io: Io): Promise<void> {
  const parsed = URL.parse(url);
  if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    throw new UsageError(`${JSON.stringify(plainText(url))} is not a URL; write http(s)://host/path`);
  }
  const base =
    options.control instanceof URL ? options.control.origin : `http://${onLoopback(options.control)}`;
  const query = new URLSearchParams({ url });
  if (options.method !== undefined) query.set("method", options.method);
  for (const line of options.header) query.append("header", line);
  const { status, text } = await ask(`${base}/v1/explain?${query}`, base, io.env.PROXIMA_CONTROL_TOKEN);
  const answer = readJson(text, base);
  if (status === 400) throw new UsageError(detailOf(answer) ?? "the node calls the request bad");
  if (status !== 200) {
    const detail = detailOf(answer);
    throw failed(`the node at ${base} answered ${status}${detail === null ? "" : `: ${detail}`}`);
  }
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else io.out(formatExplanation(answer, io.color));
}

async function ask(
  url: string,
  base: string,
  token: string | undefined,
): Promise<{ status: number; text: string }> {
  try {
    const response = await fetch(url, {
      redirect: "manual",
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const bytes: Uint8Array[] = [];
    let size = 0;
    for await (const piece of response.body ?? []) {
      size += piece.byteLength;
      if (size > ANSWER_BYTES_MAX) throw new Error("its answer is too long");
      bytes.push(piece);
    }
    return { status: response.status, text: Buffer.concat(bytes).toString("utf8") };
  } catch (error) {
    if (error instanceof Error && error.name === "TimeoutError") {
      throw failed(`the control listener at ${base} did not answer within ${TIMEOUT_MS / 1_000} s`, error);
    }
    const refused =
      error instanceof Error && "code" in error && /ECONNREFUSED|ConnectionRefused/.test(String(error.code));
    throw failed(
      refused
        ? `nothing listens at ${base}; start proxima, or name its control listener with --control`
        : `the control listener at ${base} can not be asked: ${messageOf(error)}`,
      error,
    );
  }
}

function readJson(text: string, base: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw failed(`what listens at ${base} is not a proxima control listener`, error);
  }
}

function failed(message: string, cause?: unknown): ProximaError {
  return new ProximaError("explain_failed", message, { source: "node", cause });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function detailOf(answer: unknown): string | null {
  return isRecord(answer) && typeof answer.detail === "string" ? plainText(answer.detail) : null;
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
