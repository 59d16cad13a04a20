import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { ManualClock } from "../../../src/base/clock.ts";
import { ProximaError } from "../../../src/base/errors.ts";
import {
  type ControlListener,
  type ControlListenerOptions,
  type NodeView,
  startControlListener,
} from "../../../src/node/control-listener.ts";
import { DrillService } from "../../../src/node/drill-service.ts";
import type { ExplainOptions } from "../../../src/node/edge-handle.ts";
import { OriginBoard } from "../../../src/node/origin-board.ts";
import { PurgeLog } from "../../../src/node/purge-log.ts";
import { PurgeService } from "../../../src/node/purge-service.ts";
import { renderMetrics } from "../../../src/telemetry/prometheus.ts";
import { Stats } from "../../../src/telemetry/stats.ts";
import { NO_GAUGES } from "../../kit/gauges.ts";

const stats = new Stats(new ManualClock());
const snapshot = () => stats.snapshot({ ...NO_GAUGES, version: "1.0.0", snapshotNumber: 3 });

let reasons: string[] = [];
let asked: { url: string; options: ExplainOptions }[] = [];
const node: NodeView = {
  version: "1.0.0",
  ready: () => ({ ready: reasons.length === 0, reasons }),
  stats: snapshot,
  metrics: () => renderMetrics(snapshot()),
  explain(url, options) {
    asked.push({ url, options });
    if (url.endsWith("/bug")) throw new Error("secret detail");
    if (url.endsWith("/wrong")) throw new ProximaError("bad_url", "no such host", { source: "viewer" });
    return { url, steps: [], would: { result: "hit", reason: "fresh" } };
  },
  snapshot: () => ({ number: 3, sites: 1, loadedAt: "2026-01-01T00:00:00.000Z", lastProblem: null }),
  alerts: {
    status: () => ({ channels: [], firing: [] }),
    test: (to) =>
      to === "nobody"
        ? Promise.reject(
            new ProximaError("alert_channel_unknown", "there is no such channel", { source: "viewer" }),
          )
        : Promise.resolve([{ channel: to ?? "ops", kind: "webhook", delivered: true, problem: null }]),
  },
  purges: new PurgeService(
    new PurgeLog(":memory:"),
    {
      sites: () => ["shop"],
      urlTarget: (_site, url) => new URL(url).host + new URL(url).pathname,
      purge: () => ({ applied: Promise.resolve(), counted: Promise.resolve(7) }),
      counted: () => Promise.resolve(0),
      purgesInForce: (site) => ({ marks: 0, patterns: inForce.get(site) ?? 0 }),
    },
    new ManualClock(),
  ),
  drills: new DrillService(
    { sites: () => ({}), stats: snapshot, setFault: () => Promise.resolve() },
    new OriginBoard(() => {}),
    new ManualClock(),
  ),
};

/** Patterns that have not been swept, by site. */
const inForce = new Map<string, number>();
const running: ControlListener[] = [];
let errors: string[] = [];
async function start(changes: Partial<ControlListenerOptions> = {}): Promise<ControlListener> {
  const listener = await startControlListener({
    address: { hostname: "127.0.0.1", port: 0 },
    node,
    onError: (message) => errors.push(message),
    ...changes,
  });
  running.push(listener);
  return listener;
}
beforeEach(() => {
  reasons = [];
  asked = [];
  errors = [];
});
afterEach(async () => {
  for (const listener of running.splice(0)) await listener.stop();
});

function portOf(listener: ControlListener): number {
  return Number(listener.address.slice(listener.address.lastIndexOf(":") + 1));
}

/** Sends exact bytes and returns the status and the whole answer. */
function raw(
  port: number,
  fields: string,
  start = "GET /v1/snapshot HTTP/1.1",
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve({ status: Number(text.slice(9, 12)), text }));
    socket.write(`${start}\r\n${fields}connection: close\r\n\r\n`);
  });
}

