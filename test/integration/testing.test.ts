/** `proxima-cdn/testing` as a test of an application uses it, on Node and on Bun. */
import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cdn, type CdnOptions, startCdn } from "proxima-cdn/testing";
import type { CacheReason } from "../../src/edge/message.ts";
import { REASONS } from "../../src/testing/reasons.js";
import { until } from "../kit/fleet.ts";
import { isRunning } from "../kit/processes.ts";
import { VendorClients } from "../kit/vendor-clients.ts";

/** A test that starts processes, on a busy machine, in milliseconds. */
const PROCESSES_MS_MAX = 60_000;
const EXAMPLE = join(import.meta.dir, "../../examples/testing/cdn.test.mjs");

let cdn: Cdn;
let folder: string;
const bodies: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "proxima-testing-kit-"));
  cdn = await startCdn({
    pops: ["fra", "nyc"],
    now: "2030-01-01T00:00:00Z",
    config: {
      sites: {
        shop: {
          hosts: ["*.shop.example", "shop.example"],
          origins: { app: { url: "https://app.internal.example" } },
          behaviors: [
            { path: "/private/*", cache: false, allowedMethods: "all" },
            { path: "/*", cacheKey: { query: { include: ["page"] } } },
          ],
        },
      },
    },
    origin: async (request, response) => {
      const path = request.url ?? "";
      if (path === "/broken") throw new Error("the origin's own fault");
      if (request.method === "POST") {
        let body = "";
        for await (const piece of request) body += piece;
        bodies.push(body);
      }
      const fields: Record<string, string> = {
        "/no-store": "no-store",
        "/silent": "",
        "/moved": "max-age=60",
      };
      const lifetime = fields[path] ?? "max-age=60";
      if (lifetime !== "") response.setHeader("cache-control", lifetime);
      if (path === "/vary") response.setHeader("vary", "accept-language");
      if (path === "/session") response.setHeader("set-cookie", "sid=1");
      if (path === "/moved") response.writeHead(302, { location: "/elsewhere" });
      response.end(`${request.headers["x-forwarded-for"]} ${path}`);
    },
  });
}, PROCESSES_MS_MAX);

