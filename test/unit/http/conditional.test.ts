import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  ENTITY_TAGS_MAX,
  evaluateConditional,
  isStrong,
  parseEntityTagList,
  strongMatch,
  weakMatch,
} from "../../../src/http/conditional.ts";
import { formatHttpDate } from "../../../src/http/date.ts";
import { Fields } from "../../../src/http/fields.ts";

const MODIFIED_MS = Date.UTC(2025, 0, 1);
const at = (offsetSeconds: number) => formatHttpDate(MODIFIED_MS + offsetSeconds * 1000);
const stored = { etag: '"v1"', lastModifiedMs: MODIFIED_MS };

function evaluate(
  fields: Record<string, string>,
  validators: Parameters<typeof evaluateConditional>[2] = stored,
  method = "GET",
) {
  return evaluateConditional(method, Fields.from(Object.entries(fields)), validators);
}

test("compares as the table of RFC 9110 section 8.8.3.2 says", () => {
  const table: [string, string, boolean, boolean][] = [
    ['W/"1"', 'W/"1"', false, true],
    ['W/"1"', 'W/"2"', false, false],
    ['W/"1"', '"1"', false, true],
    ['"1"', '"1"', true, true],
  ];
  for (const [a, b, strong, weak] of table)
    expect([strongMatch(a, b), weakMatch(a, b)]).toEqual([strong, weak]);
});

test("knows a strong tag by its form", () => {
  expect(['"x"', '""', 'W/"x"', "x", '"x', 'x"', '"', '"a"b"', ""].map(isStrong)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
  ]);
});

describe("a list of entity tags", () => {
  test("is read with commas inside tags, weak tags, empty members and sloppy ones", () => {
    expect(parseEntityTagList('"xyzzy", W/"r2d2,xxxx" ,, "c3piozzzz"')).toEqual([
      '"xyzzy"',
      'W/"r2d2,xxxx"',
      '"c3piozzzz"',
    ]);
    expect(parseEntityTagList('"a""b"')).toEqual(['"a"', '"b"']);
    expect(parseEntityTagList("abc, def ")).toEqual(["abc", "def"]);
    expect(parseEntityTagList('"a\\", "b"')).toEqual(['"a\\"', '"b"']);
    expect(parseEntityTagList('"open, x')).toEqual(['"open', "x"]);
    expect(parseEntityTagList("")).toEqual([]);
  });

  test('is "*" only alone', () => {
    expect(parseEntityTagList(" * ")).toBe("*");
    expect(parseEntityTagList('*, "a"')).toEqual(["*", '"a"']);
  });

  test("gives back any tags that were joined", () => {
    const opaque = fc.string({ unit: fc.constantFrom(..."abc,;*/\\ W'") });
    const tag = fc.tuple(fc.constantFrom("", "W/"), opaque).map(([weak, text]) => `${weak}"${text}"`);
    fc.assert(
      fc.property(fc.array(tag, { minLength: 1 }), (tags) =>
        expect(parseEntityTagList(tags.join(", "))).toEqual(tags),
      ),
    );
  });

  test("ends at its limit", () => {
    expect(parseEntityTagList('"a",'.repeat(ENTITY_TAGS_MAX + 5))).toHaveLength(ENTITY_TAGS_MAX);
  });
});

describe("preconditions in the order of RFC 9110 section 13.2.2", () => {
  const vectors: [string, Record<string, string>, ReturnType<typeof evaluate>][] = [
    ["none", {}, "proceed"],
    ["If-None-Match equal", { "if-none-match": '"v0", "v1"' }, "not-modified"],
    ["If-None-Match weakly equal", { "if-none-match": 'W/"v1"' }, "not-modified"],
    ["If-None-Match other", { "if-none-match": '"v2"' }, "proceed"],
    ["If-None-Match *", { "if-none-match": "*" }, "not-modified"],
    ["If-Modified-Since equal", { "if-modified-since": at(0) }, "not-modified"],
    ["If-Modified-Since later", { "if-modified-since": at(60) }, "not-modified"],
    ["If-Modified-Since earlier", { "if-modified-since": at(-1) }, "proceed"],
    ["If-Modified-Since invalid", { "if-modified-since": "yesterday" }, "proceed"],
    [
      "a failing If-None-Match beside a matching date",
      { "if-none-match": '"v2"', "if-modified-since": at(0) },
      "proceed",
    ],
    [
      "a matching If-None-Match beside a failing date",
      { "if-none-match": '"v1"', "if-modified-since": at(-9) },
      "not-modified",
    ],
    ["If-Match equal", { "if-match": '"v1"' }, "proceed"],
    ["If-Match only weakly equal", { "if-match": 'W/"v1"' }, "precondition-failed"],
    ["If-Match other", { "if-match": '"v2"' }, "precondition-failed"],
    ["If-Match *", { "if-match": "*" }, "proceed"],
    [
      "If-Match beside a failing If-Unmodified-Since",
      { "if-match": '"v1"', "if-unmodified-since": at(-9) },
      "proceed",
    ],
    ["If-Unmodified-Since earlier", { "if-unmodified-since": at(-1) }, "precondition-failed"],
    ["If-Unmodified-Since equal", { "if-unmodified-since": at(0) }, "proceed"],
    ["If-Unmodified-Since invalid", { "if-unmodified-since": "x" }, "proceed"],
    ["both tags equal", { "if-match": '"v1"', "if-none-match": '"v1"' }, "not-modified"],
    ["a failing If-Match before all", { "if-match": '"v2"', "if-none-match": '"v1"' }, "precondition-failed"],
  ];
  for (const [name, fields, expected] of vectors) {
    test(`${name}: ${expected}`, () => {
      expect(evaluate(fields)).toBe(expected);
      expect(evaluate(fields, stored, "HEAD")).toBe(expected);
    });
  }

  test("fail for other methods where a read would be not modified", () => {
    expect(evaluate({ "if-none-match": '"v1"' }, stored, "PUT")).toBe("precondition-failed");
    expect(evaluate({ "if-modified-since": at(0) }, stored, "PUT")).toBe("proceed");
  });

  test("without stored validators only * can hold", () => {
    const bare = { etag: null, lastModifiedMs: null };
    expect(evaluate({ "if-none-match": '"v1"' }, bare)).toBe("proceed");
    expect(evaluate({ "if-none-match": "*" }, bare)).toBe("not-modified");
    expect(evaluate({ "if-match": '"v1"' }, bare)).toBe("precondition-failed");
    expect(evaluate({ "if-modified-since": at(0), "if-unmodified-since": at(-99) }, bare)).toBe("proceed");
  });

  test("Date stands in for a missing Last-Modified in If-Modified-Since alone (RFC 9111 section 4.3.2)", () => {
    const dated = { etag: null, lastModifiedMs: null, dateMs: MODIFIED_MS };
    expect(evaluate({ "if-modified-since": at(0) }, dated)).toBe("not-modified");
    expect(evaluate({ "if-modified-since": at(-1) }, dated)).toBe("proceed");
    expect(evaluate({ "if-unmodified-since": at(-1) }, dated)).toBe("proceed");
  });

  test("an unquoted tag of a sloppy origin is revalidated but never strong", () => {
    const sloppy = { etag: "abc", lastModifiedMs: null };
    expect(evaluate({ "if-none-match": "abc" }, sloppy)).toBe("not-modified");
    expect(evaluate({ "if-match": "abc" }, sloppy)).toBe("precondition-failed");
  });
});
