/** Age, Date, Via, X-Cache and Cache-Status (RFC 9211) tell the truth for every result. */
import { describe, expect, test } from "bun:test";
import { parseItem, parseList } from "structured-headers";
import { type Answer, cacheStatus, counting, gate, lab, text, until, validating } from "./support.ts";

const l = lab();

/** What every answer must look like, whatever its result. */
function expectWellFormed(answer: Answer): void {
  const { headers } = answer;
  const list = parseList(headers.get("cache-status") ?? "");
  expect(list.length).toBeGreaterThan(0);
  const own = cacheStatus(answer);
  expect("hit" in own && "fwd" in own).toBe(false);
  if ("fwd" in own)
    expect(["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"]).toContain(
      own.fwd as string,
    );
  if ("ttl" in own) expect(Number.isInteger(own.ttl)).toBe(true);
  if ("fwd-status" in own) expect(Number.isInteger(own["fwd-status"])).toBe(true);
  if (own.stored === true) expect(own).toHaveProperty("fwd");
  expect(typeof own.detail).toBe("string");
  expect(["HIT", "MISS", "EXPIRED", "STALE", "UPDATING", "REVALIDATED", "BYPASS"]).toContain(
    answer.cache as string,
  );
  if (headers.has("age")) {
    const [age] = parseItem(headers.get("age") as string);
    expect(Number.isInteger(age)).toBe(true);
    expect(age as number).toBeGreaterThanOrEqual(0);
  }
  const dates = (headers.get("date") ?? "").match(/GMT/g) ?? [];
  expect(dates.length).toBe(1);
  expect(Number.isNaN(Date.parse(headers.get("date") as string))).toBe(false);
}

async function ask(
  path: string,
  headers: Record<string, string> = {},
  init: RequestInit = {},
): Promise<Answer> {
  const answer = await l.get(path, headers, init);
  expectWellFormed(answer);
  return answer;
}

describe("a result's words:", () => {
  test("miss, then hit", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60" }));
    const made = l.date();
    const miss = await ask(path);
    expect(miss.cache).toBe("MISS");
    expect(cacheStatus(miss)).toMatchObject({ fwd: "uri-miss", "fwd-status": 200, stored: true, ttl: 60 });
    expect(miss.headers.get("age")).toBe("0");
    l.pass(12);
    const hit = await ask(path);
    expect(hit.cache).toBe("HIT");
    expect(cacheStatus(hit)).toMatchObject({ hit: true, ttl: 48, detail: "fresh" });
    expect(cacheStatus(hit)).not.toHaveProperty("stored");
    expect(hit.headers.get("age")).toBe("12");
    expect(hit.headers.get("date")).toBe(made);
    expect(Number(cacheStatus(hit).ttl) + Number(hit.headers.get("age"))).toBe(60);
  });
  test("hit after hit, Age and ttl move with the clock", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60" }));
    await ask(path);
    for (let age = 0; age < 5; age++) {
      for (let i = 0; i < 2; i++) {
        const hit = await ask(path);
        expect(hit.headers.get("age")).toBe(String(age));
        expect(cacheStatus(hit)).toMatchObject({ hit: true, ttl: 60 - age });
      }
      l.pass(1);
    }
  });
  test("hit and updating in one and the same second are told apart", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10, stale-while-revalidate=60" }));
    l.pass(0.5);
    await ask(path);
    l.pass(9.7);
    expect((await ask(path)).cache).toBe("HIT");
    l.pass(0.5);
    expect((await ask(path)).cache).toBe("UPDATING");
    await until(() => l.seen(path).length === 2, "the refresh");
    l.pass(0.3);
  });
  test("a hit in the same second, for HEAD, a condition and a range says the same", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60", etag: '"a"' }));
    await ask(path);
    await l.pass(5);
    for (const [headers, init] of [
      [{}, {}],
      [{}, { method: "HEAD" }],
      [{ "if-none-match": '"a"' }, {}],
      [{ range: "bytes=0-0" }, {}],
      [{ range: "bytes=9-" }, {}],
    ] as [Record<string, string>, RequestInit][]) {
      const answer = await ask(path, headers, init);
      expect(answer.cache).toBe("HIT");
      expect(answer.headers.get("age")).toBe("5");
      expect(cacheStatus(answer)).toMatchObject({ hit: true, ttl: 55 });
    }
  });
  test("expired", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60" }));
    await ask(path);
    l.pass(61);
    const answer = await ask(path);
    expect(answer.cache).toBe("EXPIRED");
    expect(answer.headers.get("age")).toBe("0");
    expect(answer.headers.get("date")).toBe(l.date());
    expect(cacheStatus(answer)).toMatchObject({ fwd: "stale", "fwd-status": 200, stored: true, ttl: 60 });
  });
  test("revalidated", async () => {
    const path = l.path(validating("x", { etag: '"a"', "cache-control": "max-age=60" }));
    await ask(path);
    l.pass(61);
    const answer = await ask(path);
    expect(answer.cache).toBe("REVALIDATED");
    expect(answer.headers.get("age")).toBe("0");
    expect(answer.headers.get("date")).toBe(l.date());
    expect(cacheStatus(answer)).toMatchObject({
      fwd: "stale",
      "fwd-status": 304,
      ttl: 60,
      detail: "not-modified",
    });
    l.pass(1);
    expect(cacheStatus(await ask(path))).toMatchObject({ hit: true, ttl: 59 });
  });
  test("updating", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60, stale-while-revalidate=60" }));
    await ask(path);
    l.pass(65);
    const answer = await ask(path);
    expect(answer.cache).toBe("UPDATING");
    expect(answer.headers.get("age")).toBe("65");
    expect(cacheStatus(answer)).toMatchObject({ hit: true, ttl: -5 });
    await until(() => l.seen(path).length === 2, "the refresh");
  });
  test("stale", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60, stale-if-error=60" }));
    await ask(path);
    l.answer(path, text("broken", {}, 502));
    l.pass(65);
    const answer = await ask(path);
    expect(answer.cache).toBe("STALE");
    expect(answer.headers.get("age")).toBe("65");
    expect(cacheStatus(answer)).toMatchObject({ fwd: "stale", "fwd-status": 502, ttl: -5 });
    expect(cacheStatus(answer)).not.toHaveProperty("stored");
  });
  test("bypass by method, by credentials, by condition, by the origin's word", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60" }));
    const cases: [Record<string, string>, RequestInit, object][] = [
      [{}, { method: "POST" }, { fwd: "method", detail: "request-method" }],
      [{ authorization: "x" }, {}, { fwd: "bypass", detail: "request-authorization" }],
      [{ "if-match": '"a"' }, {}, { fwd: "bypass", detail: "request-condition" }],
    ];
    for (const [headers, init, expected] of cases) {
      const answer = await ask(path, headers, init);
      expect(answer.cache).toBe("BYPASS");
      expect(cacheStatus(answer)).toMatchObject({ ...expected, "fwd-status": 200 });
      expect(cacheStatus(answer)).not.toHaveProperty("stored");
      expect(cacheStatus(answer)).not.toHaveProperty("ttl");
    }
    const refused = l.path(counting({ "cache-control": "private" }));
    for (let i = 0; i < 2; i++) {
      const answer = await ask(refused);
      expect(answer.cache).toBe("BYPASS");
      expect(cacheStatus(answer)).toMatchObject({
        fwd: "uri-miss",
        detail: "response-private",
        "fwd-status": 200,
      });
    }
  });
  test("only-if-cached and an origin that is away", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60" }));
    const refused = await ask(path, { "cache-control": "only-if-cached" });
    expect(refused.status).toBe(504);
    expect(cacheStatus(refused)).toMatchObject({ detail: "only-if-cached" });
  });
  test("collapsed", async () => {
    const door = gate();
    const path = l.path(async () => {
      await door.opened;
      return text("x", { "cache-control": "max-age=60" });
    });
    const all = Promise.all([ask(path), ask(path), ask(path)]);
    await until(() => l.seen(path).length === 1, "the request");
    await l.arrived(3);
    door.open();
    const statuses = (await all).map(cacheStatus);
    expect(statuses.filter((one) => one.collapsed === true).length).toBe(2);
    expect(statuses.filter((one) => one.stored === true).length).toBe(1);
    expect(statuses.every((one) => one.fwd === "uri-miss")).toBe(true);
  });
  test("of an error and a redirect that are stored", async () => {
    for (const status of [301, 404]) {
      const path = l.path(text("x", { "cache-control": "max-age=60", location: "/x" }, status));
      expect(cacheStatus(await ask(path))).toMatchObject({
        fwd: "uri-miss",
        "fwd-status": status,
        stored: true,
      });
      expect(cacheStatus(await ask(path))).toMatchObject({ hit: true });
    }
  });
});

