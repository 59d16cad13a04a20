/** 500 viewers of one slow object: how often the origin is asked, and how long the slowest viewer waits. */
import { crowd } from "../load/viewers.ts";
import type { RunningPeer } from "../peers/peer.ts";
import type { Measure } from "../results.ts";
import { HOST, type Stage } from "../stage.ts";
import { SHORT_SECONDS, SLOW_MS } from "../workload.ts";

const VIEWERS = 500;
const BYTES = 1_024;
/** After this the object that was stored for `SHORT_SECONDS` is stale for everybody, in milliseconds. */
const EXPIRED_MS = (SHORT_SECONDS + 1.2) * 1000;
let objects = 0;

/** The three crowds: on an object that nobody asked for before, on one that expired, on one that may not be stored. */
export async function crowds(stage: Stage, peers: readonly RunningPeer[]): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const [measure, kind] of [
    ["cold", "slow"],
    ["expired", "slow-short"],
    ["no-store", "slow-no-store"],
  ] as const) {
    for (const running of peers.filter(({ peer }) => peer.caches)) {
      const path = `/${kind}/${BYTES}/${objects++}`;
      if (kind === "slow-short") {
        await crowd(running.httpPort, HOST, path, 1);
        await Bun.sleep(EXPIRED_MS);
      }
      const before = await stage.originRequests();
      const { timesMs, failures } = await crowd(running.httpPort, HOST, path, VIEWERS);
      measures.push({
        measure: `${VIEWERS} viewers, ${measure}`,
        peer: running.peer.name,
        figures: {
          "origin requests": (await stage.originRequests()) - before,
          "slowest / origin": (timesMs.at(-1) ?? Number.NaN) / SLOW_MS,
        },
        void: failures > 0 ? `${failures} of ${VIEWERS} viewers had no whole answer` : null,
      });
    }
  }
  return measures;
}
