/** `proxima edge --config FILE`: an edge for the sites of a config file, which is watched. */
import { ConfigLoader } from "../config/load.ts";
import { formatProblems, type Problem } from "../config/problems.ts";
import { edgeBanner } from "./banner.ts";
import { watchedSource } from "./config-source.ts";
import { EXIT, SilentExit, UsageError } from "./failure.ts";
import { applyListenOptions, type ListenOptions } from "./options.ts";
import { nodeLog, type Program, serve } from "./serve.ts";

/** Options of the command. */
export interface EdgeOptions extends ListenOptions {
  readonly config: string;
}

/** Runs the command until the process is told to end. */
export async function edgeCommand(options: EdgeOptions, program: Program): Promise<void> {
  const { io } = program;
  const file = options.config;
  const loader = new ConfigLoader(file);
  const loaded = await loader.load();
  if (!loaded.ok) {
    // One problem is one sentence; several are listed as `config check` lists them.
    if (loaded.problems.length === 1) throw new UsageError(formatProblems(file, loaded.problems));
    io.err(`proxima: ${file} has ${tally(loaded.problems)}:\n${formatProblems(file, loaded.problems)}\n`);
    throw new SilentExit(EXIT.usage);
  }
  const log = nodeLog(io);
  if (loaded.warnings.length > 0) io.err(`${formatProblems(file, loaded.warnings)}\n`);
  const complete = (config: typeof loaded.config) => applyListenOptions(config, options);
  const config = complete(loaded.config);
  if (config.listen.http === undefined && config.listen.https === undefined) {
    throw new UsageError(
      `${file} names no address to listen on; set listen.http or listen.https, or give --http or --https`,
    );
  }
  const say = config.accessLog?.file === "-" ? io.err : io.out;
  await serve(program, config, watchedSource(file, loader, complete, log), (node) =>
    say(edgeBanner(node, file, Object.keys(config.sites).length, io.color)),
  );
}

/** "2 problems", "1 problem and 3 warnings". */
function tally(problems: readonly Problem[]): string {
  const warnings = problems.filter(({ severity }) => severity === "warning").length;
  const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;
  const errors = count(problems.length - warnings, "problem");
  return warnings === 0 ? errors : `${errors} and ${count(warnings, "warning")}`;
}
