/** A control plane and edges as processes: what one API does to all of them, and what happens when any of them is killed. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import { makeAuthority } from "../kit/certificates.ts";
import { type FleetEdge, TestFleet, until } from "../kit/fleet.ts";

/** Purges of the test that kills. */
const PURGES = Number(process.env.FLEET_PURGES ?? 200);

let fleet: TestFleet;
let a: FleetEdge;
let b: FleetEdge;
beforeAll(async () => {
  fleet = new TestFleet();
  await fleet.ready();
  [a, b] = await Promise.all([fleet.edge("edge-a"), fleet.edge("edge-b")]);
}, 60_000);
afterAll(() => fleet.stop());

describe("a fleet", () => {
  beforeEach(async () => {
    fleet.version++;
    await fleet.ask("POST", "/v1/apply", { sites: { shop: fleet.site() } });
    await fleet.ask("POST", "/v1/purges?wait=applied", { scope: "everything", site: "shop" });
    await until(
      "both serve the site",
      async () => (await a.get("/x")).status === 200 && (await b.get("/x")).status === 200,
    );
  });

  test("is given a site, a change and the way back by commands", async () => {
    const file = await fleet.programs.write(
      "sites.json",
      JSON.stringify({
        sites: { shop: fleet.site({ redirects: [{ path: "/old", to: "/new", status: 302 }] }) },
      }),
    );
    const control = ["--control", fleet.url];
    const plan = await fleet.run("plan", file, ...control);
    expect([plan.status, plan.out]).toEqual([
      3,
      expect.stringContaining("~ shop  update\n    redirects: + ["),
    ]);
    const applied = await fleet.run("apply", file, ...control, "--wait", "--note", "a redirect");
    expect([applied.status, applied.err]).toEqual([
      0,
      expect.stringMatching(/edge-a +in force +-\nedge-b +in force/),
    ]);
    expect((await a.get("/old")).status).toBe(302);
    expect((await b.get("/old")).status).toBe(302);
    expect((await fleet.run("plan", file, ...control)).status).toBe(0);
    const back = await fleet.run("rollback", "shop", ...control, "--wait");
    expect([back.status, back.out]).toEqual([0, expect.stringMatching(/^version \d+ of shop is in force/)]);
    expect((await a.get("/old")).status).toBe(200);
    const invalid = await fleet.programs.write(
      "invalid.json",
      JSON.stringify({ sites: { shop: { hosts: ["*"] } } }),
    );
    expect((await fleet.run("apply", invalid, ...control)).status).toBe(2);
    const nodes = await fleet.run("nodes", "list", ...control);
    expect(nodes.out).toMatch(/edge-a +reachable +\d+ .*\nedge-b +reachable/);
  }, 30_000);

  test("forgets everywhere, and each node says when and how much", async () => {
    for (const path of ["/one", "/two"]) for (const edge of [a, b]) await edge.get(path);
    await a.get("/three");
    fleet.version++;
    const purge = await fleet.ask("POST", "/v1/purges?wait=counted", {
      scope: "tag",
      site: "shop",
      tags: ["page-one", "page-three"],
    });
    expect([purge.status, purge.value]).toMatchObject([
      201,
      {
        state: "counted",
        objects: 3,
        nodes: [
          { name: "edge-a", state: "counted", objects: 2 },
          { name: "edge-b", state: "counted", objects: 1 },
        ],
      },
    ]);
    for (const edge of [a, b]) {
      expect((await edge.get("/one")).body).toBe(`/one v${fleet.version}`);
      expect(await edge.get("/two")).toMatchObject({ cache: "HIT", body: `/two v${fleet.version - 1}` });
    }
    const url = await fleet.run(
      "purge",
      `${a.http}/two`,
      "--site",
      "shop",
      "--control",
      fleet.url,
      "--wait=counted",
    );
    expect([url.status, url.out]).toEqual([
      0,
      expect.stringMatching(
        /counted after \d+ ms \(hard url\)\nnode .*\nedge-a +counted +\d+ ms +1\nedge-b +counted +\d+ ms +0\n/,
      ),
    ]);
    expect((await a.get("/two")).body).toBe(`/two v${fleet.version}`);
    expect((await b.get("/two")).cache).toBe("HIT");
  }, 30_000);

  test("takes 10,000 targets in one call", async () => {
    await Promise.all([a.get("/p/9999"), b.get("/p/0")]);
    fleet.version++;
    const urls = Array.from({ length: 5_000 }, (_, i) => [
      `${a.http}/p/${2 * i}`,
      `${b.http}/p/${2 * i}`,
    ]).flat();
    const purge = await fleet.ask("POST", "/v1/purges?wait=counted", { scope: "url", site: "shop", urls });
    expect([purge.status, purge.value.targetCount, purge.value.state]).toEqual([201, 10_000, "counted"]);
    expect((await b.get("/p/0")).body).toBe(`/p/0 v${fleet.version}`);
    expect((await a.get("/p/9999")).cache).toBe("HIT");
    const more = await fleet.ask("POST", "/v1/purges", {
      scope: "url",
      site: "shop",
      urls: [...urls, `${a.http}/q`],
    });
    expect([more.status, more.value.detail]).toEqual([400, expect.stringContaining("urls")]);
  }, 30_000);

  test("has a URL forgotten in the key of the version before as well, to which one may roll back", async () => {
    await fleet.apply({ shop: fleet.site({ behaviors: [{ path: "/*", cacheKey: { query: "none" } }] }) }, [
      a,
    ]);
    await a.get("/q?x=1");
    await fleet.apply({ shop: fleet.site() }, [a]);
    fleet.version++;
    await fleet.ask("POST", "/v1/purges?wait=applied", {
      scope: "url",
      site: "shop",
      urls: [`${a.http}/q?x=1`],
    });
    const { value } = await fleet.ask("POST", "/v1/sites/shop/rollback", {});
    await until(
      "the older version is in force",
      async () => (await a.view()).snapshot === value.snapshot.number,
    );
    expect((await a.get("/q?x=1")).body).toBe(`/q v${fleet.version}`);
  }, 30_000);

  test("is purged through its control plane alone", async () => {
    const answer = await fetch(`${a.control}/v1/purges`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ scope: "everything" }),
    });
    expect(answer.status).toBe(409);
    expect(((await answer.json()) as { detail: string }).detail).toContain(`${fleet.url}/v1/purges`);
  });

  test("has a node drained and taken back: it says that it is not ready, and serves", async () => {
    const ready = async () =>
      (await fetch(`${b.control}/readyz`, { keepalive: false } as RequestInit)).status;
    expect(await ready()).toBe(200);
    await fleet.ask("POST", "/v1/nodes/edge-b/drain", {});
    await until("it is not ready", async () => (await ready()) === 503);
    expect((await b.get("/x")).status).toBe(200);
    await fleet.ask("POST", "/v1/nodes/edge-b/resume", {});
    await until("it is ready", async () => (await ready()) === 200);
  }, 30_000);
});

