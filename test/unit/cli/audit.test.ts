/** `proxima audit` against origins that do one thing wrong each, and one that does all right. */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { checkAnswer } from "../../../src/cli/audit/checks.ts";
import { AuditClient } from "../../../src/cli/audit/client.ts";
import { Crawl, type CrawlLimits } from "../../../src/cli/audit/crawler.ts";
import { type FindingId, KINDS } from "../../../src/cli/audit/finding.ts";
import { linksOf } from "../../../src/cli/audit/links.ts";
import type { AuditReport } from "../../../src/cli/audit/report.ts";
import { type OriginHandler, startOrigin, type TestOrigin } from "../../kit/origin.ts";
import { endAll, runCli } from "./run-cli.ts";

const origins: TestOrigin[] = [];
afterEach(async () => {
  for (const origin of origins.splice(0)) await origin.stop();
});
afterAll(endAll);

function serve(handler: OriginHandler): TestOrigin {
  const origin = startOrigin(handler);
  origins.push(origin);
  return origin;
}

/** An answer with a validator that is honoured. */
function answer(
  request: Request,
  body: string | Uint8Array<ArrayBuffer>,
  fields: Record<string, string>,
): Response {
  const headers = new Headers({ "content-type": "text/html", etag: '"1"', ...fields });
  for (const [name, value] of Object.entries(fields)) if (value === "") headers.delete(name);
  if (headers.has("etag") && request.headers.get("if-none-match") === headers.get("etag"))
    return new Response(null, { status: 304, headers });
  return new Response(body, { headers });
}

const LIMITS: CrawlLimits = {
  urlsMax: 100,
  depthMax: 5,
  bytesMax: 2 ** 30,
  timeMs: 20_000,
  concurrency: 4,
  rate: 10_000,
};

async function crawl(
  starts: readonly string[],
  options: { limits?: Partial<CrawlLimits>; fields?: [string, string][]; timeoutMs?: number } = {},
) {
  const stop = new AbortController();
  const fields = options.fields ?? [];
  const client = new AuditClient({
    ca: null,
    fields,
    timeoutMs: options.timeoutMs ?? 5_000,
    signal: stop.signal,
  });
  const walk = new Crawl(client, { ...LIMITS, ...options.limits }, stop, fields.length > 0);
  return await walk.run(starts.map((start) => new URL(start)));
}

/** Kinds of findings at a path that an origin answers so. */
async function kindsOf(path: string, body: string, fields: Record<string, string>): Promise<string[]> {
  const origin = serve((request) => answer(request, body, fields));
  const { findings } = await crawl([origin.url + path]);
  return findings.map(({ id }) => id).sort();
}

const SHARED = { "cache-control": "public, max-age=60" };
const JS = { "content-type": "text/javascript", "cache-control": "public, max-age=31536000, immutable" };
const JWT = `${btoa('{"alg":"HS256"}')}.${btoa('{"sub":"1234567"}')}.c2lnbmF0dXJl`.replaceAll("=", "");

const ONE_FAULT: [FindingId, string, string, Record<string, string>][] = [
  ["public-set-cookie", "/", "x", { ...SHARED, "set-cookie": "sid=s3cret" }],
  [
    "public-set-cookie",
    "/",
    "x",
    { "cache-control": "private", "cdn-cache-control": "max-age=9", "set-cookie": "a=1" },
  ],
  [
    "public-secret",
    "/t",
    '{"access_token": "s3cret-abc"}',
    { ...SHARED, "content-type": "application/json" },
  ],
  ["public-secret", "/t", `{"a": "${JWT}"}`, { ...SHARED, "content-type": "application/json" }],
  [
    "public-personal",
    "/t",
    '{"email":"a@b.example"}',
    { "cache-control": "s-maxage=9", "content-type": "application/json" },
  ],
  ["public-form-token", "/", '<input name="csrf_token" value="s3cret">', SHARED],
  ["public-logged-in", "/", '<button formaction="x"></button><form action="/sign-out">', SHARED],
  ["public-account-path", "/account/", "hello", SHARED],
  ["long-without-hash", "/app.js", "x", JS],
  ["short-with-hash", "/app.4f3a9c1b.js", "x", { ...JS, "cache-control": "max-age=60" }],
  ["no-validator", "/", "x", { ...SHARED, etag: "" }],
  ["vary-unbounded", "/", "x", { ...SHARED, vary: "accept-encoding, User-Agent" }],
  ["vary-unbounded", "/", "x", { ...SHARED, vary: "Cookie" }],
  ["vary-star", "/", "x", { ...SHARED, vary: "*" }],
  [
    "asset-sets-cookie",
    "/a.css",
    "x",
    { "content-type": "text/css", "cache-control": "private", "set-cookie": "a=1" },
  ],
  ["asset-not-kept", "/a.png", "x", { "content-type": "image/png", "cache-control": "no-store" }],
  ["asset-silent", "/a.woff2", "x", { "content-type": "font/woff2" }],
  ["coding-without-vary", "/", Bun.gzipSync("x").toString(), { ...SHARED, "content-encoding": "br" }],
  ["contradiction", "/", "x", { "cache-control": "public, no-store" }],
  ["not-compressed", "/", "x".repeat(2_000), SHARED],
  ["page-silent", "/", "x", {}],
];

