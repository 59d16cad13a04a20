/** `proxima plan` and `proxima apply`: config as code. The file is read and evaluated here; JSON is sent. */
import { ConfigLoader } from "../../config/load.ts";
import { formatProblems } from "../../config/problems.ts";
import { isRecord } from "../control-client.ts";
import { EXIT, SilentExit, UsageError } from "../failure.ts";
import { type Io, styleFor } from "../io.ts";
import { FleetClient, type FleetOptions, shown, table } from "./client.ts";
import { followRollout, type RolloutOptions, rolloutOf } from "./rollouts.ts";

/** Options of both. */
export interface DeployOptions extends FleetOptions, RolloutOptions {
  readonly prune?: boolean;
  readonly expect?: number;
  readonly note?: string;
  /** False: does not ask what of the stored answers would be lost. */
  readonly orphans?: boolean;
  /** Waits for the nodes. */
  readonly wait?: boolean;
}

/** Sending and checking many sites takes its time. */
const DEPLOY_MS_MAX = 120_000;
const WAIT_MS_MAX = 60_000;
const LOOK_EVERY_MS = 200;
const DIFFERENCES_SHOWN_MAX = 50;

/** Shows what an application would do; ends with status 3 when that is something. */
export async function planCommand(file: string, options: DeployOptions, io: Io): Promise<void> {
  const client = new FleetClient(options.control, io);
  const plan = await client.ask({
    method: "POST",
    path: "/v1/plan",
    body: { ...(await requestOf(file, options)), ...(options.orphans === false ? {} : { orphans: true }) },
    timeoutMs: DEPLOY_MS_MAX,
  });
  io.out(options.json === true ? `${JSON.stringify(plan, null, 2)}\n` : planText(plan, io.color));
  if (changesOf(plan).some(({ action }) => action !== "none")) throw new SilentExit(EXIT.different);
}

/** Makes it so. With --wait it ends when every node that can be reached has it, with status 1 when one has not. */
export async function applyCommand(file: string, options: DeployOptions, io: Io): Promise<void> {
  const client = new FleetClient(options.control, io);
  const answer = await client.ask({
    method: "POST",
    path: "/v1/apply",
    body: await requestOf(file, options),
    timeoutMs: DEPLOY_MS_MAX,
  });
  const number =
    isRecord(answer.snapshot) && typeof answer.snapshot.number === "number" ? answer.snapshot.number : null;
  if (isRecord(answer.rollout)) {
    if (options.json !== true) io.out(planText(isRecord(answer.plan) ? answer.plan : {}, io.color));
    await followRollout(client, answer.rollout, options, io);
    return;
  }
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else {
    io.out(planText(isRecord(answer.plan) ? answer.plan : {}, io.color));
    if (number !== null) io.out(`${styleFor(io.color).bold(`snapshot ${number} is in force`)}\n`);
  }
  if (options.wait === true && number !== null) await waitForNodes(client, number, io);
}

/** Waits until every node has a snapshot; nodes that can not be reached, or refuse it, are told and make status 1. */
export async function waitForNodes(client: FleetClient, number: number, io: Io): Promise<void> {
  const endMs = performance.now() + WAIT_MS_MAX;
  for (;;) {
    const nodes = await client.all("/v1/nodes?limit=500");
    const rows = nodes.map((node) => {
      const report = isRecord(node.report) && isRecord(node.report.snapshot) ? node.report.snapshot : {};
      const has = typeof report.number === "number" && report.number >= number;
      const state =
        node.state !== "reachable"
          ? "unreachable"
          : has
            ? "in force"
            : report.problem === null
              ? "waiting"
              : "refused";
      return { name: shown(node.name), state, problem: shown(report.problem) };
    });
    const isOpen = rows.some(({ state }) => state === "waiting");
    if (isOpen && performance.now() < endMs) {
      await Bun.sleep(LOOK_EVERY_MS);
      continue;
    }
    io.err(
      table(
        ["node", `snapshot ${number}`, "problem"],
        rows.map((row) => [row.name, row.state, row.problem]),
      ),
    );
    if (rows.some(({ state }) => state !== "in force")) throw new SilentExit(EXIT.runtime);
    return;
  }
}

