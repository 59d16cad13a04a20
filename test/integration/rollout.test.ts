/** Staged roll-outs with real processes: viewers ask all the time, and processes are killed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type FleetEdge, TestFleet, until } from "../kit/fleet.ts";
import { startNats } from "../kit/nats.ts";

let fleet: TestFleet;
let edges: FleetEdge[];
/** Answers nothing but 500. */
let broken: Bun.Server<undefined>;
beforeAll(async () => {
  fleet = new TestFleet();
  await fleet.ready();
  edges = await Promise.all([fleet.edge("edge-a"), fleet.edge("edge-b")]);
  broken = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => new Response("broken", { status: 500, headers: { "cache-control": "no-store" } }),
  });
  await fleet.apply({ shop: fleet.site() }, edges);
}, 60_000);
afterAll(async () => {
  await broken.stop(true);
  await fleet.stop();
});

const rollout = async (id: string) => (await fleet.ask("GET", `/v1/rollouts/${id}`)).value;
/** Which edges serve the redirect of a new version. */
async function redirecting(path: string): Promise<string[]> {
  const answers = await Promise.all(
    edges.map(async (edge) => ((await edge.get(path)).status === 302 ? edge.name : "")),
  );
  return answers.filter((name) => name !== "");
}
const withRedirect = (path: string) => fleet.site({ redirects: [{ path, to: "/new", status: 302 }] });

