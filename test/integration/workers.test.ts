/** Several workers behind one port: each object fetched once for all of them, none of them missed when it dies. */
import { describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { text } from "../kit/origin.ts";
import { childrenOf, viewersOf } from "../kit/processes.ts";
import { Programs } from "../kit/program.ts";
import { stage } from "../kit/stage.ts";

const HTTP3 = join(import.meta.dir, "../kit/http3.ts");

const { app, stops } = stage();

async function edgeOf(origin: string, workers = 3, ...more: string[]) {
  const all = new Programs();
  stops.push(() => all.stop());
  const argv = [
    "dev",
    origin,
    "--workers",
    String(workers),
    "--data-dir",
    "data",
    "--http",
    ":0",
    "--control",
    ":0",
    ...more,
  ];
  const program = all.start(argv);
  const addresses = await program.addresses();
  const control = async (path: string, init: RequestInit = {}) => await fetch(addresses.control + path, init);
  const stats = async () => (await (await control("/v1/stats")).json()) as StatsView;
  /** Each on a connection of its own, so that the kernel spreads them over the workers. */
  const get = (path: string, init: RequestInit = {}) =>
    fetch(addresses.http + path, { keepalive: false, ...init });
  const many = (path: string, count: number, init: RequestInit = {}) =>
    Promise.all(Array.from({ length: count }, async () => seen(await get(path, init))));
  return { all, program, ...addresses, control, stats, get, many, workers: () => childrenOf(program.pid) };
}

interface StatsView {
  readonly requests: number;
  readonly results: Record<string, number>;
  readonly collapsed: number;
  readonly origin: { readonly requests: number };
}

async function seen(response: Response) {
  const { status, headers } = response;
  const collapsed = headers.get("cache-status")?.includes("; collapsed") === true;
  return { status, cache: headers.get("x-cache"), collapsed, body: await response.text() };
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 10_000;
  while (!(await check())) {
    if (Date.now() > endMs) throw new Error(`10 s passed before ${what}`);
    await Bun.sleep(20);
  }
}

/** Kept-alive connections that ask for paths again and again until stopped, each answer checked. */
async function load(
  port: number,
  connections: number,
  path: (n: number) => string,
  right: (answer: string, path: string) => boolean,
) {
  let stopped = false;
  let answers = 0;
  /** Own ports of connections that broke before they were stopped or told to close. */
  const broken: number[] = [];
  const wrong: string[] = [];
  const sockets: Socket[] = [];
  const one = async (): Promise<void> => {
    const socket = connect({ host: "127.0.0.1", port });
    sockets.push(socket);
    let own = 0;
    let asked = "";
    let received = "";
    let leaving = false;
    const ask = () => {
      if (stopped) return void socket.end();
      asked = path(answers);
      received = "";
      socket.write(`GET ${asked} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
    };
    socket.on("connect", () => {
      own = socket.localPort ?? 0;
      ask();
    });
    socket.on("data", (piece) => {
      received += piece.toString("latin1");
      const end = received.indexOf("\r\n\r\n");
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(received)?.[1] ?? Number.NaN);
      if (end < 0 || received.length - end - 4 < length) return;
      answers++;
      if (!right(received, asked)) wrong.push(`${asked}: ${received.slice(0, 400)}`);
      leaving = /\r\nconnection: close/i.test(received.slice(0, end));
      asked = "";
      if (!leaving) ask();
    });
    const closed = Promise.withResolvers<void>();
    socket.on("error", () => {});
    socket.on("close", () => closed.resolve());
    await closed.promise;
    if (!stopped && !leaving) broken.push(own);
  };
  const done = Promise.all(Array.from({ length: connections }, one));
  await until("the load runs", () => answers > connections * 2);
  return {
    broken,
    wrong,
    answers: () => answers,
    async stop() {
      stopped = true;
      await Promise.race([done, Bun.sleep(2_000)]);
      for (const socket of sockets) socket.destroy();
    },
  };
}

const isHit = (answer: string) => answer.startsWith("HTTP/1.1 200 ") && /\r\nx-cache: HIT\r\n/i.test(answer);

describe("several workers", () => {
  test("ask the origin once for an object that 300 viewers want, and then answer it from memory on every one", async () => {
    const origin = app(async () => {
      await Bun.sleep(300);
      return text("one", { "cache-control": "max-age=600" });
    });
    const edge = await edgeOf(origin.url);
    expect(edge.workers()).toHaveLength(3);
    const first = await edge.many("/cold", 300);
    expect(new Set(first.map(({ status, body }) => `${status} ${body}`))).toEqual(new Set(["200 one"]));
    expect(origin.count()).toBe(1);
    // One asked; whoever came before the answer waited, at the worker that owns the key or at another.
    expect(first.filter(({ cache, collapsed }) => cache !== "HIT" && !collapsed)).toHaveLength(1);
    const waited = first.filter(({ collapsed }) => collapsed).length;
    expect(waited).toBeGreaterThan(100);
    expect((await edge.stats()).collapsed).toBe(waited);
    origin.answer(() => text("no", {}, 500));
    const second = await edge.many("/cold", 60);
    expect(new Set(second.map(({ status, cache, body }) => `${status} ${cache} ${body}`))).toEqual(
      new Set(["200 HIT one"]),
    );
    expect(origin.count()).toBe(1);
    const { requests, results, origin: asked } = await edge.stats();
    expect(requests).toBe(360);
    expect(asked.requests).toBe(1);
    expect(Object.values(results).reduce((sum, count) => sum + count, 0)).toBe(360);
  }, 20_000);

  test("give large bodies, variants, HEAD, ranges and conditions as one worker does", async () => {
    const large = "abcdefgh".repeat(400_000);
    const origin = app((request, { target }) => {
      const headers = { "cache-control": "max-age=600", etag: '"v1"', vary: "accept-language" };
      if (target === "/large") return text(large, headers);
      if (target === "/none") return text("mine", { "cache-control": "no-store" });
      if (target === "/gone") return text("gone", { "cache-control": "max-age=60" }, 404);
      return text(`in ${request.headers.get("accept-language")}`, headers);
    });
    const edge = await edgeOf(origin.url);
    for (const language of ["de", "en"]) {
      const answers = await edge.many("/page", 20, { headers: { "accept-language": language } });
      expect(new Set(answers.map(({ body }) => body))).toEqual(new Set([`in ${language}`]));
    }
    expect(origin.count("/page")).toBe(2);
    const bodies = await edge.many("/large", 30);
    expect(bodies.every(({ body }) => body === large)).toBe(true);
    expect(origin.count("/large")).toBe(1);
    expect(new Set((await edge.many("/large", 10)).map(({ cache }) => cache))).toEqual(new Set(["HIT"]));
    for (let i = 0; i < 10; i++) {
      const head = await edge.get("/large", { method: "HEAD", headers: { "accept-encoding": "identity" } });
      expect([head.headers.get("x-cache"), head.headers.get("content-length")]).toEqual([
        "HIT",
        String(large.length),
      ]);
      const range = await edge.get("/large", { headers: { range: "bytes=8-15" } });
      expect([range.status, await range.text()]).toEqual([206, "abcdefgh"]);
      const same = await edge.get("/large", { headers: { "if-none-match": '"v1"' } });
      expect(same.status).toBe(304);
      const only = await edge.get("/large", { headers: { "cache-control": "only-if-cached" } });
      expect(only.status).toBe(200);
      expect((await only.text()).length).toBe(large.length);
      expect((await edge.get("/not", { headers: { "cache-control": "only-if-cached" } })).status).toBe(504);
    }
    expect(origin.count("/large")).toBe(1);
    expect(origin.count("/not")).toBe(0);
    const own = await edge.many("/none", 12);
    expect(new Set(own.map(({ cache }) => cache))).toEqual(new Set(["BYPASS"]));
    expect(origin.count("/none")).toBe(12);
    expect(new Set((await edge.many("/gone", 12)).map(({ status }) => status))).toEqual(new Set([404]));
  }, 20_000);

  test("validate a stale copy with the owner, and the owner once with the origin", async () => {
    const origin = app((request) =>
      request.headers.get("if-none-match") === '"v1"'
        ? new Response(null, { status: 304, headers: { "cache-control": "max-age=3", etag: '"v1"' } })
        : text("body", { "cache-control": "max-age=3", etag: '"v1"' }),
    );
    const edge = await edgeOf(origin.url);
    await edge.many("/short", 30);
    // More than a second of freshness: an origin's Date may be a second old.
    await Bun.sleep(3_100);
    const answers = await edge.many("/short", 30);
    expect(new Set(answers.map(({ status, body }) => `${status} ${body}`))).toEqual(new Set(["200 body"]));
    expect(origin.seen.map(({ headers }) => headers.get("if-none-match"))).toEqual([null, '"v1"']);
  }, 20_000);

  test("never give an old answer after an unsafe request was answered, on any of them", async () => {
    let version = 0;
    const origin = app((request) => {
      if (request.method === "POST") {
        version++;
        return text("stored", { "content-location": "/other" });
      }
      return text(`version ${version}`, { "cache-control": "max-age=600" });
    });
    const edge = await edgeOf(origin.url);
    for (let round = 1; round <= 50; round++) {
      // Viewers all the while, so that fills are under way.
      const meanwhile = [edge.many("/thing", 6), edge.many("/other", 6)];
      expect((await edge.get("/thing", { method: "POST" })).status).toBe(200);
      const after = [...(await edge.many("/thing", 8)), ...(await edge.many("/other", 8))];
      expect(new Set(after.map(({ body }) => body))).toEqual(new Set([`version ${round}`]));
      await Promise.all(meanwhile);
    }
  }, 60_000);

  test("forget what is purged before the purge is answered, and by tag as well", async () => {
    let version = 0;
    const origin = app(() =>
      text(`version ${version}`, { "cache-control": "max-age=600", "surrogate-key": "t1" }),
    );
    const edge = await edgeOf(origin.url);
    const purge = (what: object) =>
      edge.control("/v1/purges?wait=counted", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(what),
      });
    for (const what of [
      { scope: "everything" },
      { scope: "tag", tags: ["t1"] },
      { scope: "url", urls: [`${edge.http}/purged`] },
    ]) {
      await edge.many("/purged", 20);
      version++;
      const answer = await purge(what);
      expect(answer.status).toBe(201);
      expect(((await answer.json()) as { counted: number }).counted).toBeGreaterThanOrEqual(1);
      expect(new Set((await edge.many("/purged", 30)).map(({ body }) => body))).toEqual(
        new Set([`version ${version}`]),
      );
    }
    // A worker that starts after a purge stands where the log stands.
    process.kill(edge.workers()[1] as number, "SIGKILL");
    await edge.program.until(/worker \d serves again/);
    await edge.many("/purged", 20);
    version++;
    await purge({ scope: "tag", tags: ["t1"] });
    expect(new Set((await edge.many("/purged", 30)).map(({ body }) => body))).toEqual(
      new Set([`version ${version}`]),
    );
  }, 30_000);

  test("lose only the connections of one that is killed; it comes back, and hits go on", async () => {
    const origin = app((_request, { target }) =>
      text(`body of ${target}`, { "cache-control": "max-age=600" }),
    );
    const edge = await edgeOf(origin.url);
    const paths = Array.from({ length: 40 }, (_, n) => `/object-${n}`);
    for (const path of paths) await edge.many(path, 12);
    const right = (answer: string, path: string) => isHit(answer) && answer.endsWith(`body of ${path}`);
    const running = await load(edge.httpPort, 60, (n) => paths[n % paths.length] as string, right);
    stops.push(() => running.stop());
    const [, victim = 0] = edge.workers();
    const held = viewersOf(victim, edge.httpPort);
    expect(held.size).toBeGreaterThan(0);
    process.kill(victim, "SIGKILL");
    await edge.program.until(/worker \d serves again/);
    const before = running.answers();
    await until("the others answer on", () => running.answers() > before + 500);
    await running.stop();
    expect(running.wrong).toEqual([]);
    expect(running.broken.filter((port) => !held.has(port))).toEqual([]);
    expect(edge.workers()).toHaveLength(3);
    const { ready, reasons } = (await (await edge.control("/readyz")).json()) as {
      ready: boolean;
      reasons: string[];
    };
    expect({ ready, reasons }).toEqual({ ready: true, reasons: [] });
    for (const path of paths)
      for (const { status, body } of await edge.many(path, 6))
        expect([status, body]).toEqual([200, `body of ${path}`]);
  }, 30_000);

  test("misses that a killed owner had are answered by the origin", async () => {
    const origin = app(async (_request, { target }) => {
      await Bun.sleep(20);
      return text(`body of ${target}`, { "cache-control": "max-age=600" });
    });
    const edge = await edgeOf(origin.url);
    const running = await load(
      edge.httpPort,
      30,
      (n) => `/new-${n}`,
      (answer, path) => answer.startsWith("HTTP/1.1 200 ") && answer.endsWith(`body of ${path}`),
    );
    stops.push(() => running.stop());
    const [victim = 0] = edge.workers();
    const held = viewersOf(victim, edge.httpPort);
    process.kill(victim, "SIGKILL");
    await edge.program.until(/worker \d serves again/);
    const before = running.answers();
    await until("the others answer on", () => running.answers() > before + 200);
    await running.stop();
    expect(running.wrong).toEqual([]);
    expect(running.broken.filter((port) => !held.has(port))).toEqual([]);
  }, 30_000);

  test("wait longer and longer before one that keeps ending starts again, and say so", async () => {
    const edge = await edgeOf(app(() => text("x")).url, 2);
    for (let n = 1; n <= 3; n++) {
      process.kill(edge.workers()[1] as number, "SIGKILL");
      if (n < 3)
        await until(
          `it serves for the ${n}. time again`,
          () => edge.program.err.split("serves again").length > n,
        );
    }
    await edge.program.until(/3 times in a row; it starts again 0\.5 s later/);
    expect(await (await edge.control("/readyz")).text()).toContain("was ended by SIGKILL, 3 times in a row");
    const metrics = await (await edge.control("/metrics")).text();
    expect(metrics.match(/^proxima_workers.*$/gm)).toEqual([
      'proxima_workers{state="up"} 1',
      'proxima_workers{state="down"} 1',
    ]);
    expect((await edge.get("/")).status).toBe(200);
  }, 30_000);

  test("drain under load without losing a request, and leave no process", async () => {
    const origin = app(async (_request, { target }) => {
      await Bun.sleep(30);
      return text(`body of ${target}`, { "cache-control": "max-age=600" });
    });
    const edge = await edgeOf(origin.url);
    const pids = [edge.program.pid, ...edge.workers()];
    const running = await load(
      edge.httpPort,
      30,
      (n) => `/${n % 3 === 0 ? "hit" : `new-${n}`}`,
      (answer, path) => answer.startsWith("HTTP/1.1 200 ") && answer.endsWith(`body of ${path}`),
    );
    edge.program.kill("SIGTERM");
    const { status, err } = await edge.program.end();
    expect([status, running.wrong, running.broken]).toEqual([0, [], []]);
    expect(err).not.toContain("error");
    await running.stop();
    expect(pids.filter(isAlive)).toEqual([]);
  }, 30_000);

  test("end with their supervisor when that is killed", async () => {
    const edge = await edgeOf(app(() => text("x")).url);
    const pids = edge.workers();
    edge.program.kill("SIGKILL");
    await edge.program.end();
    await until("every worker is gone", () => pids.every((pid) => !isAlive(pid)));
  }, 20_000);

  test("take a new config all together", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=600" }));
    const all = new Programs();
    stops.push(() => all.stop());
    const config = (mark: string, host = "*") =>
      JSON.stringify({
        workers: 3,
        dataDir: "./data",
        listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
        sites: {
          one: {
            hosts: [host],
            origins: { app: { url: origin.url } },
            behaviors: [{ path: "/*", responseHeaders: { set: { "x-mark": mark } } }],
          },
        },
      });
    await all.write("edge.json", config("a"));
    const program = all.start(["edge", "--config", "edge.json"]);
    const { http } = await program.addresses();
    const marks = async () => {
      const answers = await Promise.all(
        Array.from({ length: 30 }, () => fetch(`${http}/x`, { keepalive: false })),
      );
      return new Set(answers.map((answer) => answer.headers.get("x-mark")));
    };
    expect(await marks()).toEqual(new Set(["a"]));
    await all.write("edge.json", config("b"));
    program.kill("SIGHUP");
    await program.until(/snapshot 2 is in force/);
    expect(await marks()).toEqual(new Set(["b"]));
    await all.write("edge.json", "{ nothing");
    program.kill("SIGHUP");
    await program.until(/snapshot 2 stays in force/);
    expect(await marks()).toEqual(new Set(["b"]));
    // A worker that starts later has the newest, too.
    process.kill(childrenOf(program.pid)[0] as number, "SIGKILL");
    await program.until(/worker \d serves again/);
    expect(await marks()).toEqual(new Set(["b"]));
    expect(origin.count()).toBeLessThanOrEqual(4);
  }, 30_000);

  test("offer HTTP/3 through one of them, and through its successor", async () => {
    const origin = app(() => text("over QUIC", { "cache-control": "max-age=600" }));
    const edge = await edgeOf(origin.url, 2, "--https", ":0");
    // Each viewer a process of its own: one keeps its connection, which ends with the worker that held it.
    const h3 = async () => {
      const code = `import { fetchHttp3 } from ${JSON.stringify(HTTP3)}; console.log(await (await fetchHttp3(${edge.httpsPort}, "/h3")).text()); process.exit(0);`;
      const viewer = Bun.spawn([process.execPath, "-e", code], {
        stdout: "pipe",
        stderr: "inherit",
        timeout: 5_000,
      });
      return (await viewer.stdout.text()).trim();
    };
    expect(await h3()).toBe("over QUIC");
    for (let i = 0; i < 10; i++) {
      const answer = await fetch(`https://127.0.0.1:${edge.httpsPort}/h3`, {
        keepalive: false,
        tls: { rejectUnauthorized: false },
      });
      expect(answer.headers.get("alt-svc")).toContain(`h3=":${edge.httpsPort}"`);
    }
    process.kill(edge.workers()[0] as number, "SIGKILL");
    await edge.program.until(/worker 0 serves again/);
    expect(await h3()).toBe("over QUIC");
  }, 30_000);

  test("share a port among themselves only: another edge is refused", async () => {
    const origin = app(() => text("x"));
    const edge = await edgeOf(origin.url);
    const same = await edge.all.run([
      "dev",
      origin.url,
      "--workers",
      "2",
      "--data-dir",
      "data",
      "--http",
      ":0",
      "--control",
      ":0",
    ]);
    expect([same.status, same.err]).toEqual([1, expect.stringContaining("is in use by process")]);
    const port = await edge.all.run([
      "dev",
      origin.url,
      "--workers",
      "2",
      "--data-dir",
      "other",
      "--http",
      `:${edge.httpPort}`,
      "--control",
      ":0",
    ]);
    expect([port.status, port.err]).toEqual([1, expect.stringContaining(`port ${edge.httpPort}`)]);
  }, 30_000);

  test("write whole lines into one access log", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=600" }));
    const edge = await edgeOf(origin.url, 3, "--access-log", "access.log");
    for (let i = 0; i < 5; i++) await edge.many("/logged", 100);
    edge.program.kill("SIGTERM");
    await edge.program.end();
    const lines = (await Bun.file(`${edge.all.folder}/access.log`).text()).trimEnd().split("\n");
    expect(lines).toHaveLength(500);
    expect(lines.every((line) => (JSON.parse(line) as { path: string }).path === "/logged")).toBe(true);
  }, 30_000);

  test("write their access log whole to standard output through the supervisor", async () => {
    const origin = app(() => text("x", { "cache-control": "max-age=600" }));
    const edge = await edgeOf(origin.url, 3, "--access-log", "-");
    for (let i = 0; i < 5; i++) await edge.many("/logged", 100);
    edge.program.kill("SIGTERM");
    const { out } = await edge.program.end();
    const lines = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { path: string });
    expect(lines).toHaveLength(500);
  }, 30_000);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
