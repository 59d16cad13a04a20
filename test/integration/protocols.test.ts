/** One edge, four ways to it: HTTP/1.1 in clear and over TLS, HTTP/2, HTTP/3. They give the same answers. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { makeAuthority } from "../kit/certificates.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { Http2Viewer } from "../kit/http2-viewer.ts";
import { fetchHttp3 } from "../kit/http3.ts";
import { type OriginHandler, startOrigin, text } from "../kit/origin.ts";
import { parseAnswer, RawViewer } from "../kit/raw-viewer.ts";

/** An answer, whatever way it came. */
interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

interface Asked {
  readonly method?: string;
  readonly headers?: Record<string, string>;
}

/** Asks an edge over one protocol. */
type Way = (edge: TestEdge, path: string, asked?: Asked) => Promise<Answer>;

async function raw(
  port: number,
  ca: string | null,
  path: string,
  { method = "GET", headers = {} }: Asked,
): Promise<Answer> {
  const viewer = RawViewer.ask(path, { port, method, headers, ...(ca === null ? {} : { ca }) });
  const { status, head, body, whole } = await viewer.answer(method === "HEAD");
  if (!whole) throw new Error(`not whole: ${head}`);
  const lines = head.split("\r\n").slice(1);
  const fields = lines.map((line) => [
    line.slice(0, line.indexOf(":")).toLowerCase(),
    line.slice(line.indexOf(":") + 1).trim(),
  ]);
  return { status, headers: Object.fromEntries(fields), body };
}

const ways: Record<string, Way> = {
  "HTTP/1.1 in clear": (edge, path, asked = {}) => raw(edge.port, null, path, asked),
  "HTTP/1.1 over TLS": (edge, path, asked = {}) => raw(edge.httpsPort, edge.ca, path, asked),
  "HTTP/2": async (edge, path, { method = "GET", headers = {} } = {}) => {
    const session = new Http2Viewer(edge.httpsUrl, edge.ca);
    const answer = await session.get(path, { ":method": method, ...headers });
    session.close();
    if (answer.error !== null) throw answer.error;
    return answer;
  },
  "HTTP/3": async (edge, path, { method = "GET", headers = {} } = {}) => {
    const response = await fetchHttp3(edge.httpsPort, path, { method, headers });
    return {
      status: response.status,
      headers: Object.fromEntries([...response.headers.entries()]),
      body: Buffer.from(await response.bytes()),
    };
  },
};

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start(options: TestEdgeOptions): Promise<TestEdge> {
  const edge = await startTestEdge(options);
  stops.push(() => edge.stop());
  return edge;
}

function app(handler: OriginHandler) {
  const origin = startOrigin(handler);
  stops.push(() => origin.stop());
  return origin;
}

const page = "<p>0123456789</p>".repeat(300);
const large = Buffer.alloc(3_000_000, "0123456789");
const modified = "Sat, 01 Nov 2025 08:00:00 GMT";

/** An origin with one of everything. */
const site: OriginHandler = async (request) => {
  const { pathname } = new URL(request.url);
  const storable = { "cache-control": "max-age=600", etag: '"1"', "last-modified": modified };
  switch (pathname) {
    case "/page":
      return text(page, { ...storable, "content-type": "text/html", "x-own": "a" });
    case "/large":
      return new Response(large, { headers: { ...storable, "content-type": "application/octet-stream" } });
    case "/empty":
      return new Response(null, { status: 204, headers: storable });
    case "/moved":
      return new Response(null, { status: 301, headers: { ...storable, location: "/page" } });
    case "/own":
      return text("own", { "cache-control": "no-store", "set-cookie": "a=1; Path=/" });
    case "/echo":
      return text(`${request.method} ${await request.text()}`, { "cache-control": "no-store" });
    case "/untyped":
      return new Response(new TextEncoder().encode("?"), { headers: { "cache-control": "max-age=600" } });
    default:
      return text("nothing here", { "cache-control": "max-age=600" }, 404);
  }
};

