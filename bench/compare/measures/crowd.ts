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

/** What a crowd comes to. The first of the objects that may not be stored lies in a folder of its own (its size names it). */
const CROWDS = [
  { measure: "cold", folder: `/slow/${BYTES}`, askedBefore: "nothing" },
  { measure: "expired", folder: `/slow-short/${BYTES}`, askedBefore: "expired" },
  { measure: "no-store, nothing known", folder: `/slow-no-store/${BYTES + 1}`, askedBefore: "nothing" },
  { measure: "no-store, URL known", folder: `/slow-no-store/${BYTES}`, askedBefore: "itself" },
  { measure: "no-store, new URL", folder: `/slow-no-store/${BYTES}`, askedBefore: "neighbours" },
] as const;
/** Other objects of the folder that are asked for before a crowd comes to a new one. */
const NEIGHBOURS = 10;

/**
 * The crowds: on an object that nobody asked for before, on one that expired, and on one that may not be stored,
 * of which nothing is known, that was asked for before, or of which only the neighbours were.
 */
export async function crowds(stage: Stage, peers: readonly RunningPeer[]): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const { measure, folder, askedBefore } of CROWDS) {
    for (const running of peers.filter(({ peer }) => peer.caches)) {
      const ask = (path: string, viewers: number) => crowd(running.httpPort, HOST, path, viewers);
      const path = `${folder}/${objects++}`;
      if (askedBefore === "expired" || askedBefore === "itself") await ask(path, 1);
      if (askedBefore === "expired") await Bun.sleep(EXPIRED_MS);
      if (askedBefore === "neighbours")
        await Promise.all(Array.from({ length: NEIGHBOURS }, () => ask(`${folder}/${objects++}`, 1)));
      const before = await stage.originRequests();
      const { timesMs, failures } = await ask(path, VIEWERS);
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
