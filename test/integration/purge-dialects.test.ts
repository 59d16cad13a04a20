/** Purges at the viewers' ports, as the caches' clients send them: on one node, over workers, in a fleet. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { CiRun } from "../kit/ci.ts";
import { startOrigin, type TestOrigin } from "../kit/origin.ts";
import { type Program, Programs } from "../kit/program.ts";
import { sendRaw } from "../kit/raw-send.ts";

const HOST = "shop.example";
/** Every connection is closed by the edge: how long it may take on a busy machine, in milliseconds. */
const QUIET_MS = 5_000;
/** A test that starts processes, on a busy machine, in milliseconds. */
const PROCESSES_MS_MAX = 60_000;

let programs: Programs;
let origin: TestOrigin;

beforeAll(() => {
  programs = new Programs();
  origin = startOrigin(
    (request) =>
      new Response(`${request.method} ${new URL(request.url).pathname}`, {
        headers: { "cache-control": "max-age=3600", "cache-tag": "post-7, all", etag: '"1"' },
      }),
  );
});
afterAll(async () => {
  await programs.stop();
  await origin.stop();
});

interface Edge {
  readonly program: Program;
  readonly port: number;
  readonly http: string;
  readonly control: string;
}

async function edge(
  name: string,
  config: Record<string, unknown>,
  sites?: Record<string, unknown>,
): Promise<Edge> {
  const file = await programs.write(
    `${name}.json`,
    JSON.stringify({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      workers: 1,
      dataDir: `./${name}`,
      sites: sites ?? { shop: { hosts: [HOST, "*.shop.example"], origins: { app: { url: origin.url } } } },
      ...config,
    }),
  );
  const program = programs.start(["edge", "--config", file]);
  const { http, httpPort, control } = await program.addresses();
  return { program, port: httpPort, http, control };
}

async function get(http: string, path: string, host = HOST): Promise<string | null> {
  const response = await fetch(http + path, { headers: { host }, keepalive: false } as RequestInit);
  await response.arrayBuffer();
  return response.headers.get("x-cache");
}

/** One request over its own connection; fields are lines. */
async function send(port: number, method: string, path: string, ...fields: string[]) {
  const named = fields.some((field) => /^host:/i.test(field)) ? fields : [`Host: ${HOST}`, ...fields];
  const text = await sendRaw(
    { port, quietMs: QUIET_MS },
    [`${method} ${path} HTTP/1.1`, ...named, "Connection: close", "", ""].join("\r\n"),
  );
  const [head = "", body = ""] = text.split("\r\n\r\n");
  return {
    status: Number(head.split(" ")[1]),
    head,
    body,
    value: body.startsWith("{") ? JSON.parse(body) : null,
  };
}

