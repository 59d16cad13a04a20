/**
 * The syntax that fields share: tokens, quoted strings and lists (RFC 9110 section 5.6), read
 * leniently. A quoted string that is never closed runs to the end of the value.
 */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Whether `text` is a token (RFC 9110 section 5.6.2). */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Removes spaces and tabs at both ends (OWS, RFC 9110 section 5.6.3) and nothing else. */
export function trimOws(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isOws(text.charCodeAt(start))) start++;
  while (end > start && isOws(text.charCodeAt(end - 1))) end--;
  return start === 0 && end === text.length ? text : text.slice(start, end);
}

/** Members between separators outside quoted strings, trimmed; empty ones are left out (RFC 9110 section 5.6.1.2). */
export function splitList(value: string, separator: "," | ";" = ","): string[] {
  const members: string[] = [];
  const push = (start: number, end: number) => {
    const member = trimOws(value.slice(start, end));
    if (member !== "") members.push(member);
  };
  if (!value.includes('"')) {
    let from = 0;
    for (let at = value.indexOf(separator); at >= 0; at = value.indexOf(separator, from)) {
      push(from, at);
      from = at + 1;
    }
    push(from, value.length);
    return members;
  }
  const code = separator.charCodeAt(0);
  let quoted = false;
  let start = 0;
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (quoted) {
      if (c === 0x5c) i++;
      else if (c === 0x22) quoted = false;
    } else if (c === 0x22) quoted = true;
    else if (c === code) {
      push(start, i);
      start = i + 1;
    }
  }
  push(start, value.length);
  return members;
}

/** The content of a quoted string (RFC 9110 section 5.6.4), closed or not; any other text unchanged. */
export function unquote(text: string): string {
  if (text.charCodeAt(0) !== 0x22) return text;
  const end = text.length > 1 && text.endsWith('"') && !isEscapedEnd(text) ? text.length - 1 : text.length;
  const inner = text.slice(1, end);
  return inner.includes("\\") ? inner.replace(/\\([\s\S])/g, "$1") : inner;
}

/** A quoted string of `text`; what may not stand in one (controls, non-ASCII) becomes `?`. */
export function quote(text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&")}"`;
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Whether the last quote of a quoted string is itself escaped, so that the string is not closed. */
function isEscapedEnd(text: string): boolean {
  let slashes = 0;
  for (let i = text.length - 2; i > 0 && text.charCodeAt(i) === 0x5c; i--) slashes++;
  return slashes % 2 === 1;
}