async function requestOf(file: string, options: DeployOptions): Promise<Record<string, unknown>> {
  const loader = new ConfigLoader(file, process.env, true);
  const loaded = await loader.load();
  if (!loaded.ok) throw new UsageError(formatProblems(file, loaded.problems).replaceAll("\n", "; "));
  // As its author wrote it: defaults are each node's own matter, and a difference is one of the text.
  const sites = isRecord(loader.value) && isRecord(loader.value.sites) ? loader.value.sites : {};
  return {
    sites,
    ...(options.prune === true ? { prune: true } : {}),
    ...(options.expect === undefined ? {} : { expectedSnapshot: options.expect }),
    ...(options.note === undefined ? {} : { note: options.note }),
    ...rolloutOf(options),
  };
}

function changesOf(plan: Record<string, unknown>): Record<string, unknown>[] {
  return Array.isArray(plan.changes) ? plan.changes.filter(isRecord) : [];
}

const MARKS: Readonly<Record<string, string>> = { create: "+", update: "~", delete: "-", none: " " };

function planText(plan: Record<string, unknown>, color: boolean): string {
  const style = styleFor(color);
  const lines: string[] = [];
  const changes = changesOf(plan);
  for (const change of changes) {
    const action = String(change.action);
    if (action !== "none") lines.push(`${MARKS[action] ?? "?"} ${style.bold(shown(change.site))}  ${action}`);
    const differences = Array.isArray(change.differences) ? change.differences.filter(isRecord) : [];
    for (const { path, kind, before, after } of differences.slice(0, DIFFERENCES_SHOWN_MAX)) {
      const what =
        kind === "added"
          ? `+ ${short(after)}`
          : kind === "removed"
            ? `- ${short(before)}`
            : `${short(before)} -> ${short(after)}`;
      lines.push(`    ${shown(path)}: ${what}`);
    }
    const hidden =
      Math.max(0, differences.length - DIFFERENCES_SHOWN_MAX) + Number(change.moreDifferences ?? 0);
    if (hidden > 0) lines.push(`    and ${hidden} more`);
    for (const warning of Array.isArray(change.warnings) ? change.warnings.filter(isRecord) : [])
      lines.push(style.dim(`    warning: ${shown(warning.path)}: ${shown(warning.message)}`));
  }
  for (const { site, behaviors, answered, asked } of Array.isArray(plan.orphans)
    ? plan.orphans.filter(isRecord)
    : []) {
    for (const { path, stored, orphaned } of Array.isArray(behaviors) ? behaviors.filter(isRecord) : [])
      if (Number(orphaned) > 0)
        lines.push(
          `${style.bold(`${shown(site)} ${shown(path)}`)}: cache key changes: ${grouped(orphaned)} of ${grouped(stored)} stored objects (${Math.round((100 * Number(orphaned)) / Math.max(1, Number(stored)))} %) would be orphaned`,
        );
    if (answered !== asked)
      lines.push(style.dim(`    ${shown(site)}: ${shown(answered)} of ${shown(asked)} nodes have answered`));
  }
  const count = (action: string) => changes.filter((change) => change.action === action).length;
  const sum = ["create", "update", "delete"].map((action) => `${count(action)} to ${action}`).join(", ");
  lines.push(
    changes.every(({ action }) => action === "none")
      ? `nothing to do: snapshot ${shown(plan.snapshot)} is as the file says`
      : sum,
  );
  return `${lines.join("\n")}\n`;
}

function grouped(value: unknown): string {
  return Number(value).toLocaleString("en-GB");
}

function short(value: unknown): string {
  const text = shown(JSON.stringify(value));
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}