describe("a roll-out to a part of the fleet", () => {
  test("goes back by itself when the new version's requests fail, and the other nodes never had it", async () => {
    const begun = await fleet.ask("POST", "/v1/apply", {
      sites: { shop: fleet.site({ origins: { app: { url: `http://127.0.0.1:${broken.port}` } } }) },
      rollout: { nodes: ["edge-a"], stages: [100], holdSeconds: 600, minRequests: 20 },
    });
    const { id } = begun.value.rollout;
    let [failed, asked, elsewhere] = [0, 0, 0];
    await until("it went back", async () => {
      const [a, b] = await Promise.all(edges.map((edge) => edge.get(`/load/${asked}`)));
      asked++;
      if (a?.status === 500) failed++;
      if (b?.status !== 200) elsewhere++;
      return (await rollout(id)).state === "rolledBack";
    });
    expect((await rollout(id)).reason).toMatch(
      /^\d+ of \d+ requests failed \(\d+(\.\d+)? %\); 5 % are allowed$/,
    );
    expect([failed > 0, elsewhere]).toEqual([true, 0]);
    await until("edge-a serves the old version", async () => (await edges[0]?.get("/after"))?.status === 200);
    const list = await fleet.run("rollouts", "list", "--control", fleet.url);
    expect([list.status, list.out]).toEqual([
      0,
      expect.stringMatching(/ro_\w+ +shop 1 -> 2 +rolledBack +1 of 2/),
    ]);
  }, 40_000);

  test("goes back when a node may not run the new version, and the site is served by the old one all the time", async () => {
    let failed = 0;
    const asking = new AbortController();
    const load = (async () => {
      for (let i = 0; !asking.signal.aborted; i++) {
        const answers = await Promise.all(edges.map((edge) => edge.get(`/all/${i}`)));
        failed += answers.filter(({ status }) => status !== 200).length;
      }
    })();
    const begun = await fleet.ask("POST", "/v1/apply", {
      sites: { shop: fleet.site({ origins: { app: { directory: "/etc" } } }) },
      rollout: { stages: [50, 100] },
    });
    const { id } = begun.value.rollout;
    await until("it went back", async () => (await rollout(id)).state === "rolledBack");
    asking.abort();
    await load;
    expect((await rollout(id)).reason).toMatch(/^edge-. can not put it in force: sites\.shop\.origins\.app/);
    expect(failed).toBe(0);
  }, 30_000);

  test("is kept by nodes and control plane that are killed, and ends well", async () => {
    const begun = await fleet.ask("POST", "/v1/apply", {
      sites: { shop: withRedirect("/killed") },
      rollout: { nodes: ["edge-b"], stages: [100], holdSeconds: 1 },
    });
    const { id } = begun.value.rollout;
    await until("edge-b has it", async () => (await redirecting("/killed")).join() === "edge-b");
    await fleet.ask("POST", `/v1/rollouts/${id}/pause`, {});
    fleet.control.child.kill("SIGKILL");
    await fleet.control.child.exited;
    // Without a control plane, from its own disk.
    const b = edges[1] as FleetEdge;
    b.program.child.kill("SIGKILL");
    await b.program.child.exited;
    await b.restart();
    expect(await redirecting("/killed")).toEqual(["edge-b"]);
    await fleet.restartControl();
    expect((await rollout(id)).state).toBe("paused");
    await fleet.ask("POST", `/v1/rollouts/${id}/promote`, {});
    await until("both have it", async () => (await redirecting("/killed")).length === 2);
    // Killed again, in the last stage.
    fleet.control.child.kill("SIGKILL");
    await fleet.control.child.exited;
    await fleet.restartControl();
    expect(await rollout(id)).toMatchObject({ state: "running", stage: 2 });
    expect(await redirecting("/killed")).toHaveLength(2);
    await fleet.ask("POST", `/v1/rollouts/${id}/promote`, { all: true });
    expect(await rollout(id)).toMatchObject({ state: "completed" });
    const versions = await fleet.run("versions", "shop", "--control", fleet.url);
    expect(versions.out).toMatch(/^4 +yes/m);
  }, 40_000);

  test("goes to its end by a command that waits, and purges reach both versions in the meantime", async () => {
    const file = await fleet.programs.write(
      "next.json",
      JSON.stringify({ sites: { shop: withRedirect("/next") } }),
    );
    const running = fleet.run(
      "apply",
      file,
      "--control",
      fleet.url,
      "--nodes",
      "edge-a",
      "--stages",
      "100%",
      "--hold",
      "2s",
      "--wait",
    );
    await until("edge-a has it", async () => (await redirecting("/next")).join() === "edge-a");
    await Promise.all(edges.map((edge) => edge.get("/page")));
    fleet.version++;
    const purge = await fleet.ask("POST", "/v1/purges?wait=applied", {
      site: "shop",
      scope: "tag",
      tags: ["all"],
    });
    expect(purge.value.state).not.toBe("accepted");
    for (const edge of edges) expect((await edge.get("/page")).body).toBe(`/page v${fleet.version}`);
    // It waits on when the control plane is killed in the middle.
    fleet.control.child.kill("SIGKILL");
    await fleet.control.child.exited;
    await Bun.sleep(700);
    await fleet.restartControl();
    const { status, out, err } = await running;
    expect([status, out]).toEqual([0, expect.stringMatching(/roll-out ro_\w+ has begun/)]);
    expect(err).toMatch(/started.*\n.*stage 1 of 2 \(1 named\)[\s\S]*stage 2 of 2 \(100 %\)[\s\S]*completed/);
    expect(await redirecting("/next")).toHaveLength(2);
  }, 60_000);
});

test("where the log goes over NATS each node takes its own side as well", async () => {
  const nats = await startNats();
  const onBus = new TestFleet([], nats);
  try {
    await onBus.ready();
    const [a, b] = await Promise.all([onBus.edge("edge-a"), onBus.edge("edge-b")]);
    await onBus.apply({ shop: onBus.site() }, [a, b]);
    const begun = await onBus.ask("POST", "/v1/apply", {
      sites: { shop: onBus.site({ redirects: [{ path: "/bus", to: "/new", status: 302 }] }) },
      rollout: { nodes: ["edge-b"], stages: [100], holdSeconds: 600 },
    });
    await until("edge-b has it", async () => (await b.get("/bus")).status === 302);
    expect((await a.get("/bus")).status).toBe(200);
    await onBus.ask("POST", `/v1/rollouts/${begun.value.rollout.id}/abort`, {});
    await until("edge-b has it no more", async () => (await b.get("/bus")).status === 200);
  } finally {
    await onBus.stop();
    await nats.stop();
  }
}, 40_000);
