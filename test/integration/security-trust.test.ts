/**
 * Whom the edge believes, and whom it lets an origin be: trusted proxies, the PROXY protocol, loops,
 * what the log tells, and which addresses and folders an origin may have.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfigInput } from "../../src/config/types.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { ask, sendRaw } from "../kit/raw-send.ts";
import { until } from "../kit/upstream-request.ts";

let origin: TestOrigin;
let folder: string;
const running: TestEdge[] = [];

beforeAll(() => {
  origin = startOrigin((request) => text(JSON.stringify([...request.headers])));
  folder = mkdtempSync(join(tmpdir(), "proxima-trust-"));
});
afterAll(async () => {
  await origin.stop();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const edge of running.splice(0)) await edge.stop();
});

async function start(
  config: Partial<ConfigInput> = {},
  options: Partial<TestEdgeOptions> = {},
): Promise<TestEdge> {
  const edge = await startTestEdge({ origin: origin.url, config, ...options });
  running.push(edge);
  return edge;
}

let files = 0;
const logFile = () => join(folder, `access-${++files}.log`);

/** The lines of an access log as soon as there are so many. */
async function lines(file: string, count: number): Promise<Record<string, unknown>[]> {
  const read = () => {
    try {
      return readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "");
    } catch {
      return [];
    }
  };
  await until(() => read().length >= count, `${count} lines in the access log`);
  return read().map((line) => JSON.parse(line) as Record<string, unknown>);
}

const seen = (): Headers => (origin.seen.at(-1) as { headers: Headers }).headers;

describe("X-Forwarded-For", () => {
  const viewerOf = async (trustedProxies: string[], fields: Record<string, string>): Promise<unknown> => {
    const file = logFile();
    const edge = await start({ trustedProxies, accessLog: { file } });
    await edge.get("/", fields);
    return (await lines(file, 1))[0]?.client;
  };

  test("of a viewer is not believed, and does not reach the origin", async () => {
    expect(await viewerOf([], { "X-Forwarded-For": "203.0.113.9" })).toBe("127.0.0.1");
    expect(seen().get("x-forwarded-for")).toBe("127.0.0.1");
    expect(
      await viewerOf(["10.0.0.0/8"], { "X-Forwarded-For": "203.0.113.9", Forwarded: "for=203.0.113.9" }),
    ).toBe("127.0.0.1");
    expect(seen().get("forwarded")).not.toContain("203.0.113.9");
  });

  test("of a trusted proxy names the viewer: the first from the right that is not trusted", async () => {
    const trusted = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48"];
    const walks: [string, string][] = [
      ["203.0.113.9", "203.0.113.9"],
      ["1.1.1.1, 203.0.113.9", "203.0.113.9"],
      ["1.1.1.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"],
      ["1.1.1.1, 203.0.113.9, 10.1.2.3, 10.1.2.4", "203.0.113.9"],
      ["203.0.113.9, [2001:db8:1::7]:443", "203.0.113.9"],
      ["2001:db8:2::1", "2001:db8:2::1"],
      ["10.1.2.3, 10.1.2.4", "10.1.2.3"],
      ["::ffff:203.0.113.9", "203.0.113.9"],
      ["203.0.113.9:5555", "203.0.113.9"],
      // What is no address ends the walk: what stands left of it can be forged.
      ["1.1.1.1, unknown, 10.1.2.3", "10.1.2.3"],
      ["1.1.1.1, <script>", "127.0.0.1"],
      ["", "127.0.0.1"],
    ];
    const file = logFile();
    const edge = await start({ trustedProxies: trusted, accessLog: { file } });
    for (const [value] of walks) await edge.get("/", { "X-Forwarded-For": value });
    expect((await lines(file, walks.length)).map((line) => line.client)).toEqual(
      walks.map(([, client]) => client),
    );
  });

  test("of a trusted proxy goes on, with the proxy's own address behind it", async () => {
    const edge = await start({ trustedProxies: ["127.0.0.1"] });
    await edge.get("/", {
      "X-Forwarded-For": "203.0.113.9",
      Forwarded: "for=203.0.113.9",
      Host: "shop.example",
    });
    expect(seen().get("x-forwarded-for")).toBe("203.0.113.9, 127.0.0.1");
    expect(seen().get("forwarded")).toBe("for=203.0.113.9, for=127.0.0.1;proto=http;host=shop.example");
  });
});

