/**
 * Eviction policies on generated traces: object and byte miss ratio by cache size, and time per request.
 * Deterministic: the same table each time, but for the times.
 *
 *   npm run bench -- eviction            the table of docs/decisions/0007-eviction.md
 *   npm run bench -- eviction --all      with the variants that were tried and not kept, and every trace
 */
import { Gdsf } from "../src/cache/eviction/gdsf.ts";
import { createPolicy, POLICY_NAMES } from "../src/cache/eviction/policies.ts";
import type { EvictionPolicy } from "../src/cache/eviction/policy.ts";
import { S3Fifo } from "../src/cache/eviction/s3-fifo.ts";
import { footprintBytes, SimulatedNode, simulate, type Trace } from "../src/cache/eviction/simulator.ts";
import { generateTrace, type TraceRecipe } from "../src/cache/eviction/trace.ts";

const ALL = process.argv.includes("--all");
const SHARES = [0.001, 0.01, 0.03, 0.1, 0.3];
const REQUESTS = 300_000;
const OBJECTS = 60_000;

const WEB = { medianBytes: 12_000, sigma: 1.5 };
const FLAT = { medianBytes: 20_000, sigma: 0.3 };
const VIDEO = { medianBytes: 4_000_000, sigma: 1.2, share: 0.08 };
const base = { requests: REQUESTS, objects: OBJECTS };

const TRACES: Readonly<Record<string, TraceRecipe>> = {
  "zipf 0.6": { ...base, seed: 1, alpha: 0.6, sizes: WEB },
  "zipf 0.9": { ...base, seed: 2, alpha: 0.9, sizes: WEB },
  "zipf 1.2": { ...base, seed: 3, alpha: 1.2, sizes: WEB },
  "zipf 0.9, like sizes": { ...base, seed: 4, alpha: 0.9, sizes: FLAT },
  web: { ...base, seed: 5, alpha: 0.9, sizes: WEB, arrivals: 0.02, oneHit: 0.15 },
  "one-hit wonders": { ...base, seed: 6, alpha: 0.9, sizes: WEB, oneHit: 0.4 },
  churn: { ...base, seed: 7, alpha: 1, sizes: WEB, arrivals: 0.2 },
  scans: {
    ...base,
    seed: 8,
    alpha: 0.9,
    sizes: WEB,
    arrivals: 0.005,
    scan: { everyRequests: 30_000, objects: 15_000 },
  },
  bursts: { ...base, seed: 11, alpha: 0.6, sizes: WEB, repeat: { share: 0.4, within: 200 } },
  loop: { ...base, seed: 9, alpha: 0.9, sizes: WEB, loop: { share: 0.3, objects: 20_000 } },
  "small and video": { ...base, seed: 10, alpha: 0.8, sizes: WEB, large: VIDEO, arrivals: 0.02, oneHit: 0.1 },
};

type Make = (bytesMax: number) => EvictionPolicy<SimulatedNode>;
const policies: [string, Make][] = POLICY_NAMES.map((name) => [
  name,
  (bytesMax) => createPolicy(name, bytesMax),
]);
if (ALL) {
  policies.push(["s3-fifo without guard", (bytesMax) => new S3Fifo(bytesMax, { guard: false })]);
  for (const sizeExponent of [0, 0.5, 1]) {
    policies.push([`gdsf, exponent ${sizeExponent}`, (bytesMax) => new Gdsf(bytesMax, { sizeExponent })]);
  }
}

const names = Object.keys(TRACES);
const rows = policies.map(([name, make]) => ({
  name,
  make,
  object: SHARES.map(() => 0),
  byte: SHARES.map(() => 0),
  ms: 0,
}));
const width = Math.max(...policies.map(([name]) => name.length));
const percents = (ratios: readonly number[]) =>
  ratios.map((ratio) => (ratio * 100).toFixed(1).padStart(4)).join(" | ");
const shares = SHARES.map((share) => `${share * 100} %`).join(" | ");
const startMs = performance.now();

for (const [title, recipe] of Object.entries(TRACES)) {
  const trace: Trace = generateTrace(recipe);
  const footprint = footprintBytes(trace);
  if (ALL)
    console.log(
      `\n${title}: ${trace.sizes.length} objects, ${(footprint / 1e9).toFixed(2)} GB; object misses at ${shares}, byte misses`,
    );
  for (const row of rows) {
    const results = SHARES.map((share) => {
      const bytesMax = Math.floor(footprint * share);
      const beganMs = performance.now();
      const result = simulate(trace, row.make(bytesMax), bytesMax);
      row.ms += performance.now() - beganMs;
      return result;
    });
    for (const [at, { objectMissRatio, byteMissRatio }] of results.entries()) {
      row.object[at] = (row.object[at] ?? 0) + objectMissRatio / names.length;
      row.byte[at] = (row.byte[at] ?? 0) + byteMissRatio / names.length;
    }
    if (!ALL) continue;
    const object = results.map((result) => result.objectMissRatio);
    const byte = results.map((result) => result.byteMissRatio);
    console.log(`| ${row.name.padEnd(width)} | ${percents(object)} | | ${percents(byte)} |`);
  }
}

console.log(
  `\nMean of ${names.length} traces of ${REQUESTS} requests: misses in % of objects, and of bytes, by cache size in % of the footprint\n`,
);
console.log(`| ${"policy".padEnd(width)} | ${shares} | | ${shares} | request | hit |`);
console.log(`|${"---|".repeat(4 + 2 * SHARES.length)}`);
for (const { name, make, object, byte, ms } of rows) {
  const requestNs = (ms * 1e6) / (names.length * SHARES.length * REQUESTS);
  console.log(
    `| ${name.padEnd(width)} | ${percents(object)} | | ${percents(byte)} | ${requestNs.toFixed(0)} ns | ${hitNs(make).toFixed(1)} ns |`,
  );
}
console.log(`\n${((performance.now() - startMs) / 1000).toFixed(0)} s`);

/** Time of one hit among 50,000 nodes, in nanoseconds. */
function hitNs(make: Make): number {
  const policy = make(1e12);
  const nodes = Array.from({ length: 50_000 }, (_, at) => new SimulatedNode(at * 2_654_435_761, 10_000));
  for (const node of nodes) policy.insert(node);
  const order = Array.from(
    { length: 1_000_000 },
    (_, at) => nodes[(at * 7_919) % nodes.length] as SimulatedNode,
  );
  const beganMs = performance.now();
  for (const node of order) policy.hit(node);
  return ((performance.now() - beganMs) * 1e6) / order.length;
}
