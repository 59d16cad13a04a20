import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Ghost } from "../../../../src/cache/eviction/ghost.ts";
import { mixHash } from "../../../../src/cache/eviction/hash.ts";
import { FrequencySketch } from "../../../../src/cache/eviction/sketch.ts";

describe("the frequency sketch", () => {
  test("never counts too low, up to 15, as long as nothing aged", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 400 }), (keys) => {
        const sketch = new FrequencySketch();
        const exact = new Map<number, number>();
        for (const key of keys) {
          sketch.add(mixHash(key));
          exact.set(key, (exact.get(key) ?? 0) + 1);
        }
        for (const [key, count] of exact) {
          expect(sketch.count(mixHash(key))).toBeGreaterThanOrEqual(Math.min(15, count));
          expect(sketch.count(mixHash(key))).toBeLessThanOrEqual(15);
        }
      }),
      { numRuns: 200 },
    );
  });

  test("seldom counts too high with as many objects as words", () => {
    const sketch = new FrequencySketch();
    sketch.ensure(4_096);
    for (let key = 0; key < 4_096; key++) sketch.add(mixHash(key));
    const never = Array.from({ length: 1_000 }, (_, at) => sketch.count(mixHash(100_000 + at)));
    expect(never.filter((count) => count === 0).length).toBeGreaterThan(700);
  });

  test("answers the same after it has grown", () => {
    const sketch = new FrequencySketch();
    for (let key = 0; key < 300; key++)
      for (let times = 0; times <= key % 9; times++) sketch.add(mixHash(key));
    const before = Array.from({ length: 400 }, (_, key) => sketch.count(mixHash(key)));
    sketch.ensure(100_000);
    expect(Array.from({ length: 400 }, (_, key) => sketch.count(mixHash(key)))).toEqual(before);
  });

  test("halves every count after ten additions a word, so that the past fades", () => {
    const sketch = new FrequencySketch();
    for (let times = 0; times < 15; times++) sketch.add(1);
    expect(sketch.count(1)).toBe(15);
    for (let key = 0; key < 40_000; key++) sketch.add(mixHash(key % 500) ^ 0x5555);
    expect(sketch.count(1)).toBeLessThan(15);
  });
});

describe("the ghost", () => {
  test("remembers a hash until its end, and gives it once", () => {
    const ghost = new Ghost(1_000_000);
    ghost.add(7, 100);
    ghost.add(8, 50);
    expect(ghost.take(8, 50)).toBe(false);
    expect(ghost.take(7, 99)).toBe(true);
    expect(ghost.take(7, 99)).toBe(false);
    expect(ghost.take(9, 0)).toBe(false);
    // An empty entry is not a hash of zero.
    expect(ghost.take(0, 0)).toBe(false);
  });

  test("is bounded: among too many, those that end last are kept", () => {
    const ghost = new Ghost(1);
    for (let end = 1; end <= 100_000; end++) ghost.add(mixHash(end), end);
    let kept = 0;
    for (let end = 1; end <= 100_000; end++) if (ghost.take(mixHash(end), 0)) kept++;
    expect(kept).toBeLessThanOrEqual(1_024);
    expect(kept).toBeGreaterThan(800);
    ghost.add(5, 10);
    for (let end = 11; end < 5_000; end++) ghost.add(mixHash(end), end);
    expect(ghost.take(5, 0)).toBe(false);
  });
});
