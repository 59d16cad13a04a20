import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type CacheControl,
  DELTA_SECONDS_MAX,
  NO_CACHE_CONTROL,
  parseCacheControl,
  parseSurrogateControl,
  parseTargetedCacheControl,
} from "../../../src/http/cache-control.ts";
import { hostileText } from "./hostile.ts";

const only = (part: Partial<CacheControl>): CacheControl => ({ ...NO_CACHE_CONTROL, ...part });

describe("Cache-Control (RFC 9111 section 5.2)", () => {
  const vectors: [string | null, Partial<CacheControl>][] = [
    [null, {}],
    ["", {}],
    [" , ,, ", {}],
    ["max-age=3600", { maxAge: 3600 }],
    ["MaX-aGe=3600", { maxAge: 3600 }],
    ['max-age="3600"', { maxAge: 3600 }],
    ["max-age=003600", { maxAge: 3600 }],
    ["public, s-maxage=5,max-age=10", { public: true, sMaxage: 5, maxAge: 10 }],
    ["no-store", { noStore: true }],
    ["no-store=x", { noStore: true }],
    ["NO-CACHE", { noCache: true }],
    ["private", { private: true }],
    ['private="Set-Cookie, X-Foo"', { privateFields: ["set-cookie", "x-foo"] }],
    ["private=Set-Cookie", { privateFields: ["set-cookie"] }],
    ['no-cache="a", no-cache="b, a"', { noCacheFields: ["a", "b"] }],
    ['private, private="a"', { private: true, privateFields: ["a"] }],
    ["must-revalidate, proxy-revalidate", { mustRevalidate: true, proxyRevalidate: true }],
    ["must-understand, no-store", { mustUnderstand: true, noStore: true }],
    ["immutable, no-transform", { immutable: true, noTransform: true }],
    ["stale-while-revalidate=30, stale-if-error=60", { staleWhileRevalidate: 30, staleIfError: 60 }],
    ["only-if-cached, min-fresh=20", { onlyIfCached: true, minFresh: 20 }],
    ["max-stale", { maxStale: Number.POSITIVE_INFINITY }],
    ["max-stale=10", { maxStale: 10 }],
    ['community="UCI", extension="max-age=3600", max-age=1', { maxAge: 1 }],
    ['max-age=1, extension="max-age=3600"', { maxAge: 1 }],
    ['extension="a\\", no-store, b", public', { public: true }],
  ];
  for (const [value, part] of vectors) {
    test(`reads ${JSON.stringify(value)}`, () => expect(parseCacheControl(value)).toEqual(only(part)));
  }

  test("takes an invalid lifetime as already stale (section 4.2.1)", () => {
    const invalid = [
      "",
      "x",
      "-1",
      "3600.0",
      "3600.5",
      "a3600",
      "3600a",
      "'3600'",
      " 3600",
      "1;public",
      '"',
      "0x10",
    ];
    for (const argument of invalid) {
      expect(parseCacheControl(`max-age=${argument}`).maxAge).toBe(0);
      expect(parseCacheControl(`s-maxage=${argument}`).sMaxage).toBe(0);
    }
    expect(parseCacheControl("max-age").maxAge).toBe(0);
    expect(parseCacheControl("max-age =3600").maxAge).toBe(0);
  });

  test("takes the smallest of a repeated lifetime, in any order", () => {
    expect(parseCacheControl("max-age=1800, max-age=1").maxAge).toBe(1);
    expect(parseCacheControl("max-age=1, max-age=1800").maxAge).toBe(1);
    expect(parseCacheControl("s-maxage=9, s-maxage=oops").sMaxage).toBe(0);
  });

  test("takes the strictest of a repeated min-fresh", () => {
    expect(parseCacheControl("min-fresh=5, min-fresh=50").minFresh).toBe(50);
  });

  test("holds seconds at 2^31 (section 1.2.2)", () => {
    expect(parseCacheControl("max-age=2147483647").maxAge).toBe(DELTA_SECONDS_MAX - 1);
    expect(parseCacheControl(`max-age=${"9".repeat(400)}`).maxAge).toBe(DELTA_SECONDS_MAX);
  });

  test("takes a qualified directive whose list is empty or malformed as unqualified", () => {
    for (const list of ['""', '","', '"a b"', '"a, b', '"@"', ""]) {
      const parsed = parseCacheControl(`private=${list}, no-cache=${list}`);
      // An unclosed quote swallows what follows, so only the first directive is asserted for it.
      expect(parsed.private || parsed.privateFields.length > 0).toBe(true);
      if (list !== '"a, b') expect([parsed.private, parsed.noCache]).toEqual([true, true]);
    }
  });

  test("never gives out a result that a caller could change for the next", () => {
    const parsed = parseCacheControl('max-age=77, private="a"');
    expect(Object.isFrozen(parsed) && Object.isFrozen(parsed.privateFields)).toBe(true);
    expect(parseCacheControl("max-age=78").maxAge).toBe(78);
    expect(parseCacheControl('max-age=77, private="a"')).toEqual(only({ maxAge: 77, privateFields: ["a"] }));
  });

  test("finds no-store wherever it stands among whole directives", () => {
    const directive = fc.constantFrom("public", "max-age=9", 'x="a, b"', "private", "foo", 'y="\\""', "");
    fc.assert(
      fc.property(fc.array(directive), fc.array(directive), (before, after) => {
        const with_ = parseCacheControl([...before, "No-Store", ...after].join(" , "));
        const without = parseCacheControl([...before, ...after].join(","));
        expect(with_).toEqual({ ...without, noStore: true });
      }),
    );
  });

  test("adding a second lifetime never makes a response fresher", () => {
    fc.assert(
      fc.property(fc.nat(), hostileText(4), (seconds, more) => {
        const parsed = parseCacheControl(`max-age=${seconds}, max-age=${more.replaceAll('"', "")}`);
        expect(parsed.maxAge).toBeLessThanOrEqual(Math.min(seconds, DELTA_SECONDS_MAX));
      }),
    );
  });

  test("keeps every number within its bounds", () => {
    fc.assert(
      fc.property(hostileText(), (text) => {
        const parsed = parseCacheControl(text);
        for (const seconds of [parsed.maxAge, parsed.sMaxage, parsed.staleIfError, parsed.minFresh]) {
          if (seconds !== null) {
            expect(Number.isInteger(seconds) && seconds >= 0 && seconds <= DELTA_SECONDS_MAX).toBe(true);
          }
        }
      }),
    );
  });
});

