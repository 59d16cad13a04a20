/** Stale answers: while a new one is fetched, and instead of an error (RFC 5861, RFC 9111 section 4.2.4). */
import { describe, expect, test } from "bun:test";
import { startTestEdge } from "../kit/edge.ts";
import { startRawOrigin } from "../kit/raw-origin.ts";
import { cacheStatus, counting, gate, lab, text, until } from "./support.ts";

const l = lab();
const own = lab({
  behaviors: [
    { path: "/strict*", strictSMaxage: true },
    { path: "/windows*", staleWhileRevalidateSeconds: 20, staleIfErrorSeconds: 30 },
    { path: "/min*", ttlSeconds: { min: 50 }, staleIfErrorSeconds: 1000, staleWhileRevalidateSeconds: 1000 },
    { path: "/*" },
  ],
});

describe("stale-while-revalidate", () => {
  test("answers from the store at once while one request refreshes it, for as long as it says", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=20" }));
    await l.get(path);
    l.pass(10);
    const stale = await l.get(path);
    expect(stale).toMatchObject({ body: "1", cache: "UPDATING", status: 200 });
    expect(stale.headers.get("age")).toBe("10");
    expect(cacheStatus(stale)).toMatchObject({ hit: true, detail: "stale-while-revalidate" });
    expect(cacheStatus(stale).ttl).toBe(0);
    await until(() => l.seen(path).length === 2, "the refresh");
    await settled(path);
    expect(await l.get(path)).toMatchObject({ body: "2", cache: "HIT" });
    expect(l.seen(path).length).toBe(2);
  });
  test("makes one background request for any number of viewers, none of whom waits", async () => {
    const door = gate();
    let hold = false;
    const path = l.path(async (request, seen) => {
      if (hold) await door.opened;
      return counting({ "cache-control": "max-age=10, stale-while-revalidate=20" })(request, seen);
    });
    await l.get(path);
    l.pass(11);
    hold = true;
    for (let i = 0; i < 20; i++) expect((await l.get(path)).cache).toBe("UPDATING");
    await Promise.all(Array.from({ length: 20 }, () => l.get(path)));
    await l.get(path, {}, { method: "HEAD" });
    expect(l.seen(path).length).toBe(2);
    door.open();
    await settled(path);
    expect((await l.get(path)).cache).toBe("HIT");
  });
  test("ends with its window: then the viewer waits", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=20" }));
    await l.get(path);
    l.pass(30);
    expect(await l.get(path)).toMatchObject({ body: "2", cache: "EXPIRED" });
    const edge = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=20" }));
    await l.get(edge);
    l.pass(29);
    expect(await l.get(edge)).toMatchObject({ body: "1", cache: "UPDATING" });
  });
  test("refreshes by validator, too", async () => {
    const path = l.path((request) => {
      const headers = { etag: '"a"', "cache-control": "max-age=10, stale-while-revalidate=20" };
      return request.headers.has("if-none-match")
        ? new Response(null, { status: 304, headers })
        : text("x", headers);
    });
    await l.get(path);
    l.pass(10);
    expect((await l.get(path)).cache).toBe("UPDATING");
    await settled(path);
    l.pass(9);
    expect((await l.get(path)).cache).toBe("HIT");
  });
  for (const [name, answer] of [
    ["500", () => text("broken", {}, 500)],
    ["503", () => text("broken", {}, 503)],
  ] as const) {
    test(`whose refresh gets ${name} goes on to the window's end, and pauses before it tries again`, async () => {
      const path = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=20" }));
      await l.get(path);
      l.answer(path, answer as never);
      l.pass(10);
      expect((await l.get(path)).cache).toBe("UPDATING");
      await settled(path);
      for (let i = 0; i < 10; i++) expect(await l.get(path)).toMatchObject({ body: "1", cache: "UPDATING" });
      await settled(path);
      expect(l.seen(path).length).toBe(2);
      l.pass(2);
      expect(await l.get(path)).toMatchObject({ body: "1", cache: "UPDATING" });
      await until(() => l.seen(path).length === 3, "the next try");
      await settled(path);
      l.answer(path, counting({ "cache-control": "max-age=10" }));
      l.pass(2);
      await l.get(path);
      await settled(path);
      expect((await l.get(path)).cache).toBe("HIT");
    });
  }
  test("whose refresh breaks off in the body goes on, and pauses before it tries again", async () => {
    let asked = 0;
    const origin = startRawOrigin(async (connection) => {
      while ((await connection.readHead()) !== null) {
        asked++;
        await connection.write(
          `HTTP/1.1 200 OK\r\ndate: ${l.date()}\r\ncontent-length: 5\r\ncache-control: max-age=10, stale-while-revalidate=20\r\n\r\n${asked === 1 ? "whole" : "ha"}`,
        );
        if (asked > 1) connection.end();
      }
    });
    const edge = await startTestEdge({ origin: origin.url, clock: l.clock });
    try {
      await edge.get("/x");
      l.pass(10);
      for (let i = 0; i < 5; i++) {
        expect(await edge.get("/x")).toMatchObject({ body: "whole", cache: "UPDATING" });
        await Bun.sleep(10);
      }
      expect(asked).toBe(2);
      l.pass(2);
      expect(await edge.get("/x")).toMatchObject({ body: "whole", cache: "UPDATING" });
      await until(() => asked === 3, "the next try");
    } finally {
      await edge.stop();
      origin.stop();
    }
  });
  test("whose refresh is answered no-store stops: nobody gets the stale answer any more", async () => {
    for (const control of ["no-store", "private"]) {
      const path = l.path(
        counting({ "cache-control": "max-age=10, stale-while-revalidate=1000, stale-if-error=1000" }),
      );
      await l.get(path);
      l.answer(path, () => text("secret", { "cache-control": control }));
      l.pass(10);
      expect((await l.get(path)).body).toBe("1");
      await settled(path);
      expect(await l.get(path)).toMatchObject({ body: "secret" });
      l.answer(path, text("broken", {}, 500));
      expect(await l.get(path)).toMatchObject({ status: 500 });
    }
  });
  test("whose refresh finds the object gone stops", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=1000" }));
    await l.get(path);
    l.answer(path, text("gone", {}, 404));
    l.pass(10);
    await l.get(path);
    await settled(path);
    expect(await l.get(path)).toMatchObject({ status: 404 });
  });
  test("does not keep stale what an unsafe request invalidated", async () => {
    const path = l.path((request) =>
      request.method === "POST"
        ? text("done")
        : text("x", { "cache-control": "max-age=10, stale-while-revalidate=1000" }),
    );
    await l.get(path);
    l.pass(10);
    await l.get(path, {}, { method: "POST" });
    expect((await l.get(path)).cache).toBe("MISS");
  });
  test("answers only-if-cached", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=20" }));
    await l.get(path);
    l.pass(10);
    expect(await l.get(path, { "cache-control": "only-if-cached" })).toMatchObject({
      status: 200,
      body: "1",
    });
  });
  for (const control of ["must-revalidate", "proxy-revalidate", "no-cache"]) {
    test(`is not heeded beside ${control}`, async () => {
      const path = l.path(
        counting({
          etag: '"x"',
          "cache-control": `max-age=10, stale-while-revalidate=100, stale-if-error=100, ${control}`,
        }),
      );
      await l.get(path);
      l.pass(10);
      expect((await l.get(path)).body).toBe("2");
      l.answer(path, text("broken", {}, 500));
      l.pass(10);
      expect((await l.get(path)).status).toBe(500);
    });
  }
  test("counts from when the answer became stale, also when it came stale", async () => {
    const path = l.path(
      counting({ age: "25", "cache-control": "max-age=10, stale-while-revalidate=20, stale-if-error=40" }),
    );
    await l.get(path);
    l.pass(4);
    expect(await l.get(path)).toMatchObject({ body: "1", cache: "UPDATING" });
    await settled(path);
    l.answer(path, text("broken", {}, 500));
    l.pass(24);
    expect((await l.get(path)).cache).toBe("STALE");
    l.pass(1);
    expect((await l.get(path)).status).toBe(500);
    const late = l.path(
      counting({ age: "100", "cache-control": "max-age=10, stale-while-revalidate=20, stale-if-error=40" }),
    );
    await l.get(late);
    expect((await l.get(late)).body).toBe("2");
  });
  test("of no number of seconds is none", async () => {
    for (const value of [
      "stale-while-revalidate",
      "stale-while-revalidate=",
      "stale-while-revalidate=x",
      "stale-while-revalidate=-5",
      "stale-while-revalidate=0",
    ]) {
      const path = l.path(counting({ "cache-control": `max-age=10, ${value}` }));
      await l.get(path);
      l.pass(10);
      expect((await l.get(path)).body).toBe("2");
    }
  });
});