describe("a site of the control plane can not reach", () => {
  const attack = async (origin: Record<string, unknown>) => {
    await fleet.apply(
      { shop: fleet.site({ hosts: ["shop.test"] }), evil: { hosts: ["evil.test"], origins: { o: origin } } },
      [],
    );
    const number = (await fleet.ask("GET", "/v1/changes/head")).value.snapshot;
    await until("it has the snapshot", async () => (await b.view()).snapshot === number);
    return { ...(await b.get("/", { host: "evil.test" })), problem: (await b.view()).problem };
  };

  test.each([
    ["files", { directory: "/etc" }, "outside permitted.directories"],
    [
      "a file as authority",
      { url: "https://127.0.0.1:1", tls: { caFile: "/etc/hostname" } },
      "outside permitted.secretDirectories",
    ],
    [
      "environment variables",
      {
        s3: {
          bucket: "bbb",
          region: "r",
          credentials: { accessKeyId: { env: "PATH" }, secretAccessKey: { env: "HOME" } },
        },
      },
      "not among permitted.secretVariables",
    ],
    [
      "files as secrets",
      {
        s3: {
          bucket: "bbb",
          region: "r",
          credentials: { accessKeyId: { file: "/etc/hostname" }, secretAccessKey: { file: "/etc/hostname" } },
        },
      },
      "outside permitted.secretDirectories",
    ],
  ])(
    "%s of the node",
    async (_name, origin, problem) => {
      const answer = await attack(origin);
      expect(answer.problem).toContain(problem);
      expect(answer.status).toBeGreaterThanOrEqual(400);
      // The others are not held up by it, and the control plane knows.
      expect((await b.get("/x", { host: "shop.test" })).status).toBe(200);
      await until("the control plane knows", async () => {
        const { report } = (await fleet.ask("GET", "/v1/nodes/edge-b")).value;
        return report?.snapshot.problem?.includes(problem) === true;
      });
    },
    30_000,
  );

  test("the node's own control port, nor internal addresses where the node permits none", async () => {
    const control = await attack({ url: b.control });
    expect(control.status).toBe(502);
    const strict = await fleet.edge("edge-strict", { permitted: {} });
    const number = (await fleet.ask("GET", "/v1/changes/head")).value.snapshot;
    await until("it has the snapshot", async () => (await strict.view()).snapshot === number);
    // The origin of "shop" is on loopback.
    const before = fleet.requests;
    expect((await strict.get("/y", { host: "shop.test" })).status).toBe(502);
    expect(fleet.requests).toBe(before);
    strict.program.kill("SIGTERM");
    await strict.program.end();
    expect((await fleet.ask("DELETE", "/v1/nodes/edge-strict")).status).toBe(200);
  }, 30_000);
});

