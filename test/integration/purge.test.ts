import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import type { PurgeRequest } from "../../src/cache/purge-request.ts";
import { PurgeLog } from "../../src/node/purge-log.ts";
import { PurgeService } from "../../src/node/purge-service.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";

const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;
let log: PurgeLog;
let purges: PurgeService;
let version = 0;

beforeAll(async () => {
  origin = startOrigin(() => text("", {}), clock);
  edge = await startTestEdge({ origin: origin.url, clock });
  log = new PurgeLog(":memory:");
  purges = new PurgeService(log, edge.edge, clock);
});
afterAll(async () => {
  log.close();
  await edge.stop();
  await origin.stop();
});
beforeEach(async () => {
  version = 1;
  origin.answer((request) => {
    const { pathname } = new URL(request.url);
    const etag = `"${version}"`;
    if (request.headers.get("if-none-match") === etag)
      return new Response(null, { status: 304, headers: { etag } });
    return text(`${pathname} v${version}`, {
      "cache-control": "max-age=3600, stale-while-revalidate=60",
      "surrogate-key": `all page${pathname.replaceAll("/", "-")}`,
      etag,
      vary: "accept-language",
    });
  });
  await purge({ scope: "everything" });
});

async function purge(request: PurgeRequest): Promise<number> {
  const { report } = await purges.create(request);
  return (await purges.counted(report.id))?.counted ?? -1;
}
const url = (path: string) => `${edge.url}${path}`;
async function stored(...paths: string[]): Promise<void> {
  for (const path of paths) {
    expect((await edge.get(path)).cache).toBe("MISS");
    expect((await edge.get(path)).cache).toBe("HIT");
  }
}

