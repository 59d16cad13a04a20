/** Alerts from what a node knows to a receiver over real sockets, on a clock that the test moves. */
import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import type { AlertEvent } from "../../../../src/node/alerts/alert.ts";
import { Alerts } from "../../../../src/node/alerts/alerts.ts";
import { alertsConfig, startReceiver, TestStats, until } from "./kit.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DOWN: AlertEvent = { kind: "failover", site: "shop", origin: "app", reason: "it refuses connections" };
const UP: AlertEvent = { kind: "recovery", site: "shop", origin: "app" };

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

function start(changes: Record<string, unknown> = {}, env: Record<string, string> = { HOOK: SECRET }) {
  const clock = new ManualClock();
  const receiver = startReceiver(SECRET, clock);
  const stats = new TestStats();
  const messages: string[] = [];
  const certificates: { file: string; names: string[]; endsAtMs: number }[] = [];
  const channels = { ops: { webhook: receiver.url, secret: { env: "HOOK" } } };
  const alerts = new Alerts({
    config: alertsConfig({ node: "edge-1", channels, ...changes }),
    clock,
    log: (level, message) => messages.push(`${level}: ${message}`),
    env,
    random: () => 1,
  });
  stops.push(
    () => receiver.stop(),
    () => alerts.stop(),
  );
  alerts.start({ stats: () => stats.snapshot(), certificates: () => certificates });
  const waiting = () => alerts.status().channels.reduce((sum, one) => sum + one.waiting, 0);
  /** Gathers what was told, and waits until it is delivered. */
  const delivered = async () => {
    clock.advance(1_000);
    await until(() => waiting() === 0);
  };
  /** Waits until so many attempts have failed, and the next one is planned. */
  const failed = (attempts: number) =>
    until(() => receiver.attempts() === attempts && alerts.status().channels[0]?.nextAttemptAt !== null);
  /** Lets `ms` pass, with a look at the rules every ten seconds. */
  const pass = async (ms: number, each: () => void = () => {}) => {
    for (let passed = 0; passed < ms; passed += 10_000) {
      each();
      const before = waiting();
      clock.advance(10_000);
      // The look that the timer began ends, and arms the next one.
      for (let i = 0; i < 10; i++) await Promise.resolve();
      // What was gathered is on its way: the clock stands until it is there.
      if (before > 0) await until(() => waiting() === 0);
    }
  };
  const told = () =>
    receiver.hooks.flatMap(({ alerts: list }) => list.map(({ state, key }) => `${state} ${key}`));
  return { alerts, clock, receiver, stats, messages, certificates, pass, told, channels, delivered, failed };
}

describe("events", () => {
  test("failover and recovery are told, each once, signed", async () => {
    const { alerts, receiver, told, messages, delivered } = start();
    alerts.event(DOWN);
    alerts.event(DOWN);
    await delivered();
    expect(JSON.parse(receiver.hooks[0]?.body ?? "")).toEqual({
      type: "proxima.alerts",
      timestamp: "2026-01-01T00:00:01.000Z",
      data: {
        node: "edge-1",
        alerts: [
          {
            key: "failover/shop/app",
            state: "firing",
            kind: "failover",
            subject: "shop/app",
            severity: "critical",
            summary: "origin app of site shop is left out: it refuses connections",
            since: "2026-01-01T00:00:00.000Z",
            at: "2026-01-01T00:00:00.000Z",
            details: { site: "shop", origin: "app", reason: "it refuses connections" },
          },
        ],
      },
    });
    alerts.event(UP);
    await delivered();
    alerts.event(UP);
    await delivered();
    expect(told()).toEqual(["firing failover/shop/app", "resolved failover/shop/app"]);
    expect(receiver.refused).toEqual([]);
    expect(messages).toEqual([
      "warning: alert firing: origin app of site shop is left out: it refuses connections",
      "info: alert resolved: origin app of site shop is left out: it refuses connections",
    ]);
  });

  test("of one moment are one message", async () => {
    const { alerts, clock, receiver } = start();
    for (const origin of ["a", "b", "c"]) alerts.event({ ...DOWN, origin });
    clock.advance(1_000);
    await until(() => receiver.hooks.length === 1);
    expect(receiver.hooks[0]?.alerts).toHaveLength(3);
  });

  test("that are over before the hold time are not told", async () => {
    const { alerts, receiver, pass } = start({ rules: { failover: { holdSeconds: 60 } } });
    alerts.event(DOWN);
    await pass(50_000);
    alerts.event(UP);
    await pass(100_000);
    expect(receiver.attempts()).toBe(0);
    alerts.event(DOWN);
    await pass(70_000);
    await until(() => receiver.hooks.length === 1);
  });

  test("that come while nothing is configured are told when something is", async () => {
    const { alerts, clock, receiver, channels } = start();
    alerts.configure(undefined);
    alerts.event(DOWN);
    clock.advance(60_000);
    expect(alerts.status()).toEqual({ channels: [], firing: [] });
    alerts.configure(alertsConfig({ channels }));
    await alerts.look();
    clock.advance(1_000);
    await until(() => receiver.hooks.length === 1);
  });
});

