/** What tells stored answers apart: each ingredient of the key, in what is stored and in what the origin is sent. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import type { BehaviorInput, CacheKeyInput } from "../../src/config/types.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";

const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;

beforeAll(async () => {
  origin = startOrigin((_request, { target }) => text(target, { "cache-control": "max-age=600" }), clock);
  edge = await startTestEdge({ origin: origin.url, clock });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

let number = 0;

/** With these ingredients in the key: each request's target at the origin, "HIT" where it was not asked. */
async function outcomes(
  cacheKey: CacheKeyInput,
  requests: readonly (string | [string, Record<string, string>])[],
  behavior: Partial<BehaviorInput> = {},
): Promise<string[]> {
  await edge.apply({ behavior: { cacheKey, ...behavior } });
  const path = `/k${++number}`;
  const found: string[] = [];
  for (const request of requests) {
    const [query, fields] = typeof request === "string" ? [request, {}] : request;
    const answer = await edge.get(path + query, fields);
    found.push(answer.cache === "HIT" ? "HIT" : (origin.seen.at(-1)?.target ?? "").slice(path.length));
  }
  return found;
}

describe("the query", () => {
  test('"all" keeps apart what differs in any way', async () => {
    expect(
      await outcomes({}, ["", "?", "?a=1", "?a=1", "?a=2", "?b=1&a=1", "?a=1&b=1", "?a", "?a="]),
    ).toEqual(["", "HIT", "?a=1", "HIT", "?a=2", "?b=1&a=1", "?a=1&b=1", "?a", "?a="]);
  });

  test('"none" makes one object of all, and forwards none', async () => {
    expect(await outcomes({ query: "none" }, ["?a=1", "?a=2", "", "?"])).toEqual(["", "HIT", "HIT", "HIT"]);
  });

  test("include takes the named ones, in the order they came", async () => {
    expect(
      await outcomes({ query: { include: ["page", "q"] } }, [
        "?x=1&q=a&page=2",
        "?q=a&page=2&y=3",
        "?page=2&q=a",
        "?Q=a",
        "?page",
        "?page=",
      ]),
    ).toEqual(["?q=a&page=2", "HIT", "?page=2&q=a", "", "?page", "?page="]);
  });

  test("include reads names as forms do: encoded, with brackets, with plus for space", async () => {
    expect(
      await outcomes({ query: { include: ["a[]", "b c", "é"] } }, [
        "?a[]=1",
        "?a%5B%5D=1",
        "?b+c=1",
        "?b%20c=1",
        "?%C3%A9=1",
        "?a=1",
      ]),
    ).toEqual(["?a[]=1", "?a%5B%5D=1", "?b+c=1", "?b%20c=1", "?%C3%A9=1", ""]);
  });

  test("exclude leaves out the named ones, and all others stay", async () => {
    expect(
      await outcomes({ query: { exclude: ["session"] } }, [
        "?a=1&session=x",
        "?session=y&a=1",
        "?a=1",
        "?session",
        "?Session=x",
      ]),
    ).toEqual(["?a=1", "HIT", "HIT", "", "?Session=x"]);
  });

  test("stripTracking takes trackers' parameters out of key and request", async () => {
    expect(
      await outcomes({ stripTracking: true }, [
        "?a=1&utm_source=x&fbclid=y&gclid=z",
        "?a=1",
        "?utm_campaign=x",
        "?gclidx=1&UTM_source=1",
      ]),
    ).toEqual(["?a=1", "HIT", "", "?gclidx=1&UTM_source=1"]);
  });

  test("sortQuery makes one object of every order, and keeps the order of equal names", async () => {
    expect(
      await outcomes({ sortQuery: true }, [
        "?b=2&a=1",
        "?a=1&b=2",
        "?c=2&a=1&c=1",
        "?c=1&c=2&a=1",
        "?a=1&c=2&c=1",
      ]),
    ).toEqual(["?a=1&b=2", "HIT", "?a=1&c=2&c=1", "?a=1&c=1&c=2", "HIT"]);
  });

  test("all of it together", async () => {
    const key = { query: { exclude: ["s"] }, stripTracking: true, sortQuery: true };
    expect(await outcomes(key, ["?z=1&s=2&utm_id=3&a=4", "?a=4&z=1", "?s=1&utm_id=2"])).toEqual([
      "?a=4&z=1",
      "HIT",
      "",
    ]);
  });

  test("past the cache everything is forwarded", async () => {
    expect(await outcomes({ query: "none" }, ["?a=1&b=2"], { cache: false })).toEqual(["?a=1&b=2"]);
  });
});

