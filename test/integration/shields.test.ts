/** An edge with a shield before an origin, in one process: what each of the three sees, and what a viewer is told. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import type { ConfigInput } from "../../src/config/types.ts";
import { Fields } from "../../src/http/fields.ts";
import { signTier, tierKey } from "../../src/upstream/shield/tier-field.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { startOrigin, text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";

const { stops, app } = stage();
const SECRET = "a secret of more than thirty-two characters";

/** A port that nothing listens on just now. */
function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}

function secretFile(secret = SECRET): { file: string } {
  const folder = mkdtempSync(join(tmpdir(), "proxima-shield-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "secret");
  writeFileSync(file, `${secret}\n`);
  return { file };
}

interface NodeOptions extends TestEdgeOptions {
  readonly secret?: string;
}

async function node(
  options: NodeOptions,
  name: string,
  tiers: object,
  site: object,
  port = 0,
): Promise<TestEdge> {
  const { secret, ...rest } = options;
  const edge = await startTestEdge({
    ...rest,
    site: { ...options.site, ...site },
    config: {
      name,
      tiers: { secret: secretFile(secret), ...tiers } as ConfigInput["tiers"] & object,
      ...(port === 0 ? {} : { listen: { http: `127.0.0.1:${port}`, control: "127.0.0.1:0" } }),
      ...options.config,
    },
  });
  stops.push(() => edge.stop());
  // Viewers ask each of them for the same site.
  const { get } = edge;
  return Object.assign(edge, {
    get: (path: string, headers = {}, init = {}) => get(path, { host: "site.example", ...headers }, init),
  });
}

const shieldOf = (options: NodeOptions, name = "fra") => node(options, name, { accept: true }, {});

/** An edge that asks these shields, by name and URL, in this order. */
function edgeOf(options: NodeOptions, shields: Record<string, string>, name = "edge"): Promise<TestEdge> {
  const places = Object.entries(shields).map(([shield, url]) => [shield, { urls: [url] }]);
  return node(options, name, { shields: Object.fromEntries(places) }, { shields: Object.keys(shields) });
}

/** Purges as an operator would; returns how many objects went. */
async function purge(edge: TestEdge, what: { tag?: string; mode?: "soft" } = {}): Promise<number> {
  const { tag, mode = "hard" } = what;
  const scope = tag === undefined ? ("everything" as const) : ("tag" as const);
  const targets = tag === undefined ? [] : [tag];
  const { entry } = edge.log.append({ site: "test", scope, targets, mode, acceptedMs: Date.now() }, null);
  const { applied, counted } = edge.edge.purge(entry);
  await applied;
  return await counted;
}

describe("a miss", () => {
  test("goes through the shield, and Cache-Status shows both tiers; a hit says nothing of the shield", async () => {
    const origin = app(() => text("body", { "cache-control": "max-age=60" }));
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const other = await edgeOf({ origin: origin.url }, { fra: shield.url }, "other");
    const miss = await edge.get("/a");
    expect(miss.body).toBe("body");
    expect(miss.headers.get("cache-status")).toMatch(
      /^fra; fwd=uri-miss; fwd-status=200; ttl=\d+; stored; detail=not-stored, edge; fwd=uri-miss; fwd-status=200; ttl=\d+; stored; detail=not-stored$/,
    );
    expect(miss.headers.get("via")).toBe("1.1 fra, 1.1 edge");
    expect((await edge.get("/a")).headers.get("cache-status")).toMatch(/^edge; hit; ttl=\d+; detail=fresh$/);
    const second = await other.get("/a");
    expect(second.headers.get("cache-status")).toMatch(
      /^fra; hit; ttl=\d+; detail=fresh, other; fwd=uri-miss; fwd-status=200/,
    );
    expect(origin.count()).toBe(1);
    expect(second.headers.has("x-proxima-tier")).toBe(false);
    expect(edge.edge.stats().shields).toEqual({ requests: 1, passedOver: 0 });
    expect(edge.edge.stats().origin.requests).toBe(0);
  });

  test("of many viewers of many edges at once is one request to the origin", async () => {
    const origin = app(async () => {
      await Bun.sleep(100);
      return text("body", { "cache-control": "max-age=60" });
    });
    const shield = await shieldOf({ origin: origin.url });
    const edges = await Promise.all(
      ["one", "two", "three"].map((name) => edgeOf({ origin: origin.url }, { fra: shield.url }, name)),
    );
    const answers = await Promise.all(
      edges.flatMap((edge) => Array.from({ length: 10 }, () => edge.get("/a"))),
    );
    expect(answers.map(({ body }) => body)).toEqual(answers.map(() => "body"));
    expect(origin.count()).toBe(1);
  });

  test("has an Age and a lifetime that count the time in both tiers", async () => {
    const clock = new ManualClock();
    const origin = startOrigin(() => text("body", { "cache-control": "max-age=100", age: "10" }), clock);
    stops.push(() => origin.stop());
    const behavior = { browserTtlSeconds: 5 };
    const shield = await shieldOf({ origin: origin.url, clock, behavior });
    const early = await edgeOf({ origin: origin.url, clock, behavior }, { fra: shield.url });
    const late = await edgeOf({ origin: origin.url, clock, behavior }, { fra: shield.url }, "late");
    const told = async (edge: TestEdge) => {
      const { headers, cache } = await edge.get("/a");
      return [cache, headers.get("age"), /ttl=(-?\d+)[^,]*$/.exec(headers.get("cache-status") ?? "")?.[1]];
    };
    expect(await told(early)).toEqual(["MISS", "10", "90"]);
    clock.advance(20_000);
    expect(await told(late)).toEqual(["MISS", "30", "70"]);
    clock.advance(30_000);
    expect(await told(late)).toEqual(["HIT", "60", "40"]);
    expect(await told(early)).toEqual(["HIT", "60", "40"]);
    expect(origin.count()).toBe(1);
    clock.advance(41_000);
    await told(late);
    expect(origin.count()).toBe(2);
  });

  test("has the operator's lifetime once, not once for each tier", async () => {
    const clock = new ManualClock();
    const origin = startOrigin(() => text("body"), clock);
    stops.push(() => origin.stop());
    const behavior = { ttlSeconds: { default: 100 } };
    const shield = await shieldOf({ origin: origin.url, clock, behavior });
    const edge = await edgeOf({ origin: origin.url, clock, behavior }, { fra: shield.url });
    await shield.get("/a");
    clock.advance(80_000);
    const answer = await edge.get("/a");
    expect(answer.headers.get("age")).toBe("80");
    clock.advance(21_000);
    await edge.get("/a");
    expect(origin.count()).toBe(2);
  });
});

describe("the origin", () => {
  test("is asked through a shield for the same as without one", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const options: NodeOptions = {
      origin: origin.url,
      behaviors: [
        {
          path: "/*",
          rewrite: [{ match: "/old/*", to: "/new/$1" }],
          requestHeaders: { set: { "x-set": "1" }, append: { "x-append": "a" } },
          cacheKey: { query: { include: ["page", "size"] }, headers: ["x-kind"] },
          forward: { headers: { exclude: ["x-secret"] } },
        },
      ],
    };
    const shield = await shieldOf(options);
    const shielded = await edgeOf(options, { fra: shield.url });
    const direct = await edgeOf({ ...options, config: { tiers: undefined } as never }, {}, "edge");
    const asked = {
      "x-kind": "k",
      "x-secret": "s",
      "x-forwarded-for": "6.6.6.6",
      "user-agent": "ua",
      cookie: "c=1",
    };
    await direct.get("/old/a?size=2&evil=1&page=1", asked);
    await shielded.get("/old/a?size=2&evil=1&page=1", asked);
    const [plain, through] = origin.seen;
    expect(through?.target).toBe("/new/a?size=2&page=1");
    expect(through?.target).toBe(plain?.target as string);
    const fieldsOf = (headers: Headers | undefined) =>
      Object.fromEntries([...(headers ?? [])].filter(([name]) => name !== "via" && name !== "cdn-loop"));
    expect(fieldsOf(through?.headers)).toEqual(fieldsOf(plain?.headers));
    expect(through?.headers.get("x-append")).toBe("a");
    expect(through?.headers.get("x-forwarded-for")).toBe("127.0.0.1");
    expect(through?.headers.has("x-proxima-tier")).toBe(false);
    expect(through?.headers.get("cdn-loop")?.split(", ").length).toBe(2);
  });

  test("that fails the shield is not asked by the edge as well", async () => {
    const origin = await rawOrigin();
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const answer = await edge.get("/a");
    expect(answer.status).toBe(502);
    expect(answer.headers.get("proxy-status")).toContain("edge; error=");
    expect(edge.edge.stats().shields).toEqual({ requests: 1, passedOver: 0 });
    expect(edge.edge.stats().origin.requests).toBe(0);
  });

  test("says 500 once, and viewers get what it said", async () => {
    const origin = app(() => text("broken", {}, 500));
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const { status, body } = await edge.get("/a");
    expect([status, body, origin.count()]).toEqual([500, "broken", 1]);
  });
});

/** An origin that takes connections and closes them. */
async function rawOrigin(): Promise<{ url: string }> {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (socket) => void socket.terminate() },
  });
  stops.push(() => server.stop(true));
  return { url: `http://127.0.0.1:${server.port}` };
}

