/**
 * From a request's target to the name of a file below a root.
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
