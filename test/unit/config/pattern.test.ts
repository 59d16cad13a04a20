import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compilePathPattern, fillTemplate, HostIndex } from "../../../src/config/pattern.ts";

describe("a path pattern", () => {
  const cases: [string, string, boolean][] = [
    ["/*", "/a/b", true],
    ["/static/*", "/static/x/y.css", true],
    ["/static/*", "/static", false],
    ["*.css", "/a/b.css", true],
    ["*.css", "/a/b.css/", false],
    ["/a/*/c", "/a/b/x/c", true],
    ["/a/?", "/a/b", true],
    ["/a/?", "/a/", false],
    ["/a", "/a", true],
    ["/a", "/A", false],
    ["/a.b", "/aXb", false],
    ["/*/x*", "/a/b/xy", true],
  ];
  for (const [pattern, path, matches] of cases) {
    test(`${pattern} ${matches ? "takes" : "leaves"} ${path}`, () => {
      const compiled = compilePathPattern(pattern);
      expect(compiled.matches(path)).toBe(matches);
      expect(compiled.capture(path) !== null).toBe(matches);
    });
  }
  test("gives what its stars stood for", () => {
    expect(compilePathPattern("/shop/*/item-*").capture("/shop/de/item-7")).toEqual(["de", "7"]);
    expect(compilePathPattern("/mobile/*").capture("/mobile/")).toEqual([""]);
  });
  test("agrees with the regular expression it stands for, in linear time", () => {
    const pieces = fc
      .array(fc.constantFrom("*", "?", "a", "b", "/"), { maxLength: 8 })
      .map((list) => list.join(""));
    fc.assert(
      fc.property(
        pieces,
        fc.array(fc.constantFrom("a", "b", "/"), { maxLength: 12 }).map((l) => l.join("")),
        (pattern, path) => {
          const expected = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s").test(
            path,
          );
          const compiled = compilePathPattern(pattern);
          return compiled.matches(path) === expected && (compiled.capture(path) !== null) === expected;
        },
      ),
      { numRuns: 2_000 },
    );
    const startMs = performance.now();
    compilePathPattern(`${"*a".repeat(20)}b`).matches("a".repeat(5_000));
    expect(performance.now() - startMs).toBeLessThan(500);
  });
});

test("a template takes captures and names, and leaves what it does not know", () => {
  expect(fillTemplate("/$2/$1$path?$nope", ["a", "b"], { path: "/p" })).toBe("/b/a/p?$nope");
  expect(fillTemplate("$3", ["a"])).toBe("");
});

describe("the host index", () => {
  const index = new HostIndex<string>();
  index.add("shop.example", "exact");
  index.add("*.shop.example", "wild");
  index.add("*.eu.shop.example", "deeper");
  index.add("*", "any");
  test("prefers the exact name, then the longest suffix, then any", () => {
    expect(index.find("shop.example")).toBe("exact");
    expect(index.find("www.shop.example")).toBe("wild");
    expect(index.find("a.b.shop.example")).toBe("wild");
    expect(index.find("x.eu.shop.example")).toBe("deeper");
    expect(index.find("other.example")).toBe("any");
    expect(index.find(".shop.example")).not.toBe("wild");
  });
  test("knows nobody when there is no pattern for it", () => {
    const none = new HostIndex<string>();
    none.add("*.a.example", "a");
    expect(none.find("a.example")).toBeNull();
    expect(none.find("b.example")).toBeNull();
  });
});