describe("what is for viewers", () => {
  test("is done once: rules, lifetime of browsers, error pages, coding", async () => {
    const page = "<p>words</p>".repeat(200);
    const clock = new ManualClock();
    const origin = startOrigin((request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/sorry.html") return text("sorry", { "cache-control": "max-age=60" });
      if (pathname === "/missing") return text("none", {}, 404);
      return text(page, {
        "cache-control": "max-age=60",
        "content-type": "text/html",
        "surrogate-key": "page",
        "cdn-cache-control": "max-age=100",
        etag: '"v1"',
      });
    }, clock);
    stops.push(() => origin.stop());
    const options: NodeOptions = {
      origin: origin.url,
      clock,
      behavior: {
        compress: true,
        browserTtlSeconds: 5,
        responseHeaders: { append: { "x-rule": "a" } },
      },
      site: { errorPages: { "404": { path: "/sorry.html" } }, redirects: [{ path: "/moved", to: "/page" }] },
    };
    const shield = await shieldOf(options);
    const edge = await edgeOf(options, { fra: shield.url });
    const answer = await edge.get("/page", { "accept-encoding": "br" });
    expect(answer.headers.get("x-rule")).toBe("a");
    expect(answer.headers.get("cache-control")).toBe("max-age=5");
    expect(answer.headers.get("content-encoding")).toBe("br");
    expect(answer.headers.get("vary")).toBe("Accept-Encoding");
    expect(answer.headers.has("surrogate-key")).toBe(false);
    expect(/ttl=(\d+)[^,]*$/.exec(answer.headers.get("cache-status") ?? "")?.[1]).toBe("100");
    const plain = await edge.get("/page", { "accept-encoding": "identity" });
    expect([plain.body, plain.headers.get("etag"), plain.cache]).toEqual([page, '"v1"', "HIT"]);
    const missing = await edge.get("/missing");
    expect([missing.status, missing.body]).toEqual([404, "sorry"]);
    expect((await edge.get("/moved")).status).toBe(301);
    expect(origin.seen.map(({ target }) => target)).toEqual(["/page", "/missing", "/sorry.html"]);
    // The shield's own viewers get theirs, also in the second in which an edge got its own.
    const late = await edgeOf(options, { fra: shield.url }, "late");
    expect((await late.get("/page", { "accept-encoding": "identity" })).body).toBe(page);
    const beside = await shield.get("/page", { "accept-encoding": "identity" });
    expect([beside.cache, beside.headers.get("x-rule"), beside.headers.has("surrogate-key")]).toEqual([
      "HIT",
      "a",
      false,
    ]);
    const own = await shield.get("/page", { "accept-encoding": "br" });
    expect([own.headers.get("x-rule"), own.headers.get("content-encoding")]).toEqual(["a", "br"]);
    expect(own.headers.has("surrogate-key")).toBe(false);
  });

  test("is left as the origin has coded it, with its strong ETag", async () => {
    const page = "<p>words</p>".repeat(200);
    const origin = app(
      () =>
        new Response(Bun.gzipSync(page), {
          headers: {
            "cache-control": "max-age=60",
            "content-type": "text/html",
            "content-encoding": "gzip",
            etag: '"gz"',
          },
        }),
    );
    const options: NodeOptions = { origin: origin.url, behavior: { compress: true } };
    const shield = await shieldOf(options);
    for (const name of ["one", "two"]) {
      const edge = await edgeOf(options, { fra: shield.url }, name);
      const { headers, bytes } = await edge.get("/page", { "accept-encoding": "gzip" });
      expect([headers.get("content-encoding"), headers.get("etag")]).toEqual(["gzip", '"gz"']);
      expect(new TextDecoder().decode(Bun.gunzipSync(Uint8Array.from(bytes)))).toBe(page);
    }
    expect(origin.count()).toBe(1);
  });

  test("is the edge's matter, also where the shield has another config", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const shield = await shieldOf({
      origin: origin.url,
      behavior: { viewerProtocol: "redirect-to-https" },
      site: { redirects: [{ path: "/moved", to: "/elsewhere" }] },
    });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    for (const path of ["/a", "/moved"]) {
      const answer = await edge.get(path);
      expect([answer.status, answer.headers.get("via")]).toEqual([200, "1.1 fra, 1.1 edge"]);
    }
  });

  test("a tag that the origin gave is known to the edge", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60", "surrogate-key": "page" }));
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    await edge.get("/a");
    for (const one of [shield, edge]) expect(await purge(one, { tag: "page" })).toBe(1);
    await edge.get("/a");
    expect(origin.count()).toBe(2);
  });
});

