/** A push of many files, killed at many points: viewers get a whole release each time. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type FleetEdge, TestFleet } from "../kit/fleet.ts";
import { ReleaseFolder, wholeRelease } from "../kit/release-folder.ts";

const FILES = Number(process.env.PUSH_FILES ?? 10_000);
const KILLS = 10;
/** A push of them takes longer than this at no machine that runs the tests, in milliseconds. */
const PUSH_MS_MAX = 20_000;

let fleet: TestFleet;
let edges: FleetEdge[];
beforeAll(async () => {
  fleet = new TestFleet();
  await fleet.ready();
  await fleet.run("zones", "create", "web", "--control", fleet.url);
  edges = await Promise.all([fleet.edge("edge-a"), fleet.edge("edge-b", { workers: 2 })]);
  await fleet.apply({ shop: { hosts: ["*"], origins: { web: { zone: "web" } } } }, edges);
}, 60_000);
afterAll(() => fleet.stop());

test(`${FILES} files, pushed and killed at ${KILLS} random points`, async () => {
  const folder = new ReleaseFolder(fleet.path("many"), FILES);
  const seen = () =>
    Promise.all(
      edges.map((edge) =>
        wholeRelease(folder, async (path) => {
          const response = await fetch(edge.http + path);
          return { status: response.status, body: await response.text() };
        }),
      ),
    );
  const push = () =>
    fleet.run("push", folder.path, "--zone", "web", "--control", fleet.url, "--concurrency", "64");
  let current = folder.write(1);
  const startMs = performance.now();
  expect((await push()).status).toBe(0);
  const tookMs = performance.now() - startMs;
  for (let kill = 1; kill <= KILLS; kill++) {
    const next = folder.write(kill + 1);
    const program = fleet.programs.start(
      ["push", folder.path, "--zone", "web", "--control", fleet.url, "--concurrency", "64"],
      {
        env: { PROXIMA_CONTROL_TOKEN: fleet.token },
      },
    );
    await Bun.sleep(Math.random() * Math.min(PUSH_MS_MAX, tookMs));
    program.kill("SIGKILL");
    await program.end();
    for (const shown of await seen()) expect([current, next]).toContain(shown);
    expect((await push()).status).toBe(0);
    current = next;
    expect(await seen()).toEqual([current, current]);
  }
}, 1_200_000);
