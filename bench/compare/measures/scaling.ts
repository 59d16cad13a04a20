/**
 * Two workers on two cores against one on one, under the mix. The generator and the origin need CPU too:
 * with two cores in all, the two workers can not have both to themselves. So the generator is niced to the
 * bottom, and beside the rates stands what does not depend on it: CPU time of the server for each request,
 * and what two free cores would therefore give (2 x CPU with one / CPU with two).
 */
import { join } from "node:path";
import { wrk } from "../load/wrk.ts";
import type { Peer } from "../peers/peer.ts";
import { DEFAULT_CACHE_BYTES } from "../peers/proxima.ts";
import type { Measure } from "../results.ts";
import { LOAD_CPU, SERVER_CPU, type Stage } from "../stage.ts";
import { median } from "../statistics.ts";
import { mixOf, mixPath } from "../workload.ts";

const REQUESTS = 200_000;
const LOWEST = 19;
/** Requests for each worker before it is measured, so that its code is compiled: each compiles its own. */
const WARM_REQUESTS = 200_000;
/** Rounds that warming may take. */
const WARM_ROUNDS_MAX = 12;

/** Loads Proxima with one and with two workers, in turn. */
export async function scaling(
  stage: Stage,
  peer: Peer,
  options: { readonly objects: number; readonly rounds: number; readonly seconds: number },
): Promise<Measure[]> {
  const mix = mixOf(options.objects, REQUESTS);
  const file = join(stage.folder, "mix.txt");
  await Bun.write(file, Array.from(mix.objects, (object) => `${mixPath(mix, object)}\n`).join(""));
  const both = `${SERVER_CPU},${LOAD_CPU}`;
  const rows = await Promise.all(
    [SERVER_CPU, both].map(async (cpus) => ({
      running: await peer.start(stage, { cacheBytes: DEFAULT_CACHE_BYTES, cpus }),
      workers: cpus.split(",").length,
      rates: [] as number[],
      cpuUs: [] as number[],
      failures: 0,
    })),
  );
  const load = { paths: { kind: "listed", file }, connections: 64, cpus: both } as const;
  for (const row of rows) {
    let left = WARM_REQUESTS * row.workers;
    for (let round = 0; round < WARM_ROUNDS_MAX && left > 0; round++)
      left -= (await wrk(stage, row.running, { ...load, seconds: options.seconds })).requests;
  }
  for (let round = 0; round < options.rounds; round++) {
    for (const row of rows) {
      const before = row.running.process.cpuSeconds();
      const report = await wrk(stage, row.running, { ...load, seconds: options.seconds, nice: LOWEST });
      row.failures += report.failures;
      row.rates.push(report.requestsPerSecond);
      row.cpuUs.push(((row.running.process.cpuSeconds() - before) * 1e6) / report.requests);
    }
  }
  const [one, two] = rows;
  for (const { running } of rows) await running.stop();
  const ratio = (of: (row: (typeof rows)[number]) => number[]): number =>
    one === undefined || two === undefined ? Number.NaN : median(of(two)) / median(of(one));
  const failures = rows.reduce((sum, row) => sum + row.failures, 0);
  return [
    {
      measure: "two workers on two cores",
      peer: peer.name,
      figures: {
        "rate, two / one": ratio((row) => row.rates),
        "CPU us a request, one": median(one?.cpuUs ?? []),
        "CPU us a request, two": median(two?.cpuUs ?? []),
        "two free cores / one": 2 / ratio((row) => row.cpuUs),
      },
      void: failures > 0 ? `${failures} requests failed` : null,
    },
  ];
}