describe("revalidation", () => {
  test("of the edge is answered by the shield while it is fresh there", async () => {
    let version = 1;
    const clock = new ManualClock();
    const origin = startOrigin(
      () =>
        text(`v${version}`, {
          "cache-control": "max-age=10",
          "cdn-cache-control": "max-age=10",
          etag: `"${version}"`,
        }),
      clock,
    );
    stops.push(() => origin.stop());
    const shield = await shieldOf({ origin: origin.url, clock });
    const edge = await edgeOf({ origin: origin.url, clock }, { fra: shield.url });
    await edge.get("/a");
    clock.advance(11_000);
    await shield.get("/a");
    version = 2;
    const answer = await edge.get("/a");
    expect([answer.cache, answer.body, answer.headers.get("age")]).toEqual(["REVALIDATED", "v1", "0"]);
    expect(answer.headers.get("cache-status")).toMatch(/^fra; hit.*, edge; fwd=stale; fwd-status=304/);
    expect(origin.count()).toBe(2);
    clock.advance(11_000);
    expect((await edge.get("/a")).body).toBe("v2");
  });

  test("what a shield serves although it was purged softly is not fresh at the edge", async () => {
    let version = 1;
    const origin = app(async () => {
      if (version === 2) await Bun.sleep(50);
      return text(`v${version}`, {
        "cache-control": "max-age=600, stale-while-revalidate=600",
        etag: `"${version}"`,
      });
    });
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const newer = await edgeOf({ origin: origin.url }, { fra: shield.url }, "newer");
    await edge.get("/a");
    version = 2;
    await purge(shield, { mode: "soft" });
    await purge(edge, { mode: "soft" });
    // One holds it, the other does not: both get the old one while the shield asks, and ask again at once.
    for (const one of [edge, newer]) {
      const first = await one.get("/a");
      expect(first.headers.get("cache-status")).not.toContain(
        `${one === edge ? "edge" : "newer"}; hit; ttl=5`,
      );
    }
    await Bun.sleep(120);
    for (const one of [edge, newer]) {
      await one.get("/a");
      await Bun.sleep(30);
      expect((await one.get("/a")).body).toBe("v2");
    }
  });
});

