/** Content changes told to control listeners: real ones, ones that fail, and ones that are away. */

import { afterEach, describe, expect, test } from "bun:test";
import { createOriginKit } from "proxima-cdn/origin";
import { ManualClock } from "../../../src/base/clock.ts";
import type { Purge } from "../../../src/cache/purge-table.ts";
import { startControlListener } from "../../../src/node/control-listener.ts";
import { DrillService } from "../../../src/node/drill-service.ts";
import { OriginBoard } from "../../../src/node/origin-board.ts";
import { PurgeLog } from "../../../src/node/purge-log.ts";
import { PurgeService } from "../../../src/node/purge-service.ts";
import { Purger } from "../../../src/origin-kit/purger.js";
import { Stats } from "../../../src/telemetry/stats.ts";
import { NO_GAUGES } from "../../kit/gauges.ts";

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const TOKEN = "a-token-of-the-control-listener";

/** A node's real control listener, and the purges that its data plane was given. */
async function startNode(
  port = 0,
): Promise<{ url: string; port: number; purges: Purge[]; stop(): Promise<void> }> {
  const purges: Purge[] = [];
  const clock = new ManualClock();
  const log = new PurgeLog(":memory:");
  const listener = await startControlListener({
    address: { hostname: "127.0.0.1", port },
    token: TOKEN,
    node: {
      version: "1.0.0",
      ready: () => ({ ready: true, reasons: [] }),
      stats: () => new Stats(clock).snapshot(NO_GAUGES),
      metrics: () => "",
      explain: (url) => ({ url, steps: [], would: { result: "hit", reason: "fresh" } }),
      snapshot: () => ({ number: 1, sites: 1, loadedAt: "", lastProblem: null }),
      alerts: { status: () => ({ channels: [], firing: [] }), test: () => Promise.resolve([]) },
      drills: new DrillService(
        {
          sites: () => ({}),
          stats: () => Promise.reject(new Error("none")),
          setFault: () => Promise.resolve(),
        },
        new OriginBoard(() => {}),
        clock,
      ),
      purges: new PurgeService(
        log,
        {
          sites: () => ["shop"],
          urlTarget: (_site, url) => (new URL(url).host === "shop.example" ? url : null),
          purge(purge) {
            purges.push(purge);
            return { applied: Promise.resolve(), counted: Promise.resolve(1) };
          },
          counted: () => Promise.resolve(0),
          purgesInForce: () => Promise.resolve({ patterns: 0, marks: 0 }),
        },
        clock,
      ),
    },
  });
  const stop = () => listener.stop();
  stops.push(stop);
  return {
    url: `http://${listener.address}`,
    port: Number(listener.address.split(":").at(-1)),
    purges,
    stop,
  };
}

