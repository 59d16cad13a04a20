/**
 * Paths that two parties read differently: cache deception (a personal page under the name of a static
 * file), and behaviours that must not be slipped past by writing a path in another way.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import type { BehaviorInput } from "../../src/config/types.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { ask } from "../kit/raw-send.ts";

const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;

const STATIC: BehaviorInput[] = [
  { path: "/api/private/*", cache: false },
  { path: "/secret", cache: false },
  { path: "/static/*", ttlSeconds: { default: 3_600 } },
  { path: "/*", ttlSeconds: { default: 60 } },
];

beforeAll(async () => {
  origin = startOrigin(() => text("?"), clock);
  edge = await startTestEdge({ origin: origin.url, clock, behaviors: STATIC });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

/** Sends the path as it is written, which `fetch` would not. */
const get = (path: string, fields: [string, string][] = []) =>
  ask({ port: edge.port }, `GET ${path}`, [["Host", "shop.example"], ...fields]);

describe("cache deception: a page of one viewer under the name of a static file", () => {
  const lures = [
    "/account/x.css",
    "/account/x.js",
    "/account/x.png",
    "/account/x.JPG",
    "/account/x.woff2",
    "/account/x.ico",
    "/account/x.svg",
    "/account;x.css",
    "/account/;x.css",
    "/account%2fx.css",
    "/account%2Fx.css",
    "/account%3Bx.css",
    "/account%5Cx.css",
    "/account/a%2F%2e%2e.css",
    "//account//x.css",
    "/account/%78.css",
    "/account/x.%63ss",
    "/account%0Ax.css",
    "/account%23x.css",
    "/account%3Fx.css",
    "/static/..%3Faccount/x.css",
  ];
  for (const path of lures) {
    test(`${path} with a page in it is not stored, also with a lifetime of the operator's`, async () => {
      origin.answer((request) =>
        text(`account of ${request.headers.get("authorization") ?? request.headers.get("cookie")}`, {
          "content-type": "text/html",
        }),
      );
      await edge.apply({
        behaviors: [
          {
            path: "/*",
            ttlSeconds: { default: 60 },
            statusTtlSeconds: { "2xx": 60 },
            forward: { cookies: "all" },
          },
        ],
      });
      await get(path, [["Cookie", "session=victim"]]);
      expect((await get(path)).text).not.toContain("victim");
      await get(path, [["Authorization", "Bearer victim"]]);
      expect((await get(path)).text).not.toContain("victim");
      await edge.apply({ behaviors: STATIC });
    });
  }

  test("cookies do not even reach the origin where the operator gives a lifetime", async () => {
    origin.answer((request) =>
      text(`account of ${request.headers.get("cookie")}`, { "content-type": "text/css" }),
    );
    await get("/account/y.css", [["Cookie", "session=victim"]]);
    expect((await get("/account/y.css")).text).toBe("account of null");
  });

  test("an HTML page named .css is not stored even without a cookie; a style sheet is", async () => {
    origin.answer((_request, { target }) =>
      text("x", { "content-type": target.includes("real") ? "text/css; charset=utf-8" : "text/html" }),
    );
    await get("/account/z.css");
    expect((await get("/account/z.css")).header("x-cache")).not.toBe("HIT");
    await get("/real.css");
    expect((await get("/real.css")).header("x-cache")).toBe("HIT");
  });

  test("a query, a fragment and an encoded NUL make no file name", async () => {
    origin.answer(() => text("page", { "content-type": "text/html" }));
    const before = origin.count();
    for (const path of ["/account%00.css", "/account%00x.css", "/account#x.css", "/account?%00"]) {
      expect([path, (await get(path)).status]).toEqual([path, 400]);
    }
    expect(origin.count()).toBe(before);
  });
});

