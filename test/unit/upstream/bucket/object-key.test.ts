import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeKey, KEY_BYTES_MAX, objectKeyOf } from "../../../../src/upstream/bucket/object-key.ts";

const PLAIN = { prefix: "", index: null };
const SITE = { prefix: "site/", index: "index.html" };

describe("the key of a target", () => {
  const keys: [target: string, key: string | null][] = [
    ["/a.txt", "a.txt"],
    ["/a/b/c.txt", "a/b/c.txt"],
    ["/a%20b+c", "a b+c"],
    ["/%C3%A9/%E2%98%83", "é/☃"],
    ["/a%252Fb", "a%2Fb"],
    ["/100%25", "100%"],
    ["/a//b", "a//b"],
    ["/x?list-type=2&prefix=", "x"],
    ["/a;v=1", "a;v=1"],
    // What names the bucket itself, or another key to somebody.
    ["/", null],
    ["/?list-type=2", null],
    ["/a%2Fb", null],
    ["/a%5Cb", null],
    ["/..", null],
    ["/a/../b", null],
    ["/a/%2E%2E/b", null],
    ["/./a", null],
    ["/a%00", null],
    ["/a%0Ab", null],
    ["/%FF", null],
    ["/%zz", null],
    ["a", null],
    ["*", null],
    ["", null],
  ];
  test.each(keys)("%s is %p", (target, key) => {
    expect(objectKeyOf(target, PLAIN)).toBe(key);
  });

  test("has the prefix before it, and the index document behind a slash", () => {
    expect(objectKeyOf("/", SITE)).toBe("site/index.html");
    expect(objectKeyOf("/docs/", SITE)).toBe("site/docs/index.html");
    expect(objectKeyOf("/docs", SITE)).toBe("site/docs");
    expect(objectKeyOf("/docs/", PLAIN)).toBe("docs/");
    expect(objectKeyOf("/", { prefix: "site/", index: null })).toBeNull();
  });

  test("is no longer than a store takes, prefix included, in bytes", () => {
    expect(objectKeyOf(`/${"a".repeat(KEY_BYTES_MAX)}`, PLAIN)).toHaveLength(KEY_BYTES_MAX);
    expect(objectKeyOf(`/${"a".repeat(KEY_BYTES_MAX + 1)}`, PLAIN)).toBeNull();
    expect(objectKeyOf(`/${"a".repeat(KEY_BYTES_MAX)}`, SITE)).toBeNull();
    expect(objectKeyOf(`/${"%C3%A9".repeat(KEY_BYTES_MAX / 2)}`, PLAIN)).toHaveLength(KEY_BYTES_MAX / 2);
    expect(objectKeyOf(`/${"%C3%A9".repeat(KEY_BYTES_MAX / 2 + 1)}`, PLAIN)).toBeNull();
  });

  test("whatever is asked, lies below the prefix and has no part that leads elsewhere", () => {
    const piece = fc.constantFrom(
      "/",
      "//",
      ".",
      "..",
      "%2E",
      "%2e%2e",
      "%2F",
      "%5C",
      "\\",
      "a",
      "%",
      "%C3",
      "%A9",
      "é",
      "?",
      "%00",
      "+",
      " ",
      ";",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 4 })), { maxLength: 12 }), (pieces) => {
        const key = objectKeyOf(`/${pieces.join("")}`, SITE);
        if (key === null) return;
        expect(key.startsWith("site/")).toBe(true);
        expect(key.length).toBeGreaterThan("site/".length);
        expect(key.split(/[/\\]/)).not.toContain("..");
        expect(key.split(/[/\\]/)).not.toContain(".");
        // It is sent in one form, which means it and nothing else, and can hold no query.
        expect(encodeKey(key)).toMatch(/^[A-Za-z0-9\-._~/%]+$/);
        expect(decodeURIComponent(encodeKey(key))).toBe(key);
      }),
      { numRuns: 3000 },
    );
  });
});
