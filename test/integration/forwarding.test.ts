/** What goes on to the origin and what comes back: fields, rules, Host, WebSockets, and every way an origin fails. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import type { BehaviorInput, UrlOriginInput } from "../../src/config/types.ts";
import { makeAuthority, makeSelfSigned, type TestAuthority } from "../kit/certificates.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { answering, startRawOrigin } from "../kit/raw-origin.ts";
import { ask } from "../kit/raw-send.ts";
import { until } from "../kit/upstream-request.ts";

const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;

beforeAll(async () => {
  origin = startOrigin(() => text("?"), clock);
  edge = await startTestEdge({ origin: origin.url, clock });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});
beforeEach(() => origin.answer(() => text("ok", { "cache-control": "max-age=600" })));

const seen = (): Headers => (origin.seen.at(-1) as { headers: Headers }).headers;
let number = 0;
const fresh = (): string => `/f${++number}`;
const use = (behavior: Partial<BehaviorInput>, app: Partial<UrlOriginInput> = {}): Promise<void> =>
  edge.apply({ behavior, site: { origins: { app: { url: origin.url, ...app } } } });

describe("request fields", () => {
  test("end-to-end ones go on as they are; those of the connection do not", async () => {
    await use({});
    const fields: [string, string][] = [
      ["Host", "shop.example"],
      ["Accept", "text/html;q=0.5, */*"],
      ["User-Agent", "test/1 (x; y)"],
      ["X-Custom", "a, b"],
      ["Origin", "https://x.example"],
      ["DNT", "1"],
      ["Keep-Alive", "timeout=5"],
      ["Proxy-Connection", "keep-alive"],
      ["Proxy-Authorization", "Basic eA=="],
      ["TE", "trailers"],
      ["Trailer", "X-T"],
      ["HTTP2-Settings", "AAMAAABk"],
      ["X-Hop", "1"],
      ["Connection", "close, X-Hop, HTTP2-Settings"],
    ];
    await ask({ port: edge.port }, `GET ${fresh()}`, fields);
    for (const name of ["accept", "user-agent", "x-custom", "origin", "dnt"])
      expect([name, seen().get(name)]).toEqual([
        name,
        fields.find(([n]) => n.toLowerCase() === name)?.[1] as string,
      ]);
    for (const name of [
      "keep-alive",
      "proxy-connection",
      "proxy-authorization",
      "te",
      "trailer",
      "http2-settings",
      "x-hop",
      "upgrade",
    ])
      expect([name, seen().has(name)]).toEqual([name, false]);
  });

  test("that ask caches something are answered here on cacheable requests, and go on past the cache", async () => {
    const fields = {
      "If-None-Match": '"x"',
      "If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT",
      Range: "bytes=0-1",
      "Cache-Control": "no-cache",
      Pragma: "no-cache",
    };
    await use({});
    await edge.get(fresh(), fields);
    for (const name of Object.keys(fields)) expect([name, seen().has(name)]).toEqual([name, false]);
    await use({ cache: false });
    await edge.get(fresh(), fields);
    for (const name of Object.keys(fields)) expect([name, seen().has(name)]).toEqual([name, true]);
  });

  test("Via grows by one hop both ways", async () => {
    await use({});
    origin.answer(() => text("ok", { via: "1.1 origin-proxy" }));
    const answer = await edge.get(fresh(), { Via: "1.0 fred, 1.1 p.example" });
    expect(seen().get("via")).toBe("1.0 fred, 1.1 p.example, 1.1 Proxima");
    expect(answer.headers.get("via")).toBe("1.1 origin-proxy, 1.1 Proxima");
  });

  test("X-Forwarded-* and Forwarded tell host with port, scheme and address", async () => {
    await use({});
    await edge.get(fresh(), { Host: "Shop.Example:8443" });
    expect(
      Object.fromEntries(
        ["x-forwarded-host", "x-forwarded-proto", "x-forwarded-for", "forwarded"].map((name) => [
          name,
          seen().get(name),
        ]),
      ),
    ).toEqual({
      "x-forwarded-host": "shop.example:8443",
      "x-forwarded-proto": "http",
      "x-forwarded-for": "127.0.0.1",
      forwarded: 'for=127.0.0.1;proto=http;host="shop.example:8443"',
    });
  });
});

