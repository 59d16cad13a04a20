/**
 * Path and host patterns of the config. In a path pattern `*` stands for any characters, slashes
 * included, and `?` for exactly one; everything else is literal and case-sensitive. Matching is
 * linear in the path for the common shapes and never backtracks more than once for each `*`.
 */

/** A compiled path pattern. */
export interface PathPattern {
  readonly source: string;
  matches(path: string): boolean;
  /** What each `*` stood for, in order; null when the path does not match. */
  capture(path: string): string[] | null;
}

/** Compiles a path pattern; every string is a valid one. */
export function compilePathPattern(source: string): PathPattern {
  const star = source.indexOf("*");
  const wild = star >= 0 || source.includes("?");
  let matches: (path: string) => boolean;
  if (!wild) {
    matches = (path) => path === source;
  } else if (source === "*") {
    matches = () => true;
  } else if (star === source.length - 1 && !source.includes("?")) {
    const prefix = source.slice(0, -1);
    matches = (path) => path.startsWith(prefix);
  } else if (source.lastIndexOf("*") === 0 && !source.includes("?")) {
    const suffix = source.slice(1);
    matches = (path) => path.endsWith(suffix);
  } else {
    matches = (path) => glob(source, path) !== null;
  }
  return {
    source,
    matches,
    capture: (path) => (wild ? glob(source, path) : path === source ? [] : null),
  };
}

/** Iterative glob match: on a mismatch only the latest `*` is widened, so the work is at most |pattern| x |path|. */
function glob(pattern: string, path: string): string[] | null {
  const starts: number[] = [];
  const ends: number[] = [];
  let p = 0;
  let s = 0;
  let starPattern = -1;
  while (s < path.length) {
    const c = pattern[p];
    if (c === "*") {
      starts.push(s);
      ends.push(s);
      starPattern = p++;
    } else if (p < pattern.length && (c === "?" || c === path[s])) {
      p++;
      s++;
    } else if (starPattern >= 0) {
      const last = ends.length - 1;
      const end = (ends[last] as number) + 1;
      ends[last] = end;
      s = end;
      p = starPattern + 1;
    } else {
      return null;
    }
  }
  while (pattern[p] === "*") {
    starts.push(s);
    ends.push(s);
    p++;
  }
  if (p < pattern.length) return null;
  return starts.map((start, i) => path.slice(start, ends[i]));
}

/** Puts captures into a template: `$1`..`$9`, and the named values `$name` given. Unknown names stay as they are. */
export function fillTemplate(
  template: string,
  captures: readonly string[],
  named: Readonly<Record<string, string>> = {},
): string {
  return template.replace(/\$([1-9]|[a-z]+)/g, (whole, key: string) => {
    const digit = key.charCodeAt(0) - 49;
    if (digit >= 0 && digit < 9) return captures[digit] ?? "";
    return named[key] ?? whole;
  });
}

/** An index of host patterns: exact names, `*.suffix` (one or more labels), and `*`. */
export class HostIndex<T> {
  readonly #exact = new Map<string, T>();
  readonly #suffix = new Map<string, T>();
  #any: T | null = null;

  add(pattern: string, value: T): void {
    if (pattern === "*") this.#any ??= value;
    else if (pattern.startsWith("*.")) this.#suffix.set(pattern.slice(1), value);
    else this.#exact.set(pattern, value);
  }

  /** The value of the most specific pattern: exact, then the longest suffix, then `*`. */
  find(hostname: string): T | null {
    const exact = this.#exact.get(hostname);
    if (exact !== undefined) return exact;
    if (this.#suffix.size > 0) {
      for (let dot = hostname.indexOf("."); dot >= 0; dot = hostname.indexOf(".", dot + 1)) {
        const found = dot > 0 ? this.#suffix.get(hostname.slice(dot)) : undefined;
        if (found !== undefined) return found;
      }
    }
    return this.#any;
  }
}
