import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Condition } from "../../../../src/node/alerts/alert.ts";
import { ALERTS_MAX, AlertBoard } from "../../../../src/node/alerts/board.ts";
import {
  certificateConditions,
  errorRateConditions,
  hitRatioConditions,
} from "../../../../src/node/alerts/conditions.ts";
import { Traffic } from "../../../../src/node/alerts/traffic.ts";
import { alertsConfig, TestStats } from "./kit.ts";

const condition = (subject: string, summary = "it is so"): Condition => ({
  kind: "errorRate",
  subject,
  severity: "critical",
  summary,
  details: {},
});
const { rules } = alertsConfig({});
const HOUR = 3_600_000;

describe("an alert", () => {
  const times = { holdMs: 60_000, reminderMs: HOUR };

  test("fires once when its condition has held for the hold time, reminds, and is over after the hold time", () => {
    const board = new AlertBoard();
    const states: string[] = [];
    for (let at = 0; at <= 4 * HOUR; at += 10_000) {
      const holds = at < 2.5 * HOUR;
      for (const change of board.update("errorRate", holds ? [condition("a")] : [], at, times))
        states.push(`${at / 1_000} ${change.state} since ${change.sinceMs}`);
    }
    expect(states).toEqual([
      "60 firing since 0",
      "3660 reminder since 0",
      "7260 reminder since 0",
      "9060 resolved since 0",
    ]);
    expect(board.firing()).toEqual([]);
  });

  test("is not told when its condition went before the hold time, nor resolved by a shorter pause", () => {
    const board = new AlertBoard();
    const look = (at: number, holds: boolean) =>
      board.update("errorRate", holds ? [condition("a")] : [], at, times).map(({ state }) => state);
    expect([look(0, true), look(50_000, true), look(55_000, false)]).toEqual([[], [], []]);
    expect([look(56_000, true), look(110_000, true), look(116_000, true)]).toEqual([[], [], ["firing"]]);
    expect([look(120_000, false), look(170_000, false), look(175_000, true), look(230_000, false)]).toEqual([
      [],
      [],
      [],
      [],
    ]);
    expect(board.firing()).toHaveLength(1);
    expect(look(290_000, false)).toEqual(["resolved"]);
  });

  test("is told at once without a hold time, with the newest summary, and never twice in one state", () => {
    const board = new AlertBoard();
    const now = { holdMs: 0, reminderMs: 0 };
    expect(board.update("errorRate", [condition("a", "one")], 0, now)).toMatchObject([{ state: "firing" }]);
    expect(board.update("errorRate", [condition("a", "two")], 10 * HOUR, now)).toEqual([]);
    expect(board.firing()[0]?.condition.summary).toBe("two");
    expect(board.update("certificate", [], 10 * HOUR, now)).toEqual([]);
    expect(board.update("errorRate", [], 11 * HOUR, now)).toMatchObject([
      { state: "resolved", sinceMs: 0, condition: { summary: "two" } },
    ]);
  });

  test("comes in turn whatever happens: firing, reminders, resolved, and firing again", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(200_000)), { maxLength: 60 }), (steps) => {
        const board = new AlertBoard();
        let at = 0;
        let isFiring = false;
        for (const [holds, deltaMs] of steps) {
          at += deltaMs;
          for (const { state } of board.update("errorRate", holds ? [condition("a")] : [], at, times)) {
            expect(isFiring).toBe(state !== "firing");
            isFiring = state !== "resolved";
          }
          expect(board.firing().length).toBe(isFiring ? 1 : 0);
        }
      }),
    );
  });

  test("beyond the limit waits for room", () => {
    const board = new AlertBoard();
    const now = { holdMs: 0, reminderMs: 0 };
    const many = Array.from({ length: ALERTS_MAX + 5 }, (_, i) => condition(`${i}`));
    expect(board.update("errorRate", many, 0, now)).toHaveLength(ALERTS_MAX);
    expect(board.update("errorRate", many.slice(5), 1, now)).toHaveLength(5);
    expect(board.update("errorRate", many.slice(5), 2, now)).toHaveLength(5);
  });
});

