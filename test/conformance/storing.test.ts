/** What a shared cache may store (RFC 9111 section 3), each rule by what the second viewer gets. */
import { describe, expect, test } from "bun:test";
import { counting, lab, text } from "./support.ts";

type FieldLines = Record<string, string> | [string, string][];

const l = lab();

/** Is the second of two equal requests answered from the cache? */
async function reused(fields: FieldLines, status = 200): Promise<boolean> {
  const path = l.path(counting(fields, status));
  const first = await l.get(path);
  expect(first.status).toBe(status);
  const second = await l.get(path);
  expect(second.status).toBe(status);
  const again = l.seen(path).length === 1;
  expect(second.cache === "HIT").toBe(again);
  return again;
}

function allReused(cases: Record<string, FieldLines>): void {
  for (const [name, fields] of Object.entries(cases))
    test(name, async () => expect(await reused(fields)).toBe(true));
}

function noneReused(cases: Record<string, FieldLines>): void {
  for (const [name, fields] of Object.entries(cases))
    test(name, async () => expect(await reused(fields)).toBe(false));
}

const cc = (...values: string[]): [string, string][] => values.map((value) => ["cache-control", value]);

describe("these Cache-Control values store", () => {
  allReused({
    "max-age": cc("max-age=10"),
    "s-maxage": cc("s-maxage=10"),
    "s-maxage above max-age=0": cc("max-age=0, s-maxage=10"),
    "public with max-age": cc("public, max-age=10"),
    "must-revalidate with max-age": cc("max-age=10, must-revalidate"),
    "proxy-revalidate with max-age": cc("max-age=10, proxy-revalidate"),
    "immutable with max-age": cc("max-age=10, immutable"),
    "no-transform with max-age": cc("no-transform, max-age=10"),
    "an unknown directive beside max-age": cc('foo, max-age=10, bar=baz, qux="a, b"'),
    "a directive that only looks like no-store": cc("max-age=10, x-no-store, no-storey, foo=no-store"),
    "no-store inside a quoted string of an unknown directive": cc(
      'max-age=10, community="no-store, private"',
    ),
    "names in upper case": cc("MAX-AGE=10"),
    "names in mixed case": cc("mAx-aGe=10"),
    "a quoted number": cc('max-age="10"'),
    "several field lines": cc("public", "max-age=10"),
    "empty list members": cc(", ,max-age=10,,"),
    "white space around members": cc(" \tpublic ,  max-age=10\t"),
    "a lifetime beyond 2^31": cc("max-age=2147483649"),
    "a lifetime beyond 2^64": cc("max-age=99999999999999999999"),
    "leading zeros": cc("max-age=0010"),
    "private with a field name": cc('max-age=10, private="x-secret"'),
    "no-cache with a field name": cc('max-age=10, no-cache="x-secret"'),
    "must-understand with no-store and a status we know": cc("must-understand, no-store, max-age=10"),
    "max-age beside Pragma: no-cache": [
      ["cache-control", "max-age=10"],
      ["pragma", "no-cache"],
    ],
    "max-age beside an Expires of the past": [
      ["cache-control", "max-age=10"],
      ["expires", "Thu, 01 Jan 1970 00:00:00 GMT"],
    ],
    "request directives in a response": cc("max-age=10, only-if-cached, min-fresh=100, max-stale"),
  });
});

