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
import { footprintBytes, type SimulatedNode, simulate, type Trace } from "../src/cache/eviction/simulator.ts";
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
  scans: { ...base, seed: 8, alpha: 0.9, sizes: WEB, arrivals: 0.005, scan: { everyRequests: 30_000, objects: 15_000 } },
  loop: { ...base, seed: 9, alpha: 0.9, sizes: WEB, loop: { share: 0.3, objects: 20_000 } },
  "small and video": { ...base, seed: 10, alpha: 0.8, sizes: WEB, large: VIDEO, arrivals: 0.02, oneHit: 0.1 },
};

type Make = (bytesMax: number) => EvictionPolicy<SimulatedNode>;
const policies: [string, Make][] = POLICY_NAMES.map((name) => [name, (bytesMax) => createPolicy(name, bytesMax)]);
if (ALL) {
  policies.push(["s3-fifo without guard", (bytesMax) => new S3Fifo(bytesMax, { guard: false })]);
  for (const sizeExponent of [0, 0.25, 0.75, 1]) policies.push([`gdsf ${sizeExponent}`, () => new Gdsf({ sizeExponent })]);
}

const rows = new Map(policies.map(([name]) => [name, { object: SHARES.map(() => 0), byte: SHARES.map(() => 0), ms: 0 }]));
const percent = (ratio: number) => (ratio * 100).toFixed(1).padStart(5);
const width = Math.max(...policies.map(([name]) => name.length));
const startMs = performance.now();

for (const [name, recipe] of Object.entries(TRACES)) {
  const trace: Trace = generateTrace(recipe);
  const footprint = footprintBytes(trace);
  console.log(`\n${name}: ${trace.sizes.length} objects, ${(footprint / 1e9).toFixed(2)} GB`);
  console.log(`| ${"".padEnd(width)} | object misses, % at ${SHARES.map((share) => `${share * 100} %`).join(", ")} | byte misses, % |`);
  for (const [policy, make] of policies) {
    const row = rows.get(policy);
    if (row === undefined) continue;
    const object: string[] = [];
    const byte: string[] = [];
    for (const [at, share] of SHARES.entries()) {
      const bytesMax = Math.floor(footprint * share);
      const beganMs = performance.now();
      const { objectMissRatio, byteMissRatio } = simulate(trace, make(bytesMax), bytesMax);
      row.ms += performance.now() - beganMs;
      row.object[at] = (row.object[at] ?? 0) + objectMissRatio / Object.keys(TRACES).length;
      row.byte[at] = (row.byte[at] ?? 0) + byteMissRatio / Object.keys(TRACES).length;
      object.push(percent(objectMissRatio));
      byte.push(percent(byteMissRatio));
    }
    console.log(`| ${policy.padEnd(width)} | ${object.join(" ")} | ${byte.join(" ")} |`);
  }
}

const runs = Object.keys(TRACES).length * SHARES.length * REQUESTS;
console.log(`\nmean of the traces (${((performance.now() - startMs) / 1000).toFixed(0)} s)`);
for (const [policy, { object, byte, ms }] of rows) {
  const nanos = `${((ms * 1e6) / runs).toFixed(0)} ns a request`;
  console.log(`| ${policy.padEnd(width)} | ${object.map(percent).join(" ")} | ${byte.map(percent).join(" ")} | ${nanos} |`);
}
