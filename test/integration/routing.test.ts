/** Which site and behaviour answer, what the edge answers by itself, and which page stands for an error. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import type { RedirectInput, SiteInput } from "../../src/config/types.ts";
import { fetchWhole, startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { ask } from "../kit/raw-send.ts";

const clock = new ManualClock(Date.now());
const LISTEN = { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", http3: false };
let origin: TestOrigin;
let edge: TestEdge;
let base: TestEdgeOptions;

beforeAll(async () => {
  origin = startOrigin(() => text("?"), clock);
  base = { origin: origin.url, clock, https: true, config: { listen: LISTEN } };
  edge = await startTestEdge(base);
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});
beforeEach(() => origin.answer((_request, { target }) => text(target, { "cache-control": "max-age=600" })));

/** Puts a config in force; what is not given is as at the start. */
const use = (options: Partial<TestEdgeOptions>): Promise<void> =>
  edge.apply({ behavior: {}, site: {}, ...options, config: { listen: LISTEN, ...options.config } });
const secure = (path: string, headers: Record<string, string> = {}, init: RequestInit = {}) =>
  fetchWhole(edge.httpsUrl + path, { ...init, headers, tls: { ca: edge.ca } } as RequestInit);

describe("the site", () => {
  const site = (name: string, hosts: string[]): SiteInput => ({
    hosts,
    origins: { app: { url: origin.url } },
    behaviors: [{ path: "/*", cache: false, responseHeaders: { set: { "x-site": name } } }],
  });
  const siteFor = async (host: string) => (await edge.get("/", { Host: host })).headers.get("x-site");

  test("is the one with the most particular host: exact, then the longest wildcard, then any", async () => {
    await use({
      config: {
        sites: {
          any: site("any", ["*"]),
          wide: site("wide", ["*.example"]),
          shop: site("shop", ["*.shop.example"]),
          www: site("www", ["www.shop.example"]),
        },
      },
    });
    const wanted = {
      "www.shop.example": "www",
      "img.shop.example": "shop",
      "a.b.shop.example": "shop",
      "shop.example": "wide",
      "x.example": "wide",
      example: "any",
      "other.test": "any",
      "wwwshop.example": "wide",
      "evilshop.example": "wide",
      "127.0.0.1": "any",
      "[::1]": "any",
      "WWW.Shop.Example.:8080": "www",
    };
    for (const [host, name] of Object.entries(wanted))
      expect([host, await siteFor(host)]).toEqual([host, name]);
  });

  test("that nobody has is 404 without a word to any origin, and the host is shown as text only", async () => {
    await use({ config: { sites: { www: site("www", ["www.shop.example", "*.img.example"]) } } });
    const before = origin.count();
    for (const host of [
      "shop.example",
      "img.example",
      "www.shop.example.evil.test",
      "xwww.shop.example",
      "localhost",
    ]) {
      const answer = await edge.get("/", { Host: host });
      expect([host, answer.status, answer.headers.get("cache-control")]).toEqual([host, 404, "no-store"]);
    }
    expect(origin.count()).toBe(before);
  });
});

describe("the behaviour", () => {
  const pathOf = async (path: string) =>
    (await ask({ port: edge.port }, `GET ${path}`, [["Host", "a.example"]])).header("x-b");

  test("is the first that matches, and a path that none matches is 404", async () => {
    const named = (path: string) => ({ path, responseHeaders: { set: { "x-b": path } } });
    await use({ behaviors: ["/exact", "/a/*.jpg", "/a/*", "*.css", "/file-?.txt", "/*/deep/*"].map(named) });
    const wanted: Record<string, string | null> = {
      "/exact": "/exact",
      "/exact/": null,
      "/exactly": null,
      "/a/x.jpg": "/a/*.jpg",
      "/a/b/c.jpg": "/a/*.jpg",
      "/a/x.jpg/y": "/a/*",
      "/a/": "/a/*",
      "/a": null,
      "/b/x.css": "*.css",
      "/a/x.css": "/a/*",
      "/file-1.txt": "/file-?.txt",
      "/file-12.txt": null,
      "/file-.txt": null,
      "/x/deep/y": "/*/deep/*",
      "/A/x": null,
      "/": null,
    };
    for (const [path, name] of Object.entries(wanted))
      expect([path, await pathOf(path)]).toEqual([path, name]);
    expect((await edge.get("/none")).status).toBe(404);
    await use({ behaviors: undefined as never });
  });

  test("a pattern with many stars does not take long on a long path", async () => {
    await use({ behaviors: [{ path: "/*a*a*a*a*a*a*a*b" }, { path: "/*" }] });
    const startMs = performance.now();
    expect((await edge.get(`/${"a".repeat(7_000)}`)).status).toBe(200);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    await use({ behaviors: undefined as never });
  });
});

