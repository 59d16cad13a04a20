/** Commands of a fleet: plan and apply, versions, nodes, tokens. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { isRecord } from "../control-client.ts";
import { type Io, styleFor } from "../io.ts";
import { addPushCommands } from "../push/command.ts";
import { FleetClient, type FleetOptions, shown, table } from "./client.ts";
import type { DeployOptions } from "./deploy.ts";
import { addHookCommands, addWebhookCommands } from "./hooks.ts";
import {
  addRolloutCommands,
  followRollout,
  type RolloutOptions,
  rolloutOf,
  rolloutOptions,
} from "./rollouts.ts";

const DEFAULT_CONTROL = "http://127.0.0.1:8090";
const LIST = "?limit=500";

/** Adds them. `help` is told below each one's own. */
export function addFleetCommands(root: Command, io: Io, help: string): void {
  const note = `
PROXIMA_CONTROL_TOKEN is the token that is sent; NODE_EXTRA_CA_CERTS names a file of further authorities.
${help}`;
  const shared = (command: Command, example: string): Command =>
    command
      .addOption(
        new Option("--control <URL>", "the control plane")
          .default(new URL(DEFAULT_CONTROL), DEFAULT_CONTROL)
          .argParser(readUrl),
      )
      .option("--json", "print the answer as JSON")
      .addHelpText("after", `\nExample:\n  $ proxima ${example}\n${note}`);

  addDeployCommands(root, io, shared);
  addVersionCommands(root, io, shared);
  addRolloutCommands(root, io, shared);
  addHookCommands(root, io, shared);
  addWebhookCommands(root, io, shared);
  addNodeCommands(root, io, shared);
  addTokenCommands(root, io, shared);
  addPushCommands(root, io, shared);
}

/** Options of a new token. */
interface NewToken {
  readonly scope: string[];
  readonly site: string[];
  readonly host: string[];
  readonly expires?: number;
  readonly accessKey?: boolean;
}

/** Gives a command what all of them share. */
export type Shared = (command: Command, example: string) => Command;

function addDeployCommands(root: Command, io: Io, shared: Shared): void {
  const deploy = (name: string, description: string, example: string): Command =>
    shared(
      root
        .command(name)
        .description(description)
        .argument("<FILE>", "a config whose sites are meant: .ts, .js, .json or .yaml")
        .option("--prune", "end sites that are active and not in the file"),
      example,
    );
  deploy(
    "plan",
    "show what is different between a file and the fleet; status 3 when something is",
    "plan sites.ts --control https://control.example:8090",
  )
    .option("--no-orphans", "do not ask nodes how much of what they have stored would be lost")
    .action(async (file: string, options: DeployOptions) => {
      const { planCommand } = await import("./deploy.ts");
      await planCommand(file, options, io);
    });
  rolloutOptions(
    deploy(
      "apply",
      "make the fleet as a file says, in one snapshot",
      "apply sites.ts --wait --note 'new origin'",
    ),
  )
    .addOption(
      new Option("--expect <SNAPSHOT>", "do nothing when another snapshot is in force").argParser(readNumber),
    )
    .option("--note <TEXT>", "why, for the list of versions")
    .option("--wait", "wait until every node has it; status 1 when one has not")
    .action(async (file: string, options: DeployOptions) => {
      const { applyCommand } = await import("./deploy.ts");
      await applyCommand(file, options, io);
    });
}