describe("header fields", () => {
  test("in the key make one object for each value, and one for none", async () => {
    const value = (country: string): [string, Record<string, string>] => ["", { "X-Country": country }];
    expect(
      await outcomes({ headers: ["X-Country"] }, [
        value("de"),
        value("fr"),
        "",
        value("de"),
        value("fr"),
        "",
      ]),
    ).toEqual(["", "", "", "HIT", "HIT", "HIT"]);
  });

  test("can not run into each other", async () => {
    const pair = (a: string, b: string): [string, Record<string, string>] => ["", { "X-A": a, "X-B": b }];
    const requests = [
      pair("1;", "2"),
      pair("1", ";2"),
      pair("1;1:", "2"),
      pair("-;", "1"),
      pair("1:1", ""),
      pair("1", "1:1"),
      pair("2:12", "1"),
    ];
    expect(await outcomes({ headers: ["x-a", "x-b"] }, requests)).toEqual(requests.map(() => ""));
  });

  test("with Authorization in the key each viewer has an object of their own", async () => {
    await edge.apply({ behavior: { cacheKey: { headers: ["authorization"] }, storeAuthorized: true } });
    origin.answer((request) =>
      text(request.headers.get("authorization") ?? "nobody", { "cache-control": "public, max-age=600" }),
    );
    for (const round of ["MISS", "HIT"]) {
      for (const name of ["Basic YQ==", "Basic Yg=="]) {
        expect(await edge.get("/who", { Authorization: name })).toMatchObject({ cache: round, body: name });
      }
    }
    origin.answer((_request, { target }) => text(target, { "cache-control": "max-age=600" }));
  });
});

describe("cookies", () => {
  const cookie = (value: string): [string, Record<string, string>] => ["", { Cookie: value }];

  test("in the key are those named, and no other", async () => {
    expect(
      await outcomes({ cookies: ["lang"] }, [
        cookie("lang=de; a=1"),
        cookie("a=2; lang=de"),
        cookie("lang=fr"),
        "",
        cookie("a=3"),
        cookie("Lang=de"),
        cookie("lang="),
      ]),
    ).toEqual(["", "HIT", "", "", "HIT", "HIT", ""]);
  });

  test("sent twice are not one of the two", async () => {
    expect(
      await outcomes({ cookies: ["a"] }, [
        cookie("a=1"),
        cookie("a=2"),
        cookie("a=1; a=2"),
        cookie("a=2; a=1"),
        cookie("a=1;a=2"),
      ]),
    ).toEqual(["", "", "", "", "HIT"]);
  });

  test("can not run into each other", async () => {
    const requests = [
      cookie("a=1; b=2"),
      cookie("a=12"),
      cookie("b=12"),
      cookie("a=1"),
      cookie("b=2"),
      cookie("a=1;b"),
      cookie("a=b=2"),
    ];
    expect(await outcomes({ cookies: ["a", "b"] }, requests)).toEqual(["", "", "", "", "", "HIT", ""]);
  });
});

describe("device and language", () => {
  const agent = (value: string): [string, Record<string, string>] => ["", { "User-Agent": value }];

  test("device makes three objects of all browsers", async () => {
    const iphone =
      "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1";
    const pixel =
      "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36";
    const ipad = "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15";
    const tab = "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 Chrome/120.0 Safari/537.36";
    const desktop = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36";
    expect(
      await outcomes({ device: true }, [desktop, "curl/8", iphone, pixel, ipad, tab, desktop].map(agent)),
    ).toEqual(["", "HIT", "", "HIT", "", "HIT", "HIT"]);
  });

  test("language makes one object for each that the site has, and the origin is asked for that one", async () => {
    const wants = (value: string): [string, Record<string, string>] => ["", { "Accept-Language": value }];
    expect(
      await outcomes({ language: ["en", "de", "fr"] }, [
        wants("de-AT,de;q=0.9"),
        wants("DE"),
        wants("xx, fr;q=0.5"),
        wants("en-GB"),
        wants("zh"),
        wants("*"),
        wants("de;q=0, fr"),
      ]),
    ).toEqual(["", "HIT", "", "", "HIT", "HIT", "HIT"]);
    await edge.get("/language", { "Accept-Language": "de-AT, en;q=0.1, evil" });
    expect(origin.seen.at(-1)?.headers.get("accept-language")).toBe("de");
  });
});

