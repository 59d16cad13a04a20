/** What Proxima wants to reach, as ratios of one run, and whether it did. */
import { SIZES } from "./cells.ts";
import { cpuRatio, figureOf, OURS, type Results, rateRatio } from "./results.ts";

/** A target and what was measured. */
export interface Outcome {
  readonly text: string;
  readonly wanted: string;
  /** Null when it was not measured, or not validly. */
  readonly measured: number | null;
  readonly met: boolean | null;
  /** For a rate: the same by CPU time for a request, which other work on the machine disturbs less. */
  readonly byCpu: number | null;
}

const CACHING = ["nginx", "haproxy", "varnish", "trafficserver"] as const;
type Caching = (typeof CACHING)[number];

function atLeast(
  text: string,
  measured: number | null,
  wanted: number,
  byCpu: number | null = null,
): Outcome {
  return {
    text,
    wanted: `>= ${wanted}`,
    measured,
    met: measured === null ? null : measured >= wanted,
    byCpu,
  };
}

function atMost(text: string, measured: number | null, wanted: number): Outcome {
  return {
    text,
    wanted: `<= ${wanted}`,
    measured,
    met: measured === null ? null : measured <= wanted,
    byCpu: null,
  };
}

/** The least rate ratio that is wanted against each peer, for the hits of a protocol and a size. */
function hitTargets(protocol: string, bytes: number): Partial<Record<Caching, number>> {
  const every = { nginx: 1, haproxy: 1, varnish: 1, trafficserver: 1 };
  const small = bytes <= 10_240;
  if (protocol === "h2") return small ? { nginx: 1.5, haproxy: 1 } : every;
  if (protocol === "h1") return small ? { nginx: 1.1, varnish: 1.5 } : every;
  return every;
}

/** Every target, with the figures of a run. Peers that do not speak a protocol set no target for it. */
export function outcomes(results: Results): Outcome[] {
  const found: Outcome[] = [];
  const cell = (id: string, peer: Caching, wanted: number): void => {
    const title = results.cells.find((one) => one.id === id)?.title;
    const entered = results.cellResults.some((one) => one.cell === id && one.peer === peer);
    if (title === undefined || !entered) return;
    const [rate, cpu] = [rateRatio(results, id, OURS, peer), cpuRatio(results, id, OURS, peer)];
    found.push(atLeast(`${title}: rate / ${peer}`, rate, wanted, cpu));
  };
  for (const protocol of ["h2", "h1-tls", "h1"]) {
    for (const [size, bytes] of SIZES) {
      const id = `${protocol}-${size.replace(" ", "").toLowerCase()}`;
      const wanted = hitTargets(protocol, bytes);
      for (const peer of CACHING) if (wanted[peer] !== undefined) cell(id, peer, wanted[peer]);
    }
  }
  for (const id of ["miss-1kb", "304-10kb", "range-1mb"]) cell(id, "nginx", 1);
  const measures = (text: string): string[] => [
    ...new Set(results.measures.map(({ measure }) => measure).filter((name) => name.includes(text))),
  ];
  for (const mix of measures("mix at ")) {
    const [ours, theirs] = [OURS, "nginx"].map((peer) => figureOf(results, mix, peer, "p99 us"));
    found.push(atMost(`${mix}: p99 / nginx`, ours == null || theirs == null ? null : ours / theirs, 1));
  }
  for (const crowd of measures(" viewers, ")) {
    const noStore = crowd.includes("no-store");
    // Of what nothing is known, the first answer has to be waited for, if a cold object is to be one request.
    if (crowd.endsWith("nothing known")) continue;
    if (!noStore)
      found.push(atMost(`${crowd}: origin requests`, figureOf(results, crowd, OURS, "origin requests"), 1));
    found.push(
      atMost(
        `${crowd}: slowest / origin's time`,
        figureOf(results, crowd, OURS, "slowest / origin"),
        noStore ? 1.2 : 1.1,
      ),
    );
  }
  for (const memory of measures("memory of stored")) {
    found.push(atMost(`${memory}: bytes each`, figureOf(results, memory, OURS, "bytes each"), 1_900));
  }
  for (const scaling of measures("two workers")) {
    found.push(atLeast(`${scaling}, by CPU`, figureOf(results, scaling, OURS, "two free cores / one"), 1.7));
  }
  return found;
}
