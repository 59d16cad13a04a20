import { expect, test } from "bun:test";
import fc from "fast-check";
import { Fields } from "../../../src/http/fields.ts";

const name = fc.constantFrom("a", "b", "c", "d");

test("fields of several names are deleted at once as they are one by one", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string())), fc.uniqueArray(name), (pairs, names) => {
      const atOnce = Fields.from(pairs);
      atOnce.deleteAll(new Set(names));
      const oneByOne = Fields.from(pairs);
      for (const one of names) oneByOne.delete(one);
      expect(atOnce.flat).toEqual(oneByOne.flat);
      expect([...atOnce.entries()]).toEqual(pairs.filter(([one]) => !names.includes(one)));
    }),
  );
});
