import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatHttpDate, parseHttpDate } from "../../../src/http/date.ts";

const EXAMPLE_MS = Date.UTC(1994, 10, 6, 8, 49, 37);
const NOW_MS = Date.UTC(2026, 5, 1);

test("reads the three formats of RFC 9110 section 5.6.7", () => {
  expect(parseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT")).toBe(EXAMPLE_MS);
  expect(parseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT", NOW_MS)).toBe(EXAMPLE_MS);
  expect(parseHttpDate("Sun Nov  6 08:49:37 1994")).toBe(EXAMPLE_MS);
  expect(parseHttpDate("Wed Nov 16 08:49:37 1994")).toBe(Date.UTC(1994, 10, 16, 8, 49, 37));
});

test("does not mind the case of letters (RFC 9111 section 4.2)", () => {
  expect(parseHttpDate("THU, 18 AUG 2050 02:01:18 gMT")).toBe(Date.UTC(2050, 7, 18, 2, 1, 18));
});

test("refuses everything else", () => {
  const invalid = [
    null,
    "",
    "0",
    "-1",
    "now",
    "Thu, 18 Aug 2050 02:01:18 UTC",
    "Thu, 18 Aug 2050 02:01:18 AEST",
    "Thu, 18 Aug 2050 02:01:18 +0000",
    "Thu, 18 Aug 50 02:01:18 GMT",
    "Thu 18 Aug 2050 02:01:18 GMT",
    "Thu, 18  Aug  2050 02:01:18 GMT",
    "Thu, 18-Aug-2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02.01.18 GMT",
    "Thu, 18 Aug 2050 2:01:18 GMT",
    "Thu, 31 Feb 2050 02:01:18 GMT",
    "Thu, 00 Aug 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 24:00:00 GMT",
    "Thu, 18 Aug 2050 02:60:18 GMT",
    "Thu, 18 Aug 2050 02:01:61 GMT",
    "Thx, 18 Aug 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02:01:18 GMT ",
    " Thu, 18 Aug 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02:01:18",
    "2050-08-18T02:01:18Z",
    "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
  ];
  for (const value of invalid) expect([value, parseHttpDate(value)]).toEqual([value, null]);
});

test("reads a leap second and a leap day", () => {
  expect(parseHttpDate("Sat, 31 Dec 2016 23:59:60 GMT")).toBe(Date.UTC(2017, 0, 1));
  expect(parseHttpDate("Sat, 29 Feb 2020 00:00:00 GMT")).toBe(Date.UTC(2020, 1, 29));
  expect(parseHttpDate("Fri, 29 Feb 2019 00:00:00 GMT")).toBeNull();
});

test("puts a two-digit year at most 50 years ahead", () => {
  const year = (text: string, nowMs: number) =>
    new Date(parseHttpDate(text, nowMs) ?? Number.NaN).getUTCFullYear();
  expect(year("Friday, 01-May-76 00:00:00 GMT", NOW_MS)).toBe(2076);
  expect(year("Friday, 01-Jul-76 00:00:00 GMT", NOW_MS)).toBe(1976);
  expect(year("Friday, 01-Jan-77 00:00:00 GMT", NOW_MS)).toBe(1977);
  expect(year("Friday, 01-Jan-00 00:00:00 GMT", NOW_MS)).toBe(2000);
  expect(year("Friday, 01-Jan-10 00:00:00 GMT", Date.UTC(2099, 0, 1))).toBe(2110);
});

test("what it writes it reads back, to the second", () => {
  fc.assert(
    fc.property(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }), (ms) => {
      const text = formatHttpDate(ms);
      expect(text).toHaveLength(29);
      expect(text).toBe(new Date(Math.floor(ms / 1000) * 1000).toUTCString());
      expect(parseHttpDate(text)).toBe(Math.floor(ms / 1000) * 1000);
    }),
  );
});

test("writes each second anew and one second once", () => {
  expect(formatHttpDate(EXAMPLE_MS)).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
  expect(formatHttpDate(EXAMPLE_MS + 999)).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
  expect(formatHttpDate(EXAMPLE_MS + 1000)).toBe("Sun, 06 Nov 1994 08:49:38 GMT");
});
