/** The disk behind the memory: what was stored is found after a restart, purges have their word, memory may be small. */
import { afterEach, describe, expect, test } from "bun:test";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Stage {
  readonly edge: TestEdge;
  readonly origin: TestOrigin;
  readonly clock: ManualClock;
}

/** An edge with a disk, and an origin whose answers are numbered. */
async function stage(options: Partial<TestEdgeOptions> = {}): Promise<Stage> {
  const clock = new ManualClock(Date.UTC(2026, 0, 1));
  let number = 0;
  const origin = startOrigin(
    (_request, { target }) =>
      text(`${target} ${++number}`, {
        "cache-control": "max-age=3600",
        etag: `"${number}"`,
        "cache-tag": "all",
      }),
    clock,
  );
  stops.push(() => origin.stop());
  const edge = await startTestEdge({
    origin: origin.url,
    clock,
    config: { cache: { disk: { size: "256MiB" } } },
    ...options,
  });
  stops.push(() => edge.stop());
  return { edge, origin, clock };
}

describe("after a restart", () => {
  test("what was stored is a hit with the same bytes, fields and age, and the origin is not asked", async () => {
    const { edge, origin, clock } = await stage();
    const first = await edge.get("/a");
    expect(first.cache).toBe("MISS");
    await edge.restart();
    clock.advance(100_000);
    const explained = await edge.edge.explain(`${edge.url}/a`, {});
    expect(explained.would).toEqual({ result: "hit", reason: "fresh" });
    expect(explained.steps.find(({ step }) => step === "stored")?.outcome).toMatch(
      /^status 200, \d+ bytes on disk$/,
    );
    const again = await edge.get("/a");
    expect([again.status, again.cache, again.body]).toEqual([200, "HIT", first.body]);
    expect(again.headers.get("age")).toBe("100");
    expect(again.headers.get("etag")).toBe(first.headers.get("etag"));
    expect(again.headers.get("content-type")).toBe(first.headers.get("content-type"));
    expect(origin.count()).toBe(1);
    expect((await edge.get("/a", { "if-none-match": '"1"' })).status).toBe(304);
    expect((await edge.get("/a", { range: "bytes=0-1" })).body).toBe("/a");
  });

  test("what has become stale is validated, and the 304's new life is on disk as well", async () => {
    const { edge, origin, clock } = await stage();
    await edge.get("/a");
    await edge.restart();
    clock.advance(3_700_000);
    origin.answer((request) =>
      request.headers.get("if-none-match") === '"1"'
        ? new Response(null, { status: 304, headers: { "cache-control": "max-age=9000", etag: '"1"' } })
        : text("another"),
    );
    expect((await edge.get("/a")).cache).toBe("REVALIDATED");
    await edge.restart();
    clock.advance(8_000_000);
    const answer = await edge.get("/a");
    expect([answer.cache, answer.body]).toEqual(["HIT", "/a 1"]);
    expect(origin.count()).toBe(2);
  });

  test("every variant is found by its own request, and none by another's", async () => {
    const { edge, origin } = await stage();
    origin.answer((request) =>
      text(`for ${request.headers.get("accept-language")}`, {
        "cache-control": "max-age=3600",
        vary: "accept-language",
      }),
    );
    for (const language of ["de", "en"]) await edge.get("/v", { "accept-language": language });
    await edge.restart();
    for (const language of ["de", "en"]) {
      const answer = await edge.get("/v", { "accept-language": language });
      expect([answer.cache, answer.body]).toEqual(["HIT", `for ${language}`]);
    }
    expect((await edge.get("/v", { "accept-language": "fr" })).cache).toBe("MISS");
    expect(origin.count()).toBe(3);
  });

  test("a coded body is recoded for who does not take it", async () => {
    const { edge, origin } = await stage({ behavior: { compress: true } });
    const plain = "hello world ".repeat(100);
    origin.answer(
      () =>
        new Response(Bun.gzipSync(plain), {
          headers: {
            "content-type": "text/plain",
            "content-encoding": "gzip",
            "cache-control": "max-age=3600",
          },
        }),
    );
    await edge.get("/z");
    await edge.restart();
    const answer = await edge.get("/z");
    expect([answer.cache, answer.body, answer.headers.get("content-encoding")]).toEqual(["HIT", plain, null]);
    expect(origin.count()).toBe(1);
  });

  test("what was of no use on disk is written when it is validated and lives longer", async () => {
    const { edge, origin, clock } = await stage();
    origin.answer((request) =>
      request.headers.get("if-none-match") === '"s"'
        ? new Response(null, { status: 304, headers: { "cache-control": "max-age=9000", etag: '"s"' } })
        : text("short", { "cache-control": "max-age=5", etag: '"s"' }),
    );
    await edge.get("/short");
    clock.advance(6_000);
    expect((await edge.get("/short")).cache).toBe("REVALIDATED");
    await edge.restart();
    const answer = await edge.get("/short");
    expect([answer.cache, answer.body]).toEqual(["HIT", "short"]);
  });

  test("what lives shorter than it would be of use is not written", async () => {
    const { edge, origin } = await stage();
    origin.answer(() => text("short", { "cache-control": "max-age=5" }));
    await edge.get("/short");
    await edge.restart();
    expect((await edge.get("/short")).cache).toBe("MISS");
  });
});

