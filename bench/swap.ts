/**
 * A snapshot of 10,000 sites compiles and swaps under load: latency of hits before, while the file is
 * read, checked, compiled and put in force (first every site anew, then one site changed), and after.
 *
 *   [WORKERS=1] npm run bench -- swap
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEdgeProcess } from "../test/kit/edge-process.ts";
import { startLoad } from "../test/kit/load.ts";

const SITES = Number(process.env.SITES ?? 10_000);
const origin = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: () =>
    new Response("x".repeat(1024), {
      headers: { "cache-control": "max-age=3600", "content-type": "text/plain" },
    }),
});
const folder = mkdtempSync(join(tmpdir(), "proxima-swap-"));
const file = join(folder, "proxima.config.json");

function write(generation: number, changed: number): void {
  const sites: Record<string, unknown> = {};
  for (let i = 0; i < SITES; i++) {
    sites[`site-${i}`] = {
      hosts: [`s${i}.test`, `*.s${i}.test`],
      origins: { app: { url: `http://127.0.0.1:${origin.port}` } },
      behaviors: [
        {
          path: "/static/*",
          cacheKey: { query: "none" },
          ttlSeconds: { default: i < changed ? 100 + generation : 100 },
        },
        { path: "/api/*", cacheKey: { query: { include: ["page"] } } },
        { path: "/*", responseHeaders: { set: { "x-site": `s${i}` } } },
      ],
    };
  }
  writeFileSync(file, JSON.stringify({ sites }));
}

write(0, 0);
const startMs = performance.now();
const edge = await startEdgeProcess(
  ["edge", "--config", file, "--workers", process.env.WORKERS ?? "auto"],
  folder,
);
console.log(
  `${SITES} sites: ready ${((performance.now() - startMs) / 1000).toFixed(1)} s after the start, ${edge.rssMiB().toFixed(0)} MiB`,
);

async function snapshotNumber(): Promise<number> {
  return (
    (await (await fetch(`http://127.0.0.1:${edge.controlPort}/v1/snapshot`)).json()) as { number: number }
  ).number;
}

/** Loads while `change` happens, until a new snapshot is in force. */
async function phase(name: string, change: (() => void) | null): Promise<void> {
  let n = 0;
  const load = await startLoad({
    port: edge.port,
    connections: 16,
    path: () => "/static/a",
    host: () => `s${n++ % 100}.test`,
    pauseMs: 1,
  });
  await Bun.sleep(500);
  load.mark();
  let took = "";
  if (change === null) await Bun.sleep(2_000);
  else {
    const before = await snapshotNumber();
    const changedMs = performance.now();
    change();
    while ((await snapshotNumber()) === before) await Bun.sleep(20);
    took = `, in force after ${((performance.now() - changedMs) / 1000).toFixed(2)} s`;
  }
  const report = await load.stop();
  const ms = (q: number): string => `${report.quantile(q).toFixed(2)}`;
  console.log(
    `${name}: ${report.requests} hits, p50 ${ms(0.5)} p99 ${ms(0.99)} p99.9 ${ms(0.999)} max ${report.maxMs.toFixed(1)} ms, ${report.failures} failed${took}`,
  );
}

await phase("warm", null);
await phase("without a swap", null);
await phase("swap, every site changed", () => write(1, SITES));
await phase("swap, one site changed", () => {
  write(2, 1);
});
await phase("after", null);
console.log(`${edge.rssMiB().toFixed(0)} MiB`);
await edge.stop();
await origin.stop(true);