describe("X-Forwarded-Proto", () => {
  const redirecting = { behavior: { viewerProtocol: "redirect-to-https" as const } };

  test("of a viewer makes no clear text secure", async () => {
    const edge = await start({}, redirecting);
    expect((await edge.get("/", { "X-Forwarded-Proto": "https" })).status).toBe(301);
  });

  test("of a trusted proxy is the scheme: for the policy, the key and the origin", async () => {
    const edge = await start({ trustedProxies: ["127.0.0.1"] }, redirecting);
    expect((await edge.get("/", { "X-Forwarded-Proto": "http" })).status).toBe(301);
    expect((await edge.get("/", { "X-Forwarded-Proto": "https" })).status).toBe(200);
    expect(seen().get("x-forwarded-proto")).toBe("https");
    expect(seen().get("forwarded")).toContain("proto=https");
    for (const odd of ["ftp", "", "https\thttp", "http, https, javascript"]) {
      expect([odd, (await edge.get("/", { "X-Forwarded-Proto": odd })).status]).toEqual([odd, 301]);
    }
  });
});

describe("the PROXY protocol", () => {
  const listen = { http: "127.0.0.1:0", control: "127.0.0.1:0", proxyProtocol: true };
  const request = "GET /p HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

  test("of a trusted balancer names the viewer to log and origin", async () => {
    const file = logFile();
    const edge = await start({ listen, trustedProxies: ["127.0.0.1"], accessLog: { file } });
    const received = await sendRaw(
      { port: edge.port },
      `PROXY TCP4 203.0.113.9 10.0.0.1 5555 80\r\n${request}`,
    );
    expect(received).toStartWith("HTTP/1.1 200");
    expect((await lines(file, 1))[0]).toMatchObject({ client: "203.0.113.9", peer: "203.0.113.9" });
    expect(seen().get("x-forwarded-for")).toBe("203.0.113.9");
    const v2 = `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c${String.fromCharCode(198, 51, 100, 7, 10, 0, 0, 1, 0x15, 0xb3, 0, 80)}`;
    expect(await sendRaw({ port: edge.port }, v2 + request)).toStartWith("HTTP/1.1 200");
    expect((await lines(file, 2))[1]).toMatchObject({ client: "198.51.100.7" });
  });

  test("of anybody else is not believed: the connection is closed", async () => {
    const before = origin.count();
    const edge = await start({ listen, trustedProxies: ["10.0.0.0/8"] });
    expect(await sendRaw({ port: edge.port }, `PROXY TCP4 10.0.0.5 10.0.0.1 5555 80\r\n${request}`)).toBe("");
    expect(origin.count()).toBe(before);
  });

  test("is required: a connection without its header, or with a bad one, ends without an answer", async () => {
    const before = origin.count();
    const edge = await start({ listen, trustedProxies: ["127.0.0.1"] });
    for (const head of [
      "",
      "PROXY TCP4 evil 10.0.0.1 1 2\r\n",
      "PROXY TCP4 1.1.1.1 10.0.0.1 1 99999\r\n",
      " PROXY UNKNOWN\r\n",
      `PROXY ${"a".repeat(200)}\r\n`,
    ]) {
      expect([head, await sendRaw({ port: edge.port }, head + request)]).toEqual([head, ""]);
    }
    expect(origin.count()).toBe(before);
  });
});

