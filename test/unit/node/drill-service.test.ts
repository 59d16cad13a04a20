import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../src/base/clock.ts";
import { parseConfig } from "../../../src/config/parse.ts";
import { DrillService } from "../../../src/node/drill-service.ts";
import { OriginBoard } from "../../../src/node/origin-board.ts";
import { Stats } from "../../../src/telemetry/stats.ts";
import { NO_GAUGES } from "../../kit/gauges.ts";

function service() {
  const clock = new ManualClock();
  const stats = new Stats(clock);
  const site = stats.site("shop");
  const parsed = parseConfig({
    sites: {
      shop: {
        hosts: ["*"],
        origins: { a: { url: "http://a" }, b: { url: "http://b" } },
        originGroups: { both: { members: ["a", "b"] } },
      },
      plain: { hosts: ["plain.example"], origins: { c: { url: "http://c" } } },
    },
  });
  if (!parsed.ok) throw new Error("the config is not valid");
  const board = new OriginBoard(() => {});
  const faults: string[] = [];
  const drills = new DrillService(
    {
      sites: () => parsed.config.sites,
      stats: () => stats.snapshot(NO_GAUGES),
      setFault(siteId, origin, fault) {
        faults.push(
          `${siteId} ${origin} ${fault === null ? "none" : `${fault.kind} ${fault.untilMs - clock.now()}`}`,
        );
        return Promise.resolve();
      },
    },
    board,
    clock,
  );
  const at = { site: "shop", origin: "a" };
  const down = (origin = "a") =>
    board.take({ ...at, origin, kind: "down", atMs: clock.now(), untilMs: clock.now() + 1, reason: "r" });
  const up = () => board.take({ ...at, kind: "up", atMs: clock.now() });
  return { clock, site, drills, faults, down, up };
}

describe("a drill", () => {
  test("reports when the origin was taken out, when it was back, and whose requests failed meanwhile", async () => {
    const { clock, site, drills, faults, down, up } = service();
    site.record("miss", 502, 0);
    const { id } = await drills.start({ site: "shop", seconds: 10 });
    expect(faults).toEqual(["shop a refuse 10000"]);
    clock.advance(250);
    down("b");
    clock.advance(50);
    down();
    for (const status of [200, 200, 503]) site.record("miss", status, 0);
    site.recordBroken();
    clock.advance(9_700);
    expect(await drills.get(id)).toMatchObject({ state: "recovering", detectedAfterMs: 300 });
    clock.advance(1_500);
    up();
    clock.advance(0);
    expect(await drills.get(id)).toMatchObject({
      state: "ended",
      detectedAfterMs: 300,
      recoveredAfterMs: 1_500,
      requests: 3,
      failed: 2,
    });
    // What comes later is not the drill's.
    site.record("miss", 500, 0);
    expect(await drills.get(id)).toMatchObject({ requests: 3, failed: 2 });
  });

  test("that nobody noticed ends with its fault; one whose origin does not come back ends, too", async () => {
    const { clock, drills, down } = service();
    const first = await drills.start({ site: "shop", seconds: 1 });
    clock.advance(1_000);
    expect(await drills.get(first.id)).toMatchObject({
      state: "ended",
      detectedAfterMs: null,
      recoveredAfterMs: null,
    });
    const second = await drills.start({ site: "shop", seconds: 1 });
    down();
    clock.advance(1_000 + 599_999);
    expect((await drills.get(second.id))?.state).toBe("recovering");
    clock.advance(1);
    expect(await drills.get(second.id)).toMatchObject({ state: "ended", recoveredAfterMs: null });
  });

  test("is one at a time, also while it begins", async () => {
    const { drills } = service();
    const both = await Promise.allSettled([drills.start({ site: "shop" }), drills.start({ site: "shop" })]);
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(drills.start({ site: "shop" })).rejects.toThrow("another drill has not ended yet");
  });

  test("ends before its time when it is told to, and its recovery counts from there", async () => {
    const { clock, drills, faults, down, up } = service();
    const { id } = await drills.start({ site: "shop", origin: "b", fault: "cut", seconds: 60 });
    clock.advance(1_000);
    down("b");
    expect(await drills.stop(id)).toMatchObject({ state: "recovering", group: "both", origin: "b" });
    expect(faults).toEqual(["shop b cut 60000", "shop b none"]);
    up();
    expect((await drills.get(id))?.state).toBe("recovering");
    expect(await drills.stop("nope")).toBeNull();
  });

  test("needs to know which origin is meant", async () => {
    const { drills } = service();
    expect(drills.start({ site: "plain" })).rejects.toThrow(
      "origin: missing; site plain has no group of origins",
    );
    expect(await drills.start({ site: "plain", origin: "c" })).toMatchObject({ group: null, origin: "c" });
  });
});
