import { expect, test } from "bun:test";
import { Degradation, saysDegraded } from "../../../../src/upstream/health/degradation.ts";
import { DEGRADED_CLEAR_MS, DEGRADED_MS } from "../../../../src/upstream/health/limits.ts";

test("only the one word means it", () => {
  expect(["degraded", " Degraded "].map(saysDegraded)).toEqual([true, true]);
  expect([null, "", "ok", "degraded, ok", "not degraded"].map(saysDegraded)).toEqual(Array(5).fill(false));
});

test("an origin is degraded while it says so, and the others are told now and then", () => {
  const degradation = new Degradation();
  expect(degradation.heard(false, 0)).toBeNull();
  expect(degradation.heard(true, 0)).toBe("began");
  expect(degradation.heard(true, 1_000)).toBeNull();
  expect(degradation.heard(true, 10_000)).toBe("goes on");
  expect(degradation.is(10_000)).toBe(true);
});

test("one backend that says nothing does not end what another said a moment ago; some seconds later it does", () => {
  const degradation = new Degradation();
  degradation.heard(true, 0);
  expect(degradation.heard(false, DEGRADED_CLEAR_MS - 1)).toBeNull();
  expect(degradation.is(DEGRADED_CLEAR_MS - 1)).toBe(true);
  expect(degradation.heard(false, DEGRADED_CLEAR_MS)).toBe("ended");
  expect(degradation.is(DEGRADED_CLEAR_MS)).toBe(false);
});

test("it ends by itself when nothing more is heard, also what another worker heard", () => {
  const degradation = new Degradation();
  degradation.heard(true, 0);
  expect([degradation.is(DEGRADED_MS - 1), degradation.is(DEGRADED_MS)]).toEqual([true, false]);
  degradation.heardElsewhere(Number.MAX_SAFE_INTEGER, 100_000);
  expect([degradation.is(100_000), degradation.is(100_000 + DEGRADED_MS)]).toEqual([true, false]);
});
