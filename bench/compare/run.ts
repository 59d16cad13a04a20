/** A run of the comparison from its first process to its last. */
import { CELLS, cellsOf } from "./cells.ts";
import { machine, versions } from "./machine.ts";
import { crowds } from "./measures/crowd.ts";
import { idleConnections } from "./measures/idle.ts";
import { mixLatency } from "./measures/mix.ts";
import { scaling } from "./measures/scaling.ts";
import { startUp } from "./measures/startup.ts";
import { storedObjects } from "./measures/stored.ts";
import type { Options } from "./options.ts";
import { describeMissing, missingPrograms, TOOLS } from "./packages.ts";
import { OTHERS } from "./peers/all.ts";
import type { Peer, RunningPeer } from "./peers/peer.ts";
import { DEFAULT_CACHE_BYTES, FEATURES, LOGGED, proxima, SHIPPED } from "./peers/proxima.ts";
import type { CellResult, Measure, Results } from "./results.ts";
import { runCell } from "./rounds.ts";
import { LOAD_CPU, type Stage, setStage } from "./stage.ts";

/** Cells that the rows with a log and with features are measured in: the rest would only be more of the same. */
const VARIANT_CELLS = ["h1-1kb", "h2-1kb", "h1-100kb"];

/** The peers of a run. Throws with the packages that are missing. */
export function peersOf(options: Options): Peer[] {
  const chosen = OTHERS.filter(({ name }) => options.peers === null || options.peers.includes(name));
  for (const name of options.peers ?? []) {
    if (name !== SHIPPED.name && !OTHERS.some((peer) => peer.name === name)) {
      throw new Error(`there is no peer ${name}; there are: ${OTHERS.map((peer) => peer.name).join(", ")}`);
    }
  }
  const needed = chosen.flatMap(({ needs }) => (needs === null ? [] : [needs]));
  const missing = missingPrograms([...TOOLS, ...(options.allowMissing ? [] : needed)]);
  const words = describeMissing(missing);
  if (words !== null) throw new Error(`The comparison can not run: ${words}.`);
  const absent = missingPrograms(needed);
  const present = chosen.filter(({ needs }) => needs === null || !absent.includes(needs));
  const env: Record<string, string> =
    options.profile === null
      ? {}
      : { BUN_OPTIONS: `--cpu-prof --cpu-prof-md --cpu-prof-dir=${options.profile}` };
  const variants = options.profile === null ? [SHIPPED, LOGGED, FEATURES] : [SHIPPED];
  return [...[...variants, ...options.variants].map((variant) => proxima({ ...variant, env })), ...present];
}

/** Runs it all. Whatever happens, every process that it started has ended when it settles. */
export async function compare(
  options: Options,
  command: string,
  say: (line: string) => void,
): Promise<Results> {
  const peers = peersOf(options);
  const cells = chosenCells(options);
  // The harness itself stays off the server's core.
  Bun.spawnSync(["taskset", "-acp", LOAD_CPU, String(process.pid)]);
  const startedAt = new Date().toISOString().slice(0, 16);
  const stage = await setStage();
  const interrupted = (): void => {
    void stage.stop().finally(() => process.exit(130));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupted);
  try {
    const running: RunningPeer[] = [];
    for (const peer of peers) running.push(await peer.start(stage, { cacheBytes: DEFAULT_CACHE_BYTES }));
    const cellResults: CellResult[] = [];
    for (const cell of cells) {
      const able = running.filter(
        ({ peer }) => ![LOGGED.name, FEATURES.name].includes(peer.name) || VARIANT_CELLS.includes(cell.id),
      );
      const { rounds, seconds } = options;
      cellResults.push(...(await runCell(stage, able, cell, { rounds, seconds, warmSeconds: seconds, say })));
    }
    const measures = options.measures ? await runMeasures(stage, running, peers, options, say) : [];
    return {
      startedAt,
      command,
      machine: machine(),
      versions: versions(peers),
      tuning: Object.fromEntries(peers.map(({ name, tuning }) => [name, tuning])),
      rounds: options.rounds,
      seconds: options.seconds,
      cells: cells.map(({ id, group, title }) => ({ id, group, title })),
      peers: peers.map(({ name }) => name),
      ceilings: peers.filter(({ caches }) => !caches).map(({ name }) => name),
      cellResults,
      measures,
    };
  } finally {
    await stage.stop();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, interrupted);
  }
}

function chosenCells(options: Options): typeof CELLS {
  const { cells: wanted } = options;
  if (wanted === null) return cellsOf(options.command === "quick");
  const found = CELLS.filter(({ id }) => wanted.some((start) => id.startsWith(start)));
  if (found.length > 0) return found;
  throw new Error(
    `no cell begins with ${wanted.join(" or ")}; there are: ${CELLS.map(({ id }) => id).join(", ")}`,
  );
}

async function runMeasures(
  stage: Stage,
  running: readonly RunningPeer[],
  peers: readonly Peer[],
  options: Options,
  say: (line: string) => void,
): Promise<Measure[]> {
  const quick = options.command === "quick";
  const isMain = ({ name }: Peer): boolean => name !== LOGGED.name && name !== FEATURES.name;
  const mains = running.filter(({ peer }) => isMain(peer));
  const kinds = peers.filter(isMain);
  const ours = kinds.filter(({ needs }) => needs === null);
  const mix = { objects: quick ? 20_000 : 200_000, rounds: quick ? 1 : 3 };
  const found: Measure[] = [];
  const add = (measures: readonly Measure[]): void => {
    for (const one of measures) {
      const figures = Object.entries(one.figures).map(
        ([name, value]) => `${name} ${typeof value === "number" ? Math.round(value * 100) / 100 : value}`,
      );
      say(`${one.measure}, ${one.peer}: ${one.void === null ? figures.join(", ") : `void: ${one.void}`}`);
    }
    found.push(...measures);
  };
  add(await crowds(stage, mains));
  add(
    await mixLatency(stage, mains, {
      ...mix,
      rate: 3_000,
      seconds: quick ? 5 : 10,
      warm: quick ? 20_000 : 200_000,
    }),
  );
  // The rest starts instances of its own: those of the cells would only be in the way.
  for (const one of running) await one.stop();
  add(await idleConnections(stage, kinds));
  for (const peer of ours) {
    add(await scaling(stage, peer, { objects: mix.objects, rounds: quick ? 1 : 3, seconds: quick ? 2 : 5 }));
  }
  add([await startUp(stage, quick ? 100_000 : 1_000_000)]);
  add(await storedObjects(stage, quick ? ours : kinds, quick ? 100_000 : 1_000_000));
  return found;
}
