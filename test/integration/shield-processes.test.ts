/** Three edges, a shield and an origin, each node a process: what reaches the origin, and what viewers notice when the shield is killed or hangs. */
import { describe, expect, test } from "bun:test";
import { text } from "../kit/origin.ts";
import type { Program, Programs } from "../kit/program.ts";
import { stage } from "../kit/stage.ts";
import { type SteadyLoad, steadyLoad } from "../kit/steady-load.ts";

const { app, programs } = stage();
const SECRET = "a secret of more than thirty-two characters";
const HOST = { host: "shop.example" };

interface Node {
  readonly program: Program;
  readonly http: string;
  readonly control: string;
}

function site(origin: string, shields: readonly string[]): object {
  return {
    shop: {
      hosts: ["shop.example"],
      origins: { app: { url: origin } },
      behaviors: [{ path: "/private/*", cache: false }, { path: "/*" }],
      shields,
    },
  };
}

async function start(made: Programs, name: string, config: object): Promise<Node> {
  const listen = { http: "127.0.0.1:0", control: "127.0.0.1:0" };
  await made.write(
    `${name}.json`,
    JSON.stringify({ name, dataDir: `./${name}`, listen, workers: 1, ...config }),
  );
  const program = made.start(["edge", "--config", `${name}.json`], { env: { TIER_SECRET: SECRET } });
  const { http, control } = await program.addresses();
  return { program, http, control };
}

const secret = { env: "TIER_SECRET" };

function startShield(made: Programs, origin: string, more: object = {}): Promise<Node> {
  return start(made, "fra", { tiers: { secret, accept: true }, sites: site(origin, []), ...more });
}

async function startEdges(made: Programs, origin: string, shield: string | null): Promise<Node[]> {
  const tiers = shield === null ? {} : { tiers: { secret, shields: { fra: { urls: [shield] } } } };
  const sites = site(origin, shield === null ? [] : ["fra"]);
  const edges: Node[] = [];
  // One by one: each looks for free ports.
  for (const name of ["one", "two", "three"]) edges.push(await start(made, name, { ...tiers, sites }));
  return edges;
}

/** Says its name and what it was asked, as the load expects it, and which nodes have passed it on. */
function origin() {
  return app(async (request, { target }) => {
    const store = target.startsWith("/stored/") ? "max-age=600" : "no-store";
    const by = request.headers.get("via")?.includes("fra") === true ? "shield" : "edge";
    return text(`${by} ${request.method} ${target}`, { "cache-control": store });
  });
}

async function until(what: string, check: () => boolean): Promise<void> {
  const endMs = Date.now() + 12_000;
  while (!check()) {
    if (Date.now() > endMs) throw new Error(`12 s passed before ${what}`);
    await Bun.sleep(20);
  }
}

const mixed = (n: number) => `/${["stored", "fresh", "private"][n % 3]}/${n}`;
const load = (edges: readonly Node[]): SteadyLoad[] =>
  edges.map(({ http }) => steadyLoad(http, 40, mixed, HOST));
const all = (loads: readonly SteadyLoad[], name: string) =>
  loads.every(
    (one) =>
      one.recent().length > 20 &&
      one
        .recent()
        .slice(-20)
        .every((by) => by === name),
  );

describe("three edges", () => {
  test("ask the origin once for each object with a shield of two workers, and three times without", async () => {
    const URLS = 60;
    const counts: number[] = [];
    for (const isShielded of [true, false]) {
      const made = programs();
      const server = origin();
      const shield = isShielded ? await startShield(made, server.url, { workers: 2 }) : null;
      const edges = await startEdges(made, server.url, shield?.http ?? null);
      for (let i = 0; i < URLS; i++) {
        const answers = await Promise.all(
          edges.map(({ http }) => fetch(`${http}/stored/${i}`, { headers: HOST }).then((one) => one.text())),
        );
        const by = isShielded ? "shield" : "edge";
        expect(answers).toEqual(answers.map(() => `${by} GET /stored/${i}`));
      }
      counts.push(server.count());
    }
    expect(counts).toEqual([URLS, 3 * URLS]);
  }, 30_000);

  test("lose no GET when the shield is killed, and go back to it when it is well", async () => {
    const made = programs();
    const server = origin();
    const shield = await startShield(made, server.url);
    const edges = await startEdges(made, server.url, shield.http);
    const loads = load(edges);
    await until("the shield is asked", () => all(loads, "shield"));
    shield.program.kill("SIGKILL");
    await shield.program.end();
    await until("the origin is asked by the edges", () => all(loads, "edge"));
    const listen = { http: new URL(shield.http).host, control: "127.0.0.1:0" };
    await startShield(made, server.url, { listen });
    await until("the shield is asked again", () => all(loads, "shield"));
    await Promise.all(loads.map((one) => one.stop()));
    expect(loads.flatMap(({ losses }) => losses)).toEqual([]);
    await edges[0]?.program.until(/shield fra at \S+ is down, others are asked/);
    await edges[0]?.program.until(/shield fra at \S+ is up again/);
  }, 60_000);

  test("lose no GET when the shield hangs: who waits for it moves on, and nobody else waits", async () => {
    const made = programs();
    const server = origin();
    const shield = await startShield(made, server.url);
    const edges = await startEdges(made, server.url, shield.http);
    const loads = load(edges);
    await until("the shield is asked", () => all(loads, "shield"));
    shield.program.kill("SIGSTOP");
    await until("the origin is asked by the edges", () => all(loads, "edge"));
    // One probe after one second, which may take one more: nobody waited for longer.
    expect(Math.max(...loads.map((one) => one.slowestMs()))).toBeLessThan(4_500);
    const later = steadyLoad(edges[0]?.http ?? "", 40, (n) => `/stored/later/${n}`, HOST);
    await Bun.sleep(500);
    await later.stop();
    expect(later.slowestMs()).toBeLessThan(900);
    shield.program.kill("SIGCONT");
    await until("the shield is asked again", () => all(loads, "shield"));
    await Promise.all(loads.map((one) => one.stop()));
    expect([...loads, later].flatMap(({ losses }) => losses)).toEqual([]);
  }, 60_000);

  test("forget what proxima purge names, the shield first; a node that can not be asked leaves the rest as it is", async () => {
    const made = programs();
    let version = 1;
    const server = app(() => text(`v${version}`, { "cache-control": "max-age=600" }));
    const shield = await startShield(made, server.url);
    const edges = await startEdges(made, server.url, shield.http);
    const seen = () =>
      Promise.all(edges.map(({ http }) => fetch(`${http}/a`, { headers: HOST }).then((one) => one.text())));
    expect(await seen()).toEqual(["v1", "v1", "v1"]);
    version = 2;
    const controls = [shield, ...edges].map(({ control }) => control.replace("http://", ""));
    const purge = (list: readonly string[]) =>
      made.run(["purge", "--everything", ...list.flatMap((one) => ["--control", one])]);
    const failed = await purge(["127.0.0.1:1", ...controls]);
    expect(failed.status).toBe(1);
    expect(failed.err).toMatch(/nothing listens at http:\/\/127\.0\.0\.1:1;.*not asked: http:/);
    expect(await seen()).toEqual(["v1", "v1", "v1"]);
    const done = await purge(controls);
    expect([done.status, done.out.match(/applied at http:/g)?.length]).toEqual([0, 4]);
    expect(await seen()).toEqual(["v2", "v2", "v2"]);
    expect(server.count()).toBe(2);
  }, 30_000);
});
