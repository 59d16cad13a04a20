import { expect, test } from "bun:test";
import fc from "fast-check";
import { normalizeSelectingValue, parseVary, VARY_NAMES_MAX } from "../../../src/http/vary.ts";
import { hostileText } from "./hostile.ts";

test("reads names in one form: lower case, sorted, each once", () => {
  expect(parseVary("Accept-Language, accept-encoding,, ACCEPT-LANGUAGE")).toEqual([
    "accept-encoding",
    "accept-language",
  ]);
  expect(parseVary(null)).toEqual([]);
  expect(parseVary(" , ")).toEqual([]);
});

test("can not match a response that varies by everything, by what is no name, or by too much", () => {
  expect(parseVary("*")).toBe("*");
  expect(parseVary("accept, *")).toBe("*");
  expect(parseVary("accept encoding")).toBe("*");
  expect(parseVary('"a"')).toBe("*");
  const names = (count: number) => Array.from({ length: count }, (_, i) => `x${i}`).join(",");
  expect(parseVary(names(VARY_NAMES_MAX))).toHaveLength(VARY_NAMES_MAX);
  expect(parseVary(names(VARY_NAMES_MAX + 1))).toBe("*");
});

test("reading the one form gives it again", () => {
  fc.assert(
    fc.property(hostileText(), (value) => {
      const names = parseVary(value);
      if (names !== "*") expect(parseVary(names.join(", "))).toEqual(names);
    }),
  );
});

test("evens out white space around commas, but not inside quotes or texts", () => {
  expect(normalizeSelectingValue("x-foo", "1,2")).toBe("1,2");
  expect(normalizeSelectingValue("x-foo", " 1 ,\t2,, ")).toBe("1,2");
  expect(normalizeSelectingValue("x-foo", '"a , b" , c')).toBe('"a , b",c');
  expect(normalizeSelectingValue("user-agent", " Mozilla/5.0 (KHTML, like Gecko) ")).toBe(
    "Mozilla/5.0 (KHTML, like Gecko)",
  );
  expect(normalizeSelectingValue("x-foo", null)).toBeNull();
  expect(normalizeSelectingValue("x-foo", "")).toBe("");
});

test("keeps apart what differs in meaning", () => {
  const distinct = ["1,2", "2,1", "1 2", "1;2", "A,b", "a,b"].map((value) =>
    normalizeSelectingValue("x-foo", value),
  );
  expect(new Set(distinct).size).toBe(distinct.length);
});

test("evens out language ranges and content codings", () => {
  expect(normalizeSelectingValue("accept-language", "EN-us, en;q=0.5")).toBe("en-us,en;q=0.5");
  expect(normalizeSelectingValue("accept-language", "en-US ,en ; q=0.5")).toBe("en-us,en;q=0.5");
  expect(normalizeSelectingValue("accept-language", "de;q=1.0")).toBe("de");
  expect(normalizeSelectingValue("accept-encoding", "deflate, GZIP;q=0.9,br")).toBe("br, gzip");
  expect(normalizeSelectingValue("accept-encoding", null)).toBe(
    normalizeSelectingValue("accept-encoding", "identity"),
  );
});

test("normalising twice gives the same", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("x-foo", "accept-language", "accept-encoding", "cookie"),
      hostileText(),
      (name, value) => {
        const once = normalizeSelectingValue(name, value);
        expect(normalizeSelectingValue(name, once)).toBe(once);
      },
    ),
  );
});
