/** `proxima rollouts`, and the options by which `activate` and `apply` go to some of the nodes first. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { ProximaError } from "../../base/errors.ts";
import { isRecord } from "../control-client.ts";
import { EXIT, SilentExit, UsageError } from "../failure.ts";
import { type Io, styleFor } from "../io.ts";
import { FleetClient, type FleetOptions, shown, table } from "./client.ts";
import type { Shared } from "./commands.ts";

/** How a roll-out is to go, as given. */
export interface RolloutOptions {
  readonly stages?: readonly number[];
  readonly nodes?: readonly string[];
  readonly hold?: number;
  readonly maxErrorRate?: number;
  readonly maxErrorIncrease?: number;
  readonly minRequests?: number;
}

const LOOK_EVERY_MS = 500;
/** For how long a command that waits goes on when the control plane can not be reached: a roll-out outlives its restart. */
const AWAY_MS_MAX = 60_000;
const EVENT_TIME = /T(\d\d:\d\d:\d\d)/;

/** Adds the options. */
export function rolloutOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--stages <LIST>", "go to so many of the nodes first: 10%,50%,100%").argParser(readStages),
    )
    .addOption(
      new Option("--nodes <LIST>", "the nodes to begin with: edge-1,edge-2").argParser((text) =>
        text.split(",").map((one) => one.trim()),
      ),
    )
    .addOption(
      new Option("--hold <SECONDS>", "how long each stage is watched; 60 when left out").argParser(
        readSeconds,
      ),
    )
    .addOption(
      new Option("--max-error-rate <SHARE>", "go back when more requests fail; 5% when left out").argParser(
        readShare,
      ),
    )
    .addOption(
      new Option(
        "--max-error-increase <FACTOR>",
        "go back when so many times as many fail as elsewhere; 2 when left out",
      ).argParser(readFactor),
    )
    .addOption(
      new Option(
        "--min-requests <N>",
        "requests without which nothing is concluded; 50 when left out",
      ).argParser(readCount),
    );
}

