/** A YAML text as a value, with its places. Aliases are followed, but not without limit. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import { fileProblem, type Locate, type Problem } from "./problems.ts";

/** Aliases may multiply a file's nodes up to this number. */
const ALIASES_MAX = 1000;

/** The value of a YAML text and a way to find its places, or what is wrong with the text. */
export type YamlText =
  | { readonly ok: true; readonly value: unknown; readonly locate: Locate }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads a YAML 1.2 text with one document; `<<` merges maps. */
export function readYaml(text: string): YamlText {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    merge: true,
    logLevel: "silent",
  });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    const problems = faults.slice(0, 10).map((fault) => {
      const { line, col } = lines.linePos(fault.pos[0]);
      return fileProblem(fault.message, { line, column: col });
    });
    return { ok: false, problems };
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (error) {
    // The library throws a ReferenceError for aliases beyond the limit and for those without an anchor.
    const message =
      error instanceof ReferenceError ? "its aliases (*name) are unresolved or too many" : String(error);
    return { ok: false, problems: [fileProblem(message)] };
  }

  const follow = (node: unknown): unknown => (isAlias(node) ? node.resolve(document) : node);
  const locate: Locate = (path, part) => {
    let value: unknown = document.contents;
    let key: unknown = null;
    let whole = true;
    for (const step of path) {
      const parent = follow(value);
      let next: unknown;
      let nextKey: unknown = null;
      if (isMap(parent)) {
        const pair = parent.items.find(
          (item) => isScalar(item.key) && String(item.key.value) === String(step),
        );
        next = pair?.value ?? undefined;
        nextKey = pair?.key ?? null;
      } else if (isSeq(parent)) {
        next = parent.items[Number(step)];
      }
      if (next === undefined && nextKey === null) {
        whole = false;
        break;
      }
      value = next;
      key = nextKey;
    }
    const offset =
      part === "key" || !whole ? (startOf(key) ?? startOf(value)) : (startOf(value) ?? startOf(key));
    if (offset === null) return null;
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  return { ok: true, value, locate };
}

function startOf(node: unknown): number | null {
  // Every node of a parsed document has a range; pairs' keys and values are nodes.
  const range = typeof node === "object" && node !== null ? (node as Node).range : null;
  return range?.[0] ?? null;
}