describe.each([1, 2])("with %d workers", (workers) => {
  let one: Edge;
  beforeAll(async () => {
    one = await edge(`w${workers}`, {
      workers,
      purges: { from: ["127.0.0.1"] },
      trustedProxies: ["127.0.0.2"],
    });
  }, PROCESSES_MS_MAX);
  const isGone = async (path: string, purge: () => Promise<{ status: number; value: unknown }>) => {
    await get(one.http, path);
    expect(await get(one.http, path)).toBe("HIT");
    const { status, value } = await purge();
    expect([status, value]).toEqual([200, { status: "ok", id: expect.any(String) }]);
    expect(await get(one.http, path)).toBe("MISS");
  };

  test("PURGE of a URL: Fastly, nginx, Varnish", async () => {
    await isGone("/url?b=1", () => send(one.port, "PURGE", "/url?b=1"));
    await isGone("/absolute", () => send(one.port, "PURGE", `http://${HOST}/absolute`));
    await isGone("/dir/x", () => send(one.port, "PURGE", "/dir/*"));
    await get(one.http, "/other");
    await send(one.port, "PURGE", "/another");
    expect(await get(one.http, "/other")).toBe("HIT");
  });
  test("a soft purge leaves what can be revalidated", async () => {
    await get(one.http, "/soft");
    expect((await send(one.port, "PURGE", "/soft", "Fastly-Soft-Purge: 1")).status).toBe(200);
    expect(["EXPIRED", "REVALIDATED"]).toContain((await get(one.http, "/soft")) ?? "");
  });
  test("tags: xkey, FOSHttpCache, Magento", async () => {
    await isGone("/t1", () => send(one.port, "PURGEKEYS", "/", "xkey-purge: post-7 other"));
    await isGone("/t2", () => send(one.port, "PURGE", "/", "xkey-purge: post-7"));
    await isGone("/t3", () =>
      send(
        one.port,
        "BAN",
        "/",
        "X-Host: .*",
        "X-Url: .*",
        "X-Content-Type: .*",
        "X-Cache-Tags: (^|,)(post\\-7)(,|$)",
      ),
    );
    await isGone("/t4", () =>
      send(one.port, "PURGE", "/", "X-Magento-Tags-Pattern: ((^|,)x(,|$))|((^|,)post-7(,|$))"),
    );
    await get(one.http, "/t5");
    await send(one.port, "PURGEKEYS", "/", "xkey-softpurge: post-7");
    expect(["EXPIRED", "REVALIDATED"]).toContain((await get(one.http, "/t5")) ?? "");
  });
  test("BAN by path, by host, of everything", async () => {
    await isGone("/blog/1", () => send(one.port, "BAN", "/", "X-Url: ^/blog/"));
    await isGone("/a/b.css", () => send(one.port, "BAN", "/", "X-Url: \\.css$", "X-Host: .*"));
    await isGone("/h", () => send(one.port, "BAN", "/", `X-Host: ^(${HOST})$`, "X-Url: .*"));
    await isGone("/e", () => send(one.port, "BAN", "/", "X-Host: .*", "X-Url: .*", "X-Content-Type: .*"));
  });
  test("what can not be done whole is refused, and nothing is purged", async () => {
    await get(one.http, "/kept");
    const tries: [string, string[], number, RegExp][] = [
      ["BAN", ["X-Url: ^/(kept|b)"], 501, /only literal paths/],
      ["BAN", ["X-Content-Type: text/.*", "X-Url: .*"], 501, /X-Content-Type/],
      ["BAN", [], 501, /purge a URL by PURGE/],
      ["PURGEKEYS", [], 400, /needs xkey-purge/],
      ["PURGE", ["Host: nowhere.example"], 404, /no site here has the host nowhere.example/],
    ];
    for (const [method, fields, status, sentence] of tries) {
      const answer = await send(one.port, method, "/kept", ...fields);
      expect([answer.status, answer.value.msg]).toEqual([status, expect.stringMatching(sentence)]);
    }
    expect(await get(one.http, "/kept")).toBe("HIT");
  });
  test("it is in the node's purge log and in its log, and never sent to the origin", async () => {
    const { value } = await send(one.port, "PURGE", "/logged");
    const report = await (await fetch(`${one.control}/v1/purges/${value.id}`)).json();
    expect(report).toMatchObject({ site: "shop", scope: "url", mode: "hard" });
    await one.program.until(
      new RegExp(
        `PURGE of 127\\.0\\.0\\.1: hard url http://shop.example/logged of site shop: purge ${value.id}`,
      ),
    );
    expect(origin.seen.filter(({ method }) => method === "PURGE")).toEqual([]);
  });
  test("a page in a browser is not taken for an application", async () => {
    await get(one.http, "/safe");
    for (const line of ["Origin: https://shop.example", "Sec-Fetch-Site: same-origin"]) {
      const answer = await send(one.port, "PURGE", "/safe", line);
      expect([answer.status, answer.value.msg]).toEqual([
        403,
        expect.stringMatching(/not taken from web pages/),
      ]);
    }
    expect(await get(one.http, "/safe")).toBe("HIT");
  });
  test("a body is no second request", async () => {
    await get(one.http, "/smuggled");
    const inner = `PURGE /smuggled HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
    const text = await sendRaw(
      { port: one.port, quietMs: QUIET_MS },
      `PURGE /x HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: ${inner.length}\r\n\r\n${inner}GET /smuggled HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`,
    );
    expect(text.match(/^HTTP\/1\.1 /gm)?.length).toBe(2);
    expect(text).toMatch(/x-cache: HIT/i);
    const both = await sendRaw(
      { port: one.port, quietMs: QUIET_MS },
      `PURGE /smuggled HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    );
    expect(both).toStartWith("HTTP/1.1 400");
    expect(await get(one.http, "/smuggled")).toBe("HIT");
  });
});

test(
  "by default nobody may, and no list of addresses is passed by X-Forwarded-For",
  async () => {
    const shut = await edge("shut", {});
    await get(shut.http, "/a");
    for (const method of ["PURGE", "BAN", "PURGEKEYS"]) {
      const answer = await send(shut.port, method, "/a", "xkey-purge: all", "X-Url: .*");
      expect([answer.status, answer.value.msg]).toEqual([403, expect.stringMatching(/purges\.from/)]);
    }
    expect(await get(shut.http, "/a")).toBe("HIT");

    const other = await edge("other", { purges: { from: ["10.1.2.3", "::1"] } });
    await get(other.http, "/a");
    for (const line of [
      "X-Forwarded-For: 10.1.2.3",
      "X-Forwarded-For: ::1",
      "Forwarded: for=10.1.2.3",
      "X-Real-IP: 10.1.2.3",
      "X-Client-IP: 10.1.2.3",
      "True-Client-IP: 10.1.2.3",
    ])
      expect((await send(other.port, "PURGE", "/a", line)).status).toBe(403);
    expect(await get(other.http, "/a")).toBe("HIT");

    const proxied = await edge("proxied", { purges: { from: ["10.1.2.3"] }, trustedProxies: ["127.0.0.1"] });
    // The proxy's own word is the last one; what stands left of it came from further away.
    expect((await send(proxied.port, "PURGE", "/a", "X-Forwarded-For: 10.1.2.3, 192.0.2.1")).status).toBe(
      403,
    );
    expect((await send(proxied.port, "PURGE", "/a")).status).toBe(403);
    expect((await send(proxied.port, "PURGE", "/a", "X-Forwarded-For: 192.0.2.1, 10.1.2.3")).status).toBe(
      200,
    );
  },
  PROCESSES_MS_MAX,
);

