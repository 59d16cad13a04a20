/** What is different between two configs, for a person and for a program. */
import { type ConfigPath, pathText } from "../config/problems.ts";
import { canonicalText } from "./canonical.ts";
import { DIFFERENCES_MAX } from "./limits.ts";

/** One difference. A member that is missing on one side is left out there. */
export interface Difference {
  /** Where: `behaviors[0].ttlSeconds.default`. */
  readonly path: string;
  readonly kind: "added" | "removed" | "changed";
  readonly before?: unknown;
  readonly after?: unknown;
}

/** The differences, in the order of the paths, and how many more there are than are listed. */
export function differencesOf(
  before: unknown,
  after: unknown,
): { readonly differences: readonly Difference[]; readonly more: number } {
  const found: Difference[] = [];
  let count = 0;
  const note = (path: ConfigPath, difference: Omit<Difference, "path">): void => {
    if (++count <= DIFFERENCES_MAX) found.push({ path: pathText(path), ...difference });
  };
  const compare = (a: unknown, b: unknown, path: ConfigPath): void => {
    if (Array.isArray(a) && Array.isArray(b)) {
      for (let i = 0; i < Math.max(a.length, b.length); i++) {
        if (i >= a.length) note([...path, i], { kind: "added", after: b[i] });
        else if (i >= b.length) note([...path, i], { kind: "removed", before: a[i] });
        else compare(a[i], b[i], [...path, i]);
      }
      return;
    }
    if (isRecord(a) && isRecord(b)) {
      for (const name of [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()) {
        if (!Object.hasOwn(a, name)) note([...path, name], { kind: "added", after: b[name] });
        else if (!Object.hasOwn(b, name)) note([...path, name], { kind: "removed", before: a[name] });
        else compare(a[name], b[name], [...path, name]);
      }
      return;
    }
    if (canonicalText(a) !== canonicalText(b)) note(path, { kind: "changed", before: a, after: b });
  };
  compare(before, after, []);
  return { differences: found, more: Math.max(0, count - DIFFERENCES_MAX) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
