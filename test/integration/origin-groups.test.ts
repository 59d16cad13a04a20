/** Groups of origins as a site has them: who is asked, what is told of it, and what a change of the config leaves alone. */
import { describe, expect, test } from "bun:test";
import type { OriginGroupInput, UrlOriginInput } from "../../src/config/types.ts";
import type { OriginReports } from "../../src/telemetry/origin-report.ts";
import { startTestEdge } from "../kit/edge.ts";
import { type OriginHandler, text } from "../kit/origin.ts";
import { childrenOf } from "../kit/processes.ts";
import { stage } from "../kit/stage.ts";
import { until } from "../kit/upstream-request.ts";

const { app, programs, stops } = stage();

const saying =
  (name: string, fields: Record<string, string> = {}): OriginHandler =>
  () =>
    text(name, { "cache-control": "no-store", ...fields });

/** An edge before a group of two origins in this process. */
async function edgeOf(
  first: string,
  second: string,
  group: Partial<OriginGroupInput> = {},
  origin: Partial<UrlOriginInput> = {},
  behavior = {},
) {
  const sites = (more: object = {}) => ({
    shop: {
      hosts: ["*"],
      origins: { first: { url: first, ...origin }, second: { url: second, ...origin } },
      originGroups: { both: { members: ["first", "second"], ...group } },
      behaviors: [{ path: "/*", origin: "both", ...behavior }],
      ...more,
    },
  });
  const edge = await startTestEdge({ origin: first, config: { sites: sites() } });
  stops.push(() => edge.stop());
  const reports = async () => (await edge.edge.stats()).upstream;
  const state = async (name: string) => (await reports()).origins.find((one) => one.name === name)?.state;
  return { edge, reports, state, apply: (more: object) => edge.apply({ config: { sites: sites(more) } }) };
}

/** Nobody listens there. */
const NOBODY = "http://127.0.0.1:1";

describe("a site with a group of origins", () => {
  test("is told who failed and who answered: in the log, the counters and the metrics", async () => {
    const second = app(saying("second"));
    const { edge, reports } = await edgeOf(NOBODY, second.url);
    for (let i = 0; i < 7; i++) expect((await edge.get(`/${i}`)).body).toBe("second");
    const { origins, groups } = await reports();
    expect(
      origins.map(({ name, state, requests, failures, ejections }) => [
        name,
        state,
        requests,
        failures,
        ejections,
      ]),
    ).toEqual([
      ["first", "down", 5, 5, 1],
      ["second", "up", 7, 0, 0],
    ]);
    expect(groups).toEqual([
      {
        site: "shop",
        name: "both",
        balance: "failover",
        members: ["first", "second"],
        requests: 7,
        failovers: 5,
        moved: 0,
        retriesDenied: 0,
      },
    ]);
    const metrics = await edge.edge.metrics();
    for (const line of [
      'proxima_origin_up{site="shop",origin="first"} 0',
      'proxima_origin_up{site="shop",origin="second"} 1',
      'proxima_origin_ejections_total{site="shop",origin="first"} 1',
      'proxima_group_failovers_total{site="shop",group="both"} 5',
    ])
      expect(metrics).toContain(`${line}\n`);
    expect(edge.messages.filter((message) => message.includes("origin first"))).toEqual([
      expect.stringMatching(
        /^error: origin first of site shop is down, its groups leave it out for 10 s: 5 requests in a row failed, the last: origin first \(127\.0\.0\.1:1\) refused the connection$/,
      ),
    ]);
  });

  test("is given the answer of the first that has one, stored as any other", async () => {
    const second = app(saying("second", { "cache-control": "max-age=60" }));
    const { edge } = await edgeOf(NOBODY, second.url);
    expect(await edge.get("/a")).toMatchObject({ status: 200, cache: "MISS", body: "second" });
    expect(await edge.get("/a")).toMatchObject({ status: 200, cache: "HIT", body: "second" });
    expect(second.count()).toBe(1);
  });

  test("asks each with its own Host", async () => {
    const [first, second] = [app(() => text("", {}, 503)), app(saying("second"))];
    const { edge } = await edgeOf(first.url, second.url);
    await edge.get("/a", { host: "shop.example" });
    expect(first.seen[0]?.headers.get("host")).toBe(`127.0.0.1:${first.port}`);
    expect(second.seen[0]?.headers.get("host")).toBe(`127.0.0.1:${second.port}`);
    const viewers = await edgeOf(first.url, second.url, {}, { hostHeader: "viewer" });
    await viewers.edge.get("/a", { host: "shop.example" });
    expect(second.seen[1]?.headers.get("host")).toBe("shop.example");
  });

  test("has requests divided by weight, or by URL", async () => {
    const [first, second] = [app(saying("first")), app(saying("second"))];
    const members = [{ origin: "first", weight: 3 }, "second"];
    const weighted = await edgeOf(first.url, second.url, { balance: "weighted", members });
    for (let i = 0; i < 40; i++) await weighted.edge.get(`/${i}`);
    expect([first.count(), second.count()]).toEqual([30, 10]);
    const byUrl = await edgeOf(first.url, second.url, { balance: "hash" });
    const answers = new Map<string, string>();
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 12; i++) {
        const { body } = await byUrl.edge.get(`/${i}`);
        expect(answers.get(`/${i}`) ?? body).toBe(body);
        answers.set(`/${i}`, body);
      }
    }
    expect(new Set(answers.values())).toEqual(new Set(["first", "second"]));
  });

  test("passes a POST on to whoever is up, and sends it once", async () => {
    const second = app(async (request) => text(`${request.method} ${await request.text()}`));
    const { edge } = await edgeOf(NOBODY, second.url);
    const post = () => edge.get("/a", {}, { method: "POST", body: "once" });
    expect(await post()).toMatchObject({ status: 200, body: "POST once" });
    expect(second.count()).toBe(1);
    const failing = app(() => text("no", {}, 503));
    const other = await edgeOf(failing.url, second.url);
    expect(await other.edge.get("/a", {}, { method: "POST", body: "once" })).toMatchObject({ status: 503 });
    expect([failing.count(), second.count()]).toEqual([1, 1]);
  });

  test("keeps what is known of an origin, and its connections, when the site changes around it", async () => {
    const second = app(saying("second"));
    const { edge, state, apply, reports } = await edgeOf(NOBODY, second.url);
    for (let i = 0; i < 5; i++) await edge.get(`/${i}`);
    expect(await state("first")).toBe("down");
    await apply({ http3: false });
    await edge.get("/a");
    expect(await state("first")).toBe("down");
    expect((await reports()).origins.find(({ name }) => name === "first")?.requests).toBe(5);
    // Another URL is another origin.
    await apply({ origins: { first: { url: second.url }, second: { url: second.url } } });
    await edge.get("/a");
    expect(await state("first")).toBe("up");
  });

  test("explains who would be asked", async () => {
    const second = app(saying("second"));
    const { edge } = await edgeOf(NOBODY, second.url);
    const step = async () =>
      (await edge.edge.explain(`${edge.url}/a`, {})).steps.find((one) => one.step === "origin")?.outcome;
    expect(await step()).toBe("first of both (failover)");
    for (let i = 0; i < 5; i++) await edge.get(`/${i}`);
    expect(await step()).toBe("second of both (failover); down: first");
  });

  test("passes a WebSocket on to a member that is up", async () => {
    const second = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request, server) => (server.upgrade(request) ? undefined : text("second")),
      websocket: { message: (socket, message) => void socket.send(`second ${message}`) },
    });
    stops.push(() => second.stop(true));
    const { edge } = await edgeOf(NOBODY, `http://127.0.0.1:${second.port}`);
    for (let i = 0; i < 5; i++) await edge.get(`/${i}`);
    const socket = new WebSocket(`${edge.url.replace("http", "ws")}/socket`);
    stops.push(() => socket.close());
    const answer = Promise.withResolvers<unknown>();
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => answer.resolve(data);
    socket.onerror = () => answer.reject(new Error("the socket failed"));
    expect(await answer.promise).toBe("second hello");
  });
});

