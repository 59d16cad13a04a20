/** The rounds of a cell: every peer in turn, the order moving on by one each round, what is wrong made void. */
import type { Cell } from "./cells.ts";
import { h2loadCell } from "./load/h2load.ts";
import type { LoadReport } from "./load/report.ts";
import { wrkCell } from "./load/wrk.ts";
import { type RunningPeer, urlOf } from "./peers/peer.ts";
import { busySecondsOf } from "./processes.ts";
import type { CellResult, Sample } from "./results.ts";
import { HOST, SERVER_CPU, type Stage } from "./stage.ts";
import { bodyOf } from "./workload.ts";

/** How long and how often. */
export interface RoundOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  say(line: string): void;
}

/** Share of misses that may be fewer at the origin than at the peer: those under way when the load ends. */
const MISS_TOLERANCE = 0.02;
let misses = 0;

/** Runs a cell on all peers that speak its protocol. */
export async function runCell(
  stage: Stage,
  peers: readonly RunningPeer[],
  cell: Cell,
  options: RoundOptions,
): Promise<CellResult[]> {
  const able = peers.filter(
    ({ peer }) => peer.protocols.includes(cell.protocol) && (peer.caches || cell.group === "hits"),
  );
  const samples = new Map<RunningPeer, Sample[]>(able.map((running) => [running, []]));
  const voids = new Map<RunningPeer, string>();
  for (const running of able) {
    // The first one brings the object into the cache: whole, and without conditions.
    if (cell.path !== null) await sampleProblem(running, { ...cell, fields: {} });
    const wrong = await sampleProblem(running, cell);
    if (wrong !== null) voids.set(running, wrong);
    else await load(stage, running, cell, options.warmSeconds);
  }
  for (let round = 0; round < options.rounds; round++) {
    for (let at = 0; at < able.length; at++) {
      const running = able[(at + round) % able.length] as RunningPeer;
      if (voids.has(running)) continue;
      const { sample, problem } = await measure(stage, running, cell, options.seconds);
      if (problem !== null) voids.set(running, problem);
      else samples.get(running)?.push(sample);
    }
  }
  for (const running of able) {
    const wrong = voids.has(running) ? null : await sampleProblem(running, cell);
    if (wrong !== null) voids.set(running, `afterwards: ${wrong}`);
  }
  const results = able.map((running) => ({
    cell: cell.id,
    peer: running.peer.name,
    samples: samples.get(running) ?? [],
    void: voids.get(running) ?? null,
  }));
  for (const one of results) {
    const rates = one.samples.map((sample) => Math.round(sample.requestsPerSecond)).join(" ");
    options.say(
      `${cell.id.padEnd(14)} ${one.peer.padEnd(22)} ${one.void === null ? rates : `void: ${one.void}`}`,
    );
  }
  return results;
}

async function measure(
  stage: Stage,
  running: RunningPeer,
  cell: Cell,
  seconds: number,
): Promise<{ sample: Sample; problem: string | null }> {
  const originBefore = await stage.originRequests();
  const cpuBefore = running.process.cpuSeconds();
  const coreBefore = busySecondsOf(SERVER_CPU);
  const startMs = performance.now();
  const report = await load(stage, running, cell, seconds);
  const wallSeconds = (performance.now() - startMs) / 1000;
  const cpuSeconds = running.process.cpuSeconds() - cpuBefore;
  const coreSeconds = busySecondsOf(SERVER_CPU) - coreBefore;
  const asked = (await stage.originRequests()) - originBefore;
  return {
    sample: {
      requestsPerSecond: report.requestsPerSecond,
      p50Us: report.p50Us,
      p99Us: report.p99Us,
      cpuUs: (cpuSeconds * 1e6) / report.requests,
      busy: cpuSeconds / wallSeconds,
      foreign: Math.max(0, coreSeconds - cpuSeconds) / wallSeconds,
    },
    problem: problemOf(cell, running, report, asked),
  };
}

/** Why a run does not count; null when it does. */
export function problemOf(
  cell: Pick<Cell, "path">,
  running: { readonly peer: { readonly caches: boolean } },
  report: LoadReport,
  originRequests: number,
): string | null {
  if (report.requests === 0) return "no answers";
  if (report.failures > 0) return `${report.failures} of ${report.requests} requests failed`;
  if (!running.peer.caches) return null;
  if (cell.path !== null && originRequests > 0) {
    return `not cached: the origin was asked ${originRequests} times for ${report.requests} requests`;
  }
  if (cell.path === null && originRequests < report.requests * (1 - MISS_TOLERANCE)) {
    return `no misses: the origin was asked ${originRequests} times for ${report.requests} requests`;
  }
  return null;
}

function load(stage: Stage, running: RunningPeer, cell: Cell, seconds: number): Promise<LoadReport> {
  return cell.generator === "h2load"
    ? h2loadCell(stage, running, cell, seconds)
    : wrkCell(stage, running, cell, seconds, `/hit/${cell.bodyBytes}/${misses++}-`);
}

/** What the cell's generator says in Host: a cache may keep objects apart by it. */
function hostOf(running: RunningPeer, { generator, protocol }: Cell): string {
  if (generator === "wrk") return HOST;
  return `${HOST}:${protocol === "h1" ? running.httpPort : running.httpsPort}`;
}

/** Asks once and compares status and body; null when both are right. */
async function sampleProblem(running: RunningPeer, cell: Cell): Promise<string | null> {
  const path = cell.path ?? `/hit/${cell.bodyBytes}/sample-${misses++}`;
  let answer: Response;
  let body: Buffer;
  try {
    answer = await fetch(urlOf(running, cell.protocol, path), {
      headers: { ...cell.fields, host: hostOf(running, cell), "accept-encoding": "identity" },
      tls: { rejectUnauthorized: false },
      decompress: false,
      keepalive: false,
    });
    body = Buffer.from(await answer.arrayBuffer());
  } catch (error) {
    return `a sample failed: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (answer.status !== cell.status) return `answers ${answer.status}, not ${cell.status}`;
  if (body.byteLength !== cell.bodyBytes) return `a body of ${body.byteLength} bytes, not ${cell.bodyBytes}`;
  return body.equals(bodyOf(cell.bodyBytes)) ? null : "a body of other bytes";
}