describe("the control listener", () => {
  test("shows health, readiness, metrics, stats and the snapshot", async () => {
    const { address } = await start();
    const get = (path: string) => fetch(`http://${address}${path}`);
    expect(await (await get("/healthz")).text()).toBe("ok\n");
    expect(await (await get("/readyz")).json()).toEqual({ ready: true, reasons: [] });
    reasons = ["no config yet"];
    const notReady = await get("/readyz");
    expect(notReady.status).toBe(503);
    expect(await notReady.json()).toEqual({ ready: false, reasons: ["no config yet"] });
    const metrics = await get("/metrics");
    expect(metrics.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await metrics.text()).toContain('proxima_requests_total{result="hit"} 0\n');
    expect(await (await get("/v1/stats")).json()).toMatchObject({ snapshotNumber: 3, hitRatio: null });
    expect(await (await get("/v1/snapshot")).json()).toEqual({ version: "1.0.0", ...node.snapshot() });
  });

  test("says of every answer that it is not to be stored, framed or sniffed", async () => {
    const { address } = await start();
    for (const path of ["/healthz", "/v1/stats", "/nowhere"]) {
      const { headers } = await fetch(`http://${address}${path}`);
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });

  test("answers what is not there, and methods that are not allowed, with a problem document", async () => {
    const { address } = await start();
    const missing = await fetch(`http://${address}/v2/stats`);
    expect(missing.status).toBe(404);
    expect(missing.headers.get("content-type")).toBe("application/problem+json");
    expect(await missing.json()).toMatchObject({ type: "about:blank", status: 404, title: "Not Found" });
    const write = await fetch(`http://${address}/v1/stats`, {
      method: "DELETE",
      headers: { "content-type": "application/json" },
    });
    expect(write.status).toBe(405);
    expect(write.headers.get("allow")).toBe("GET, HEAD");
    const head = await fetch(`http://${address}/healthz`, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  test("hands URL, method and repeated header fields on to explain", async () => {
    const { address } = await start();
    const url = "https://shop.example/a?b=c&d=%20";
    const query = new URLSearchParams({ url, method: "HEAD" });
    for (const line of [
      "Accept: text/html",
      "Cookie: a=1",
      "cookie:b=2",
      "X-A: 1",
      "x-a: 2",
      "__proto__: x",
    ]) {
      query.append("header", line);
    }
    const response = await fetch(`http://${address}/v1/explain?${query}`);
    expect(await response.json()).toMatchObject({ url, would: { result: "hit" } });
    expect(asked[0]?.url).toBe(url);
    expect(asked[0]?.options.method).toBe("HEAD");
    expect(Object.entries(asked[0]?.options.headers ?? {})).toEqual([
      ["accept", "text/html"],
      ["cookie", "a=1; b=2"],
      ["x-a", "1, 2"],
      ["__proto__", "x"],
    ]);
  });

  test.each([
    ["no url", "", "url is missing"],
    ["a path", "url=/a", "absolute http or https URL"],
    ["another scheme", "url=file:///etc/passwd", "absolute http or https URL"],
    ["a long url", `url=http://a/${"x".repeat(8_192)}`, "longer than 8192"],
    ["a bad method", "url=http://a/&method=G%20T", "method must be a token"],
    ["a bad header", "url=http://a/&header=nothing", "Name:Value"],
    ["a header with a line break", "url=http://a/&header=a:b%0d%0ac:d", "Name:Value"],
    ["many headers", `url=http://a/${"&header=a:b".repeat(51)}`, "more than 50"],
    ["what explain refuses", "url=http://a/wrong", "no such host"],
  ])("refuses to explain %s with 400", async (_what, query, detail) => {
    const { address } = await start();
    const response = await fetch(`http://${address}/v1/explain?${query}`);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ detail: expect.stringContaining(detail) });
  });

  test("shows alerts, and tests their channels", async () => {
    const { address } = await start();
    const send = (body: string, method = "POST") =>
      fetch(`http://${address}/v1/alerts/test`, {
        method,
        headers: { "content-type": "application/json" },
        ...(method === "POST" ? { body } : {}),
      });
    expect(await (await fetch(`http://${address}/v1/alerts`)).json()).toEqual({ channels: [], firing: [] });
    expect(await (await send('{"to":"chat"}')).json()).toEqual({
      results: [{ channel: "chat", kind: "webhook", delivered: true, problem: null }],
    });
    expect((await send("{}")).status).toBe(200);
    for (const body of ["", "[]", '{"to":1}', '{"to":""}', '{"too":"x"}']) {
      const refused = await send(body);
      expect(await refused.json()).toMatchObject({
        status: 400,
        detail: 'the body must be {} or {"to": "NAME"}',
      });
    }
    expect(await (await send('{"to":"nobody"}')).json()).toMatchObject({
      status: 400,
      detail: "there is no such channel",
    });
    expect((await send("", "GET")).status).toBe(405);
  });

  test("keeps the details of an error of ours to the log", async () => {
    const { address } = await start();
    const response = await fetch(`http://${address}/v1/explain?url=http://a/bug`);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    expect(errors).toEqual(["control listener: secret detail"]);
  });

  test("answers a purge that there is no room for with 429, and says when to try again", async () => {
    const { address } = await start();
    const purge = (idempotencyKey?: string) =>
      fetch(`http://${address}/v1/purges`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ scope: "wildcard", patterns: ["/a/*", "/b/*"], idempotencyKey }),
      });
    const before = await purge("known");
    expect(before.status).toBe(201);
    inForce.set("shop", 255);
    const refused = await purge();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "2"]);
    expect(await refused.json()).toMatchObject({
      detail: expect.stringContaining(
        "255 patterns of site shop are in force and 2 more would be too many, allowed are 256",
      ),
    });
    // One that was accepted before is no new one.
    expect((await purge("known")).status).toBe(200);
    inForce.set("shop", 254);
    expect((await purge()).status).toBe(201);
  });

  test("answers a body beyond its limit with 413", async () => {
    const { address } = await start();
    const response = await fetch(`http://${address}/v1/stats`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "x".repeat(9_000_000),
    });
    expect(response.status).toBe(413);
  });
});