describe("host and path", () => {
  test("each make objects of their own", async () => {
    await edge.apply({ behavior: {} });
    const one = (host: string, path = "/same") => edge.get(path, { Host: host });
    expect((await one("a.example")).cache).toBe("MISS");
    expect((await one("b.example")).cache).toBe("MISS");
    expect((await one("a.example", "/Same")).cache).toBe("MISS");
    expect((await one("a.example", "/same/")).cache).toBe("MISS");
    expect((await one("a.example")).cache).toBe("HIT");
  });

  test("sites with the same path do not share objects", async () => {
    const sites = Object.fromEntries(
      ["a", "b"].map((id) => [id, { hosts: [`${id}.example`], origins: { app: { url: origin.url } } }]),
    );
    await edge.apply({ config: { sites } });
    expect((await edge.get("/shared", { Host: "a.example" })).cache).toBe("MISS");
    expect((await edge.get("/shared", { Host: "b.example" })).cache).toBe("MISS");
    expect((await edge.get("/shared", { Host: "a.example" })).cache).toBe("HIT");
    // The host moves to the other site: what the first stored is not the second's.
    const moved = {
      a: { hosts: ["b.example"], origins: { app: { url: origin.url } } },
      b: { hosts: ["a.example"], origins: { app: { url: origin.url } } },
    };
    await edge.apply({ config: { sites: moved } });
    expect((await edge.get("/shared", { Host: "a.example" })).cache).toBe("MISS");
    await edge.apply({ config: {}, behavior: {} });
  });

  test("a rewrite makes one object of the paths that it leads together", async () => {
    await edge.apply({ behavior: { rewrite: [{ match: "/v1/*", to: "/v2/$1" }] } });
    expect((await edge.get("/v1/x")).body).toBe("/v2/x");
    expect(await edge.get("/v2/x")).toMatchObject({ cache: "HIT", body: "/v2/x" });
    await edge.apply({ behavior: {} });
  });
});

describe("methods", () => {
  test("HEAD is answered from a stored GET; OPTIONS is an object of its own where it may be stored", async () => {
    origin.answer((request) => text(request.method, { "cache-control": "max-age=600" }));
    await edge.apply({ behavior: { cachedMethods: ["GET", "HEAD", "OPTIONS"] } });
    expect((await edge.get("/m", {}, { method: "OPTIONS" })).body).toBe("OPTIONS");
    expect((await edge.get("/m")).body).toBe("GET");
    expect((await edge.get("/m", {}, { method: "OPTIONS" })).cache).toBe("HIT");
    const head = await edge.get("/m", {}, { method: "HEAD" });
    expect([head.cache, head.body, head.headers.get("content-length")]).toEqual(["HIT", "", "3"]);
    const preflight = (wanted: string) =>
      edge.get(
        "/m",
        { Origin: "https://x.example", "Access-Control-Request-Method": wanted },
        { method: "OPTIONS" },
      );
    expect((await preflight("PUT")).cache).toBe("MISS");
    expect((await preflight("PUT")).cache).toBe("HIT");
    expect((await preflight("DELETE")).cache).toBe("MISS");
    await edge.apply({ behavior: { cachedMethods: ["GET"] } });
    expect((await edge.get("/m", {}, { method: "HEAD" })).cache).toBe("BYPASS");
    await edge.apply({ behavior: {} });
    expect((await edge.get("/m", {}, { method: "OPTIONS" })).cache).toBe("BYPASS");
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      const answer = await edge.get("/m2", {}, { method });
      expect([method, answer.cache, answer.body]).toEqual([method, "BYPASS", method]);
    }
  });
});
