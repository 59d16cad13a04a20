/** `proxima warm` through a real edge, from sitemaps that an origin serves: what it says was filled is found filled. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import type { WarmReport } from "../../src/cli/warm/tally.ts";
import { makeAuthority } from "../kit/certificates.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { Programs } from "../kit/program.ts";

const HOST = "shop.example";
const STORED = { "cache-control": "max-age=600", vary: "accept-language" };
let origin: TestOrigin;
let edge: TestEdge;
let programs: Programs;

beforeAll(() => {
  origin = startOrigin(() => text(""));
});
afterAll(() => origin.stop());
beforeEach(async () => {
  programs = new Programs();
  origin.answer(shop);
  origin.seen.length = 0;
  edge = await startTestEdge({ origin: origin.url, https: true, site: { hosts: [HOST] } });
});
afterEach(async () => {
  await programs.stop();
  await edge.stop();
});

const xml = (root: string, item: string, urls: readonly string[]) =>
  `<?xml version="1.0"?><${root} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">${urls
    .map((url) => `<${item}><loc>${url.replaceAll("&", "&amp;")}</loc></${item}>`)
    .join("")}</${root}>`;
const urlset = (...paths: string[]) =>
  xml(
    "urlset",
    "url",
    paths.map((path) => new URL(path, `https://${HOST}/`).href),
  );
const index = (...paths: string[]) =>
  xml(
    "sitemapindex",
    "sitemap",
    paths.map((path) => new URL(path, `https://${HOST}/`).href),
  );

/** An index of a plain and a packed sitemap; pages that are stored, one that is private, one that is missing. */
function shop(request: Request): Response {
  const { pathname } = new URL(request.url);
  const language = request.headers.get("accept-language") ?? "none";
  switch (pathname) {
    case "/sitemap.xml":
      return new Response(index("/pages-sitemap.xml", "/more-sitemap.xml.gz"), { headers: STORED });
    case "/pages-sitemap.xml":
      return new Response(urlset("/1", "/2?a=1&b=2", "/private"), { headers: STORED });
    case "/more-sitemap.xml.gz":
      return new Response(gzipSync(urlset("/big", "/1")), {
        headers: { ...STORED, "content-type": "application/gzip" },
      });
    case "/private":
      return text("yours", { "cache-control": "private" });
    case "/missing":
      return text("no", STORED, 404);
    case "/big":
      return text("0123456789".repeat(300_000), STORED);
    default:
      return text(`${pathname} in ${language}`, STORED);
  }
}

const addresses = () => [
  "--http",
  `127.0.0.1:${edge.port}`,
  "--https",
  `127.0.0.1:${edge.httpsPort}`,
  "--rate",
  "1000",
];

async function warm(...argv: string[]): Promise<{ status: number; err: string; report: WarmReport }> {
  const { status, out, err } = await programs.run(["warm", ...addresses(), ...argv, "--json"]);
  return { status, err, report: JSON.parse(out) as WarmReport };
}

/** A viewer over TLS, as any other. */
async function viewer(path: string, headers: Record<string, string> = {}) {
  const response = await fetch(`https://127.0.0.1:${edge.httpsPort}${path}`, {
    headers: { host: HOST, ...headers },
    tls: { ca: edge.ca, serverName: HOST },
    keepalive: false,
  });
  return { cache: response.headers.get("x-cache"), body: await response.text() };
}

test("an index of sitemaps, plain and packed, fills what they list; the report says what was not stored and why", async () => {
  const { status, err, report } = await warm(`https://${HOST}/sitemap.xml`);
  expect([status, err]).toEqual([0, ""]);
  expect(report).toMatchObject({
    urls: 4,
    answered: 4,
    repeated: 1,
    sitemaps: 3,
    results: { miss: 3, bypass: 1 },
    statuses: { 200: 4 },
    notStored: [{ reason: "response-private", count: 1, example: `https://${HOST}/private` }],
    failures: { urls: 0, sitemaps: 0 },
  });
  expect(report.bytes).toBeGreaterThan(5);
  const before = origin.count();
  expect((await viewer("/1")).cache).toBe("HIT");
  expect((await viewer("/2?a=1&b=2")).body).toBe("/2 in none");
  expect((await viewer("/big")).body.length).toBe(3_000_000);
  // Sitemaps came through the edge as well.
  expect((await viewer("/sitemap.xml")).cache).toBe("HIT");
  expect(origin.count()).toBe(before);
  // A second run finds it all there.
  expect((await warm(`https://${HOST}/sitemap.xml`)).report.results).toEqual({ hit: 3, bypass: 1 });
});

test("a header field fills its variant", async () => {
  const url = `https://${HOST}/1`;
  expect((await warm(url, "--header", "Accept-Language: de")).report.results).toEqual({ miss: 1 });
  expect((await warm(url, "--header", "Accept-Language: fr")).report.results).toEqual({ miss: 1 });
  const before = origin.count();
  expect(await viewer("/1", { "accept-language": "de" })).toEqual({ cache: "HIT", body: "/1 in de" });
  expect(await viewer("/1", { "accept-language": "fr" })).toEqual({ cache: "HIT", body: "/1 in fr" });
  expect(origin.count()).toBe(before);
});

