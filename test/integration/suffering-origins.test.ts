/** Origins that suffer, and what spares them: degraded ones, slow ones, and those that take only so much at once. */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import { startTestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { type OriginHandler, startOrigin, text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";
import { until } from "../kit/upstream-request.ts";

const { stops } = stage();

async function edgeBefore(handler: OriginHandler, more: Omit<TestEdgeOptions, "origin"> = {}) {
  const clock = new ManualClock();
  const origin = startOrigin(handler, clock);
  stops.push(() => origin.stop());
  const edge = await startTestEdge({ origin: origin.url, clock, ...more });
  stops.push(() => edge.stop());
  /** Cache result and reason, as the viewer is told. */
  const get = async (path = "/a") => {
    const answer = await edge.get(path);
    const status = answer.headers.get("cache-status") ?? "";
    return { ...answer, how: `${answer.cache} ${/detail=([\w-]+)/.exec(status)?.[1]}` };
  };
  return { clock, origin, edge, get };
}

describe("an origin that says X-Origin-Status: degraded", () => {
  const degraded =
    (cacheControl: string): OriginHandler =>
    () =>
      text("old", { "cache-control": cacheControl, "x-origin-status": "degraded" });

  test("is spared: what is stored is used for longer, first without asking, then while it is fetched anew", async () => {
    const { clock, origin, get, edge } = await edgeBefore(degraded("max-age=10"));
    expect((await get()).how).toBe("MISS not-stored");
    clock.advance(9_000);
    expect((await get()).how).toBe("HIT fresh");
    clock.advance(40_000);
    expect((await get()).how).toBe("STALE origin-degraded");
    expect(origin.count()).toBe(1);
    // Past freshSeconds (60) it is fetched in the background, one request at a time.
    origin.answer(() => text("new", { "cache-control": "max-age=10", "x-origin-status": "degraded" }));
    await (await edge.get("/other")).body;
    clock.advance(25_000);
    expect((await get()).how).toBe("UPDATING stale-while-revalidate");
    await until(() => origin.count("/a") === 2, "it is fetched anew");
    await until(() => edge.edge.stats().requestsInFlight === 0, "nothing is under way");
    expect(await get()).toMatchObject({ how: "HIT fresh", body: "new" });
  });

  test("may fail, too: what is stored stands for it", async () => {
    const { clock, origin, get } = await edgeBefore(degraded("max-age=10"));
    await get();
    clock.advance(50_000);
    await get("/keeps-it-degraded");
    origin.answer(() => text("no", {}, 503));
    clock.advance(30_000);
    for (let i = 0; i < 3; i++) expect(await get()).toMatchObject({ status: 200, body: "old" });
  });

  test("is told in the log and in the counters, and nobody else sees the field", async () => {
    const { clock, origin, get, edge } = await edgeBefore(degraded("max-age=10"));
    expect((await get()).headers.has("x-origin-status")).toBe(false);
    expect((await get()).headers.has("x-origin-status")).toBe(false);
    const report = async () => (await edge.edge.stats()).upstream.origins[0];
    expect(await report()).toMatchObject({ site: "test", name: "app", degraded: true, state: "up" });
    expect(await edge.edge.metrics()).toContain('proxima_origin_degraded{site="test",origin="app"} 1\n');
    expect(edge.messages.filter((message) => message.includes("degraded"))).toEqual([
      "warning: origin app of site test says that it is degraded: what is stored of it is used for longer",
    ]);
    origin.answer(() => text("well"));
    clock.advance(6_000);
    await get("/b");
    expect(await report()).toMatchObject({ degraded: false });
    expect(edge.messages.at(-1)).toBe("info: origin app of site test is not degraded any more");
    // Lifetimes are the usual ones again, at once.
    clock.advance(5_000);
    expect((await get()).body).toBe("well");
  });

  test("is asked as before for what it says must be revalidated, for what is never fresh, and after a soft purge", async () => {
    const { clock, origin, get, edge } = await edgeBefore((_, { target }) =>
      text("x", {
        etag: '"1"',
        "x-origin-status": "degraded",
        "cache-control":
          {
            "/must": "max-age=10, must-revalidate",
            "/proxy": "max-age=10, proxy-revalidate",
            "/no-cache": "no-cache",
            "/zero": "max-age=0",
          }[target] ?? "max-age=10",
      }),
    );
    const paths = ["/must", "/proxy", "/no-cache", "/zero", "/purged"];
    for (const path of paths) await get(path);
    clock.advance(1_000);
    const target = edge.edge.urlTarget("test", `${edge.url}/purged`) ?? "";
    const { applied } = edge.edge.purge({
      sequence: 1,
      site: "test",
      scope: "url",
      targets: [target],
      mode: "soft",
      acceptedMs: clock.now(),
    });
    await applied;
    clock.advance(11_000);
    for (const path of paths) expect((await get(path)).how).not.toContain("origin-degraded");
    for (const path of paths) expect(origin.count(path)).toBe(2);
  });

  test("changes nothing where its bounds are 0", async () => {
    const handler = degraded("max-age=10");
    const origin = startOrigin(handler);
    stops.push(() => origin.stop());
    const bounds = { freshSeconds: 0, staleSeconds: 0 };
    const { clock, get } = await edgeBefore(handler, {
      site: { origins: { app: { url: origin.url, degraded: bounds } } },
    });
    await get();
    clock.advance(11_000);
    expect((await get()).how).not.toContain("origin-degraded");
  });
});

describe("an origin that takes longer than staleAfterMs", () => {
  /** An origin that answers when it is told to. */
  async function slow(cacheControl: string, behavior = {}) {
    const answers: (() => void)[] = [];
    let version = 0;
    const made = await edgeBefore(
      async () => {
        const mine = ++version;
        if (mine > 1) await new Promise<void>((resolve) => answers.push(resolve));
        return text(`v${mine}`, { "cache-control": cacheControl });
      },
      { behavior: { staleAfterMs: 300, ...behavior } },
    );
    await made.get();
    return { ...made, answers };
  }

  test("is not waited for where a stale answer may stand for an error, and its answer is stored", async () => {
    const { clock, origin, get, answers } = await slow("max-age=10, stale-if-error=600");
    clock.advance(11_000);
    const waiting = get();
    await until(() => origin.count() === 2, "the origin is asked");
    clock.advance(299);
    expect(await Promise.race([waiting, Bun.sleep(20)])).toBeUndefined();
    clock.advance(1);
    expect(await waiting).toMatchObject({ how: "STALE origin-slow", body: "v1" });
    // Who comes while it is still slow does not wait another time.
    const second = get();
    await Bun.sleep(10);
    clock.advance(0);
    expect(await second).toMatchObject({ how: "STALE origin-slow", body: "v1" });
    expect(origin.count()).toBe(2);
    answers[0]?.();
    await Bun.sleep(20);
    expect(await get()).toMatchObject({ how: "HIT fresh", body: "v2" });
  });

  test("is waited for where there is no such answer, or it must not be used", async () => {
    const none = await slow("max-age=10");
    const must = await slow("max-age=10, must-revalidate, stale-if-error=600");
    for (const { clock, origin, get, answers } of [none, must]) {
      clock.advance(11_000);
      const waiting = get();
      await until(() => origin.count() === 2, "the origin is asked");
      clock.advance(5_000);
      answers[0]?.();
      expect(await waiting).toMatchObject({ status: 200, body: "v2" });
    }
  });
});

describe("an origin with a limit of requests at once", () => {
  test("gets no more; who waits is served in turn, who finds no place is told so", async () => {
    const held: (() => void)[] = [];
    const origin = startOrigin(async () => {
      await new Promise<void>((resolve) => held.push(resolve));
      return text("ok", { "cache-control": "no-store" });
    });
    stops.push(() => origin.stop());
    const edge = await startTestEdge({
      origin: origin.url,
      site: {
        origins: { app: { url: origin.url, concurrency: { max: 2, queueMax: 1, waitMs: 5_000 } } },
      },
    });
    stops.push(() => edge.stop());
    const first = [edge.get("/1"), edge.get("/2")];
    await until(() => held.length === 2, "two are there");
    const waiting = edge.get("/3");
    await until(() => edge.edge.stats().upstream.origins[0]?.waiting === 1, "one waits");
    const refused = await edge.get("/4");
    expect(refused.status).toBe(503);
    expect(refused.headers.get("proxy-status")).toContain("error=connection_limit_reached");
    for (const answer of held.splice(0)) answer();
    for (const answer of await Promise.all(first)) expect(answer.status).toBe(200);
    await until(() => held.length === 1, "the third is let through");
    held[0]?.();
    expect((await waiting).status).toBe(200);
    expect((await edge.edge.stats()).upstream.origins[0]).toMatchObject({
      requests: 4,
      refused: 1,
      inFlight: 0,
      state: "up",
    });
  });
});
