/**
 * From a request's target to the name of a file below a root, and what a name says about its content.
 * A name is a list of plain segments: no separator, no dot segment, no hidden file can hide in it.
 */

/** Longest path of a target that is looked up, in characters. */
export const PATH_LENGTH_MAX = 4096;

/** What a target names: plain segments (with a trailing slash or not), nothing that can exist, or nonsense. */
export type FileName =
  | {
      readonly kind: "name";
      readonly segments: readonly string[];
      readonly slash: boolean;
      readonly query: string;
    }
  | { readonly kind: "refused" }
  | { readonly kind: "malformed" };

/**
 * Reads an origin-form target. Every segment is percent-decoded once; a second layer stays text. "refused"
 * are dot segments, hidden files (but /.well-known, RFC 8615), separators and controls in a segment, and
 * empty segments, which would give one file many URLs.
 */
export function fileNameOf(target: string): FileName {
  const queryAt = target.indexOf("?");
  const path = queryAt < 0 ? target : target.slice(0, queryAt);
  const query = queryAt < 0 ? "" : target.slice(queryAt);
  if (!path.startsWith("/")) return { kind: "malformed" };
  if (path.length > PATH_LENGTH_MAX) return { kind: "refused" };
  const slash = path.endsWith("/");
  const raw = path.slice(1, slash ? -1 : undefined);
  const segments: string[] = [];
  if (path !== "/") {
    for (const part of raw.split("/")) {
      const segment = decode(part);
      if (segment === null) return { kind: "malformed" };
      segments.push(segment);
    }
  }
  return areVisible(segments) ? { kind: "name", segments, slash, query } : { kind: "refused" };
}

/** Whether every segment may be served: plain, and not hidden, but for a leading `.well-known`. */
export function areVisible(segments: readonly string[]): boolean {
  return segments.every(
    (segment, i) => isPlain(segment) && (!segment.startsWith(".") || isWellKnown(segment, i)),
  );
}

function isWellKnown(segment: string, index: number): boolean {
  return index === 0 && segment === ".well-known";
}

function isPlain(segment: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL ends a name for the system, others forge lines of a log
  return segment !== "" && !/[/\\\u0000-\u001f\u007f]/.test(segment);
}

/** Percent-decoding of one segment as UTF-8; null when malformed. */
function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

/** What build tools write and nobody edits in place; a page or a document is never among them. */
const ASSET = /\.(?:m?js|css|map|wasm|woff2?|ttf|otf|eot|svg|png|jpe?g|gif|webp|avif|ico|mp4|webm|mp3)$/i;
const CODE_OR_FONT = /\.(?:m?js|css|map|wasm|woff2?|ttf|otf|eot)$/i;
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;
/** Lengths to which tools cut a hexadecimal digest. */
const HEX_LENGTHS: ReadonlySet<number> = new Set([8, 10, 12, 16, 20, 32, 40, 64]);

/**
 * Whether a file's name carries a hash of its content, so that another content has another name. A wrong
 * yes would be kept by browsers for a year, a wrong no costs a revalidation, so the rule is narrow: the
 * hash stands between `.` or `-` and the extension, and is
 * - hexadecimal, of a length that digests are cut to, with at least two letters and two digits (not a
 *   date, a number or a word), and no part of a UUID; or
 * - for code and fonts, eight characters of base64url (as Vite, Rollup and Astro write) that mix capital
 *   and small letters and digits with at least four changes between them (not `Summer24`).
 */
export function isFingerprinted(name: string): boolean {
  if (!ASSET.test(name) || UUID.test(name)) return false;
  const hex = /[.-]([0-9a-f]+)(?:\.[a-z0-9]+){1,3}$/.exec(name)?.[1];
  if (
    hex !== undefined &&
    HEX_LENGTHS.has(hex.length) &&
    count(hex, /[a-f]/g) >= 2 &&
    count(hex, /\d/g) >= 2
  ) {
    return true;
  }
  if (!CODE_OR_FONT.test(name)) return false;
  const base64 = /[.-]([\w-]{8})(?:\.[a-z0-9]+){1,2}$/.exec(name)?.[1];
  if (base64 === undefined) return false;
  return /[A-Z]/.test(base64) && /[a-z]/.test(base64) && /\d/.test(base64) && changesOfClass(base64) >= 4;
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

/** How often the class of character (capital, small, digit, other) changes within `text`. */
function changesOfClass(text: string): number {
  const runs = text.match(/[A-Z]+|[a-z]+|\d+|[_-]+/g) ?? [];
  return runs.length - 1;
}
