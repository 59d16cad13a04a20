/** Webhooks: what happens in the fleet is told, signed, until it has arrived or a day has passed. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { systemClock } from "../../../src/base/clock.ts";
import { isPublicIp } from "../../../src/http/ip.ts";
import { guardedPost } from "../../../src/upstream/guarded-post.ts";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";
import { until } from "../../kit/fleet.ts";
import { ReportingNode } from "../../kit/reporting-node.ts";

interface Received {
  path: string;
  headers: Headers;
  body: string;
  value: { type: string; timestamp: string; data: Record<string, unknown> };
}

let control: TestControl;
let receiver: Bun.Server<undefined>;
let received: Received[];
/** What the receiver answers. */
let answer: () => Response;
beforeEach(async () => {
  control = await startTestControl();
  control.sendWebhook = (url, body, fields) =>
    guardedPost(url, body, fields, {
      clock: systemClock,
      allowAddress: (address) => address === "127.0.0.1",
    });
  received = [];
  answer = () => new Response(null, { status: 204 });
  receiver = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const body = await request.text();
      received.push({
        path: new URL(request.url).pathname,
        headers: request.headers,
        body,
        value: JSON.parse(body),
      });
      return answer();
    },
  });
  await control.ask("POST", "/v1/apply", {
    sites: { shop: siteConfig("shop.test"), blog: siteConfig("blog.test") },
  });
});
afterEach(async () => {
  await control.stop();
  await receiver.stop(true);
});

async function webhook(more: Record<string, unknown> = {}, token = control.admin) {
  const made = await control.ask(
    "POST",
    "/v1/webhooks",
    { name: "ci", url: `http://127.0.0.1:${receiver.port}/in?key=hidden`, ...more },
    { token },
  );
  if (made.status !== 201) throw new Error(made.text);
  return { id: made.value.webhook.id as string, secret: made.value.secret as string, text: made.text };
}
const deliveries = async (id: string) =>
  (await control.ask("GET", `/v1/webhooks/${id}/deliveries`)).value.items;
const types = () => received.map(({ value }) => value.type);
const purge = (site: string) => control.ask("POST", "/v1/purges", { site, scope: "tag", tags: ["a"] });

