/**
 * Regular expressions of BAN as they are in use, brought to what a purge knows: hosts, tags, wildcards. Nothing
 * is done half: an expression that takes something no purge can name is refused, and what is taken is never
 * less than what the expression takes of paths (it may be more: a wildcard is no narrower). An expression is
 * held against the path: what stands in a query is not looked at, as in every purge by wildcard. No expression is ever run: they come from outside and may be made to take for ever.
 */

/** What an expression takes; null for one that can not be said otherwise. */
export type Taken<T> = "all" | readonly T[] | null;

/** Takes anything: what clients send where they do not restrict. */
const ALL: ReadonlySet<string> = new Set([".*", "^.*", ".*$", "^.*$", "^.*?$", "", "^"]);
/** Longest expression that is read, in characters. */
const CHARS_MAX = 16_384;
/** Characters that mean something where they are not escaped. */
const META = /[.^$|?*+()[\]{}]/;

/** Host names: `^(www\.shop\.example|shop\.example)$`, `^shop\.example$`. Ports are let be. */
export function hostsOf(expression: string): Taken<string> {
  if (ALL.has(expression)) return "all";
  if (expression.length > CHARS_MAX) return null;
  const inner = /^\^(?:\((?:\?:)?(.+)\)|(.+))\$$/s.exec(expression);
  if (inner === null) return null;
  // `^a|b$` is bound at one end only of each: what begins with a, or ends with b.
  if (inner[2] !== undefined && alternatives(inner[2]).length > 1) return null;
  const names = alternatives(inner[1] ?? inner[2] ?? "").map((one) => {
    // Nobody escapes the dots of a host name, and no other host has another character there.
    const name = literalOf(one.replace(/\\?\./g, "\\."));
    return name !== null && /^[a-z0-9.-]+(?::\d{1,5})?$/i.test(name) ? name : null;
  });
  return wholeList(names);
}

/** Tags, between commas: `(^|,)(a|b)(,|$)`, and Magento's `((^|,)a(,|$))|((^|,)b(,|$))`. */
export function tagsOf(expression: string): Taken<string> {
  if (ALL.has(expression)) return "all";
  if (expression.length > CHARS_MAX) return null;
  const grouped = /^\(\^\|,\)\(([^()]+)\)\(,\|\$\)$/.exec(expression)?.[1];
  if (grouped !== undefined) return wholeList(alternatives(grouped).map(literalOf));
  const parts = expression.split("))|((").map((part, index, { length }) => {
    const from = index === 0 ? part.replace(/^\(/, "") : `(${part}`;
    const whole = index === length - 1 ? from.replace(/\)$/, "") : `${from})`;
    return /^\(\^\|,\)([^()]+)\(,\|\$\)$/.exec(whole)?.[1] ?? null;
  });
  return wholeList(parts.map((part) => (part === null ? null : literalOf(part))));
}

/**
 * Paths as wildcards, of which `*` takes any characters and `?` one: `^/blog/`, `/articles/.*`, `\.png$`,
 * `^/a$`. An expression that is not bound to the beginning may take at any place of the path.
 */
export function pathsOf(expression: string): Taken<string> {
  if (ALL.has(expression) || expression === "/" || expression === "^/" || expression === "^/.*") return "all";
  if (expression.length > CHARS_MAX) return null;
  const isBegun = expression.startsWith("^");
  // A dollar that is escaped is a character.
  const isEnded = /(?:^|[^\\])(?:\\\\)*\$$/.test(expression);
  const inner = expression.slice(isBegun ? 1 : 0, isEnded ? -1 : undefined);
  // The first character of a wildcard may be the path's slash, and a star is none: that would be everything.
  if (inner.startsWith("\\*")) return null;
  const wildcard = wildcardOf(inner);
  if (wildcard === null) return null;
  const tail = isEnded || wildcard.endsWith("*") ? wildcard : `${wildcard}*`;
  if (!isBegun || tail.startsWith("*")) return anywhere(tail.replace(/^\*+/, ""));
  if (tail.startsWith("/")) return [tail];
  return tail.startsWith("?") ? [`/${tail.slice(1)}`] : null;
}

/** Every path begins with a slash: what is sought begins there, or behind it. */
function anywhere(wildcard: string): Taken<string> {
  if (wildcard === "") return "all";
  const behind = `/*${wildcard}`;
  if (wildcard.startsWith("/")) return [wildcard, behind];
  return wildcard.startsWith("?") ? [`/${wildcard.slice(1)}`, behind] : [behind];
}

/** Literal characters, `.` and `.*`; null where there is anything else, or a query. */
function wildcardOf(expression: string): string | null {
  let made = "";
  for (let i = 0; i < expression.length; i++) {
    const c = expression.charAt(i);
    if (c === "\\") {
      const next = expression.charAt(++i);
      // A letter behind a backslash is a class; a query is no part of a path.
      if (next === "" || /[\w?]/.test(next)) return null;
      // A wildcard has no way to write a star: any one character is the narrowest that takes it.
      made += next === "*" ? "?" : next;
    } else if (c === ".") {
      const star = expression[i + 1] === "*";
      made += star ? "*" : "?";
      if (star) i++;
      // Lazy or greedy, the same is taken.
      if (star && expression[i + 1] === "?") i++;
      if (/[*+?{]/.test(expression[i + 1] ?? "")) return null;
    } else if (META.test(c) || /[*+?{]/.test(expression[i + 1] ?? "")) return null;
    else made += c;
  }
  return made;
}

/** Parts between bars that are not escaped; one that is empty, and so means nothing, where they are not all of it. */
function alternatives(expression: string): string[] {
  const parts = expression.match(/(?:\\.|[^|\\])+/gs) ?? [];
  return parts.join("|") === expression ? parts : [""];
}

/** The text that an expression takes and no other; null when it takes more. */
function literalOf(expression: string): string | null {
  let text = "";
  for (let i = 0; i < expression.length; i++) {
    const c = expression.charAt(i);
    if (c === "\\") {
      const next = expression.charAt(++i);
      if (next === "" || /\w/.test(next)) return null;
      text += next;
    } else if (META.test(c)) return null;
    else text += c;
  }
  return text;
}

function wholeList(items: readonly (string | null)[]): readonly string[] | null {
  if (items.length === 0) return null;
  const whole: string[] = [];
  for (const item of items) {
    if (item === null || item === "") return null;
    whole.push(item);
  }
  return whole;
}
