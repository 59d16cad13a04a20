/** Query strings that make copies: URLs of one path whose answers are the same bytes. */
import type { AuditAnswer } from "./client.ts";
import type { Finding } from "./finding.ts";

/** Parameter names that are told of one path. */
const NAMES_SHOWN = 8;

interface Copies {
  readonly urls: URL[];
}

/** Answers of a walk, by path and content. */
export class QueryCopies {
  readonly #byPath = new Map<string, Map<string, Copies>>();

  add(url: URL, answer: AuditAnswer): void {
    if (answer.status !== 200 || answer.hash === null || answer.bytes === 0) return;
    const path = `${url.origin}${url.pathname}`;
    const byHash = this.#byPath.get(path) ?? new Map<string, Copies>();
    const copies = byHash.get(answer.hash) ?? { urls: [] };
    copies.urls.push(url);
    this.#byPath.set(path, byHash.set(answer.hash, copies));
  }

  /** One finding for each path. */
  findings(): Finding[] {
    return [...this.#byPath].flatMap(([path, byHash]) => {
      const copies = [...byHash.values()].map(({ urls }) => urls).filter((urls) => urls.length > 1);
      if (copies.length === 0) return [];
      const names = new Set(copies.flatMap(differing));
      const count = copies.reduce((sum, urls) => sum + urls.length, 0);
      const shown = [...names].slice(0, NAMES_SHOWN).map((name) => name.slice(0, 60));
      const by = shown.length === 0 ? "by the order of parameters" : `by ${shown.join(", ")}`;
      return [{ id: "query-copies", url: path, detail: `${count} URLs differ ${by}` }];
    });
  }
}

/** Names of the parameters whose values are not the same in all of them. */
function differing(urls: readonly URL[]): string[] {
  const names = new Set(urls.flatMap((url) => [...url.searchParams.keys()]));
  return [...names].filter((name) => {
    const values = urls.map((url) => JSON.stringify(url.searchParams.getAll(name)));
    return values.some((value) => value !== values[0]);
  });
}