test(
  "in a fleet a purge at one PoP is the whole fleet's, and in the audit log",
  async () => {
    const run = await CiRun.start(programs, origin.url, "--pops", "fra,nyc", "--no-shield");
    const { fra, nyc } = run.ready.pops;
    if (fra === undefined || nyc === undefined) throw new Error("a PoP is missing");
    const port = Number(new URL(fra.url).port);
    for (const { url } of [fra, nyc]) await get(url, "/fleet");
    for (const { url } of [fra, nyc]) expect(await get(url, "/fleet")).toBe("HIT");
    const answer = await send(port, "PURGE", "/fleet");
    expect(answer.status).toBe(200);
    for (const { url } of [fra, nyc]) expect(await get(url, "/fleet")).toBe("MISS");
    const purge = (await run.ask("GET", `/v1/purges/${answer.value.id}`)).value;
    expect(purge.nodes.length).toBe(2);
    const audit = (await run.ask("GET", "/v1/audit")).value.items;
    expect(audit[0]).toMatchObject({ action: "purge", outcome: "done", target: "ci" });
    for (const { url } of [fra, nyc]) await get(url, "/tagged");
    expect((await send(port, "BAN", "/", "X-Cache-Tags: (^|,)(post-7)(,|$)")).status).toBe(200);
    for (const { url } of [fra, nyc]) expect(await get(url, "/tagged")).toBe("MISS");
    expect((await send(port, "BAN", "/", "X-Url: ^/\\.\\./x")).status).toBe(400);

    // A node without a token says where to send it, one whose token is not good that it is not.
    const joined = async (name: string, purges: Record<string, unknown>) => {
      const invited = await run.ask("POST", "/v1/join-tokens", {});
      const file = await programs.write(
        `${name}.json`,
        JSON.stringify({
          listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
          workers: 1,
          dataDir: `./${name}`,
          permitted: { addresses: ["127.0.0.0/8"] },
          join: { control: run.ready.control, name },
          purges,
          sites: {},
        }),
      );
      const program = programs.start(["edge", "--config", file, "--join", invited.value.secret], {
        env: { BAD_TOKEN: run.ready.token.replace(/.$/, "x") },
      });
      return (await program.addresses()).httpPort;
    };
    const without = await send(await joined("without", { from: ["127.0.0.1"] }), "PURGE", "/fleet");
    expect([without.status, without.value.msg]).toEqual([
      409,
      expect.stringContaining(`${run.ready.control}/v1/purges`),
    ]);
    const bad = await send(
      await joined("bad", { from: ["127.0.0.1"], token: { env: "BAD_TOKEN" } }),
      "PURGE",
      "/fleet",
    );
    expect([bad.status, bad.value.msg]).toEqual([
      502,
      expect.stringMatching(/does not take this node's purges\.token/),
    ]);
    const refused = (await run.ask("GET", "/v1/audit?outcome=refused")).value.items;
    expect(refused.some(({ action }: { action: string }) => action === "purge")).toBe(true);
    run.program.kill("SIGTERM");
    await run.program.end();
  },
  PROCESSES_MS_MAX,
);

test(
  "over TLS, PURGE is taken; methods that the runtime does not know end the connection",
  async () => {
    const file = await programs.write(
      "tls.json",
      JSON.stringify({
        listen: { https: "127.0.0.1:0", control: "127.0.0.1:0", http3: false },
        workers: 1,
        dataDir: "./tls",
        purges: { from: ["127.0.0.1"] },
        sites: { shop: { hosts: ["*"], origins: { app: { url: origin.url } } } },
      }),
    );
    const program = programs.start(["edge", "--config", file]);
    const { httpsPort } = await program.addresses();
    const [, caFile = ""] = await program.until(/^ +CA +(\S+)/m);
    const ca = await Bun.file(resolve(programs.folder, caFile)).text();
    const ask = (method: string) =>
      sendRaw(
        { port: httpsPort, ca, quietMs: QUIET_MS },
        `${method} /a HTTP/1.1\r\nHost: ${HOST}\r\nxkey-purge: all\r\nConnection: close\r\n\r\n`,
      );
    expect(await ask("PURGE")).toStartWith("HTTP/1.1 200");
    expect(await ask("PURGEKEYS")).toBe("");
  },
  PROCESSES_MS_MAX,
);

test(
  "a token that can not be read keeps the node from starting, and is not shown",
  async () => {
    const file = await programs.write(
      "token.json",
      JSON.stringify({
        listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
        purges: { token: { env: "NO_SUCH_TOKEN" } },
        dataDir: "./token",
        sites: {},
      }),
    );
    const end = await programs.run(["edge", "--config", file]);
    expect(end.status).toBe(1);
    expect(end.err).toContain("purges.token: the variable NO_SUCH_TOKEN is not set");
  },
  PROCESSES_MS_MAX,
);
