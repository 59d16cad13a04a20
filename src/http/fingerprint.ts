/** What the name of a file says about its content. */

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
