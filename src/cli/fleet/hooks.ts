/** `proxima hooks` and `proxima webhooks`: purges by signed messages, and messages of what happens. */
import { createReadStream } from "node:fs";
import { type Command, Option } from "commander";
import { messageOf } from "../../base/errors.ts";
import { isRecord } from "../control-client.ts";
import { UsageError } from "../failure.ts";
import type { Io } from "../io.ts";
import { FleetClient, type FleetOptions, shown, table } from "./client.ts";
import type { Shared } from "./commands.ts";

/** Most of a message or of rules that is read, in bytes. */
const INPUT_BYTES_MAX = 1024 * 1024;
const TARGETS_SHOWN_MAX = 50;

/** Adds `proxima hooks`. */
export function addHookCommands(root: Command, io: Io, shared: Shared): void {
  const hooks = root.command("hooks").description("work with hooks, by which content systems purge");
  shared(hooks.command("list").description("list hooks"), "hooks list").action(
    async (options: FleetOptions) => {
      const items = await new FleetClient(options.control, io).all("/v1/hooks?limit=500");
      if (options.json === true) io.out(`${JSON.stringify(items, null, 2)}\n`);
      else
        io.out(
          table(
            ["hook", "site", "rules", "signatures", "used"],
            items.map((one) => [
              shown(one.name),
              shown(one.site),
              String(Array.isArray(one.rules) ? one.rules.length : 0),
              Array.isArray(one.signatures) ? one.signatures.map(shown).join(" ") : "-",
              shown(one.usedAt),
            ]),
          ),
        );
    },
  );
  shared(
    hooks
      .command("set")
      .description("make a hook, or give it other rules; a new one's secret is printed alone, this once")
      .argument("<NAME>")
      .argument("<FILE>", "site and rules as JSON; - is standard input"),
    "hooks set cms hook.json",
  ).action(async (name: string, file: string, options: FleetOptions) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "PUT",
      path: `/v1/hooks/${encodeURIComponent(name)}`,
      body: await readJson(file),
    });
    if (options.json === true) io.out(`${JSON.stringify(answer, null, 2)}\n`);
    else if (answer.secret === null) io.err(`${shown(name)} has other rules; its secret is as it was\n`);
    else io.out(`${shown(answer.secret)}\n`);
  });
  shared(
    hooks
      .command("test")
      .description("show what a message would purge; nothing is purged")
      .argument("<NAME>")
      .argument("[FILE]", "the message as JSON; - is standard input", "-"),
    "hooks test cms < message.json",
  ).action(async (name: string, file: string, options: FleetOptions) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "POST",
      path: `/v1/hooks/${encodeURIComponent(name)}/test`,
      body: await readJson(file),
    });
    io.out(options.json === true ? `${JSON.stringify(answer, null, 2)}\n` : messageText(answer));
  });
  shared(
    hooks
      .command("rotate")
      .description("make another secret; it is printed alone")
      .argument("<NAME>")
      .addOption(overlapOption()),
    "hooks rotate cms --overlap 3600",
  ).action(async (name: string, options: FleetOptions & { overlap: string }) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "POST",
      path: `/v1/hooks/${encodeURIComponent(name)}/rotate`,
      body: { overlapSeconds: Number(options.overlap) },
    });
    io.out(options.json === true ? `${JSON.stringify(answer, null, 2)}\n` : `${shown(answer.secret)}\n`);
  });
  shared(hooks.command("remove").description("end a hook").argument("<NAME>"), "hooks remove cms").action(
    async (name: string, options: FleetOptions) => {
      const path = `/v1/hooks/${encodeURIComponent(name)}`;
      await new FleetClient(options.control, io).ask({ method: "DELETE", path });
    },
  );
}