describe("a loop", () => {
  test("of the edge onto itself ends at its second round with 508", async () => {
    const edge = await start();
    await edge.apply({ origin: edge.url });
    const answer = await edge.get("/loop");
    expect(answer.status).toBe(508);
    expect(await edge.get("/loop")).not.toMatchObject({ cache: "HIT" });
  });

  test("of two edges onto each other ends, also past the cache and for a POST", async () => {
    const [a, b] = [await start(), await start()];
    await a.apply({ origin: b.url, behavior: { cache: false } });
    await b.apply({ origin: a.url, behavior: { cache: false } });
    expect((await a.get("/loop")).status).toBe(508);
    expect((await a.get("/loop", {}, { method: "POST", body: "x" })).status).toBe(508);
  });

  test("is not made by another CDN's token, and one's own can be neither hidden nor nominated away", async () => {
    const edge = await start();
    expect((await edge.get("/", { "CDN-Loop": "other-cdn, proxima; v=1, proxima-ffff" })).status).toBe(200);
    const loop = seen().get("cdn-loop") ?? "";
    expect(loop).toStartWith("other-cdn, proxima; v=1, proxima-ffff, proxima-");
    const own = loop.split(", ").at(-1) as string;
    for (const value of [own, own.toUpperCase(), `x, ${own};a=b`, `"x", ${own}`, `,,${own},`]) {
      expect([value, (await edge.get("/", { "CDN-Loop": value })).status]).toEqual([value, 508]);
    }
    const nominated = await ask({ port: edge.port }, "GET /", [
      ["Host", "a.example"],
      ["CDN-Loop", own],
      ["Connection", "close, CDN-Loop"],
    ]);
    expect(nominated.status).toBe(508);
  });

  test("is told by forward.headers that leave CDN-Loop out all the same", async () => {
    const edge = await start({}, { behavior: { forward: { headers: { include: ["accept"] } } } });
    await edge.get("/", { "CDN-Loop": "other-cdn", Via: "1.0 fred" });
    expect(seen().get("cdn-loop")).toMatch(/^other-cdn, proxima-/);
    expect(seen().get("via")).toMatch(/^1\.0 fred, 1\.1 /);
  });
});

describe("the access log", () => {
  test("tells no secret of a request or an answer", async () => {
    const file = logFile();
    const edge = await start(
      { accessLog: { file } },
      { behavior: { cacheKey: { cookies: ["session"], headers: ["x-api-key"] } } },
    );
    origin.answer(() => text("x", { "set-cookie": "session=secret-3", "cache-control": "max-age=60" }));
    const secrets = {
      Authorization: "Bearer secret-1",
      Cookie: "session=secret-2",
      "X-Api-Key": "secret-4",
      "Proxy-Authorization": "Basic secret-5",
    };
    await edge.get("/a?b=c", secrets);
    await edge.get("/b", { Cookie: "session=secret-2" });
    await edge.get("/", { Host: "x/y", Cookie: "secret-2" });
    await lines(file, 3);
    expect(readFileSync(file, "utf8")).not.toContain("secret-");
    origin.answer((request) => text(JSON.stringify([...request.headers])));
  });

  test("has one line for each request, whatever the request says", async () => {
    const file = logFile();
    const edge = await start({ accessLog: { file } });
    await ask({ port: edge.port }, "GET /a%0A%7B%22x%22:1%7D", [
      ["Host", "a.example"],
      ["User-Agent", 'x"}\\n{"evil":1'],
      ["Referer", "\t\u0080"],
    ]);
    const read = await lines(file, 1);
    expect(read).toHaveLength(1);
    expect(read[0]).not.toHaveProperty("evil");
  });
});

