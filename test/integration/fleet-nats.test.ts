/** A fleet whose log goes over NATS, with processes that are killed and cut off; the same without a bus. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { type FleetEdge, TestFleet, until } from "../kit/fleet.ts";
import { fleetStorm } from "../kit/fleet-storm.ts";
import { startNats, type TestNats } from "../kit/nats.ts";
import { stage } from "../kit/stage.ts";
import { steadyLoad } from "../kit/steady-load.ts";

const { app } = stage();
const PURGES = 1_000;
/** Pages that are stored before, and requests a second to each edge. */
const PAGES = 50;
const RATE = 100;
/** A restarted edge has another port, which would be another host. */
const HOST = { host: "shop.example" };

/** The control plane, and with a bus its servers too, are gone: what viewers notice, also over an edge's restart. */
async function servesAlone(nats: TestNats | null): Promise<void> {
  const fleet = new TestFleet([], nats);
  try {
    await fleet.ready();
    const origin = app(async (_request, { target }) => {
      return new Response(`origin GET ${target}`, { headers: { "cache-control": "max-age=3600" } });
    });
    const sites = { shop: fleet.site({ origins: { app: { url: origin.url } } }) };
    await fleet.ask("POST", "/v1/apply", { sites });
    const disk = { cache: { disk: { size: "64MiB" } } };
    const [a, b] = [await fleet.edge("edge-a", disk), await fleet.edge("edge-b", disk)];
    await fleet.apply(sites, [a, b]);
    for (const edge of [a, b])
      for (let i = 0; i < PAGES; i++) expect((await edge.get(`/p/${i}`, HOST)).status).toBe(200);
    await until("they are on the disk", async () => (await onDisk(b)) >= PAGES);
    const asked = origin.count();
    fleet.control.kill("SIGKILL");
    await fleet.control.end();
    for (const server of nats?.servers ?? []) await server.crash();
    const path = (n: number) => `/p/${n % PAGES}`;
    const atA = steadyLoad(a.http, RATE, path, HOST);
    await Bun.sleep(500);
    b.program.kill("SIGKILL");
    await b.program.end();
    await b.restart();
    expect(b.program.err).toContain("starting from the last known good snapshot");
    const atB = steadyLoad(b.http, RATE, path, HOST);
    await Bun.sleep(1_000);
    await Promise.all([atA.stop(), atB.stop()]);
    expect([...atA.losses, ...atB.losses]).toEqual([]);
    expect(atA.sent() + atB.sent()).toBeGreaterThan(RATE);
    // Everything came from what they had, also after the restart.
    expect(origin.count()).toBe(asked);
    expect((await b.get("/p/0", HOST)).cacheStatus).toContain("; unsynced");
  } finally {
    await fleet.stop();
  }
}

async function onDisk(edge: FleetEdge): Promise<number> {
  const response = await fetch(`${edge.control}/v1/stats`, { keepalive: false } as RequestInit);
  return ((await response.json()) as { disk: { objects: number } }).disk.objects;
}

describe("over three NATS servers", () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNats(3);
  }, 30_000);
  afterAll(async () => {
    await nats?.stop();
  });

  test("1,000 purges over kills of the stream's leader, the control plane and an edge, with a shield cut off and an edge that is late: each is applied everywhere, in order", async () => {
    const report = await fleetStorm(nats, PURGES);
    expect(report.purges).toBe(PURGES);
    expect(report.requests).toBeGreaterThan(100);
  }, 120_000);
});

test("the same without a bus, with fewer", async () => {
  const report = await fleetStorm(null, PURGES / 5);
  expect(report.purges).toBe(PURGES / 5);
}, 120_000);

describe("a control plane that is gone costs viewers nothing, also over an edge's restart:", () => {
  test("where edges read its log", () => servesAlone(null), 30_000);

  test("where the log goes over NATS, and that is gone as well", async () => {
    const nats = await startNats();
    try {
      await servesAlone(nats);
    } finally {
      await nats.stop();
    }
  }, 30_000);
});

describe("over one NATS server", () => {
  test("edges follow while the control plane is away: one that starts then has all, one that never did joins from the bus alone", async () => {
    const nats = await startNats();
    const fleet = new TestFleet([], nats);
    try {
      await fleet.ready();
      await fleet.ask("POST", "/v1/apply", { sites: { shop: fleet.site() } });
      const a = await fleet.edge("edge-a");
      const b = await fleet.edge("edge-b");
      expect((await b.get("/x")).status).toBe(200);
      b.program.kill("SIGKILL");
      await b.program.end();
      const { value } = await fleet.ask("POST", "/v1/purges?wait=applied&seconds=1", {
        scope: "tag",
        site: "shop",
        tags: ["all"],
      });
      await until("edge-a has it", async () => (await a.view()).applied === value.sequence);
      fleet.control.kill("SIGKILL");
      await fleet.control.end();
      // What it had is gone, but for its credential.
      for (const name of ["snapshot.json", "purges.db", "purges.db-wal", "purges.db-shm"])
        rmSync(`${b.path}/${name}`, { force: true });
      await b.restart();
      expect(await b.view()).toMatchObject({ snapshot: 1, applied: value.sequence, synced: true });
      expect((await b.get("/x")).status).toBe(200);
      expect((await a.view()).synced).toBe(true);
    } finally {
      await fleet.stop();
      await nats.stop();
    }
  }, 30_000);

  test("an edge says that it is not in step while the server is away, and takes up what it missed", async () => {
    const nats = await startNats();
    const fleet = new TestFleet([], nats);
    try {
      await fleet.ready();
      await fleet.ask("POST", "/v1/apply", { sites: { shop: fleet.site() } });
      const a = await fleet.edge("edge-a");
      await a.get("/x");
      for (const server of nats.servers) await server.crash();
      await until("it knows", async () => !(await a.view()).synced);
      fleet.version++;
      const body = { scope: "tag", site: "shop", tags: ["all"] };
      expect((await fleet.ask("POST", "/v1/purges", body)).status).toBe(201);
      expect((await a.get("/x")).body).toBe("/x v1");
      for (const server of nats.servers) await server.restart();
      await until("it has it", async () => (await a.get("/x")).body === "/x v2");
      await until("it is in step", async () => (await a.view()).synced);
    } finally {
      await fleet.stop();
      await nats.stop();
    }
  }, 120_000);
});
