/** The local CI mode: a whole CDN in one process, and a clock that a test moves. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { MovableClock } from "../../src/base/clock.ts";
import { CI_TOKEN } from "../../src/cli/ci/token.ts";
import type { Io } from "../../src/cli/io.ts";
import { isPortFree } from "../../src/cli/ports.ts";
import { run } from "../../src/cli/program.ts";
import { mustParse } from "../../src/cli/serve.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { createEdge } from "../../src/node/create-edge.ts";
import { startNode } from "../../src/node/node.ts";
import { CiRun } from "../kit/ci.ts";
import { startTestControl } from "../kit/control.ts";
import { until } from "../kit/fleet.ts";
import { isRunning } from "../kit/processes.ts";
import { Programs } from "../kit/program.ts";

const HOUR_MS = 3_600_000;
/** An answer made now may be some seconds older on a busy machine. */
const SLACK_MS = 30_000;
/** A test that starts processes, on a busy machine, in milliseconds. */
const PROCESSES_MS_MAX = 30_000;

let programs: Programs;
let cdn: CiRun;
let origin: Bun.Server<undefined>;
let requests: string[] = [];
/** What the origin says of the lifetime of its answers. */
const lifetimes: Record<string, string> = {
  "/expires": "expires",
  "/stale": "max-age=60, stale-while-revalidate=7200",
  "/short": "max-age=60",
};

/** A port that is free with the next one, below those that the system gives out. */
async function freePorts(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    if ((await isPortFree("127.0.0.1", port, false)) && (await isPortFree("127.0.0.1", port + 1, false)))
      return port;
  }
}

beforeAll(async () => {
  programs = new Programs();
  origin = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname } = new URL(request.url);
      requests.push(pathname);
      const lifetime = lifetimes[pathname] ?? "max-age=3600";
      return new Response(`${pathname} ${requests.length}`, {
        headers: {
          "surrogate-key": "all",
          date: new Date().toUTCString(),
          ...(lifetime === "expires"
            ? { expires: new Date(Date.now() + HOUR_MS).toUTCString() }
            : { "cache-control": lifetime }),
        },
      });
    },
  });
  cdn = await CiRun.start(programs, `http://127.0.0.1:${origin.port}`, "--pops", "fra,nyc");
}, PROCESSES_MS_MAX);

afterAll(async () => {
  cdn.program.kill("SIGTERM");
  await cdn.program.end();
  await programs.stop();
  await origin.stop(true);
});

test("each PoP has a cache of its own, and the shield spares the origin", async () => {
  requests = [];
  const headers = { host: "shop.example" };
  expect((await cdn.get("fra", "/a", headers)).cache).toBe("MISS");
  expect((await cdn.get("fra", "/a", headers)).cache).toBe("HIT");
  const other = await cdn.get("nyc", "/a", headers);
  expect(other.cache).toBe("MISS");
  expect(other.cacheStatus).toStartWith("shield; hit");
  expect(requests).toEqual(["/a"]);
});

test("an hour that is skipped is an hour in every cache, in Age and in Date", async () => {
  await cdn.get("fra", "/b");
  await cdn.get("nyc", "/b");
  const before = await cdn.get("fra", "/b");
  expect(before.age).toBeLessThan(30);
  const moved = await cdn.ask("POST", "/v1/clock", { advance: "30m" });
  expect(moved.status).toBe(200);
  expect(moved.value.nodes).toEqual([
    { name: "fra", applied: true },
    { name: "nyc", applied: true },
    { name: "shield", applied: true },
  ]);
  for (const pop of ["fra", "nyc"]) {
    const half = await cdn.get(pop, "/b");
    expect(half.cache).toBe("HIT");
    expect(half.age).toBeGreaterThanOrEqual(1_800);
    expect(half.age).toBeLessThan(1_830);
    expect(half.dateMs).toBe(before.dateMs);
  }
  await cdn.ask("POST", "/v1/clock", { advanceMs: HOUR_MS / 2 + 1_000 });
  const late = await cdn.get("fra", "/b");
  expect(late.cache).toBe("EXPIRED");
  expect(late.age).toBe(0);
  const nowMs = Date.parse((await cdn.ask("GET", "/v1/clock")).value.now);
  expect(Math.abs(late.dateMs - nowMs)).toBeLessThan(SLACK_MS);
  expect(late.dateMs - before.dateMs).toBeGreaterThanOrEqual(HOUR_MS);
});