describe("the guard of the control listener", () => {
  test("takes loopback's names with our port and no other Host", async () => {
    const port = portOf(await start());
    for (const host of ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"]) {
      expect((await raw(port, `host: ${host}:${port}\r\n`)).status).toBe(200);
    }
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "localhost",
      `localhost:${port + 1}`,
      `localhost.evil.example:${port}`,
      `localhost:${port}, evil.example`,
      `me@localhost:${port}`,
      `127.0.0.2:${port}`,
      `192.0.2.1:${port}`,
      "",
    ]) {
      const { status, text } = await raw(port, `host: ${host}\r\n`);
      expect([host, status]).toEqual([host, host === "" ? status : 421]);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(text).not.toContain("loadedAt");
    }
  });

  test("looks at the Host field, not at the request target, also for health", async () => {
    const port = portOf(await start());
    const target = `GET http://localhost:${port}/healthz HTTP/1.1`;
    expect((await raw(port, "host: evil.example\r\n", target)).status).toBe(421);
    expect(
      (await raw(port, `host: localhost:${port}\r\nhost: evil.example\r\n`, target)).status,
    ).toBeGreaterThanOrEqual(400);
  });

  test("takes a configured name", async () => {
    const port = portOf(await start({ names: ["edge-1.internal.example"] }));
    expect((await raw(port, `host: Edge-1.internal.example:${port}\r\n`)).status).toBe(200);
  });

  test("refuses pages of other origins and sites", async () => {
    const port = portOf(await start());
    const ask = async (fields: string) => (await raw(port, `host: localhost:${port}\r\n${fields}`)).status;
    expect(await ask(`origin: http://localhost:${port}\r\n`)).toBe(200);
    for (const origin of [
      "https://evil.example",
      "null",
      `https://localhost:${port}`,
      "http://localhost",
      `http://localhost:${port}/`,
    ]) {
      expect([origin, await ask(`origin: ${origin}\r\n`)]).toEqual([origin, 403]);
    }
    expect(await ask("sec-fetch-site: none\r\n")).toBe(200);
    expect(await ask("sec-fetch-site: same-origin\r\n")).toBe(200);
    for (const site of ["cross-site", "same-site", "whatever"]) {
      expect([site, await ask(`sec-fetch-site: ${site}\r\n`)]).toEqual([site, 403]);
    }
  });

  test("refuses writes that a form could send", async () => {
    const { address } = await start();
    const post = (type: string) =>
      fetch(`http://${address}/v1/stats`, { method: "POST", headers: { "content-type": type }, body: "{}" });
    expect((await post("text/plain")).status).toBe(415);
    expect((await post("application/x-www-form-urlencoded")).status).toBe(415);
    expect((await post("application/json; charset=utf-8")).status).toBe(405);
  });

  test("asks for the token where there is one, but not for health", async () => {
    const token = "a-token-of-some-length";
    const { address } = await start({ token });
    const ask = async (path: string, authorization?: string) =>
      await fetch(
        `http://${address}${path}`,
        authorization === undefined ? {} : { headers: { authorization } },
      );
    const without = await ask("/v1/stats");
    expect(without.status).toBe(401);
    expect(without.headers.get("www-authenticate")).toBe('Bearer realm="proxima"');
    for (const wrong of [
      token,
      `Basic ${token}`,
      "Bearer ",
      `Bearer ${token}x`,
      `Bearer ${token.slice(1)}`,
    ]) {
      expect((await ask("/metrics", wrong)).status).toBe(401);
    }
    expect((await ask("/metrics", `Bearer ${token}`)).status).toBe(200);
    expect((await ask("/v1/stats", `bearer ${token}`)).status).toBe(200);
    expect((await ask("/healthz")).status).toBe(200);
    reasons = ["the disk is full"];
    expect(await (await ask("/readyz")).json()).toEqual({ ready: false });
    expect(await (await ask("/readyz", `Bearer ${token}`)).json()).toEqual({ ready: false, reasons });
  });
});