describe("every protocol", () => {
  let origin: ReturnType<typeof startOrigin>;
  let edge: TestEdge;
  beforeAll(async () => {
    origin = startOrigin(site);
    edge = await startTestEdge({ origin: origin.url, https: true });
  });
  afterAll(async () => {
    await edge.stop();
    await origin.stop();
  });

  /** Fields that are about a moment, a connection or a scheme's own cached copy. */
  const passing = new Set([
    "date",
    "age",
    "cache-status",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "alt-svc",
    "x-cache",
    "content-length",
  ]);
  const lasting = ({ status, headers, body }: Answer) => ({
    status,
    headers: Object.fromEntries(
      Object.entries(headers).filter(([name]) => !passing.has(name) && !name.startsWith(":")),
    ),
    body: body.equals(large) ? "large" : body.toString("latin1"),
  });

  const requests: Record<string, [path: string, asked?: Asked]> = {
    "a page": ["/page"],
    "a page as HEAD": ["/page", { method: "HEAD" }],
    "a page compressed": ["/page", { headers: { "accept-encoding": "gzip" } }],
    "a page that the viewer has": ["/page", { headers: { "if-none-match": '"1"' } }],
    "a page that did not change since": ["/page", { headers: { "if-modified-since": modified } }],
    "a range": ["/large", { headers: { range: "bytes=10-29" } }],
    "the last bytes": ["/large", { headers: { range: "bytes=-5" } }],
    "a range that is not there": ["/large", { headers: { range: "bytes=9000000-" } }],
    "a range of a version that is gone": ["/large", { headers: { range: "bytes=0-9", "if-range": '"0"' } }],
    "a large body": ["/large"],
    "nothing (204)": ["/empty"],
    "a redirect": ["/moved"],
    "what is not there": ["/missing"],
    "what is personal": ["/own"],
    "what has no type": ["/untyped"],
    "a method that is not served": ["/page", { method: "TRACE" }],
  };
  for (const [name, [path, asked]] of Object.entries(requests)) {
    test(`gives the same answer: ${name}`, async () => {
      const answers: [string, ReturnType<typeof lasting>][] = [];
      for (const [way, ask] of Object.entries(ways)) {
        // The runtime's own HTTP/3 client refuses to send TRACE.
        if (way === "HTTP/3" && asked?.method === "TRACE") continue;
        // Twice: the first may be fetched, the second is served from the cache.
        const first = await ask(edge, path, asked);
        const second = await ask(edge, path, asked);
        expect({ way, ...lasting(second) }).toEqual({ way, ...lasting(first) });
        expect(second.headers.date).toMatch(/ GMT$/);
        answers.push([way, lasting(second)]);
      }
      for (const [way, answer] of answers)
        expect({ way, ...answer }).toEqual({ way, ...(answers[0]?.[1] as object) } as typeof answer & {
          way: string;
        });
      const [, { status, body }] = answers[0] as (typeof answers)[number];
      const expected: Record<string, [number, (body: string) => boolean]> = {
        "/page": [
          asked?.method === "TRACE"
            ? 405
            : asked?.headers?.["if-none-match"] || asked?.headers?.["if-modified-since"]
              ? 304
              : 200,
          () => true,
        ],
        "/large": [
          asked?.headers?.range === undefined || asked.headers["if-range"]
            ? 200
            : asked.headers.range === "bytes=9000000-"
              ? 416
              : 206,
          () => true,
        ],
        "/empty": [204, (text) => text === ""],
        "/moved": [301, () => true],
        "/missing": [404, (text) => text === "nothing here"],
        "/own": [200, (text) => text === "own"],
        "/untyped": [200, (text) => text === "?"],
      };
      expect(status).toBe(expected[path]?.[0] as number);
      expect(expected[path]?.[1](body)).toBe(true);
    });
  }

  test("says the length of what is stored, also to HEAD", async () => {
    for (const [way, ask] of Object.entries(ways)) {
      await ask(edge, "/large");
      for (const method of ["GET", "HEAD"]) {
        const { headers } = await ask(edge, "/large", { method });
        expect([way, method, headers["content-length"]]).toEqual([way, method, "3000000"]);
      }
    }
  });

  test("serves https viewers from one cache, whatever their protocol", async () => {
    const before = origin.count();
    const path = "/page?one";
    expect((await raw(edge.httpsPort, edge.ca, path, {})).headers["x-cache"]).toBe("MISS");
    expect((await ways["HTTP/2"]?.(edge, path))?.headers["x-cache"]).toBe("HIT");
    // Bun's client has another name for the host over HTTP/3, and so another key.
    expect(
      (
        await fetchHttp3(edge.httpsPort, path, { headers: { host: `localhost:${edge.httpsPort}` } })
      ).headers.get("x-cache"),
    ).toMatch(/HIT|MISS/);
    expect(origin.count()).toBeLessThanOrEqual(before + 2);
  });

  test("carries a request's body to the origin and the answer back", async () => {
    const body = "b".repeat(300_000);
    const h1 = await fetch(`${edge.url}/echo`, { method: "POST", body });
    const h2 = await fetch(`${edge.httpsUrl}/echo`, {
      method: "POST",
      body,
      protocol: "http2",
      tls: { ca: edge.ca },
    } as RequestInit);
    const h3 = await fetchHttp3(edge.httpsPort, "/echo", { method: "POST", body });
    for (const response of [h1, h2, h3])
      expect([response.status, await response.text()]).toEqual([200, `POST ${body}`]);
  });

  test("names HTTP/3 in Alt-Svc over TLS, and never in clear", async () => {
    const altSvc = `h3=":${edge.httpsPort}"; ma=3600`;
    for (const path of ["/page", "/own", "/missing"]) {
      expect((await raw(edge.port, null, path, {})).headers["alt-svc"]).toBeUndefined();
      expect((await raw(edge.httpsPort, edge.ca, path, {})).headers["alt-svc"]).toBe(altSvc);
      expect((await ways["HTTP/2"]?.(edge, path))?.headers["alt-svc"]).toBe(altSvc);
    }
  });

  test("with prior knowledge speaks HTTP/2 in clear, as curl does", async () => {
    const run = Bun.spawn([
      "curl",
      "-s",
      "--http2-prior-knowledge",
      "-o",
      "/dev/null",
      "-w",
      "%{http_version} %{http_code}",
      `${edge.url}/page`,
    ]);
    expect(await new Response(run.stdout).text()).toBe("2 200");
  });

  test("by a client that it does not know (curl) over HTTP/2 and HTTP/1.1 with TLS", async () => {
    const caFile = join(edge.dataDir, "curl-ca.pem");
    writeFileSync(caFile, edge.ca);
    for (const [flag, version] of [
      ["--http2", "2"],
      ["--http1.1", "1.1"],
    ] as const) {
      const run = Bun.spawn([
        "curl",
        "-s",
        flag,
        "--cacert",
        caFile,
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code} %{size_download}",
        `${edge.httpsUrl}/large`,
      ]);
      expect(await new Response(run.stdout).text()).toBe(`${version} 200 3000000`);
    }
  });
});

