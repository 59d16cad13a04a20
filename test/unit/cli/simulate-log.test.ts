import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type LogLine, readLogLine } from "../../../src/cli/simulate-log.ts";
import { type AccessLogEntry, lineOf } from "../../../src/telemetry/access-log.ts";

const request = (resource: string, query: string | null, bytes: number, whole = true): LogLine => ({
  kind: "request",
  resource,
  query,
  bytes,
  whole,
});

const common = (requestLine: string, rest = "200 512") =>
  `192.0.2.1 - frank [10/Oct/2025:13:55:36 -0700] "${requestLine}" ${rest}`;

describe("a line of Proxima's log", () => {
  const entry: AccessLogEntry = {
    timeMs: 0,
    site: "shop",
    behavior: "/*",
    client: "192.0.2.1",
    peer: "192.0.2.1",
    method: "GET",
    scheme: "https",
    transport: "tcp",
    host: "shop.example",
    path: "/a",
    query: "b=1",
    status: 200,
    result: "miss",
    reason: "not-found",
    bytesSent: 77,
    durationMs: 1,
    firstByteMs: 1,
    originStatus: 200,
    originMs: 1,
    originName: "app",
    key: "shop https://shop.example/a?b=1",
    userAgent: "x",
    referer: null,
    requestId: "1",
    error: null,
  };
  const read = (change: Partial<AccessLogEntry>) => readLogLine(lineOf({ ...entry, ...change }).trimEnd());

  test("is read as it is written", () => {
    expect(read({})).toEqual(request("shop https://shop.example/a", "b=1", 77));
    expect(read({ query: "" })).toEqual(request("shop https://shop.example/a", null, 77));
    expect(read({ status: 206, site: null })).toEqual(request(" https://shop.example/a", "b=1", 77, false));
    expect(read({ method: "HEAD", bytesSent: 0 })).toEqual(
      request("shop https://shop.example/a", "b=1", 0, false),
    );
  });

  test("is not cacheable when the cache was bypassed, or by method or status", () => {
    for (const change of [{ result: "bypass" }, { method: "POST" }, { status: 502 }, { status: 302 }]) {
      expect(read(change)).toEqual({ kind: "uncacheable" });
    }
  });

  test("says how many entries were dropped", () => {
    expect(readLogLine('{"time":"2026-01-01T00:00:00.000Z","dropped":12}')).toEqual({
      kind: "dropped",
      count: 12,
    });
  });

  test.each([
    "{",
    "{}",
    '{"method":"GET"}',
    '{"method":"GET","path":3,"status":200}',
    '{"method":"GET","path":"a","status":200}',
    '{"dropped":-1}',
  ])("%s is malformed", (line) => {
    expect(readLogLine(line)).toEqual({ kind: "malformed" });
  });
});

describe("a line of the common and combined formats", () => {
  test.each([
    [common("GET /a?x=1 HTTP/1.1"), request("/a", "x=1", 512)],
    [
      common("GET /a HTTP/1.1", '200 512 "http://r.example/\\"x" "Mozilla/5.0 (X11)"'),
      request("/a", null, 512),
    ],
    [common("GET /a HTTP/1.1", '304 - "-" "-"'), request("/a", null, 0, false)],
    [common("HEAD /a HTTP/2.0", "200 0"), request("/a", null, 0, false)],
    [common("GET http://Shop.example/a HTTP/1.1"), request("shop.example/a", null, 512)],
    [`shop.example:443 ${common("GET /a HTTP/1.1")}`, request("shop.example/a", null, 512)],
    [`${common("GET /%7euser/../b HTTP/1.1")}\r`, request("/b", null, 512)],
    [
      '2001:db8::1 - - [10/Oct/2025:13:55:36 +0000] "GET / HTTP/3.0" 200 5 "-" "-" "extra" 0.003',
      request("/", null, 5),
    ],
    [common("POST /a HTTP/1.1"), { kind: "uncacheable" }],
    [common("GET /a HTTP/1.1", "500 1"), { kind: "uncacheable" }],
    [common("-", "400 0"), { kind: "uncacheable" }],
    [common("\\x16\\x03\\x01", "400 157"), { kind: "uncacheable" }],
    ["", { kind: "empty" }],
    ["hello", { kind: "malformed" }],
    ["[error] 12#0: *5 open() failed", { kind: "malformed" }],
  ] as [string, LogLine][])("%s", (line, expected) => {
    expect(readLogLine(line)).toEqual(expected);
  });

  test("never throws and never takes long, whatever the line", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 300, unit: "binary" }), (text) => {
        for (const line of [text, `{${text}`, common(text), common("GET / HTTP/1.1", text)]) {
          expect(["request", "uncacheable", "dropped", "empty", "malformed"]).toContain(
            readLogLine(line).kind,
          );
        }
      }),
      { numRuns: 300 },
    );
    const beganMs = performance.now();
    for (const unit of ["\\", '"', "[", '"\\', "a ", '[a] "', "1.1.1.1:1 "])
      readLogLine(unit.repeat(60_000 / unit.length));
    expect(performance.now() - beganMs).toBeLessThan(1_000);
  });
});