describe("these Cache-Control values do not store", () => {
  noneReused({
    "nothing at all": [],
    "no-store": cc("no-store"),
    "no-store beside max-age": cc("max-age=10, no-store"),
    "no-store before max-age": cc("no-store, max-age=10"),
    "NO-STORE in upper case": cc("max-age=10, NO-STORE"),
    "no-store on a line of its own": cc("max-age=10", "no-store"),
    "no-store with an argument": cc("max-age=10, no-store=1"),
    private: cc("private, max-age=10"),
    "PRIVATE in mixed case": cc("max-age=10, PriVate"),
    "private beside public": cc("public, private, max-age=10"),
    "private beside s-maxage": cc("private, s-maxage=10"),
    "private with an empty list of names": cc('private="", max-age=10'),
    "private with a malformed list of names": cc('private="a b c", max-age=10'),
    "no-cache without a validator": cc("no-cache, max-age=10"),
    "max-age=0": cc("max-age=0"),
    "s-maxage=0 above max-age": cc("s-maxage=0, max-age=10"),
    "the smaller of two lifetimes": cc("max-age=0, max-age=10"),
    "the smaller of two lifetimes on two lines": cc("max-age=10", "max-age=0"),
    "a negative lifetime": cc("max-age=-10"),
    "a decimal lifetime": cc("max-age=1.5"),
    "a lifetime that is no number": cc("max-age=ten"),
    "a lifetime without a number": cc("max-age="),
    "a lifetime without a value": cc("max-age"),
    "white space before the equals sign": cc("max-age =10"),
    "white space after the equals sign": cc("max-age= 10"),
    "single quotes": cc("max-age='10'"),
    "public alone": cc("public"),
    "immutable alone": cc("immutable"),
    "must-understand with no-store and private": cc("must-understand, no-store, private, max-age=10"),
    "Pragma: no-cache alone": { pragma: "no-cache" },
    "Vary: *": [
      ["cache-control", "max-age=10"],
      ["vary", "*"],
    ],
    "Vary: * among names": [
      ["cache-control", "max-age=10"],
      ["vary", "Accept, *"],
    ],
    "Vary: * on a second line": [
      ["cache-control", "max-age=10"],
      ["vary", "Accept"],
      ["vary", "*"],
    ],
    "Set-Cookie": [
      ["cache-control", "max-age=10"],
      ["set-cookie", "id=1"],
    ],
    "Set-Cookie beside public": [
      ["cache-control", "public, max-age=10"],
      ["set-cookie", "id=1"],
    ],
  });
});

describe("a status", () => {
  for (const status of [
    200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 500, 501, 503, 599, 299,
    499,
  ]) {
    test(`${status} with max-age is stored`, async () => {
      const location: [string, string][] = status >= 300 && status < 400 ? [["location", "/elsewhere"]] : [];
      expect(await reused([["cache-control", "max-age=10"], ...location], status)).toBe(true);
    });
  }
  for (const status of [200, 203, 300, 301, 308, 404, 405, 410, 414, 501]) {
    test(`${status} with Last-Modified only is stored by the heuristic`, async () => {
      const location: [string, string][] = status >= 300 && status < 400 ? [["location", "/elsewhere"]] : [];
      expect(await reused([["last-modified", l.date(-86_400)], ...location], status)).toBe(true);
    });
  }
  for (const status of [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 299, 499, 599]) {
    test(`${status} with Last-Modified only is not stored`, async () => {
      const location: [string, string][] = status >= 300 && status < 400 ? [["location", "/elsewhere"]] : [];
      expect(await reused([["last-modified", l.date(-86_400)], ...location], status)).toBe(false);
    });
  }
  for (const status of [428, 429, 431, 511]) {
    test(`${status} is never stored`, async () => expect(await reused(cc("max-age=10"), status)).toBe(false));
  }
  test("that we do not know is not stored with must-understand (RFC 9111 section 5.2.2.3)", async () => {
    expect(await reused(cc("max-age=10, must-understand"), 299)).toBe(false);
    expect(await reused(cc("max-age=10, must-understand, no-store"), 599)).toBe(false);
    expect(await reused(cc("max-age=10, must-understand"), 404)).toBe(true);
  });
  test("206 of an origin that was asked for the whole is neither stored nor passed on as the whole", async () => {
    const path = l.path(
      () =>
        new Response("part", {
          status: 206,
          headers: { "cache-control": "max-age=10", "content-range": "bytes 0-3/100" },
        }),
    );
    expect((await l.get(path)).status).toBe(502);
    l.answer(path, text("whole", { "cache-control": "max-age=10" }));
    expect(await l.get(path)).toMatchObject({ status: 200, body: "whole", cache: "MISS" });
  });
  test("304 of an origin that was asked without a condition is not stored", async () => {
    const path = l.path(
      () => new Response(null, { status: 304, headers: { "cache-control": "max-age=10", etag: '"a"' } }),
    );
    expect((await l.get(path)).status).toBe(502);
    expect((await l.get(path, { "if-none-match": '"a"' })).status).toBe(502);
    expect((await l.edge.edge.explain(l.edge.url + path, {})).would).toMatchObject({ result: "miss" });
  });
  test("416 is not stored as something else", async () => {
    const path = l.path(() => text("", { "cache-control": "max-age=10", "content-range": "bytes */4" }, 416));
    expect((await l.get(path, { range: "bytes=10-" })).status).toBe(416);
    l.answer(path, text("whole", { "cache-control": "max-age=10" }));
    l.pass(11);
    expect(await l.get(path)).toMatchObject({ status: 200, body: "whole" });
  });
});