describe("rules", () => {
  test("tell of errors when they have lasted, and of their end", async () => {
    const { pass, stats, receiver, told, alerts, clock } = start();
    await pass(300_000, () => stats.add("shop", { hit: 20 }));
    await pass(600_000, () => stats.add("shop", { hit: 10, error: 10 }));
    await until(() => receiver.hooks.length === 1);
    expect(receiver.hooks[0]?.alerts[0]?.summary).toMatch(
      /^\d+\.\d % of the answers of site shop are errors/,
    );
    expect(alerts.status().firing).toMatchObject([{ kind: "errorRate", subject: "shop" }]);
    await pass(700_000, () => stats.add("shop", { hit: 20 }));
    await until(() => receiver.hooks.length === 2);
    expect(told()).toEqual(["firing errorRate/shop", "resolved errorRate/shop"]);
    expect(clock.now()).toBe(Date.UTC(2026, 0, 1) + 1_600_000);
  });

  test("tell of a hit ratio that collapses", async () => {
    const { pass, stats, receiver, told } = start();
    await pass(3_600_000, () => stats.add("shop", { hit: 19, miss: 1 }));
    expect(receiver.attempts()).toBe(0);
    await pass(1_200_000, () => stats.add("shop", { hit: 2, miss: 18 }));
    await until(() => receiver.hooks.length === 1);
    expect(told()).toEqual(["firing hitRatio/shop"]);
  });

  test("tell of a certificate near its end until it is replaced, and remind", async () => {
    const { pass, certificates, receiver, told, clock } = start();
    certificates.push({ file: "/c.pem", names: ["shop.example"], endsAtMs: clock.now() + 10 * 86_400_000 });
    await pass(20_000);
    await until(() => receiver.hooks.length === 1);
    await pass(14_410_000);
    await until(() => receiver.hooks.length === 2);
    certificates[0] = { file: "/c.pem", names: ["shop.example"], endsAtMs: clock.now() + 90 * 86_400_000 };
    await pass(20_000);
    await until(() => receiver.hooks.length === 3);
    expect(told()).toEqual([
      "firing certificate//c.pem",
      "reminder certificate//c.pem",
      "resolved certificate//c.pem",
    ]);
  });

  test("tell only the channels that they name, and nothing when they are off", async () => {
    const { alerts, receiver, channels, clock, pass } = start();
    const quiet = startReceiver(SECRET, clock);
    stops.push(() => quiet.stop());
    const both = { ...channels, quiet: { webhook: quiet.url, secret: { env: "HOOK" } } };
    alerts.configure(alertsConfig({ channels: both, rules: { failover: { to: ["ops"] } } }));
    alerts.event(DOWN);
    clock.advance(1_000);
    await until(() => receiver.hooks.length === 1);
    alerts.configure(alertsConfig({ channels: both, rules: { failover: { enabled: false } } }));
    alerts.event(UP);
    alerts.event({ ...DOWN, origin: "other" });
    await pass(60_000);
    expect([receiver.attempts(), quiet.attempts()]).toEqual([1, 0]);
    expect(alerts.status().firing).toEqual([]);
  });
});