describe("a webhook", () => {
  test("is told of a purge that every node has applied, signed as Standard Webhooks says", async () => {
    const nodes = [await ReportingNode.join(control, "a"), await ReportingNode.join(control, "b")];
    const { id, secret, text } = await webhook();
    expect(text).not.toContain("hidden");
    const { value } = await purge("shop");
    await nodes[0]?.report();
    control.clock.advance(70);
    expect(received).toEqual([]);
    await nodes[1]?.report();
    await until("it came", () => received.length === 1);
    const [one] = received as [Received];
    expect(one.value).toMatchObject({
      type: "purge.applied",
      data: { id: value.id, site: "shop", scope: "tag", targetCount: 1, appliedAfterMs: 70 },
    });
    const message = `${one.headers.get("webhook-id")}.${one.headers.get("webhook-timestamp")}.${one.body}`;
    const mac = createHmac("sha256", Buffer.from(secret.slice(6), "base64"))
      .update(message)
      .digest("base64");
    expect(one.headers.get("webhook-signature")).toBe(`v1,${mac}`);
    await until("that is noted", async () => (await deliveries(id))[0].state === "delivered");
    expect((await control.ask("GET", "/metrics")).text).toMatch(
      /proxima_control_purge_applied_seconds_bucket\{le="0.1"\} 1[\s\S]*proxima_control_webhook_deliveries\{state="delivered"\} 1/,
    );
  });

  test("is told of versions, roll-outs, origins and nodes", async () => {
    const node = await ReportingNode.join(control, "a");
    const other = await ReportingNode.join(control, "b");
    await webhook();
    await control.ask("POST", "/v1/sites/shop/versions", { config: siteConfig("two.test") });
    const begun = await control.ask("POST", "/v1/sites/shop/activate", { version: 2, rollout: {} });
    await control.ask("POST", `/v1/rollouts/${begun.value.rollout.id}/abort`, {});
    await control.ask("POST", "/v1/sites/shop/activate", { version: 2 });
    const out = { site: "shop", origin: "app", reason: "503 from its check" };
    for (const one of [node, other]) one.originsOut = [out];
    for (const one of [node, other, node]) await one.report();
    for (const one of [node, other]) {
      one.originsOut = [];
      await one.report();
    }
    control.clock.advance(16_000);
    await other.report();
    control.clock.advance(1_000);
    await node.report();
    control.clock.advance(1_000);
    await until("all came", () => received.length >= 9);
    expect(types().sort()).toEqual([
      "node.reachable",
      "node.reachable",
      "node.unreachable",
      "node.unreachable",
      "origin.failover",
      "origin.recovery",
      "rollout.aborted",
      "rollout.started",
      "version.active",
    ]);
    expect(received.find(({ value }) => value.type === "origin.failover")?.value.data).toMatchObject(out);
  });

  test("is tried again, later and later, with the same id, and over a restart; then it is given up and can be sent again", async () => {
    answer = () => new Response(null, { status: 500 });
    const { id } = await webhook();
    await control.ask("POST", `/v1/webhooks/${id}/test`, {});
    await until("it was tried", async () => (await deliveries(id))[0].attempts === 1);
    const [first] = await deliveries(id);
    expect([first.state, first.problem]).toEqual(["waiting", "it answered 500"]);
    const waitMs = Date.parse(first.nextAttemptAt) - control.clock.now();
    expect(waitMs).toBeGreaterThanOrEqual(4_000);
    expect(waitMs).toBeLessThanOrEqual(6_000);
    for (let attempt = 2; attempt <= 11; attempt++) {
      // The time passes while it is down, and does so at once.
      await control.restart(() => control.clock.advance(40_000_000));
      control.clock.advance(1_000);
      await until(`attempt ${attempt}`, async () => (await deliveries(id))[0].attempts === attempt);
    }
    expect((await deliveries(id))[0]).toMatchObject({ state: "dead", problem: "it answered 500" });
    expect(new Set(received.map(({ headers }) => headers.get("webhook-id")))).toEqual(new Set([first.id]));
    expect((await control.ask("GET", `/v1/webhooks/${id}`)).value.dead).toBe(1);
    const dead = (await control.ask("GET", `/v1/webhooks/${id}/deliveries?state=dead`)).value.items;
    answer = () => new Response();
    await control.ask("POST", `/v1/webhooks/${id}/deliveries/${dead[0].id}/retry`, {});
    await until("it arrived", async () => (await deliveries(id))[0].state === "delivered");
  });

  test("that wants no more, asks for time, or redirects", async () => {
    const { id } = await webhook();
    answer = () => new Response(null, { status: 410 });
    await control.ask("POST", `/v1/webhooks/${id}/test`, {});
    await until("given up", async () => (await deliveries(id))[0].state === "dead");
    answer = () => new Response(null, { status: 429, headers: { "retry-after": "600" } });
    await control.ask("POST", `/v1/webhooks/${id}/test`, {});
    await until("put off", async () => (await deliveries(id))[0].attempts === 1);
    expect(Date.parse((await deliveries(id))[0].nextAttemptAt) - control.clock.now()).toBe(600_000);
    answer = () => new Response(null, { status: 302, headers: { location: "http://127.0.0.1:1/" } });
    await control.ask("POST", `/v1/webhooks/${id}/test`, {});
    await until("not followed", async () => (await deliveries(id))[0].problem === "it answered 302");
  });

  test("does not hold up another one, and none loses its turn", async () => {
    const slow = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Promise<Response>(() => {}) });
    await webhook({ url: `http://127.0.0.1:${slow.port}/` });
    const { id } = await webhook();
    for (let i = 0; i < 30; i++) await control.ask("POST", `/v1/webhooks/${id}/test`, {});
    await until("all came", () => received.length === 30);
    const first = await control.ask("GET", `/v1/webhooks/${id}/deliveries?limit=20`);
    const second = await control.ask("GET", first.value.next);
    const ids = [...first.value.items, ...second.value.items].map((one: { id: string }) => one.id);
    expect([first.value.items.length, new Set(ids).size, second.value.next]).toEqual([20, 30, null]);
    await slow.stop(true);
  });

  test("is not starved by others that hang, however many and whatever waits for them", async () => {
    const hanging: ((error: Error) => void)[] = [];
    const good: string[] = [];
    control.sendWebhook = (url, body) => {
      if (url.hostname !== "good.test") return new Promise((_, reject) => hanging.push(reject));
      good.push(body);
      return Promise.resolve({ status: 204, retryAfter: null });
    };
    const send = (id: string) => control.ask("POST", `/v1/webhooks/${id}/test`, {});
    for (let i = 0; i < 12; i++) {
      const { id } = await webhook({ url: `http://hang-${i}.test/`, events: ["rollout.started"] });
      for (let n = 0; n < 5; n++) await send(id);
    }
    await until("all places are taken", () => hanging.length === 8);
    const { id } = await webhook({ url: "http://good.test/", events: ["rollout.started"] });
    control.clock.advance(10);
    await send(id);
    // Each of those that hang has one turn before it, and no second one.
    for (let ended = 1; ended <= 12 && good.length === 0; ended++) {
      await until("one more hangs, or it came", () => hanging.length >= ended || good.length > 0);
      hanging[ended - 1]?.(new Error("took too long"));
    }
    await until("it came", () => good.length === 1);
    // They are known now: places are left without any of them ending.
    for (const end of hanging) end(new Error("took too long"));
    await send(id);
    await until("it came at once", () => good.length === 2);
  });

  test("leads to no private address unless the operator says so, whatever its name resolves to", async () => {
    control.sendWebhook = (url, body, fields) =>
      guardedPost(url, body, fields, { clock: systemClock, allowAddress: isPublicIp });
    for (const host of ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"]) {
      const { id } = await webhook({ url: `http://${host}:${receiver.port}/` });
      await control.ask("POST", `/v1/webhooks/${id}/test`, {});
      await until(`${host} was tried`, async () => (await deliveries(id))[0].attempts === 1);
      expect([host, (await deliveries(id))[0].problem]).toEqual([
        host,
        // What a name resolves to is not told: names of the network inside would be.
        expect.stringMatching(/ has no address that this node may connect to$/),
      ]);
    }
    expect(received).toEqual([]);
    for (const url of ["ftp://x.test/", "file:///etc/passwd", "http://user:pass@x.test/", "x"])
      expect((await control.ask("POST", "/v1/webhooks", { name: "x", url })).status).toBe(400);
  });

  test("of some sites hears of those alone, and belongs to who has a say over them", async () => {
    const token = await control.token(["deploy"], ["shop"]);
    const { id } = await webhook({ sites: ["shop"] }, token);
    const all = await webhook({ events: ["node.unreachable"] });
    await ReportingNode.join(control, "a");
    for (const site of ["blog", "shop"])
      await control.ask("POST", "/v1/apply", { sites: { [site]: siteConfig(`new-${site}.test`) } });
    await until("it came", () => received.length === 1);
    expect(received[0]?.value).toMatchObject({ type: "version.active", data: { site: "shop" } });
    for (const [method, path, body] of [
      ["POST", "/v1/webhooks", { name: "x", url: "https://x.test/" }],
      ["POST", "/v1/webhooks", { name: "x", url: "https://x.test/", sites: ["blog"] }],
      ["GET", `/v1/webhooks/${all.id}`, undefined],
      ["DELETE", `/v1/webhooks/${all.id}`, undefined],
      ["GET", `/v1/webhooks/${all.id}/deliveries`, undefined],
    ] as const)
      expect([method, path, (await control.ask(method, path, body, { token })).status]).toEqual([
        method,
        path,
        403,
      ]);
    const list = await control.ask("GET", "/v1/webhooks", undefined, { token });
    expect(list.value.items.map((one: { id: string }) => one.id)).toEqual([id]);
    expect((await control.ask("DELETE", `/v1/webhooks/${id}`, undefined, { token })).status).toBe(204);
    expect((await control.ask("GET", `/v1/webhooks/${id}`)).status).toBe(404);
  });
});

test("the metrics page is for who may read, or for a token of its own", async () => {
  const token = await control.token(["metrics"]);
  await ReportingNode.join(control, "a");
  const page = await control.ask("GET", "/metrics", undefined, { token });
  expect([page.status, page.headers.get("content-type")]).toEqual([
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ]);
  for (const line of [
    'proxima_control_nodes{state="reachable"} 1',
    'proxima_control_node_log_behind{node="a"} 0',
    'proxima_control_requests_total{route="POST /v1/join",status="201"} 1',
    'proxima_control_rollouts{state="rolledBack"} 0',
  ])
    expect(page.text).toContain(line);
  expect((await control.ask("GET", "/v1/sites", undefined, { token })).status).toBe(403);
  expect((await control.ask("GET", "/metrics", undefined, { token: null })).status).toBe(401);
  const purger = await control.token(["purge"]);
  expect((await control.ask("GET", "/metrics", undefined, { token: purger })).status).toBe(403);
});
