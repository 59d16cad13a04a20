/** `proxima dev --ci [origin]`: a whole CDN on loopback for a test run, with a clock that can be moved. */
import type { ListenAddress } from "../../config/address.ts";
import { isLoopback } from "../../service/control-guard.ts";
import { runUntilSignal } from "../../service/signals.ts";
import { SilentExit, UsageError } from "../failure.ts";
import { type Io, styleFor } from "../io.ts";
import type { ListenOptions } from "../options.ts";
import { readOrigin } from "../origin.ts";
import { type DemoSite, nodeLog, type Program } from "../serve.ts";
import { environmentLines } from "../takeover.ts";
import { VERSION } from "../version.ts";
import { type CiCommandOptions, POPS_DEFAULT } from "./options.ts";
import { rawOrigin, siteOf, sitesOfConfig } from "./sites.ts";
import { type CiStack, startCiStack } from "./stack.ts";

const CACHE_BYTES = 64 * 1024 * 1024;
/** How long the end may take once nobody waits for it any more, in milliseconds. */
const END_MS_MAX = 10_000;
const ANY_PORT: ListenAddress = { hostname: "127.0.0.1", port: 0 };

/** Runs the command until the process is told to end. */
export async function ciCommand(
  argument: string | undefined,
  options: CiCommandOptions & ListenOptions,
  program: Program,
): Promise<void> {
  const { io } = program;
  refuseOthers(options);
  const origin = argument === undefined && options.config !== undefined ? null : readOrigin(argument);
  const demo: DemoSite | null = origin?.kind === "demo" ? await program.startDemo() : null;
  try {
    const raw =
      origin === null ? null : origin.kind === "demo" ? { url: demo?.url ?? "" } : rawOrigin(origin);
    const sites =
      options.config === undefined
        ? siteOf(raw ?? {}, options.shield)
        : await sitesOfConfig(options.config, raw, options.shield);
    const log = nodeLog(io);
    const stack = await startCiStack({
      pops: options.pops ?? POPS_DEFAULT,
      shield: options.shield,
      sites,
      http: options.http ?? ANY_PORT,
      control: options.control ?? ANY_PORT,
      takeover: options.takeover ?? null,
      memoryBytesMax: options.cacheMemory ?? CACHE_BYTES,
      startMs: options.clock ?? null,
      createEdge: program.createEdge,
      log,
    });
    const ended = runUntilSignal(stack, log);
    if (options.untilStdinEnds === true) endWithStdin();
    io.out(options.json === true ? `${JSON.stringify(described(stack))}\n` : banner(stack, io));
    const status = await ended;
    if (status !== 0) throw new SilentExit(status);
  } finally {
    await demo?.stop();
  }
}

/** What the ready line says: its members are part of the program's interface. */
function described(stack: CiStack): Record<string, unknown> {
  const { control, token, accessKey, storage, takeover, pops, shield, sites, dataDir } = stack;
  const names = { control, token, accessKey, storage, takeover, pops, shield, sites, dataDir };
  return { ready: true, version: VERSION, pid: process.pid, ...names };
}

function banner(stack: CiStack, { color }: Io): string {
  const style = styleFor(color);
  const rows = [
    ...Object.entries(stack.pops).map(([name, { url }]) => [name, url] as const),
    ...(stack.shield === null ? [] : [["shield", stack.shield.url] as const]),
    ["control", `${stack.control}/v1 (${stack.control}/docs)`] as const,
    ["storage", `${stack.storage} (S3, Bunny)`] as const,
    ["token", `${stack.token} (known to all: for loopback only)`] as const,
    ...(stack.takeover === null
      ? []
      : [
          ["takeover", `${stack.takeover.url} for ${stack.takeover.hosts.join(", ")}`] as const,
          ["", environmentLines(stack.takeover.caFile).join(" ")] as const,
        ]),
    ["data", `${stack.dataDir} (goes at the end)`] as const,
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return [
    style.bold(`proxima ${VERSION} is a CDN for tests`),
    "",
    ...rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`),
    "",
    `  curl -X POST ${stack.control}/v1/clock -H 'Authorization: Bearer ${stack.token}' \\`,
    `    -H 'Content-Type: application/json' -d '{"advance":"1h"}'`,
    "",
    "",
  ].join("\n");
}

/** What a run decides for itself. */
function refuseOthers(options: CiCommandOptions & ListenOptions): void {
  const given = [
    ...(options.https === undefined ? [] : ["--https"]),
    ...(options.dataDir === undefined ? [] : ["--data-dir"]),
    ...(options.accessLog === undefined ? [] : ["--access-log"]),
    ...(options.workers === undefined ? [] : ["--workers"]),
  ];
  if (given.length > 0) throw new UsageError(`${given.join(", ")}: dev --ci does not take this`);
  const { control, takeover } = options;
  for (const [name, address] of Object.entries({ control, takeover }))
    if (address !== undefined && address.hostname !== "" && !isLoopback(address.hostname))
      throw new UsageError(
        `--${name} ${address.hostname}: the token of dev --ci is known to all, so its control plane listens on loopback only`,
      );
}

/** The end of standard input is the parent's end, also when that was killed outright. */
function endWithStdin(): void {
  const end = (): void => {
    process.kill(process.pid, "SIGTERM");
    setTimeout(() => process.exit(1), END_MS_MAX);
  };
  process.stdin.on("end", end);
  process.stdin.on("error", end);
  process.stdin.resume();
}