describe("a site with http3: false", () => {
  test("answers 421 over HTTP/3, and tells viewers over TLS to leave it", async () => {
    const origin = app(site);
    const edge = await start({
      origin: origin.url,
      https: true,
      config: {
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0" },
        sites: {
          plain: { hosts: ["localhost"], origins: { app: { url: origin.url } }, http3: false },
          quick: { hosts: ["127.0.0.1"], origins: { app: { url: origin.url } } },
        },
      },
    });
    expect((await fetchHttp3(edge.httpsPort, "/page")).status).toBe(200);
    const refused = await fetchHttp3(edge.httpsPort, "/page", {
      headers: { host: `localhost:${edge.httpsPort}` },
    });
    expect([refused.status, refused.headers.get("alt-svc")]).toEqual([421, "clear"]);
    for (const path of ["/page", "/page", "/own", "/missing", "/large"]) {
      expect((await raw(edge.httpsPort, edge.ca, path, {})).headers["alt-svc"]).toBe("clear");
      expect((await ways["HTTP/2"]?.(edge, path))?.headers["alt-svc"]).toBe("clear");
    }
  });

  test("where the node listens without HTTP/3, nothing is said of it", async () => {
    const origin = app(site);
    const edge = await start({
      origin: origin.url,
      https: true,
      config: { listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", http3: false } },
    });
    expect((await raw(edge.httpsPort, edge.ca, "/page", {})).headers["alt-svc"]).toBeUndefined();
    expect(edge.edge.addresses.http3).toBeNull();
  });
});

describe("TLS", () => {
  const handshake = (port: number, options: object) =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket: TLSSocket = connectTls(
        { host: "127.0.0.1", port, rejectUnauthorized: false, ...options },
        () => resolve(socket),
      );
      socket.once("error", reject);
    });

  test("gives each server name its own certificate, and a name it does not know the first one", async () => {
    const folder = mkdtempSync(join(tmpdir(), "proxima-sni-"));
    stops.push(() => rmSync(folder, { recursive: true, force: true }));
    const authority = await makeAuthority();
    const files = async (name: string, names: readonly string[]) => {
      const { cert, key } = await authority.issue(names);
      writeFileSync(join(folder, `${name}.crt`), cert);
      writeFileSync(join(folder, `${name}.key`), key);
      return { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    };
    const certificates = [await files("one", ["one.example"]), await files("wild", ["*.two.example"])];
    const origin = app(site);
    const edge = await start({
      origin: origin.url,
      https: true,
      config: {
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", tls: { certificates } },
      },
    });
    const namesFor = async (servername: string) => {
      const socket = await handshake(edge.httpsPort, { servername });
      const names = socket.getPeerCertificate().subjectaltname;
      socket.destroy();
      return names;
    };
    expect(await namesFor("one.example")).toBe("DNS:one.example");
    expect(await namesFor("a.two.example")).toBe("DNS:*.two.example");
    expect(await namesFor("unknown.example")).toBe("DNS:one.example");
    expect(await namesFor("localhost")).toContain("DNS:localhost");
  });

  for (const [minVersion, refused] of [
    ["1.2", "TLSv1.1"],
    ["1.3", "TLSv1.2"],
  ] as const) {
    test(`below ${minVersion} is refused when that is the oldest allowed`, async () => {
      const origin = app(site);
      const edge = await start({
        origin: origin.url,
        https: true,
        config: {
          listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", tls: { minVersion } },
        },
      });
      const versions = { minVersion: "TLSv1.1", maxVersion: refused };
      await expect(
        handshake(edge.httpsPort, { ...versions, servername: "localhost", ciphers: "DEFAULT@SECLEVEL=0" }),
      ).rejects.toThrow();
      const socket = await handshake(edge.httpsPort, { servername: "localhost" });
      expect(socket.getProtocol()).toBe("TLSv1.3");
      socket.destroy();
    });
  }
});

