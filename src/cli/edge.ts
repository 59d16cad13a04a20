/** `proxima edge`: an edge for the sites of a config file, which is watched, or for those of a fleet. */
import { formatProblems, type Problem } from "../config/problems.ts";
import type { Config } from "../config/schema.ts";
import type { ConfigSource } from "../node/node.ts";
import { edgeBanner } from "./banner.ts";
import { watchedSource } from "./config-source.ts";
import { EXIT, SilentExit, UsageError } from "./failure.ts";
import { applyListenOptions, type EdgeControl, type ListenOptions } from "./options.ts";
import { mustParse, nodeLog, type Program, serve } from "./serve.ts";

/** Options of the command. */
export interface EdgeOptions extends Omit<ListenOptions, "control"> {
  readonly config?: string;
  readonly control?: EdgeControl;
  readonly join?: string;
  readonly name?: string;
}

/** Runs the command until the process is told to end. */
export async function edgeCommand(options: EdgeOptions, program: Program): Promise<void> {
  const { io } = program;
  const { control, ...others } = options;
  const listen: ListenOptions = {
    ...others,
    ...(control?.own === undefined ? {} : { control: control.own }),
  };
  const complete = (config: Config): Config => joined(applyListenOptions(config, listen), options);
  const { config, source } =
    options.config === undefined
      ? { config: complete(await fromFleetOnly(control)), source: null }
      : await fromFile(options.config, complete, program);
  if (config.listen.http === undefined && config.listen.https === undefined) {
    throw new UsageError(
      `${options.config ?? "the command line"} names no address to listen on; set listen.http or listen.https, or give --http or --https`,
    );
  }
  const joinToken = options.join ?? io.env.PROXIMA_JOIN_TOKEN ?? null;
  if (joinToken !== null && config.join === undefined)
    throw new UsageError(
      "--join needs the URL of a control plane: give --control URL, or set join.control in the config",
    );
  const say = config.accessLog?.file === "-" ? io.err : io.out;
  const from = config.join === undefined ? (options.config ?? "") : `the fleet of ${config.join.control}`;
  await serve(
    program,
    config,
    source,
    (node) => say(edgeBanner(node, from, node.snapshot().sites, io.color)),
    joinToken,
  );
}

async function fromFleetOnly(control: EdgeControl | undefined): Promise<Config> {
  if (control?.plane === undefined)
    throw new UsageError("give --config FILE, or --control URL for an edge of a fleet");
  // The sites of a fleet are parsed in this process, whenever a snapshot comes.
  const { parseConfig } = await import("../config/parse.ts");
  return mustParse(parseConfig({ sites: {}, join: { control: control.plane } }));
}

async function fromFile(
  file: string,
  complete: (config: Config) => Config,
  { io, openConfig }: Program,
): Promise<{ readonly config: Config; readonly source: ConfigSource }> {
  const loader = openConfig(file);
  const loaded = await loader.load();
  if (!loaded.ok) {
    // One problem is one sentence; several are listed as `config check` lists them.
    if (loaded.problems.length === 1) throw new UsageError(formatProblems(file, loaded.problems));
    io.err(`proxima: ${file} has ${tally(loaded.problems)}:\n${formatProblems(file, loaded.problems)}\n`);
    throw new SilentExit(EXIT.usage);
  }
  if (loaded.warnings.length > 0) io.err(`${formatProblems(file, loaded.warnings)}\n`);
  return { config: complete(loaded.config), source: watchedSource(file, loader, complete, nodeLog(io)) };
}

/** The config with the fleet that the command line names. */
function joined(config: Config, { control, name }: EdgeOptions): Config {
  if (control?.plane === undefined && (name === undefined || config.join === undefined)) return config;
  const { plane } = control ?? {};
  const hasSites = Object.keys(config.sites).length > 0;
  if (plane !== undefined && hasSites)
    throw new UsageError(
      "the config has sites of its own, and --control names a fleet: its sites come from there",
    );
  const url = plane ?? config.join?.control;
  if (url === undefined) return config;
  return { ...config, join: { ...config.join, control: url, ...(name === undefined ? {} : { name }) } };
}

/** "2 problems", "1 problem and 3 warnings". */
function tally(problems: readonly Problem[]): string {
  const warnings = problems.filter(({ severity }) => severity === "warning").length;
  const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;
  const errors = count(problems.length - warnings, "problem");
  return warnings === 0 ? errors : `${errors} and ${count(warnings, "warning")}`;
}