describe("a purge", () => {
  test("of a URL takes all its variants and nothing else, and says how many", async () => {
    await stored("/a", "/b", "/a?x=1");
    await edge.get("/a", { "accept-language": "de" });
    expect(await purge({ scope: "url", urls: [url("/a")] })).toBe(2);
    expect((await edge.get("/a")).cache).toBe("MISS");
    expect((await edge.get("/a", { "accept-language": "de" })).cache).toBe("MISS");
    expect((await edge.get("/b")).cache).toBe("HIT");
    expect((await edge.get("/a?x=1")).cache).toBe("HIT");
  });

  test("of tags takes every object that has one of them", async () => {
    await stored("/a", "/b", "/c");
    expect(await purge({ scope: "tag", tags: ["page-a", "page-c", "unknown"] })).toBe(2);
    expect((await edge.get("/a")).cache).toBe("MISS");
    expect((await edge.get("/b")).cache).toBe("HIT");
    expect((await edge.get("/c")).cache).toBe("MISS");
    expect((await edge.get("/a")).headers.get("surrogate-key")).toBeNull();
  });

  test("of a prefix, a pattern, a host", async () => {
    await stored("/x/1", "/x/2", "/y/1.css");
    expect(await purge({ scope: "prefix", prefixes: ["/x/"] })).toBe(2);
    expect((await edge.get("/y/1.css")).cache).toBe("HIT");
    expect(await purge({ scope: "wildcard", patterns: ["/y/*.css"] })).toBe(1);
    await edge.get("/h", { host: "other.test" });
    await edge.get("/h");
    expect(await purge({ scope: "host", hosts: ["Other.test"] })).toBe(1);
    expect((await edge.get("/h")).cache).toBe("HIT");
    expect((await edge.get("/h", { host: "other.test" })).cache).toBe("MISS");
  });

  test("that is soft leaves a stale copy, which is served while it is refreshed, and revalidated by 304", async () => {
    await stored("/a");
    clock.advance(5_000);
    expect(await purge({ scope: "tag", tags: ["page-a"], mode: "soft" })).toBe(1);
    expect((await edge.get("/a")).cache).toBe("UPDATING");
    while (origin.seen.at(-1)?.headers.get("if-none-match") !== '"1"') await Bun.sleep(1);
    await Bun.sleep(5);
    expect((await edge.get("/a")).cache).toBe("HIT");
    await purge({ scope: "tag", tags: ["page-a"], mode: "soft" });
    clock.advance(61_000);
    expect((await edge.get("/a")).cache).toBe("REVALIDATED");
  });

  test("that is hard wins over an earlier soft one, a soft one brings nothing back", async () => {
    await stored("/a");
    await purge({ scope: "tag", tags: ["all"], mode: "soft" });
    await purge({ scope: "tag", tags: ["all"] });
    await purge({ scope: "tag", tags: ["all"], mode: "soft" });
    expect((await edge.get("/a")).cache).toBe("MISS");
  });

  test("wins against a fill in flight: what was asked for before it is not served after it", async () => {
    for (const request of [
      { scope: "tag", tags: ["all"] },
      { scope: "url", urls: [url("/slow")] },
      { scope: "everything" },
    ] as PurgeRequest[]) {
      const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      let asked = 0;
      origin.answer(async () => {
        const mine = asked++;
        await gates[mine]?.promise;
        return text(`v${mine}`, { "cache-control": "max-age=3600", "surrogate-key": "all" });
      });
      const before = edge.get("/slow");
      while (asked < 1) await Bun.sleep(1);
      await purge(request);
      const after = edge.get("/slow");
      await Bun.sleep(5);
      gates[0]?.resolve();
      expect((await before).body).toBe("v0");
      while (asked < 2) await Bun.sleep(1);
      gates[1]?.resolve();
      expect((await after).body).toBe("v1");
      expect(await edge.get("/slow")).toMatchObject({ body: "v1", cache: "HIT" });
      await purge({ scope: "everything" });
    }
  });

  test("comes back the same for the same idempotency key, and is refused for another purge", async () => {
    const request: PurgeRequest = { scope: "tag", tags: ["x"], idempotencyKey: "k1" };
    const first = await purges.create(request);
    const second = await purges.create(request);
    expect(second).toMatchObject({ isNew: false, report: { id: first.report.id } });
    await expect(purges.create({ ...request, tags: ["y"] })).rejects.toThrow("used for another purge");
  });

  test("that makes no sense is refused with what is wrong", async () => {
    const cases: [unknown, string][] = [
      [null, "body"],
      [{ scope: "tags", tags: ["a"] }, "scope"],
      [{ scope: "tag" }, "tags: missing"],
      [{ scope: "tag", tags: [] }, "tags"],
      [{ scope: "tag", tags: ["a"], urls: ["http://a/"] }, "urls: not allowed"],
      [{ scope: "url", urls: ["/a"] }, "urls[0]"],
      [{ scope: "prefix", prefixes: ["https://a.test/x"] }, "prefixes[0]"],
      [{ scope: "everything", site: "nope" }, 'no site "nope"'],
      [{ scope: "everything", force: true }, "force"],
    ];
    for (const [body, message] of cases) await expect(purges.create(body)).rejects.toThrow(message);
  });

  test("finds paths however they are encoded, in prefixes and in patterns", async () => {
    for (const written of ["/caf\u00e9/", "/caf%c3%a9/", "/%63af%C3%A9/", "other.test/caf\u00e9/"]) {
      for (const request of [
        { scope: "prefix", prefixes: [written] },
        { scope: "wildcard", patterns: [`${written}*`] },
      ] satisfies PurgeRequest[]) {
        const host = { host: "other.test" };
        await edge.get("/caf%C3%A9/menu", host);
        expect((await edge.get("/caf\u00e9/menu", host)).cache).toBe("HIT");
        expect(await purge(request)).toBe(1);
        expect((await edge.get("/caf%C3%A9/menu", host)).cache).toBe("MISS");
      }
    }
    for (const written of ["/a%", "/a/../b/", "/a#b"])
      await expect(purges.create({ scope: "prefix", prefixes: [written] })).rejects.toThrow("neither a path");
  });

  test("by pattern, again and again while a slow fill is under way, takes nothing that it does not name", async () => {
    const gate = Promise.withResolvers<void>();
    const answer = (request: Request) =>
      text(new URL(request.url).pathname, { "cache-control": "max-age=600" });
    origin.answer(async (request) => {
      if (new URL(request.url).pathname === "/slow") await gate.promise;
      return answer(request);
    });
    await stored("/kept");
    const before = origin.count();
    const slow = edge.get("/slow");
    while (origin.count() === before) await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < 400; i++) await purge({ scope: "wildcard", patterns: [`/p${i}/*`] });
    expect((await edge.get("/kept")).cache).toBe("HIT");
    gate.resolve();
    expect((await slow).body).toBe("/slow");
    await purge({ scope: "wildcard", patterns: ["/slow*"] });
    expect((await edge.get("/slow")).cache).toBe("MISS");
  });

  test("of as many patterns as there is room for leaves the room to the next one", async () => {
    await stored("/kept");
    for (let round = 0; round < 3; round++)
      expect(
        await purge({
          scope: "wildcard",
          patterns: Array.from({ length: 256 }, (_, i) => `/p${round}-${i}/*`),
        }),
      ).toBe(0);
    expect((await edge.get("/kept")).cache).toBe("HIT");
  });

  test("while viewers ask all the time is never followed by an older answer", async () => {
    for (let round = 0; round < 50; round++) {
      const viewers = Array.from({ length: 8 }, () => edge.get("/race"));
      await Promise.all(viewers.slice(0, 2));
      version++;
      await purge(round % 2 === 0 ? { scope: "tag", tags: ["all"] } : { scope: "prefix", prefixes: ["/ra"] });
      expect((await edge.get("/race")).body).toBe(`/race v${version}`);
      await Promise.all(viewers);
      expect((await edge.get("/race")).body).toBe(`/race v${version}`);
    }
  });
});

test("Cache-Group-Invalidation of an unsafe answer takes the group's objects of that host (RFC 9875)", async () => {
  origin.answer((request) =>
    request.method === "POST"
      ? text("done", { "cache-group-invalidation": '"list"' })
      : text("x", { "cache-control": "max-age=3600", "cache-groups": '"list", "other"' }),
  );
  await stored("/g1", "/g2");
  await edge.get("/g1", { host: "other.test" });
  await edge.get("/change", {}, { method: "POST" });
  expect((await edge.get("/g1")).cache).toBe("MISS");
  expect((await edge.get("/g2")).cache).toBe("MISS");
  expect((await edge.get("/g1", { host: "other.test" })).cache).toBe("HIT");
});

test("tags over the limit are counted, not dropped in silence", async () => {
  const many = Array.from({ length: 1_003 }, (_, i) => `t${i}`).join(" ");
  origin.answer(() => text("x", { "cache-control": "max-age=60", "surrogate-key": many }));
  const before = edge.edge.stats().tagsDropped;
  await edge.get("/many");
  expect(edge.edge.stats().tagsDropped - before).toBe(3);
});
