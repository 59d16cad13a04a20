/** explain says what would happen; then it is done, and has to happen. Asking changes nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import type { BehaviorInput } from "../../src/config/types.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { ask } from "../kit/raw-send.ts";

const clock = new ManualClock(Date.now());
const WEBSOCKET = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version": "13",
};
let origin: TestOrigin;
let edge: TestEdge;

beforeAll(async () => {
  origin = startOrigin((request, { target }) => {
    const [, kind = ""] = target.split("/");
    if (request.headers.has("upgrade")) return text("no", {}, 400);
    if (kind === "private") return text("x", { "cache-control": "private" });
    if (kind === "error") return text("x", {}, 500);
    if (kind === "vary") return text("x", { "cache-control": "max-age=60", vary: "x-a" });
    if (kind === "swr")
      return text("x", { "cache-control": "max-age=60, stale-while-revalidate=60", etag: '"a"' });
    if (kind === "default") return text("x");
    return text("x", { "cache-control": "max-age=60", etag: '"a"' });
  }, clock);
  const behaviors: BehaviorInput[] = [
    { path: "/nocache/*", cache: false },
    {
      path: "/rule/*",
      bypass: { cookies: ["session"], headers: ["x-preview"], queryParameters: ["preview"] },
    },
    { path: "/closed/*", viewerProtocol: "https-only" },
    { path: "/secure/*", viewerProtocol: "redirect-to-https" },
    { path: "/read/*", allowedMethods: "read" },
    { path: "/default/*", ttlSeconds: { default: 60 }, forward: { cookies: "all" } },
    {
      path: "/key/*",
      cacheKey: {
        query: { include: ["page"] },
        headers: ["x-country"],
        cookies: ["lang"],
        device: true,
        language: ["en", "de"],
      },
    },
    { path: "/*" },
  ];
  edge = await startTestEdge({
    origin: origin.url,
    clock,
    behaviors,
    site: { hosts: ["shop.example"], redirects: [{ path: "/old/*", to: "/new/$1", status: 302 }] },
  });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

interface Case {
  readonly path: string;
  readonly method?: string;
  readonly fields?: Record<string, string>;
  readonly host?: string;
  /** Requests before, in order. */
  readonly before?: readonly (readonly [string, Record<string, string>?])[];
  /** Moves the clock before, in seconds. */
  readonly later?: number;
  /** The cache result that is expected of both, and the reason. */
  readonly result: string;
  readonly reason: string;
  readonly status?: number;
}

const cases: Record<string, Case> = {
  "nothing stored": { path: "/a1", result: "miss", reason: "not-stored", status: 200 },
  "a hit": { path: "/a2", before: [["/a2"]], result: "hit", reason: "fresh" },
  "a hit by another way of writing it": {
    path: "/x/../%612",
    before: [["/a2"]],
    result: "hit",
    reason: "fresh",
  },
  "HEAD of what is stored": {
    path: "/a3",
    method: "HEAD",
    before: [["/a3"]],
    result: "hit",
    reason: "fresh",
  },
  "HEAD of what is not": { path: "/a4", method: "HEAD", result: "miss", reason: "not-stored" },
  "another variant": {
    path: "/vary/1",
    fields: { "X-A": "2" },
    before: [["/vary/1", { "X-A": "1" }]],
    result: "miss",
    reason: "vary-mismatch",
  },
  "the same variant": { path: "/vary/1", fields: { "X-A": "2" }, result: "hit", reason: "fresh" },
  "stale while it is refreshed": {
    path: "/swr/1",
    before: [["/swr/1"]],
    later: 70,
    result: "updating",
    reason: "stale-while-revalidate",
  },
  POST: { path: "/p", method: "POST", result: "bypass", reason: "request-method" },
  OPTIONS: { path: "/p", method: "OPTIONS", result: "bypass", reason: "request-method" },
  "a behaviour without cache": { path: "/nocache/x", result: "bypass", reason: "behavior-no-cache" },
  "a bypass cookie": {
    path: "/rule/x",
    fields: { Cookie: "session=1" },
    result: "bypass",
    reason: "behavior-bypass",
  },
  "a bypass header": {
    path: "/rule/x",
    fields: { "X-Preview": "1" },
    result: "bypass",
    reason: "behavior-bypass",
  },
  "a bypass parameter": { path: "/rule/x?%70review", result: "bypass", reason: "behavior-bypass" },
  "no bypass": {
    path: "/rule/x?previews",
    fields: { Cookie: "sessions=1" },
    result: "miss",
    reason: "not-stored",
  },
  Authorization: {
    path: "/a5",
    fields: { Authorization: "Basic eA==" },
    result: "bypass",
    reason: "request-authorization",
  },
  "If-Match": { path: "/a5", fields: { "If-Match": '"a"' }, result: "bypass", reason: "request-condition" },
  "a nominated field": {
    path: "/a5",
    fields: { "X-A": "1", Connection: "close, X-A" },
    result: "bypass",
    reason: "request-connection",
  },
  "a WebSocket": { path: "/ws", fields: WEBSOCKET, result: "bypass", reason: "request-upgrade" },
  "only if cached, and it is not": {
    path: "/a6",
    fields: { "Cache-Control": "only-if-cached" },
    result: "miss",
    reason: "only-if-cached",
    status: 504,
  },
  "only if cached, and it is": {
    path: "/a2",
    fields: { "Cache-Control": "only-if-cached" },
    before: [["/a2"]],
    result: "hit",
    reason: "fresh",
  },
  "cookies that the origin sees": {
    path: "/default/x",
    fields: { Cookie: "a=1" },
    before: [["/default/x"]],
    result: "bypass",
    reason: "request-cookie",
  },
  "the same without cookies": {
    path: "/default/x",
    before: [["/default/x"]],
    result: "hit",
    reason: "fresh",
  },
  "what was private a moment ago": {
    path: "/private/x",
    before: [["/private/x"]],
    result: "bypass",
    reason: "response-private",
  },
  "a redirect": { path: "/old/x", result: "bypass", reason: "answered-at-edge", status: 302 },
  "a redirect to https": { path: "/secure/x", result: "bypass", reason: "answered-at-edge", status: 301 },
  "https only": { path: "/closed/x", result: "bypass", reason: "answered-at-edge", status: 403 },
  "a method that is not allowed": {
    path: "/read/x",
    method: "DELETE",
    result: "bypass",
    reason: "answered-at-edge",
    status: 405,
  },
  "a doubled slash before a protected path": {
    path: "//nocache/x",
    result: "bypass",
    reason: "behavior-no-cache",
  },
  "every ingredient, the same": {
    path: "/key/x?page=1&b=2",
    fields: { "X-Country": "de", Cookie: "lang=de", "Accept-Language": "de", "User-Agent": "iPhone" },
    before: [
      [
        "/key/x?page=1",
        { "X-Country": "de", Cookie: "lang=de; x=1", "Accept-Language": "de-AT", "User-Agent": "iPod" },
      ],
    ],
    result: "hit",
    reason: "fresh",
  },
  "every ingredient, one of them another": {
    path: "/key/x?page=1",
    fields: { "X-Country": "de", Cookie: "lang=fr", "Accept-Language": "de", "User-Agent": "iPhone" },
    result: "miss",
    reason: "vary-mismatch",
  },
};