test("after a skip an origin's answers are as new as they were before: by max-age, by Expires, through a shield", async () => {
  await cdn.ask("POST", "/v1/clock", { advance: "3d" });
  for (const path of ["/fresh", "/expires"]) {
    const first = await cdn.get("fra", path);
    expect(first.cache).toBe("MISS");
    expect(first.age).toBeLessThan(2);
    const again = await cdn.get("fra", path);
    expect(again.cache).toBe("HIT");
    const ttl = Number(/ttl=(\d+)/.exec(again.cacheStatus)?.[1]);
    expect(ttl).toBeGreaterThan(3_500);
    expect(ttl).toBeLessThanOrEqual(3_600);
  }
});

test("what is past its lifetime is served stale as long as the origin allows", async () => {
  await cdn.get("fra", "/stale");
  await cdn.ask("POST", "/v1/clock", { advance: "1h" });
  expect((await cdn.get("fra", "/stale")).cache).toBe("UPDATING");
  await until("it is new again", async () => (await cdn.get("fra", "/stale")).cache === "HIT");
  await cdn.ask("POST", "/v1/clock", { advance: "2h5m" });
  expect((await cdn.get("fra", "/stale")).cache).toBe("EXPIRED");
});

test("a clock that stands keeps everything as old as it is, and the fleet goes on", async () => {
  const stood = await cdn.ask("POST", "/v1/clock", { freeze: true });
  expect(stood.value.frozen).toBe(true);
  await cdn.get("nyc", "/short");
  await Bun.sleep(20);
  expect((await cdn.ask("GET", "/v1/clock")).value.now).toBe(stood.value.now);
  expect((await cdn.get("nyc", "/short")).age).toBe(0);
  // Rates, waits and heartbeats are of the machine's time.
  const purge = await cdn.ask("POST", "/v1/purges?wait=applied", { scope: "tag", tags: ["all"] });
  expect(purge.value.state).not.toBe("accepted");
  expect((await cdn.get("nyc", "/short")).cache).toBe("MISS");
  await cdn.ask("POST", "/v1/clock", { advance: "59s" });
  expect(await cdn.get("nyc", "/short")).toMatchObject({ cache: "HIT", age: 59 });
  await cdn.ask("POST", "/v1/clock", { advance: "1s" });
  expect((await cdn.get("nyc", "/short")).cache).toBe("EXPIRED");
  const goes = await cdn.ask("POST", "/v1/clock", { freeze: false });
  expect(goes.value.frozen).toBe(false);
  await until("time passes", async () => (await cdn.ask("GET", "/v1/clock")).value.now > goes.value.now);
});

test("tokens end by the same clock, and nodes stay reachable however far it is moved", async () => {
  const made = await cdn.ask("POST", "/v1/tokens", {
    name: "short",
    scopes: ["read"],
    expiresInSeconds: 600,
  });
  expect((await cdn.ask("GET", "/v1/clock", undefined, made.value.secret)).status).toBe(200);
  await cdn.ask("POST", "/v1/clock", { advance: "1d" });
  expect((await cdn.ask("GET", "/v1/clock", undefined, made.value.secret)).status).toBe(401);
  const nodes = (await cdn.ask("GET", "/v1/nodes")).value.items;
  expect(nodes.map(({ state }: { state: string }) => state)).toEqual(["reachable", "reachable", "reachable"]);
  const nowMs = Date.parse((await cdn.ask("GET", "/v1/clock")).value.now);
  expect(Math.abs(Date.parse(nodes[0].seenAt) - nowMs)).toBeLessThan(SLACK_MS);
});

test("a purge of the control plane reaches every PoP before it answers", async () => {
  for (const pop of ["fra", "nyc"]) await cdn.get(pop, "/purged");
  const purge = await cdn.ask("POST", "/v1/purges?wait=counted", { scope: "tag", tags: ["all"] });
  expect(purge.value.nodes.length).toBe(3);
  for (const pop of ["fra", "nyc"]) expect((await cdn.get(pop, "/purged")).cache).toBe("MISS");
});