describe("the addresses an origin may have", () => {
  const upgrade = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  };

  test("are those in permitted.addresses: others are refused before a byte is sent, WebSockets too", async () => {
    const before = origin.count();
    const port = String(origin.port);
    for (const host of [
      "127.0.0.1",
      "localhost",
      "[::ffff:127.0.0.1]",
      "0.0.0.0",
      "2130706433",
      "0x7f.1",
      "127.1",
    ]) {
      const edge = await start(
        { permitted: { addresses: ["203.0.113.0/24"] } },
        { origin: `http://${host}:${port}` },
      );
      const answer = await edge.get("/");
      expect([
        host,
        answer.status,
        answer.headers.get("proxy-status")?.includes("destination_ip_prohibited"),
      ]).toEqual([host, 502, true]);
      const socket = await ask({ port: edge.port }, "GET /ws", [
        ["Host", "a.example"],
        ...Object.entries(upgrade),
      ]);
      expect([
        host,
        socket.status,
        socket.header("proxy-status")?.includes("destination_ip_prohibited"),
      ]).toEqual([host, 502, true]);
      expect(answer.headers.get("proxy-status")).not.toContain("127.0.0.1");
    }
    expect(origin.count()).toBe(before);
  });

  test("never are the control listener's, by whatever name, over HTTP and WebSocket", async () => {
    const before = origin.count();
    const own = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .find(({ family, internal }) => family === "IPv4" && !internal);
    const hosts = [
      "127.0.0.1",
      "localhost",
      "127.0.0.2",
      "[::1]",
      "0.0.0.0",
      "[::]",
      "[::ffff:127.0.0.1]",
      "[::ffff:0.0.0.0]",
      ...(own === undefined ? [] : [own.address]),
    ];
    for (const host of hosts) {
      // The origin of the test stands where the control listener would: whatever reaches it is a breach.
      const edge = await start({}, { origin: `http://${host}:${origin.port}`, controlPort: origin.port });
      const answer = await edge.get("/v1/stats");
      expect([
        host,
        answer.status,
        answer.headers.get("proxy-status")?.includes("destination_ip_prohibited"),
      ]).toEqual([host, 502, true]);
      const socket = await ask({ port: edge.port }, "GET /v1/stats", [
        ["Host", "a.example"],
        ...Object.entries(upgrade),
      ]);
      expect([host, socket.status]).toEqual([host, 502]);
    }
    expect(origin.count()).toBe(before);
  });

  test("are told to the log, and not to viewers", async () => {
    const file = logFile();
    const edge = await start({ accessLog: { file } }, { origin: "http://127.0.0.1:1" });
    const answer = await edge.get("/");
    expect(answer.headers.get("proxy-status")).toBe("Proxima; error=connection_refused; next-hop=app");
    expect(answer.body).not.toContain("127.0.0.1");
    expect((await lines(file, 1))[0]?.error).toMatch(/^connection_refused: .*127\.0\.0\.1:1/);
  });

  test("may be anything else where nothing is set", async () => {
    const edge = await start({}, { origin: `http://localhost:${origin.port}`, controlPort: 1 });
    expect((await edge.get("/")).status).toBe(200);
  });
});