describe("traffic", () => {
  /** Looks every ten seconds for `ms`, adding counts before each look. */
  function run(
    traffic: Traffic,
    stats: TestStats,
    fromMs: number,
    ms: number,
    counts: Parameters<TestStats["add"]>[1],
  ) {
    let newest: ReturnType<Traffic["take"]> = [];
    for (let at = fromMs; at < fromMs + ms; at += 10_000) {
      stats.add("shop", counts);
      newest = traffic.take(stats.snapshot(), at, 300_000);
    }
    return newest[0];
  }

  test("is that of the window, not of the time before", () => {
    const traffic = new Traffic();
    const stats = new TestStats();
    stats.add("shop", { hit: 1_000_000 });
    traffic.take(stats.snapshot(), 0, 300_000);
    expect(run(traffic, stats, 10_000, 60_000, { hit: 3, miss: 1, error: 1 })?.window).toEqual({
      requests: 30,
      cacheable: 24,
      served: 18,
      errors: 6,
    });
    const later = run(traffic, stats, 70_000, 600_000, { miss: 1 })?.window;
    expect(later).toMatchObject({ served: 0, errors: 0 });
    // Five minutes at one in ten seconds, and as exact as a sixth of the window.
    expect(later?.requests).toBeGreaterThanOrEqual(30);
    expect(later?.requests).toBeLessThanOrEqual(36);
  });

  test("counts from the start of a node that has just begun", () => {
    const stats = new TestStats();
    stats.add("shop", { error: 9 });
    expect(new Traffic().take(stats.snapshot(5), 5_000, 300_000)[0]?.window.errors).toBe(9);
    expect(new Traffic().take(stats.snapshot(301), 5_000, 300_000)[0]?.window.errors).toBe(0);
  });

  test("knows what is usual after half an hour, and follows slowly", () => {
    const traffic = new Traffic();
    const stats = new TestStats();
    expect(run(traffic, stats, 0, 1_700_000, { hit: 9, miss: 1 })?.usualRatio).toBeNull();
    expect(run(traffic, stats, 1_700_000, HOUR, { hit: 9, miss: 1 })?.usualRatio).toBeCloseTo(0.9, 5);
    const soon = run(traffic, stats, 1_700_000 + HOUR, 600_000, { hit: 1, miss: 9 })?.usualRatio ?? 0;
    expect(soon).toBeGreaterThan(0.75);
    const late = run(traffic, stats, 2_300_000 + HOUR, 24 * HOUR, { hit: 1, miss: 9 })?.usualRatio ?? 1;
    expect(late).toBeLessThan(0.15);
  });

  test("begins anew when counters were lost, and counts a new site from nothing", () => {
    const traffic = new Traffic();
    const before = new TestStats();
    before.add("shop", { hit: 1_000 });
    traffic.take(before.snapshot(), 0, 300_000);
    const after = new TestStats();
    after.add("shop", { error: 100 });
    expect(traffic.take(after.snapshot(), 10_000, 300_000)[0]?.window.requests).toBe(0);
    after.add("blog", { error: 7 });
    after.add("shop", { error: 5 });
    const [shop, blog] = traffic.take(after.snapshot(), 20_000, 300_000);
    expect([shop?.window.errors, blog?.window.errors]).toEqual([5, 7]);
  });
});

describe("a rule", () => {
  const site = (window: object, usualRatio: number | null = null) => [
    {
      site: "shop",
      window: { requests: 1_000, cacheable: 1_000, served: 900, errors: 0, ...window },
      usualRatio,
    },
  ];

  test.each([
    ["a fall below half of what is usual", {}, { served: 440 }, 0.9, "44.0 %; usual is 90.0 %"],
    ["a small fall", {}, { served: 460 }, 0.9, null],
    ["a low ratio that is usual", {}, { served: 100 }, 0.1, null],
    ["anything while nothing is usual", {}, { served: 0 }, null, null],
    ["a fixed limit", { below: 0.5 }, { served: 499 }, null, "49.9 %; the limit is 50.0 %"],
    ["few requests", { below: 0.5 }, { served: 0, cacheable: 199 }, null, null],
    ["a site's own limit", { bySite: { shop: 0.95 } }, {}, 0.1, "90.0 %; the limit is 95.0 %"],
    ["a site that is not watched", { below: 0.99, bySite: { shop: 0 } }, { served: 0 }, 0.9, null],
  ])("of the hit ratio: %s", (_what, changes, window, usual, said) => {
    const found = hitRatioConditions({ ...rules.hitRatio, ...changes }, site(window, usual));
    expect(found.map(({ summary }) => summary)).toEqual(
      said === null ? [] : [`the hit ratio of site shop is ${said}`],
    );
  });

  test.each([
    [
      "above the limit",
      {},
      { errors: 51 },
      "5.1 % of the answers of site shop are errors (5xx); the limit is 5.0 %",
    ],
    ["at the limit", {}, { errors: 50 }, null],
    ["few requests", {}, { requests: 49, errors: 49 }, null],
    ["a site's own limit", { bySite: { shop: 0.5 } }, { errors: 400 }, null],
    ["a site that is not watched", { bySite: { shop: 1 } }, { errors: 1_000 }, null],
    [
      "a site named like an inherited property",
      { bySite: Object.create({ shop: 1 }) },
      { errors: 60 },
      "6.0 % of the answers of site shop are errors (5xx); the limit is 5.0 %",
    ],
  ])("of the error rate: %s", (_what, changes, window, said) => {
    const found = errorRateConditions({ ...rules.errorRate, ...changes }, site(window));
    expect(found.map(({ summary }) => summary)).toEqual(said === null ? [] : [said]);
  });

  test.each([
    [15, []],
    [13, ["warning: the certificate c.pem (a.example) ends in 13 days, on 2026-01-14T00:00:00.000Z"]],
    [1, ["critical: the certificate c.pem (a.example) ends in 1 day, on 2026-01-02T00:00:00.000Z"]],
    [-1, ["critical: the certificate c.pem (a.example) has ended on 2025-12-31T00:00:00.000Z"]],
  ])("of certificates: %i days before the end", (days, said) => {
    const nowMs = Date.UTC(2026, 0, 1);
    const ends = [{ file: "c.pem", names: ["a.example"], endsAtMs: nowMs + days * 86_400_000 }];
    expect(
      certificateConditions(rules.certificate, ends, nowMs).map(
        ({ severity, summary }) => `${severity}: ${summary}`,
      ),
    ).toEqual(said);
  });
});