describe("a fault is found", () => {
  test.each(ONE_FAULT)("%s at %s", async (id, path, body, fields) => {
    const found = await kindsOf(path, body, fields);
    // A private asset is told as such too.
    expect(found.filter((one) => one !== "asset-not-kept" || id === one)).toEqual([id]);
  });

  test("validator-ignored: the condition is not compared", async () => {
    const origin = serve(
      () => new Response("x", { headers: { "content-type": "text/html", ...SHARED, etag: '"1"' } }),
    );
    expect((await crawl([origin.url])).findings).toMatchObject([{ id: "validator-ignored", detail: "ETag" }]);
  });

  test("validator-unstable: the same bytes, another ETag", async () => {
    let count = 0;
    const origin = serve(
      () => new Response("x", { headers: { "content-type": "text/html", ...SHARED, etag: `"${count++}"` } }),
    );
    expect((await crawl([origin.url])).findings.map(({ id }) => id)).toEqual(["validator-unstable"]);
  });

  test("query-copies: with the names of the parameters that make no difference", async () => {
    const origin = serve((request) => {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname === "/gone") return new Response("not found", { status: 404 });
      const links = [
        "/gone?a=1",
        "/gone?a=2",
        "/p?page=1&ref=a",
        "/p?page=1&ref=b",
        "/p?page=2",
        "/q?a=1&b=2",
        "/q?b=2&a=1",
      ]
        .map((href) => `<a href="${href.replaceAll("&", "&amp;")}">`)
        .join("");
      return answer(
        request,
        pathname === "/" ? links : `page ${pathname} ${searchParams.get("page")}`,
        SHARED,
      );
    });
    const { findings } = await crawl([origin.url]);
    expect(findings.filter(({ id }) => id !== "broken-link")).toEqual([
      { id: "query-copies", url: `${origin.url}/p`, detail: "2 URLs differ by ref" },
      { id: "query-copies", url: `${origin.url}/q`, detail: "2 URLs differ by the order of parameters" },
    ]);
  });

  test("differs-by-session: only where the answer is stable, shared and another one", async () => {
    let count = 0;
    const origin = serve((request) => {
      const { pathname } = new URL(request.url);
      const user = request.headers.get("cookie") ?? "nobody";
      if (pathname === "/")
        return answer(
          request,
          '<a href="/leak"><a href="/same"><a href="/random"><a href="/private">',
          SHARED,
        );
      if (pathname === "/leak")
        return answer(request, `hello ${user}`, { ...SHARED, etag: "", "last-modified": "x" });
      if (pathname === "/random") return answer(request, `hello ${user} ${count++}`, SHARED);
      if (pathname === "/private") return answer(request, `hello ${user}`, { "cache-control": "private" });
      return answer(request, "hello", SHARED);
    });
    const { findings } = await crawl([origin.url], { fields: [["Cookie", "sid=s3cret"]] });
    expect(findings.filter(({ id }) => id === "differs-by-session")).toEqual([
      { id: "differs-by-session", url: `${origin.url}/leak`, detail: "the body is another one" },
    ]);
    expect(JSON.stringify(findings)).not.toContain("s3cret");
  });

  test("error-kept, broken-link and redirect-chain", async () => {
    const origin = serve((request) => {
      const { pathname } = new URL(request.url);
      switch (pathname) {
        case "/":
          return answer(request, '<a href="/gone"><a href="/r1"><a href="/loop">', SHARED);
        case "/gone":
          return new Response("x", { status: 404, headers: { "cache-control": "max-age=86400" } });
        case "/r1":
          return new Response(null, { status: 302, headers: { location: "/r2" } });
        case "/r2":
          return new Response(null, { status: 302, headers: { location: "/end" } });
        case "/loop":
          return new Response(null, { status: 302, headers: { location: "/loop" } });
        default:
          return answer(request, "end", SHARED);
      }
    });
    const { findings } = await crawl([origin.url]);
    expect(findings).toEqual(
      expect.arrayContaining([
        { id: "error-kept", url: `${origin.url}/gone`, detail: "404, Cache-Control: max-age=86400" },
        { id: "broken-link", url: `${origin.url}/gone`, detail: `404, linked from ${origin.url}/` },
        { id: "redirect-chain", url: `${origin.url}/r1`, detail: `by way of ${origin.url}/r2` },
      ]),
    );
    expect(findings).toHaveLength(3);
  });

  test("every kind has a test here", () => {
    const tested = new Set<string>([
      ...ONE_FAULT.map(([id]) => id),
      "validator-ignored",
      "validator-unstable",
      "query-copies",
      "differs-by-session",
      "error-kept",
      "broken-link",
      "redirect-chain",
    ]);
    expect(Object.keys(KINDS).filter((id) => !tested.has(id))).toEqual([]);
  });
});