test("the clock is moved by who may, forward, and by words that it knows", async () => {
  const tries: [unknown, number, RegExp][] = [
    [{}, 400, /"advance": "1h"/],
    [{ advance: "1h", advanceMs: 5 }, 400, /one of/],
    [{ advance: "soon" }, 400, /not a duration; expected .* 1h30m/],
    [{ advance: "-1h" }, 400, /not a duration/],
    [{ advance: "999999999d" }, 400, /a hundred years/],
    [{ advanceMs: -1 }, 400, /advanceMs/],
    [{ set: "tomorrow" }, 400, /set/],
    [{ set: "2001-01-01T00:00:00Z" }, 409, /only goes forward: it is 20/],
    [{ back: "1h" }, 400, /back/],
  ];
  const before = (await cdn.ask("GET", "/v1/clock")).value;
  for (const [body, status, detail] of tries) {
    const answer = await cdn.ask("POST", "/v1/clock", body);
    expect([status, answer.value.detail]).toEqual([answer.status, expect.stringMatching(detail)]);
  }
  expect((await cdn.ask("GET", "/v1/clock")).value.sequence).toBe(before.sequence);
  const read = await cdn.ask("POST", "/v1/tokens", { name: "reader", scopes: ["read"] });
  expect((await cdn.ask("POST", "/v1/clock", { advance: "1h" }, read.value.secret)).status).toBe(403);
  const audit = (await cdn.ask("GET", "/v1/audit?limit=500")).value.items;
  expect(audit.some(({ action }: { action: string }) => action === "clock.move")).toBe(true);
});

test("a control plane that is none for tests has no clock to move, and does not know the token", async () => {
  const control = await startTestControl();
  try {
    for (const method of ["GET", "POST"])
      expect(
        (await control.ask(method, "/v1/clock", method === "POST" ? { advance: "1h" } : undefined)).status,
      ).toBe(404);
    expect((await control.ask("GET", "/openapi.json")).value.paths["/v1/clock"]).toBeUndefined();
    expect((await control.ask("GET", "/v1/sites", undefined, { token: CI_TOKEN })).status).toBe(401);
  } finally {
    await control.stop();
  }
});

test(
  "the sites of a config, with an origin in place of theirs; https is what the viewer's proxy says",
  async () => {
    const file = await programs.write(
      "site.json",
      JSON.stringify({
        sites: {
          shop: {
            hosts: ["shop.example"],
            shields: ["ams"],
            origins: { app: { url: "https://app.internal.example", tls: { serverName: "x.example" } } },
            behaviors: [{ path: "/*", viewerProtocol: "redirect-to-https", cacheKey: { query: "none" } }],
          },
        },
      }),
    );
    const url = `http://127.0.0.1:${origin.port}`;
    const port = await freePorts();
    const shop = await CiRun.start(
      programs,
      url,
      "--config",
      file,
      ...["--pops", "one,two", "--http", `:${port}`],
      "--clock",
      "2031-05-01T00:00:00Z",
    );
    expect(Object.values(shop.ready.pops).map((pop) => pop.url)).toEqual([
      `http://127.0.0.1:${port}`,
      `http://127.0.0.1:${port + 1}`,
    ]);
    const headers = { host: "shop.example", "x-forwarded-proto": "https" };
    expect((await shop.get("one", "/x?a=1", { host: "shop.example" })).status).toBe(301);
    const first = await shop.get("one", "/x?a=1", headers);
    expect(first.cache).toBe("MISS");
    expect(new Date(first.dateMs).toISOString()).toStartWith("2031-05-01T00:0");
    expect((await shop.get("one", "/x?a=2", headers)).cache).toBe("HIT");
    expect(first.cacheStatus).toStartWith("shield;");
    shop.program.kill("SIGTERM");
    expect((await shop.program.end()).status).toBe(0);
  },
  PROCESSES_MS_MAX,
);

