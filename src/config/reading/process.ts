/** The process that reads a config for one that serves: the schemas and parsers, and what they leave behind, end with it. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { ConfigLoader } from "../load.ts";
import { REPLACED_STATUS } from "./command.ts";
import type { PassingSite, ReadingMessage } from "./messages.ts";

/** Sites go in messages of about so many characters: whoever takes one serves viewers. */
const MESSAGE_CHARS = 64 * 1024;

/** Reads `file`, hands over what it came to, and waits to be ended. It ends at once unless `isSameVersion` as who asked. */
export async function runReading(file: string, isSameVersion: boolean): Promise<void> {
  if (process.send === undefined) {
    process.stderr.write("proxima: a config is read so by a running edge only\n");
    process.exit(2);
  }
  // A setting that only one of the two knows would be taken here and not be kept there.
  if (!isSameVersion) process.exit(REPLACED_STATUS);
  yieldMemory();
  // Signals are for the one that asked; this process ends with it.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit(0));
  let taken: () => void = () => {};
  process.on("message", () => taken());
  const tell = async (message: ReadingMessage): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    taken = resolve;
    process.send?.(message);
    await promise;
  };

  const loader = new ConfigLoader(file);
  const result = await loader.load();
  const files = loader.sources;
  if (!result.ok) {
    await tell({ kind: "refused", problems: result.problems, files });
    return;
  }
  const { sites, ...node } = result.config;
  let some: PassingSite[] = [];
  let chars = 0;
  for (const [id, site] of Object.entries(sites)) {
    const json = JSON.stringify(site);
    some.push([id, createHash("sha256").update(json).digest("base64"), json]);
    chars += json.length;
    if (chars < MESSAGE_CHARS) continue;
    await tell({ kind: "sites", sites: some });
    some = [];
    chars = 0;
  }
  if (some.length > 0) await tell({ kind: "sites", sites: some });
  await tell({ kind: "config", node: JSON.stringify(node), warnings: result.warnings, files });
}

/** When memory runs out, this process is ended, and what it started, not one that serves (proc_pid_oom_score_adj(5)). */
function yieldMemory(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch {
    // No Linux, or not allowed here: a reading is worth more than this.
  }
}
