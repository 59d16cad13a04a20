import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseFieldLine, pushField, pushFieldLine } from "../../../src/http/field-line.ts";
import { KnownTexts } from "../../../src/http/known-texts.ts";
import { TextParts } from "../../../src/http/text-parts.ts";

const fault = (what: string): Error => new Error(what);

/** What a line is, read without any memory. */
function plainly(line: string): [string, string] | null {
  const matched = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\s\S]*)$/.exec(line);
  if (matched === null) return null;
  const value = (matched[2] ?? "").replace(/^[ \t]+|[ \t]+$/g, "");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  return /[\x00-\x08\x0a-\x1f\x7f]/.test(value) ? null : [(matched[1] ?? "").toLowerCase(), value];
}

test("a line reads the same the first time and every time after, wherever it stands", () => {
  // Lines that meet in the table: the same ends, the same lengths, other middles.
  const ends = fc.constantFrom("X-A: abcdefgh", "X-a:abcdefgh ", "x-b: ", "no colon", "Set-Cookie: a=b", "");
  const line = fc.oneof(
    ends,
    fc
      .tuple(
        ends,
        fc.string({ maxLength: 6, unit: fc.constantFrom("a", "\t", " ", "\0", "\r", "é", ":") }),
        ends,
      )
      .map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
      for (const round of ["first", "second", "third"]) {
        const text = `${round}\r\n${lines.join("\r\n")}\r\nend`;
        let start = round.length + 2;
        for (const one of lines) {
          const list = ["before"];
          const name = pushField(list, text, start, start + one.length);
          const expected = plainly(one);
          expect(name).toBe(expected === null ? null : expected[0]);
          expect(list).toEqual(expected === null ? ["before"] : ["before", ...expected]);
          start += one.length + 2;
        }
      }
    }),
  );
});

test("a line that is none is told of each time it comes", () => {
  for (let i = 0; i < 4; i++) {
    expect(() => parseFieldLine("a b: c", fault)).toThrow('a field line is not "name: value": "a b: c"');
    expect(() => parseFieldLine("nothing", fault)).toThrow("a field line is not");
    expect(() => parseFieldLine(" folded: x", fault)).toThrow("a field line is not");
    expect(() => parseFieldLine("a: b\0c", fault)).toThrow("the field a has a control character");
    // A colon behind the line's end is another line's.
    expect(() => pushFieldLine([], "name\r\nx: y", 0, 4, fault)).toThrow('"name"');
  }
});

test("a known text is found where it stands, and what is like it is not taken for it", () => {
  let made = 0;
  const known = new KnownTexts(1, 20, (text) => {
    made++;
    return text === "unkept" ? null : { text };
  });
  const find = (text: string) => known.find(`<${text}>`, 1, text.length + 1);
  expect(find("one")).toBeNull();
  const first = find("one");
  expect(first).toEqual({ text: "one" });
  expect(find("one")).toBe(first);
  expect(made).toBe(1);
  // One place for all: what comes once does not take it, what comes twice does.
  expect(find("two")).toBeNull();
  expect(find("one")).toBe(first);
  expect(find("ones")).toBeNull();
  expect(find("on")).toBeNull();
  expect(find("on")).toEqual({ text: "on" });
  expect(find("one")).toBeNull();
  expect(find("x".repeat(21))).toBeNull();
  expect(find("x".repeat(21))).toBeNull();
  expect(find("")).toBeNull();
  expect(find("unkept")).toBeNull();
  expect(find("unkept")).toBeNull();
  expect(find("on")).toEqual({ text: "on" });
});

test("texts that differ where the table does not look are told apart", () => {
  const known = new KnownTexts(4, 200, (text) => text);
  const of = (middle: string): string => `x-name: ${middle} the end of it`;
  for (const middle of ["aaaa", "bbbb", "aaaa", "aaaa", "bbbb", "bbbb", "aaaa"]) {
    const text = of(middle);
    const found = known.find(text, 0, text.length);
    if (found !== null) expect(found).toBe(text);
  }
});

test("heads are written one after another, a longer one before a shorter one", () => {
  const text = new TextParts();
  text.begin();
  for (let i = 0; i < 50; i++) text.line(`x-${i}`, "v");
  expect(text.bytes().length).toBe(40 * "x-10: v\r\n".length + 10 * "x-1: v\r\n".length);
  text.begin();
  text.add("left over");
  text.begin();
  text.add("HTTP/1.1 200 OK\r\n");
  text.line("server", "\xe9");
  expect(text.bytes().toString("latin1")).toBe("HTTP/1.1 200 OK\r\nserver: \xe9\r\n");
});