describe("what is right", () => {
  /** A site without a fault. */
  const good: OriginHandler = (request) => {
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/":
        return answer(
          request,
          `<link rel="stylesheet" href="/app.4f3a9c1b.css"><img srcset="/a-1a2b3c4d5e.png 1x, /b-1a2b3c4d5e.png 2x"><a href="/account/">`,
          { "cache-control": "public, max-age=0, s-maxage=300", vary: "accept-encoding" },
        );
      case "/app.4f3a9c1b.css":
        return answer(request, "@font-face { src: url('/f-9b2c0f7d1e.woff2') }", {
          ...JS,
          "content-type": "text/css",
        });
      case "/account/":
        return answer(request, '<a href="/logout">{"email":"a@b"}', {
          "cache-control": "private, no-store",
          "set-cookie": "sid=1",
          vary: "cookie",
          etag: "",
        });
      case "/logout":
        return answer(request, "bye", { "cache-control": "no-store" });
      default:
        return answer(request, pathname, { ...JS, "content-type": extension(pathname) });
    }
  };
  const extension = (path: string) => (path.endsWith(".png") ? "image/png" : "font/woff2");

  test("is not found fault with, from page to style to font", async () => {
    const origin = serve(good);
    const result = await crawl([origin.url]);
    expect(result).toMatchObject({ findings: [], answered: 7, failed: 0, cut: {} });
  });

  test.each([
    ["a versioned query", "/app.js?v=4f3a9c1b", "x", JS],
    [
      "a long lifetime for shared caches only",
      "/a.png",
      "x",
      { ...SHARED, "content-type": "image/png", "cache-control": "max-age=60, s-maxage=31536000" },
    ],
    [
      "a private page with everything on it",
      "/me/",
      '<a href="/logout">',
      { "cache-control": "private", "set-cookie": "a=1", vary: "cookie" },
    ],
    [
      "Surrogate-Control that keeps it away",
      "/me/",
      "x",
      { ...SHARED, "surrogate-control": "no-store", "set-cookie": "a=1" },
    ],
  ])("%s", async (_what, path, body, fields) => {
    expect(await kindsOf(path, body, fields)).toEqual([]);
  });
});