describe("the PROXY protocol", () => {
  test("tells the true viewer, in clear and over TLS, and its absence closes the connection", async () => {
    const origin = app((request) =>
      text(request.headers.get("x-forwarded-for") ?? "", { "cache-control": "no-store" }),
    );
    const edge = await start({
      origin: origin.url,
      https: true,
      config: {
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", proxyProtocol: true },
        trustedProxies: ["127.0.0.1"],
      },
    });
    const request = (connect: () => ReturnType<typeof connectTcp>, header: string) =>
      new Promise<Buffer>((resolve) => {
        const pieces: Buffer[] = [];
        const socket = connect();
        socket.on("data", (piece: Buffer) => pieces.push(piece));
        socket.on("error", () => {});
        socket.on("close", () => resolve(Buffer.concat(pieces)));
        socket.write(`${header}GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n`);
      });
    const clear = () => connectTcp({ host: "127.0.0.1", port: edge.port });
    const v1 = parseAnswer(await request(clear, "PROXY TCP4 203.0.113.9 127.0.0.1 51000 80\r\n"));
    expect([v1.status, v1.body.toString()]).toEqual([200, "203.0.113.9"]);
    expect((await request(clear, "")).length).toBe(0);

    const tcp = connectTcp({ host: "127.0.0.1", port: edge.httpsPort });
    tcp.write("PROXY TCP6 2001:db8::9 ::1 51000 443\r\n");
    const secure = parseAnswer(
      await request(() => connectTls({ socket: tcp, servername: "localhost", ca: edge.ca }), ""),
    );
    expect([secure.status, secure.body.toString()]).toEqual([200, "2001:db8::9"]);
    expect(edge.edge.addresses.http3).toBeNull();
  });
});
