/** `proxima config check FILE`: says whether a config is valid, and what is wrong where. */
import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problems.ts";
import { EXIT, SilentExit } from "./failure.ts";
import type { Io } from "./io.ts";

/** Runs the command. Problems go to standard error and end it with status 2. */
export async function configCheckCommand(file: string, io: Io): Promise<void> {
  const loaded = await loadConfig(file);
  if (!loaded.ok) {
    io.err(`${formatProblems(file, loaded.problems)}\n`);
    throw new SilentExit(EXIT.usage);
  }
  if (loaded.warnings.length > 0) io.err(`${formatProblems(file, loaded.warnings)}\n`);
  const sites = Object.values(loaded.config.sites);
  const behaviors = sites.reduce((sum, site) => sum + site.behaviors.length, 0);
  io.out(`${file}: ok, ${count(sites.length, "site")}, ${count(behaviors, "behavior")}\n`);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
