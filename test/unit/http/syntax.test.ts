import { expect, test } from "bun:test";
import fc from "fast-check";
import { memoize } from "../../../src/http/memo.ts";
import { isToken, quote, splitList, trimOws, unquote } from "../../../src/http/syntax.ts";
import { hostileText } from "./hostile.ts";

test("splits lists outside quoted strings (RFC 9110 section 5.6.1)", () => {
  expect(splitList('a, "b, c" ,,d="\\",x", e')).toEqual(["a", '"b, c"', 'd="\\",x"', "e"]);
  expect(splitList('a;b="c;d"; e', ";")).toEqual(["a", 'b="c;d"', "e"]);
  expect(splitList('a, "open, b')).toEqual(["a", '"open, b']);
  expect(splitList(" , \t,")).toEqual([]);
});

test("trims spaces and tabs only", () => {
  expect(trimOws(" \t a b \t")).toBe("a b");
  expect(trimOws("\u00a0a\n")).toBe("\u00a0a\n");
});

test("knows a token", () => {
  expect(["a", "x-1", "!#$%&'*+.^_`|~"].every(isToken)).toBe(true);
  expect(["", "a b", "a:b", "a/b", '"a"', "\u00e9", "a\n"].some(isToken)).toBe(false);
});

test("quoting and unquoting printable text gives it back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-ascii" }), (text) => expect(unquote(quote(text))).toBe(text)),
  );
  expect(unquote('"a\\')).toBe("a\\");
  expect(unquote('"a\\"')).toBe('a"');
  expect(unquote("plain")).toBe("plain");
});

test("a list of quoted strings splits into just those", () => {
  fc.assert(
    fc.property(fc.array(hostileText(6), { minLength: 1 }), (texts) => {
      const quoted = texts.map(quote);
      expect(splitList(quoted.join(", "))).toEqual(quoted);
    }),
  );
});

test("a memo asks once while a key is in use, and stays bounded", () => {
  let asked = 0;
  const length = memoize(
    (key: string) => {
      asked++;
      return key.length;
    },
    10,
    20,
  );
  for (let i = 0; i < 1000; i++) {
    expect(length("in use")).toBe(6);
    expect(length(`flood ${i}`)).toBe(`flood ${i}`.length);
  }
  expect(asked).toBe(1001);
  expect(length("flood 0")).toBe(7);
  expect(asked).toBe(1002);
  const long = "x".repeat(21);
  expect([length(long), length(long), asked]).toEqual([21, 21, 1004]);
});