describe("starting a control listener", () => {
  const codeOf = async (changes: Partial<ControlListenerOptions>): Promise<string> => {
    try {
      await start(changes);
    } catch (error) {
      return error instanceof ProximaError ? `${error.code}: ${error.message}` : `${error}`;
    }
    return "started";
  };

  test("beyond loopback is refused without TLS and a token", async () => {
    for (const hostname of ["", "0.0.0.0", "::", "192.0.2.1", "node.example"]) {
      const shown = hostname.includes(":") ? `[${hostname}]` : hostname;
      expect(await codeOf({ address: { hostname, port: 0 }, token: "a-token-of-some-length" })).toBe(
        `control_not_protected: control address ${shown}:0 can be reached from other machines and needs TLS and a token; listen on 127.0.0.1, or give both`,
      );
    }
    expect(await codeOf({ address: { hostname: "127.0.0.2", port: 0 } })).toBe("started");
    expect(await codeOf({ address: { hostname: "localhost", port: 0 } })).toBe("started");
  });

  test("with a short token is refused", async () => {
    expect(await codeOf({ token: "short" })).toStartWith("control_token_weak");
  });

  test("on a port in use is refused and never shared", async () => {
    const first = await start();
    const port = portOf(first);
    for (const hostname of ["127.0.0.1", "localhost"]) {
      expect(await codeOf({ address: { hostname, port } })).toBe(
        `address_in_use: control address ${hostname}:${port} is already in use; choose another with --control`,
      );
    }
    const sharing = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      reusePort: true,
      fetch: () => new Response(""),
    });
    expect(await codeOf({ address: { hostname: "127.0.0.1", port: sharing.port ?? 0 } })).toStartWith(
      "address_in_use",
    );
    await sharing.stop(true);
  });

  test("on an address of another machine is refused", async () => {
    const tls = { cert: "", key: "" };
    expect(
      await codeOf({ address: { hostname: "192.0.2.1", port: 0 }, token: "a-token-of-some-length", tls }),
    ).toMatch(/^(address_not_available|listen_failed): control address 192\.0\.2\.1:0 /);
  });
});
