import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { baseKey, chooseLanguage, deviceClass, keyQuery, secondaryKey } from "../../../src/cache/key.ts";
import type { KeyRecipe } from "../../../src/config/plan.ts";
import { Fields } from "../../../src/http/fields.ts";

const recipe = (given: Partial<KeyRecipe> = {}): KeyRecipe => ({
  query: { kind: "all" },
  stripTracking: false,
  sortQuery: false,
  queryAsIs: false,
  headers: [],
  cookies: [],
  device: false,
  languages: null,
  hasSecondary: true,
  ...given,
});

describe("the query of the key", () => {
  test("all, none, include, exclude", () => {
    expect(keyQuery(recipe(), "b=2&a=1")).toBe("b=2&a=1");
    expect(keyQuery(recipe({ query: { kind: "none" } }), "b=2&a=1")).toBeNull();
    expect(keyQuery(recipe({ query: { kind: "include", names: new Set(["a"]) } }), "b=2&a=1&a=3")).toBe(
      "a=1&a=3",
    );
    expect(keyQuery(recipe({ query: { kind: "exclude", names: new Set(["a"]) } }), "b=2&a=1")).toBe("b=2");
    expect(keyQuery(recipe({ query: { kind: "exclude", names: new Set(["a"]) } }), "a=1")).toBeNull();
  });
  test("a name is recognised however it is encoded", () =>
    expect(keyQuery(recipe({ query: { kind: "exclude", names: new Set(["utm"]) } }), "%75tm=1&x=2")).toBe(
      "x=2",
    ));
  test("tracking parameters are stripped, similar names are not", () =>
    expect(keyQuery(recipe({ stripTracking: true }), "utm_source=x&id=1&fbclid=y&utmost=2&gclid=z")).toBe(
      "id=1&utmost=2",
    ));
  test("sorting keeps the order of equal names", () =>
    expect(keyQuery(recipe({ sortQuery: true }), "b=1&a=2&a=1&B=0")).toBe("B=0&a=2&a=1&b=1"));
  test("sorting twice changes nothing", () => {
    const sorted = recipe({ sortQuery: true, stripTracking: true });
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z%=0-9_]{0,8}$/)).map((parts) => parts.join("&")),
        (query) => {
          const once = keyQuery(sorted, query);
          return once === null || keyQuery(sorted, once) === once;
        },
      ),
    );
  });
});

test("the base key tells sites, schemes, hosts and paths apart", () => {
  const keys = [
    baseKey("a", "http", "x.test", "/", null),
    baseKey("b", "http", "x.test", "/", null),
    baseKey("a", "https", "x.test", "/", null),
    baseKey("a", "http", "x.test:81", "/", null),
    baseKey("a", "http", "x.test", "/?", null),
    baseKey("a", "http", "x.test", "/", "q"),
  ];
  expect(new Set(keys).size).toBe(keys.length);
});

describe("the secondary key", () => {
  test("values can not run into each other", () => {
    const two = recipe({ headers: ["a", "b"] });
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (a, b, c, d) => {
        const trimmed = [a, b, c, d].map((value) => value.trim());
        const one = secondaryKey(
          two,
          Fields.from([
            ["a", trimmed[0] ?? ""],
            ["b", trimmed[1] ?? ""],
          ]),
        );
        const other = secondaryKey(
          two,
          Fields.from([
            ["a", trimmed[2] ?? ""],
            ["b", trimmed[3] ?? ""],
          ]),
        );
        const same = trimmed[0] === trimmed[2] && trimmed[1] === trimmed[3];
        return same ? one === other : true;
      }),
    );
    const key = (a: string, b: string) =>
      secondaryKey(
        two,
        Fields.from([
          ["a", a],
          ["b", b],
        ]),
      );
    expect(key("x;1:y", "z")).not.toBe(key("x", "y;1:z"));
  });
  test("an absent field is not an empty one", () => {
    const one = recipe({ headers: ["a"] });
    expect(secondaryKey(one, new Fields())).not.toBe(secondaryKey(one, Fields.from([["a", ""]])));
  });
  test("only the named cookies count", () => {
    const one = recipe({ cookies: ["plan"] });
    const key = (cookie: string) => secondaryKey(one, Fields.from([["cookie", cookie]]));
    expect(key("sid=1; plan=pro")).toBe(key("plan=pro; sid=2"));
    expect(key("plan=pro")).not.toBe(key("plan=free"));
  });
});

test("device classes", () => {
  expect(deviceClass("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Mobile/15E148")).toBe("mobile");
  expect(deviceClass("Mozilla/5.0 (Linux; Android 16; Pixel 9) Mobile Safari/537.36")).toBe("mobile");
  expect(deviceClass("Mozilla/5.0 (Linux; Android 16; SM-X910) Safari/537.36")).toBe("tablet");
  expect(deviceClass("Mozilla/5.0 (X11; Linux x86_64) Chrome/156")).toBe("desktop");
  expect(deviceClass(null)).toBe("desktop");
});

test("the language that fits best is chosen (RFC 4647 lookup)", () => {
  const supported = ["en", "de", "pt-BR"];
  expect(chooseLanguage("de-CH, en;q=0.5", supported)).toBe("de");
  expect(chooseLanguage("fr, en;q=0.3, de;q=0.7", supported)).toBe("de");
  expect(chooseLanguage("pt-br", supported)).toBe("pt-BR");
  expect(chooseLanguage("fr", supported)).toBe("en");
  expect(chooseLanguage("de;q=0, *", supported)).toBe("en");
  expect(chooseLanguage(null, supported)).toBe("en");
  fc.assert(fc.property(fc.string(), (value) => supported.includes(chooseLanguage(value, supported))));
});