describe("limits", () => {
  /** Each page names the next two; the tree has no end. */
  const endless: OriginHandler = (request) => {
    const { pathname } = new URL(request.url);
    return answer(request, `<a href="${pathname}0/"><a href="${pathname}1/">${"x".repeat(500)}`, SHARED);
  };

  test.each([
    ["urls", { urlsMax: 10 }],
    ["depth", { depthMax: 2 }],
    ["bytes", { bytesMax: 3_000 }],
    ["time", { timeMs: 300, rate: 20 }],
  ] as [string, Partial<CrawlLimits>][])("of %s ends the walk, and is told", async (name, limits) => {
    const origin = serve(endless);
    const result = await crawl([origin.url], { limits: { depthMax: 50, ...limits } });
    expect(result.cut).toHaveProperty(name);
    expect(result.answered).toBeLessThan(30);
    expect(result.failures).toEqual([]);
  });

  test("of hosts: no other one is asked", async () => {
    const other = serve(() => new Response("x"));
    const origin = serve((request) =>
      answer(request, `<a href="${other.url}/x"><a href="//elsewhere.example/">`, SHARED),
    );
    const result = await crawl([origin.url]);
    expect(other.count()).toBe(0);
    expect([...result.elsewhere.keys()].sort()).toEqual(
      [new URL(other.url).host, "elsewhere.example"].sort(),
    );
  });

  test("of redirects, of a body and of one answer's time", async () => {
    const origin = serve(async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/hang") await Bun.sleep(1_000);
      if (pathname === "/big")
        return new Response(new Uint8Array(9 * 2 ** 20), { headers: { "cache-control": "no-store" } });
      const hop = /^\/r(\d+)$/.exec(pathname)?.[1];
      return hop === undefined
        ? answer(request, "x", SHARED)
        : new Response(null, { status: 302, headers: { location: `/r${Number(hop) + 1}` } });
    });
    const result = await crawl([`${origin.url}/r1`, `${origin.url}/big`, `${origin.url}/hang`], {
      timeoutMs: 400,
    });
    expect(result.cut).toEqual({ redirects: 1, body: 1 });
    expect(result.failures).toEqual([{ url: `${origin.url}/hang`, problem: "no whole answer within 0.4 s" }]);
  });

  test("of a body without an end", async () => {
    const origin = serve(
      () =>
        new Response(
          new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1_048_576)) }),
          { headers: { "cache-control": "no-store" } },
        ),
    );
    expect(await crawl([origin.url])).toMatchObject({ cut: { body: 1 }, failures: [] });
  });

  test("of a body that expands without end", async () => {
    const bomb = Bun.gzipSync(new Uint8Array(40 * 2 ** 20));
    const origin = serve(
      () =>
        new Response(bomb, {
          headers: { "content-type": "text/html", "content-encoding": "gzip", "cache-control": "no-store" },
        }),
    );
    expect(await crawl([origin.url])).toMatchObject({ answered: 1, failed: 0 });
  });
});