describe("forward.headers", () => {
  const sent = {
    "X-A": "1",
    "X-B": "2",
    Accept: "text/x",
    "Content-Type": "text/plain",
    "Content-Encoding": "x-test",
    Cookie: "a=1",
  };

  test("include lets through those named, and what a request can not do without", async () => {
    await use({ forward: { headers: { include: ["X-A"] } } });
    await edge.get(fresh(), sent, { method: "POST", body: "x" });
    expect([seen().get("x-a"), seen().get("x-b"), seen().get("accept")]).toEqual(["1", null, null]);
    expect([seen().get("content-type"), seen().get("content-encoding"), seen().get("cookie")]).toEqual([
      "text/plain",
      "x-test",
      "a=1",
    ]);
  });

  test("exclude keeps back those named, in any case", async () => {
    await use({ forward: { headers: { exclude: ["x-A"] } } });
    await edge.get(fresh(), sent);
    expect([seen().get("x-a"), seen().get("x-b")]).toEqual([null, "2"]);
  });

  test("can not be made to let through what speaks for a proxy", async () => {
    await use({
      forward: {
        headers: { include: ["x-forwarded-host", "x-original-url", "x-real-ip", "connection", "host"] },
      },
    });
    await edge.get(fresh(), {
      Host: "shop.example",
      "X-Forwarded-Host": "evil",
      "X-Original-URL": "/evil",
      "X-Real-IP": "1.1.1.1",
    });
    expect([seen().get("x-forwarded-host"), seen().get("x-original-url"), seen().get("x-real-ip")]).toEqual([
      "shop.example",
      null,
      null,
    ]);
  });
});

describe("forward.cookies", () => {
  const cookie = async (behavior: Partial<BehaviorInput>): Promise<string | null> => {
    await use(behavior);
    await edge.get(fresh(), { Cookie: "a=1; b=2; session=3" });
    return seen().get("cookie");
  };

  test("all, none, by name, and what auto means", async () => {
    expect(await cookie({ forward: { cookies: "all" } })).toBe("a=1; b=2; session=3");
    expect(await cookie({ forward: { cookies: "none" } })).toBeNull();
    expect(await cookie({ forward: { cookies: ["session", "b"] } })).toBe("b=2; session=3");
    expect(await cookie({ forward: { cookies: ["x"] } })).toBeNull();
    expect(await cookie({})).toBe("a=1; b=2; session=3");
    expect(await cookie({ ttlSeconds: { default: 60 } })).toBeNull();
    expect(await cookie({ edgeTtlSeconds: 60 })).toBeNull();
    expect(await cookie({ edgeTtlSeconds: 60, cacheKey: { cookies: ["a"] } })).toBe("a=1");
    expect(await cookie({ ttlSeconds: { default: 60 }, cache: false })).toBe("a=1; b=2; session=3");
  });
});

describe("the Host that the origin gets", () => {
  test("is the origin's, the viewer's or a name", async () => {
    const hostWith = async (hostHeader?: UrlOriginInput["hostHeader"]): Promise<string | null> => {
      await use({}, hostHeader === undefined ? {} : { hostHeader });
      await edge.get(fresh(), { Host: "Shop.Example" });
      return seen().get("host");
    };
    expect(await hostWith()).toBe(`127.0.0.1:${origin.port}`);
    expect(await hostWith("origin")).toBe(`127.0.0.1:${origin.port}`);
    expect(await hostWith("viewer")).toBe("shop.example");
    expect(await hostWith({ name: "internal.example" })).toBe("internal.example");
  });

  test("a path of the origin's URL stands before every path", async () => {
    await use({}, { url: `${origin.url}/base/` });
    await edge.get("/x?y=1");
    expect(origin.seen.at(-1)?.target).toBe("/base/x?y=1");
  });
});

