/**
 * What an edge makes for each miss, by kind of object: an edge without collector is asked for distinct objects,
 * and its heap is counted before and after. Counts do not depend on the machine or on what else it does.
 * Run: npm run bench -- garbage [requests]
 */

import { heapStats } from "bun:jsc";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DEFAULT_CACHE_BYTES, proxima, SHIPPED } from "./compare/peers/proxima.ts";
import { setStage } from "./compare/stage.ts";

const COUNT_FILE = "PROXIMA_BENCH_COUNT_FILE";
const AT_ONCE = 16;
const WARM_REQUESTS = 6_000;
/** How long an edge may take to write its counts, in milliseconds. */
const COUNT_WAIT_MS = 10_000;
const LEAST_SHOWN = 0.5;

const file = process.env[COUNT_FILE];
if (file === undefined) await main(Number(process.argv[2] ?? 5_000));
// Loaded into the edge: counts when it is told to.
else
  process.on("SIGUSR2", () => {
    writeFileSync(file, JSON.stringify(heapStats().objectTypeCounts));
  });

async function main(requests: number): Promise<void> {
  const stage = await setStage();
  try {
    for (const kind of ["hit", "no-store"]) {
      const counts = join(stage.folder, `counts-${kind}`);
      const env = {
        [COUNT_FILE]: counts,
        BUN_OPTIONS: `--preload ${import.meta.path}`,
        BUN_JSC_useGC: "0",
        BUN_JSC_useConcurrentGC: "0",
      };
      const running = await proxima({ ...SHIPPED, env }).start(stage, { cacheBytes: DEFAULT_CACHE_BYTES });
      const ask = async (count: number, name: string): Promise<void> => {
        let left = count;
        const viewer = async (): Promise<void> => {
          while (left-- > 0)
            await (await fetch(`http://127.0.0.1:${running.httpPort}/${kind}/1024/${name}${left}`)).bytes();
        };
        await Promise.all(Array.from({ length: AT_ONCE }, viewer));
      };
      const count = async (): Promise<Readonly<Record<string, number>>> => {
        writeFileSync(counts, "");
        process.kill(running.process.pid, "SIGUSR2");
        const startMs = performance.now();
        for (;;) {
          await Bun.sleep(100);
          const text = readFileSync(counts, "utf8");
          if (text.endsWith("}")) return JSON.parse(text);
          if (performance.now() - startMs > COUNT_WAIT_MS) throw new Error("the edge does not count");
        }
      };
      await ask(WARM_REQUESTS, "warm");
      const before = await count();
      await ask(requests, "timed");
      const after = await count();
      const made = Object.entries(after)
        .map(([name, total]) => [name, (total - (before[name] ?? 0)) / requests] as const)
        .filter(([, each]) => each >= LEAST_SHOWN)
        .sort((a, b) => b[1] - a[1]);
      console.log(`/${kind}: ${made.map(([name, each]) => `${name} ${each.toFixed(1)}`).join(", ")}`);
      await running.stop();
    }
  } finally {
    await stage.stop();
  }
}