for (const [
  name,
  { path, method = "GET", fields = {}, before = [], later = 0, result, reason, status },
] of Object.entries(cases)) {
  test(`${name}: ${result}, ${reason}`, async () => {
    for (const [earlier, given = {}] of before) await edge.get(earlier, { Host: "shop.example", ...given });
    clock.advance(later * 1_000);
    const counts = () => {
      const { requests, results, store } = edge.edge.stats();
      return JSON.stringify([requests, results, store, origin.count()]);
    };
    const unchanged = counts();
    const url = `http://shop.example${path}`;
    const explained = await edge.edge.explain(url, { method, headers: fields });
    expect(JSON.stringify(await edge.edge.explain(url, { method, headers: fields }))).toBe(
      JSON.stringify(explained),
    );
    expect(counts()).toBe(unchanged);
    const wanted: [string, string][] = [["Host", "shop.example"], ...Object.entries(fields)];
    const answer = await ask({ port: edge.port }, `${method} ${path}`, wanted);
    const happened = {
      result: answer.header("x-cache")?.toLowerCase(),
      reason: /detail=([a-z-]+)/.exec(answer.header("cache-status") ?? "")?.[1],
    };
    expect(explained.would).toEqual({ result, reason });
    // The origin of this test refuses WebSockets, which explain can not know.
    expect(happened).toEqual({ result, reason: reason === "request-upgrade" ? "origin-error" : reason });
    if (status !== undefined) expect(answer.status).toBe(status);
    if (explained.status !== undefined) expect(answer.status).toBe(explained.status as number);
  });
}

test("a host that no site has, and a URL that is none, are explained too", async () => {
  expect((await edge.edge.explain("http://other.example/", {})).would).toEqual({
    result: "bypass",
    reason: "answered-at-edge",
  });
  for (const url of [
    "",
    "shop.example/x",
    "ftp://shop.example/",
    "http://",
    "http://shop.example/%00",
    `http://shop.example/${"a".repeat(20_000)}`,
  ]) {
    expect([url.slice(0, 30), (await edge.edge.explain(url, {})).would.result]).toEqual([
      url.slice(0, 30),
      "bypass",
    ]);
  }
});

test("what is past its freshness is told with the arithmetic, and is then revalidated", async () => {
  await edge.get("/old-1", { Host: "shop.example" });
  clock.advance(61_000);
  const explained = await edge.edge.explain("http://shop.example/old-1", {});
  expect(explained.would).toEqual({ result: "expired", reason: "past-freshness" });
  const step = explained.steps.find(({ step }) => step === "freshness");
  expect(step?.details).toMatchObject({
    ageSeconds: 61,
    lifetimeSeconds: 60,
    freshForSeconds: -1,
    source: "max-age",
  });
  expect((await edge.get("/old-1", { Host: "shop.example" })).cache).toBe("EXPIRED");
});

test("every step names what it decided: site, behaviour, key with each ingredient", async () => {
  const { steps } = await edge.edge.explain("http://shop.example/key/x?page=1&b=2", {
    headers: { "X-Country": "de", Cookie: "lang=de" },
  });
  expect(steps.map(({ step }) => step)).toEqual(["request", "site", "behavior", "key", "stored"]);
  const key = steps.find(({ step }) => step === "key");
  expect(key?.outcome).toBe("test http://shop.example/key/x?page=1");
  expect(key?.details).toMatchObject({ query: "page=1", queryLeftOut: true });
  expect(JSON.stringify(key?.details)).toContain('{"kind":"header","name":"x-country","value":"de"}');
});
