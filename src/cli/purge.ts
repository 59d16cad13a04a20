/** `proxima purge`: tells a running node to forget, and shows what it says. */
import { ProximaError } from "../base/errors.ts";
import { askControl, baseOf, type ControlAddress, isRecord } from "./control-client.ts";
import { EXIT, SilentExit, UsageError } from "./failure.ts";
import { shown, table } from "./fleet/client.ts";
import { type Io, plainText, styleFor } from "./io.ts";

/** Options of the command. */
export interface PurgeCommandOptions {
  /** Asked in this order; the next one only when the one before has purged. */
  readonly control: readonly ControlAddress[];
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
  const answers: Record<string, unknown>[] = [];
  for (const [i, control] of options.control.entries()) {
    try {
      answers.push(await purgeNode(control, body, options, io));
    } catch (error) {
      throw i === 0 && options.control.length === 1 ? error : withRest(error, options.control, i);
    }
  }
  if (options.json === true) {
    // One node answers as it always did.
    io.out(`${JSON.stringify(answers.length === 1 ? answers[0] : answers, null, 2)}\n`);
  } else {
    for (const [i, answer] of answers.entries()) {
      const where = answers.length === 1 ? "" : ` at ${baseOf(options.control[i] as ControlAddress)}`;
      io.out(answerText(answer, where, `${body.mode} ${body.scope}`, io.color));
    }
  }
  const isDoneEverywhere = answers.every(
    (answer) => nodesOf(answer)?.every(({ state }) => isDone(state, options.wait)) ?? true,
  );
  if (!isDoneEverywhere) throw new SilentExit(EXIT.runtime);
}

function waitQuery({ wait, timeout }: PurgeCommandOptions): string {
  if (wait === undefined) return "";
  return `?wait=${wait}${timeout === undefined ? "" : `&seconds=${timeout}`}`;
}

/** The nodes of a fleet, when it is a control plane that answered. */
function nodesOf(answer: Record<string, unknown>): Record<string, unknown>[] | null {
  return Array.isArray(answer.nodes) ? answer.nodes.filter(isRecord) : null;
}

/** Has a node done what was waited for? Without a wait it is enough that it can be reached. */
function isDone(state: unknown, wait: "applied" | "counted" | undefined): boolean {
  if (wait === "counted") return state === "counted";
  return state === "applied" || state === "counted" || (wait === undefined && state === "accepted");
}

function answerText(answer: Record<string, unknown>, where: string, what: string, color: boolean): string {
  const style = styleFor(color);
  const id = style.dim(`id ${textOf(answer, "id") ?? ""}`);
  const nodes = nodesOf(answer);
  const sequence = textOf(answer, "sequence") ?? "";
  if (nodes === null) {
    const { counted } = answer;
    const objects = typeof counted === "number" ? `, ${counted} object${counted === 1 ? "" : "s"} hit` : "";
    return `${style.bold(`purge ${sequence} applied${where}`)} (${what})${objects}\n${id}\n`;
  }
  const after = typeof answer.appliedAfterMs === "number" ? ` after ${answer.appliedAfterMs} ms` : "";
  const rows = nodes.map((node) => [
    shown(node.name),
    shown(node.state),
    node.appliedAfterMs === null ? "-" : `${shown(node.appliedAfterMs)} ms`,
    shown(node.objects),
  ]);
  const list =
    nodes.length === 0
      ? "the fleet has no nodes\n"
      : table(["node", "state", "applied after", "objects"], rows);
  return `${style.bold(`purge ${sequence} ${shown(answer.state)}${after}${where}`)} (${what})\n${list}${id}\n`;
}

/** What a node says that has applied the purge. */
async function purgeNode(
  control: ControlAddress,
  body: object,
  options: PurgeCommandOptions,
  io: Io,
): Promise<Record<string, unknown>> {
  const base = baseOf(control);
  const { status, answer: whole } = await askControl(
    {
      control,
      target: `/v1/purges${waitQuery(options)}`,
      body,
      timeoutMs: TIMEOUT_MS,
      code: "purge_failed",
    },
    io,
  );
  const answer = isRecord(whole) ? whole : {};
  const detail = textOf(answer, "detail");
  if (status === 400) throw new UsageError(detail ?? "the node calls the request bad");
  if (status !== 201 && status !== 200)
    throw failed(`the node at ${base} answered ${status}${detail === null ? "" : `: ${detail}`}`);
  return answer;
}

/** The failure of one of several nodes: what was done before it, and what was not done after it. */
function withRest(error: unknown, controls: readonly ControlAddress[], failed: number): unknown {
  if (!(error instanceof Error)) return error;
  const list = (some: readonly ControlAddress[]) => some.map(baseOf).join(", ");
  const done = failed === 0 ? "" : `; purged: ${list(controls.slice(0, failed))}`;
  const left = failed + 1 === controls.length ? "" : `; not asked: ${list(controls.slice(failed + 1))}`;
  const message = `${error.message}${done}${left}`;
  return error instanceof UsageError
    ? new UsageError(message)
    : new ProximaError("purge_failed", message, { source: "node", cause: error });
}

function textOf(answer: Record<string, unknown>, name: string): string | null {
  const value = answer[name];
  return typeof value === "string" || typeof value === "number" ? plainText(String(value)) : null;
}

function failed(message: string): ProximaError {
  return new ProximaError("purge_failed", message, { source: "node" });
}