test(
  "it ends with a signal, and with the standard input of a parent that was killed; nothing is left",
  async () => {
    const directory = programs.folder;
    const told = await CiRun.start(programs, directory, "--pops", "one", "--no-shield");
    expect(told.ready.shield).toBeNull();
    expect(existsSync(told.ready.dataDir)).toBe(true);
    told.program.kill("SIGINT");
    expect((await told.program.end()).status).toBe(0);
    expect(existsSync(told.ready.dataDir)).toBe(false);

    const main = join(import.meta.dir, "../../src/main.ts");
    const parent = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const child = Bun.spawn([process.execPath, ${JSON.stringify(main)}, "dev", ${JSON.stringify(directory)}, "--ci", "--json", "--until-stdin-ends", "--pops", "one"], { stdin: "pipe", stdout: "inherit", stderr: "ignore" }); await child.exited;`,
      ],
      { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
    );
    let line = "";
    for await (const piece of parent.stdout) {
      line += new TextDecoder().decode(piece);
      if (line.includes("\n")) break;
    }
    const { pid, dataDir } = JSON.parse(line) as { pid: number; dataDir: string };
    expect(isRunning(pid)).toBe(true);
    parent.kill("SIGKILL");
    await until("it has ended", () => !isRunning(pid));
    expect(existsSync(dataDir)).toBe(false);
  },
  PROCESSES_MS_MAX,
);

test("a command line that can not be is told so, and nothing starts", async () => {
  const tries: [string[], RegExp][] = [
    [["--pops", "fra"], /--pops: this is for dev --ci/],
    [["--json", "--clock", "2027-01-01"], /--clock, --json: this is for dev --ci/],
    [["--ci", "--pops", "fra,fra"], /none of them twice/],
    [["--ci", "--pops", "FRA"], /lower-case letters/],
    [["--ci", "--pops", "shield"], /not "shield"/],
    [["--ci", "--clock", "soon"], /Expected a time/],
    [["--ci", "--workers", "2"], /--workers: dev --ci does not take this/],
    [["--ci", "--control", "0.0.0.0:0"], /loopback only/],
    [["--ci", "--config", "none.json"], /none\.json/],
  ];
  const none = (): never => {
    throw new Error("it was started");
  };
  for (const [argv, sentence] of tries) {
    let err = "";
    const io: Io = {
      out: none,
      err: (text) => {
        err += text;
      },
      color: false,
      env: {},
      flush: () => Promise.resolve(),
    };
    expect([
      argv,
      await run(["dev", ...argv], { io, createEdge: none, openConfig: none, startDemo: none }),
    ]).toEqual([argv, 2]);
    expect(err).toMatch(sentence);
  }
});

test(
  "an edge that was not started for it takes no time from its control plane; one that joins late has it",
  async () => {
    await cdn.ask("POST", "/v1/clock", { advance: "1d" });
    const invite = async () => (await cdn.ask("POST", "/v1/join-tokens", {})).value.secret;
    const config = (name: string) => ({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      workers: 1,
      dataDir: join(programs.folder, name),
      permitted: { addresses: ["127.0.0.0/8"] },
      join: { control: cdn.ready.control, name },
      sites: {},
    });
    const clock = new MovableClock();
    const late = await startNode({
      config: mustParse(parseConfig(config("late"))),
      source: null,
      createEdge,
      joinToken: await invite(),
      control: { token: null, tls: null },
      version: "test",
      command: "test",
      clock,
      movableClock: clock,
      log: () => {},
    });
    const nowMs = Date.parse((await cdn.ask("GET", "/v1/clock")).value.now);
    expect(Math.abs(clock.now() - nowMs)).toBeLessThan(SLACK_MS);
    expect(clock.now() - Date.now()).toBeGreaterThan(23 * HOUR_MS);
    await late.stop();
    await cdn.ask("DELETE", "/v1/nodes/late");

    const file = await programs.write("outsider.json", JSON.stringify(config("outsider")));
    const outsider = programs.start(["edge", "--config", file, "--join", await invite()]);
    const { http } = await outsider.addresses();
    await outsider.until(/the fleet's clock was moved; this node keeps its machine's time/);
    const date = Date.parse((await fetch(http)).headers.get("date") ?? "");
    expect(Math.abs(date - Date.now())).toBeLessThan(SLACK_MS);
    await cdn.ask("DELETE", "/v1/nodes/outsider");
    outsider.kill("SIGTERM");
    await outsider.end();
  },
  PROCESSES_MS_MAX,
);