test("an edge of several workers applies, and tells of it, in all of them", async () => {
  await fleet.apply(
    { shop: fleet.site(), evil: { hosts: ["none.test"], origins: { o: { url: fleet.origin } } } },
    [a],
  );
  const many = await fleet.edge("edge-many", { workers: 2 });
  const paths = Array.from({ length: 12 }, (_, i) => `/w/${i}`);
  const bodies = async () =>
    new Set(await Promise.all(paths.map(async (path) => (await many.get(path)).body.split(" ")[1])));
  for (let round = 0; round < 3; round++) await bodies();
  fleet.version++;
  const purge = await fleet.ask("POST", "/v1/purges?wait=counted", {
    scope: "prefix",
    site: "shop",
    prefixes: ["/w/"],
  });
  expect(
    purge.value.nodes.find(({ name }: { name: string }) => name === "edge-many").objects,
  ).toBeGreaterThan(0);
  expect(await bodies()).toEqual(new Set([`v${fleet.version}`]));
  await fleet.ask("DELETE", "/v1/nodes/edge-many");
  await until("all workers say that they are not in step", async () => {
    const answers = await Promise.all(paths.map((path) => many.get(path)));
    return answers.every(({ cacheStatus }) => cacheStatus.includes("; unsynced"));
  });
  many.program.kill("SIGTERM");
  await many.program.end();
}, 30_000);

describe("an edge does not start in a fleet", () => {
  const start = (...argv: string[]) =>
    fleet.programs.run([
      "edge",
      "--http",
      "127.0.0.1:0",
      "--workers",
      "1",
      "--data-dir",
      "other",
      "--control",
      "127.0.0.1:0",
      ...argv,
    ]);

  test("that it has not joined, with a token that is not good, or that is not there", async () => {
    const stranger = await start("--control", fleet.url);
    expect([stranger.status, stranger.err]).toEqual([
      1,
      expect.stringContaining("make a join token there and start with --join TOKEN"),
    ]);
    const wrong = await start("--control", fleet.url, "--join", "pxj_0");
    expect([wrong.status, wrong.err]).toEqual([
      1,
      expect.stringContaining("401: the join token is not known"),
    ]);
    const nobody = await start("--control", "http://127.0.0.1:1", "--join", "pxj_0");
    expect([nobody.status, nobody.err]).toEqual([1, expect.stringContaining("can not be reached")]);
  }, 30_000);
});