describe("stale-if-error", () => {
  const control = "max-age=10, stale-if-error=20";
  for (const status of [500, 502, 503, 504]) {
    test(`stands in for ${status} within its window`, async () => {
      const path = l.path(counting({ "cache-control": control }));
      await l.get(path);
      l.answer(path, text("broken", {}, status));
      l.pass(29);
      const stale = await l.get(path);
      expect(stale).toMatchObject({ status: 200, body: "1", cache: "STALE" });
      expect(stale.headers.get("age")).toBe("29");
      expect(cacheStatus(stale)).toMatchObject({
        fwd: "stale",
        "fwd-status": status,
        ttl: -19,
        detail: "stale-if-error",
      });
      l.pass(1);
      expect(await l.get(path)).toMatchObject({ status, body: "broken" });
    });
  }
  for (const status of [400, 403, 404, 429, 501]) {
    test(`does not stand in for ${status}: that is an answer`, async () => {
      const path = l.path(counting({ "cache-control": control }));
      await l.get(path);
      l.answer(path, text("no", {}, status));
      l.pass(10);
      expect((await l.get(path)).status).toBe(status);
    });
  }
  test("and hits before it each tell of themselves alone, second after second", async () => {
    const path = l.path(counting({ "cache-control": control, "cache-status": "inner; hit" }));
    const told: string[] = [];
    const ask = async (): Promise<void> => {
      const answer = await l.get(path);
      told.push(`${answer.cache} ${answer.headers.get("cache-status")?.replace(/; ttl=-?\d+/, "")}`);
    };
    for (let i = 0; i < 3; i++) {
      await ask();
      l.pass(1);
    }
    l.answer(path, text("broken", {}, 500));
    l.pass(9);
    for (let i = 0; i < 3; i++) {
      await ask();
      l.pass(1);
    }
    const own = (told[0] ?? "").split(", ")[1]?.split(";")[0];
    expect(told).toEqual([
      `MISS inner; hit, ${own}; fwd=uri-miss; fwd-status=200; stored; detail=not-stored`,
      ...Array<string>(2).fill(`HIT inner; hit, ${own}; hit; detail=fresh`),
      ...Array<string>(3).fill(`STALE inner; hit, ${own}; fwd=stale; fwd-status=500; detail=stale-if-error`),
    ]);
  });
  test("does not hide an error while the response is not there at all", async () => {
    const path = l.path(text("broken", { "cache-control": "stale-if-error=1000" }, 500));
    expect((await l.get(path)).status).toBe(500);
  });
  test("is heeded for HEAD and for conditions", async () => {
    const path = l.path(counting({ "cache-control": control, etag: '"a"' }));
    await l.get(path);
    l.answer(path, text("broken", {}, 500));
    l.pass(10);
    expect(await l.get(path, {}, { method: "HEAD" })).toMatchObject({ status: 200, cache: "STALE" });
    expect(await l.get(path, { "if-none-match": '"a"' })).toMatchObject({ status: 304, cache: "STALE" });
  });
  test("serves all who wait for the same failing fetch", async () => {
    const door = gate();
    const path = l.path(counting({ "cache-control": control }));
    await l.get(path);
    l.answer(path, async () => {
      await door.opened;
      return text("broken", {}, 500);
    });
    l.pass(10);
    const all = Promise.all(Array.from({ length: 10 }, () => l.get(path)));
    await until(() => l.seen(path).length === 2, "the fetch");
    await l.arrived(10);
    door.open();
    expect((await all).every(({ cache, body }) => cache === "STALE" && body === "1")).toBe(true);
    expect(l.seen(path).length).toBe(2);
  });
  test("ends when the origin answers again", async () => {
    const path = l.path(counting({ "cache-control": control }));
    await l.get(path);
    l.answer(path, text("broken", {}, 500));
    l.pass(10);
    expect((await l.get(path)).cache).toBe("STALE");
    l.answer(path, text("back", { "cache-control": control }));
    expect(await l.get(path)).toMatchObject({ cache: "EXPIRED", body: "back" });
  });
  test("takes its turn after the window of stale-while-revalidate", async () => {
    const path = l.path(
      counting({ "cache-control": "max-age=10, stale-while-revalidate=10, stale-if-error=40" }),
    );
    await l.get(path);
    l.answer(path, text("broken", {}, 500));
    l.pass(15);
    expect((await l.get(path)).cache).toBe("UPDATING");
    await settled(path);
    l.pass(10);
    expect((await l.get(path)).cache).toBe("STALE");
    l.pass(25);
    expect((await l.get(path)).status).toBe(500);
  });
});