describe("targeted cache control (RFC 9213 section 2.1)", () => {
  test("reads a dictionary, its parameters ignored", () => {
    expect(parseTargetedCacheControl("must-revalidate, max-age=300;x=1, foobar")).toEqual(
      only({ mustRevalidate: true, maxAge: 300 }),
    );
    expect(parseTargetedCacheControl('no-cache="a, b", private=Set-Cookie')).toEqual(
      only({ noCacheFields: ["a", "b"], privateFields: ["set-cookie"] }),
    );
    expect(parseTargetedCacheControl("max-age=99999999999")?.maxAge).toBe(DELTA_SECONDS_MAX);
    expect(parseTargetedCacheControl("max-age=5, max-age=9")?.maxAge).toBe(9);
  });

  test("steps aside for the next field when absent, empty or malformed", () => {
    for (const value of [
      null,
      "",
      "  ",
      "max-age =100",
      "max-age= 100",
      "MaX-aGe=3600",
      "max-age=10000, &&&&&",
      "a,,b",
      "max-age=1,",
    ]) {
      expect(parseTargetedCacheControl(value)).toBeNull();
    }
  });

  test("does not step aside for a valid field without a known directive", () => {
    expect(parseTargetedCacheControl("none")).toEqual(NO_CACHE_CONTROL);
  });

  test("ignores members of a wrong type and those set to false", () => {
    for (const value of [
      'max-age="10000"',
      "max-age=10.5",
      "max-age=10.0",
      "max-age",
      "max-age=(1 2)",
      "no-store=?0",
      "no-store=1",
      "private=:aGk=:",
    ]) {
      expect(parseTargetedCacheControl(value)).toEqual(NO_CACHE_CONTROL);
    }
    expect(parseTargetedCacheControl("max-age=-5")?.maxAge).toBe(0);
    expect(parseTargetedCacheControl("max-age=60, x=1.5")?.maxAge).toBe(60);
  });
});

describe("Surrogate-Control (Edge Architecture Specification)", () => {
  const read = (value: string | null) => parseSurrogateControl(value)?.cacheControl ?? null;

  test("reads max-age with a stale window", () => {
    expect(read("max-age=600+60")).toEqual(only({ maxAge: 600, staleWhileRevalidate: 60, staleIfError: 60 }));
    expect(read('no-store, content="ESI/1.0"')).toEqual(only({ noStore: true }));
    expect(read("max-age=3600, stale-while-revalidate=30")).toEqual(
      only({ maxAge: 3600, staleWhileRevalidate: 30 }),
    );
    expect(read("max-age=600+")?.maxAge).toBe(0);
  });

  test("ignores what is aimed at another surrogate", () => {
    expect(read("max-age=60, no-store;other, max-age=5;other")).toEqual(only({ maxAge: 60 }));
    expect(read("no-store;other")).toBeNull();
  });

  test("is itself the remote surrogate of no-store-remote", () => {
    expect(read("no-store-remote")).toEqual(only({ noStore: true }));
  });

  test("steps aside when nothing in it concerns us", () => {
    for (const value of [null, "", 'content="ESI/1.0"', "x, y=2"]) expect(read(value)).toBeNull();
  });
});
