/**
 * A log becomes one trace for each way to make the key: the requests as numbers of objects, the objects
 * with the size of their largest answer. Keys are kept as 53 bits of hash: of two million objects two
 * share one with a chance of 1 in 4,000.
 */
import type { Trace } from "../cache/eviction/simulator.ts";
import { keyQuery } from "../cache/key.ts";
import type { KeyRecipe, QueryRule } from "../config/plan.ts";
import type { LoggedRequest } from "./simulate-log.ts";

/** Requests of a log that are read; what comes after them is not. */
export const REQUESTS_MAX = 20_000_000;
/** Objects of a log; reading ends at the request that would add another. */
export const OBJECTS_MAX = 2_000_000;
/** What an object costs beside its body: fields, key, the store's own. */
const OVERHEAD_BYTES = 1_024;
const REQUESTS_FIRST = 65_536;

/** A way to make the key of a request. */
export interface KeyVariant {
  readonly name: string;
  readonly recipe: KeyRecipe;
}

/** The recipe that takes of a query what `query` says, sorted when it takes it apart. */
export function recipeOf(
  query: QueryRule,
  options: { stripTracking: boolean; sortQuery: boolean },
): KeyRecipe {
  const { stripTracking, sortQuery } = options;
  const queryAsIs = query.kind === "all" && !stripTracking && !sortQuery;
  return {
    query,
    stripTracking,
    sortQuery,
    queryAsIs,
    headers: [],
    cookies: [],
    device: false,
    languages: null,
    hasSecondary: false,
  };
}

const ALL: QueryRule = { kind: "all" };

/** The keys that every report compares, from the one that tells most apart to the one that tells least. */
export const KEY_VARIANTS: readonly [KeyVariant, ...KeyVariant[]] = [
  { name: "as logged", recipe: recipeOf(ALL, { stripTracking: false, sortQuery: false }) },
  { name: "query sorted", recipe: recipeOf(ALL, { stripTracking: false, sortQuery: true }) },
  { name: "tracking stripped", recipe: recipeOf(ALL, { stripTracking: true, sortQuery: true }) },
  { name: "query ignored", recipe: recipeOf({ kind: "none" }, { stripTracking: false, sortQuery: true }) },
];

/** The trace of one key variant, while the log is being read. */
export class TraceBuilder {
  readonly variant: KeyVariant;
  readonly #numbers = new Map<number, number>();
  readonly #wholeBytes: number[] = [];
  readonly #partBytes: number[] = [];
  #objects = new Uint32Array(REQUESTS_FIRST);
  #requests = 0;

  constructor(variant: KeyVariant) {
    this.variant = variant;
  }

  /** Adds a request; false when a limit does not allow it. */
  add({ resource, query, bytes, whole }: LoggedRequest): boolean {
    const kept = keyQuery(this.variant.recipe, query);
    const key = hashOf(kept === null ? resource : `${resource}?${kept}`);
    let number = this.#numbers.get(key);
    if (this.#requests === REQUESTS_MAX || (number === undefined && this.#numbers.size === OBJECTS_MAX))
      return false;
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(key, number);
      this.#wholeBytes.push(0);
      this.#partBytes.push(0);
    }
    const sizes = whole ? this.#wholeBytes : this.#partBytes;
    if (bytes > (sizes[number] as number)) sizes[number] = bytes;
    if (this.#requests === this.#objects.length) {
      const larger = new Uint32Array(Math.min(REQUESTS_MAX, this.#objects.length * 2));
      larger.set(this.#objects);
      this.#objects = larger;
    }
    this.#objects[this.#requests++] = number;
    return true;
  }

  /** The trace of what was added. An object without a whole answer has the size of its largest part. */
  build(): Trace {
    const sizes = Float64Array.from(
      this.#wholeBytes,
      (bytes, number) => bytes || (this.#partBytes[number] as number),
    );
    return { objects: this.#objects.subarray(0, this.#requests), sizes, overheadBytes: OVERHEAD_BYTES };
  }
}

/** 53 bits of a string's hash, as a number. */
function hashOf(text: string): number {
  return (Bun.hash.xxHash32(text, 1) & 0x1fffff) * 2 ** 32 + Bun.hash.xxHash32(text, 2);
}
