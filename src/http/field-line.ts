/** One field line of an HTTP/1.1 message, read strictly (RFC 9112 section 5): towards origins and from viewers alike. */

/** Makes the error for a malformed message out of what was wrong. */
export type Fault = (what: string) => Error;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control characters other than HTAB; a stray CR or LF is one of them (RFC 9110 section 5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/**
 * Checks one field line and returns its name, in lower case, and its value without outer white space.
 * An obs-fold line fails: its name is not a token.
 */
export function parseFieldLine(line: string, fault: Fault): [string, string] {
  const pair: string[] = [];
  pushFieldLine(pair, line, fault);
  return pair as [string, string];
}

/** The same, name and value put at the end of a list. Returns the name. */
export function pushFieldLine(list: string[], line: string, fault: Fault): string {
  const colon = line.indexOf(":");
  const name = colon === -1 ? line : line.slice(0, colon);
  if (colon === -1 || !TOKEN.test(name)) throw fault(`a field line is not "name: value": ${shown(line)}`);
  let start = colon + 1;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start++;
  while (end > start && isBlank(line.charCodeAt(end - 1))) end--;
  const value = line.slice(start, end);
  if (CONTROL.test(value)) throw fault(`the field ${name} has a control character in its value`);
  const lower = name.toLowerCase();
  list.push(lower, value);
  return lower;
}

/** A piece of a hostile message as it may stand in an error: short, and without control characters. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
