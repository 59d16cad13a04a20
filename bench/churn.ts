/**
 * What small collections leave of objects that pass through a collection of 32: the engine's Map and Set
 * beside those of src/base, and what a passage costs.
 * Run: npm run bench -- churn
 */
import { edenGC, fullGC, heapStats } from "bun:jsc";
import { ChurnMap } from "../src/base/churn-map.ts";
import { ChurnSet } from "../src/base/churn-set.ts";

const HELD = 32;
const PASSED = 200_000;
const PER_COLLECTION = 10_000;

type Pass = (object: object, n: number) => void;

const map = new Map<string, object>();
const set = new Set<object>();
const churnMap = new ChurnMap<string, object>();
const churnSet = new ChurnSet<object>();
const ways: Readonly<Record<string, Pass>> = {
  Map: (object, n) => {
    map.set(`k${n}`, object);
    map.delete(`k${n - HELD}`);
  },
  ChurnMap: (object, n) => {
    churnMap.set(`k${n}`, object);
    churnMap.delete(`k${n - HELD}`);
  },
  Set: (object) => {
    set.add(object);
    if (set.size > HELD) set.delete(set.values().next().value as object);
  },
  ChurnSet: (object) => {
    churnSet.add(object);
    if (churnSet.size > HELD) churnSet.delete(churnSet.first as object);
  },
};

const objects = (): number => heapStats().objectTypeCounts.Object ?? 0;

console.log("| | left of 10,000 after a small collection | ns for one in and one out |\n|---|---|---|");
for (const [name, pass] of Object.entries(ways)) {
  fullGC();
  const before = objects();
  for (let n = 0; n < PASSED; n++) {
    pass({ n }, n);
    if (n % PER_COLLECTION !== 0) continue;
    await new Promise<void>((resolve) => setImmediate(resolve));
    edenGC();
  }
  edenGC();
  const left = ((objects() - before) * PER_COLLECTION) / PASSED;
  let bestNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const startMs = performance.now();
    for (let n = 0; n < PASSED; n++) pass({ n }, PASSED * (round + 1) + n);
    bestNs = Math.min(bestNs, ((performance.now() - startMs) * 1e6) / PASSED);
  }
  console.log(`| ${name} | ${Math.max(0, Math.round(left))} | ${bestNs.toFixed(0)} |`);
}