test("beyond loopback the control plane wants TLS; a node trusts the authority that its config names, and no other", async () => {
  const open = await fleet.programs.run(["control", "--listen", "0.0.0.0:0", "--data-dir", "open"]);
  expect([open.status, open.err]).toEqual([1, expect.stringContaining("needs TLS")]);
  const authority = await makeAuthority();
  const { cert, key } = await authority.issue(["localhost", "127.0.0.1"]);
  const [certFile, keyFile, caFile] = await Promise.all([
    fleet.programs.write("control.pem", cert),
    fleet.programs.write("control.key", key),
    fleet.programs.write("ca.pem", authority.pem),
  ]);
  const control = fleet.programs.start([
    "control",
    "--listen",
    "0.0.0.0:0",
    "--data-dir",
    "tls",
    "--tls-cert",
    certFile,
    "--tls-key",
    keyFile,
  ]);
  const [, port] = await control.until(/api +https:\/\/0\.0\.0\.0:(\d+)/);
  const [, token = ""] = await control.until(/token +(pxa_\S+)/);
  const url = `https://localhost:${port}`;
  const env = { PROXIMA_CONTROL_TOKEN: token, NODE_EXTRA_CA_CERTS: caFile };
  const invited = await fleet.programs.run(["nodes", "invite", "--control", url], { env });
  expect([invited.status, invited.out]).toEqual([0, expect.stringMatching(/^pxj_/)]);
  const edge = [
    "edge",
    "--http",
    "127.0.0.1:0",
    "--workers",
    "1",
    "--control",
    "127.0.0.1:0",
    "--join",
    invited.out.trim(),
    "--data-dir",
    "over-tls",
  ];
  const distrusts = await fleet.programs.run([...edge, "--control", url]);
  expect([distrusts.status, distrusts.err]).toEqual([1, expect.stringContaining("can not be reached")]);
  const config = await fleet.programs.write(
    "tls.json",
    JSON.stringify({ sites: {}, join: { control: url, caFile: "ca.pem", name: "over-tls" } }),
  );
  const trusts = fleet.programs.start([...edge, "--config", config]);
  await trusts.addresses();
  const nodes = await fleet.programs.run(["nodes", "list", "--control", url], { env });
  expect(nodes.out).toMatch(/over-tls +reachable/);
  for (const program of [trusts, control]) {
    program.kill("SIGTERM");
    expect((await program.end()).status).toBe(0);
  }
}, 30_000);

