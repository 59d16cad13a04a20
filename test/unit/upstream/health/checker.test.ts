import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import {
  type CheckPolicy,
  type CheckTarget,
  HealthChecker,
} from "../../../../src/upstream/health/checker.ts";
import { CHECKS_AT_ONCE_MAX, FIRST_CHECK_MS_MAX } from "../../../../src/upstream/health/limits.ts";
import { HttpOrigin } from "../../../../src/upstream/origin.ts";
import { answering, type RawConnection, type RawOrigin, startRawOrigin } from "../../../kit/raw-origin.ts";
import { until } from "../../../kit/upstream-request.ts";

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0).reverse()) stop();
});

const POLICY: CheckPolicy = {
  path: "/health",
  intervalMs: 10_000,
  timeoutMs: 5_000,
  unhealthyAfter: 4,
  healthyAfter: 2,
  expects: (status) => status === 200,
  expected: "200",
};
const answer = (status: number) => `HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`;

function raw(handler: (connection: RawConnection) => Promise<void> | void): RawOrigin {
  const origin = startRawOrigin(handler);
  stops.push(() => origin.stop());
  return origin;
}

function checking(
  origins: Record<string, RawOrigin>,
  policy: Partial<CheckPolicy> = {},
  known: "up" | "down" | null = null,
) {
  const clock = new ManualClock();
  const verdicts: string[] = [];
  const heard: string[] = [];
  const targets = new Map<string, CheckTarget>();
  for (const [key, { url }] of Object.entries(origins)) {
    const hop = new HttpOrigin({ name: key, url, clock, keepAliveMs: 0 });
    stops.push(() => hop.close());
    targets.set(key, {
      hop,
      scheme: "http",
      authority: "shop.example",
      policy: { ...POLICY, ...policy },
      verdict: () => known,
    });
  }
  const checker = new HealthChecker({
    clock,
    onVerdict: (key, verdict, reason, isFirst) =>
      verdicts.push(`${key} ${verdict}${isFirst ? " (first)" : ""}: ${reason}`),
    onAnswer: (key, response) => heard.push(`${key} ${response.status}`),
  });
  stops.push(() => checker.stop());
  checker.update(targets);
  const [key = ""] = targets.keys();
  /** Moves on to the next check and waits for its end. */
  const check = async () => {
    const before = checker.last(key);
    // The first one comes within a second: time must not pass its limit before it had a chance.
    clock.advance(before === null ? FIRST_CHECK_MS_MAX : POLICY.intervalMs);
    await until(() => checker.last(key) !== before, "a check ends");
  };
  return { clock, checker, targets, verdicts, heard, check };
}

describe("health checks", () => {
  test("ask for the path with the Host, on a connection of their own each", async () => {
    const app = raw(answering(answer(200)));
    const { check, heard, checker } = checking({ app });
    await check();
    await check();
    expect(app.received()).toStartWith("GET /health HTTP/1.1\r\nhost: shop.example\r\n");
    expect(app.received()).toContain("user-agent: proxima-health-check\r\n");
    expect(app.connections).toHaveLength(2);
    expect(heard).toEqual(["app 200", "app 200"]);
    expect(checker.last("app")).toMatchObject({ ok: true, said: "status 200" });
  });

  test("come to a verdict when so many in a row agree, and say it once", async () => {
    let status = 200;
    const app = raw(async (one) => {
      while ((await one.readHead()) !== null) await one.write(answer(status));
    });
    const { check, verdicts } = checking({ app });
    const checks = async (now: number, count: number) => {
      status = now;
      for (let i = 0; i < count; i++) await check();
    };
    await checks(200, 3);
    expect(verdicts).toEqual(["app up (first): 2 health checks in a row went well"]);
    await checks(500, 3);
    await checks(200, 1);
    await checks(500, 3);
    expect(verdicts).toHaveLength(1);
    await checks(500, 2);
    expect(verdicts.slice(1)).toEqual([
      "app down: 4 health checks in a row failed, the last: status 500, expected 200",
    ]);
    await checks(200, 1);
    expect(verdicts).toHaveLength(2);
    await checks(200, 3);
    expect(verdicts.slice(2)).toEqual(["app up: 2 health checks in a row went well"]);
  });

  test("take one that does not answer, or not to the end, as failed when its time is over", async () => {
    const silent = raw(async (one) => {
      await one.readHead();
      await one.gone();
    });
    const trickling = raw(async (one) => {
      await one.readHead();
      await one.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx");
      await one.gone();
    });
    for (const origin of [silent, trickling]) {
      const { clock, checker } = checking({ app: origin });
      clock.advance(FIRST_CHECK_MS_MAX);
      await until(() => origin.received().endsWith("\r\n\r\n"), "the check is there");
      // The body's beginning has to be there before time is over.
      await Bun.sleep(20);
      clock.advance(POLICY.timeoutMs);
      await until(() => checker.last("app") !== null, "the check ends");
      expect(checker.last("app")).toMatchObject({
        ok: false,
        said: "no whole answer within 5000 ms",
      });
      await until(() => origin.connections[0]?.ended === true, "its connection is closed");
    }
  });

  test("take a refused connection and a body that breaks off as failed, and read no endless one", async () => {
    const gone = startRawOrigin(() => {});
    gone.stop();
    const cut = raw(async (one) => {
      await one.readHead();
      await one.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx");
      one.end();
    });
    const endless = raw(async (one) => {
      await one.readHead();
      await one.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      while (await one.write(`1000\r\n${"x".repeat(4096)}\r\n`));
    });
    const results: unknown[] = [];
    for (const origin of [gone, cut, endless]) {
      const { check, checker } = checking({ app: origin });
      await check();
      results.push(checker.last("app")?.ok);
    }
    expect(results).toEqual([false, false, true]);
  });

  test("begin where another checker left off", async () => {
    const { check, verdicts } = checking({ app: raw(answering(answer(200))) }, {}, "down");
    await check();
    await check();
    expect(verdicts).toEqual(["app up: 2 health checks in a row went well"]);
  });

  test("end with their target, and an unchanged one goes on counting", async () => {
    const app = raw(answering(answer(500)));
    const { check, checker, targets, verdicts, clock } = checking({ app }, { unhealthyAfter: 2 });
    await check();
    checker.update(new Map(targets));
    await check();
    expect(verdicts).toHaveLength(1);
    checker.update(new Map());
    clock.advance(100_000);
    expect([checker.last("app"), app.connections.length]).toEqual([null, 2]);
  });

  test("of many origins are spread out, and no more than so many are under way at once", async () => {
    const silent = raw(async (one) => {
      await one.readHead();
      await one.gone();
    });
    const origins = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`app${i}`, silent]));
    const { clock, checker } = checking(origins);
    clock.advance(1);
    await Bun.sleep(5);
    expect(silent.connections.length).toBeLessThan(10);
    clock.advance(1_000);
    await until(() => silent.connections.length === CHECKS_AT_ONCE_MAX, "the first ones are there");
    clock.advance(POLICY.timeoutMs);
    await until(() => silent.connections.length === 100, "the others follow");
    clock.advance(POLICY.timeoutMs);
    await until(() => checker.last("app99") !== null && checker.last("app0") !== null, "all have ended");
  });
});
