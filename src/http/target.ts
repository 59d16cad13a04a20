/**
 * The path and query of a request, in the one form that is keyed and sent to the origin (RFC 3986
 * section 6.2.2): what two URLs of one resource may differ in is evened out; what servers are known
 * to read differently from one another (a backslash, a NUL, broken encoding, a dot segment behind an
 * encoded slash or before a parameter) is refused. `//` and `%2F` stay: to many origins they mean
 * something else than `/`; `foldPath` tells what they mean to the others.
 */

/** Longest path and query together, in characters. */
export const TARGET_CHARS_MAX = 8192;

/** A normalised target. `query` is null without a `?` and "" after a bare one. */
export interface Target {
  readonly path: string;
  readonly query: string | null;
}

/** Controls, space, `#`, backslash, and everything that is not ASCII. */
const REFUSED = /[^\x21-\x7e]|[#\\]/;
/** `..%2F` and `..;` are dot segments to some servers (RFC 3986 sections 3.3 and 5.2.4), and to others names. */
const HIDDEN_DOT_SEGMENT = /(?:\/|%2F|%5C)\.\.?(?:\/|%2F|%5C|;|%3B|$)/;
/** What some servers read as a slash, or leave out of a path. */
const FOLDABLE = /\/\/|%2F|%5C|;/;
/** A path that may not be normal: an encoded byte or a dot segment (RFC 3986 section 5.2.4). */
const PATH_TO_NORMALIZE = /%|\/\.\.?(?:\/|;|$)/;
const UNRESERVED = /[A-Za-z0-9\-._~]/;

/** Reads an absolute URL (or a target in origin form, `/path?query`); null when it must be refused. */
export function parseTarget(url: string): Target | null {
  const pathAt = endOfAuthority(url);
  if (pathAt < 0 || url.length - pathAt > TARGET_CHARS_MAX) return null;
  const queryAt = url.indexOf("?", pathAt);
  const path = queryAt < 0 ? url.slice(pathAt) : url.slice(pathAt, queryAt);
  const query = queryAt < 0 ? null : url.slice(queryAt + 1);
  if (REFUSED.test(path) || (query !== null && REFUSED.test(query))) return null;

  let normalPath = path === "" ? "/" : path;
  if (PATH_TO_NORMALIZE.test(path)) {
    const decoded = normalizeEncoding(path);
    if (decoded === null) return null;
    normalPath = removeDotSegments(decoded);
    if (HIDDEN_DOT_SEGMENT.test(normalPath)) return null;
  }
  if (query === null || !query.includes("%")) return { path: normalPath, query };
  const normalQuery = normalizeEncoding(query);
  return normalQuery === null ? null : { path: normalPath, query: normalQuery };
}

/**
 * The path as a server may read it that merges slashes, decodes encoded ones and leaves out parameters
 * (`;v=1`): for deciding what a path may mean, never for the key or the origin.
 */
export function foldPath(path: string): string {
  if (!FOLDABLE.test(path)) return path;
  return path
    .replace(/%2F|%5C/g, "/")
    .replace(/;[^/]*/g, "")
    .replace(/\/{2,}/g, "/");
}

/** What no path has: controls, `#`, a backslash. */
const NOT_IN_PATHS = /[\p{Cc}#\\]/u;
const TO_ENCODE = /[ \u0080-\u{10ffff}]+/gu;

/**
 * A part of a path as people write it (the beginning of one, a pattern) in the form that paths have here:
 * spaces and what is not ASCII are encoded (RFC 3987 section 3.1), what is encoded is evened out. Dot segments
 * stay, for "/." begins "/.well-known". Null when no path can hold it.
 */
export function normalPathPart(text: string): string | null {
  if (NOT_IN_PATHS.test(text) || !text.isWellFormed()) return null;
  const encoded = text.replace(TO_ENCODE, encodeURIComponent);
  return encoded.includes("%") ? normalizeEncoding(encoded) : encoded;
}

/** A query's parameters in order, split at `&`: `raw` as sent (joined they are the query again), `name` decoded. */
export function splitQuery(query: string): { name: string; raw: string }[] {
  if (query === "") return [];
  return query.split("&").map((raw) => {
    const equals = raw.indexOf("=");
    return { name: decodeName(equals < 0 ? raw : raw.slice(0, equals)), raw };
  });
}

/** Where the path begins; -1 when the text is neither an absolute URL nor begins with a slash. */
function endOfAuthority(url: string): number {
  if (url.charCodeAt(0) === 0x2f) return 0;
  const authorityAt = url.startsWith("http://") ? 7 : url.startsWith("https://") ? 8 : -1;
  if (authorityAt < 0) return -1;
  for (let i = authorityAt; i < url.length; i++) {
    const c = url.charCodeAt(i);
    if (c === 0x2f || c === 0x3f || c === 0x23) return i;
  }
  return url.length;
}

/** Upper-case hex, unreserved characters decoded (RFC 3986 section 6.2.2.2); null when invalid, or with NUL or U+FFFD. */
function normalizeEncoding(text: string): string | null {
  let result = "";
  let from = 0;
  for (let at = text.indexOf("%"); at >= 0; at = text.indexOf("%", from)) {
    const hex = text.slice(at + 1, at + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(hex) || hex === "00") return null;
    const char = String.fromCharCode(Number.parseInt(hex, 16));
    result += text.slice(from, at) + (UNRESERVED.test(char) ? char : `%${hex.toUpperCase()}`);
    from = at + 3;
  }
  result += text.slice(from);
  // U+FFFD is what the runtime makes of invalid UTF-8: different requests would look the same.
  return result.includes("%EF%BF%BD") ? null : result;
}

/** RFC 3986 section 5.2.4 for a path that begins with a slash. */
function removeDotSegments(path: string): string {
  if (!/\/\.\.?(?:\/|$)/.test(path)) return path;
  const segments = path.split("/");
  const kept: string[] = [];
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i] as string;
    const last = i === segments.length - 1;
    if (segment === "..") kept.pop();
    if (segment !== "." && segment !== "..") kept.push(segment);
    else if (last) kept.push("");
  }
  return `/${kept.join("/")}`;
}

/** Decodes a parameter's name as forms do; bytes that are no UTF-8 stay encoded. */
function decodeName(raw: string): string {
  const spaced = raw.includes("+") ? raw.replaceAll("+", " ") : raw;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced.replace(/%([0-7][0-9A-Fa-f])/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
  }
}
