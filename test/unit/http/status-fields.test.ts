import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseList, Token } from "structured-headers";
import { type CacheStatusMember, formatCacheStatus } from "../../../src/http/cache-status.ts";
import { appendCdnLoop, countCdnLoop, withoutLast } from "../../../src/http/cdn-loop.ts";
import { formatProxyStatus } from "../../../src/http/proxy-status.ts";
import { STRING_CHARS_MAX } from "../../../src/http/structured.ts";
import { appendVia } from "../../../src/http/via.ts";
import { hostileText } from "./hostile.ts";

test("Cache-Status is written as RFC 9211 section 4 shows it", () => {
  const vectors: [CacheStatusMember, string][] = [
    [{ cache: "ExampleCache", hit: true }, "ExampleCache; hit"],
    [{ cache: "ExampleCache", fwd: "uri-miss" }, "ExampleCache; fwd=uri-miss"],
    [{ cache: "ExampleCache", fwd: "stale", fwdStatus: 304 }, "ExampleCache; fwd=stale; fwd-status=304"],
    [{ cache: "ExampleCache", fwd: "uri-miss", collapsed: true }, "ExampleCache; fwd=uri-miss; collapsed"],
    [{ cache: "ExampleCache", fwd: "miss", stored: true, ttl: 30 }, "ExampleCache; fwd=miss; ttl=30; stored"],
    [
      { cache: "ExampleCache", hit: true, ttl: -412.7, detail: "stale-if-error" },
      "ExampleCache; hit; ttl=-412; detail=stale-if-error",
    ],
    [
      { cache: "pop 1", hit: true, key: 'h/"a"\\', detail: "two words" },
      '"pop 1"; hit; key="h/\\"a\\"\\\\"; detail="two words"',
    ],
    [{ cache: "X", hit: true, fwd: "miss", stored: true, collapsed: true }, "X; hit"],
    [{ cache: "X", hit: true, detail: "fresh", unsynced: true }, "X; hit; detail=fresh; unsynced"],
    [{ cache: "X", hit: true, ttl: Number.POSITIVE_INFINITY }, "X; hit; ttl=999999999999999"],
  ];
  for (const [member, text] of vectors) expect(formatCacheStatus(member)).toBe(text);
});

test("Cache-Status is a structured field whatever key and detail hold, and says what it was given", () => {
  fc.assert(
    fc.property(hostileText(), hostileText(), fc.double({ noNaN: true }), (key, detail, ttl) => {
      const [member, ...more] = parseList(
        formatCacheStatus({ cache: "Proxima", fwd: "miss", ttl, key, detail }),
      );
      expect(more).toEqual([]);
      const parameters = member?.[1];
      expect(parameters?.get("key")).toBe(key.slice(0, STRING_CHARS_MAX).replace(/[^\x20-\x7e]/g, "?"));
      expect(Number.isInteger(parameters?.get("ttl"))).toBe(true);
      const written = parameters?.get("detail");
      expect(written instanceof Token ? written.toString() : written).toBe(
        detail.replace(/[^\x20-\x7e]/g, "?"),
      );
    }),
  );
});

test("Proxy-Status is written as RFC 9209 section 2 shows it", () => {
  expect(formatProxyStatus({ proxy: "ExampleProxy", error: "connection_refused" })).toBe(
    "ExampleProxy; error=connection_refused",
  );
  expect(
    formatProxyStatus({
      proxy: "proxima",
      error: "http_protocol_error",
      nextHop: "10.0.0.1:80",
      details: 'bad "chunk"\r\nX: y',
    }),
  ).toBe('proxima; error=http_protocol_error; next-hop="10.0.0.1:80"; details="bad \\"chunk\\"??X: y"');
});

test("Via grows at its end (RFC 9110 section 7.6.3)", () => {
  expect(appendVia(null, "proxima")).toBe("1.1 proxima");
  expect(appendVia("1.0 fred", "proxima")).toBe("1.0 fred, 1.1 proxima");
  expect(appendVia("", "other")).toBe("1.1 other");
});

test("CDN-Loop without its last member: of a fleet with one token the sender's own does not count", () => {
  expect([withoutLast(null), withoutLast(""), withoutLast("fleet")]).toEqual([null, null, null]);
  const once = withoutLast("other, fleet");
  const twice = withoutLast('fleet; a="b, c", fleet');
  expect([countCdnLoop(once, "fleet"), countCdnLoop(twice, "fleet")]).toEqual([0, 1]);
});

test("CDN-Loop counts this CDN among others (RFC 8586 section 2)", () => {
  const value =
    'foo123.foocdn.example, barcdn.example; trace="abcdef, proxima", AnotherCDN; abc=123; def="456"';
  expect(countCdnLoop(null, "proxima")).toBe(0);
  expect(countCdnLoop(value, "proxima")).toBe(0);
  expect(countCdnLoop(value, "anothercdn")).toBe(1);
  expect(countCdnLoop(value, "barcdn")).toBe(0);
  expect(countCdnLoop("proxima,Proxima;a=1 , proxima", "proxima")).toBe(3);
});

test("every pass through the CDN counts one more", () => {
  fc.assert(
    fc.property(fc.nat(5), fc.constantFrom(null, "", "other", 'x; y="z"'), (passes, before) => {
      let value: string | null = before;
      for (let i = 0; i < passes; i++) value = appendCdnLoop(value, "proxima");
      expect(countCdnLoop(value, "proxima")).toBe(passes);
    }),
  );
});
