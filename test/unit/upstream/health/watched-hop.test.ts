/** An origin that is watched: every exchange ends once for it, however its body is read. */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { type BodyReader, bodyOf } from "../../../../src/http/body.ts";
import { Fields } from "../../../../src/http/fields.ts";
import { WatchedHop } from "../../../../src/upstream/health/watched-hop.ts";
import { UpstreamError } from "../../../../src/upstream/next-hop.ts";
import { failureOf, TIMEOUTS, upstreamRequest } from "../../../kit/upstream-request.ts";

function hopOf(body: () => BodyReader, status = 200, failures = 1): WatchedHop {
  return new WatchedHop({
    hop: {
      name: "app",
      fetch: async () => ({
        status,
        fields: new Fields(),
        framing: "length",
        bodyLength: 4,
        body: body(),
        requestTimeMs: 0,
        responseTimeMs: 0,
        reused: false,
      }),
      close() {},
    },
    clock: new ManualClock(),
    policy: { failures, holdMs: 1_000 },
    failingStatuses: new Set([503]),
    slowMs: null,
    onFinding() {},
  });
}

async function watched(body: BodyReader) {
  const hop = hopOf(() => body);
  const response = await hop.fetch(upstreamRequest(), TIMEOUTS);
  if (response.body === null) throw new Error("a body was expected");
  expect(hop.counts()).toEqual({ requests: 1, failures: 0, inFlight: 1 });
  return { hop, body: response.body };
}

const cut = (): BodyReader => ({
  read: () => Promise.reject(new UpstreamError("http_response_incomplete", "cut")),
  cancel() {},
});

describe("an exchange", () => {
  test("ends when its body was taken as it lay there", async () => {
    const { hop, body } = await watched(bodyOf(Buffer.from("body")));
    expect(body.readNow?.()?.byteLength).toBe(4);
    expect(hop.inFlight).toBe(1);
    expect(body.readNow?.()).toBeNull();
    expect(hop.inFlight).toBe(0);
    body.cancel();
    expect(hop.counts()).toEqual({ requests: 1, failures: 0, inFlight: 0 });
  });

  test("ends when its body was read", async () => {
    const { hop, body } = await watched(bodyOf(Buffer.from("body")));
    await body.read();
    await body.read();
    await body.read();
    expect(hop.counts()).toEqual({ requests: 1, failures: 0, inFlight: 0 });
  });

  test("of a failing status is no success when its body is whole: so many in a row are too many", async () => {
    const hop = hopOf(() => bodyOf(Buffer.from("body")), 503, 3);
    for (let i = 1; i <= 3; i++) {
      expect(hop.health.state(0)).toBe("up");
      const { body } = await hop.fetch(upstreamRequest(), TIMEOUTS);
      await body?.read();
      await body?.read();
      expect(hop.counts()).toEqual({ requests: i, failures: i, inFlight: 0 });
    }
    expect(hop.health.state(0)).toBe("down");
  });

  test("whose body is cut is the origin's failure, once", async () => {
    const { hop, body } = await watched(cut());
    expect((await failureOf(body.read())).code).toBe("http_response_incomplete");
    await failureOf(body.read());
    body.cancel();
    expect(hop.counts()).toEqual({ requests: 1, failures: 1, inFlight: 0 });
  });

  test("whose body is given up is nobody's", async () => {
    const { hop, body } = await watched(cut());
    body.cancel();
    await failureOf(body.read());
    expect(hop.counts()).toEqual({ requests: 1, failures: 0, inFlight: 0 });
  });
});