function addVersionCommands(root: Command, io: Io, shared: Shared): void {
  shared(root.command("sites").description("list the sites of the fleet"), "sites").action(
    (options: FleetOptions) =>
      list(io, options, `/v1/sites${LIST}`, ["site", "active", "newest", "hosts"], (site) => [
        shown(site.id),
        shown(site.activeVersion),
        shown(site.newestVersion),
        Array.isArray(site.hosts) ? site.hosts.map(shown).join(" ") : "-",
      ]),
  );
  shared(
    root.command("versions").description("list the versions of a site").argument("<SITE>"),
    "versions shop",
  ).action(async (site: string, options: FleetOptions) => {
    const open = (await new FleetClient(options.control, io).all("/v1/rollouts?limit=500")).filter(
      ({ endedAt }) => endedAt === null,
    );
    const state = (one: Record<string, unknown>): string => {
      if (one.active === true) return "yes";
      const rollout = open.find(
        ({ sites }) => isRecord(sites) && isRecord(sites[site]) && sites[site].to === one.number,
      );
      if (rollout === undefined) return "";
      const stage = Array.isArray(rollout.stages) ? rollout.stages[Number(rollout.stage) - 1] : null;
      return `${shown(rollout.id)}, ${shown(stage)}${rollout.state === "paused" ? ", paused" : ""}`;
    };
    await list(
      io,
      options,
      `/v1/sites/${encodeURIComponent(site)}/versions${LIST}`,
      ["version", "active", "made", "by", "note"],
      (one) => [shown(one.number), state(one), shown(one.createdAt), shown(one.createdBy), shown(one.note)],
    );
  });
  rolloutOptions(
    shared(
      root
        .command("activate")
        .description("put a version of a site in force")
        .argument("<SITE>")
        .argument("<VERSION>", "its number", readNumber)
        .option("--wait", "wait until every node has it; status 1 when one has not, or it went back"),
      "activate shop 3 --stages 10%,50%,100% --hold 120 --wait",
    ),
  ).action((site: string, version: number, options: FleetOptions & RolloutOptions & { wait?: boolean }) =>
    activate(io, options, `/v1/sites/${encodeURIComponent(site)}/activate`, {
      version,
      ...rolloutOf(options),
    }),
  );
  shared(
    root
      .command("rollback")
      .description("put the older version of a site in force that was active before")
      .argument("<SITE>")
      .option("--wait", "wait until every node has it"),
    "rollback shop --wait",
  ).action((site: string, options: FleetOptions & { wait?: boolean }) =>
    activate(io, options, `/v1/sites/${encodeURIComponent(site)}/rollback`, {}),
  );
}

function addNodeCommands(root: Command, io: Io, shared: Shared): void {
  const nodes = root.command("nodes").description("work with the nodes of the fleet");
  shared(nodes.command("list").description("list nodes"), "nodes list").action((options: FleetOptions) =>
    list(
      io,
      options,
      `/v1/nodes${LIST}`,
      ["node", "state", "snapshot", "applied", "version", "ready", "address"],
      (node) => {
        const report = isRecord(node.report) ? node.report : {};
        const snapshot = isRecord(report.snapshot) ? report.snapshot.number : null;
        const ready = isRecord(report.ready) && report.ready.ready === true ? "yes" : "no";
        const state = `${shown(node.state)}${node.drained === true ? ", drained" : ""}`;
        return [
          shown(node.name),
          state,
          shown(snapshot),
          shown(node.applied),
          shown(report.version),
          ready,
          shown(node.address),
        ];
      },
    ),
  );
  shared(
    nodes
      .command("invite")
      .description("make a token by which one node can join; it is printed alone")
      .addOption(
        new Option("--valid <SECONDS>", "how long it is good for").default(3_600).argParser(readNumber),
      ),
    "nodes invite",
  ).action(async (options: FleetOptions & { valid: number }) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "POST",
      path: "/v1/join-tokens",
      body: { validSeconds: options.valid },
    });
    io.out(options.json === true ? `${JSON.stringify(answer, null, 2)}\n` : `${shown(answer.secret)}\n`);
  });
  const act = (name: string, description: string, method: "POST" | "DELETE", suffix: string): void => {
    shared(
      nodes.command(name).description(description).argument("<NODE>", "name or id"),
      `nodes ${name} edge-1`,
    ).action(async (node: string, options: FleetOptions) => {
      const answer = await new FleetClient(options.control, io).ask({
        method,
        path: `/v1/nodes/${encodeURIComponent(node)}${suffix}`,
        ...(method === "POST" ? { body: {} } : {}),
      });
      if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
      else
        io.out(
          `${shown(answer.name)} is ${shown(answer.state)}${answer.drained === true ? ", drained" : ""}\n`,
        );
    });
  };
  act("drain", "have a node say that it is not ready; it goes on to serve", "POST", "/drain");
  act("resume", "take that back", "POST", "/resume");
  act("remove", "remove a node from the fleet; it keeps serving what it has", "DELETE", "");
}