describe("a folder as origin", () => {
  let site: string;
  beforeAll(() => {
    site = join(folder, "public");
    mkdirSync(join(site, "sub"), { recursive: true });
    mkdirSync(join(folder, "private"));
    writeFileSync(join(site, "index.html"), "<h1>home</h1>");
    writeFileSync(join(site, "sub", "index.html"), "sub");
    writeFileSync(join(site, "file.txt"), "0123456789");
    writeFileSync(join(site, ".env"), "SECRET");
    writeFileSync(join(folder, "private", "key.pem"), "SECRET");
    symlinkSync(join(folder, "private", "key.pem"), join(site, "link.pem"));
    symlinkSync(join(folder, "private"), join(site, "linked"));
    mkdirSync(join(site, ".git"));
    writeFileSync(join(site, ".git", "config"), "SECRET");
  });

  test("shows nothing outside of it, nothing hidden, and nothing behind a link that leads out", async () => {
    const edge = await start({}, { origin: site });
    for (const path of [
      "/../private/key.pem",
      "/%2e%2e/private/key.pem",
      "/..%2fprivate/key.pem",
      "/sub/..%2f..%2fprivate/key.pem",
      "/..%5cprivate%5ckey.pem",
      "/..\\private\\key.pem",
      "/....//private/key.pem",
      "/.env",
      "/%2eenv",
      "/.git/config",
      "/sub/../.env",
      "//.env",
      "/link.pem",
      "/linked/key.pem",
      "/linked%2fkey.pem",
      "/file.txt%00.html",
      "/file.txt/",
      "/file.txt/x",
      "/%252e%252e/private/key.pem",
      "/C:/private",
      `/${"a".repeat(300)}`,
      `${folder}/private/key.pem`,
      `/${folder}/private/key.pem`,
      "/.%00env",
      "/sub%2f..%2f.env",
      "/~root",
      "/file.txt;x",
    ]) {
      const answer = await ask({ port: edge.port }, `GET ${path}`, [["Host", "a.example"]]);
      expect([path, answer.status >= 400 && answer.status < 500, answer.text.includes("SECRET")]).toEqual([
        path,
        true,
        false,
      ]);
    }
  });

  test("gives files with what caches need: type, validators, ranges, HEAD, 304", async () => {
    const edge = await start({}, { origin: site });
    const file = await edge.get("/file.txt");
    expect(file).toMatchObject({ status: 200, body: "0123456789" });
    expect(file.headers.get("content-type")).toContain("text/plain");
    const etag = file.headers.get("etag") ?? "";
    expect(etag).not.toBe("");
    expect(file.headers.has("last-modified")).toBe(true);
    expect((await edge.get("/file.txt", { "If-None-Match": etag })).status).toBe(304);
    expect(await edge.get("/file.txt", { Range: "bytes=2-4" })).toMatchObject({ status: 206, body: "234" });
    expect((await edge.get("/file.txt", { Range: "bytes=20-" })).status).toBe(416);
    const head = await edge.get("/file.txt", {}, { method: "HEAD" });
    expect([head.status, head.body, head.headers.get("content-length")]).toEqual([200, "", "10"]);
    expect((await edge.get("/", {})).body).toBe("<h1>home</h1>");
    expect((await edge.get("/file.txt", {}, { method: "POST", body: "x" })).status).toBe(405);
  });

  test("leads from a folder without a slash to the one with it on the same host, also with tricks before it", async () => {
    const edge = await start({}, { origin: site });
    for (const path of ["/sub", "//sub", "//evil.example/../sub", "/sub?next=//evil.example"]) {
      const answer = await ask({ port: edge.port }, `GET ${path}`, [["Host", "a.example"]]);
      if (answer.status !== 301) continue;
      const to = new URL(answer.header("location") ?? "", `http://a.example${path}`);
      expect([path, to.host, to.pathname.endsWith("/sub/")]).toEqual([path, "a.example", true]);
    }
    expect((await edge.get("/sub")).status).toBe(301);
  });

  test("outside permitted.directories makes a config that is refused, and a link out of one is not followed", async () => {
    const config = { permitted: { directories: [join(folder, "elsewhere")] } };
    await expect(startTestEdge({ origin: site, config })).rejects.toThrow("permitted.directories");
    symlinkSync(site, join(folder, "shortcut"));
    mkdirSync(join(folder, "allowed"));
    symlinkSync(site, join(folder, "allowed", "site"));
    const edge = await start(
      { permitted: { directories: [join(folder, "allowed")] } },
      { origin: join(folder, "allowed", "site") },
    );
    expect((await edge.get("/file.txt")).status).not.toBe(200);
  });

  test("is no WebSocket", async () => {
    const edge = await start({}, { origin: site });
    const answer = await ask({ port: edge.port }, "GET /", [
      ["Host", "a.example"],
      ["Connection", "Upgrade"],
      ["Upgrade", "websocket"],
      ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
      ["Sec-WebSocket-Version", "13"],
    ]);
    expect(answer.status).toBe(400);
  });
});