/** Adds `proxima webhooks`. */
export function addWebhookCommands(root: Command, io: Io, shared: Shared): void {
  const collect = (value: string, before: readonly string[]): string[] => [...before, value];
  const webhooks = root.command("webhooks").description("work with webhooks, which tell of what happens");
  shared(webhooks.command("list").description("list webhooks"), "webhooks list").action(
    async (options: FleetOptions) => {
      const items = await new FleetClient(options.control, io).all("/v1/webhooks");
      if (options.json === true) io.out(`${JSON.stringify(items, null, 2)}\n`);
      else
        io.out(
          table(
            ["id", "name", "host", "sites", "waiting", "dead"],
            items.map((one) => [
              shown(one.id),
              shown(one.name),
              shown(one.host),
              Array.isArray(one.sites) ? one.sites.map(shown).join(" ") : "all",
              shown(one.waiting),
              shown(one.dead),
            ]),
          ),
        );
    },
  );
  shared(
    webhooks
      .command("create")
      .description("make a webhook; its secret is printed alone, this once")
      .argument("<NAME>")
      .argument("<URL>")
      .option("--event <TYPE>", "such as purge.applied; may be repeated; all when left out", collect, [])
      .option("--site <ID>", "only events of this site; may be repeated", collect, []),
    "webhooks create chat https://hooks.example/in --event rollout.rolledBack",
  ).action(async (name: string, url: string, options: FleetOptions & { event: string[]; site: string[] }) => {
    const answer = await new FleetClient(options.control, io).ask({
      method: "POST",
      path: "/v1/webhooks",
      body: {
        name,
        url,
        ...(options.event.length === 0 ? {} : { events: options.event }),
        ...(options.site.length === 0 ? {} : { sites: options.site }),
      },
    });
    io.out(options.json === true ? `${JSON.stringify(answer, null, 2)}\n` : `${shown(answer.secret)}\n`);
  });
  shared(
    webhooks
      .command("deliveries")
      .description("list what was and is to be delivered, the newest first")
      .argument("<ID>")
      .addOption(new Option("--state <STATE>").choices(["waiting", "delivered", "dead"])),
    "webhooks deliveries wh_0123456789ab --state dead",
  ).action(async (id: string, options: FleetOptions & { state?: string }) => {
    const query = options.state === undefined ? "" : `&state=${options.state}`;
    const items = await new FleetClient(options.control, io).all(
      `/v1/webhooks/${encodeURIComponent(id)}/deliveries?limit=500${query}`,
    );
    if (options.json === true) io.out(`${JSON.stringify(items, null, 2)}\n`);
    else
      io.out(
        table(
          ["delivery", "event", "state", "attempts", "next", "problem"],
          items.map((one) =>
            [one.id, one.type, one.state, one.attempts, one.nextAttemptAt, one.problem].map(shown),
          ),
        ),
      );
  });
  const act = (name: string, description: string, pathOf: (id: string, delivery: string) => string) => {
    const command = webhooks.command(name).description(description).argument("<ID>");
    if (name === "retry") command.argument("<DELIVERY>");
    shared(command, `webhooks ${name} wh_0123456789ab${name === "retry" ? " msg_..." : ""}`).action(
      async (id: string, second: string | FleetOptions, third?: FleetOptions) => {
        const [delivery, options] =
          typeof second === "string" ? [second, third as FleetOptions] : ["", second];
        const answer = await new FleetClient(options.control, io).ask({
          method: "POST",
          path: pathOf(encodeURIComponent(id), encodeURIComponent(delivery)),
          body: {},
        });
        io.out(
          options.json === true
            ? `${JSON.stringify(answer, null, 2)}\n`
            : `${shown(answer.id)} is ${shown(answer.state)}\n`,
        );
      },
    );
  };
  act("test", "have a test delivered", (id) => `/v1/webhooks/${id}/test`);
  act(
    "retry",
    "have a delivery sent again",
    (id, delivery) => `/v1/webhooks/${id}/deliveries/${delivery}/retry`,
  );
  shared(
    webhooks.command("remove").description("end a webhook, with what waits for it").argument("<ID>"),
    "webhooks remove wh_0123456789ab",
  ).action(async (id: string, options: FleetOptions) => {
    const path = `/v1/webhooks/${encodeURIComponent(id)}`;
    await new FleetClient(options.control, io).ask({ method: "DELETE", path });
  });
}

function overlapOption(): Option {
  return new Option("--overlap <SECONDS>", "how long the old one stays good").default("0");
}

function messageText(answer: Record<string, unknown>): string {
  const purges = Array.isArray(answer.purges) ? answer.purges.filter(isRecord) : [];
  const skipped = Array.isArray(answer.skipped) ? answer.skipped : [];
  const lines = [`${shown(answer.matched)} rules fit, ${purges.length} purges`];
  for (const { scope, mode, targets, targetCount } of purges) {
    lines.push(`${shown(mode)} ${shown(scope)}${scope === "everything" ? "" : ` (${shown(targetCount)})`}`);
    const all = Array.isArray(targets) ? targets : [];
    for (const target of all.slice(0, TARGETS_SHOWN_MAX)) lines.push(`    ${shown(target)}`);
    if (all.length > TARGETS_SHOWN_MAX) lines.push(`    and ${all.length - TARGETS_SHOWN_MAX} more`);
  }
  for (const reason of skipped) lines.push(`left out: ${shown(reason)}`);
  return `${lines.join("\n")}\n`;
}

/** JSON of a file or of standard input. Rejects with a UsageError. */
async function readJson(file: string): Promise<unknown> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const piece of file === "-" ? process.stdin : createReadStream(file)) {
      const bytes = Buffer.from(piece as Uint8Array);
      size += bytes.byteLength;
      if (size > INPUT_BYTES_MAX) throw new Error(`it is longer than ${INPUT_BYTES_MAX} bytes`);
      pieces.push(bytes);
    }
    return JSON.parse(Buffer.concat(pieces).toString("utf8")) as unknown;
  } catch (cause) {
    throw new UsageError(
      `${file === "-" ? "standard input" : file} can not be read as JSON: ${messageOf(cause)}`,
      cause,
    );
  }
}