describe("an origin that can not be reached", () => {
  /** An edge whose origin answers once and then does what `then` says. */
  async function withOrigin(
    control: string,
    then: "refuse" | "hang" | "reset",
    check: (ask: () => ReturnType<typeof l.get>) => Promise<void>,
  ): Promise<void> {
    let failing = false;
    const origin = startRawOrigin(async (connection) => {
      for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
        if (!failing) {
          await connection.write(
            `HTTP/1.1 200 OK\r\ndate: ${l.date()}\r\ncontent-length: 1\r\nconnection: close\r\ncache-control: ${control}\r\n\r\nx`,
          );
          connection.end();
        } else if (then === "reset") connection.reset();
        else if (then === "hang") {
          // The origin's time to answer passes while it says nothing.
          l.clock.advance(30_000);
        }
      }
    });
    const edge = await startTestEdge({ origin: origin.url, clock: l.clock });
    try {
      expect((await edge.get("/x")).cache).toBe("MISS");
      failing = true;
      if (then === "refuse") origin.stop();
      l.pass(10);
      await check(() => edge.get("/x"));
    } finally {
      await edge.stop();
      origin.stop();
    }
  }
  for (const [then, status] of [
    ["refuse", 502],
    ["reset", 502],
    ["hang", 504],
  ] as const) {
    test(`(${then}) is stood in for by stale-if-error`, () =>
      withOrigin("max-age=10, stale-if-error=1000", then, async (ask) => {
        expect(await ask()).toMatchObject({ status: 200, body: "x", cache: "STALE" });
      }));
    test(`(${then}) is an error beyond the window`, () =>
      withOrigin("max-age=5, stale-if-error=5", then, async (ask) =>
        expect((await ask()).status).toBe(status),
      ));
    test(`(${then}) is an error with must-revalidate, with Proxy-Status`, () =>
      withOrigin("max-age=10, stale-if-error=1000, must-revalidate", then, async (ask) => {
        const answer = await ask();
        expect(answer.status).toBe(status);
        expect(answer.headers.has("proxy-status")).toBe(true);
        expect(answer.headers.get("cache-control")).toBe("no-store");
      }));
    test(`(${then}) is an error without a window`, () =>
      withOrigin("max-age=10", then, async (ask) => expect((await ask()).status).toBe(status)));
  }
});

