/** A start with many objects on disk: how long until the port answers, and until a stored object is served. */
import { wrk } from "../load/wrk.ts";
import { DEFAULT_CACHE_BYTES, proxima, SHIPPED } from "../peers/proxima.ts";
import type { Measure } from "../results.ts";
import { HOST, makeFolder, type Stage } from "../stage.ts";

const BYTES = 1_024;
const PIECE_SECONDS = 5;
const PIECES_MAX = 200;
const GAP = 1_000;
/** Objects that are asked for after the second start; all of them have to be there. */
const PROBES = 1_000;
/** wrk asks its script for a first request that it does not send. */
const PROBES_FROM = 10;
/** Time for what is still on its way to the disk, in milliseconds. */
const SETTLE_MS = 3_000;

/** Fills a disk with `objects` objects, starts again, and asks for the first of them. */
export async function startUp(stage: Stage, objects: number): Promise<Measure> {
  const path = makeFolder(stage, "disk-cache");
  const peer = proxima({
    ...SHIPPED,
    settings: { cache: { disk: { path, size: "40GiB" } }, dataDir: makeFolder(stage, "disk-data") },
  });
  const start = () => peer.start(stage, { cacheBytes: DEFAULT_CACHE_BYTES });
  const first = await start();
  const originBefore = await stage.originRequests();
  const stored = async (): Promise<number> => (await stage.originRequests()) - originBefore;
  let next = 0;
  let failures = 0;
  for (let piece = 0; piece < PIECES_MAX && (await stored()) < objects; piece++) {
    const report = await wrk(stage, first, {
      paths: { kind: "distinct", prefix: `/hit/${BYTES}/`, start: next },
      seconds: PIECE_SECONDS,
      connections: 32,
    });
    next += report.requests + GAP;
    failures += report.failures;
  }
  const count = await stored();
  await Bun.sleep(SETTLE_MS);
  const stopMs = performance.now();
  await first.stop();
  const beganMs = performance.now();
  const second = await start();
  const listeningMs = performance.now() - beganMs;
  const before = await stage.originRequests();
  let servedMs = Number.NaN;
  for (let object = PROBES_FROM; object < PROBES_FROM + PROBES; object++) {
    const url = `http://127.0.0.1:${second.httpPort}/hit/${BYTES}/${object}`;
    await (await fetch(url, { headers: { host: HOST } })).arrayBuffer();
    if (object === PROBES_FROM) servedMs = performance.now() - beganMs;
  }
  const lost = (await stage.originRequests()) - before;
  const residentBytes = second.process.residentBytes();
  await second.stop();
  return {
    measure: "start with 1 KB objects on disk",
    peer: peer.name,
    figures: {
      objects: count,
      "listening after ms": Math.round(listeningMs),
      "first hit after ms": Math.round(servedMs),
      "stopped in ms": Math.round(beganMs - stopMs),
      "MiB resident": Math.round(residentBytes / 2 ** 20),
    },
    void:
      failures > 0
        ? `${failures} requests failed`
        : count < objects
          ? `only ${count} stored`
          : lost > 0
            ? `${lost} of ${PROBES} objects were not on disk`
            : null,
  };
}
