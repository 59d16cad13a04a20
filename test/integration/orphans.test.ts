/** What a plan tells of stored answers that a change of key rules would lose, on real nodes with memory, disk and workers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type FleetEdge, TestFleet } from "../kit/fleet.ts";

let fleet: TestFleet;
let edges: FleetEdge[];
beforeAll(async () => {
  fleet = new TestFleet();
  await fleet.ready();
  edges = await Promise.all([
    fleet.edge("edge-a", { cache: { memory: "8MiB", disk: { path: "./cache-a", size: "64MiB" } } }),
    fleet.edge("edge-b", { workers: 2 }),
  ]);
}, 60_000);
afterAll(() => fleet.stop());

const behaviors = (rules: Record<string, unknown>) => [{ path: "/static/*", ...rules }, { path: "/*" }];
const plan = async (config: Record<string, unknown>) =>
  (await fleet.ask("POST", "/v1/plan", { sites: { shop: fleet.site(config) }, orphans: true })).value;

test("a plan says how much of what is stored nobody would find again", async () => {
  await fleet.apply({ shop: fleet.site({ behaviors: behaviors({}) }) }, edges);
  for (const edge of edges) {
    for (let i = 0; i < 6; i++) await edge.get(`/static/${i}`);
    for (let i = 0; i < 4; i++) await edge.get(`/static/q?v=${i}`);
    for (let i = 0; i < 3; i++) await edge.get(`/page/${i}?v=1`);
  }
  const none = await plan({ behaviors: behaviors({ cacheKey: { query: "none" } }) });
  expect(none.orphans).toEqual([
    {
      site: "shop",
      answered: 2,
      asked: 2,
      behaviors: expect.arrayContaining([
        { path: "/static/*", stored: 20, orphaned: 8 },
        { path: "/*", stored: 6, orphaned: 0 },
      ]),
    },
  ]);
  // A request's header in the key, no cache at all, another host: all of it.
  for (const rules of [{ cacheKey: { headers: ["accept-language"] } }, { cache: false }]) {
    const { orphans } = await plan({ behaviors: behaviors(rules) });
    expect(orphans[0].behaviors).toContainEqual({ path: "/static/*", stored: 20, orphaned: 20 });
  }
  const moved = await plan({ hosts: ["other.test"], behaviors: behaviors({}) });
  expect(moved.orphans[0].behaviors).toContainEqual({ path: "/*", stored: 6, orphaned: 6 });
  // What has nothing to do with keys asks nobody.
  const origin = { app: { url: fleet.origin, timeouts: { connectMs: 1_234 } } };
  expect((await plan({ origins: origin, behaviors: behaviors({}) })).orphans).toEqual([]);

  const file = await fleet.programs.write(
    "keys.json",
    JSON.stringify({
      sites: { shop: fleet.site({ behaviors: behaviors({ cacheKey: { query: "none" } }) }) },
    }),
  );
  const told = await fleet.run("plan", file, "--control", fleet.url);
  expect([told.status, told.out]).toEqual([
    3,
    expect.stringContaining(
      "shop /static/*: cache key changes: 8 of 20 stored objects (40 %) would be orphaned\n",
    ),
  ]);
}, 60_000);
