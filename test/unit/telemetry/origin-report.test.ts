import { expect, test } from "bun:test";
import {
  endedOriginReports,
  mergeOriginReports,
  type OriginReport,
  type OriginReports,
  type ReportedState,
} from "../../../src/telemetry/origin-report.ts";

const origin = (name: string, state: ReportedState, more: Partial<OriginReport> = {}): OriginReport => ({
  site: "shop",
  name,
  state,
  since: `2026-01-01T00:00:0${state.length}.000Z`,
  reason: state === "up" ? null : `${state} here`,
  workers: { up: 0, trial: 0, down: 0, [state]: 1 },
  degraded: false,
  requests: 10,
  failures: 1,
  ejections: 1,
  inFlight: 2,
  waiting: 1,
  refused: 3,
  check: null,
  ...more,
});
const of = (...origins: OriginReport[]): OriginReports => ({ origins, groups: [] });

test("the worst state counts, with its reason; what is counted is summed", () => {
  const merged = mergeOriginReports(
    of(origin("a", "up")),
    of(origin("a", "down", { degraded: true }), origin("b", "up")),
  );
  expect(merged.origins).toEqual([
    origin("a", "down", {
      workers: { up: 1, trial: 0, down: 1 },
      degraded: true,
      requests: 20,
      failures: 2,
      ejections: 2,
      inFlight: 4,
      waiting: 2,
      refused: 6,
    }),
    origin("b", "up"),
  ]);
});

test("the newest check counts", () => {
  const check = (at: string) => ({ ok: true, at, durationMs: 1, said: at });
  const a = of(origin("a", "up", { check: check("2026-01-01") }));
  const b = of(origin("a", "up", { check: check("2026-01-02") }));
  for (const merged of [mergeOriginReports(a, b), mergeOriginReports(b, a)])
    expect(merged.origins[0]?.check?.said).toBe("2026-01-02");
  expect(mergeOriginReports(a, of(origin("a", "up"))).origins[0]?.check?.said).toBe("2026-01-01");
});

test("of a process that has ended the counters remain, and no state", () => {
  const ended = endedOriginReports(of(origin("a", "down", { degraded: true })));
  const merged = mergeOriginReports(ended, of(origin("a", "up")));
  expect(merged.origins[0]).toMatchObject({
    state: "up",
    since: origin("a", "up").since,
    workers: { up: 1, trial: 0, down: 0 },
    degraded: false,
    requests: 20,
    inFlight: 2,
  });
});

test("groups are summed by site and name", () => {
  const group = {
    site: "shop",
    name: "g",
    balance: "hash",
    members: ["a"],
    requests: 1,
    failovers: 2,
    moved: 3,
    retriesDenied: 4,
  };
  const other = { ...group, site: "blog" };
  const merged = mergeOriginReports(
    { origins: [], groups: [group] },
    { origins: [], groups: [group, other] },
  );
  expect(merged.groups).toEqual([{ ...group, requests: 2, failovers: 4, moved: 6, retriesDenied: 8 }, other]);
});