describe("methods, conditions and ranges", () => {
  test("an unsafe request invalidates shield and edge on its way", async () => {
    let body = "old";
    const origin = app(async (request) => {
      if (request.method === "POST") body = await request.text();
      return text(body, { "cache-control": "max-age=600" });
    });
    const options: NodeOptions = { origin: origin.url, behavior: { allowedMethods: "all" } };
    const shield = await shieldOf(options);
    const edge = await edgeOf(options, { fra: shield.url });
    await edge.get("/a");
    const posted = await edge.get("/a", {}, { method: "POST", body: "new" });
    expect([posted.status, posted.body]).toEqual([200, "new"]);
    expect((await edge.get("/a")).body).toBe("new");
    expect((await shield.get("/a")).body).toBe("new");
    expect(origin.seen.map(({ method }) => method)).toEqual(["GET", "POST", "GET"]);
    expect(edge.edge.stats().origin.requests).toBe(0);
  });

  test("an unsafe request that a dead shield can not have got goes to the origin, one that it may have got does not", async () => {
    const origin = app(() => text("done"));
    const options: NodeOptions = { origin: origin.url, behavior: { allowedMethods: "all" } };
    const gone = await edgeOf(options, { fra: "http://127.0.0.1:1" });
    expect((await gone.get("/a", {}, { method: "POST", body: "x" })).body).toBe("done");
    // It takes the request, and dies.
    const cut = await edgeOf(options, { fra: (await rawOrigin()).url }, "cut");
    expect((await cut.get("/a", {}, { method: "POST", body: "x" })).status).toBe(502);
    expect(origin.count()).toBe(1);
  });

  test("an unsafe request that something else than a shield has answered is not sent again", async () => {
    const origin = app(() => text("done"));
    const options: NodeOptions = { origin: origin.url, behavior: { allowedMethods: "all" } };
    const closed = await node(options, "closed", { accept: false }, {});
    const edge = await edgeOf(options, { fra: closed.url });
    expect((await edge.get("/a", {}, { method: "DELETE" })).status).toBe(502);
    expect(origin.count()).toBe(1);
    expect((await edge.get("/a")).status).toBe(200);
  });

  test("HEAD, conditions and ranges are answered as without a shield", async () => {
    const body = "0123456789".repeat(100);
    const origin = app(() => text(body, { "cache-control": "max-age=600", etag: '"v"' }));
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const head = await edge.get("/h", {}, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), head.bytes.length]).toEqual([200, "1000", 0]);
    expect(origin.seen.map(({ method }) => method)).toEqual(["HEAD"]);
    const part = await edge.get("/r", { range: "bytes=10-14" });
    expect([part.status, part.body, part.headers.get("content-range")]).toEqual([
      206,
      "01234",
      "bytes 10-14/1000",
    ]);
    expect((await edge.get("/r", { "if-none-match": '"v"' })).status).toBe(304);
    expect((await edge.get("/c", { "if-none-match": '"v"' })).status).toBe(304);
    expect((await shield.get("/r")).body).toBe(body);
    expect((await edge.get("/r", { "if-match": '"v"' })).status).toBe(200);
  });

  test("a large object is fetched in parts, from the disk of the shield", async () => {
    const bytes = Buffer.alloc(12 * 1024 * 1024);
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(i, i);
    let sent = 0;
    const origin = app((request) => {
      const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
      const headers = { "cache-control": "max-age=600", etag: '"big"', "content-type": "video/mp4" };
      if (match === null) {
        sent += bytes.length;
        return new Response(bytes, { headers });
      }
      const from = Number(match[1]);
      const to = match[2] === "" ? bytes.length - 1 : Math.min(Number(match[2]), bytes.length - 1);
      sent += to + 1 - from;
      return new Response(bytes.subarray(from, to + 1), {
        status: 206,
        headers: { ...headers, "content-range": `bytes ${from}-${to}/${bytes.length}` },
      });
    });
    const options: NodeOptions = { origin: origin.url, config: { cache: { disk: { size: "1GiB" } } } };
    const shield = await shieldOf(options);
    const edge = await edgeOf(options, { fra: shield.url });
    const other = await edgeOf(options, { fra: shield.url }, "other");
    for (const one of [edge, other]) {
      const part = await one.get("/v", { range: "bytes=9000001-9000100" });
      expect(part.status).toBe(206);
      expect(Buffer.compare(part.bytes, bytes.subarray(9_000_001, 9_000_101))).toBe(0);
    }
    const whole = await edge.get("/v");
    expect(whole.status).toBe(200);
    expect(Buffer.compare(whole.bytes, bytes)).toBe(0);
    const again = await other.get("/v", { range: "bytes=-100" });
    expect(Buffer.compare(again.bytes, bytes.subarray(-100))).toBe(0);
    // Each byte left the origin once, but for the bounds of blocks.
    expect(sent).toBeLessThan(bytes.length * 1.1);
    expect(edge.edge.stats().origin.requests + other.edge.stats().origin.requests).toBe(0);
  }, 20_000);
});

