import { expect, test } from "bun:test";
import fc from "fast-check";
import { foldedTargets, groupTag, readTags, TAG_CHARS_MAX, TAGS_MAX } from "../../../src/cache/tags.ts";
import { Fields } from "../../../src/http/fields.ts";

const tags = (...pairs: [string, string][]) => readTags(Fields.from(pairs), "a.test");

test("every vendor's field is read the way its vendor separates it", () => {
  expect(tags(["surrogate-key", "a  b c,d"]).tags).toEqual(["a", "b", "c,d"]);
  expect(tags(["cache-tag", "a, b c ,d"]).tags).toEqual(["a", "b c", "d"]);
  expect(tags(["edge-cache-tag", "a,b"], ["cdn-tag", "b, c"]).tags).toEqual(["a", "b", "c"]);
  expect(tags(["xkey", "a b"], ["xkey", "c"]).tags).toEqual(["a", "b", "c"]);
});
test("tags are taken in small letters where the site says so; groups are not", () => {
  const fields = Fields.from([
    ["cache-tag", "Product:TV, product:tv"],
    ["x-amz-meta-cache-tag", "Ä"],
    ["cache-groups", '"Big"'],
  ]);
  expect(readTags(fields, "a.test", true).tags).toEqual(["product:tv", "ä", groupTag("Big", "a.test")]);
  expect(readTags(fields, "a.test").tags).toContain("Product:TV");
  expect(foldedTargets(["A", "a", "B"])).toEqual(["A", "a", "B", "b"]);
});
test("cache groups are read as a list of strings and can not be mistaken for tags (RFC 9875)", () => {
  expect(tags(["cache-groups", '"a", "b c"']).tags).toEqual([
    groupTag("a", "a.test"),
    groupTag("b c", "a.test"),
  ]);
  expect(tags(["cache-groups", "a, b"]).tags).toEqual([]);
  expect(tags(["cache-groups", '"a']).tags).toEqual([]);
  expect(tags(["cache-tag", "group:a"]).tags).not.toContain(groupTag("a", "a.test"));
});
test("what goes over a limit is counted", () => {
  const many = Array.from({ length: TAGS_MAX + 5 }, (_, i) => `t${i}`).join(" ");
  expect(tags(["surrogate-key", many])).toMatchObject({ dropped: 5 });
  expect(tags(["surrogate-key", `ok ${"x".repeat(TAG_CHARS_MAX + 1)}`])).toEqual({
    tags: ["ok"],
    dropped: 1,
  });
});
test("no field makes it throw, no tag is empty or double", () => {
  const name = fc.constantFrom("surrogate-key", "cache-tag", "xkey", "cache-groups", "cdn-tag");
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string())), (pairs) => {
      const found = tags(...pairs).tags;
      return new Set(found).size === found.length && found.every((tag) => tag !== "");
    }),
  );
});