describe("the kit", () => {
  const content = {
    product: (id: string, detail: unknown) => ({
      urls: [`https://shop.example/p/${id}`],
      tags: [`product-${id}`, ...(detail === undefined ? [] : [`brand-${detail}`])],
    }),
  };

  test("tells a node what a change of content stands on, together with other changes", async () => {
    const node = await startNode();
    const kit = createOriginKit({
      health: false,
      purge: { control: node.url, token: TOKEN, content, site: "shop" },
    });
    kit.changed("product", 7, "a, b");
    kit.changed("product", 8);
    kit.changed("product", 7);
    expect(await kit.flush()).toEqual({ waiting: 0 });
    expect(node.purges.map(({ scope, targets, mode }) => ({ scope, targets, mode }))).toEqual([
      { scope: "tag", targets: ["product-7", "brand-a%2C%20b", "product-8"], mode: "hard" },
      { scope: "url", targets: ["https://shop.example/p/7", "https://shop.example/p/8"], mode: "hard" },
    ]);
    await kit.close();
    expect(() => kit.changed("product", 9)).toThrow("closed");
  });

  test("gives up only the target that a node refuses, and says so", async () => {
    const node = await startNode();
    const problems: string[] = [];
    const kit = createOriginKit({
      health: false,
      purge: { control: node.url, token: TOKEN },
      onProblem: (problem) => problems.push(problem),
    });
    const urls = Array.from({ length: 9 }, (_, i) => `https://${i === 5 ? "other" : "shop"}.example/${i}`);
    kit.purge({ urls });
    expect(await kit.flush()).toEqual({ waiting: 0 });
    expect(new Set(node.purges.flatMap(({ targets }) => targets))).toEqual(
      new Set(urls.filter((_, i) => i !== 5)),
    );
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(
      'refuses the url "https://other.example/5", which is given up: answered 400',
    );
    await kit.close();
  });

  test("tells every node, whether another is there or not, and one that comes back", async () => {
    const away = await startNode();
    await away.stop();
    const there = await startNode();
    const problems: string[] = [];
    const kit = createOriginKit({
      health: false,
      purge: { control: [away.url, there.url], token: TOKEN, mode: "soft" },
      onProblem: (problem) => problems.push(problem),
    });
    kit.purge({ tags: ["t"], prefixes: ["/blog/"] });
    while (there.purges.length < 2 || problems.length === 0) await Bun.sleep(5);
    expect(problems[0]).toMatch(/can not be reached \(\w+\); it is tried again$/);
    const back = await startNode(away.port);
    expect(await kit.flush()).toEqual({ waiting: 0 });
    expect(back.purges.map(({ scope, mode }) => `${scope} ${mode}`)).toEqual(["tag soft", "prefix soft"]);
    expect(problems.join()).not.toContain(TOKEN);
    await kit.close();
  });

  test("says at the end what was not told", async () => {
    const problems: string[] = [];
    const kit = createOriginKit({
      health: false,
      purge: { control: "http://127.0.0.1:1", gatherMs: 60_000 },
      onProblem: (problem) => problems.push(problem),
    });
    kit.purge({ tags: ["a", "b"] });
    expect(await kit.close({ timeoutMs: 1 })).toEqual({ waiting: 2 });
    expect(problems).toEqual(["purge: 2 targets were not acknowledged by http://127.0.0.1:1"]);
  });

  test("refuses a kind of content, an address or an empty change that it does not know", () => {
    const kit = createOriginKit({ health: false, purge: { control: "http://127.0.0.1:1", content } });
    expect(() => kit.changed("constructor", 1)).toThrow('no kind "constructor"; it has product');
    expect(() => kit.purge({ urls: ["/a"] })).toThrow('"/a" is not an absolute URL');
    expect(() => kit.purge({})).toThrow("at least one");
    expect(() => createOriginKit({ health: false }).changed("product", 1)).toThrow("purge.control");
  });
});

interface Sent {
  readonly body: { scope: string; tags?: string[]; idempotencyKey: string };
  answer(status: number, fields?: Record<string, string>): Promise<void>;
  fail(): Promise<void>;
}

/** A queue whose clock and answers the test has in hand. */
function queue(options: { waitingMax?: number } = {}) {
  const clock = new ManualClock();
  const sent: Sent[] = [];
  const problems: string[] = [];
  const settled = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
  };
  const purger = new Purger({
    control: "http://edge",
    token: null,
    site: null,
    mode: "hard",
    gatherMs: 50,
    waitingMax: options.waitingMax ?? 1_000,
    timeoutMs: 1_000,
    onProblem: (problem) => problems.push(problem),
    after: (delayMs, run) => clock.after(delayMs, run),
    random: () => 1,
    fetch: (_url, init) =>
      new Promise((resolve, reject) => {
        sent.push({
          body: JSON.parse(String(init.body)),
          async answer(status, headers = {}) {
            resolve(new Response("{}", { status, headers }));
            await settled();
          },
          async fail() {
            reject(new TypeError("fetch failed"));
            await settled();
          },
        });
      }),
  });
  const advance = async (ms: number) => {
    clock.advance(ms);
    await settled();
  };
  return { purger, sent, problems, advance };
}