describe("a protected path", () => {
  /** Ways to write /api/private/me; what the origin then gets is its own affair, but nothing of it may be stored. */
  const disguises = [
    "/api/private/me",
    "/api/%70rivate/me",
    "/api/%70%72%69vate/me",
    "/%61pi/private/me",
    "/api/./private/me",
    "/api/x/../private/me",
    "/static/../api/private/me",
    "/static/%2e%2e/api/private/me",
    "/static/.%2e/api/private/me",
    "/API/../api/private/me",
    "//api/private/me",
    "/api//private/me",
    "///api///private///me",
    "/api%2fprivate/me",
    "/api%2Fprivate%2Fme",
    "/api/private%2fme",
    "/api;v=1/private/me",
    "/api/private;x/me",
    "/;/api/private/me",
    "/api%5cprivate/me",
    "/static/..//api/private/me",
    "\\api\\private\\me",
    "/static\\..\\api\\private\\me",
    "/api/private//me",
    "/api/private/./me",
  ];
  for (const path of disguises) {
    test(`is not stored when it is written ${path}`, async () => {
      origin.answer((request) =>
        text(`me: ${request.headers.get("cookie")}`, { "cache-control": "max-age=600" }),
      );
      const first = await get(path, [["Cookie", "session=victim"]]);
      // Not storing is one way, refusing is another.
      if (first.status === 200) {
        expect(first.header("cache-status")).toContain("detail=behavior-no-cache");
        expect((await get(path)).text).toBe("me: null");
      } else expect(first.status).toBe(400);
    });
  }

  test("is refused where it hides behind dots that only some servers see", async () => {
    const before = origin.count();
    for (const path of [
      "/static/..%2fapi/private/me",
      "/static/%2e%2e%2fapi/private/me",
      "/static%2f../api/private/me",
      "/static/..;/api/private/me",
      "/static/..;x=1/api/private/me",
      "/static/..%5capi/private/me",
      "/static/x%2f..%2f..%2fapi%2fprivate%2fme",
      "/static/..%3b/api/private/me",
      "/static/.;/me",
      "/static/%2e%2e%5capi",
    ]) {
      expect([path, (await get(path)).status]).toEqual([path, 400]);
    }
    expect(origin.count()).toBe(before);
  });

  test("of one exact name is not slipped past with a parameter or a doubled slash", async () => {
    for (const path of ["/secret", "//secret", "/secret;x", "/%73ecret", "/x/../secret"]) {
      expect([path, (await get(path)).header("cache-status")?.includes("behavior-no-cache")]).toEqual([
        path,
        true,
      ]);
    }
  });

  test("is a path: case counts, and a double encoding is another name that is passed on as it is", async () => {
    origin.answer((_request, { target }) => text(target, { "cache-control": "max-age=60" }));
    for (const path of ["/API/private/me", "/api/private%252fme", "/static/%252e%252e/x"])
      expect((await get(path)).text).toBe(path);
  });

  test("with a policy of https only is not served in clear text however it is written", async () => {
    await edge.apply({
      behaviors: [
        { path: "/api/private/*", viewerProtocol: "https-only", allowedMethods: ["GET"] },
        { path: "/*" },
      ],
    });
    const before = origin.count();
    for (const path of [
      "/api/private/x",
      "//api/private/x",
      "/api%2fprivate/x",
      "/api;x/private/x",
      "/%61pi/private/x",
    ]) {
      expect([path, (await get(path)).status]).toEqual([path, 403]);
    }
    expect(origin.count()).toBe(before);
    await edge.apply({ behaviors: STATIC });
  });
});

describe("one resource, one object", () => {
  test("encodings that mean the same are the same key and the same request to the origin", async () => {
    origin.answer((_request, { target }) => text(target, { "cache-control": "max-age=60" }));
    for (const path of [
      "/one/%7euser/a-b",
      "/one/~user/a-b",
      "/one/%7Euser/a%2Db",
      "/one/x/../~user/./a-b",
      "/zero/../one/~user/a-b",
    ]) {
      expect((await get(path)).text).toBe("/one/~user/a-b");
    }
    expect(origin.count("/one/~user/a-b")).toBe(1);
  });

  test("encodings that an origin may tell apart stay apart", async () => {
    origin.answer((_request, { target }) => text(target, { "cache-control": "max-age=60" }));
    for (const path of [
      "/two/a%2Fb",
      "/two/a/b",
      "/two//a/b",
      "/two/a;b",
      "/two/a%3Bb",
      "/two/a+b",
      "/two/a%20b",
      "/two/A/b",
      "/two/a/b/",
    ]) {
      expect([path, (await get(path)).text]).toEqual([path, path]);
    }
  });

  test("what is no valid target is refused before anyone is asked", async () => {
    const before = origin.count();
    for (const path of [
      "/%",
      "/%zz",
      "/a%",
      "/a%2",
      "/%EF%BF%BD",
      "/\xff\xfe",
      "/a b",
      "*",
      "a",
      "/a?%zz",
      "/a?x#y",
    ]) {
      const { status } = await get(path);
      expect([path, status === 0 || (status >= 400 && status < 500) || status === 505]).toEqual([path, true]);
    }
    expect((await get(`/${"a".repeat(9_000)}`)).status).toBe(414);
    expect(origin.count()).toBe(before);
  });
});
