import { expect, test } from "bun:test";
import fc from "fast-check";
import { AUTHORITY_CHARS_MAX, parseAuthority } from "../../../src/http/authority.ts";
import { hostileText } from "./hostile.ts";

test("brings every spelling of an authority into one form", () => {
  const vectors: [string, "http" | "https", string, string, number | null][] = [
    ["example.com", "http", "example.com", "example.com", null],
    ["Example.COM.:80", "http", "example.com", "example.com", null],
    ["example.com:443", "https", "example.com", "example.com", null],
    ["example.com:80", "https", "example.com:80", "example.com", 80],
    ["example.com:", "http", "example.com", "example.com", null],
    ["example.com:00080", "http", "example.com", "example.com", null],
    ["a_b.example:8080", "http", "a_b.example:8080", "a_b.example", 8080],
    ["localhost:3000", "http", "localhost:3000", "localhost", 3000],
    ["127.0.0.1", "http", "127.0.0.1", "127.0.0.1", null],
    ["[2001:DB8:0:0::1]:8443", "https", "[2001:db8::1]:8443", "[2001:db8::1]", 8443],
    ["[::1]", "http", "[::1]", "[::1]", null],
    ["xn--bcher-kva.example", "http", "xn--bcher-kva.example", "xn--bcher-kva.example", null],
  ];
  for (const [value, scheme, authority, hostname, port] of vectors) {
    expect([value, parseAuthority(value, scheme)]).toEqual([value, { hostname, port, authority }] as never);
  }
});

test("refuses what is no host, or more than one", () => {
  const refused = [
    null,
    "",
    " ",
    "a, b",
    "a,b",
    "user@host",
    "user:pw@host",
    "host/path",
    "host?x",
    "host#x",
    "ho st",
    " host",
    "host\t",
    "a..b",
    ".a",
    ".",
    "..",
    "a.b..",
    "-a.example",
    "a-.example",
    "host:0",
    "host:65536",
    "host:123456",
    "host:8a",
    "host:-1",
    "host:80:80",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[::g]",
    "[1.2.3.4]",
    "[fe80::1%25eth0]",
    "[v1.x]",
    "[::1]x",
    "b\u00fccher.example",
    "a%2eb",
    "a\\b",
    "a\u0000b",
    "*",
    "*.example",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(127)}ab`,
  ];
  for (const value of refused) expect([value, parseAuthority(value, "http")]).toEqual([value, null]);
  expect(parseAuthority(`${"a.".repeat(126)}ab`, "http")?.hostname).toHaveLength(AUTHORITY_CHARS_MAX - 1);
});

test("the one form is its own", () => {
  const host = fc.oneof(
    fc.domain(),
    fc.ipV4(),
    fc.ipV6().map((ip) => `[${ip}]`),
    hostileText(6),
  );
  const port = fc.oneof(
    fc.constant(""),
    fc.constant(":"),
    fc.nat(70_000).map((n) => `:${n}`),
  );
  fc.assert(
    fc.property(host, port, fc.constantFrom("http", "https"), (name, suffix, scheme) => {
      const once = parseAuthority(name + suffix, scheme);
      if (once === null) return;
      expect(parseAuthority(once.authority, scheme)).toEqual(once);
      expect(parseAuthority((name + suffix).toUpperCase(), scheme)).toEqual(once);
      expect(once.authority).toMatch(/^[a-z0-9.:_[\]-]+$/);
    }),
    { numRuns: 300 },
  );
});
