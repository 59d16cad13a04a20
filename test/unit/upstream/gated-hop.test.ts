import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../src/base/clock.ts";
import { bodyOf } from "../../../src/http/body.ts";
import { Fields } from "../../../src/http/fields.ts";
import { GatedHop } from "../../../src/upstream/gated-hop.ts";
import { type NextHop, UpstreamError, type UpstreamResponse } from "../../../src/upstream/next-hop.ts";
import { failureOf, readText, TIMEOUTS, upstreamRequest } from "../../kit/upstream-request.ts";

/** A hop whose answers the test gives, and which knows how many are under way. */
class HeldHop implements NextHop {
  readonly name = "app";
  readonly asked: { target: string; answer(): void; fail(): void }[] = [];

  fetch({ target }: { target: string }): Promise<UpstreamResponse> {
    return new Promise((resolve, reject) => {
      this.asked.push({
        target,
        answer: () =>
          resolve({
            status: 200,
            fields: new Fields(),
            framing: "length",
            bodyLength: 4,
            body: bodyOf(Buffer.from("body")),
            requestTimeMs: 0,
            responseTimeMs: 0,
            reused: false,
          }),
        fail: () => reject(new UpstreamError("connection_refused", "no")),
      });
    });
  }
  close(): void {}
}

function gate(limits: Partial<{ atOnce: number; queue: number; waitMs: number }> = {}) {
  const clock = new ManualClock();
  const hop = new HeldHop();
  const gated = new GatedHop(hop, { atOnce: 2, queue: 2, waitMs: 1_000, ...limits }, clock);
  const ask = (target: string, signal: AbortSignal | null = null) =>
    gated.fetch(upstreamRequest({ target, signal }), TIMEOUTS);
  const targets = () => hop.asked.map(({ target }) => target).join("");
  return { clock, hop, gated, ask, targets };
}

describe("a gate", () => {
  test("lets so many through, and the next one in order when a body has ended", async () => {
    const { hop, ask, targets, gated } = gate();
    const all = ["a", "b", "c", "d"].map((target) => ask(target));
    expect(targets()).toBe("ab");
    expect(gated.counts()).toEqual({ waiting: 2, refused: 0 });
    hop.asked[0]?.answer();
    const first = await all[0];
    // The answer is there, its body is not: the place is taken.
    expect(targets()).toBe("ab");
    await readText(first?.body ?? null);
    await Promise.resolve();
    expect(targets()).toBe("abc");
  });

  test("gives the place on when a body is taken as it lies there", async () => {
    const { hop, ask, targets } = gate({ atOnce: 1 });
    const all = ["a", "b"].map((target) => ask(target));
    hop.asked[0]?.answer();
    const body = (await all[0])?.body;
    expect(body?.readNow?.()?.byteLength).toBe(4);
    expect(targets()).toBe("a");
    expect(body?.readNow?.()).toBeNull();
    await Promise.resolve();
    expect(targets()).toBe("ab");
  });

  test("gives the place on when an exchange fails, and when its body is given up, once", async () => {
    const { hop, ask, targets } = gate({ atOnce: 1, queue: 5 });
    const all = ["a", "b", "c", "d"].map((target) => ask(target));
    hop.asked[0]?.fail();
    expect((await failureOf(all[0] as Promise<unknown>)).code).toBe("connection_refused");
    await Promise.resolve();
    expect(targets()).toBe("ab");
    hop.asked[1]?.answer();
    const second = await all[1];
    second?.body?.cancel();
    second?.body?.cancel();
    await Promise.resolve();
    expect(targets()).toBe("abc");
  });

  test("refuses who finds the queue full, and who has waited too long: nothing was sent", async () => {
    const { clock, ask, gated, targets } = gate({ atOnce: 1, queue: 1 });
    void ask("a");
    const waiting = ask("b");
    const full = await failureOf(ask("c"));
    expect([full.code, full.retryable]).toEqual(["connection_limit_reached", true]);
    expect(full.message).toBe("origin app: 1 requests are under way and 1 wait");
    clock.advance(1_000);
    const late = await failureOf(waiting);
    expect(late.code).toBe("connection_limit_reached");
    expect(late.message).toContain("none ended within 1000 ms");
    expect([gated.counts(), targets()]).toEqual([{ waiting: 0, refused: 2 }, "a"]);
  });

  test("forgets who gives up while waiting", async () => {
    const { hop, ask, gated, targets } = gate({ atOnce: 1 });
    const first = ask("a");
    const controller = new AbortController();
    const waiting = ask("b", controller.signal);
    const third = ask("c");
    controller.abort();
    expect((await failureOf(waiting)).code).toBe("http_request_error");
    expect((await failureOf(ask("d", AbortSignal.abort()))).code).toBe("http_request_error");
    hop.asked[0]?.fail();
    await failureOf(first);
    await Promise.resolve();
    expect([targets(), gated.counts()]).toEqual(["ac", { waiting: 0, refused: 0 }]);
    void third;
  });
});
