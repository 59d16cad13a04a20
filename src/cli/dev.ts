/** `proxima dev [origin]`: an edge on loopback in front of one origin, which takes any Host. */
import type { ListenAddress } from "../config/address.ts";
import { parseConfig } from "../config/parse.ts";
import { formatAddress } from "../service/listen-error.ts";
import { devBanner, type Trial } from "./banner.ts";
import { type ListenOptions, onLoopback } from "./options.ts";
import { type DevOrigin, readOrigin, whyUnreachable } from "./origin.ts";
import { isPortFree } from "./ports.ts";
import { type DemoSite, mustParse, nodeLog, type Program, serve } from "./serve.ts";

const DEFAULTS = { http: 8080, https: 8443, control: 8081 } as const;
const LOOPBACK = "127.0.0.1";

/** Runs the command until the process is told to end. */
export async function devCommand(
  argument: string | undefined,
  options: ListenOptions,
  program: Program,
): Promise<void> {
  const { io } = program;
  const origin = readOrigin(argument);
  const notes: string[] = [];
  const listen = {
    http: await addressFor("http", options.http, false, notes),
    https: await addressFor("https", options.https, options.http3, notes),
    control: await addressFor("control", options.control, false, notes),
    http3: options.http3,
  };
  const demo = origin.kind === "demo" ? await program.startDemo() : null;
  try {
    const config = mustParse(
      parseConfig({
        listen,
        dataDir: options.dataDir ?? "./.proxima",
        // One process to look at, to debug and to end; a developer's load does not need more.
        workers: options.workers ?? 1,
        ...(options.cacheMemory === undefined ? {} : { cache: cacheOf(options.cacheMemory) }),
        ...(options.accessLog === undefined ? {} : { accessLog: { file: options.accessLog } }),
        // As its control listener, which wants no token there either.
        purges: { from: ["127.0.0.0/8", "::1/128"] },
        sites: {
          dev: {
            hosts: ["*"],
            origins: { origin: originConfig(origin, demo) },
            behaviors: [{ path: "/*", allowedMethods: "all" }],
          },
        },
      }),
    );
    const say = options.accessLog === "-" ? io.err : io.out;
    await serve(program, config, null, async (node) => {
      // Started by npm in its own folder, the program is not on the path.
      const called = io.env.npm_lifecycle_event === undefined ? "proxima" : "npx proxima";
      const trials = demo?.trials ?? genericTrials;
      say(devBanner(node, shownOrigin(origin, demo), notes, trials, io.color, called));
      if (origin.kind !== "url") return;
      const why = await whyUnreachable(origin.url);
      if (why !== null) nodeLog(io)("warning", `the origin ${origin.url} can not be reached yet: ${why}`);
    });
  } finally {
    await demo?.stop();
  }
}

/** For an origin we know nothing of: a request with Authorization is personal wherever it goes. */
const genericTrials: readonly Trial[] = [
  { shows: "MISS: the origin is asked", path: "/" },
  { shows: "HIT, if the origin lets it be stored", path: "/" },
  { shows: "BYPASS: a personal request", path: "/", arguments: "-H 'Authorization: Bearer me'" },
];

/** The address given, or the default one; a default port that is taken gives way to a free one. */
async function addressFor(
  name: keyof typeof DEFAULTS,
  given: ListenAddress | undefined,
  udp: boolean,
  notes: string[],
): Promise<string> {
  if (given !== undefined) return onLoopback(given);
  const port = DEFAULTS[name];
  if (await isPortFree(LOOPBACK, port, udp)) return formatAddress({ hostname: LOOPBACK, port });
  notes.push(`Port ${port} is taken by another program: ${name} listens on a free one.`);
  return formatAddress({ hostname: LOOPBACK, port: 0 });
}

function cacheOf(memory: number): { memory: number; objectMax?: number } {
  // The config's own default for objectMax must not exceed a small cache.
  const defaultObjectMax = 32 * 1_024 * 1_024;
  return memory < defaultObjectMax ? { memory, objectMax: memory } : { memory };
}

function originConfig(origin: DevOrigin, demo: DemoSite | null): { url: string } | { directory: string } {
  if (origin.kind === "directory") return { directory: origin.path };
  return { url: origin.kind === "url" ? origin.url : (demo?.url ?? "") };
}

function shownOrigin(origin: DevOrigin, demo: DemoSite | null): string {
  switch (origin.kind) {
    case "demo":
      return `the demo site (${demo?.url ?? ""})`;
    case "url":
      return origin.url;
    case "directory":
      return `the files of ${origin.path}`;
  }
}
