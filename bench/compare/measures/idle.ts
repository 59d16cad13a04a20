/** Memory of connections that are open and silent after one answer. */

import type { Peer } from "../peers/peer.ts";
import { DEFAULT_CACHE_BYTES } from "../peers/proxima.ts";
import { DESCRIPTORS } from "../processes.ts";
import type { Measure } from "../results.ts";
import { LOAD_CPU, type Stage } from "../stage.ts";

const CONNECTIONS = 20_000;
/** Some peers put a descriptor aside for the origin's side of each connection, and some hundreds for themselves. */
const SHARE = 0.45;
/** How long opening may take, in milliseconds. */
const OPEN_WAIT_MS = 60_000;
const SETTLE_MS = 1_000;

/** Opens the connections to a fresh instance of each peer. */
export async function idleConnections(stage: Stage, peers: readonly Peer[]): Promise<Measure[]> {
  const connections = Math.min(CONNECTIONS, Math.floor(DESCRIPTORS * SHARE));
  const program = new URL("../load/idle-program.ts", import.meta.url).pathname;
  const measures: Measure[] = [];
  for (const peer of peers.filter(({ caches }) => caches)) {
    const running = await peer.start(stage, { cacheBytes: DEFAULT_CACHE_BYTES });
    await fetch(`http://127.0.0.1:${running.httpPort}/hit/1024/a`, { headers: { host: "bench.test" } });
    const before = running.process.residentBytes();
    const argv = [process.execPath, program, String(running.httpPort), String(connections), "/hit/1024/a"];
    const viewers = stage.processes.start("idle viewers", argv, { cpus: LOAD_CPU });
    const endMs = performance.now() + OPEN_WAIT_MS;
    while (!viewers.output.includes("held") && viewers.running && performance.now() < endMs)
      await Bun.sleep(50);
    const held = viewers.output.includes("held");
    await Bun.sleep(SETTLE_MS);
    const bytes = running.process.residentBytes() - before;
    const alive = viewers.running;
    measures.push({
      measure: `${connections} idle connections`,
      peer: peer.name,
      figures: { "bytes each": Math.round(bytes / connections), "MiB in all": Math.round(bytes / 2 ** 20) },
      void:
        held && alive
          ? null
          : `they did not stand: ${viewers.output.split("\n").find((line) => line.startsWith("error")) ?? "too slow"}`,
    });
    await viewers.stop();
    await running.stop();
  }
  return measures;
}
