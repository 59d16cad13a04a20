/**
 * What an edge is before its first request: milliseconds until it listens, and of each of its processes the
 * modules, the objects that a full collection walks, and the resident memory. The site is one, the config JSON.
 * Run: npm run bench -- idle [starts]
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { askable, loadedBy } from "../test/kit/loaded.ts";
import { childrenOf } from "../test/kit/processes.ts";
import { type Program, Programs, rssBytesOf } from "../test/kit/program.ts";

const starts = Number(process.argv[2] ?? 5);
/** What is done after the listening ends within so long, in milliseconds. */
const SETTLE_MS = 500;
const MIB = 2 ** 20;

const programs = new Programs();
const { folder } = programs;
try {
  for (const workers of [1, 2]) {
    const config = `edge-${workers}.json`;
    writeFileSync(
      join(folder, config),
      JSON.stringify({
        listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
        dataDir: `data-${workers}`,
        workers,
        sites: { bench: { hosts: ["*"], origins: { app: { url: "http://127.0.0.1:9" } } } },
      }),
    );
    const times: number[] = [];
    let memory = "";
    for (let start = 0; start < starts; start++) {
      const startMs = performance.now();
      const program = await started(config, {});
      times.push(performance.now() - startMs);
      await Bun.sleep(SETTLE_MS);
      const all = [program.pid, ...childrenOf(program.pid)];
      memory = all.map((pid) => `${(rssBytesOf(pid) / MIB).toFixed(0)} MiB`).join(", ");
      await ended(program);
    }
    times.sort((a, b) => a - b);
    const median = times[times.length >> 1] ?? Number.NaN;
    console.log(`workers ${workers}: listens after ${median.toFixed(0)} ms; resident: ${memory}`);
    const program = await started(config, askable(folder));
    await Bun.sleep(SETTLE_MS);
    for (const pid of [program.pid, ...childrenOf(program.pid)]) {
      const { modules, objects } = await loadedBy(pid, folder);
      const name = pid !== program.pid ? "worker" : workers === 1 ? "edge" : "supervisor";
      console.log(`  ${name}: ${modules.length} modules, ${objects} objects`);
    }
    await ended(program);
  }
} finally {
  await programs.stop();
}

async function started(config: string, env: Readonly<Record<string, string>>): Promise<Program> {
  const program = programs.start(["edge", "--config", config], { env });
  await program.addresses();
  return program;
}

async function ended(program: Program): Promise<void> {
  program.kill("SIGTERM");
  await program.end();
}
