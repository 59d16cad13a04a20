/**
 * XML as a client of CloudFront sends it: elements and text, nothing else. A whole parser would bring what a
 * request of a stranger must not have: document types, entities of their own, external references. Those and
 * processing instructions, comments and CDATA are refused; attributes are read and left aside (xmlns).
 */
import { Refused } from "../refusal.ts";

/** An element. */
export interface XmlElement {
  /** Local name: without a prefix. */
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** Its own text, spaces at both ends included. */
  readonly text: string;
}

/** Elements within one another, and all of them; none of CloudFront's requests comes near. */
const DEPTH_MAX = 16;
const ELEMENTS_MAX = 50_000;
const NAME_CHARS_MAX = 100;

const DECLARATION =
  /<\?xml version=["']1\.0["'](?: encoding=["']utf-8["'])?(?: standalone=["'](?:yes|no)["'])? ?\?>/iy;
const SPACE = /[ \t\r\n]*/y;
const OPEN =
  /<([A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)((?:[ \t\r\n]+[\w.:-]+[ \t\r\n]*=[ \t\r\n]*(?:"[^"<]*"|'[^'<]*'))*)[ \t\r\n]*(\/?)>/y;
const CLOSE = /<\/([A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)[ \t\r\n]*>/y;
const TEXT = /[^<&]+|&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9a-f]{1,6}));/iy;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

interface Open {
  readonly name: string;
  readonly children: XmlElement[];
  text: string;
}

/** Reads a document. Throws a Refused 400 with the place where it ends to be one. */
export function parseXml(text: string): XmlElement {
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at += match[0].length;
    return match;
  };
  const refuse = (why: string) =>
    new Refused(400, `the body is not the XML that is expected: ${why}, at character ${at + 1}`);
  if (text.startsWith("\ufeff")) at = 1;
  take(DECLARATION);
  take(SPACE);
  const stack: Open[] = [];
  let count = 0;
  for (;;) {
    const opened = take(OPEN);
    if (opened !== null) {
      const [, , name = "", , selfClosing] = opened;
      if (name.length > NAME_CHARS_MAX) throw refuse("a name is too long");
      if (++count > ELEMENTS_MAX) throw refuse(`it has more than ${ELEMENTS_MAX} elements`);
      if (stack.length >= DEPTH_MAX) throw refuse(`it nests deeper than ${DEPTH_MAX}`);
      const element: Open = { name, children: [], text: "" };
      if (selfClosing !== "/") stack.push(element);
      else if (finish(stack, element)) return ended(element);
      continue;
    }
    const top = stack.at(-1);
    if (top === undefined) throw refuse("an element is missing");
    const closed = take(CLOSE);
    if (closed !== null) {
      if (closed[2] !== top.name) throw refuse(`</${top.name}> is missing`);
      stack.pop();
      if (finish(stack, top)) return ended(top);
      continue;
    }
    const part = take(TEXT);
    if (part === null) throw refuse("neither an element nor text");
    top.text += textOf(part) ?? refuseCharacter(refuse);
  }

  function ended(root: XmlElement): XmlElement {
    take(SPACE);
    if (at !== text.length) throw refuse("something follows the document's element");
    return root;
  }
}

/** The only child of a name; null when there is none. Throws a Refused 400 when there are several. */
export function childOf({ name, children }: XmlElement, wanted: string): XmlElement | null {
  const found = children.filter((child) => child.name === wanted);
  if (found.length > 1) throw new Refused(400, `<${name}> holds <${wanted}> ${found.length} times`);
  return found[0] ?? null;
}

/** A text for an answer. What XML 1.0 has no way to write is left out. */
export function escapeXml(text: string): string {
  return text
    .replace(/[&<>"']/g, (character) => `&${NAMES[character] ?? ""};`)
    .replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "");
}

const NAMES: Readonly<Record<string, string>> = {
  "&": "amp",
  "<": "lt",
  ">": "gt",
  '"': "quot",
  "'": "apos",
};

/** Hangs an element under its parent; true when it has none. */
function finish(stack: readonly Open[], element: XmlElement): boolean {
  const parent = stack.at(-1);
  parent?.children.push(element);
  return parent === undefined;
}

function textOf([whole, entity, decimal, hex]: RegExpExecArray): string | null {
  if (entity !== undefined) return ENTITIES[entity] ?? null;
  const code = decimal !== undefined ? Number(decimal) : hex !== undefined ? Number.parseInt(hex, 16) : null;
  if (code === null) return whole;
  const known =
    code === 9 ||
    code === 10 ||
    code === 13 ||
    (code >= 32 && code < 0xd800) ||
    (code >= 0xe000 && code <= 0x10ffff);
  return known ? String.fromCodePoint(code) : null;
}

function refuseCharacter(refuse: (why: string) => Refused): never {
  throw refuse("a character that XML has not");
}
