/** Memory of many stored objects of 1 KB; on Proxima also a purge of one tag among them, over its API. */
import { wrk } from "../load/wrk.ts";
import type { Peer, RunningPeer } from "../peers/peer.ts";
import type { Measure } from "../results.ts";
import { HOST, type Stage } from "../stage.ts";
import { TAGS } from "../workload.ts";

/** Room for a million objects with whatever a peer keeps beside each of them. */
const CACHE_BYTES = 4_000 * 2 ** 20;
const PIECE_SECONDS = 5;
/** Most pieces: a peer that stores fewer than 2,000 a second does not get all of them. */
const PIECES_MAX = 100;
const BYTES = 1_024;
const SETTLE_MS = 3_000;
/** More than what a load has under way when it ends. */
const GAP = 1_000;

/** Fills a fresh instance of each peer with `objects` objects. */
export async function storedObjects(
  stage: Stage,
  peers: readonly Peer[],
  objects: number,
): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const peer of peers.filter(({ caches }) => caches)) {
    const running = await peer.start(stage, { cacheBytes: CACHE_BYTES });
    const before = running.process.residentBytes();
    const beganMs = performance.now();
    const originBefore = await stage.originRequests();
    let start = 0;
    let failures = 0;
    for (let piece = 0; piece < PIECES_MAX; piece++) {
      const stored = (await stage.originRequests()) - originBefore;
      if (stored >= objects) break;
      const report = await wrk(stage, running, {
        paths: { kind: "distinct", prefix: `/tagged/${BYTES}/`, start },
        seconds: PIECE_SECONDS,
        connections: 32,
      });
      start += report.requests + GAP;
      failures += report.failures;
    }
    const stored = (await stage.originRequests()) - originBefore;
    const seconds = (performance.now() - beganMs) / 1000;
    await Bun.sleep(SETTLE_MS);
    const bytes = running.process.residentBytes() - before;
    measures.push({
      measure: "memory of stored 1 KB objects",
      peer: peer.name,
      figures: {
        objects: stored,
        "bytes each": Math.round(bytes / stored),
        "stored a second": Math.round(stored / seconds),
      },
      void: failures > 0 ? `${failures} requests failed` : stored < objects ? `only ${stored} stored` : null,
    });
    if (peer.needs === null) measures.push(await purge(stage, running, stored));
    await running.stop();
  }
  return measures;
}

/** Purges one tag in `TAGS` and looks at one object that had it and one that had not. */
async function purge(stage: Stage, running: RunningPeer, objects: number): Promise<Measure> {
  const control = `http://127.0.0.1:${running.controlPort}/v1/purges`;
  const beganMs = performance.now();
  const answer = await fetch(control, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ scope: "tag", tags: ["t7"] }),
  });
  const report = (await answer.json()) as { readonly id?: string };
  const appliedMs = performance.now() - beganMs;
  const asked = async (path: string): Promise<boolean> => {
    const before = await stage.originRequests();
    await (
      await fetch(`http://127.0.0.1:${running.httpPort}${path}`, { headers: { host: HOST } })
    ).arrayBuffer();
    return (await stage.originRequests()) > before;
  };
  const gone = await asked(`/tagged/${BYTES}/${TAGS + 7}`);
  const kept = !(await asked(`/tagged/${BYTES}/${TAGS + 8}`));
  const counted = await fetch(`${control}/${report.id ?? ""}?wait=counted`);
  const text = await counted.text();
  const sweptMs = performance.now() - beganMs;
  return {
    measure: `purge of a tag among ${Math.round(objects / 1000)} thousand objects`,
    peer: running.peer.name,
    figures: {
      "answered after ms": appliedMs,
      "counted after ms": sweptMs,
      "objects purged": Number(/"(?:objects|count|counted|purged)":\s*(\d+)/.exec(text)?.[1] ?? Number.NaN),
    },
    void: !answer.ok
      ? `the control listener said ${answer.status}`
      : !gone
        ? "the purged object is still there"
        : !kept
          ? "another object is gone"
          : null,
  };
}