describe("the queue", () => {
  test("tries again later and later, up to half a minute, with the same idempotency key", async () => {
    const { purger, sent, problems, advance } = queue();
    purger.add({ tags: ["a"] });
    await advance(49);
    expect(sent).toHaveLength(0);
    await advance(1);
    for (const delayMs of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      const count = sent.length;
      await sent.at(-1)?.answer(503);
      await advance(delayMs - 1);
      expect(sent).toHaveLength(count);
      await advance(1);
      expect(sent).toHaveLength(count + 1);
    }
    expect(new Set(sent.map(({ body }) => body.idempotencyKey)).size).toBe(1);
    expect(problems).toEqual(["purge: http://edge answered 503; it is tried again"]);
    await sent.at(-1)?.answer(201);
    expect(purger.waiting).toBe(0);
    await purger.drained();
  });

  test("waits as long as it is asked to, within its own limit", async () => {
    const { purger, sent, advance } = queue();
    purger.add({ tags: ["a"] });
    await advance(50);
    await sent[0]?.answer(429, { "retry-after": "20" });
    await advance(19_999);
    expect(sent).toHaveLength(1);
    await advance(1);
    expect(sent).toHaveLength(2);
    await sent[1]?.answer(503, { "retry-after": "99999" });
    await advance(30_000);
    expect(sent).toHaveLength(3);
  });

  test("purges again what changes while its purge is on its way", async () => {
    const { purger, sent, advance } = queue();
    purger.add({ tags: ["a"] });
    await advance(50);
    purger.add({ tags: ["a"] });
    await sent[0]?.answer(201);
    await advance(50);
    expect(sent.map(({ body }) => body.tags)).toEqual([["a"], ["a"]]);
    expect(sent[0]?.body.idempotencyKey).not.toBe(sent[1]?.body.idempotencyKey ?? "");
  });

  test("keeps what is refused for lack of rights, and what came meanwhile", async () => {
    const { purger, sent, advance } = queue();
    purger.add({ tags: ["a"] });
    await advance(50);
    purger.add({ tags: ["b"] });
    await sent[0]?.answer(401);
    await advance(500);
    await sent[1]?.fail();
    await advance(1_000);
    await sent[2]?.answer(200);
    await advance(50);
    await sent[3]?.answer(200);
    expect(sent.map(({ body }) => body.tags)).toEqual([["a"], ["a"], ["a"], ["b"]]);
    expect(purger.waiting).toBe(0);
  });

  test("beyond its limit puts one purge of everything in place of all that waits", async () => {
    const { purger, sent, problems, advance } = queue({ waitingMax: 3 });
    purger.add({ tags: ["a"] });
    await advance(50);
    for (const tag of ["b", "c", "d", "e"]) purger.add({ tags: [tag] });
    expect(purger.waiting).toBe(2);
    expect(problems).toEqual([
      "purge: 4 targets waited for http://edge; one purge of everything takes their place",
    ]);
    await sent[0]?.fail();
    await advance(500);
    await sent[1]?.answer(200);
    await advance(0);
    expect(sent.map(({ body }) => body.scope)).toEqual(["tag", "tag", "everything"]);
    await sent[2]?.answer(200);
    purger.add({ tags: ["f"] });
    await advance(50);
    expect(sent[3]?.body.tags).toEqual(["f"]);
  });

  test("sends no more than a thousand targets at once", async () => {
    const { purger, sent, advance } = queue({ waitingMax: 10_000 });
    purger.add({ tags: Array.from({ length: 2_500 }, (_, i) => `t${i}`) });
    await advance(50);
    while (purger.waiting > 0) {
      await sent.at(-1)?.answer(201);
      await advance(0);
    }
    expect(sent.map(({ body }) => body.tags?.length)).toEqual([1_000, 1_000, 500]);
  });
});