describe("the protocol of viewers", () => {
  test("redirect-to-https keeps host, path and query, and names the port that listens", async () => {
    await use({ behavior: { viewerProtocol: "redirect-to-https" } });
    const port = `:${edge.httpsPort}`;
    for (const [host, to] of [
      ["shop.example", "shop.example"],
      ["shop.example:8080", "shop.example"],
      ["[::1]:80", "[::1]"],
      ["SHOP.example.", "shop.example"],
    ] as const) {
      const answer = await edge.get("/a%20b//c?x=1&y=%2F", { Host: host });
      expect([answer.status, answer.headers.get("location")]).toEqual([
        301,
        `https://${to}${port}/a%20b//c?x=1&y=%2F`,
      ]);
    }
    expect((await edge.get("/p", {}, { method: "POST", body: "x" })).status).toBe(308);
    expect((await edge.get("/p", {}, { method: "HEAD" })).status).toBe(301);
    expect((await secure("/p")).status).toBe(200);
  });

  test("https-only refuses clear text with 403, and asks no origin", async () => {
    await use({ behavior: { viewerProtocol: "https-only" } });
    const before = origin.count();
    expect((await edge.get("/p1")).status).toBe(403);
    expect(origin.count()).toBe(before);
    expect((await secure("/p1")).status).toBe(200);
  });

  test("is the behaviour's own", async () => {
    await use({
      behaviors: [
        { path: "/open/*" },
        { path: "/closed/*", viewerProtocol: "https-only" },
        { path: "/*", viewerProtocol: "redirect-to-https" },
      ],
    });
    expect([
      (await edge.get("/open/x")).status,
      (await edge.get("/closed/x")).status,
      (await edge.get("/x")).status,
    ]).toEqual([200, 403, 301]);
    await use({ behaviors: undefined as never });
  });

  test("an origin's redirect to https is stored for clear text only: nobody on https loops", async () => {
    await use({});
    origin.answer((request, { target }) =>
      request.headers.get("x-forwarded-proto") === "https"
        ? text("secure", { "cache-control": "max-age=600" })
        : text(
            "",
            {
              location: `https://${request.headers.get("x-forwarded-host")}${target}`,
              "cache-control": "max-age=600",
            },
            301,
          ),
    );
    const clear = () => ask({ port: edge.port }, "GET /loop", [["Host", "shop.example"]]);
    const overTls = () => ask({ port: edge.httpsPort, ca: edge.ca }, "GET /loop", [["Host", "shop.example"]]);
    expect([(await clear()).status, (await clear()).header("x-cache")]).toEqual([301, "HIT"]);
    expect((await clear()).header("location")).toBe("https://shop.example/loop");
    expect([(await overTls()).text, (await overTls()).header("x-cache")]).toEqual(["secure", "HIT"]);
    expect((await clear()).status).toBe(301);
  });

  test("an origin that redirects https to the same https URL is passed on, but not stored", async () => {
    await use({});
    origin.answer((request, { target }) =>
      text(
        "",
        {
          location: `https://${request.headers.get("x-forwarded-host")}${target}`,
          "cache-control": "max-age=600",
        },
        301,
      ),
    );
    for (const to of ["/self", "/self?x=1"]) {
      await secure(to);
      const again = await secure(to);
      expect([again.cache, again.headers.get("cache-status")?.includes("response-self-redirect")]).toEqual([
        "BYPASS",
        true,
      ]);
    }
    origin.answer(() => text("", { location: "./self#top", "cache-control": "max-age=600" }, 302));
    await secure("/self");
    expect((await secure("/self")).cache).toBe("BYPASS");
  });
});

describe("methods", () => {
  test("that a behaviour does not allow get 405 with Allow, and no origin is asked", async () => {
    await use({ behavior: { allowedMethods: "read" } });
    const before = origin.count();
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      const answer = await edge.get("/m", {}, { method });
      expect([method, answer.status, answer.headers.get("allow")]).toEqual([
        method,
        405,
        "GET, HEAD, OPTIONS",
      ]);
    }
    expect(origin.count()).toBe(before);
    for (const method of ["GET", "HEAD", "OPTIONS"])
      expect((await edge.get("/m", {}, { method })).status).toBe(200);
    await use({ behavior: { allowedMethods: ["GET", "POST"] } });
    expect([
      (await edge.get("/m", {}, { method: "POST" })).status,
      (await edge.get("/m", {}, { method: "HEAD" })).status,
    ]).toEqual([200, 405]);
  });

  test("TRACE and CONNECT get 405 with Allow everywhere", async () => {
    await use({});
    for (const method of ["TRACE", "CONNECT"]) {
      const answer = await ask(
        { port: edge.port },
        `${method} ${method === "CONNECT" ? "a.example:80" : "/"}`,
        [["Host", "a.example"]],
      );
      expect([
        method,
        answer.status === 405 ? answer.header("allow") !== null : answer.status >= 400 || answer.status === 0,
      ]).toEqual([method, true]);
    }
  });
});