describe("s-maxage", () => {
  test("alone forbids stale answers that only the behaviour would allow (RFC 9111 section 5.2.2.10)", async () => {
    const path = own.path(counting({ "cache-control": "s-maxage=10" }), "/windows");
    await own.get(path);
    own.pass(10);
    expect((await own.get(path)).body).toBe("2");
    own.answer(path, text("broken", {}, 500));
    own.pass(10);
    expect((await own.get(path)).status).toBe(500);
  });
  test("beside explicit stale windows leaves them", async () => {
    const path = own.path(
      counting({ "cache-control": "s-maxage=10, stale-while-revalidate=5, stale-if-error=20" }),
    );
    await own.get(path);
    own.pass(10);
    expect((await own.get(path)).cache).toBe("UPDATING");
    await until(() => own.seen(path).length === 2, "the refresh");
    await Bun.sleep(25);
    own.answer(path, text("broken", {}, 500));
    own.pass(20);
    expect((await own.get(path)).cache).toBe("STALE");
  });
  test("beside them forbids them where the behaviour is strict", async () => {
    const path = own.path(
      counting({ "cache-control": "s-maxage=10, stale-while-revalidate=50, stale-if-error=50" }),
      "/strict",
    );
    await own.get(path);
    own.pass(10);
    expect((await own.get(path)).body).toBe("2");
    own.answer(path, text("broken", {}, 500));
    own.pass(10);
    expect((await own.get(path)).status).toBe(500);
  });
});

describe("windows of the behaviour", () => {
  test("hold where the origin says nothing", async () => {
    const path = own.path(counting({ "cache-control": "max-age=10" }), "/windows");
    await own.get(path);
    own.pass(10);
    expect((await own.get(path)).cache).toBe("UPDATING");
    await until(() => own.seen(path).length === 2, "the refresh");
    await Bun.sleep(25);
    own.answer(path, text("broken", {}, 500));
    own.pass(35);
    expect((await own.get(path)).cache).toBe("STALE");
    own.pass(5);
    expect((await own.get(path)).status).toBe(500);
  });
  test("give way to the origin's own, also to 0", async () => {
    const path = own.path(
      counting({ "cache-control": "max-age=10, stale-while-revalidate=0, stale-if-error=0" }),
      "/windows",
    );
    await own.get(path);
    own.answer(path, text("broken", {}, 500));
    own.pass(10);
    expect((await own.get(path)).status).toBe(500);
  });
  test("never override must-revalidate, proxy-revalidate or no-cache", async () => {
    for (const control of ["max-age=10, must-revalidate", "max-age=10, proxy-revalidate", "no-cache"]) {
      for (const prefix of ["/windows", "/min"]) {
        const path = own.path(counting({ "cache-control": control, etag: '"a"' }), prefix);
        await own.get(path);
        own.answer(path, text("broken", {}, 500));
        own.pass(10);
        expect((await own.get(path)).status).toBe(500);
      }
    }
  });
});

/** Waits until the background request for a path has ended at the edge, too. */
async function settled(path: string): Promise<void> {
  const before = l.seen(path).length;
  await Bun.sleep(25);
  if (l.seen(path).length !== before) await Bun.sleep(25);
}
