/** An origin that is watched: every exchange ends once for it, however its body is read. */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { type BodyReader, bodyOf } from "../../../../src/http/body.ts";
import { Fields } from "../../../../src/http/fields.ts";
import { WatchedHop } from "../../../../src/upstream/health/watched-hop.ts";
import { UpstreamError } from "../../../../src/upstream/next-hop.ts";
import { failureOf, TIMEOUTS, upstreamRequest } from "../../../kit/upstream-request.ts";

async function watched(body: BodyReader) {
  const hop = new WatchedHop({
    hop: {
      name: "app",
      fetch: async () => ({
        status: 200,
        fields: new Fields(),
        framing: "length",
        bodyLength: 4,
        body,
        requestTimeMs: 0,
        responseTimeMs: 0,
        reused: false,
      }),
      close() {},
    },
    clock: new ManualClock(),
    policy: { failures: 1, holdMs: 1_000 },
    failingStatuses: new Set(),
    slowMs: null,
    onFinding() {},
  });
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
