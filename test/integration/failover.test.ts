/** A site with two origins, each a process: what viewers notice when the primary is killed, hangs and comes back. */
import { describe, expect, test } from "bun:test";
import type { OriginReports } from "../../src/telemetry/origin-report.ts";
import { OriginProcess } from "../kit/origin-process.ts";
import { stage } from "../kit/stage.ts";
import { steadyLoad } from "../kit/steady-load.ts";

const { stops, programs } = stage();

async function originProcess(name: string): Promise<OriginProcess> {
  const origin = new OriginProcess(name);
  stops.push(() => origin.kill());
  return await origin.start();
}

/** An edge of two workers before a group of two origins; a hanging origin is given up after 400 ms. */
async function twoOrigins(more: { health?: object; group?: object } = {}) {
  const primary = await originProcess("primary");
  const backup = await originProcess("backup");
  const made = programs();
  const health = more.health === undefined ? {} : { health: more.health };
  await made.write(
    "edge.json",
    JSON.stringify({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      workers: 2,
      dataDir: "./data",
      sites: {
        shop: {
          hosts: ["*"],
          origins: {
            app: { url: primary.url, ejection: { forMs: 500 }, ...health },
            spare: { url: backup.url, ejection: { forMs: 500 } },
          },
          originGroups: { both: { members: ["app", "spare"], attemptTimeoutMs: 400, ...more.group } },
          behaviors: [{ path: "/private/*", cache: false }, { path: "/*" }],
        },
      },
    }),
  );
  const program = made.start(["edge", "--config", "edge.json"]);
  const { http, control } = await program.addresses();
  const upstream = async () => (await (await fetch(`${control}/v1/origins`)).json()) as OriginReports;
  const app = async () => (await upstream()).origins.find(({ name }) => name === "app");
  return { made, primary, backup, program, http, control, upstream, app };
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 10_000;
  while (!(await check())) {
    if (Date.now() > endMs) throw new Error(`10 s passed before ${what}`);
    await Bun.sleep(20);
  }
}

/** What is stored, what is not, and what passes by the cache. */
const mixed = (n: number) => `/${["stored", "fresh", "private"][n % 3]}/${n}`;

describe("a group of two origins under 200 requests a second", () => {
  test("loses no GET when the primary is killed, and goes back to it when it is well", async () => {
    const { primary, program, http, app, upstream } = await twoOrigins();
    const load = steadyLoad(http, 200, mixed);
    await until("the primary answers", () => load.recent().includes("primary"));
    await primary.kill();
    await until("the backup answers alone", () => load.recent().every((name) => name === "backup"));
    expect((await app())?.state).not.toBe("up");
    await primary.start();
    await until("the primary answers alone", () => load.recent().every((name) => name === "primary"));
    await load.stop();
    expect(load.losses).toEqual([]);
    expect((await app())?.workers).toEqual({ up: 2, trial: 0, down: 0 });
    expect((await upstream()).groups[0]?.failovers).toBeGreaterThan(0);
    await program.until(
      /error: origin app of site shop is down, its groups leave it out for 0\.5 s: 5 requests/,
    );
    await program.until(/origin app of site shop is up again/);
  }, 40_000);

  test("loses no GET when the primary hangs, and goes back to it when it is well", async () => {
    const { primary, http, app, upstream } = await twoOrigins();
    const load = steadyLoad(http, 200, mixed);
    await until("the primary answers", () => load.recent().includes("primary"));
    primary.halt();
    await until("the backup answers alone", () => load.recent().every((name) => name === "backup"));
    expect((await app())?.state).not.toBe("up");
    primary.goOn();
    await until("the primary answers alone", () => load.recent().every((name) => name === "primary"));
    await load.stop();
    expect(load.losses).toEqual([]);
    // Nobody waited for more than one attempt: who waited when it was taken out moved on at once.
    expect((await upstream()).groups[0]?.moved).toBeGreaterThan(0);
    expect((await app())?.workers).toEqual({ up: 2, trial: 0, down: 0 });
  }, 40_000);
});