describe("health checks of a node with three workers", () => {
  async function node(health: object) {
    const first = app(saying("first"));
    const second = app(saying("second"));
    const made = programs();
    await made.write(
      "edge.json",
      JSON.stringify({
        listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
        workers: 3,
        dataDir: "./data",
        sites: {
          shop: {
            hosts: ["*"],
            origins: {
              first: {
                url: first.url,
                ejection: { forMs: 100 },
                health: { path: "/health", intervalMs: 100, unhealthyAfter: 2, healthyAfter: 2, ...health },
              },
              second: { url: second.url },
            },
            originGroups: { both: { members: ["first", "second"] } },
          },
        },
      }),
    );
    const program = made.start(["edge", "--config", "edge.json"]);
    const { http, control } = await program.addresses();
    const origin = async () =>
      ((await (await fetch(`${control}/v1/origins`)).json()) as OriginReports).origins.find(
        ({ name }) => name === "first",
      );
    const names = async () =>
      new Set(
        await Promise.all(
          Array.from({ length: 24 }, async (_, i) =>
            (await fetch(`${http}/${i}`, { keepalive: false })).text(),
          ),
        ),
      );
    return { first, program, http, origin, names };
  }

  test("come from one of them, are known to all, and go on when it dies", async () => {
    const { first, program, origin, names } = await node({});
    const checks = () => first.count("/health");
    await until(() => checks() > 3, "it checks");
    const before = checks();
    await Bun.sleep(1_000);
    // Ten a second from one; three workers would make thirty.
    expect(checks() - before).toBeLessThan(15);
    expect(await names()).toEqual(new Set(["first"]));
    first.answer((request) => {
      const { pathname } = new URL(request.url);
      return pathname === "/health" ? text("no", {}, 500) : saying("first")(request, first.seen[0] as never);
    });
    const endMs = Date.now() + 5_000;
    while ((await origin())?.workers.down !== 3 && Date.now() < endMs) await Bun.sleep(20);
    expect(await origin()).toMatchObject({
      state: "down",
      workers: { up: 0, trial: 0, down: 3 },
      reason: "2 health checks in a row failed, the last: status 500, expected 2xx",
      check: { ok: false },
    });
    // Not one request had failed: the checks alone took it out, on every worker.
    expect(await names()).toEqual(new Set(["second"]));
    const [checker, other] = childrenOf(program.pid);
    process.kill(other as number, "SIGKILL");
    await program.until(/worker 1 serves again/);
    // The one that started anew was told, before it took its first viewer.
    expect(await names()).toEqual(new Set(["second"]));
    process.kill(checker as number, "SIGKILL");
    await program.until(/worker 0 serves again/);
    const after = checks();
    await until(() => checks() > after + 3, "another one checks");
    expect(await names()).toEqual(new Set(["second"]));
    first.answer(saying("first"));
    const backMs = Date.now() + 5_000;
    let seen = new Set<string>();
    while (!(seen.size === 1 && seen.has("first")) && Date.now() < backMs) seen = await names();
    expect(seen).toEqual(new Set(["first"]));
  }, 30_000);
});
