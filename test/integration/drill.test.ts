/** `proxima drill failover` on a running node of several processes: who noticed, how soon, and that it is all over by itself. */
import { describe, expect, test } from "bun:test";
import type { DrillReport } from "../../src/node/drill-service.ts";
import { text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";
import { steadyLoad } from "../kit/steady-load.ts";

const { app, programs } = stage();

/** An edge of two workers before two well origins, under load. */
async function node(group: object = {}) {
  const answer = (name: string) =>
    app((request) =>
      text(`${name} ${request.method} ${new URL(request.url).pathname}`, { "cache-control": "no-store" }),
    );
  const [first, second] = [answer("first"), answer("second")];
  const made = programs();
  const origin = (url: string) => ({ url, ejection: { forMs: 300 } });
  await made.write(
    "edge.json",
    JSON.stringify({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      workers: 2,
      dataDir: "./data",
      sites: {
        shop: {
          hosts: ["*"],
          origins: { app: origin(first.url), spare: origin(second.url) },
          originGroups: { both: { members: ["app", "spare"], attemptTimeoutMs: 200, ...group } },
          behaviors: [{ path: "/*", origin: "both" }],
        },
      },
    }),
  );
  const program = made.start(["edge", "--config", "edge.json"]);
  const { http, control, controlPort } = await program.addresses();
  const drills = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${control}/v1/drills${path}`, {
      method,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, report: (await response.json()) as DrillReport & { detail: string } };
  };
  const run = (...argv: string[]) =>
    made.run(["drill", "failover", ...argv, "--control", `127.0.0.1:${controlPort}`]);
  return { made, program, http, control, controlPort, drills, run, first, second };
}

describe("a drill", () => {
  test.each([["delay"], ["cut"]])(
    "of the kind %s is noticed by the node and not by its viewers",
    async (fault) => {
      const { http, run } = await node();
      const load = steadyLoad(http, 100, (n) => `/${n}`);
      const { status, out, err } = await run("shop", "--for", "600ms", "--fault", fault, "--json");
      await load.stop();
      expect(load.losses).toEqual([]);
      expect(err).toBe("");
      const report = JSON.parse(out) as DrillReport;
      expect(report).toMatchObject({
        site: "shop",
        group: "both",
        origin: "app",
        fault,
        state: "ended",
        failed: 0,
      });
      expect(report.requests).toBeGreaterThan(50);
      expect(report.failovers).toBeGreaterThan(0);
      expect(report.detectedAfterMs).toBeLessThan(600);
      expect(report.recoveredAfterMs).not.toBeNull();
      expect(status).toBe(0);
    },
    20_000,
  );

  test("says how many viewers noticed where nothing stands for the origin", async () => {
    const { http, run } = await node({ members: ["app"] });
    const load = steadyLoad(http, 100, (n) => `/${n}`);
    const { status, out, err } = await run("shop", "--for", "400ms", "--origin", "app", "--group", "both");
    await load.stop();
    expect(err).toContain("origin app of site shop refuses connections for 0.4 s\n");
    expect(Number(/of them failed +(\d+)/.exec(out)?.[1])).toBeGreaterThan(10);
    expect(out).toMatch(/taken out +after \d+ ms\n/);
    expect(status).toBe(1);
  }, 20_000);

  test("ends at its time although the command that asked for it was killed", async () => {
    const { made, http, controlPort, drills } = await node({ members: ["app"] });
    const command = made.start([
      ...["drill", "failover", "shop", "--for", "1s", "--group", "both"],
      ...["--control", `127.0.0.1:${controlPort}`],
    ]);
    await command.until(/refuses connections/);
    command.kill("SIGKILL");
    expect((await fetch(`${http}/a`)).status).toBe(502);
    expect((await drills("POST", "", { site: "shop" })).status).toBe(409);
    const endMs = Date.now() + 5_000;
    let status = 0;
    while (status !== 200 && Date.now() < endMs) status = (await fetch(`${http}/a`)).status;
    expect(status).toBe(200);
  }, 20_000);

  test("is over when it is told to end, on every worker", async () => {
    const { http, drills } = await node({ members: ["app"] });
    const { report } = await drills("POST", "", { site: "shop", seconds: 60 });
    const get = async () => (await fetch(`${http}/a`, { keepalive: false })).status;
    expect(new Set(await Promise.all(Array.from({ length: 20 }, get)))).toEqual(new Set([502]));
    expect((await drills("DELETE", `/${report.id}`)).report.state).not.toBe("running");
    expect(new Set(await Promise.all(Array.from({ length: 20 }, get)))).toEqual(new Set([200]));
  }, 20_000);

  test("is over at once when its command is interrupted", async () => {
    const { made, http, controlPort } = await node({ members: ["app"] });
    const command = made.start([
      ...["drill", "failover", "shop", "--for", "10m", "--group", "both"],
      ...["--control", `127.0.0.1:${controlPort}`],
    ]);
    await command.until(/refuses connections for 600 s/);
    expect((await fetch(`${http}/a`)).status).toBe(502);
    command.kill("SIGINT");
    // A viewer noticed.
    expect(await command.end()).toMatchObject({
      status: 1,
      out: expect.stringContaining("of them failed   1\n"),
    });
    expect((await fetch(`${http}/a`)).status).toBe(200);
  }, 20_000);

  test("is refused with what was wrong", async () => {
    const { drills, run } = await node();
    const refused: [unknown, string][] = [
      [{ site: "nope" }, 'there is no site "nope"'],
      [{ site: "shop", group: "nope" }, 'site shop has no group "nope"'],
      [{ site: "shop", origin: "nope" }, 'site shop has no origin "nope"'],
      [{ site: "shop", fault: "flood" }, "fault: "],
      [{ site: "shop", seconds: 4_000 }, "seconds: "],
      [{ site: "shop", extra: 1 }, "extra"],
      [[], "object"],
    ];
    for (const [body, detail] of refused) {
      const { status, report } = await drills("POST", "", body);
      expect([status, report.detail]).toEqual([400, expect.stringContaining(detail)]);
    }
    expect((await drills("GET", "/nope")).status).toBe(404);
    expect(await run("nope")).toMatchObject({
      status: 2,
      err: expect.stringContaining('there is no site "nope"'),
    });
    expect(await run("shop", "--for", "2d")).toMatchObject({
      status: 2,
      err: expect.stringContaining("100ms to 1h"),
    });
  }, 20_000);
});