afterAll(async () => {
  await cdn.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  "the example passes on Node and on Bun",
  async () => {
    const node = Bun.which("node");
    if (node === null) throw new Error("Node is not on PATH");
    const runs = [
      [node, "--test", EXAMPLE],
      [process.execPath, "test", "--timeout", String(PROCESSES_MS_MAX), EXAMPLE],
    ].map((argv) => Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe" }));
    for (const run of runs) {
      const text = (await new Response(run.stdout).text()) + (await new Response(run.stderr).text());
      expect([await run.exited, text]).toEqual([0, expect.stringMatching(/pass 3|3 pass/)]);
    }
  },
  PROCESSES_MS_MAX,
);

test("a path is one of the config's host, a URL says host and scheme, and the viewer is where the test says", async () => {
  expect(cdn.host).toBe("shop.example");
  expect((await cdn.fetch("/who?page=1&x=2", { from: "203.0.113.9" })).text()).toMatch(
    /^203\.0\.113\.9\b.* \/who\?page=1$/,
  );
  await cdn.expectHit("/who?x=3&page=1");
  await cdn.expectMiss("https://shop.example/who?page=1");
  await cdn.expectMiss("http://www.shop.example/who?page=1");
  expect((await cdn.fetch("http://nowhere.example/")).status).toBe(404);
  await cdn.expectStatus("/moved", 302);
  const posted = await cdn.fetch("/private/form", { method: "POST", body: "é=1", pop: "nyc" });
  expect(posted).toMatchObject({ status: 200, result: "bypass", reason: "request-method", pop: "nyc" });
  expect(bodies).toEqual(["é=1"]);
  const told = spyOn(console, "error").mockImplementation(() => {});
  expect((await cdn.fetch("/broken")).status).toBe(500);
  expect(told).toHaveBeenCalledWith("the test's origin failed:", expect.any(Error));
  told.mockRestore();
});

test("an expectation that fails says what came, and why, in words", async () => {
  const cases: [() => Promise<unknown>, RegExp[]][] = [
    [
      () => cdn.expectHit("/session"),
      [
        /^expected a hit of http:\/\/shop\.example\/session at fra, got (miss|bypass) with status 200/,
        /response-set-cookie: the origin's answer sets a cookie/,
        /Cache-Status +shield; .*fra; fwd=/,
        /key +shop http:\/\/shop\.example\/session/,
      ],
    ],
    [
      () => cdn.expectHit("/no-store"),
      [/the origin's Cache-Control says no-store/, /Cache-Control +no-store/],
    ],
    [() => cdn.expectHit("/silent"), [/does not say how long it lives/]],
    [() => cdn.expectHit("/private/x"), [/the behaviour of this path says cache: false/, /key +none/]],
    [() => cdn.expectHit("http://nowhere.example/"), [/no site has this host/]],
    [() => cdn.expectStatus("/session", 404), [/expected status 404 .*with status 200/]],
  ];
  for (const [failing, patterns] of cases) {
    const error = await failing().then(
      () => null,
      (thrown: Error) => thrown,
    );
    expect(error?.name).toBe("AssertionError");
    for (const pattern of patterns) expect(error?.message).toMatch(pattern);
  }
  await cdn.fetch("/vary", { headers: { "accept-language": "de" } });
  const other = await cdn.expectCacheResult("/vary", ["miss"], { headers: { "accept-language": "fr" } });
  expect(other.reason).toBe("vary-mismatch");
  const { text, last, would } = await cdn.explain("/vary", { headers: { "accept-language": "fr" } });
  expect(last).toBe(other);
  expect(would.result).toBe("hit");
  expect(text).toMatch(/was +miss: vary-mismatch: .*Vary/);
});

test("time is the test's: it starts when it says, stands, and goes on", async () => {
  expect((await cdn.now()).toISOString()).toStartWith("2030-01-01T00:");
  await cdn.freeze();
  await cdn.fetch("/time");
  await cdn.advance(59_000);
  expect((await cdn.expectHit("/time")).ageSeconds).toBe(59);
  await cdn.advance("1s");
  await cdn.expectCacheResult("/time", "expired");
  await cdn.setTime("2030-06-01T00:00:00Z");
  expect((await cdn.now()).toISOString()).toBe("2030-06-01T00:00:00.000Z");
  await cdn.resume();
  await expect(cdn.setTime(0)).rejects.toThrow("only goes forward");
  await expect(cdn.advance("soon")).rejects.toThrow('"soon" is not a duration');
});

test("a purge has reached every PoP and the shield when it is done", async () => {
  for (const pop of cdn.pops) await cdn.fetch("/purged", { pop });
  const { objects, nodes } = await cdn.purge({ urls: ["/purged"] });
  expect(objects).toBe(3);
  expect(nodes.map(({ name }) => name).sort()).toEqual(["fra", "nyc", "shield"]);
  for (const pop of cdn.pops) await cdn.expectMiss("/purged", { pop });
  await cdn.purge({ hosts: ["shop.example"], soft: true });
  await cdn.expectCacheResult("/purged", ["revalidated", "expired"]);
  await expect(cdn.purge({})).rejects.toThrow("say one of urls, tags");
  await expect(cdn.purge({ tags: ["a"], everything: true })).rejects.toThrow("say one of urls, tags");
});

test(
  "vendors' clients find it by their own variables, whatever time it is here",
  async () => {
    const env = cdn.env();
    const clients = new VendorClients(env);
    try {
      await cdn.advance("1d");
      await cdn.fetch("/by-cloudflare");
      await clients.value("cloudflare", {
        options: {},
        method: "cache.purge",
        args: [{ zone_id: env.CLOUDFLARE_ZONE_ID, files: ["http://shop.example/by-cloudflare"] }],
      });
      await cdn.fetch("/by-cloudfront");
      await clients.value("cloudfront", {
        options: {},
        command: "CreateInvalidationCommand",
        input: {
          DistributionId: env.CLOUDFRONT_DISTRIBUTION_ID,
          InvalidationBatch: { CallerReference: "1", Paths: { Quantity: 1, Items: ["/by-cloudfront"] } },
        },
      });
      const ask = (
        method: string,
        url: string,
        headers: Record<string, string>,
        body: string | null = null,
      ) => fetch(url, { method, headers, body, keepalive: false } as RequestInit);
      const made = await ask(
        "POST",
        `${cdn.control}/v1/zones`,
        { authorization: `Bearer ${cdn.token}`, "content-type": "application/json" },
        JSON.stringify({ name: "web" }),
      );
      expect([made.status, await made.text()]).toEqual([201, expect.any(String)]);
      const file = `${env.BUNNY_STORAGE_URL}/web/a.txt`;
      expect((await ask("PUT", file, { accesskey: cdn.token }, "pushed")).status).toBe(201);
      expect(await (await ask("GET", file, { accesskey: cdn.token })).text()).toBe("pushed");
      for (const path of ["/by-cloudflare", "/by-cloudfront"])
        await until(`${path} is purged`, async () => (await cdn.fetch(path)).result === "miss");
    } finally {
      await clients.stop();
    }
  },
  PROCESSES_MS_MAX,
);

test(
  "a client that asks its vendor's own host alone is answered with takeover",
  async () => {
    writeFileSync(join(folder, "taken.txt"), "over");
    // How long it is fresh is a tenth of its age (RFC 9111 section 4.2.2).
    const hourAgo = Date.now() / 1_000 - 3_600;
    utimesSync(join(folder, "taken.txt"), hourAgo, hourAgo);
    const over = await startCdn({ origin: folder, pops: ["one"], shield: false, takeover: true });
    const [, port = ""] = /:(\d+)$/.exec(over.takeover?.url ?? "") ?? [];
    const clients = VendorClients.takenOver(
      Number(port),
      over.takeover?.hosts ?? [],
      over.takeover?.caFile ?? "",
    );
    try {
      await over.fetch("/taken.txt");
      await over.freeze();
      await over.expectHit("/taken.txt");
      const { status } = await clients.value("fastly", {
        token: over.token,
        method: "purgeAll",
        args: { service_id: over.env().FASTLY_SERVICE_ID },
      });
      expect(status).toBe(200);
      await until("it is gone", async () => (await over.fetch("/taken.txt")).result === "miss");
    } finally {
      await clients.stop();
      await over.stop();
    }
    expect(cdn.takeover).toBeNull();
  },
  PROCESSES_MS_MAX,
);

test(
  "the origin may be a URL, a directory, a server or an application",
  async () => {
    writeFileSync(join(folder, "page.txt"), "of the directory");
    const server = createServer((_request, response) => void response.end("of the server"));
    const bun = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("of the URL") });
    const app = {
      fetch: (request: Request) =>
        new Response(`of the app ${request.url}`, {
          headers: [
            ["set-cookie", "a=1"],
            ["set-cookie", "b=2"],
          ],
        }),
    };
    const origins: [CdnOptions["origin"], RegExp][] = [
      [folder, /^of the directory$/],
      [server, /^of the server$/],
      [new URL(`http://127.0.0.1:${bun.port}`), /^of the URL$/],
      [app, /^of the app http:\/\/127\.0\.0\.1:\d+\/page\.txt$/],
    ];
    try {
      await Promise.all(
        origins.map(async ([origin, body]) => {
          const one = await startCdn({
            ...(origin === undefined ? {} : { origin }),
            pops: ["one"],
            shield: false,
          });
          const answer = await one.fetch("/page.txt");
          await one.stop();
          expect(answer.text()).toMatch(body);
          if (origin === app) expect(answer.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
        }),
      );
      expect(server.listening).toBe(false);
    } finally {
      await bun.stop(true);
    }
  },
  PROCESSES_MS_MAX,
);

test(
  "what is wrong is said, and nothing is left",
  async () => {
    const wrong: [CdnOptions, RegExp][] = [
      [{ origin: "localhost:3000" }, /did you mean http:\/\/localhost:3000/],
      [{ origin: "http://127.0.0.1:1", pops: ["FRA"] }, /lower-case letters/],
      [{ config: { sites: { shop: { hosts: [] } } } }, /sites\.shop/],
      [{ origin: "http://127.0.0.1:1", startMsMax: 1 }, /not ready within 1 ms/],
    ];
    const said = await Promise.all(wrong.map(([options]) => startCdn(options).then(() => "started", String)));
    for (const [index, [, sentence]] of wrong.entries()) expect(said[index]).toMatch(sentence);
    expect(() => cdn.url("ams")).toThrow('there is no PoP "ams"; there are fra, nyc');
  },
  PROCESSES_MS_MAX,
);

test(
  "a test that is killed outright takes its CDN with it",
  async () => {
    const script = `const { startCdn } = await import(${JSON.stringify(join(import.meta.dir, "../../src/testing/cdn.js"))});
    const cdn = await startCdn({ origin: ${JSON.stringify(folder)}, pops: ["one"] });
    console.log(JSON.stringify({ control: cdn.control }));`;
    const child = Bun.spawn([Bun.which("node") ?? "node", "--input-type=module", "-e", script], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    let line = "";
    for await (const piece of child.stdout) {
      line += new TextDecoder().decode(piece);
      if (line.includes("\n")) break;
    }
    const { control } = JSON.parse(line) as { control: string };
    expect((await fetch(`${control}/healthz`)).status).toBe(200);
    child.kill("SIGKILL");
    await child.exited;
    expect(isRunning(child.pid)).toBe(false);
    await until("it does not answer any more", () =>
      fetch(`${control}/healthz`, { keepalive: false } as RequestInit).then(
        () => false,
        () => true,
      ),
    );
  },
  PROCESSES_MS_MAX,
);

test("every reason has its sentence", () => {
  const all: Record<CacheReason, true> = {
    "request-authorization": true,
    "request-cookie": true,
    "response-no-store": true,
    "response-private": true,
    "response-set-cookie": true,
    "response-vary-star": true,
    "response-not-cacheable": true,
    "response-no-freshness": true,
    "response-incomplete": true,
    "response-partial": true,
    "response-type-mismatch": true,
    fresh: true,
    "not-stored": true,
    "vary-mismatch": true,
    "partly-stored": true,
    "past-freshness": true,
    "not-modified": true,
    "stale-while-revalidate": true,
    "stale-if-error": true,
    "origin-degraded": true,
    "origin-slow": true,
    "response-too-large": true,
    "response-self-redirect": true,
    "request-method": true,
    "request-body": true,
    "request-condition": true,
    "request-connection": true,
    "request-range": true,
    "request-upgrade": true,
    "only-if-cached": true,
    "behavior-no-cache": true,
    "behavior-bypass": true,
    "development-mode": true,
    "answered-at-edge": true,
    "bad-request": true,
    "no-site": true,
    "origin-error": true,
    "log-behind": true,
  };
  expect(Object.keys(REASONS).sort()).toEqual(Object.keys(all).sort());
});
