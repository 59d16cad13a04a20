import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatHttpDate } from "../../../src/http/date.ts";
import {
  formatContentRange,
  formatUnsatisfiedRange,
  ifRangeMatches,
  parseContentRange,
  parseRange,
  RANGES_MAX,
} from "../../../src/http/range.ts";

const ranges = (...pairs: [number, number][]) => ({
  kind: "ranges" as const,
  ranges: pairs.map(([start, end]) => ({ start, end })),
});

describe("Range (RFC 9110 section 14.1.2) of 10,000 bytes", () => {
  const vectors: [string, ReturnType<typeof parseRange>][] = [
    ["bytes=0-499", ranges([0, 499])],
    ["bytes=500-999", ranges([500, 999])],
    ["bytes=-500", ranges([9500, 9999])],
    ["bytes=9500-", ranges([9500, 9999])],
    ["bytes=0-0,-1", ranges([0, 0], [9999, 9999])],
    ["bytes= 0-999, 4500-5499, -1000", ranges([0, 999], [4500, 5499], [9000, 9999])],
    ["bytes=500-600,601-999", ranges([500, 600], [601, 999])],
    ["bytes=500-700,601-999", ranges([500, 700], [601, 999])],
    ["BYTES=0-0", ranges([0, 0])],
    ["bytes=,0-0,,", ranges([0, 0])],
    ["bytes=9999-99999999999999999999999", ranges([9999, 9999])],
    ["bytes=-99999999999999999999999", ranges([0, 9999])],
    ["bytes=10000-, 1-2", ranges([1, 2])],
    ["bytes=10000-", { kind: "unsatisfiable" }],
    ["bytes=10000-10001,20000-", { kind: "unsatisfiable" }],
    ["bytes=-0", { kind: "unsatisfiable" }],
    ["bytes=99999999999999999999-", { kind: "unsatisfiable" }],
  ];
  for (const [value, expected] of vectors) {
    test(`${value}: ${expected.kind}`, () => expect(parseRange(value, 10_000)).toEqual(expected));
  }

  test("is ignored when absent, malformed or in another unit", () => {
    const ignored = [
      null,
      "",
      "bytes",
      "bytes=",
      "bytes=-",
      "bytes=a-b",
      "bytes=1-0",
      "bytes=0-1,x",
      "bytes=0 - 1",
      "bytes =0-1",
      "items=0-1",
      "bytes=0-1;2",
      "bytes=+1-2",
      "bytes=1.5-2",
      "bytes=99999999999999999999-99999999999999999998",
    ];
    for (const value of ignored)
      expect([value, parseRange(value, 10_000)]).toEqual([value, { kind: "none" }]);
  });

  test("is ignored when greedy (section 14.2)", () => {
    const many = (count: number) =>
      `bytes=${Array.from({ length: count }, (_, i) => `${i * 2}-${i * 2}`).join(",")}`;
    expect(parseRange(many(RANGES_MAX), 10_000).kind).toBe("ranges");
    expect(parseRange(many(RANGES_MAX + 1), 10_000).kind).toBe("none");
    expect(parseRange("bytes=0-,0-,0-", 10_000).kind).toBe("none");
    expect(parseRange("bytes=0-9,5-14,100-109,105-114", 10_000).kind).toBe("none");
  });

  test("of an empty representation is the whole for a suffix, else unsatisfiable", () => {
    expect(parseRange("bytes=-5", 0)).toEqual({ kind: "none" });
    expect(parseRange("bytes=0-", 0)).toEqual({ kind: "unsatisfiable" });
    expect(parseRange("bytes=-0", 0)).toEqual({ kind: "unsatisfiable" });
  });

  test("only ever yields positions that exist, in order", () => {
    const spec = fc
      .tuple(fc.option(fc.nat(300)), fc.option(fc.nat(300)))
      .map(([a, b]) => `${a ?? ""}-${b ?? ""}`);
    fc.assert(
      fc.property(fc.array(spec, { maxLength: 5 }), fc.nat(200), (specs, length) => {
        const result = parseRange(`bytes=${specs.join(",")}`, length);
        if (result.kind !== "ranges") return;
        expect(result.ranges.length).toBeGreaterThan(0);
        for (const { start, end } of result.ranges) {
          expect(0 <= start && start <= end && end < length).toBe(true);
        }
      }),
    );
  });
});

describe("If-Range (RFC 9110 section 13.1.5)", () => {
  const MODIFIED_MS = Date.UTC(2025, 0, 1);
  const stored = { etag: '"v1"', lastModifiedMs: MODIFIED_MS, dateMs: MODIFIED_MS + 1000 };

  test("allows the range when absent or equal to a strong validator", () => {
    expect(ifRangeMatches(null, stored)).toBe(true);
    expect(ifRangeMatches('"v1"', stored)).toBe(true);
    expect(ifRangeMatches(formatHttpDate(MODIFIED_MS), stored)).toBe(true);
  });

  test("refuses other, weak and malformed validators", () => {
    for (const value of [
      '"v2"',
      'W/"v1"',
      "",
      "v1",
      "*",
      formatHttpDate(MODIFIED_MS + 1000),
      formatHttpDate(MODIFIED_MS - 1000),
    ]) {
      expect(ifRangeMatches(value, stored)).toBe(false);
    }
    expect(ifRangeMatches('W/"v1"', { ...stored, etag: 'W/"v1"' })).toBe(false);
    expect(ifRangeMatches('"v1"', { ...stored, etag: null })).toBe(false);
  });

  test("refuses a date that was not a second old, or can not be compared", () => {
    const date = formatHttpDate(MODIFIED_MS);
    expect(ifRangeMatches(date, { ...stored, dateMs: MODIFIED_MS })).toBe(false);
    expect(ifRangeMatches(date, { ...stored, dateMs: null })).toBe(false);
    expect(ifRangeMatches(date, { ...stored, lastModifiedMs: null })).toBe(false);
  });
});

describe("Content-Range (RFC 9110 section 14.4)", () => {
  test("is read back as written", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(), (start, more, rest) => {
        const end = start + more;
        const length = end + 1 + rest;
        expect(parseContentRange(formatContentRange(start, end, length))).toEqual({ start, end, length });
      }),
    );
    expect(formatUnsatisfiedRange(1234)).toBe("bytes */1234");
  });

  test("may leave the length open", () => {
    expect(parseContentRange("bytes 42-1233/*")).toEqual({ start: 42, end: 1233, length: null });
  });

  test("is null when it is invalid or of a 416", () => {
    for (const value of [
      null,
      "",
      "bytes */1234",
      "bytes 5-4/10",
      "bytes 0-10/10",
      "bytes 0-9",
      "bytes=0-9/10",
      "items 0-1/2",
      "bytes 0-9/10, bytes 0-9/10",
      "bytes -1-9/10",
    ]) {
      expect([value, parseContentRange(value)]).toEqual([value, null]);
    }
  });
});