describe("a shield that can not answer", () => {
  test("is passed over for the next one, and then for the origin", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const second = await shieldOf({ origin: origin.url }, "ams");
    const edge = await edgeOf({ origin: origin.url }, { fra: "http://127.0.0.1:1", ams: second.url });
    expect((await edge.get("/a")).headers.get("via")).toBe("1.1 ams, 1.1 edge");
    await second.edge.stop();
    for (let i = 0; i < 5; i++) expect((await edge.get(`/b${i}`)).headers.get("via")).toBe("1.1 edge");
    expect(edge.messages.join("\n")).toMatch(
      /shield fra at http:\/\/127\.0\.0\.1:1 is down, others are asked: /,
    );
    expect(edge.edge.stats().shields.passedOver).toBe(5);
  });

  test("has another secret, or accepts nobody: the origin is asked, and the log says why", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const foreign = await shieldOf({
      origin: origin.url,
      secret: "quite another secret, of enough characters",
    });
    const closed = await node({ origin: origin.url }, "closed", { accept: false }, {});
    for (const [shield, reason] of [
      [foreign, "shield fra refused a request (signature)"],
      [closed, "shield fra answered 200, and not as a shield: it may not accept edges"],
    ] as const) {
      const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
      for (let i = 0; i < 4; i++) {
        const answer = await edge.get(`/${i}`);
        expect([answer.status, answer.headers.get("via")]).toEqual([200, "1.1 edge"]);
      }
      expect(edge.messages.join("\n")).toContain(reason);
      expect([...edge.messages, ...shield.messages].join("\n")).not.toContain("another secret");
    }
  });

  test("takes the former secret while the fleet changes it", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const formerSecret = secretFile();
    const secret = "the newer secret, which has enough characters";
    const shield = await node({ origin: origin.url, secret }, "fra", { accept: true, formerSecret }, {});
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    expect((await edge.get("/a")).headers.get("via")).toBe("1.1 fra, 1.1 edge");
  });

  test("whose request is too large for it is not down for others", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const shield = await shieldOf({
      origin: origin.url,
      config: { limits: { requestHeaderBytes: "2KiB" } },
    });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    for (let i = 0; i < 5; i++) {
      const { status, headers } = await edge.get(`/big${i}`, { "x-large": "x".repeat(3_000) });
      expect([status, headers.get("via")]).toEqual([200, "1.1 edge"]);
    }
    expect((await edge.get("/a")).headers.get("via")).toBe("1.1 fra, 1.1 edge");
    expect(edge.messages).toEqual([]);
  });
});

