/** A worker that ended starts again at once; one that keeps ending waits. */
import { describe, expect, test } from "bun:test";
import { RESTART_MS_MAX, RestartPolicy, STEADY_MS } from "../../../../src/node/workers/restart-policy.ts";

describe("the restart policy", () => {
  test("starts at once after one end, then doubles the wait up to its limit", () => {
    const policy = new RestartPolicy();
    const waits = Array.from({ length: 12 }, () => policy.ended(100).delayMs);
    expect(waits.slice(0, 5)).toEqual([0, 250, 500, 1_000, 2_000]);
    expect(waits.at(-1)).toBe(RESTART_MS_MAX);
  });

  test("forgets when a worker ran steadily", () => {
    const policy = new RestartPolicy();
    for (let i = 0; i < 5; i++) policy.ended(100);
    expect(policy.ended(STEADY_MS)).toEqual({ delayMs: 0, inARow: 1 });
  });
});
