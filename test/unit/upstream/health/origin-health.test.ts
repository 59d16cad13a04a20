import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FLAP_FORGOTTEN_MS, HOLD_MS_MAX, TRIAL_SUCCESSES } from "../../../../src/upstream/health/limits.ts";
import { OriginHealth } from "../../../../src/upstream/health/origin-health.ts";

const POLICY = { failures: 3, holdMs: 1_000 };

/** Sends one request at `nowMs` that ends at once. */
function request(health: OriginHealth, nowMs: number, ok: boolean) {
  const ticket = health.begin(nowMs);
  return ok ? health.succeeded(ticket, nowMs) : health.failed(ticket, "refused", nowMs);
}
function down(nowMs = 0): OriginHealth {
  const health = new OriginHealth(POLICY, 0);
  for (let i = 0; i < POLICY.failures; i++) request(health, nowMs, false);
  return health;
}

describe("an origin", () => {
  test("is down after so many failures in a row, and says why; a success in between begins anew", () => {
    const health = new OriginHealth(POLICY, 0);
    for (const ok of [false, false, true, false, false]) expect(request(health, 5, ok)).toBeNull();
    expect(health.admits(5)).toBe(true);
    const reason = "3 requests in a row failed, the last: refused";
    expect(request(health, 5, false)).toEqual({ kind: "down", untilMs: 1_005, reason });
    expect([health.state(5), health.admits(5), health.reason, health.sinceMs]).toEqual([
      "down",
      false,
      reason,
      5,
    ]);
  });

  test("is tried with one request at a time when its time is over", () => {
    const health = down();
    expect(health.admits(999)).toBe(false);
    expect(health.admits(1_000)).toBe("trial");
    const ticket = health.begin(1_000);
    expect(health.admits(1_000)).toBe(false);
    health.release(ticket);
    expect(health.admits(1_000)).toBe("trial");
  });

  test("is up again when so many trials went well, not before", () => {
    const health = down();
    for (let i = 1; i < TRIAL_SUCCESSES; i++) expect(request(health, 2_000, true)).toBeNull();
    expect(health.state(2_000)).toBe("trial");
    expect(request(health, 2_000, true)).toEqual({ kind: "up" });
    expect([health.state(2_000), health.reason]).toEqual(["up", null]);
  });

  test("that fails a trial stays out twice as long each time, up to a limit", () => {
    const health = down();
    let nowMs = 1_000;
    let holdMs = 1_000;
    for (let i = 0; i < 12; i++) {
      holdMs = Math.min(HOLD_MS_MAX, holdMs * 2);
      expect(request(health, nowMs, false)).toEqual({
        kind: "down",
        untilMs: nowMs + holdMs,
        reason: "refused",
      });
      expect(health.state(nowMs + holdMs - 1)).toBe("down");
      nowMs += holdMs;
      expect(health.state(nowMs)).toBe("trial");
    }
    expect(holdMs).toBe(HOLD_MS_MAX);
  });

  test("that flaps is asked ever more rarely; a calm time has that forgotten", () => {
    const health = down();
    const recover = (atMs: number) => {
      for (let i = 0; i < TRIAL_SUCCESSES; i++) request(health, atMs, true);
    };
    const fall = (atMs: number) => {
      let change = null;
      for (let i = 0; i < POLICY.failures; i++) change = request(health, atMs, false);
      return change;
    };
    recover(1_000);
    expect(fall(1_001)).toMatchObject({ untilMs: 3_001 });
    recover(3_001);
    expect(fall(3_002)).toMatchObject({ untilMs: 7_002 });
    recover(7_002);
    const calmMs = 7_002 + 3 * FLAP_FORGOTTEN_MS;
    expect(fall(calmMs)).toMatchObject({ untilMs: calmMs + 1_000 });
  });

  test("is not judged by what began in another state", () => {
    const health = new OriginHealth(POLICY, 0);
    const early = Array.from({ length: 10 }, () => health.begin(0));
    for (let i = 0; i < POLICY.failures; i++) request(health, 0, false);
    // Answers of before it went down do not bring it back; failures of before do not keep it out.
    for (const ticket of early.slice(0, 5)) expect(health.succeeded(ticket, 1_500)).toBeNull();
    expect(health.state(1_500)).toBe("trial");
    for (let i = 0; i < TRIAL_SUCCESSES; i++) request(health, 1_500, true);
    for (const ticket of early.slice(5)) expect(health.failed(ticket, "late", 1_600)).toBeNull();
    expect(health.state(1_600)).toBe("up");
  });

  test("that is asked while it is down, because all are, comes back by going well", () => {
    const health = down();
    expect(request(health, 10, false)).toBeNull();
    for (let i = 0; i < TRIAL_SUCCESSES; i++) request(health, 20, true);
    expect(health.state(20)).toBe("up");
  });
});