describe("who is no edge of ours", () => {
  test("is refused when he says that he is", async () => {
    const clock = new ManualClock();
    const origin = startOrigin(() => text("x", { "surrogate-key": "k", "cache-control": "no-store" }), clock);
    stops.push(() => origin.stop());
    const shield = await shieldOf({ origin: origin.url, clock });
    const signed = (
      claim: { authority?: string; target?: string; method?: string; fields?: Record<string, string> } = {},
    ) => {
      const fields = { "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http", ...claim.fields };
      const request = {
        method: claim.method ?? "GET",
        authority: claim.authority ?? "site.example",
        target: claim.target ?? "/a",
        fields: Fields.from(Object.entries(fields)),
      };
      return {
        ...fields,
        "x-proxima-tier": signTier(tierKey(SECRET), request, {
          client: "192.0.2.1",
          asked: null,
          nowMs: clock.now(),
        }),
      };
    };
    const right = await shield.get("/a", signed());
    expect([right.status, right.headers.get("surrogate-key"), right.headers.get("x-proxima-tier")]).toEqual([
      200,
      "k",
      "1",
    ]);
    const tier = async (path: string, headers: Record<string, string>, init: RequestInit = {}) => {
      const { status, headers: got } = await shield.get(path, headers, init);
      return [status, got.get("x-proxima-tier")];
    };
    const refused = [403, "1;refused=signature"];
    expect(await tier("/b", signed())).toEqual(refused);
    expect(await tier("/a?x", signed())).toEqual(refused);
    expect(await tier("/a", signed({ authority: "other.example" }))).toEqual(refused);
    expect(await tier("/a", signed(), { method: "DELETE" })).toEqual(refused);
    expect(await tier("/a", { ...signed(), "x-forwarded-for": "6.6.6.6" })).toEqual(refused);
    expect(await tier("/a", { ...signed(), "x-forwarded-proto": "https" })).toEqual(refused);
    expect(await tier("/a", { ...signed(), forwarded: "for=6.6.6.6" })).toEqual(refused);
    expect(await tier("/a", { "x-proxima-tier": "1;fresh=9" })).toEqual(refused);
    expect(await tier("/a", { "x-proxima-tier": "2;t=1" })).toEqual([403, "1;refused=version"]);
    const old = signed();
    clock.advance(59_000);
    expect((await tier("/a", old))[0]).toBe(200);
    clock.advance(2_000);
    expect(await tier("/a", old)).toEqual([403, "1;refused=time"]);
    // Nothing of what was refused reached the origin.
    expect(origin.seen.map(({ headers }) => headers.get("x-forwarded-for"))).toEqual([
      "192.0.2.1",
      "192.0.2.1",
    ]);
  });

  test("does not get through an edge what only edges may say", async () => {
    const origin = app((_, { headers }) =>
      text("x", { "x-proxima-tier": "1;error=dns_error", seen: String(headers.has("x-proxima-tier")) }),
    );
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const answer = await edge.get("/a", { "x-proxima-tier": "1;fresh=9", x_proxima_tier: "1" });
    expect([answer.status, answer.headers.get("seen"), answer.headers.has("x-proxima-tier")]).toEqual([
      200,
      "false",
      false,
    ]);
    expect((await shield.get("/a")).headers.has("x-proxima-tier")).toBe(false);
  });
});