describe("a channel that fails", () => {
  test("is tried again, later and later, and hears how things stand then", async () => {
    const { alerts, clock, receiver, messages, told, failed } = start();
    receiver.answer(503);
    alerts.event(DOWN);
    clock.advance(1_000);
    await failed(1);
    for (const [i, delayMs] of [1_000, 2_000, 4_000, 8_000].entries()) {
      clock.advance(delayMs - 1);
      expect(alerts.status().channels[0]?.nextAttemptAt).toBe(new Date(clock.now() + 1).toISOString());
      clock.advance(1);
      await failed(i + 2);
    }
    alerts.event(UP);
    receiver.answer(200);
    clock.advance(16_000);
    await until(() => alerts.status().channels[0]?.waiting === 0);
    expect(told()).toEqual(["resolved failover/shop/app"]);
    expect(alerts.status().channels[0]).toMatchObject({
      name: "ops",
      delivered: 1,
      problem: null,
      nextAttemptAt: null,
    });
    const about = messages.filter((message) => message.includes("channel"));
    expect(about).toEqual([
      `error: alerts: channel ops was answered with 503 by ${new URL(receiver.url).host}; it is tried again`,
      "info: alerts: channel ops takes alerts again",
    ]);
    // The URL is a secret.
    expect(messages.join()).not.toContain("secret-path");
  });

  test("is tried every five minutes in the end", async () => {
    const { alerts, clock, receiver, failed } = start();
    receiver.answer(503);
    alerts.event(DOWN);
    clock.advance(1_000);
    for (let i = 1; i <= 12; i++) {
      await failed(i);
      clock.advance(300_000);
    }
    await failed(13);
    const next = Date.parse(alerts.status().channels[0]?.nextAttemptAt ?? "");
    expect(next - clock.now()).toBe(300_000);
  });

  test("is left alone for as long as it asks", async () => {
    const { alerts, clock, receiver, failed } = start();
    receiver.answer(429, { "retry-after": "120" });
    alerts.event(DOWN);
    clock.advance(1_000);
    await failed(1);
    clock.advance(119_999);
    expect(alerts.status().channels[0]?.nextAttemptAt).toBe(new Date(clock.now() + 1).toISOString());
    clock.advance(1);
    await failed(2);
  });

  test("gets the same content under the same id, and other content under another", async () => {
    const { alerts, clock, receiver, failed } = start();
    receiver.answer(503);
    alerts.event(DOWN);
    clock.advance(1_000);
    await failed(1);
    clock.advance(1_000);
    await failed(2);
    alerts.event(UP);
    receiver.answer(200);
    clock.advance(2_000);
    await until(() => alerts.status().channels[0]?.waiting === 0);
    const [first, second, third] = receiver.ids;
    expect(first).toMatch(/^msg_[0-9a-f]{32}$/);
    expect(second).toBe(first ?? "");
    expect(third).not.toBe(first ?? "");
    expect(receiver.refused).toEqual([]);
  });

  test("that redirects is not followed: what is signed for one is not for another", async () => {
    const { alerts, clock, receiver, failed } = start();
    receiver.answer(307, { location: "http://127.0.0.1:1/" });
    alerts.event(DOWN);
    clock.advance(1_000);
    await failed(1);
    expect(alerts.status().channels[0]?.problem).toContain("was answered with 307");
  });

  test("hears of what changed while it was told of something else", async () => {
    const { alerts, clock, receiver, told, delivered } = start();
    const release = receiver.hold();
    alerts.event(DOWN);
    clock.advance(1_000);
    await until(() => receiver.hooks.length === 1);
    alerts.event(UP);
    release();
    await until(() => alerts.status().channels[0]?.nextAttemptAt !== null);
    await delivered();
    expect(told()).toEqual(["firing failover/shop/app", "resolved failover/shop/app"]);
  });

  test("that is not there, or has no secret, is told at once and waited for", async () => {
    const { alerts, clock, messages } = start({}, {});
    await until(() => messages.length > 0);
    expect(messages).toEqual([
      "warning: alerts: channel ops needs HOOK in the environment, which is not set",
    ]);
    alerts.event(DOWN);
    clock.advance(1_000);
    await until(() => alerts.status().channels[0]?.problem !== null);
    expect(alerts.status().channels[0]?.waiting).toBe(1);
  });

  test("keeps what waits when its config changes, and is told there", async () => {
    const { alerts, clock, receiver, failed } = start();
    receiver.answer(500);
    alerts.event(DOWN);
    clock.advance(1_000);
    await failed(1);
    const better = startReceiver(SECRET, clock);
    stops.push(() => better.stop());
    alerts.configure(alertsConfig({ channels: { ops: { webhook: better.url, secret: { env: "HOOK" } } } }));
    clock.advance(1_000);
    await until(() => better.hooks.length === 1);
  });

  test("is tried once more when the node ends", async () => {
    const { alerts, receiver } = start();
    alerts.event(DOWN);
    await alerts.stop();
    expect(receiver.hooks).toHaveLength(1);
  });
});

describe("a test", () => {
  test("goes to the channel that is named, or to all, and says how it ended", async () => {
    const { alerts, clock, receiver, channels } = start();
    const failing = startReceiver(SECRET, clock);
    stops.push(() => failing.stop());
    failing.answer(403);
    alerts.configure(
      alertsConfig({
        channels: { ...channels, other: { slack: failing.url }, none: { slack: "http://127.0.0.1:1/x" } },
      }),
    );
    expect(await alerts.test("ops")).toEqual([
      { channel: "ops", kind: "webhook", delivered: true, problem: null },
    ]);
    expect(receiver.hooks[0]?.alerts[0]?.summary).toBe("this is a test: nothing is wrong");
    const all = await alerts.test(null);
    expect(all.map(({ delivered }) => delivered)).toEqual([true, false, false]);
    expect(all[1]?.problem).toBe(
      "was answered with 401 by ".replace("401", "401") + new URL(failing.url).host,
    );
    expect(all[2]?.problem).toMatch(/^can not reach 127\.0\.0\.1:1 \(\w+\)$/);
    expect(alerts.test("nobody")).rejects.toThrow('no alert channel "nobody"; there are ops, other, none');
    alerts.configure(undefined);
    expect(alerts.test(null)).rejects.toThrow("no alert channels");
  });
});