describe("when processes are killed", () => {
  beforeEach(async () => {
    await fleet.ask("POST", "/v1/apply", { sites: { shop: fleet.site() } });
  });

  test("a control plane that is gone costs viewers nothing, also over an edge's restart; purges are taken up when it is back", async () => {
    await fleet.apply(
      { shop: fleet.site(), evil: { hosts: ["none.test"], origins: { o: { url: fleet.origin } } } },
      [a, b],
    );
    await a.get("/kept");
    fleet.control.kill("SIGKILL");
    await fleet.control.end();
    await until("it knows that it hears of no purges", async () => !(await a.view()).synced);
    const hit = await a.get("/kept");
    expect([hit.cache, hit.cacheStatus]).toEqual(["HIT", expect.stringContaining("; unsynced")]);
    expect((await a.get("/new")).status).toBe(200);
    const readiness = await fetch(`${a.control}/readyz`, { keepalive: false } as RequestInit);
    expect([readiness.status, await readiness.text()]).toEqual([
      200,
      expect.stringContaining("purges may be missing"),
    ]);

    b.program.kill("SIGKILL");
    await b.program.end();
    await b.restart();
    expect(await b.get("/kept")).toMatchObject({ status: 200, cache: "MISS" });
    expect(b.program.err).toContain("starting from the last known good snapshot");

    await fleet.restartControl();
    fleet.version++;
    const purge = await fleet.ask("POST", "/v1/purges?wait=applied&seconds=20", {
      scope: "tag",
      site: "shop",
      tags: ["all"],
    });
    // Nodes that were not heard of since its start are told as such until they are.
    await until(
      "all have applied it",
      async () => (await fleet.ask("GET", `/v1/purges/${purge.value.id}`)).value.state !== "accepted",
    );
    for (const edge of [a, b]) {
      expect((await edge.get("/kept")).body).toBe(`/kept v${fleet.version}`);
      await until("it is in step", async () => (await edge.view()).synced);
      expect((await edge.get("/kept")).cacheStatus).not.toContain("unsynced");
    }
  }, 60_000);

  test("an edge that is gone is listed, makes the status 1, and has applied what it missed before it serves again", async () => {
    const c = await fleet.edge("edge-c", { cache: { disk: { size: "64MiB" } } });
    await until("it serves", async () => (await c.get("/disk")).status === 200);
    await until("it is on its disk", async () => {
      const stats = (await (
        await fetch(`${c.control}/v1/stats`, { keepalive: false } as RequestInit)
      ).json()) as { disk: { objects: number } };
      return stats.disk.objects > 0;
    });
    c.program.kill("SIGKILL");
    await c.program.end();
    fleet.version++;
    const purge = await fleet.run(
      "purge",
      "--tag",
      "all",
      "--site",
      "shop",
      "--control",
      fleet.url,
      "--wait",
      "--timeout",
      "1",
    );
    expect([purge.status, purge.out]).toEqual([
      1,
      expect.stringMatching(/edge-a +(applied|counted) .*\n(?:.*\n)*edge-c +(accepted|unreachable)/),
    ]);
    await c.restart();
    expect(await c.get("/disk")).toMatchObject({ cache: "MISS", body: `/disk v${fleet.version}` });
    c.program.kill("SIGTERM");
    await c.program.end();
    await fleet.ask("DELETE", "/v1/nodes/edge-c");
  }, 60_000);

  test("many purges over kills of the control plane and of an edge: every acknowledged one is applied on every node", async () => {
    const acknowledged: string[] = [];
    const run = crypto.randomUUID();
    let revival = Promise.resolve();
    const kill = async (i: number): Promise<void> => {
      // What was killed before has to be there again; what is killed now comes back while purges are sent.
      await revival;
      const program = i % 2 === 0 ? fleet.control : b.program;
      program.kill("SIGKILL");
      await program.end();
      revival = i % 2 === 0 ? fleet.restartControl() : b.restart();
    };
    for (let i = 0; i < PURGES; i++) {
      if (i % (PURGES / 4) === PURGES / 8) await kill(Math.floor((4 * i) / PURGES));
      // The key makes a repeated order the same one.
      const body = { scope: "tag", site: "shop", tags: [`n${i}`], idempotencyKey: `${run}-${i}` };
      for (;;) {
        const answer = await fleet.ask("POST", "/v1/purges", body).catch(() => null);
        if (answer?.status === 201 || answer?.status === 200) {
          acknowledged.push(answer.value.id);
          break;
        }
        if (answer?.status === 400) throw new Error(answer.text);
        await Bun.sleep(20);
      }
    }
    await revival;
    expect(new Set(acknowledged).size).toBe(PURGES);
    const head = (await fleet.ask("GET", "/v1/changes/head")).value.head;
    for (const edge of [a, b])
      await until(`${edge.name} has all`, async () => (await edge.view()).applied === head);
    await until(
      "the control plane knows",
      async () => (await fleet.ask("GET", `/v1/purges/${acknowledged.at(-1)}`)).value.state !== "accepted",
    );
    let checked = 0;
    let next: string | null = "/v1/purges?limit=500";
    const wanted = new Set(acknowledged);
    while (next !== null) {
      const page: {
        items: { id: string; nodes: { name: string; appliedAt: string | null }[] }[];
        next: string | null;
      } = (await fleet.ask("GET", next)).value;
      for (const { id, nodes } of page.items) {
        if (!wanted.has(id)) continue;
        expect(nodes.map(({ name, appliedAt }) => [name, appliedAt !== null])).toEqual([
          ["edge-a", true],
          ["edge-b", true],
        ]);
        checked++;
      }
      next = page.next;
    }
    expect(checked).toBe(PURGES);
  }, 90_000);

  test("an older copy of the control plane's data that was put back empties the caches, and the fleet goes on", async () => {
    const stopped = async (between: () => void) => {
      fleet.control.kill("SIGKILL");
      await fleet.control.end();
      between();
      await fleet.restartControl();
    };
    await stopped(() => cpSync(fleet.path("control"), fleet.path("copy"), { recursive: true }));
    await until("they are in step", async () => (await a.view()).synced && (await b.view()).synced);
    await fleet.ask("POST", "/v1/purges?wait=applied", { scope: "tag", site: "shop", tags: ["lost"] });
    await a.get("/held");
    fleet.version++;
    await stopped(() => {
      rmSync(fleet.path("control"), { recursive: true });
      cpSync(fleet.path("copy"), fleet.path("control"), { recursive: true });
    });
    await until("it has noticed", async () => (await a.get("/held")).body === `/held v${fleet.version}`);
    expect(a.program.err).toContain("the cache is emptied");
    const purge = await fleet.ask("POST", "/v1/purges?wait=applied", {
      scope: "tag",
      site: "shop",
      tags: ["all"],
    });
    expect(purge.value.state).not.toBe("accepted");
  }, 60_000);

  test("a node that was removed serves on, and joins again with a token", async () => {
    expect((await fleet.run("nodes", "remove", "edge-b", "--control", fleet.url)).status).toBe(0);
    await until("it knows", async () => !(await b.view()).synced);
    expect((await b.get("/x")).status).toBe(200);
    b.program.kill("SIGTERM");
    await b.program.end();
    const invited = await fleet.run("nodes", "invite", "--control", fleet.url);
    await b.restart(["--join", invited.out.trim()]);
    await until("it is in step", async () => (await b.view()).synced);
    expect((await fleet.ask("GET", "/v1/nodes/edge-b")).value.state).toBe("reachable");
  }, 60_000);
});
