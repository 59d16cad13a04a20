import { describe, expect, test } from "bun:test";
import { createPolicy } from "../../../../src/cache/eviction/policies.ts";
import { footprintBytes, simulate, type Trace } from "../../../../src/cache/eviction/simulator.ts";
import { generateTrace, type TraceRecipe } from "../../../../src/cache/eviction/trace.ts";

const base: TraceRecipe = {
  seed: 1,
  requests: 20_000,
  objects: 2_000,
  alpha: 0.9,
  sizes: { medianBytes: 10_000, sigma: 1 },
};

/** Requests of each object, most first. */
const countsOf = ({ objects, sizes }: Trace) => {
  const counts = new Array<number>(sizes.length).fill(0);
  for (const object of objects) counts[object] = (counts[object] ?? 0) + 1;
  return counts.toSorted((a, b) => b - a);
};

describe("a generated trace", () => {
  test("is the same for the same seed and another for another", () => {
    const scans = { ...base, scan: { everyRequests: 3_000, objects: 500 }, oneHit: 0.2, arrivals: 0.01 };
    expect(generateTrace(scans)).toEqual(generateTrace(scans));
    expect(generateTrace({ ...scans, seed: 2 })).not.toEqual(generateTrace(scans));
  });

  test("is as steep as its exponent says", () => {
    const first = (alpha: number) => (countsOf(generateTrace({ ...base, alpha }))[0] ?? 0) / base.requests;
    // 1 / sum of k^-alpha for k to 2,000
    expect(first(1.2)).toBeCloseTo(0.229, 1);
    expect(first(0.6)).toBeLessThan(0.03);
  });

  test("has sizes between 100 B and 100 MB about the median, and large ones where asked", () => {
    const { sizes } = generateTrace({ ...base, large: { share: 0.2, medianBytes: 50_000_000, sigma: 2 } });
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...sizes)).toBe(100_000_000);
    expect(sizes.filter((size) => size > 1_000_000).length / sizes.length).toBeCloseTo(0.2, 1);
  });

  test("has one-hit wonders, scans, loops and repeats in their shares", () => {
    const once = countsOf(generateTrace({ ...base, oneHit: 0.5 })).filter((count) => count === 1).length;
    expect(once / base.requests).toBeGreaterThan(0.47);
    const scanned = countsOf(generateTrace({ ...base, scan: { everyRequests: 1_000, objects: 1_000 } }));
    expect(scanned.filter((count) => count >= 9 && count <= 11).length).toBeGreaterThan(900);
    const looped = countsOf(generateTrace({ ...base, loop: { share: 0.5, objects: 100 } }));
    expect(looped.filter((count) => count >= 90).length).toBeGreaterThanOrEqual(100);
    const repeated = generateTrace({
      ...base,
      alpha: 0,
      objects: 100_000,
      repeat: { share: 0.5, within: 10 },
    });
    expect(repeated.sizes.length / base.requests).toBeCloseTo(0.45, 1);
  });
});

describe("the simulator", () => {
  test("counts misses of requests and of bytes, first requests included", () => {
    const trace: Trace = {
      objects: Uint32Array.from([0, 1, 0, 2, 1, 0]),
      sizes: Float64Array.from([100, 200, 5_000]),
      overheadBytes: 10,
    };
    expect(footprintBytes(trace)).toBe(5_330);
    const all = simulate(trace, createPolicy("lru", 10_000), 10_000);
    expect(all).toMatchObject({
      requests: 6,
      misses: 3,
      bytes: 5_700,
      missBytes: 5_300,
      objectMissRatio: 0.5,
    });
    // Object 2 is larger than the cache: it passes by without pushing anybody out.
    expect(simulate(trace, createPolicy("lru", 500), 500)).toMatchObject({ misses: 3 });
    expect(simulate(trace, createPolicy("lru", 250), 250)).toMatchObject({ misses: 6, missBytes: 5_700 });
  });

  test("misses nothing but first requests when everything fits, whatever the policy", () => {
    const trace = generateTrace({ ...base, oneHit: 0.1 });
    const bytesMax = footprintBytes(trace);
    for (const name of ["lru", "sieve", "s3-fifo", "w-tinylfu", "gdsf"] as const) {
      expect([name, simulate(trace, createPolicy(name, bytesMax), bytesMax).misses]).toEqual([
        name,
        trace.sizes.length,
      ]);
    }
  });
});
