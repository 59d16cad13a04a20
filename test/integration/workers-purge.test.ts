/** Purges and invalidations while several workers serve: what was purged is on none of them, whatever happens meanwhile. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { childrenOf, viewersOf } from "../kit/processes.ts";
import { type Program, Programs } from "../kit/program.ts";
import { parseAnswer } from "../kit/raw-viewer.ts";

const WORKERS = 3;
/** Enough that the kernel gives every worker some of them. */
const CONNECTIONS = 30;
const WAIT_MS = 10_000;
const PATHS = Array.from({ length: 8 }, (_, n) => `/p/${n}`);
/** Answers that say of themselves that they are older than what was asked for. */
const STALE = new Set(["UPDATING", "STALE"]);

interface Report {
  readonly id: string;
  readonly sequence: number;
  readonly state: string;
  readonly counted: number | null;
}

interface Edge {
  readonly http: string;
  readonly httpPort: number;
  readonly control: string;
  readonly controlPort: number;
  readonly program: Program;
  post(body: unknown, query?: string): Promise<Response>;
  purge(body: object, query?: string): Promise<Report>;
}

async function start(all: Programs, origin: string): Promise<Edge> {
  const argv = ["dev", origin, "--workers", String(WORKERS), "--data-dir", "data"];
  const program = all.start([...argv, "--http", ":0", "--control", ":0"]);
  const addresses = await program.addresses();
  const post = (body: unknown, query = "") =>
    fetch(`${addresses.control}/v1/purges${query}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  const purge = async (body: object, query = "") => {
    const answer = await post(body, query);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([201, "application/json"]);
    return (await answer.json()) as Report;
  };
  return { ...addresses, program, post, purge };
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + WAIT_MS;
  while (!(await check())) {
    if (Date.now() > endMs) throw new Error(`10 s passed before ${what}`);
    await Bun.sleep(2);
  }
}

/** What the origin would say now, and what no viewer may see an older one of. */
class Versions {
  readonly #now = new Map<string, number>();
  readonly #any = new Map<string, number>();
  readonly #fresh = new Map<string, number>();

  now(path: string): number {
    return this.#now.get(path) ?? 0;
  }

  bump(paths: readonly string[]): void {
    for (const path of paths) this.#now.set(path, this.now(path) + 1);
  }

  /** What was purged when the origin said this is not seen again, or after a soft purge only as stale. */
  purged(versions: ReadonlyMap<string, number>, soft = false): void {
    for (const [path, version] of versions) {
      if (!soft) this.#any.set(path, version);
      this.#fresh.set(path, version);
    }
  }

  all(paths: readonly string[]): Map<string, number> {
    return new Map(paths.map((path) => [path, this.now(path)]));
  }

  /** Oldest versions that a request sent now may get: marked as stale, and as anything else. */
  oldest(path: string): { readonly stale: number; readonly fresh: number } {
    return { stale: this.#any.get(path) ?? 0, fresh: this.#fresh.get(path) ?? 0 };
  }
}

/** Kept-alive connections that ask without a pause, each answer held against what may be seen. */
class Viewers {
  answers = 0;
  /** By X-Cache. */
  readonly seen = new Map<string, number>();
  readonly wrong: string[] = [];
  broken = 0;
  #stopped = false;
  readonly #sockets = new Set<Socket>();
  readonly #done: Promise<unknown>;

  constructor(port: number, versions: Versions, paths = PATHS) {
    this.#done = Promise.all(
      Array.from({ length: CONNECTIONS }, async (_, n) => {
        while (!this.#stopped) await this.#connection(port, versions, paths, n);
      }),
    );
  }

  /** Resolves when this many more were answered. */
  async more(count: number): Promise<void> {
    const wanted = this.answers + count;
    await until(`${count} more answers`, () => this.answers >= wanted);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.destroy();
    await this.#done;
  }

  #connection(port: number, versions: Versions, paths: readonly string[], first: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const socket = connect({ host: "127.0.0.1", port });
    this.#sockets.add(socket);
    let next = first;
    let path = "";
    let oldest = { stale: 0, fresh: 0 };
    let received: Buffer[] = [];
    const ask = () => {
      path = paths[next++ % paths.length] as string;
      oldest = versions.oldest(path);
      received = [];
      socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
    };
    socket.on("connect", ask);
    socket.on("data", (piece: Buffer) => {
      received.push(piece);
      const { status, head, body, whole } = parseAnswer(Buffer.concat(received));
      const framed = /^(?:content-length|transfer-encoding):/im.test(head);
      if (status === 0 || !whole || !framed) return;
      const cache = /^x-cache: *(\S+)/im.exec(head)?.[1] ?? "";
      const found = /^(?:v(\d+) (\S+)\n)(?:v\1 \2\n)*$/.exec(body.toString());
      const version = Number(found?.[1] ?? Number.NaN);
      const least = STALE.has(cache) ? oldest.stale : oldest.fresh;
      this.answers++;
      this.seen.set(cache, (this.seen.get(cache) ?? 0) + 1);
      if (status !== 200 || found?.[2] !== path || !(version >= least))
        this.wrong.push(`${path} at least v${least}: ${head} ${body.toString().slice(0, 100)}`);
      ask();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      if (!this.#stopped) this.broken++;
      resolve();
    });
    return promise;
  }
}

describe("with viewers on every worker", () => {
  const all = new Programs();
  const versions = new Versions();
  let slow = false;
  let origin: TestOrigin;
  let edge: Edge;

  beforeAll(async () => {
    origin = startOrigin((request, { target }) => {
      if (request.method === "POST") {
        versions.bump([target]);
        return text("stored");
      }
      const version = versions.now(target);
      const line = `v${version} ${target}\n`;
      const fields = {
        "content-type": "text/plain",
        "cache-control": "max-age=600, stale-while-revalidate=600",
        "surrogate-key": `all t-${target.slice(3)}`,
        etag: `"${version}"`,
      };
      if (request.headers.get("if-none-match") === fields.etag)
        return new Response(null, { status: 304, headers: fields });
      if (!slow) return text(line, fields);
      // Chunked: the version was decided when it was asked for, the end comes 20 ms later.
      const body = async function* () {
        for (let n = 0; n < 4; n++) {
          yield Buffer.from(line);
          await Bun.sleep(5);
        }
      };
      return new Response(body(), { headers: fields });
    });
    edge = await start(all, origin.url);
  }, 20_000);
  afterAll(async () => {
    await all.stop();
    await origin.stop();
  });

  /** Everything that is asked for, named in every way in turn; every fifth time softly. */
  function request(round: number): { readonly body: object; readonly soft: boolean } {
    const soft = round % 5 === 4;
    const scopes = [
      { scope: "url", urls: PATHS.map((path) => edge.http + path) },
      { scope: "tag", tags: ["all"] },
      { scope: "prefix", prefixes: ["/p/"] },
      { scope: "host", hosts: ["127.0.0.1"] },
      { scope: "everything" },
      { scope: "wildcard", patterns: ["/p/*"] },
    ];
    return {
      body: { ...scopes[round % scopes.length], mode: soft ? "soft" : "hard" },
      soft,
    };
  }

  async function purgeRounds(rounds: number, viewers: Viewers, between: (round: number) => Promise<unknown>) {
    for (let round = 0; round < rounds; round++) {
      await between(round);
      versions.bump(PATHS);
      const { body, soft } = request(round);
      const now = versions.all(PATHS);
      await edge.purge(body);
      versions.purged(now, soft);
      expect(viewers.wrong.slice(0, 3)).toEqual([]);
    }
  }

  async function everyWorkerServes(viewers: Viewers) {
    await viewers.more(CONNECTIONS * 3);
    const workers = childrenOf(edge.program.pid);
    expect(workers).toHaveLength(WORKERS);
    for (const pid of workers) expect(viewersOf(pid, edge.httpPort).size).toBeGreaterThan(0);
  }

  test("nobody gets what was purged once the purge was answered, whatever named it", async () => {
    const viewers = new Viewers(edge.httpPort, versions);
    try {
      await everyWorkerServes(viewers);
      await purgeRounds(40, viewers, (round) => viewers.more((round % 7) * 25));
      await viewers.more(300);
    } finally {
      await viewers.stop();
    }
    expect(viewers.wrong).toEqual([]);
    expect(viewers.broken).toBe(0);
    for (const cache of ["HIT", "MISS", "UPDATING"]) expect(viewers.seen.get(cache) ?? 0).toBeGreaterThan(0);
  }, 20_000);

  test("nor while slow fills are under way, some of which began before it", async () => {
    slow = true;
    const viewers = new Viewers(edge.httpPort, versions);
    try {
      // At any moment of a fill of 20 ms.
      await purgeRounds(40, viewers, (round) => Bun.sleep((round * 7) % 31));
      await viewers.more(300);
    } finally {
      await viewers.stop();
      slow = false;
    }
    expect(viewers.wrong).toEqual([]);
    expect(viewers.broken).toBe(0);
  }, 20_000);

  test("nor what an unsafe request made invalid, with fills under way", async () => {
    for (const slowly of [false, true]) {
      slow = slowly;
      const viewers = new Viewers(edge.httpPort, versions);
      try {
        for (let round = 0; round < 30; round++) {
          // The same again while the fill that the last one caused (20 ms) is under way, or just ended.
          await (slowly ? Bun.sleep((round * 7) % 31) : viewers.more((round % 4) * 20));
          const path = PATHS[round % (slowly ? 2 : PATHS.length)] as string;
          // On a connection of its own: any worker.
          const answer = await fetch(edge.http + path, { method: "POST", keepalive: false });
          expect(answer.status).toBe(200);
          versions.purged(versions.all([path]));
        }
        await viewers.more(100);
      } finally {
        await viewers.stop();
        slow = false;
      }
      expect(viewers.wrong).toEqual([]);
      expect(viewers.broken).toBe(0);
    }
  }, 20_000);

  test("nor when a worker stands still meanwhile and hears of it later than the others", async () => {
    const viewers = new Viewers(edge.httpPort, versions);
    const workers = childrenOf(edge.program.pid);
    try {
      await everyWorkerServes(viewers);
      for (let round = 0; round < 60; round++) {
        await viewers.more(30);
        const path = PATHS[round % PATHS.length] as string;
        const still = workers[round % WORKERS] as number;
        let done: Promise<unknown>;
        process.kill(still, "SIGSTOP");
        try {
          if (round % 4 === 3) {
            versions.bump([path]);
            done = edge.purge({ scope: "url", urls: [edge.http + path] });
          } else done = fetch(edge.http + path, { method: "POST", keepalive: false });
          await Bun.sleep(5 + (round % 10));
        } finally {
          process.kill(still, "SIGCONT");
        }
        await done;
        versions.purged(versions.all([path]));
      }
      await viewers.more(300);
    } finally {
      await viewers.stop();
    }
    expect(viewers.wrong).toEqual([]);
    expect(viewers.broken).toBe(0);
  }, 20_000);

  test("and many purges at the same time keep one order and all are answered", async () => {
    const viewers = new Viewers(edge.httpPort, versions);
    try {
      for (let round = 0; round < 5; round++) {
        versions.bump(PATHS);
        const now = versions.all(PATHS);
        const reports = await Promise.all(
          Array.from({ length: 12 }, () => edge.purge({ scope: "tag", tags: ["all"] })),
        );
        versions.purged(now);
        const sequences = reports.map(({ sequence }) => sequence);
        expect(sequences.length).toBe(new Set(sequences).size);
        expect(Math.max(...sequences) - Math.min(...sequences)).toBe(11);
        await viewers.more(60);
      }
    } finally {
      await viewers.stop();
    }
    expect(viewers.wrong).toEqual([]);
  }, 20_000);

  test("a purge's report becomes counted, with the objects of all workers", async () => {
    const paths = Array.from({ length: 5 }, (_, n) => `/counted/${n}`);
    for (const path of paths)
      await Promise.all(
        Array.from({ length: 12 }, async () => {
          const answer = await fetch(edge.http + path, { keepalive: false });
          await answer.text();
        }),
      );
    const { id } = await edge.purge({ scope: "prefix", prefixes: ["/counted/"] });
    const get = async () => (await (await fetch(`${edge.control}/v1/purges/${id}`)).json()) as Report;
    await until("it is counted", async () => (await get()).state === "counted");
    const { counted } = await get();
    // Each once at its owner, at most once more on each of the others.
    // Copies that other workers hold are not objects of their own.
    expect(counted).toBe(paths.length);
    expect(await edge.purge({ scope: "prefix", prefixes: ["/counted/"] }, "?wait=counted")).toMatchObject({
      state: "counted",
      counted: 0,
    });
  }, 20_000);

  test("hosts and prefixes are found however they are written, with the port too", async () => {
    const { httpPort } = edge;
    for (const body of [
      { scope: "host", hosts: [`127.0.0.1:${httpPort}`] },
      { scope: "prefix", prefixes: [`127.0.0.1:${httpPort}/p/`] },
      { scope: "wildcard", patterns: [`127.0.0.1:${httpPort}/p/*`] },
      { scope: "wildcard", patterns: ["*.0.0.1/p/?"] },
    ]) {
      await (await fetch(`${edge.http}/p/0`)).text();
      expect((await edge.purge(body, "?wait=counted")).counted).toBeGreaterThanOrEqual(1);
    }
  });

  test("what no operator would send is refused with a problem, and changes nothing", async () => {
    const url = `${edge.control}/v1/purges`;
    const json = { "content-type": "application/json" };
    const everything = '{"scope":"everything"}';
    await (await fetch(`${edge.http}/p/0`)).text();
    const newest = async () =>
      ((await (await fetch(`${url}?limit=1`)).json()) as { purges: Report[] }).purges;
    const before = await newest();
    const post = (headers: Record<string, string>, body: string) => ({ method: "POST", headers, body });
    const many = (count: number) => JSON.stringify({ scope: "tag", tags: Array(count).fill("all") });
    const deep = "[".repeat(500_000) + "]".repeat(500_000);
    const nul = String.fromCharCode(0);
    const cases: [what: string, status: number, path: string, init: RequestInit][] = [
      ["no content type", 415, "", post({ "content-type": "" }, everything)],
      ["a form's type", 415, "", post({ "content-type": "text/plain" }, everything)],
      ["a list of types", 415, "", post({ "content-type": "text/plain, application/json" }, everything)],
      ["a foreign page", 403, "", post({ ...json, origin: "https://evil.test" }, everything)],
      ["an opaque origin", 403, "", post({ ...json, origin: "null" }, everything)],
      ["the data plane's origin", 403, "", post({ ...json, origin: edge.http }, everything)],
      ["another site's fetch", 403, "", post({ ...json, "sec-fetch-site": "cross-site" }, everything)],
      ["a rebound name", 421, "", post({ ...json, host: `evil.test:${edge.controlPort}` }, everything)],
      ["another port", 421, "", post({ ...json, host: "127.0.0.1:1" }, everything)],
      ["9 MB", 413, "", post(json, JSON.stringify({ scope: "tag", tags: ["x".repeat(9_000_000)] }))],
      ["deep arrays", 400, "", post(json, deep)],
      ["deep targets", 400, "", post(json, `{"scope":"tag","tags":${deep}}`)],
      ["a cut body", 400, "", post(json, everything.slice(0, -1))],
      ["nothing", 400, "", post(json, "")],
      ["a prototype", 400, "", post(json, '{"scope":"everything","__proto__":{"site":"dev"}}')],
      ["a prototype's site", 400, "", post(json, '{"scope":"everything","site":"__proto__"}')],
      ["10,001 targets", 400, "", post(json, many(10_001))],
      ["a huge tag", 400, "", post(json, JSON.stringify({ scope: "tag", tags: ["x".repeat(1_025)] }))],
      ["NUL in a tag", 400, "", post(json, JSON.stringify({ scope: "tag", tags: [`all${nul}`] }))],
      [
        "NUL in a URL",
        400,
        "",
        post(json, JSON.stringify({ scope: "url", urls: [`${edge.http}/p/0${nul}`] })),
      ],
      ["a line in a prefix", 400, "", post(json, JSON.stringify({ scope: "prefix", prefixes: ["/p/\r\n"] }))],
      ["half a character", 400, "", post(json, '{"scope":"tag","tags":["all","\\ud800"]}')],
      ["half a key", 400, "", post(json, '{"scope":"everything","idempotencyKey":"\\ud800"}')],
      ["a path as host", 400, "", post(json, '{"scope":"host","hosts":["127.0.0.1/p/"]}')],
      ["a pattern as prefix", 400, "", post(json, '{"scope":"prefix","prefixes":["*"]}')],
      ["a negative limit", 400, "?limit=-1", {}],
      ["half a limit", 400, "?limit=1.5", {}],
      ["a negative place", 400, "?before=-1", {}],
      ["an unknown id", 404, "/nobody", {}],
      ["a path as id", 404, "/..%2f..%2fetc", {}],
      ["NUL as id", 404, "/%00", {}],
      ["a deletion", 405, "/nobody", { method: "DELETE", headers: json }],
    ];
    for (const [what, status, path, init] of cases) {
      const answer = await fetch(url + path, init);
      const told = await answer.text();
      expect([what, answer.status, answer.headers.get("content-type")]).toEqual([
        what,
        status,
        "application/problem+json",
      ]);
      const { detail } = JSON.parse(told) as { detail: string };
      expect(detail.length).toBeGreaterThan(10);
      expect(told.length).toBeLessThan(1_000);
    }
    expect(await newest()).toEqual(before);
    expect((await fetch(`${edge.http}/p/0`)).headers.get("x-cache")).toBe("HIT");
    expect(edge.program.err).not.toContain("error");
  }, 20_000);

  test("nobody gets what was purged although workers are killed in the middle of purges", async () => {
    const viewers = new Viewers(edge.httpPort, versions);
    try {
      await everyWorkerServes(viewers);
      for (let round = 0; round < 24; round++) {
        await viewers.more(60);
        versions.bump(PATHS);
        const now = versions.all(PATHS);
        const askedMs = performance.now();
        const purging = edge.purge(
          round % 2 === 0 ? { scope: "tag", tags: ["all"] } : { scope: "everything" },
        );
        if (round % 8 === 3) {
          // Before, while and after the purge reaches it.
          await Bun.sleep(Math.floor(round / 8));
          const workers = childrenOf(edge.program.pid);
          process.kill(workers[0] as number, "SIGKILL");
        }
        await purging;
        versions.purged(now);
        expect(performance.now() - askedMs).toBeLessThan(3_000);
      }
      await until("all are back", async () => {
        const { reasons } = (await (await fetch(`${edge.control}/readyz`)).json()) as { reasons: string[] };
        return reasons.length === 0;
      });
      await viewers.more(300);
    } finally {
      await viewers.stop();
    }
    expect(viewers.wrong).toEqual([]);
    expect(viewers.broken).toBeGreaterThan(0);
    expect(childrenOf(edge.program.pid)).toHaveLength(WORKERS);
  }, 20_000);

  test("a worker that hangs holds a purge for 3 s only, and serves nobody after it", async () => {
    const viewers = new Viewers(edge.httpPort, versions);
    try {
      await everyWorkerServes(viewers);
      const [, hung = 0] = childrenOf(edge.program.pid);
      versions.bump(PATHS);
      const now = versions.all(PATHS);
      process.kill(hung, "SIGSTOP");
      const askedMs = performance.now();
      await edge.purge({ scope: "everything" });
      versions.purged(now);
      expect(performance.now() - askedMs).toBeLessThan(5_000);
      expect(isAlive(hung)).toBe(false);
      await viewers.more(300);
    } finally {
      await viewers.stop();
    }
    expect(viewers.wrong).toEqual([]);
    expect(viewers.broken).toBeGreaterThan(0);
  }, 20_000);
});

test("a restart, in order or not, goes on with the log: its numbers, its ids, its idempotency keys", async () => {
  const all = new Programs();
  let version = 0;
  const origin = startOrigin(() => text(`v${version}`, { "cache-control": "max-age=600" }));
  try {
    const once = { scope: "tag", tags: ["a"], idempotencyKey: "once" };
    let edge = await start(all, origin.url);
    const first = await edge.purge(once);
    let newest = await edge.purge({ scope: "everything" });
    expect(newest.sequence).toBe(first.sequence + 1);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const workers = childrenOf(edge.program.pid);
      edge.program.kill(signal);
      await edge.program.end();
      await until("its workers are gone", () => workers.every((pid) => !isAlive(pid)));
      edge = await start(all, origin.url);
      const again = await edge.post(once);
      expect([again.status, ((await again.json()) as Report).id]).toEqual([200, first.id]);
      expect((await edge.post({ ...once, tags: ["b"] })).status).toBe(409);
      const old = (await (await fetch(`${edge.control}/v1/purges/${newest.id}`)).json()) as Report;
      expect(old).toMatchObject({ sequence: newest.sequence, state: "counted" });
      const get = async () => (await fetch(`${edge.http}/x`, { keepalive: false })).text();
      await Promise.all(Array.from({ length: 12 }, get));
      version++;
      const next = await edge.purge({ scope: "url", urls: [`${edge.http}/x`] }, "?wait=counted");
      expect(next.sequence).toBe(newest.sequence + 1);
      expect(next.counted).toBeGreaterThanOrEqual(1);
      expect(new Set(await Promise.all(Array.from({ length: 12 }, get)))).toEqual(new Set([`v${version}`]));
      newest = next;
    }
  } finally {
    await all.stop();
    await origin.stop();
  }
}, 20_000);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
