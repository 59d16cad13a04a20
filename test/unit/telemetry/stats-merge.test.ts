/** The counters of several workers add up to those of the node. */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../src/base/clock.ts";
import { Stats, type StatsSnapshot } from "../../../src/telemetry/stats.ts";
import { mergeStats, withoutGauges } from "../../../src/telemetry/stats-merge.ts";

const gauges = {
  version: "1",
  snapshotNumber: 3,
  sites: 2,
  store: { objects: 5, bytes: 500, bytesMax: 1_000, evictions: 7 },
  disk: null,
  siteStores: {
    a: { entries: 2, bytes: 40, bytesMax: 50, bytesReserved: 10, evictions: 3 },
    b: { entries: 1, bytes: 10, bytesMax: null, bytesReserved: 0, evictions: 0 },
  },
  workers: { up: 1, down: 0 },
  accessLog: { written: 4, dropped: 1 },
  requestsInFlight: 2,
};

/** What one process would tell that saw all of these requests. */
function counted(
  clock: ManualClock,
  requests: readonly [string, "hit" | "miss" | "bypass", number, number][],
): StatsSnapshot {
  const stats = new Stats(clock);
  for (const [site, result, status, ms] of requests) {
    stats.site(site).record(result, status, 100, ms);
    stats.recordOriginRequest();
    stats.recordOriginBytes(10);
  }
  return stats.snapshot(gauges);
}

describe("merged counters", () => {
  test("are those that one process would have had", () => {
    const clock = new ManualClock();
    const one = [
      ["a", "hit", 200, 0.1],
      ["a", "miss", 404, 30],
      ["b", "hit", 200, 0.3],
    ] as const;
    const two = [
      ["a", "hit", 200, 4],
      ["c", "bypass", 500, 1],
      ["c", "miss", 200, 70_000],
    ] as const;
    const merged = mergeStats([
      counted(
        clock,
        one.map((r) => [...r]),
      ),
      counted(
        clock,
        two.map((r) => [...r]),
      ),
    ]);
    const whole = counted(
      clock,
      [...one, ...two].map((r) => [...r]),
    );
    const leftOut = ["store", "siteStores", "workers", "accessLog", "memory", "requestsInFlight"] as const;
    const rest = (stats: StatsSnapshot) =>
      Object.fromEntries(Object.entries(stats).filter(([name]) => !leftOut.some((other) => other === name)));
    expect(rest(merged)).toEqual(rest(whole));
    expect(merged.store).toMatchObject({ objects: 10, bytes: 1_000, bytesMax: 2_000, evictions: 14 });
    expect(merged.accessLog).toEqual({ written: 8, dropped: 2 });
    expect(merged.workers).toEqual({ up: 2, down: 0 });
    expect(merged.siteStores).toEqual({
      a: { entries: 4, bytes: 80, bytesMax: 100, bytesReserved: 20, evictions: 6 },
      b: { entries: 2, bytes: 20, bytesMax: null, bytesReserved: 0, evictions: 0 },
    });
    expect(merged.requestsInFlight).toBe(4);
  });

  test("of a worker that ended stay, without what it held", () => {
    const clock = new ManualClock();
    const ended = withoutGauges(counted(clock, [["a", "hit", 200, 1]]));
    expect(ended).toMatchObject({
      requests: 1,
      requestsInFlight: 0,
      store: { objects: 0, bytes: 0, bytesMax: 0, evictions: 7 },
      siteStores: { a: { entries: 0, bytes: 0, bytesMax: null, bytesReserved: 0, evictions: 3 } },
      workers: { up: 0, down: 0 },
    });
    expect(mergeStats([ended, counted(clock, [["a", "hit", 200, 1]])]).requests).toBe(2);
  });
});