/** The roll-out that the options ask for, as a member of a request; nothing when they ask for none. */
export function rolloutOf(options: RolloutOptions): { rollout?: Record<string, unknown> } {
  const { stages, nodes, hold, maxErrorRate, maxErrorIncrease, minRequests } = options;
  const limits = Object.fromEntries(
    Object.entries({ holdSeconds: hold, maxErrorRate, maxErrorIncrease, minRequests }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  if (stages === undefined && nodes === undefined) {
    if (Object.keys(limits).length > 0)
      throw new UsageError("--hold and the limits are about a roll-out: give --stages or --nodes too");
    return {};
  }
  return { rollout: { ...limits, ...(stages && { stages }), ...(nodes && { nodes }) } };
}

/** Tells of a roll-out that has begun; with --wait until it has ended, with status 1 when it went back. */
export async function followRollout(
  client: FleetClient,
  begun: Record<string, unknown>,
  options: FleetOptions & { readonly wait?: boolean },
  io: Io,
): Promise<void> {
  let rollout = begun;
  if (options.json !== true)
    io.out(`${styleFor(io.color).bold(`roll-out ${shown(rollout.id)} has begun`)}\n`);
  let told = 0;
  while (options.wait === true) {
    const events = Array.isArray(rollout.events) ? rollout.events.filter(isRecord) : [];
    for (const event of events.slice(told)) io.err(`${eventLine(event)}\n`);
    told = events.length;
    if (rollout.endedAt !== null) break;
    await Bun.sleep(LOOK_EVERY_MS);
    rollout = await lookAgain(client, String(rollout.id));
  }
  if (options.json === true) io.out(`${JSON.stringify(rollout, null, 2)}\n`);
  if (options.wait === true && rollout.state !== "completed") throw new SilentExit(EXIT.runtime);
}

/** The roll-out as it is now. While the control plane is away it is asked again; after AWAY_MS_MAX it rejects. */
async function lookAgain(client: FleetClient, id: string): Promise<Record<string, unknown>> {
  const endMs = performance.now() + AWAY_MS_MAX;
  for (;;) {
    try {
      return await client.ask({ path: `/v1/rollouts/${encodeURIComponent(id)}` });
    } catch (error) {
      if (!(error instanceof ProximaError) || error.code !== "control_unreachable") throw error;
      if (performance.now() >= endMs)
        throw new ProximaError(
          error.code,
          `${error.message}; roll-out ${shown(id)} goes on when it is back: see "proxima rollouts show ${shown(id)}"`,
          { source: "node", cause: error },
        );
      await Bun.sleep(LOOK_EVERY_MS);
    }
  }
}

/** Adds `proxima rollouts`. */
export function addRolloutCommands(root: Command, io: Io, shared: Shared): void {
  const rollouts = root.command("rollouts").description("work with staged roll-outs");
  shared(rollouts.command("list").description("list roll-outs, the newest first"), "rollouts list").action(
    async (options: FleetOptions) => {
      const items = await new FleetClient(options.control, io).all("/v1/rollouts?limit=500");
      if (options.json === true) io.out(`${JSON.stringify(items, null, 2)}\n`);
      else
        io.out(
          table(
            ["id", "sites", "state", "stage", "begun", "reason"],
            items.map((one) => [
              shown(one.id),
              sitesText(one.sites),
              shown(one.state),
              stageText(one),
              shown(one.createdAt),
              shown(one.reason),
            ]),
          ),
        );
    },
  );
  shared(
    rollouts.command("show").description("show a roll-out").argument("<ID>"),
    "rollouts show ro_0123456789ab",
  ).action(async (id: string, options: FleetOptions) => {
    const one = await new FleetClient(options.control, io).ask({
      path: `/v1/rollouts/${encodeURIComponent(id)}`,
    });
    io.out(options.json === true ? `${JSON.stringify(one, null, 2)}\n` : rolloutText(one));
  });
  const act = (name: string, description: string, bodyOf: (all: boolean) => unknown): Command =>
    shared(
      rollouts.command(name).description(description).argument("<ID>"),
      `rollouts ${name} ro_0123456789ab`,
    ).action(async (id: string, options: FleetOptions & { all?: boolean }) => {
      const one = await new FleetClient(options.control, io).ask({
        method: "POST",
        path: `/v1/rollouts/${encodeURIComponent(id)}/${name}`,
        body: bodyOf(options.all === true),
      });
      if (options.json === true) io.out(`${JSON.stringify(one, null, 2)}\n`);
      else io.out(`${shown(one.id)} is ${shown(one.state)}, stage ${stageText(one)}\n`);
    });
  act("pause", "have it stay in its stage; it still goes back by itself", () => ({}));
  act("resume", "take that back", () => ({}));
  act("promote", "go on to the next stage now", (all) => (all ? { all } : {})).option(
    "--all",
    "to the end at once",
  );
  act("abort", "end it: every node goes back to the versions of before", () => ({}));
}

function rolloutText(one: Record<string, unknown>): string {
  const counts = isRecord(one.counts) ? one.counts : {};
  const count = (name: string): string => {
    const of = isRecord(counts[name]) ? counts[name] : {};
    return `${shown(of.errors)} of ${shown(of.requests)}`;
  };
  const nodes = Array.isArray(one.nodes) ? one.nodes.filter(isRecord) : [];
  const events = Array.isArray(one.events) ? one.events.filter(isRecord) : [];
  const lines = [
    `${shown(one.id)}  ${sitesText(one.sites)}`,
    `${shown(one.state)}, stage ${stageText(one)}${one.reason === null ? "" : `: ${shown(one.reason)}`}`,
    `failed: ${count("candidate")} with it, ${count("rest")} on the other nodes, ${count("before")} before`,
    ...events.map(eventLine),
  ];
  const rows = nodes.map((node) => [
    shown(node.name),
    shown(node.state),
    shown(node.requests),
    shown(node.errors),
    shown(node.problem),
  ]);
  const nodesText = rows.length === 0 ? "" : table(["node", "state", "requests", "failed", "problem"], rows);
  return `${lines.join("\n")}\n${nodesText}`;
}

function eventLine({ at, what, detail }: Record<string, unknown>): string {
  return `${EVENT_TIME.exec(shown(at))?.[1] ?? ""}  ${shown(what)}${detail === "" ? "" : `  ${shown(detail)}`}`;
}

function stageText({ stage, stages }: Record<string, unknown>): string {
  const names = Array.isArray(stages) ? stages : [];
  return `${shown(stage)} of ${names.length} (${shown(names[Number(stage) - 1])})`;
}

function sitesText(sites: unknown): string {
  if (!isRecord(sites)) return "-";
  return Object.entries(sites)
    .map(([id, one]) => (isRecord(one) ? `${shown(id)} ${shown(one.from)} -> ${shown(one.to)}` : shown(id)))
    .join(", ");
}

function readStages(text: string): number[] {
  return text.split(",").map((one) => {
    const match = /^\s*(\d{1,3}(?:\.\d{1,3})?)\s*%?\s*$/.exec(one);
    if (match === null) throw new InvalidArgumentError("Expected percentages such as 10%,50%,100%.");
    return Number(match[1]);
  });
}

function readSeconds(text: string): number {
  const match = /^(\d{1,7})\s*(s|m|h)?$/.exec(text);
  if (match === null) throw new InvalidArgumentError("Expected seconds, or such as 60s, 10m, 2h.");
  return Number(match[1]) * (match[2] === "h" ? 3_600 : match[2] === "m" ? 60 : 1);
}

function readShare(text: string): number {
  const match = /^(\d{1,3}(?:\.\d{1,6})?)(%)?$/.exec(text);
  const share = match === null ? -1 : Number(match[1]) / (match[2] === "%" ? 100 : 1);
  if (share < 0 || share > 1) throw new InvalidArgumentError("Expected a share such as 5% or 0.05.");
  return share;
}

function readFactor(text: string): number {
  const factor = Number(text);
  if (!/^\d{1,4}(?:\.\d{1,3})?$/.test(text) || factor < 1)
    throw new InvalidArgumentError("Expected a number from 1.");
  return factor;
}

function readCount(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}