describe("fields of a stored response", () => {
  test("named by private or no-cache reach the first viewer and no other", async () => {
    for (const directive of ["private", "no-cache"]) {
      const path = l.path(
        counting([
          ["cache-control", `max-age=10, ${directive}="x-secret, Set-Cookie"`],
          ["x-secret", "mine"],
          ["set-cookie", "session=first"],
          ["x-open", "ours"],
        ]),
      );
      const first = await l.get(path);
      expect(first.headers.get("x-secret")).toBe("mine");
      expect(first.headers.getSetCookie()).toEqual(["session=first"]);
      const second = await l.get(path);
      expect(second).toMatchObject({ cache: "HIT", body: "1" });
      expect(second.headers.get("x-open")).toBe("ours");
      expect(second.headers.has("x-secret")).toBe(false);
      expect(second.headers.getSetCookie()).toEqual([]);
    }
  });
  test("are kept line by line, in order, with characters outside ASCII", async () => {
    const path = l.path(
      counting([
        ["cache-control", "max-age=10"],
        ["link", "</a>; rel=preload"],
        ["link", "</b>; rel=preload"],
        ["x-latin", "caf\u00e9"],
      ]),
    );
    await l.get(path);
    const hit = await l.get(path);
    expect(hit.headers.get("link")).toBe("</a>; rel=preload, </b>; rel=preload");
    expect(hit.headers.get("x-latin")).toBe("caf\u00e9");
    expect(hit.cache).toBe("HIT");
  });
  test("for caches like us are not sent on, for a miss, a hit, a pass", async () => {
    const names = ["surrogate-control", "cdn-cache-control", "surrogate-key", "cache-tag", "x-cache"];
    for (const control of ["max-age=10", "no-store"]) {
      const path = l.path(
        counting({
          "surrogate-control": control,
          "cdn-cache-control": control,
          "surrogate-key": "a b",
          "cache-tag": "a,b",
          "x-cache": "HIT from origin",
          "cache-control": "max-age=77",
        }),
      );
      for (let i = 0; i < 3; i++) {
        const answer = await l.get(path);
        for (const name of names.slice(0, 4)) expect(answer.headers.has(name)).toBe(false);
        expect(answer.headers.get("x-cache")).not.toContain("origin");
        expect(answer.headers.get("cache-control")).toBe("max-age=77");
      }
    }
  });
  test("are not the origin's Age", async () => {
    const path = l.path(counting({ "cache-control": "max-age=100", age: "30" }));
    expect((await l.get(path)).headers.get("age")).toBe("30");
    l.pass(5);
    expect((await l.get(path)).headers.get("age")).toBe("35");
  });
});

describe("a redirect", () => {
  test("that is stored keeps its Location and status", async () => {
    for (const status of [301, 302, 307, 308]) {
      const path = l.path(
        () =>
          new Response(null, { status, headers: { "cache-control": "max-age=10", location: "/next?x=1" } }),
      );
      await l.get(path);
      const hit = await l.get(path);
      expect(hit).toMatchObject({ status, cache: "HIT" });
      expect(hit.headers.get("location")).toBe("/next?x=1");
    }
  });
  test("to the very URL it was asked for is not stored", async () => {
    const path = l.path(() => new Response(null, { status: 301 }));
    l.answer(
      path,
      () =>
        new Response(null, {
          status: 301,
          headers: { "cache-control": "max-age=10", location: `${l.edge.url}${path}` },
        }),
    );
    await l.get(path);
    expect((await l.get(path)).cache).toBe("BYPASS");
  });
});

describe("only a method that the behaviour caches is stored", () => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"]) {
    test(`${method} is passed through and nothing of it is stored`, async () => {
      const path = l.path(counting({ "cache-control": "max-age=10" }));
      const first = await l.get(path, {}, { method });
      expect(first).toMatchObject({ status: 200, cache: "BYPASS", body: "1" });
      expect(await l.get(path, {}, { method })).toMatchObject({ cache: "BYPASS", body: "2" });
      expect(await l.get(path)).toMatchObject({ cache: "MISS", body: "3" });
    });
  }
});