describe("loops", () => {
  test("through an origin that leads back to the shield, the edge or another edge are refused with 508", async () => {
    for (const back of ["shield", "edge", "other"] as const) {
      const places = { shield: "", edge: "", other: "" };
      const origin = app(async (request) => {
        const { pathname } = new URL(request.url);
        const headers = new Headers(request.headers);
        headers.delete("accept-encoding");
        return await fetch(places[back] + pathname, { headers, redirect: "manual" });
      });
      const shield = await shieldOf({ origin: origin.url });
      const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
      const other = await edgeOf({ origin: origin.url }, { fra: shield.url }, "other");
      places.shield = shield.url;
      places.edge = edge.url;
      places.other = other.url;
      expect([back, (await edge.get("/a")).status]).toEqual([back, 508]);
      expect(origin.count()).toBeLessThan(5);
    }
  });

  test("a viewer who forges CDN-Loop takes no shield from others", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    await edge.get("/first");
    const id = origin.seen[0]?.headers.get("cdn-loop")?.split(", ")[1] ?? "";
    for (let i = 0; i < 5; i++)
      expect((await edge.get(`/f${i}`, { "cdn-loop": id })).headers.get("via")).toBe("1.1 edge");
    expect((await edge.get("/a")).headers.get("via")).toBe("1.1 fra, 1.1 edge");
  });

  test("two nodes that are shields to each other do not wait for one another; nor does one for itself", async () => {
    const origin = app(async () => {
      await Bun.sleep(50);
      return text("x", { "cache-control": "max-age=60" });
    });
    const ports = [freePort(), freePort(), freePort()];
    const url = (i: number) => `http://127.0.0.1:${ports[i]}`;
    const nodes = await Promise.all(
      [1, 0, 2].map((asks, i) =>
        node(
          { origin: origin.url, config: {} },
          `node${i}`,
          { accept: true, shields: { fra: { urls: [url(asks)] } } },
          { shields: ["fra"] },
          ports[i],
        ),
      ),
    );
    const startMs = performance.now();
    // Of so many, some begin at both at once.
    const paths = Array.from({ length: 40 }, (_, i) => `/${i}`);
    const answers = await Promise.all(paths.flatMap((path) => nodes.map((one) => one.get(path))));
    expect(answers.map(({ body }) => body)).toEqual(answers.map(() => "x"));
    expect(performance.now() - startMs).toBeLessThan(1_500);
  });

  test("a shield does not ask shields of its own for an edge", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=60" }));
    const last = await shieldOf({ origin: origin.url }, "last");
    const shields = { fra: { urls: [last.url] } };
    const middle = await node(
      { origin: origin.url },
      "middle",
      { accept: true, shields },
      { shields: ["fra"] },
    );
    const edge = await edgeOf({ origin: origin.url }, { fra: middle.url });
    expect((await edge.get("/a")).headers.get("via")).toBe("1.1 middle, 1.1 edge");
    expect((await middle.get("/b")).headers.get("via")).toBe("1.1 last, 1.1 middle");
  });
});

