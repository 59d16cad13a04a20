/** `proxima purge`: tells a running node to forget, and shows what it says. */
import { messageOf, ProximaError } from "../base/errors.ts";
import type { ListenAddress } from "../config/address.ts";
import { EXIT, SilentExit, UsageError } from "./failure.ts";
import { isRecord, shown, table } from "./fleet/client.ts";
import { type Io, plainText, styleFor } from "./io.ts";
import { onLoopback } from "./options.ts";

/** Options of the command. */
export interface PurgeCommandOptions {
  readonly control: ListenAddress | URL;
  readonly site?: string;
  readonly tag: readonly string[];
  readonly prefix: readonly string[];
  readonly wildcard: readonly string[];
  readonly host: readonly string[];
  readonly everything?: boolean;
  readonly soft?: boolean;
  readonly wait?: "applied" | "counted";
  /** Longest wait in a fleet, in seconds. */
  readonly timeout?: number;
  readonly json?: boolean;
}

const TIMEOUT_MS = 90_000;

/** Runs the command. Rejects with a UsageError for what the node calls a bad request, else a ProximaError. */
export async function purgeCommand(
  urls: readonly string[],
  options: PurgeCommandOptions,
  io: Io,
): Promise<void> {
  const named = [
    { scope: "url", member: "urls", targets: urls },
    { scope: "tag", member: "tags", targets: options.tag },
    { scope: "prefix", member: "prefixes", targets: options.prefix },
    { scope: "wildcard", member: "patterns", targets: options.wildcard },
    { scope: "host", member: "hosts", targets: options.host },
  ].filter(({ targets }) => targets.length > 0);
  if (named.length + (options.everything === true ? 1 : 0) !== 1) {
    throw new UsageError(
      "name what to purge, one kind at a time: URLs, --tag, --prefix, --wildcard, --host or --everything",
    );
  }
  const [what] = named;
  const body = {
    ...(options.site === undefined ? {} : { site: options.site }),
    scope: what?.scope ?? "everything",
    ...(what === undefined ? {} : { [what.member]: what.targets }),
    mode: options.soft === true ? "soft" : "hard",
  };
  const base =
    options.control instanceof URL ? options.control.origin : `http://${onLoopback(options.control)}`;
  const { status, answer } = await ask(
    `${base}/v1/purges${waitQuery(options)}`,
    base,
    body,
    io.env.PROXIMA_CONTROL_TOKEN,
  );
  const detail = textOf(answer, "detail");
  if (status === 400) throw new UsageError(detail ?? "the node calls the request bad");
  if (status !== 201 && status !== 200)
    throw failed(`the node at ${base} answered ${status}${detail === null ? "" : `: ${detail}`}`);
  const nodes = Array.isArray(answer.nodes) ? answer.nodes.filter(isRecord) : null;
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else if (nodes !== null) io.out(fleetText(answer, nodes, `${body.mode} ${body.scope}`, io.color));
  if (nodes !== null && !nodes.every(({ state }) => isDone(state, options.wait)))
    throw new SilentExit(EXIT.runtime);
  if (options.json === true || nodes !== null) return;
  const counted = answer.counted;
  const objects = typeof counted === "number" ? `, ${counted} object${counted === 1 ? "" : "s"} hit` : "";
  const style = styleFor(io.color);
  io.out(
    `${style.bold(`purge ${textOf(answer, "sequence") ?? ""} applied`)} (${body.mode} ${body.scope})${objects}\n${style.dim(`id ${textOf(answer, "id") ?? ""}`)}\n`,
  );
}

function waitQuery({ wait, timeout }: PurgeCommandOptions): string {
  if (wait === undefined) return "";
  return `?wait=${wait}${timeout === undefined ? "" : `&seconds=${timeout}`}`;
}

/** Has a node done what was waited for? Without a wait it is enough that it can be reached. */
function isDone(state: unknown, wait: "applied" | "counted" | undefined): boolean {
  if (wait === "counted") return state === "counted";
  return state === "applied" || state === "counted" || (wait === undefined && state === "accepted");
}

/** A purge of a fleet, node by node. */
function fleetText(
  answer: Record<string, unknown>,
  nodes: readonly Record<string, unknown>[],
  what: string,
  color: boolean,
): string {
  const style = styleFor(color);
  const after = typeof answer.appliedAfterMs === "number" ? ` after ${answer.appliedAfterMs} ms` : "";
  const rows = nodes.map((node) => [
    shown(node.name),
    shown(node.state),
    node.appliedAfterMs === null ? "-" : `${shown(node.appliedAfterMs)} ms`,
    shown(node.objects),
  ]);
  const head = style.bold(`purge ${shown(answer.sequence)} ${shown(answer.state)}${after}`);
  const list =
    nodes.length === 0
      ? "the fleet has no nodes\n"
      : table(["node", "state", "applied after", "objects"], rows);
  return `${head} (${what})\n${list}${style.dim(`id ${shown(answer.id)}`)}\n`;
}

async function ask(
  url: string,
  base: string,
  body: unknown,
  token: string | undefined,
): Promise<{ status: number; answer: Record<string, unknown> }> {
  try {
    const response = await fetch(url, {
      method: "POST",
      redirect: "manual",
      headers: {
        "content-type": "application/json",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const answer: unknown = await response.json();
    return {
      status: response.status,
      answer: typeof answer === "object" && answer !== null ? { ...answer } : {},
    };
  } catch (error) {
    throw failed(`the control listener at ${base} can not be asked: ${messageOf(error)}`, error);
  }
}

function textOf(answer: Record<string, unknown>, name: string): string | null {
  const value = answer[name];
  return typeof value === "string" || typeof value === "number" ? plainText(String(value)) : null;
}

function failed(message: string, cause?: unknown): ProximaError {
  return new ProximaError("purge_failed", message, { source: "node", cause });
}
