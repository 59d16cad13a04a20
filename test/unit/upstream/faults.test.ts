import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../src/base/clock.ts";
import { bodyOf } from "../../../src/http/body.ts";
import { Fields } from "../../../src/http/fields.ts";
import { FAULT_MS_MAX, type FaultKind, Faults, FaultyHop } from "../../../src/upstream/faults.ts";
import type { NextHop, UpstreamResponse } from "../../../src/upstream/next-hop.ts";
import { failureOf, readText, TIMEOUTS, upstreamRequest } from "../../kit/upstream-request.ts";

function faulty(body = "0123456789") {
  const clock = new ManualClock();
  const faults = new Faults(clock);
  let asked = 0;
  const hop: NextHop = {
    name: "app",
    fetch: (): Promise<UpstreamResponse> => {
      asked++;
      return Promise.resolve({
        status: 200,
        fields: new Fields(),
        framing: "length",
        bodyLength: body.length,
        body: body === "" ? null : bodyOf(Buffer.from(body)),
        requestTimeMs: 0,
        responseTimeMs: 0,
        reused: false,
      });
    },
    close() {},
  };
  const other = new FaultyHop(hop, "shop other", faults, clock);
  const made = new FaultyHop(hop, "shop app", faults, clock);
  const set = (kind: FaultKind, ms = 30_000) => faults.set("shop app", { kind, untilMs: clock.now() + ms });
  return {
    clock,
    faults,
    set,
    other,
    asked: () => asked,
    ask: () => made.fetch(upstreamRequest(), TIMEOUTS),
    made,
  };
}

describe("a fault", () => {
  test("refuses, answers 503, or cuts the body, and leaves other origins alone", async () => {
    const { set, ask, asked, other } = faulty();
    set("refuse");
    const refused = await failureOf(ask());
    expect([refused.code, refused.retryable, asked()]).toEqual(["connection_refused", true, 0]);
    set("5xx");
    expect(await ask()).toMatchObject({ status: 503, body: null });
    set("cut");
    const cut = await ask();
    expect(Buffer.from((await cut.body?.read()) ?? []).toString()).toBe("01234");
    expect((await failureOf(readText(cut.body))).code).toBe("http_response_incomplete");
    expect(await readText((await other.fetch(upstreamRequest(), TIMEOUTS)).body)).toBe("0123456789");
  });

  test("cuts an answer without a body before it begins", async () => {
    const { set, ask } = faulty("");
    set("cut");
    expect((await failureOf(ask())).code).toBe("connection_terminated");
  });

  test("delays until the asker's own limit, or until it ends: then the origin answers", async () => {
    const { clock, set, ask, asked } = faulty();
    set("delay");
    const slow = failureOf(ask());
    clock.advance(TIMEOUTS.firstByteMs);
    expect([(await slow).code, asked()]).toEqual(["http_response_timeout", 0]);
    set("delay", 1_000);
    const late = ask();
    clock.advance(1_000);
    expect((await late).status).toBe(200);
  });

  test("that delays lets go of who gives up", async () => {
    const { set, made } = faulty();
    set("delay");
    const controller = new AbortController();
    const waiting = failureOf(made.fetch(upstreamRequest({ signal: controller.signal }), TIMEOUTS));
    controller.abort();
    expect((await waiting).code).toBe("http_request_error");
  });

  test("ends by itself at its time, and when it is taken away", async () => {
    const { clock, faults, set, ask } = faulty();
    set("refuse", 5_000);
    clock.advance(4_999);
    expect((await failureOf(ask())).code).toBe("connection_refused");
    clock.advance(1);
    expect((await ask()).status).toBe(200);
    set("refuse");
    faults.clear("shop app");
    expect((await ask()).status).toBe(200);
  });

  test("lasts no longer than the limit, whatever it says of itself", async () => {
    const { clock, set, ask } = faulty();
    set("refuse", Number.MAX_SAFE_INTEGER);
    clock.advance(FAULT_MS_MAX);
    expect((await ask()).status).toBe(200);
  });
});
