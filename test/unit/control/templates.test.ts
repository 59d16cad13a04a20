/** Templates of hooks: what they make of messages, and never more than was meant. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mapMessage } from "../../../src/control/hooks/mapping.ts";
import { expand, readPath, readTemplate, type TemplateKind } from "../../../src/control/hooks/template.ts";

function made(text: string, message: unknown, kind: TemplateKind = "tag") {
  const template = readTemplate(text, kind);
  if (typeof template === "string") throw new Error(template);
  return expand(template, message, 10_000);
}

describe("a template", () => {
  test.each([
    ["{a.b}", { a: { b: 1 } }, ["1"]],
    ["{$.a[1]}", { a: ["x", "y"] }, ["y"]],
    ["{a[*]}", { a: ["x", "y", "x"] }, ["x", "y"]],
    // One list is gone through once, however often it is named.
    [
      "{a[*].k}-{a[*].v}",
      {
        a: [
          { k: 1, v: 2 },
          { k: 3, v: 4 },
        ],
      },
      ["1-2", "3-4"],
    ],
    [
      "{a[*].k}-{a[*].b[*]}",
      {
        a: [
          { k: 1, b: [5, 6] },
          { k: 3, b: [7] },
        ],
      },
      ["1-5", "1-6", "3-7"],
    ],
    ["{a[*]}-{b[*]}", { a: [1, 2], b: [3, 4] }, ["1-3", "1-4", "2-3", "2-4"]],
    ["{__proto__.x}", {}, []],
    ["{constructor.name}", {}, []],
    ["{a}", { a: "" }, []],
    ["{a}", { a: { b: 1 } }, []],
    ["{a}", { a: null }, []],
    ["{a[*]}", { a: "text" }, []],
  ])("%s of %p", (text, message, targets) => {
    expect(made(text, message).targets).toEqual(targets as string[]);
  });

  test("encodes what becomes part of a URL", () => {
    const url = (value: unknown) => made("https://h.test/x/{a}", { a: value }, "url").targets;
    expect(url("a b/c?d#e")).toEqual(["https://h.test/x/a%20b%2Fc%3Fd%23e"]);
    for (const away of ["..", ".", "a/../b", "%2e%2e", "a\\..\\b", "\ud800"])
      expect([away, url(away)]).toEqual([away, []]);
    const slashes = (value: string) => made("https://h.test/{+a}", { a: value }, "url").targets;
    expect(slashes("a/b c?x=1")).toEqual(["https://h.test/a/b%20c?x=1"]);
    expect(slashes("a%20b")).toEqual(["https://h.test/a%20b"]);
    expect(slashes("a/../../b")).toEqual([]);
    expect(made("{+url}", { url: "https://h.test/a?b=c" }, "url").targets).toEqual(["https://h.test/a?b=c"]);
    expect(made("{+url}", { url: "no URL" }, "url").targets).toEqual([]);
  });

  test("makes no dot segment of values that have none, for a prefix would reach further then", () => {
    const prefix = (text: string) => made(text, { a: ".", b: ".", c: "2e", d: "x" }, "prefix").targets;
    // Of one value alone each is refused already.
    for (const text of ["/x/.{c}/", "/x/{a}{b}/", "/x/.{b}", "/x/%{c}{c}"])
      expect([text, prefix(text).filter((one) => /\/(\.|%2e){1,2}(\/|$)/i.test(one))]).toEqual([text, []]);
    expect(made("/x/%{c}/", { c: "2e" }, "prefix").targets).toEqual([]);
    expect(made("/x/.{+c}", { c: "./y" }, "prefix").targets).toEqual([]);
    expect(prefix("/x/.{d}/")).toEqual(["/x/.x/"]);
  });

  test("stops at a limit, also where lists multiply", () => {
    const list = Array.from({ length: 2_000 }, (_, i) => i);
    expect(made("{a[*]}-{b[*]}", { a: list, b: list })).toMatchObject({ isOver: true });
    const empty = list.map(() => "");
    const startMs = performance.now();
    expect(made("{a[*]}-{b[*]}", { a: list, b: empty }).isOver).toBe(true);
    expect(performance.now() - startMs).toBeLessThan(2_000);
    expect(() =>
      mapMessage(
        { site: "s", signatures: ["standard"], rules: [{ tags: ["{a[*]}-{b[*]}"], mode: "hard" }] },
        { a: list, b: list },
      ),
    ).toThrow("more than 10000 tags");
  });

  test("costs little, however many others the hook has", () => {
    const list = Array.from({ length: 220 }, () => ({ b: "" }));
    const tags = Array.from({ length: 20 }, (_, i) => `{a[*].b}-{c[*].b}-${i}`);
    const rules = Array.from({ length: 50 }, () => ({ tags, mode: "hard" as const }));
    const startMs = performance.now();
    expect(() => mapMessage({ site: "s", signatures: ["standard"], rules }, { a: list, c: list })).toThrow(
      "too much work",
    );
    const when = { "[*]": 1, "[*].x": 1 };
    const looking = Array.from({ length: 50 }, () => ({
      when,
      everything: true as const,
      mode: "hard" as const,
    }));
    expect(() =>
      mapMessage({ site: "s", signatures: ["standard"], rules: looking }, new Array(500_000).fill(0)),
    ).toThrow("too much work");
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  test("of whatever text and message makes URLs of its host only, or nothing, and never throws", () => {
    const place = fc.constantFrom("{a}", "{+a}", "{a[*]}", "{+b.c}", "{b[0]}", "x", "/", "?", "..");
    fc.assert(
      fc.property(
        fc.array(place, { maxLength: 6 }),
        fc.record({ a: fc.jsonValue(), b: fc.record({ c: fc.string({ unit: "binary" }) }) }),
        (parts, message) => {
          const template = readTemplate(`https://h.test/fixed/${parts.join("")}`, "url");
          if (typeof template === "string") return;
          const literal = parts.filter((part) => !part.startsWith("{")).join("");
          for (const target of expand(template, message, 100).targets) {
            const url = new URL(target);
            expect(url.host).toBe("h.test");
            if (!literal.includes(".")) expect(url.pathname).toStartWith("/fixed/");
          }
        },
      ),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.string(), (text) => void [readPath(text), readTemplate(text, "tag")]),
      { numRuns: 500 },
    );
  });
});