function addTokenCommands(root: Command, io: Io, shared: Shared): void {
  const tokens = root.command("tokens").description("work with the tokens of the control plane");
  const collect = (value: string, before: readonly string[]): string[] => [...before, value];
  shared(tokens.command("list").description("list tokens, without their secrets"), "tokens list").action(
    (options: FleetOptions) =>
      list(
        io,
        options,
        "/v1/tokens",
        ["id", "name", "scopes", "sites", "hosts", "expires", "revoked", "used"],
        (token) => [
          shown(token.id),
          shown(token.name),
          Array.isArray(token.scopes) ? token.scopes.map(shown).join(" ") : "-",
          Array.isArray(token.sites) ? token.sites.map(shown).join(" ") : "all",
          Array.isArray(token.hosts) ? token.hosts.map(shown).join(" ") : "-",
          shown(token.expiresAt),
          shown(token.revokedAt),
          shown(token.usedAt),
        ],
      ),
  );
  shared(
    tokens
      .command("create")
      .description("make a token; its secret is printed alone, this once")
      .argument("<NAME>")
      .option("--scope <SCOPE>", "read, purge, deploy or admin; may be repeated", collect, [])
      .option("--site <ID>", "only for this site; may be repeated", collect, [])
      .option(
        "--host <HOST>",
        'a host that it may give to sites, such as "*.shop.example"; may be repeated',
        collect,
        [],
      )
      .addOption(
        new Option("--expires <SECONDS>", "how long it is good for; left out, for ever").argParser(
          readNumber,
        ),
      )
      .option("--access-key", "an access key, which S3 clients sign with: prints its id and its secret, too"),
    "tokens create ci --scope deploy --scope purge --site shop --host shop.example",
  ).action(async (name: string, options: FleetOptions & NewToken) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "POST",
      path: "/v1/tokens",
      body: {
        name,
        scopes: options.scope,
        ...(options.site.length === 0 ? {} : { sites: options.site }),
        ...(options.host.length === 0 ? {} : { hosts: options.host }),
        ...(options.expires === undefined ? {} : { expiresInSeconds: options.expires }),
        ...(options.accessKey === true ? { accessKey: true } : {}),
      },
    });
    printSecret(io, options, answer);
  });
  shared(
    tokens
      .command("rotate")
      .description("make a token in place of another; its secret is printed alone")
      .argument("<ID>")
      .addOption(
        new Option("--overlap <SECONDS>", "how long the old one stays good").default(0).argParser(readNumber),
      ),
    "tokens rotate 006d2e5aed68 --overlap 3600",
  ).action(async (id: string, options: FleetOptions & { overlap: number }) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "POST",
      path: `/v1/tokens/${encodeURIComponent(id)}/rotate`,
      body: { overlapSeconds: options.overlap },
    });
    printSecret(io, options, answer);
  });
  shared(
    tokens.command("revoke").description("revoke a token, at once").argument("<ID>"),
    "tokens revoke 006d2e5aed68",
  ).action(async (id: string, options: FleetOptions) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "DELETE",
      path: `/v1/tokens/${encodeURIComponent(id)}`,
    });
    io.out(
      options.json === true ? `${JSON.stringify(answer, null, 2)}\n` : `${shown(answer.prefix)} is revoked\n`,
    );
  });
}

/** A secret alone; of an access key in the form that clients of AWS take from a file or the environment. */
function printSecret(io: Io, options: FleetOptions, answer: Record<string, unknown>): void {
  const token = isRecord(answer.token) ? answer.token : {};
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else if (typeof answer.secretAccessKey !== "string") io.out(`${shown(answer.secret)}\n`);
  else
    io.out(
      `AWS_ACCESS_KEY_ID=${shown(token.accessKeyId)}\nAWS_SECRET_ACCESS_KEY=${shown(answer.secretAccessKey)}\nPROXIMA_CONTROL_TOKEN=${shown(answer.secret)}\n`,
    );
}

async function list(
  io: Io,
  options: FleetOptions,
  path: string,
  head: readonly string[],
  row: (item: Record<string, unknown>) => readonly string[],
): Promise<void> {
  const items = await new FleetClient(options.control, io).all(path);
  io.out(options.json === true ? `${JSON.stringify(items, null, 2)}\n` : table(head, items.map(row)));
}

async function activate(
  io: Io,
  options: FleetOptions & { readonly wait?: boolean },
  path: string,
  body: unknown,
): Promise<void> {
  const client = new FleetClient(options.control, io);
  const answer = await client.ask({ method: "POST", path, body });
  const site = isRecord(answer.site) ? answer.site : {};
  const number =
    isRecord(answer.snapshot) && typeof answer.snapshot.number === "number" ? answer.snapshot.number : null;
  if (isRecord(answer.rollout)) {
    await followRollout(client, answer.rollout, options, io);
    return;
  }
  const what = `version ${shown(site.activeVersion)} of ${shown(site.id)}`;
  if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
  else if (number === null) io.out(`${what} was in force already\n`);
  else io.out(`${styleFor(io.color).bold(`${what} is in force`)} (snapshot ${number})\n`);
  if (options.wait !== true || number === null) return;
  const { waitForNodes } = await import("./deploy.ts");
  await waitForNodes(client, number, io);
}

function readUrl(text: string): URL {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) throw new InvalidArgumentError("Expected http(s)://HOST:PORT.");
  return url;
}

function readNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}
