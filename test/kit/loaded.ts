/** What a running process of the program has loaded. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

const ANSWER_MS_MAX = 10_000;
const LOOK_EVERY_MS = 10;

/** Modules and objects of a process. */
export interface Loaded {
  /** Paths of modules, those of packages from the package's name on, the others from this folder on. */
  readonly modules: readonly string[];
  /** Objects on the heap, after a full collection. */
  readonly objects: number;
}

/** The environment of a process that can be asked; its answers are left in `folder`. */
export function askable(folder: string): Record<string, string> {
  return {
    BUN_OPTIONS: `--preload ${join(import.meta.dir, "loaded-preload.ts")}`,
    PROXIMA_TEST_LOADED: folder,
  };
}

/** Asks a process that was started with the environment of `askable`. */
export async function loadedBy(pid: number, folder: string): Promise<Loaded> {
  const file = join(folder, `loaded-${pid}.json`);
  rmSync(file, { force: true });
  process.kill(pid, "SIGUSR2");
  const startMs = performance.now();
  while (!existsSync(file)) {
    if (performance.now() - startMs > ANSWER_MS_MAX)
      throw new Error(`process ${pid} does not say what it holds`);
    await Bun.sleep(LOOK_EVERY_MS);
  }
  const { modules, objects } = JSON.parse(readFileSync(file, "utf8")) as Loaded;
  const root = join(import.meta.dir, "../..");
  const short = (path: string) =>
    path.includes("/node_modules/") ? path.replace(/^.*\/node_modules\//, "") : path.replace(`${root}/`, "");
  return { modules: modules.map(short), objects };
}