describe("header rules", () => {
  test("of requests: remove, then set, then append", async () => {
    await use({
      requestHeaders: {
        remove: ["X-A", "User-Agent"],
        set: { "X-B": "set", "X-New": "new" },
        append: { "X-C": "more" },
      },
    });
    await edge.get(fresh(), { "X-A": "1", "X-B": "2", "X-C": "3" });
    expect([
      seen().get("x-a"),
      seen().get("user-agent"),
      seen().get("x-b"),
      seen().get("x-new"),
      seen().get("x-c"),
    ]).toEqual([null, null, "set", "new", "3, more"]);
  });

  test("of answers: the same, on misses, hits, 304, ranges, HEAD and passes alike", async () => {
    const rules: Partial<BehaviorInput> = {
      responseHeaders: {
        remove: ["Server", "X-Powered-By"],
        set: { "Strict-Transport-Security": "max-age=1", "Cache-Control": "max-age=5" },
        append: { "X-C": "edge" },
      },
    };
    origin.answer(() =>
      text("0123456789", {
        server: "secret/1.0",
        "x-powered-by": "x",
        "x-c": "origin",
        etag: '"e"',
        "cache-control": "max-age=600",
      }),
    );
    const path = fresh();
    const asks: [string, Record<string, string>, RequestInit, number][] = [
      ["miss", {}, {}, 200],
      ["hit", {}, {}, 200],
      ["304", { "If-None-Match": '"e"' }, {}, 304],
      ["range", { Range: "bytes=1-2" }, {}, 206],
      ["416", { Range: "bytes=99-" }, {}, 416],
      ["head", {}, { method: "HEAD" }, 200],
      ["post", {}, { method: "POST" }, 200],
    ];
    await use(rules);
    for (const [name, fields, init, status] of asks) {
      const { headers, status: got } = await edge.get(path, fields, init);
      expect([
        name,
        got,
        headers.get("server"),
        headers.get("x-powered-by"),
        headers.get("strict-transport-security"),
        headers.get("x-c"),
        headers.get("cache-control"),
      ]).toEqual([name, status, null, null, "max-age=1", "origin, edge", "max-age=5"]);
    }
    await use({ ...rules, cache: false });
    expect((await edge.get(path)).headers.get("x-c")).toBe("origin, edge");
    await use({});
    // Rules are not stored: without them the same object is as the origin sent it.
    expect((await edge.get(path)).headers.get("x-c")).toBe("origin");
  });

  test("browserTtlSeconds speaks to browsers only, on what may be stored only", async () => {
    await use({ browserTtlSeconds: 0 });
    origin.answer(() =>
      text("x", { "cache-control": "max-age=600", expires: "Thu, 01 Jan 2099 00:00:00 GMT" }),
    );
    const answer = await edge.get(fresh());
    expect([answer.headers.get("cache-control"), answer.headers.get("expires")]).toEqual(["max-age=0", null]);
    origin.answer(() => text("x", { "cache-control": "private, no-store" }));
    expect((await edge.get(fresh())).headers.get("cache-control")).toBe("private, no-store");
  });

  test("what the origin says to caches like us ends here", async () => {
    await use({});
    origin.answer(() =>
      text("x", {
        "surrogate-control": "max-age=60",
        "cdn-cache-control": "max-age=60",
        "surrogate-key": "a b",
        "cache-tag": "a",
        "x-cache": "HIT from me",
        "alt-svc": 'h3=":1"',
        "x-ok": "1",
      }),
    );
    for (const round of ["MISS", "HIT"]) {
      const { headers, cache } = await edge.get("/for-caches");
      expect([cache, headers.get("x-ok")]).toEqual([round, "1"]);
      for (const name of ["surrogate-control", "cdn-cache-control", "surrogate-key", "cache-tag"])
        expect([name, headers.has(name)]).toEqual([name, false]);
      expect(headers.get("alt-svc") ?? "").not.toContain(":1");
    }
  });
});