describe("links", () => {
  const base = new URL("https://a.example/dir/page");

  test("are found in HTML, in CSS and in sitemaps", () => {
    const html = `<base href="/base/"><a href="x?a=1&amp;b=2#f"><A HREF=' y '><script src=s.js></script><img src="data:x" srcset="i.png 1x, //cdn.example/j.png 2x"><a href="mailto:a@b"><a href="javascript:x"><a href="http://u:p@a/"><a href="#top"><a href="x?a=1&b=2">`;
    expect(linksOf(html, "text/html; charset=utf-8", base).map(String)).toEqual([
      "https://a.example/base/x?a=1&b=2",
      "https://a.example/base/y",
      "https://a.example/base/s.js",
      "https://a.example/base/i.png",
      "https://cdn.example/j.png",
    ]);
    const css = `@import "a.css"; @import url(b.css); x { background: url("c d.png") url( 'e.png' ) url(data:x) }`;
    expect(linksOf(css, "text/css", base).map(({ pathname }) => pathname)).toEqual([
      "/dir/a.css",
      "/dir/b.css",
      "/dir/c%20d.png",
      "/dir/e.png",
    ]);
    const sitemap = new URL("https://a.example/sitemap.xml");
    expect(
      linksOf("<urlset><url><loc> https://a.example/p?x=1&amp;y=2 </loc>", "application/xml", sitemap).map(
        String,
      ),
    ).toEqual(["https://a.example/p?x=1&y=2"]);
    expect(linksOf("<a href=x>", "text/plain", base)).toEqual([]);
  });

  test("of any document are absolute http URLs, and bounded", () => {
    const piece = fc.constantFrom(
      "<a href=",
      '"',
      "'",
      ">",
      "http://",
      "url(",
      ")",
      "//",
      "&amp;",
      "\0",
      "é",
      "#",
      " 1x, ",
      "<img srcset=",
    );
    const text = fc
      .array(fc.oneof(piece, fc.string({ maxLength: 8 })), { maxLength: 40 })
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, fc.constantFrom("text/html", "text/css"), (document, type) => {
        for (const url of linksOf(document, type, base)) {
          expect(url.protocol).toMatch(/^https?:$/);
          expect(url.hash).toBe("");
        }
      }),
      { numRuns: 500 },
    );
    expect(
      linksOf(
        '<a href="x">'.repeat(6_000).replace(/x/g, () => String(Math.random())),
        "text/html",
        base,
      ),
    ).toHaveLength(5_000);
  });

  test("and fields of any kind never make a check fail", () => {
    const value = fc.oneof(
      fc.constantFrom(
        "public",
        "private",
        "max-age=",
        "9",
        ",",
        "*",
        "cookie",
        "max-age=60",
        "no-store",
        ";",
        "=",
      ),
      fc.string({ unit: "grapheme-ascii", maxLength: 10 }),
    );
    const line = fc
      .array(value, { maxLength: 6 })
      .map((parts) => parts.join("").replace(/[^\x20-\x7e]/g, ""));
    fc.assert(
      fc.property(
        line,
        line,
        line,
        line,
        fc.string({ maxLength: 200 }),
        (control, vary, cookie, type, text) => {
          const fields = new Headers({
            "cache-control": control,
            vary,
            "set-cookie": cookie,
            "content-type": type,
            expires: vary,
          });
          for (const { id } of checkAnswer(base, {
            status: 200,
            fields,
            hash: "x",
            bytes: 2_000,
            text,
            isCut: false,
          }))
            expect(KINDS).toHaveProperty(id);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

describe("the command", () => {
  const faulty: OriginHandler = (request) =>
    answer(request, "x", { ...SHARED, vary: "user-agent", "set-cookie": "sid=s3cret" });

  test("prints findings with their fixes, and ends with 1 from the level on", async () => {
    const origin = serve(faulty);
    const { status, out, err } = await runCli(["audit", origin.url]);
    expect([status, err]).toEqual([1, ""]);
    expect(out).toContain("1 URL in ");
    expect(out).toContain("1 error, 1 warning, 0 notices");
    expect(out).toContain(
      "error public-set-cookie: a cookie is set by an answer that shared caches may keep\n  fix: send it",
    );
    expect(out).toContain(`  ${origin.url}/  sid; Cache-Control: public, max-age=60\n`);
    expect(out).not.toContain("s3cret");
    expect((await runCli(["audit", origin.url, "--level", "never"])).status).toBe(0);
  });

  test("prints JSON for programs", async () => {
    const origin = serve((request) => answer(request, "x", {}));
    const { status, out } = await runCli(["audit", origin.url, "--json"]);
    const report = JSON.parse(out) as AuditReport;
    expect(status).toBe(0);
    expect(report).toMatchObject({
      urls: [`${origin.url}/`],
      answered: 1,
      cut: {},
      counts: { error: 0, warning: 0, notice: 1 },
      findings: [{ id: "page-silent", level: "notice", count: 1, places: [{ url: `${origin.url}/` }] }],
    });
    expect((await runCli(["audit", origin.url, "--level", "notice"])).status).toBe(1);
  });

  test("ends with 1 when nothing answers, with 2 when it is called wrong", async () => {
    expect(await runCli(["audit", "http://127.0.0.1:1/"])).toMatchObject({
      status: 1,
      err: "proxima: http://127.0.0.1:1/: nothing listens there\n",
    });
    expect(await runCli(["audit", "shop.example"])).toMatchObject({
      status: 2,
      err: 'proxima: "shop.example" is not a URL; write http(s)://host/path\n',
    });
    const secret = await runCli(["audit", "http://u:s3cret@shop.example"]);
    expect([secret.status, secret.err.includes("s3cret")]).toEqual([2, false]);
    expect((await runCli(["audit"])).status).toBe(2);
    expect((await runCli(["audit", "http://a", "--max-bytes", "lots"])).status).toBe(2);
  });
});
