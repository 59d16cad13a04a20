/**
 * A JSON text with its places: where a value or a name stands, where a syntax error is, which name
 * stands twice. The runtime's parser makes the value; this one walks the text, in steps, so that a
 * large file does not hold up requests.
 */
import type { ConfigPath, Locate, Position } from "./problems.ts";
import { quoted } from "./problems.ts";

/** A syntax error, or a name that stands twice in one object. */
export interface JsonFault {
  readonly message: string;
  readonly position: Position;
}

/** Where wanted paths were found. */
interface Wanted {
  readonly below: Map<string, Wanted>;
  keyAt: number;
  valueAt: number;
}

interface Frame {
  readonly isList: boolean;
  readonly names: Set<string> | null;
  readonly wanted: Wanted | null;
  index: number;
}

/** Objects and lists nest no deeper than this. */
const DEPTH_MAX = 200;
/** Values read between two steps. */
const VALUES_PER_STEP = 2000;

const SPACE = /[ \t\r\n]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what JSON texts may not hold unescaped (RFC 8259 section 7)
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Walks `text`; the last step gives its first fault (or null) and finds the places of `paths`. */
export function* scanJson(
  text: string,
  paths: readonly ConfigPath[] = [],
): Generator<void, { fault: JsonFault | null; locate: Locate }> {
  const root: Wanted = { below: new Map(), keyAt: -1, valueAt: -1 };
  for (const path of paths) addWanted(root, path);
  const stack: Frame[] = [];
  let at = 0;
  let values = 0;
  const result = (message: string | null, faultAt = at) => ({
    fault: message === null ? null : { message, position: positionIn(text, faultAt) },
    locate: locator(text, root),
  });
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    if (found !== null) at += found.length;
    return found;
  };

  let wanted: Wanted | null = root;
  for (;;) {
    // Here a value begins.
    if (++values % VALUES_PER_STEP === 0) yield;
    match(SPACE);
    if (wanted !== null && wanted.valueAt < 0) wanted.valueAt = at;
    const opener = text[at];
    let opened = false;
    if (opener === "{" || opener === "[") {
      if (stack.length >= DEPTH_MAX) return result(`nests deeper than ${DEPTH_MAX} levels`);
      at++;
      stack.push({ isList: opener === "[", names: opener === "{" ? new Set() : null, wanted, index: 0 });
      opened = true;
    } else if (opener === '"') {
      if (match(STRING) === null)
        return result("has a text that does not end, or holds a line break or a bad escape");
    } else if (match(SCALAR) === null) {
      return result(`expected a value; got ${found(text, at)}`);
    }
    // Here a value ended, or an object or list was opened: go on to where the next value begins.
    for (;;) {
      match(SPACE);
      const frame = stack.at(-1);
      if (frame === undefined) {
        return at < text.length
          ? result(`expected the end of the file; got ${found(text, at)}`)
          : result(null);
      }
      const closer = frame.isList ? "]" : "}";
      if (text[at] === closer) {
        at++;
        stack.pop();
        opened = false;
        continue;
      }
      if (!opened) {
        if (text[at] !== ",") return result(`expected "," or "${closer}"; got ${found(text, at)}`);
        at++;
        match(SPACE);
        if (text[at] === closer) return result(`expected no "," before "${closer}"`, at);
        frame.index++;
      }
      break;
    }
    const frame = stack.at(-1) as Frame;
    if (frame.isList) {
      wanted = frame.wanted?.below.get(String(frame.index)) ?? null;
      continue;
    }
    match(SPACE);
    const keyAt = at;
    const literal = text[at] === '"' ? match(STRING) : null;
    if (literal === null) return result(`expected a name in double quotes; got ${found(text, at)}`);
    const name: string = literal.includes("\\") ? String(JSON.parse(literal)) : literal.slice(1, -1);
    if (frame.names?.has(name)) return result(`the name ${quoted(name)} stands twice in one object`, keyAt);
    frame.names?.add(name);
    wanted = frame.wanted?.below.get(name) ?? null;
    if (wanted !== null) wanted.keyAt = keyAt;
    match(SPACE);
    if (text[at] !== ":") return result(`expected ":" after the name; got ${found(text, at)}`);
    at++;
  }
}

function addWanted(root: Wanted, path: ConfigPath): void {
  let node = root;
  for (const step of path) {
    const name = String(step);
    let next = node.below.get(name);
    if (next === undefined) {
      next = { below: new Map(), keyAt: -1, valueAt: -1 };
      node.below.set(name, next);
    }
    node = next;
  }
}

function locator(text: string, root: Wanted): Locate {
  return (path, part) => {
    let node = root;
    let whole = true;
    for (const step of path) {
      const next = node.below.get(String(step));
      if (next === undefined || next.valueAt < 0) {
        whole = false;
        break;
      }
      node = next;
    }
    // For what is missing, the name of the thing that misses it.
    const at = (part === "key" || !whole) && node.keyAt >= 0 ? node.keyAt : node.valueAt;
    return at < 0 ? null : positionIn(text, at);
  };
}

function found(text: string, at: number): string {
  return at >= text.length ? "the end of the file" : quoted(String.fromCodePoint(text.codePointAt(at) ?? 0));
}

function positionIn(text: string, offset: number): Position {
  let line = 1;
  let lineStart = 0;
  for (let next = text.indexOf("\n"); next >= 0 && next < offset; next = text.indexOf("\n", next + 1)) {
    line++;
    lineStart = next + 1;
  }
  return { line, column: offset - lineStart + 1 };
}