describe("health checks", () => {
  test("take it out at once, and keep it out until they agree, whatever requests say", () => {
    const health = new OriginHealth(POLICY, 0);
    expect(health.checked("down", "4 failed", 10)).toBe(true);
    expect(health.checked("down", "again", 10)).toBe(false);
    expect(health.reason).toBe("4 failed");
    expect(health.state(100_000)).toBe("down");
    for (let i = 0; i < 10; i++) request(health, 100_000, true);
    expect(health.state(100_000)).toBe("down");
    health.checked("up", "2 well", 100_001);
    expect(health.state(100_001)).toBe("trial");
  });

  test("that go well again do not shorten the time that it is out", () => {
    const health = new OriginHealth(POLICY, 0);
    health.checked("down", "failed", 0);
    health.checked("up", "well", 1);
    expect(health.state(999)).toBe("down");
    expect(health.state(1_000)).toBe("trial");
  });
});

describe("what another worker found", () => {
  test("counts here, and a worker's word lasts no longer than the limit", () => {
    const health = new OriginHealth(POLICY, 0);
    expect(health.downElsewhere(5_000, "said so", 0)).toBe(true);
    expect(health.state(4_999)).toBe("down");
    health.upElsewhere(4_000);
    expect(health.state(4_000)).toBe("up");
    health.downElsewhere(Number.MAX_SAFE_INTEGER, "said so", 5_000);
    expect(health.state(5_000 + HOLD_MS_MAX)).toBe("trial");
  });

  test("does not bring back what the health checks keep out", () => {
    const health = new OriginHealth(POLICY, 0);
    health.checked("down", "failed", 0);
    health.upElsewhere(10);
    expect(health.state(10)).toBe("down");
  });
});

test("whatever happens in whatever order, at most one trial is under way, and a quiet origin is tried within the limit", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("begin" as const) }),
    fc.record({ kind: fc.constant("end" as const), ok: fc.boolean(), which: fc.nat(20) }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(4_000) }),
    fc.record({ kind: fc.constant("elsewhere" as const), up: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const health = new OriginHealth(POLICY, 0);
      let nowMs = 0;
      let open: { ticket: ReturnType<OriginHealth["begin"]>; epoch: number }[] = [];
      for (const one of steps) {
        if (one.kind === "wait") nowMs += one.ms;
        else if (one.kind === "elsewhere") {
          if (one.up) health.upElsewhere(nowMs);
          else health.downElsewhere(nowMs + 500, "said so", nowMs);
        } else if (one.kind === "begin") {
          if (health.admits(nowMs) === false) continue;
          const ticket = health.begin(nowMs);
          open.push({ ticket, epoch: ticket.epoch });
        } else if (open.length > 0) {
          const [ended] = open.splice(one.which % open.length, 1);
          if (ended === undefined) continue;
          if (one.ok) health.succeeded(ended.ticket, nowMs);
          else health.failed(ended.ticket, "x", nowMs);
        }
        const newest = Math.max(-1, ...open.map(({ epoch }) => epoch));
        expect(open.filter(({ ticket, epoch }) => ticket.trial && epoch === newest).length).toBeLessThan(2);
      }
      open = [];
      expect(health.state(nowMs + HOLD_MS_MAX)).not.toBe("down");
    }),
    { numRuns: 300 },
  );
});