describe("redirects", () => {
  const follow = async (
    redirects: RedirectInput[],
    path: string,
    host = "shop.example",
  ): Promise<string | number> => {
    await use({ site: { redirects } });
    const answer = await ask({ port: edge.port }, `GET ${path}`, [["Host", host]]);
    return answer.header("location") ?? answer.status;
  };

  test("come before behaviours; the first that matches host and path wins, with its status", async () => {
    const redirects: RedirectInput[] = [
      { host: "www.shop.example", to: "https://shop.example$path$query", status: 308 },
      { path: "/old/*", to: "/new/$1", status: 302 },
      { path: "/old/never", to: "/wrong" },
      { host: "*.old.example", path: "/*", to: "$scheme://new.example/$1$query" },
    ];
    expect(await follow(redirects, "/a?b=c", "www.shop.example")).toBe("https://shop.example/a?b=c");
    expect(await follow(redirects, "/old/x/y")).toBe("/new/x/y");
    expect(await follow(redirects, "/old/never")).toBe("/new/never");
    expect(await follow(redirects, "/z?q", "a.old.example")).toBe("http://new.example/z?q");
    expect(await follow(redirects, "/z", "old.example")).toBe(200);
    expect(await follow(redirects, "/old")).toBe(200);
    const answer = await edge.get("/a", { Host: "www.shop.example" });
    expect([answer.status, answer.headers.get("cache-control"), answer.cache]).toEqual([
      308,
      "private, max-age=60",
      "BYPASS",
    ]);
  });

  test("lead to another host only where the rule says so", async () => {
    const rule: RedirectInput[] = [{ path: "/old/*", to: "/$1" }];
    for (const path of [
      "/old//evil.example",
      "/old///evil.example/",
      "/old/%2fevil.example",
      "/old//evil.example%2f..",
    ]) {
      const to = await follow(rule, path);
      if (typeof to === "number") continue;
      expect([path, new URL(to, "http://shop.example/").host]).toEqual([path, "shop.example"]);
    }
    expect(await follow(rule, "/old//evil.example")).toBe("/evil.example");
    const joined: RedirectInput[] = [{ path: "/x*", to: "https://shop.example$1" }];
    for (const path of ["/x.evil.example", "/x@evil.example", "/x:80@evil.example/", "/x:pw@evil.example"]) {
      expect([path, new URL(String(await follow(joined, path))).host]).toEqual([path, "shop.example"]);
    }
    expect(await follow(joined, "/x/y")).toBe("https://shop.example/y");
    expect(await follow([{ path: "/x*", to: "$scheme://$host$1" }], "/x.evil.example")).toBe(
      "http://shop.example/.evil.example",
    );
    expect(
      await follow(
        [{ path: "/*", to: "https://shop.example$path$query" }],
        "//evil.example?next=//evil.example",
      ),
    ).toBe("https://shop.example//evil.example?next=//evil.example");
  });

  test("can not be made to carry a second header line or a script", async () => {
    const rule: RedirectInput[] = [{ path: "/r/*", to: "https://to.example/$1$query" }];
    await use({ site: { redirects: rule } });
    for (const path of [
      "/r/%0d%0aSet-Cookie:x=1",
      "/r/x?%0d%0aSet-Cookie:x=1",
      "/r/%E5%98%8A%E5%98%8DSet-Cookie:x",
      '/r/"><script>alert(1)</script>',
    ]) {
      const answer = await ask({ port: edge.port }, `GET ${path}`, [["Host", "shop.example"]]);
      expect(answer.head).not.toMatch(/^set-cookie/im);
      expect(answer.text).not.toContain("<script>");
    }
  });

  test("that lead back to the URL that was asked for are left out, in whatever way they write it", async () => {
    for (const to of [
      "https://shop.example$path",
      "$scheme://$host$path$query",
      "/same",
      "http://SHOP.example:80/same",
      "/same#top",
      "/x/../same",
    ]) {
      const answer = await follow([{ path: "/same", to }], "/same");
      expect([to, answer]).toEqual([to, to.startsWith("https") ? "https://shop.example/same" : 200]);
    }
  });
});

