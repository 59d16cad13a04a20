import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";

const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;

beforeAll(async () => {
  origin = startOrigin(() => text("hello", { "cache-control": "max-age=10", etag: '"1"' }), clock);
  edge = await startTestEdge({ origin: origin.url, clock });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

describe("an edge in front of an origin", () => {
  test("fetches once, then answers by itself, then asks whether it changed", async () => {
    origin.answer((request) =>
      request.headers.get("if-none-match") === '"1"'
        ? new Response(null, { status: 304, headers: { etag: '"1"', "cache-control": "max-age=10" } })
        : text("hello", { "cache-control": "max-age=10", etag: '"1"' }),
    );
    expect((await edge.get("/a")).cache).toBe("MISS");
    const hit = await edge.get("/a");
    expect(hit).toMatchObject({ cache: "HIT", body: "hello", status: 200 });
    clock.advance(4_000);
    expect((await edge.get("/a")).headers.get("age")).toBe("4");
    clock.advance(7_000);
    expect(await edge.get("/a")).toMatchObject({ cache: "REVALIDATED", body: "hello", status: 200 });
    expect((await edge.get("/a")).cache).toBe("HIT");
    expect(origin.count("/a")).toBe(2);
  });

  test("200 viewers of one cold object make one origin request", async () => {
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("cold", { "cache-control": "max-age=10" });
    });
    const viewers = Array.from({ length: 200 }, () => edge.get("/cold"));
    while (origin.count("/cold") === 0) await Bun.sleep(5);
    gate.resolve();
    const answers = await Promise.all(viewers);
    expect(answers.every(({ body }) => body === "cold")).toBe(true);
    expect(origin.count("/cold")).toBe(1);
  }, 20_000);
});
