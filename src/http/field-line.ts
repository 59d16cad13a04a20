/**
 * One field line of an HTTP/1.1 message, read strictly (RFC 9112 section 5): towards origins and from viewers
 * alike. Lines that come again and again are known: nothing is cut out or checked anew for them.
 */
import { KnownTexts } from "./known-texts.ts";

/** Makes the error for a malformed message out of what was wrong. */
export type Fault = (what: string) => Error;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control characters other than HTAB; a stray CR or LF is one of them (RFC 9110 section 5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** Places for lines and for names, and the longest that are kept, in characters. */
const LINES_KNOWN_MAX = 1_024;
const LINE_CHARS_MAX = 200;
const NAMES_KNOWN_MAX = 512;
const NAME_CHARS_MAX = 64;

/** What is one person's is not kept beyond its request. */
const PERSONAL: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
]);

const names = new KnownTexts(NAMES_KNOWN_MAX, NAME_CHARS_MAX, lowerName);
const lines = new KnownTexts(LINES_KNOWN_MAX, LINE_CHARS_MAX, (line) => {
  const colon = line.indexOf(":");
  const name = colon === -1 ? null : lowerName(line.slice(0, colon));
  if (name === null || PERSONAL.has(name)) return null;
  const value = trimmed(line, colon + 1, line.length);
  return CONTROL.test(value) ? null : { name, value };
});

/**
 * Reads the field line that stands in `text` from `start` to `end` and puts its name, in lower case, and its
 * value without outer white space at the end of `list`. Returns the name; null, the list left alone, for a
 * line that is none: an obs-fold is one of these, its name is not a token.
 */
export function pushField(list: string[], text: string, start: number, end: number): string | null {
  const known = lines.find(text, start, end);
  if (known !== null) {
    list.push(known.name, known.value);
    return known.name;
  }
  const colon = text.indexOf(":", start);
  if (colon === -1 || colon >= end) return null;
  const name = names.find(text, start, colon) ?? lowerName(text.slice(start, colon));
  if (name === null) return null;
  const value = trimmed(text, colon + 1, end);
  if (CONTROL.test(value)) return null;
  list.push(name, value);
  return name;
}

/** The same; throws what `fault` makes of a line that is none. */
export function pushFieldLine(
  list: string[],
  text: string,
  start: number,
  end: number,
  fault: Fault,
): string {
  const name = pushField(list, text, start, end);
  if (name !== null) return name;
  const line = text.slice(start, end);
  const colon = line.indexOf(":");
  const given = line.slice(0, colon);
  if (colon === -1 || !TOKEN.test(given)) throw fault(`a field line is not "name: value": ${shown(line)}`);
  throw fault(`the field ${given} has a control character in its value`);
}

/** Checks one field line and returns its name, in lower case, and its value without outer white space. */
export function parseFieldLine(line: string, fault: Fault): [string, string] {
  const pair: string[] = [];
  pushFieldLine(pair, line, 0, line.length, fault);
  return pair as [string, string];
}

/** A piece of a hostile message as it may stand in an error: short, and without control characters. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);
}

function lowerName(name: string): string | null {
  return TOKEN.test(name) ? name.toLowerCase() : null;
}

/** A part of the text without spaces and tabs at its ends. */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
