/** A realistic mix at a fixed rate below saturation, for its latencies. */
import type { RunningPeer } from "../peers/peer.ts";
import type { Measure } from "../results.ts";
import { LOAD_CPU, type Stage } from "../stage.ts";
import { median } from "../statistics.ts";

/** What the mix is. */
export interface MixOptions {
  readonly objects: number;
  /** Requests a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly rounds: number;
  /** Requests before the first timed one. */
  readonly warm: number;
}

interface Line {
  readonly answered: number;
  readonly failures: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly lateP99Us: number;
}

/** Runs the mix on every peer in turn, in interleaved rounds; each round goes on where the last one ended. */
export async function mixLatency(
  stage: Stage,
  peers: readonly RunningPeer[],
  options: MixOptions,
): Promise<Measure[]> {
  const program = new URL("../load/open-loop-program.ts", import.meta.url).pathname;
  const able = peers.filter(({ peer }) => peer.caches);
  const lines = new Map<RunningPeer, { line: Line; hits: number }[]>(able.map((running) => [running, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (let at = 0; at < able.length; at++) {
      const running = able[(at + round) % able.length] as RunningPeer;
      const warm = round === 0 ? options.warm : options.warm / 10;
      const start = round === 0 ? 0 : options.warm + round * options.rate * options.seconds;
      const before = await stage.originRequests();
      const argv = [
        program,
        running.httpPort,
        options.rate,
        options.seconds,
        options.objects,
        warm,
        Math.floor(start),
      ];
      // It looks for answers all the time, and the origin has the same core: a miss would wait for the end of its turn.
      const started = { cpus: LOAD_CPU, yields: true };
      const text = await stage.processes.run([process.execPath, ...argv.map(String)], started);
      const line = JSON.parse(text) as Line;
      const asked = (await stage.originRequests()) - before;
      lines.get(running)?.push({ line, hits: 1 - asked / (line.answered + warm) });
    }
  }
  return able.map((running) => {
    const of = lines.get(running) ?? [];
    const failures = of.reduce((sum, { line }) => sum + line.failures, 0);
    const middle = (pick: (line: Line) => number): number => median(of.map(({ line }) => pick(line)));
    return {
      measure: `mix at ${options.rate}/s`,
      peer: running.peer.name,
      figures: {
        "p50 us": Math.round(middle((line) => line.p50Us)),
        "p99 us": Math.round(middle((line) => line.p99Us)),
        "p99.9 us": Math.round(middle((line) => line.p999Us)),
        "hits %": Math.round(100 * median(of.map(({ hits }) => hits))),
        "generator late p99 us": Math.round(middle((line) => line.lateP99Us)),
      },
      void: failures > 0 ? `${failures} requests failed` : null,
    };
  });
}