describe("a purge", () => {
  test("of the shield and then of the edge leaves nothing older to be served, whatever was under way", async () => {
    let version = 0;
    const origin = app(async () => {
      const now = version;
      // Answers take their time, so that purges come while they are under way.
      await Bun.sleep(Math.random() * 8);
      return text(String(now), { "cache-control": "max-age=600" });
    });
    const shield = await shieldOf({ origin: origin.url });
    const edges = await Promise.all(
      ["one", "two"].map((name) => edgeOf({ origin: origin.url }, { fra: shield.url }, name)),
    );
    let over = false;
    let purged = 0;
    const wrong: string[] = [];
    const viewers = edges.flatMap((edge) =>
      Array.from({ length: 4 }, async () => {
        while (!over) {
          const least = purged;
          const { body } = await edge.get("/a");
          if (Number(body) < least) wrong.push(`${body} after the purge of ${least}`);
        }
      }),
    );
    for (let i = 1; i <= 40; i++) {
      version = i;
      await purge(shield);
      // Viewers go on asking while an operator goes from node to node.
      await Bun.sleep(10);
      for (const edge of edges) await purge(edge);
      purged = i;
      await Bun.sleep(Math.random() * 20);
    }
    over = true;
    await Promise.all(viewers);
    expect(wrong).toEqual([]);
  });
});