describe("purges reach the disk", () => {
  const everything = { site: "test", scope: "everything", targets: [], mode: "hard" } as const;

  test("and what they took is not found by a later start, although nothing had been swept", async () => {
    const { edge, origin } = await stage();
    await edge.get("/a");
    // Logged by a process that ended before it could apply it.
    edge.log.append({ ...everything, acceptedMs: 0 }, null);
    await edge.restart();
    expect((await edge.get("/a")).body).toBe("/a 2");
    expect(origin.count()).toBe(2);
  });

  test("and are counted once for an object that is in memory and on disk, and for one that is on disk alone", async () => {
    const { edge } = await stage();
    for (const path of ["/a", "/b", "/c"]) await edge.get(path);
    await edge.restart();
    await edge.get("/a");
    const { entry } = edge.log.append(
      { site: "test", scope: "tag", targets: ["all"], mode: "hard", acceptedMs: 0 },
      null,
    );
    expect(await edge.edge.purge(entry).counted).toBe(3);
    for (const path of ["/a", "/b", "/c"]) expect((await edge.get(path)).cache).toBe("MISS");
  });

  test("soft ones make it stale, in this start and in the next", async () => {
    const { edge, origin, clock } = await stage();
    for (const path of ["/a", "/b"]) await edge.get(path);
    await edge.restart();
    await edge.get("/a");
    const { entry } = edge.log.append({ ...everything, mode: "soft", acceptedMs: clock.now() }, null);
    expect(await edge.edge.purge(entry).counted).toBe(2);
    await edge.restart();
    origin.answer((request) =>
      request.headers.has("if-none-match") ? new Response(null, { status: 304 }) : text("?"),
    );
    for (const path of ["/a", "/b"]) expect((await edge.get(path)).cache).toBe("REVALIDATED");
  });

  test("an unsafe request's invalidation, by URL and by group, outlives a restart", async () => {
    const { edge, origin } = await stage();
    origin.answer((request, { target }) =>
      request.method === "POST"
        ? text("done", { "cache-group-invalidation": '"news"' })
        : text(target, {
            "cache-control": "max-age=3600",
            ...(target === "/b" ? { "cache-groups": '"news"' } : {}),
          }),
    );
    for (const path of ["/a", "/b", "/c"]) await edge.get(path);
    await edge.restart();
    await edge.get("/a", {}, { method: "POST" });
    await edge.restart();
    const results = [];
    for (const path of ["/a", "/b", "/c"]) results.push((await edge.get(path)).cache);
    expect(results).toEqual(["MISS", "MISS", "HIT"]);
  });

  test("another purge log is another history: nothing of the disk is used", async () => {
    const { edge } = await stage();
    await edge.get("/a");
    await edge.restart(() => {
      for (const name of ["purges.db", "purges.db-wal", "purges.db-shm"])
        rmSync(join(edge.dataDir, name), { force: true });
    });
    expect((await edge.get("/a")).cache).toBe("MISS");
  });
});

test("memory may be far smaller than what is stored", async () => {
  const { edge, origin } = await stage({ config: { cache: { memory: "1MiB", disk: { size: "256MiB" } } } });
  const bytes = "x".repeat(20_000);
  origin.answer((_request, { target }) => text(target + bytes, { "cache-control": "max-age=3600" }));
  for (let i = 0; i < 200; i++) await edge.get(`/${i}`);
  await edge.restart();
  for (let round = 0; round < 2; round++)
    for (let i = 0; i < 200; i++) {
      const answer = await edge.get(`/${i}`);
      expect([answer.cache, answer.body === `/${i}${bytes}`]).toEqual(["HIT", true]);
    }
  expect(origin.count()).toBe(200);
});

describe("a disk that goes", () => {
  test("away leaves the memory, which serves and stores on; what comes back is empty", async () => {
    const { edge, clock } = await stage();
    await edge.get("/a");
    await edge.restart();
    await edge.get("/a");
    rmSync(join(edge.dataDir, "cache"), { recursive: true });
    expect((await edge.get("/a")).cache).toBe("HIT");
    expect((await edge.get("/b")).cache).toBe("MISS");
    expect((await edge.get("/b")).cache).toBe("HIT");
    clock.advance(6_000);
    await Bun.sleep(20);
    expect(edge.messages.join("\n")).toContain("were removed while it was in use");
    expect((await edge.get("/a")).cache).toBe("HIT");
  });

  test("somewhere else and comes back later is not believed where it missed purges", async () => {
    const { edge, clock } = await stage();
    await edge.get("/a");
    await edge.restart();
    const folder = join(edge.dataDir, "cache");
    renameSync(folder, `${folder}-away`);
    clock.advance(6_000);
    await Bun.sleep(20);
    const { entry } = edge.log.append(
      { site: "test", scope: "everything", targets: [], mode: "hard", acceptedMs: 0 },
      null,
    );
    await edge.edge.purge(entry).counted;
    rmSync(folder, { recursive: true, force: true });
    renameSync(`${folder}-away`, folder);
    await edge.restart();
    expect((await edge.get("/a")).body).toBe("/a 2");
  });
});