describe("fields of caches before us", () => {
  test("Cache-Status is appended to, origin first", async () => {
    const path = l.path(
      counting({
        "cache-control": "max-age=60",
        "cache-status": 'OriginCache; hit; ttl=100, "Mid, Tier"; fwd=miss',
      }),
    );
    for (let i = 0; i < 2; i++) {
      const answer = await ask(path);
      const names = parseList(answer.headers.get("cache-status") ?? "").map(([name]) => String(name));
      expect(names.slice(0, 2)).toEqual(["OriginCache", "Mid, Tier"]);
      expect(names.length).toBe(3);
    }
  });
  test("Via is appended to, once for each answer", async () => {
    const path = l.path(counting({ "cache-control": "max-age=60", via: "1.1 before" }));
    for (let i = 0; i < 3; i++) {
      const via = (await ask(path)).headers.get("via") ?? "";
      expect(via.startsWith("1.1 before, 1.1 ")).toBe(true);
      expect(via.split(",").length).toBe(2);
    }
    expect(l.seen(path)[0]?.headers.get("via")).toMatch(/^1\.1 \S+$/);
  });
  test("Age goes on counting, and is gone after a refetch without it", async () => {
    let age: string | null = "40";
    const path = l.path(() => text("x", { "cache-control": "max-age=60", ...(age === null ? {} : { age }) }));
    const miss = await ask(path);
    expect(miss.headers.get("age")).toBe("40");
    expect(cacheStatus(miss).ttl).toBe(20);
    l.pass(10);
    expect((await ask(path)).headers.get("age")).toBe("50");
    age = null;
    l.pass(10);
    expect((await ask(path)).headers.get("age")).toBe("0");
  });
  test("a pass leaves the origin's Age alone and adds none", async () => {
    const path = l.path(counting({ "cache-control": "no-store", age: "7" }));
    expect((await ask(path)).headers.get("age")).toBe("7");
    const none = l.path(counting({ "cache-control": "no-store" }));
    expect((await ask(none)).headers.has("age")).toBe(false);
  });
});

test("hop-by-hop fields of the origin end at the edge", async () => {
  const path = l.path(
    counting({
      "cache-control": "max-age=60",
      connection: "x-hop",
      "x-hop": "1",
      "keep-alive": "timeout=5",
      "proxy-authenticate": "Basic",
      trailer: "x",
      upgrade: "h2c",
    }),
  );
  for (let i = 0; i < 2; i++) {
    const { headers } = await ask(path);
    for (const name of ["x-hop", "proxy-authenticate", "trailer", "upgrade"])
      expect([name, headers.has(name)]).toEqual([name, false]);
  }
});