test("http and https are two objects; a host that the edge does not have is a failure, with the others done", async () => {
  const { status, err, report } = await warm(
    `http://${HOST}/1`,
    `https://${HOST}/1`,
    "http://other.example/1",
    `http://${HOST}/missing`,
  );
  expect(status).toBe(1);
  expect(err).toBe("proxima: 2 of 4 URLs failed\n");
  expect(report.results).toMatchObject({ miss: 3 });
  expect(report.failures.examples.map(({ url }) => url).toSorted()).toEqual([
    "http://other.example/1",
    `http://${HOST}/missing`,
  ]);
  expect(origin.count("/1")).toBe(2);
});

test("--cacert checks the edge's certificate: its CA and the name in the URL; without it neither matters", async () => {
  const own = await programs.write("own.pem", edge.ca);
  const foreign = await programs.write("foreign.pem", (await makeAuthority()).pem);
  expect((await warm(`https://${HOST}/1`, "--cacert", own)).status).toBe(0);
  const unsigned = await warm(`https://${HOST}/1`, "--cacert", foreign);
  expect([unsigned.status, unsigned.report.failures.examples[0]?.problem]).toEqual([
    1,
    expect.stringMatching(/^the edge's certificate is not signed by a CA of --cacert \([A-Z_]+\)$/),
  ]);
  const unnamed = await warm("https://other.example/1", "--cacert", own);
  expect(unnamed.report.failures.examples[0]?.problem).toBe(
    "the edge's certificate is not for other.example",
  );
  expect((await warm(`https://${HOST}/2`)).status).toBe(0);
});

test("what is wrong with sitemaps is told one by one, and what is right is warmed", async () => {
  const deep = (n: number) => `/deep-${n}-sitemap.xml`;
  origin.answer((request) => {
    const { pathname } = new URL(request.url);
    const level = Number(/^\/deep-(\d)/.exec(pathname)?.[1] ?? 0);
    if (level > 0) return new Response(index(deep(level + 1)), { headers: STORED });
    switch (pathname) {
      case "/sitemap.xml":
        return new Response(
          index(
            "/sitemap.xml",
            "/good.xml",
            "/missing",
            "/page",
            "/laughs",
            "/list",
            "/moved",
            "/loop",
            deep(1),
          ),
          { headers: STORED },
        );
      case "/good.xml":
        return new Response(
          `<urlset><url><loc>https://${HOST}/1</loc></url><url><loc>/2</loc></url><url/></urlset>`,
          { headers: STORED },
        );
      case "/page":
        return new Response("<!doctype html><h1>Welcome</h1>", { headers: STORED });
      case "/laughs":
        return new Response(
          `<!DOCTYPE urlset [<!ENTITY a "https://${HOST}/">]><urlset><url><loc>&a;</loc></url></urlset>`,
          { headers: STORED },
        );
      case "/list":
        return text(`https://${HOST}/3\n# no more\n`, STORED);
      case "/moved":
        return new Response(null, { status: 301, headers: { ...STORED, location: "/moved-to" } });
      case "/moved-to":
        return new Response(urlset("/4"), { headers: STORED });
      case "/loop":
        return new Response(null, { status: 302, headers: { ...STORED, location: "/loop" } });
      default:
        return shop(request);
    }
  });
  const { status, err, report } = await warm("--sitemap", `https://${HOST}/sitemap.xml`);
  expect(status).toBe(1);
  expect(err).toBe("proxima: 7 sitemaps, or addresses in them, are no good\n");
  expect(report).toMatchObject({ urls: 3, answered: 3, sitemaps: 7, failures: { urls: 0, sitemaps: 7 } });
  const at = (path: string, problem: string) => ({
    url: path === "/2" ? path : `https://${HOST}${path}`,
    problem,
  });
  expect(report.failures.examples).toEqual([
    at("/2", "in a sitemap: is not an absolute URL; write http(s)://host/path"),
    at("/good.xml", "sitemap: 1 of its <url> elements name no <loc>"),
    at("/missing", "sitemap: was answered with 404"),
    at("/page", "sitemap: is an HTML page, not a sitemap"),
    at(
      "/laughs",
      "sitemap: has a document type (<!DOCTYPE ...>), which a sitemap does not need and may not have",
    ),
  ]);
  // Four levels are read; the fifth is not even asked for.
  expect([1, 2, 3, 4, 5].map((n) => origin.count(deep(n)))).toEqual([1, 1, 1, 0, 0]);
});

test("a person sees counts and words", async () => {
  const list = await programs.write("urls.txt", `https://${HOST}/1\nhttps://${HOST}/private\n`);
  const { status, out, err } = await programs.run(["warm", ...addresses(), list]);
  expect([status, err]).toEqual([0, ""]);
  expect(out).toMatch(/^2 URLs in \d+\.\d s, /);
  expect(out).toContain("  MISS        1  filled now\n");
  expect(out).toContain(
    `  BYPASS      1  not stored\n    response-private 1  such as https://${HOST}/private\n`,
  );
});
