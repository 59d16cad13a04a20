/** What `dev` and `edge` share: a node started, announced, and run until it is told to end. */
import { systemClock } from "../base/clock.ts";
import { ProximaError } from "../base/errors.ts";
import type { ConfigReader } from "../config/config-reader.ts";
import type { Config } from "../config/schema.ts";
import { type ConfigSource, type CreateEdge, type RunningNode, startNode } from "../node/node.ts";
import { type LogLevel, logLine, type NodeLog } from "../service/log.ts";
import { runUntilSignal } from "../service/signals.ts";
import type { Trial } from "./banner.ts";
import { SilentExit, UsageError } from "./failure.ts";
import type { Io } from "./io.ts";
import { VERSION } from "./version.ts";

/** A demo site that runs in this process. */
export interface DemoSite {
  readonly url: string;
  /** What to try on it. */
  readonly trials: readonly Trial[];
  stop(): Promise<void>;
}

/** What the program hands to its commands. */
export interface Program {
  readonly io: Io;
  readonly createEdge: CreateEdge;
  /** The reader of a config file that an edge serves by. */
  readonly openConfig: (file: string) => ConfigReader;
  /** Starts the built-in site that `dev` shows when no origin is named. */
  readonly startDemo: () => Promise<DemoSite>;
  /** The command line as typed. */
  readonly command: string;
}

/** Messages of the node go to standard error. */
export function nodeLog(io: Io): NodeLog {
  return (level: LogLevel, message: string) => io.err(logLine(level, message));
}

/** Starts a node and runs it until a signal. `announce` is called once when it serves, `ended` when it has stopped. */
export async function serve(
  program: Program,
  config: Config,
  source: ConfigSource | null,
  announce: (node: RunningNode) => void | Promise<void>,
  joinToken: string | null = null,
): Promise<void> {
  const { io } = program;
  const log = nodeLog(io);
  const node = await startNode({
    config,
    source,
    createEdge: program.createEdge,
    joinToken,
    control: await controlProtection(config, io),
    version: VERSION,
    command: program.command,
    clock: systemClock,
    log,
  });
  const ended = runUntilSignal(node, log);
  await announce(node);
  const status = await ended;
  if (status !== 0) throw new SilentExit(status);
}

/**
 * The control listener's token comes from PROXIMA_CONTROL_TOKEN (a command line can be read by every
 * user of the machine); with one, and with certificates in the config, it speaks TLS.
 */
async function controlProtection(
  config: Config,
  io: Io,
): Promise<{ token: string | null; tls: { cert: string; key: string } | null }> {
  const token = io.env.PROXIMA_CONTROL_TOKEN ?? "";
  const files = config.listen.tls.certificates[0];
  if (token === "" || files === undefined) return { token: token === "" ? null : token, tls: null };
  const read = async (path: string) => {
    try {
      return await Bun.file(path).text();
    } catch (cause) {
      throw new ProximaError("certificate_unreadable", `file ${path} can not be read`, {
        source: "node",
        cause,
      });
    }
  };
  return { token, tls: { cert: await read(files.cert), key: await read(files.key) } };
}

/** A config from what a command line says; problems are the command line's. */
export function mustParse(
  result:
    | { ok: true; config: Config }
    | { ok: false; problems: readonly { path: string; message: string }[] },
): Config {
  if (result.ok) return result.config;
  const [problem] = result.problems;
  const what =
    problem === undefined || problem.path === ""
      ? ""
      : `${problem.path.replace(/^sites\.dev\.origins\./, "")} `;
  throw new UsageError(`${what}${problem?.message ?? "the config is not valid"}`);
}