describe("a WebSocket", () => {
  interface Ws {
    readonly url: string;
    readonly heads: Headers[];
    stop(): void;
  }
  function startEcho(accept: (request: Request) => Response | null = () => null): Ws {
    const heads: Headers[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request, running) {
        heads.push(request.headers);
        const refused = accept(request);
        if (refused !== null) return refused;
        return running.upgrade(request) ? undefined : text("no", {}, 400);
      },
      websocket: {
        message: (socket, message) => void socket.send(message),
        open: (socket) => void socket.send("welcome"),
      },
    });
    return { url: `http://127.0.0.1:${server.port}`, heads, stop: () => void server.stop(true) };
  }
  const open = (
    path: string,
    options: Record<string, unknown> = {},
  ): Promise<{ socket: WebSocket; first: string } | "refused"> =>
    new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${edge.port}${path}`, options as never);
      socket.onmessage = (event) => resolve({ socket, first: String(event.data) });
      socket.onerror = () => resolve("refused");
    });

  test("passes through with the fields of any other request, and echoes what it is sent", async () => {
    const echo = startEcho();
    await use({}, { url: echo.url });
    const opened = await open("/chat?room=1", {
      headers: {
        Cookie: "session=1",
        "X-Forwarded-For": "6.6.6.6",
        Origin: "https://shop.example",
        Host: "shop.example",
      },
    });
    if (opened === "refused") throw new Error("refused");
    expect(opened.first).toBe("welcome");
    const answered = new Promise((resolve) => (opened.socket.onmessage = (event) => resolve(event.data)));
    opened.socket.send("hello");
    expect(await answered).toBe("hello");
    const head = echo.heads[0] as Headers;
    expect(
      ["cookie", "x-forwarded-for", "origin", "x-forwarded-host", "x-forwarded-proto"].map((name) =>
        head.get(name),
      ),
    ).toEqual(["session=1", "127.0.0.1", "https://shop.example", "shop.example", "http"]);
    expect([head.get("cdn-loop")?.startsWith("proxima-"), head.get("via"), head.get("host")]).toEqual([
      true,
      "1.1 Proxima",
      new URL(echo.url).host,
    ]);
    opened.socket.terminate();
    echo.stop();
  });

  test("of an origin that refuses, is down or is a loop is an error to the viewer, with Proxy-Status", async () => {
    const handshake: [string, string][] = [
      ["Host", "a.example"],
      ["Connection", "Upgrade"],
      ["Upgrade", "websocket"],
      ["Sec-WebSocket-Version", "13"],
      ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
    ];
    const refusing = startEcho(() => text("no", {}, 403));
    for (const [url, error] of [
      [refusing.url, "http_upgrade_failed"],
      ["http://127.0.0.1:1", "http_upgrade_failed"],
      ["http://no-such-host.invalid", "dns_error"],
      [edge.url, "http_upgrade_failed"],
    ] as const) {
      await use({}, { url });
      const answer = await ask({ port: edge.port }, "GET /ws", handshake);
      expect([url, answer.status, answer.header("proxy-status")?.includes(error)]).toEqual([url, 502, true]);
    }
    refusing.stop();
  });

  test("obeys the behaviour: https only, methods, site", async () => {
    const echo = startEcho();
    await use({ viewerProtocol: "https-only" }, { url: echo.url });
    expect(await open("/x")).toBe("refused");
    await use({ allowedMethods: ["POST"] }, { url: echo.url });
    expect(await open("/x")).toBe("refused");
    expect(echo.heads).toHaveLength(0);
    echo.stop();
  });
});

describe("an origin that fails", () => {
  let authority: TestAuthority;
  let folder: string;
  let caFile: string;
  beforeAll(async () => {
    authority = await makeAuthority();
    folder = mkdtempSync(join(tmpdir(), "proxima-forwarding-"));
    caFile = join(folder, "ca.pem");
    writeFileSync(caFile, authority.pem);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** Asks twice: the failure's status and error type; it must be asked for anew each time, so never stored. */
  async function failure(
    app: Partial<UrlOriginInput>,
    meanwhile: (path: string) => Promise<void> = async () => {},
  ): Promise<[number, string | undefined]> {
    await use({ statusTtlSeconds: { "5xx": 60 }, ttlSeconds: { default: 60 } }, app);
    const path = fresh();
    const outcomes: [number, string | undefined][] = [];
    for (let round = 0; round < 2; round++) {
      const pending = edge.get(path);
      await meanwhile(path);
      const answer = await pending;
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(answer.cache).not.toBe("HIT");
      outcomes.push([answer.status, /error=([a-z_]+)/.exec(answer.headers.get("proxy-status") ?? "")?.[1]]);
    }
    expect(outcomes[1]).toEqual(outcomes[0] as [number, string]);
    return outcomes[0] as [number, string];
  }

  test("refuses connections, or has no address", async () => {
    expect(await failure({ url: "http://127.0.0.1:1" })).toEqual([502, "connection_refused"]);
    expect(await failure({ url: "http://no-such-host.invalid" })).toEqual([502, "dns_error"]);
  });

  test("does not answer in time: 504 when the clock says so", async () => {
    const silent = startRawOrigin(async (connection) => void (await connection.gone()));
    let round = 0;
    const outcome = await failure({ url: silent.url, timeouts: { firstByteMs: 5_000 } }, async (path) => {
      const before = round++;
      await until(
        () => silent.received().split(`GET ${path} `).length > before + 1,
        "the request reached the origin",
      );
      clock.advance(5_001);
    });
    expect(outcome).toEqual([504, "http_response_timeout"]);
    silent.stop();
  });

  test("closes, resets, or answers nonsense", async () => {
    const closing = startRawOrigin(async (connection) => {
      await connection.readHead();
      connection.end();
    });
    expect(await failure({ url: closing.url })).toEqual([502, "connection_terminated"]);
    closing.stop();
    const resetting = startRawOrigin(async (connection) => {
      await connection.readHead();
      connection.reset();
    });
    expect(await failure({ url: resetting.url })).toEqual([502, "connection_terminated"]);
    resetting.stop();
    const nonsense = startRawOrigin(answering("\x16\x03\x01 nonsense\r\n\r\n"));
    expect(await failure({ url: nonsense.url })).toEqual([502, "http_protocol_error"]);
    nonsense.stop();
    const cut = startRawOrigin(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\nCache-Con");
      connection.end();
    });
    expect((await failure({ url: cut.url }))[0]).toBe(502);
    cut.stop();
  });

  test("has a certificate that does not hold: wrong name, expired, self-signed, unknown authority", async () => {
    const certificates = {
      "wrong name": await authority.issue(["other.example"]),
      expired: await authority.issue(["localhost", "127.0.0.1"], { expired: true }),
      "self-signed": await makeSelfSigned(["localhost", "127.0.0.1"]),
      "unknown authority": await (await makeAuthority()).issue(["localhost", "127.0.0.1"]),
    };
    const ok = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok";
    for (const [name, tls] of Object.entries(certificates)) {
      const secure = startRawOrigin(answering(ok), { tls });
      expect([name, await failure({ url: secure.url, tls: { caFile } })]).toEqual([
        name,
        [502, "tls_certificate_error"],
      ]);
      expect([name, secure.received()]).toEqual([name, ""]);
      await use({}, { url: secure.url, tls: { verify: false } });
      expect([name, (await edge.get(fresh())).status]).toEqual([name, 200]);
      secure.stop();
    }
    const own = startRawOrigin(answering(ok), { tls: await authority.issue(["internal.example"]) });
    await use({}, { url: own.url, tls: { caFile, serverName: "internal.example" } });
    expect((await edge.get(fresh())).status).toBe(200);
    expect(await failure({ url: own.url, tls: { serverName: "internal.example" } })).toEqual([
      502,
      "tls_certificate_error",
    ]);
    own.stop();
    const clear = startRawOrigin(
      async (connection) => void (await connection.write("HTTP/1.1 400 Bad Request\r\n\r\n")),
    );
    expect((await failure({ url: clear.url.replace("http:", "https:") }))[0]).toBe(502);
    clear.stop();
  });

  test("half-way through a body: the viewer sees the cut, and the next one gets the whole", async () => {
    const half = startRawOrigin(async (connection) => {
      if ((await connection.readHead()) === null) return;
      await connection.write(
        `HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 600000\r\n\r\n${"x".repeat(300_000)}`,
      );
      connection.end();
    });
    await use({}, { url: half.url });
    const path = fresh();
    const cut = await ask({ port: edge.port }, `GET ${path}`, [["Host", "a.example"]]);
    expect(cut.status === 502 || !cut.whole).toBe(true);
    half.stop();
    await use({});
    expect(await edge.get(path, { Host: "a.example" })).toMatchObject({ cache: "MISS", body: "ok" });
  });

  test("with an error of its own is passed on as it is, and stored only as long as the config says", async () => {
    await use({ statusTtlSeconds: { "404": 10, "5xx": 0 } });
    for (const [status, stored] of [
      [404, true],
      [500, false],
      [503, false],
      [410, false],
    ] as const) {
      origin.answer(() => text(`own ${status}`, {}, status));
      const path = fresh();
      expect(await edge.get(path)).toMatchObject({ status, body: `own ${status}` });
      expect([status, (await edge.get(path)).cache === "HIT"]).toEqual([status, stored]);
      clock.advance(11_000);
      expect((await edge.get(path)).cache).not.toBe("HIT");
    }
  });
});

test("header rules also reach what the edge answers itself: Strict-Transport-Security on the redirect to https", async () => {
  const own = await startTestEdge({
    origin: "http://127.0.0.1:9",
    behavior: {
      viewerProtocol: "redirect-to-https",
      responseHeaders: { set: { "strict-transport-security": "max-age=60" } },
    },
  });
  try {
    const answer = await own.get("/");
    expect(answer.status).toBe(301);
    expect(answer.headers.get("strict-transport-security")).toBe("max-age=60");
  } finally {
    await own.stop();
  }
});
