/**
 * Cookie (RFC 6265 section 4.2) as far as a cache key and a filter need it. Both read it alike: a
 * cookie that the key does not see is one that the filter does not pass on.
 */
import { trimOws } from "./syntax.ts";

/** Longest Cookie field that is read, in characters; a longer one counts as having no cookie. */
export const COOKIE_FIELD_CHARS_MAX = 32_768;
/** Longest name and value of one cookie, in characters (RFC 6265 section 6.1); a longer one is left out. */
export const COOKIE_CHARS_MAX = 4096;

/** Name and value of the wanted cookies, in the order of `names`; a cookie sent twice appears twice. */
export function readCookies(value: string | null, names: readonly string[]): [string, string][] {
  if (value === null || names.length === 0) return [];
  const found = new Map<string, string[]>();
  for (const { name, content } of pairs(value)) {
    if (!names.includes(name)) continue;
    const contents = found.get(name);
    if (contents === undefined) found.set(name, [content]);
    else contents.push(content);
  }
  const result: [string, string][] = [];
  for (const name of new Set(names)) {
    for (const content of found.get(name) ?? []) result.push([name, content]);
  }
  return result;
}

/** A Cookie value with the wanted cookies only, in their order; null when none is left. */
export function filterCookies(value: string | null, names: readonly string[]): string | null {
  if (value === null || names.length === 0) return null;
  const kept: string[] = [];
  for (const { name, content } of pairs(value)) if (names.includes(name)) kept.push(`${name}=${content}`);
  return kept.length > 0 ? kept.join("; ") : null;
}

/** Cookies with a name; white space around name and value is not part of them. */
function pairs(value: string): { name: string; content: string }[] {
  if (value.length > COOKIE_FIELD_CHARS_MAX) return [];
  const result: { name: string; content: string }[] = [];
  for (const part of value.split(";")) {
    const equals = part.indexOf("=");
    if (equals < 0) continue;
    const name = trimOws(part.slice(0, equals));
    const content = trimOws(part.slice(equals + 1));
    if (name !== "" && name.length + content.length <= COOKIE_CHARS_MAX) result.push({ name, content });
  }
  return result;
}
