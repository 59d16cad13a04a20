import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  FORWARDED_HOPS_MAX,
  formatForwarded,
  parseForwarded,
  parseForwardedFor,
} from "../../../src/http/forwarded.ts";
import { parseIp } from "../../../src/http/ip.ts";

describe("X-Forwarded-For", () => {
  test("is read with ports, brackets, quotes and empty members", () => {
    expect(parseForwardedFor(null)).toEqual([]);
    expect(parseForwardedFor("")).toEqual([]);
    expect(
      parseForwardedFor(', 192.0.2.1:5000 ,[2001:DB8::1]:443, 2001:db8::2,"[::1]",, ::ffff:192.0.2.9'),
    ).toEqual(["192.0.2.1", "2001:db8::1", "2001:db8::2", "::1", "192.0.2.9"]);
  });

  test("keeps the place of what is no address, so that a walk from the right stops there", () => {
    expect(parseForwardedFor("203.0.113.9, unknown, <script>, 10.0.0.1")).toEqual([
      "203.0.113.9",
      "unknown",
      "unknown",
      "10.0.0.1",
    ]);
  });

  test("keeps the last hops when there are too many", () => {
    const hops = Array.from({ length: 100 }, (_, i) => `10.0.0.${i}`);
    expect(parseForwardedFor(hops.join(","))).toEqual(hops.slice(-FORWARDED_HOPS_MAX));
  });
});

describe("Forwarded (RFC 7239)", () => {
  test("is read as the RFC's examples show it", () => {
    expect(parseForwarded(null)).toEqual([]);
    expect(parseForwarded('For="[2001:db8:cafe::17]:4711"')).toEqual([{ for: "2001:db8:cafe::17" }]);
    expect(parseForwarded("for=192.0.2.60;proto=HTTP;by=203.0.113.43")).toEqual([
      { for: "192.0.2.60", proto: "http" },
    ]);
    expect(parseForwarded('for=192.0.2.43, for="_gazonk", for=unknown;host="a.example:80"')).toEqual([
      { for: "192.0.2.43" },
      { for: "_gazonk" },
      { for: "unknown", host: "a.example:80" },
    ]);
  });

  test("keeps the first of a repeated parameter and the last of too many elements", () => {
    expect(parseForwarded("for=1.1.1.1;for=2.2.2.2;;x;=y")).toEqual([{ for: "1.1.1.1" }]);
    expect(parseForwarded("for=1.1.1.1,".repeat(99))).toHaveLength(FORWARDED_HOPS_MAX);
  });

  test("quotes what is no token", () => {
    expect(formatForwarded({ for: "192.0.2.1", proto: "https", host: "a.example" })).toBe(
      "for=192.0.2.1;proto=https;host=a.example",
    );
    expect(formatForwarded({ for: "::1", proto: "http", host: "a:80", by: "2001:db8::1" })).toBe(
      'for="[::1]";proto=http;host="a:80";by="[2001:db8::1]"',
    );
    expect(formatForwarded({ for: "::ffff:192.0.2.1", proto: "http", host: 'x";for=evil' })).toBe(
      'for=192.0.2.1;proto=http;host="x\\";for=evil"',
    );
  });

  test("is read back as written", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.ipV4(), fc.ipV6()),
        fc.string({ unit: "grapheme-ascii", minLength: 1 }),
        (address, host) => {
          const text = parseIp(address)?.text ?? address;
          expect(parseForwarded(formatForwarded({ for: address, proto: "https", host }))).toEqual([
            { for: text, proto: "https", host },
          ]);
        },
      ),
    );
  });
});