describe("rewrites and the default document", () => {
  test("choose what the origin is asked for; the first that matches wins", async () => {
    await use({
      site: { defaultDocument: "index.html" },
      behavior: {
        rewrite: [
          { match: "/app/*", to: "/v2/$1" },
          { match: "/img-*.png", to: "/images/$1/full.png" },
        ],
      },
    });
    const wanted = {
      "/": "/index.html",
      "/?a=1": "/index.html?a=1",
      "/app/x?y=1": "/v2/x?y=1",
      "/img-7.png": "/images/7/full.png",
      "/sub/": "/sub/",
      "/other": "/other",
    };
    for (const [path, target] of Object.entries(wanted)) expect((await edge.get(path)).body).toBe(target);
  });

  test("do not choose the behaviour: a rewrite into a protected path is the operator's own", async () => {
    await use({
      behaviors: [
        { path: "/private/*", allowedMethods: ["POST"] },
        { path: "/*", rewrite: [{ match: "/door/*", to: "/private/$1" }] },
      ],
    });
    expect((await edge.get("/private/x")).status).toBe(405);
    expect((await edge.get("/door/x")).body).toBe("/private/x");
    await use({ behaviors: undefined as never });
  });
});

describe("error pages", () => {
  const site = (errorPages: SiteInput["errorPages"]): Partial<TestEdgeOptions> => ({ site: { errorPages } });

  test("a page by status, then by class, with the error's status or one of its own", async () => {
    await use(
      site({
        "404": { path: "/404.html" },
        "4xx": { path: "/4xx.html", status: 400 },
        "5xx": { path: "/5xx.html" },
      }),
    );
    origin.answer((_request, { target }) => {
      const status = /^\/e(\d+)/.exec(target)?.[1];
      return status === undefined
        ? text(`page ${target}`, { "cache-control": "max-age=60", etag: '"page"' })
        : text("raw error", {}, Number(status));
    });
    const got = async (path: string) => {
      const { status, body } = await edge.get(path);
      return [status, body];
    };
    expect(await got("/e404")).toEqual([404, "page /404.html"]);
    expect(await got("/e410")).toEqual([400, "page /4xx.html"]);
    expect(await got("/e503")).toEqual([503, "page /5xx.html"]);
    const page = await edge.get("/e404");
    expect([page.headers.get("etag"), page.headers.get("cache-status")?.includes("fwd=uri-miss")]).toEqual([
      null,
      true,
    ]);
    expect(origin.count("/404.html")).toBe(1);
    const head = await edge.get("/e404", {}, { method: "HEAD" });
    expect([head.status, head.body]).toEqual([404, ""]);
    // A machine's request gets the machine's answer.
    expect(await (async () => (await edge.get("/e404", {}, { method: "POST" })).body)()).toBe("raw error");
  });

  test("a single-page application: 404 becomes the page of the application with 200", async () => {
    await use(site({ "404": { path: "/spa.html", status: 200 } }));
    origin.answer((_request, { target }) =>
      target === "/spa.html"
        ? text("<app>", { "content-type": "text/html", "cache-control": "max-age=60" })
        : text("no", {}, 404),
    );
    for (const path of ["/deep/link", "/deep/link?x=1", "/deeper/link"])
      expect(await edge.get(path)).toMatchObject({ status: 200, body: "<app>" });
    expect(origin.count("/spa.html")).toBe(1);
  });

  test("stand for the edge's own errors too: origin down, https only, method, no behaviour", async () => {
    await use({
      ...site({
        "502": { path: "/down.html" },
        "403": { path: "/down.html" },
        "404": { path: "/down.html" },
      }),
      behaviors: [
        { path: "/closed/*", viewerProtocol: "https-only" },
        { path: "/dead/*", origin: "dead" },
        { path: "/down.html", origin: "app" },
      ],
      site: {
        errorPages: {
          "502": { path: "/down.html" },
          "403": { path: "/down.html" },
          "404": { path: "/down.html" },
        },
        origins: { app: { url: origin.url }, dead: { url: "http://127.0.0.1:1" } },
        behaviors: [
          { path: "/closed/*", origin: "app", viewerProtocol: "https-only" },
          { path: "/dead/*", origin: "dead" },
          { path: "/down.html", origin: "app" },
        ],
      },
    });
    origin.answer(() => text("sorry", { "cache-control": "max-age=60" }));
    for (const [path, status] of [
      ["/dead/x", 502],
      ["/closed/x", 403],
      ["/nothing", 404],
    ] as const) {
      expect(await edge.get(path)).toMatchObject({ status, body: "sorry" });
    }
    expect((await edge.get("/dead/x")).headers.get("proxy-status")).toContain("connection_refused");
    await use({ behaviors: undefined as never });
  });

  test("that are errors themselves, or are not there, leave the first error as it is", async () => {
    await use(site({ "404": { path: "/gone.html" }, "500": { path: "/broken.html" } }));
    origin.answer((_request, { target }) =>
      target === "/gone.html"
        ? text("page broken", {}, 500)
        : target === "/broken.html"
          ? text("again", {}, 500)
          : text("first", {}, 404),
    );
    expect(await edge.get("/x")).toMatchObject({ status: 404, body: "first" });
    expect(await edge.get("/gone.html")).toMatchObject({ status: 500, body: "page broken" });
    expect(await edge.get("/broken.html")).toMatchObject({ status: 500, body: "again" });
    origin.answer(() => text("loop", { location: "/gone.html" }, 404));
    expect(await edge.get("/gone.html")).toMatchObject({ status: 404, body: "loop" });
  });

  test("that fail past the cache do not call for themselves again", async () => {
    const behaviors = [{ path: "/uncached.html", cache: false }, { path: "/*" }];
    await use({ behaviors, site: { errorPages: { "404": { path: "/uncached.html" } } } });
    origin.answer(() => text("missing", {}, 404));
    const before = origin.count();
    expect(await edge.get("/missing-page")).toMatchObject({ status: 404, body: "missing" });
    expect(origin.count()).toBe(before + 2);
    await use({ behaviors: undefined as never });
  });

  test("show nothing of one viewer to another: the page is fetched without cookie, authorization and query", async () => {
    await use(site({ "403": { path: "/403.html" } }));
    origin.answer((request, { target }) =>
      target === "/403.html"
        ? text(`page ${request.headers.get("cookie")} ${request.headers.get("authorization")}`, {
            "cache-control": "max-age=60",
          })
        : text("no", {}, 403),
    );
    expect((await edge.get("/x?secret=1", { Cookie: "session=a", Authorization: "Basic eA==" })).body).toBe(
      "page null null",
    );
  });
});

