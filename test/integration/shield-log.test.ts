/** An edge and its shield that follow one log, at different speeds: what the edge was told to forget never comes back from the shield. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import type { ConfigInput } from "../../src/config/types.ts";
import { type FleetStanding, NO_FLEET } from "../../src/edge/settings.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";

const { stops, app } = stage();
const LOG = "5b1b8b66-0000-4000-8000-000000000000";

function secret(): { file: string } {
  const folder = mkdtempSync(join(tmpdir(), "proxima-shield-log-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "secret"), "a secret of more than thirty-two characters\n");
  return { file: join(folder, "secret") };
}

async function node(name: string, options: TestEdgeOptions, tiers: object, site: object): Promise<TestEdge> {
  const edge = await startTestEdge({
    ...options,
    site,
    config: { name, tiers: { secret: secret(), ...tiers } as ConfigInput["tiers"] & object },
  });
  stops.push(() => edge.stop());
  return edge;
}

/** An edge, its shield, and an origin that says which version it serves. */
async function tiers(options: { clock?: ManualClock; fresh?: number } = {}) {
  const state = { version: 1 };
  const origin = app(() =>
    text(`v${state.version}`, {
      "cache-control": `max-age=${options.fresh ?? 600}, stale-if-error=600`,
      "cache-tag": "t",
    }),
  );
  const clock = options.clock === undefined ? {} : { clock: options.clock };
  const shield = await node("fra", { origin: origin.url, ...clock }, { accept: true }, {});
  const edge = await node(
    "edge",
    { origin: origin.url, ...clock },
    { shields: { fra: { urls: [shield.url] } } },
    { shields: ["fra"] },
  );
  const get = async (path = "/a") => {
    const { status, body, headers } = await edge.get(path, { host: "site.example" });
    return { status, body, told: headers.get("cache-status") ?? "" };
  };
  return { origin, shield, edge, get, state };
}

function standing(edge: TestEdge, over: Partial<FleetStanding> = {}): void {
  edge.edge.setFleet({ ...NO_FLEET, log: LOG, ...over });
}

/** Applies the next entry of a node's log. */
async function purge(edge: TestEdge): Promise<void> {
  const { entry } = edge.log.append(
    { site: "test", scope: "tag", targets: ["t"], mode: "hard", acceptedMs: 0 },
    null,
  );
  await edge.edge.purge(entry).applied;
}

/** Both hold version 1; then the origin has version 2, and the edge alone has applied the purge. */
async function edgeAhead(options: Parameters<typeof tiers>[0] = {}, logs = { edge: LOG, shield: LOG }) {
  const made = await tiers(options);
  standing(made.edge, { log: logs.edge });
  standing(made.shield, { log: logs.shield });
  expect((await made.get()).body).toBe("v1");
  made.state.version = 2;
  await purge(made.edge);
  return made;
}

describe("a shield that is behind the edge that asks", () => {
  test("catches up first, and answers with what is valid for the edge", async () => {
    const { shield, get, origin } = await edgeAhead();
    const waiting = get();
    await Bun.sleep(150);
    expect(origin.count()).toBe(1);
    await purge(shield);
    const { body, told } = await waiting;
    expect([body, told]).toEqual(["v2", expect.stringMatching(/^fra; fwd=uri-miss.*stored/)]);
    expect((await get()).told).toMatch(/^edge; hit/);
    expect(origin.count()).toBe(2);
  });

  test("and stays so does not use what it has stored; it makes one request wait, no more", async () => {
    const { shield, edge, get } = await edgeAhead();
    const { body, told } = await get();
    expect([body, told]).toEqual(["v2", expect.stringMatching(/^fra; fwd=bypass.*detail=log-behind/)]);
    // The edge stores it: it was asked for after the purge.
    expect((await get()).told).toMatch(/^edge; hit/);
    const startMs = performance.now();
    await purge(edge);
    expect((await get()).told).toContain("detail=log-behind");
    expect(performance.now() - startMs).toBeLessThan(700);
    // What it holds is still version 1, which it gives to nobody who knows better.
    expect((await shield.get("/a", { host: "site.example" })).body).toBe("v1");
    await purge(shield);
    await purge(shield);
    await purge(edge);
    await purge(shield);
    expect((await get()).told).toMatch(/^fra; fwd=uri-miss/);
  }, 10_000);

  test("is not behind for entries that are no purges, nor for a node that has begun anew at one", async () => {
    const { shield, edge, get } = await tiers();
    standing(edge);
    standing(shield, { applied: 7 });
    await purge(edge);
    const startMs = performance.now();
    expect((await get()).told).toMatch(/^fra; fwd=uri-miss/);
    expect(performance.now() - startMs).toBeLessThan(700);
  });

  test("and follows another log is asked as before: numbers of two logs say nothing of each other", async () => {
    const { get } = await edgeAhead({}, { edge: LOG, shield: "another-log" });
    expect(await get()).toMatchObject({ body: "v1" });
  });

  test("revalidation of the edge is not answered from what the shield has stored either", async () => {
    const clock = new ManualClock();
    const { edge, shield, get, state } = await tiers({ clock, fresh: 10 });
    standing(edge);
    standing(shield);
    expect((await get()).body).toBe("v1");
    state.version = 2;
    clock.advance(11_000);
    await purge(edge);
    const waiting = get();
    await Bun.sleep(100);
    clock.advance(1_500);
    expect(await waiting).toMatchObject({ body: "v2", told: expect.stringContaining("log-behind") });
  });
});

test("an answer that is marked as valid up to less than what was asked for is nobody's answer", async () => {
  const origin = app(() => text("origin", { "cache-control": "max-age=60" }));
  const old = app(() =>
    text("old", { "cache-control": "max-age=60", "x-proxima-tier": "1;fresh=1000;valid=0" }),
  );
  const edge = await node(
    "edge",
    { origin: origin.url },
    { shields: { fra: { urls: [old.url] } } },
    { shields: ["fra"] },
  );
  standing(edge);
  await purge(edge);
  expect((await edge.get("/a", { host: "site.example" })).body).toBe("origin");
  expect(old.count()).toBe(1);
});

describe("a node that has to validate, since it has not heard of the fleet's log for long,", () => {
  test("gives nothing stored without asking the origin, and nothing stale when that fails", async () => {
    let isDown = false;
    const origin = app(() =>
      isDown
        ? new Response("no", { status: 503 })
        : text("body", { "cache-control": "max-age=600, stale-if-error=600", etag: '"1"' }),
    );
    const clock = new ManualClock();
    const edge = await startTestEdge({ origin: origin.url, clock });
    stops.push(() => edge.stop());
    const told = async () => {
      // An answer that is made once is given for a second.
      clock.advance(1_000);
      const { status, headers } = await edge.get("/a");
      return `${status} ${headers.get("x-cache")}${headers.get("cache-status")?.includes("unsynced") ? " unsynced" : ""}`;
    };
    expect([await told(), await told()]).toEqual(["200 MISS", "200 HIT"]);
    standing(edge, { unsynced: true });
    expect(await told()).toBe("200 HIT unsynced");
    standing(edge, { unsynced: true, mustValidate: true });
    const before = origin.count();
    expect([await told(), await told()]).toEqual(["200 EXPIRED unsynced", "200 EXPIRED unsynced"]);
    expect(origin.count()).toBe(before + 2);
    isDown = true;
    expect(await told()).toStartWith("503");
    standing(edge);
    isDown = false;
    await told();
    expect(await told()).toBe("200 HIT");
  });
});
