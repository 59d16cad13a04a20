/** Staged roll-outs over the API: nodes that say what the test wants, and a clock that the test moves. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";
import { ReportingNode } from "../../kit/reporting-node.ts";

let control: TestControl;
let nodes: ReportingNode[];
beforeEach(async () => {
  control = await startTestControl();
  await control.ask("POST", "/v1/apply", {
    sites: { shop: siteConfig("one.test"), blog: siteConfig("blog.test") },
  });
  await control.ask("POST", "/v1/sites/shop/versions", { config: siteConfig("two.test") });
  nodes = [];
  for (let i = 0; i < 4; i++) nodes.push(await ReportingNode.join(control, `node-${i}`));
});
afterEach(() => control.stop());

async function start(rollout: unknown = {}) {
  const answer = await control.ask("POST", "/v1/sites/shop/activate", { version: 2, rollout });
  expect([answer.status, answer.text]).toEqual([200, expect.any(String)]);
  return answer.value.rollout.id as string;
}
const view = async (id: string) => (await control.ask("GET", `/v1/rollouts/${id}`)).value;
const all = async () => {
  for (const node of nodes) await node.report();
};
const serving = () => nodes.filter((node) => node.hostOf("shop") === "two.test").length;
/** Time passes, and every node reports in it. */
async function pass(seconds: number) {
  for (let left = seconds; left > 0; left -= 5) {
    control.clock.advance(Math.min(5, left) * 1_000);
    await all();
  }
}

