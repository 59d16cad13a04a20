/**
 * A problem says what is wrong in a config, where, and what is allowed. Errors keep the last good
 * snapshot in force; warnings do not. Values of a config are shown shortened, and never those that
 * may be secret.
 */

/** Something wrong or doubtful in a config. */
export interface Problem {
  /** Where in the config: `sites.shop.behaviors[0].origin`; empty for the file as a whole. */
  readonly path: string;
  /** Line in the file, from 1; null when unknown (a TypeScript config's values have none). */
  readonly line: number | null;
  /** Column in the line, from 1; null when unknown. */
  readonly column: number | null;
  readonly message: string;
  readonly severity: "error" | "warning";
}

/** Names and list indexes from the top of the config down. */
export type ConfigPath = readonly (string | number)[];

/** A place in a text, both counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/**
 * Finds a path in the text of a config: the place of its value, or of its name (`part` "key"). For a
 * path that is not there, the place of the nearest thing around it. Null when nothing is known.
 */
export type Locate = (path: ConfigPath, part: "key" | "value") => Position | null;

/** More problems than this are not listed: the last one then says how many there are. */
export const PROBLEMS_MAX = 100;

const SHOWN_TEXT_MAX = 60;

/** A path as people write it: `sites.shop.behaviors[0].origin`. */
export function pathText(path: ConfigPath): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[A-Za-z0-9_$-]{1,100}$/.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${quoted(step)}]`;
  }
  return text;
}

/** The problem at `path`, with its place in the file. */
export function problemAt(
  path: ConfigPath,
  message: string,
  options: { severity?: "error" | "warning"; locate?: Locate | undefined; part?: "key" | "value" } = {},
): Problem {
  const place = options.locate?.(path, options.part ?? "value") ?? null;
  return {
    path: pathText(path),
    line: place?.line ?? null,
    column: place?.column ?? null,
    message,
    severity: options.severity ?? "error",
  };
}

/** A problem of the file as a whole. */
export function fileProblem(message: string, place: Position | null = null): Problem {
  return {
    path: "",
    line: place?.line ?? null,
    column: place?.column ?? null,
    message,
    severity: "error",
  };
}

/** One line for each problem: `file:line:column: path: message`. */
export function formatProblems(file: string, problems: readonly Problem[]): string {
  return problems
    .map((problem) => {
      const place = problem.line === null ? file : `${file}:${problem.line}:${problem.column ?? 1}`;
      const severity = problem.severity === "warning" ? "warning: " : "";
      const path = problem.path === "" ? "" : `${problem.path}: `;
      return `${place}: ${severity}${path}${problem.message}`;
    })
    .join("\n");
}

/** `text` in quotes, control characters escaped, cut when long, passwords of URLs hidden. */
export function quoted(text: string): string {
  const masked = text.replace(/\/\/[^/@\s]*@/g, "//***@");
  const short = masked.length > SHOWN_TEXT_MAX ? `${masked.slice(0, SHOWN_TEXT_MAX)}...` : masked;
  // Direction marks and C1 controls can make a terminal show something else than what is there.
  return JSON.stringify(short).replace(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "?");
}

/** What was given, in a few words; the inside of objects and lists is never shown. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  switch (typeof value) {
    case "string":
      return quoted(value);
    case "number":
    case "boolean":
      return String(value);
    case "object":
      return "an object";
    default:
      return `a ${typeof value}`;
  }
}

/** The name nearest to `given` that a person may have meant; null when none is near. */
export function nearestName(given: string, names: Iterable<string>): string | null {
  if (given.length > 64) return null;
  const plain = (name: string) => name.toLowerCase().replaceAll(/[-_\s]/g, "");
  const wanted = plain(given);
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 0.5;
  for (const name of names) {
    const candidate = plain(name);
    const starts =
      wanted.length >= 3 &&
      (candidate.startsWith(wanted) || (candidate.length >= 3 && wanted.startsWith(candidate)));
    // A name that goes on where the given one ends ("ttl", "ttlSeconds") counts as one edit away.
    const distance = Math.min(editDistance(wanted, candidate), starts ? 1 : Number.POSITIVE_INFINITY);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** Edits (insert, delete, replace, swap of neighbours) from `a` to `b`. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 8) return 9;
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(
        (above[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (above[j - 1] as number) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (before[j - 2] as number) + 1);
      }
      row.push(best);
    }
    before = above;
    above = row;
  }
  return above[b.length] as number;
}