describe("development mode", () => {
  test("passes everything through and stores nothing, and leaves what is stored for later", async () => {
    await use({});
    await edge.get("/dev");
    expect((await edge.get("/dev")).cache).toBe("HIT");
    await use({ site: { developmentMode: true } });
    for (let i = 0; i < 2; i++) {
      const answer = await edge.get("/dev");
      expect([answer.cache, answer.headers.get("cache-status")?.includes("development-mode")]).toEqual([
        "BYPASS",
        true,
      ]);
    }
    await use({});
    expect((await edge.get("/dev")).cache).toBe("HIT");
  });
});

describe("what bypasses the cache by rule", () => {
  test("cookies by name or prefix, header fields and query parameters: passed on whole, and nothing stored", async () => {
    await use({
      behavior: {
        cacheKey: { query: "none" },
        bypass: { cookies: ["session", "wp-*"], headers: ["X-Preview"], queryParameters: ["preview", "a[]"] },
      },
    });
    origin.answer((request, { target }) =>
      text(`${target} ${request.headers.get("cookie")}`, { "cache-control": "max-age=600" }),
    );
    expect((await edge.get("/by")).cache).toBe("MISS");
    const bypassed: [string, Record<string, string>][] = [
      ["/by", { Cookie: "a=1; session=x" }],
      ["/by", { Cookie: "session" }],
      ["/by", { Cookie: "wp-logged-in-123=1" }],
      ["/by", { "X-Preview": "" }],
      ["/by?preview", {}],
      ["/by?x=1&preview=1", {}],
      ["/by?%70review=1", {}],
      ["/by?a%5B%5D=1", {}],
      ["/by?a[]=1", {}],
    ];
    for (const [path, fields] of bypassed) {
      const answer = await edge.get(path, fields);
      expect([
        path,
        fields,
        answer.cache,
        answer.body.includes("session") || !("Cookie" in fields) || !fields.Cookie?.includes("session"),
      ]).toEqual([path, fields, "BYPASS", true]);
    }
    for (const [path, fields] of [
      ["/by", { Cookie: "sessions=1; xwp-=1" }],
      ["/by?previews=1", {}],
      ["/by?Preview=1", {}],
    ] as [string, Record<string, string>][]) {
      expect([path, (await edge.get(path, fields)).cache]).toEqual([path, "HIT"]);
    }
  });
});