describe("a roll-out", () => {
  test("goes from stage to stage while nothing is wrong, and then the version is active", async () => {
    await pass(20);
    const id = await start({ stages: [10, 50, 100], holdSeconds: 60 });
    await all();
    expect(serving()).toBe(1);
    expect(await view(id)).toMatchObject({ state: "running", stage: 1, nodes: [{ state: "in force" }] });
    expect((await control.ask("GET", "/v1/sites/shop")).value.activeVersion).toBe(1);
    await pass(59);
    expect([serving(), (await view(id)).stage]).toEqual([1, 1]);
    await pass(5);
    expect([serving(), (await view(id)).stage]).toEqual([2, 2]);
    await pass(65);
    expect([serving(), (await view(id)).stage]).toEqual([4, 3]);
    // Watched on all of them as well.
    expect((await control.ask("GET", "/v1/sites/shop")).value.activeVersion).toBe(1);
    await pass(65);
    expect(await view(id)).toMatchObject({ state: "completed", reason: null });
    expect((await control.ask("GET", "/v1/sites/shop")).value).toMatchObject({
      activeVersion: 2,
      hosts: ["two.test"],
    });
    expect(serving()).toBe(4);
    const actions = (await control.ask("GET", "/v1/audit?limit=20")).value.items.map(
      ({ action, actor }: { action: string; actor: string }) => `${action} ${actor.split(":")[0]}`,
    );
    expect(actions.slice(0, 4)).toEqual([
      "rollout.complete system",
      "rollout.stage system",
      "rollout.stage system",
      "site.activate token",
    ]);
  });

  test("goes back by itself when requests fail too often, on all nodes that had it", async () => {
    await pass(20);
    const id = await start({ holdSeconds: 60 });
    await all();
    const canary = nodes.find((node) => node.hostOf("shop") === "two.test");
    Object.assign(canary?.counted ?? {}, { requests: 40, errors: 40 });
    await pass(5);
    // Too few to conclude anything.
    expect((await view(id)).state).toBe("running");
    Object.assign(canary?.counted ?? {}, { requests: 100, errors: 50 });
    await canary?.report();
    expect(await view(id)).toMatchObject({
      state: "rolledBack",
      reason: "50 of 100 requests failed (50 %); 5 % are allowed",
    });
    await all();
    expect(serving()).toBe(0);
    expect((await control.ask("GET", "/v1/audit?limit=1")).value.items[0]).toMatchObject({
      action: "rollout.rollBack",
      actor: "system",
      target: "shop",
    });
    // The hosts that were claimed are free.
    const other = await control.ask("POST", "/v1/apply", { sites: { other: siteConfig("two.test") } });
    expect(other.status).toBe(200);
  });

  test("goes back when requests fail more often than without it, though less than is allowed", async () => {
    await pass(20);
    const id = await start({ stages: [50, 100] });
    await all();
    const split = () =>
      [true, false].map((has) => nodes.filter((n) => (n.hostOf("shop") === "two.test") === has));
    const [having, others] = split() as [ReportingNode[], ReportingNode[]];
    for (const node of others) Object.assign(node.counted, { requests: 1_000, errors: 15 });
    for (const node of having) Object.assign(node.counted, { requests: 1_000, errors: 20 });
    await pass(5);
    expect((await view(id)).state).toBe("running");
    for (const node of having) Object.assign(node.counted, { requests: 1_000, errors: 40 });
    await pass(5);
    expect((await view(id)).reason).toBe(
      "80 of 2000 requests failed (4 %), without it 1.5 %: more than 2 times as often",
    );
  });

  test("goes back when a node can not put it in force, does not in time, or goes silent", async () => {
    await pass(20);
    const unable = await start();
    for (const node of nodes) node.problem = "sites.shop.origins.app: has no address";
    await all();
    expect((await view(unable)).reason).toMatch(/^node-\d can not put it in force: sites.shop.origins.app/);
    for (const node of nodes) node.problem = null;
    await all();

    const refused = await start();
    for (const node of nodes) node.refuses = true;
    await all();
    expect((await view(refused)).reason).toMatch(/can not put it in force: out of memory/);
    for (const node of nodes) node.refuses = false;
    await all();

    const late = await start({ applySeconds: 30 });
    const stuck = (await view(late)).nodes[0].name;
    for (let i = 0; i < 7; i++) {
      control.clock.advance(5_000);
      // It is there, and does not take the snapshot.
      for (const node of nodes) {
        if (node.name === stuck) node.follow = () => Promise.resolve();
        await node.report();
      }
    }
    expect((await view(late)).reason).toBe(`not in force within 30 s on ${stuck}`);
    for (const node of nodes) Reflect.deleteProperty(node, "follow");
    await all();

    const silent = await start({ holdSeconds: 600 });
    await all();
    const [gone] = (await view(silent)).nodes;
    for (let i = 0; i < 4; i++) {
      control.clock.advance(5_000);
      for (const node of nodes) if (node.name !== gone.name) await node.report();
    }
    expect((await view(silent)).reason).toContain(
      `not heard of any more since it was given out: ${gone.name}`,
    );
  });

  test("is paused, resumed, promoted and aborted by hand; who is not for its sites may not", async () => {
    await pass(20);
    const id = await start({ stages: [25, 50, 100], holdSeconds: 10 });
    await all();
    expect((await control.ask("POST", `/v1/rollouts/${id}/pause`, {})).value.state).toBe("paused");
    await pass(60);
    expect(serving()).toBe(1);
    expect((await control.ask("POST", `/v1/rollouts/${id}/pause`, {})).status).toBe(409);
    await control.ask("POST", `/v1/rollouts/${id}/promote`, {});
    await all();
    expect(serving()).toBe(2);
    const token = await control.token(["deploy"], ["blog"]);
    const foreign = await control.ask("POST", `/v1/rollouts/${id}/abort`, {}, { token });
    expect([
      foreign.status,
      (await control.ask("GET", "/v1/rollouts", undefined, { token })).value.items,
    ]).toEqual([403, []]);
    await control.ask("POST", `/v1/rollouts/${id}/abort`, {});
    await all();
    expect([serving(), (await view(id)).state]).toEqual([0, "aborted"]);
    expect((await control.ask("POST", `/v1/rollouts/${id}/resume`, {})).status).toBe(409);
    const again = await start();
    await control.ask("POST", `/v1/rollouts/${again}/promote`, { all: true });
    await all();
    expect([serving(), (await view(again)).state]).toEqual([4, "completed"]);
  });

  test("refuses other changes of its site, and lets other sites change", async () => {
    await pass(20);
    const id = await start();
    await all();
    for (const [method, path, body] of [
      ["POST", "/v1/sites/shop/activate", { version: 2 }],
      ["POST", "/v1/sites/shop/activate", { version: 2, rollout: {} }],
      ["POST", "/v1/apply", { sites: { shop: siteConfig("three.test") } }],
      ["DELETE", "/v1/sites/shop", undefined],
    ] as const) {
      const answer = await control.ask(method, path, body);
      expect([method, path, answer.status, answer.value?.detail]).toEqual([
        method,
        path,
        409,
        expect.stringContaining(`being rolled out (${id}): promote or abort that first`),
      ]);
    }
    // Its new host is taken already.
    expect((await control.ask("POST", "/v1/apply", { sites: { x: siteConfig("two.test") } })).status).toBe(
      409,
    );
    const blog = await control.ask("POST", "/v1/apply", { sites: { blog: siteConfig("blog2.test") } });
    expect(blog.status).toBe(200);
    await all();
    expect([serving(), nodes.map((node) => node.hostOf("blog"))]).toEqual([1, Array(4).fill("blog2.test")]);
    // A second roll-out, of another site, beside it.
    await control.ask("POST", "/v1/sites/blog/versions", { config: siteConfig("blog3.test") });
    const second = await control.ask("POST", "/v1/sites/blog/activate", { version: 3, rollout: {} });
    expect(second.status).toBe(200);
    await all();
    expect([serving(), nodes.filter((node) => node.hostOf("blog") === "blog3.test").length]).toEqual([1, 1]);
  });

  test("who joins in the middle gets what its stage says, and old nodes come last", async () => {
    await pass(20);
    (nodes[3] as ReportingNode).isOld = true;
    await all();
    const id = await start({ stages: [99, 100], holdSeconds: 10 });
    await all();
    expect([serving(), (nodes[3] as ReportingNode).hostOf("shop")]).toEqual([3, "one.test"]);
    nodes.push(await ReportingNode.join(control, "late"));
    await all();
    expect(nodes[4]?.hostOf("shop")).toBe("one.test");
    await pass(15);
    expect((await view(id)).stage).toBe(2);
    nodes.push(await ReportingNode.join(control, "later"));
    await all();
    expect(nodes[5]?.hostOf("shop")).toBe("two.test");
  });

  test("begins on the nodes that are named, and knows what it can not do", async () => {
    await pass(20);
    const id = await start({ nodes: ["node-2"], stages: [50, 100] });
    await all();
    expect(nodes.map((node) => node.hostOf("shop") === "two.test")).toEqual([false, false, true, false]);
    await control.ask("POST", `/v1/rollouts/${id}/abort`, {});
    for (const [rollout, status, detail] of [
      [{ nodes: ["nobody"] }, 404, 'no node "nobody"'],
      [{ stages: [50] }, 400, "the last one must be 100"],
      [{ stages: [50, 20, 100] }, 400, "must grow"],
      [{ maxErrorRate: 2 }, 400, "maxErrorRate"],
    ] as const) {
      const answer = await control.ask("POST", "/v1/sites/shop/activate", { version: 2, rollout });
      expect([answer.status, answer.value.detail]).toEqual([status, expect.stringContaining(detail)]);
    }
    control.clock.advance(60_000);
    const nobody = await control.ask("POST", "/v1/sites/shop/activate", { version: 2, rollout: {} });
    expect([nobody.status, nobody.value.detail]).toEqual([
      409,
      expect.stringContaining("no node can be reached"),
    ]);
    // And nothing of it is left.
    expect((await control.ask("POST", "/v1/sites/shop/activate", { version: 2 })).status).toBe(200);
  });

  test("of a file with several sites is one, and ends no site", async () => {
    await pass(20);
    const sites = { shop: siteConfig("shop9.test"), fresh: siteConfig("fresh.test") };
    const prune = await control.ask("POST", "/v1/apply", { sites, prune: true, rollout: {} });
    expect([prune.status, prune.value.detail]).toEqual([
      409,
      expect.stringContaining("prune when the roll-out"),
    ]);
    const applied = await control.ask("POST", "/v1/apply", { sites, rollout: { stages: [25, 100] } });
    expect(applied.value).toMatchObject({
      snapshot: null,
      rollout: { sites: { shop: { from: 1 }, fresh: { from: null } } },
    });
    await all();
    expect(nodes.filter((node) => node.hostOf("fresh") === "fresh.test").length).toBe(1);
    // What some nodes serve can be purged.
    expect((await control.ask("POST", "/v1/purges", { site: "fresh", scope: "everything" })).status).toBe(
      201,
    );
    await control.ask("POST", `/v1/rollouts/${applied.value.rollout.id}/abort`, {});
    await all();
    expect(nodes.filter((node) => node.hostOf("fresh") !== undefined)).toEqual([]);
  });

  test("goes on after a restart of the control plane, and what nodes counted is kept", async () => {
    await pass(20);
    const id = await start({ stages: [25, 100], holdSeconds: 120 });
    await all();
    const canary = nodes.find((node) => node.hostOf("shop") === "two.test") as ReportingNode;
    Object.assign(canary.counted, { requests: 30, errors: 2 });
    await pass(30);
    // Away for long enough that every node seems silent: nobody has asked them yet.
    await control.restart(() => control.clock.advance(20_000));
    control.clock.advance(5_000);
    expect(await view(id)).toMatchObject({
      state: "running",
      stage: 1,
      counts: { candidate: { requests: 30 } },
    });
    // The node began anew as well: its counts are added.
    Object.assign(canary.counted, { requests: 10, errors: 1 });
    await pass(20);
    expect((await view(id)).counts.candidate).toEqual({ requests: 40, errors: 3 });
    await pass(50);
    expect((await view(id)).stage).toBe(2);
    await control.restart();
    await pass(150);
    expect((await view(id)).state).toBe("completed");
  });
});
