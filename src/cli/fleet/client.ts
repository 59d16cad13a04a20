/** Requests of commands to a control plane, and how they fail. */
import { ProximaError } from "../../base/errors.ts";
import { askControl, detailOf, isRecord } from "../control-client.ts";
import { UsageError } from "../failure.ts";
import { type Io, plainText } from "../io.ts";

/** What commands of a fleet share. */
export interface FleetOptions {
  readonly control: URL;
  readonly json?: boolean;
}

/** A request. */
interface Ask {
  readonly method?: "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs?: number;
  readonly idempotencyKey?: string;
}

const TIMEOUT_MS = 30_000;
const PROBLEMS_SHOWN_MAX = 20;
/** Pages of a list that are read. */
const PAGES_MAX = 1_000;

/** A control plane as a command sees it; the token comes from PROXIMA_CONTROL_TOKEN. */
export class FleetClient {
  readonly #control: URL;
  readonly #io: Io;

  constructor(control: URL, io: Io) {
    this.#control = control;
    this.#io = io;
    if ((io.env.PROXIMA_CONTROL_TOKEN ?? "") === "")
      throw new UsageError("set PROXIMA_CONTROL_TOKEN to a token of the control plane: it always wants one");
  }

  /** The answer's value. Rejects with a UsageError for a request that is wrong, else with a ProximaError. */
  async ask({
    method,
    path,
    body,
    idempotencyKey,
    timeoutMs = TIMEOUT_MS,
  }: Ask): Promise<Record<string, unknown>> {
    const { status, answer } = await askControl(
      {
        control: this.#control,
        target: path,
        timeoutMs,
        code: "control_unreachable",
        ...(method === "DELETE" || method === "PUT" ? { method } : {}),
        ...(body === undefined ? {} : { body }),
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      },
      this.#io,
    );
    const value = isRecord(answer) ? answer : {};
    if (status >= 200 && status < 300) return value;
    const detail = detailOf(answer) ?? "no reason given";
    if (status === 400 || status === 422) throw new UsageError([detail, ...problemsOf(value)].join("; "));
    throw new ProximaError(
      "control_refused",
      `the control plane at ${this.#control.origin} answered ${status}: ${detail}`,
      { source: "node" },
    );
  }

  /** Every item of a list, page by page. */
  async all(path: string): Promise<Record<string, unknown>[]> {
    const items: Record<string, unknown>[] = [];
    let next: string | null = path;
    for (let page = 0; next !== null && page < PAGES_MAX; page++) {
      const answer: Record<string, unknown> = await this.ask({ path: next });
      if (Array.isArray(answer.items)) items.push(...answer.items.filter(isRecord));
      next = typeof answer.next === "string" && answer.next.startsWith("/v1/") ? answer.next : null;
    }
    return items;
  }
}

/** Foreign text for a terminal; "-" for what is not there. */
export function shown(value: unknown): string {
  if (value === null || value === undefined || value === "") return "-";
  return plainText(typeof value === "string" ? value : JSON.stringify(value));
}

/** Rows under a head, in columns. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join("  "),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** Problems beyond the first, which the detail names. */
function problemsOf(value: Record<string, unknown>): string[] {
  const problems = Array.isArray(value.problems) ? value.problems.filter(isRecord).slice(1) : [];
  const lines = problems
    .slice(0, PROBLEMS_SHOWN_MAX)
    .map(({ path, message }) => `${shown(path)}: ${shown(message)}`);
  return problems.length > PROBLEMS_SHOWN_MAX
    ? [...lines, `and ${problems.length - PROBLEMS_SHOWN_MAX} more`]
    : lines;
}
