/** One base key and what is stored under it. */
import type { FieldReader } from "../http/fields.ts";
import { NO_NAMES } from "../http/vary.ts";
import type { EvictionNode } from "./eviction/policy.ts";
import { variantOf } from "./key.ts";
import type { StoredNode } from "./store/node.ts";
import type { Keeper, PassMarker, StoredResponse } from "./stored.ts";

/** Variants whose responses named the same fields in Vary. */
interface VarySpec {
  readonly vary: readonly string[];
  readonly variants: Map<string, StoredResponse>;
}

const NO_VARIANTS: readonly StoredResponse[] = [];

/** One base key: its variants by Vary specification, newest specification first. */
export class StoredUrl implements EvictionNode<StoredUrl> {
  // Its place among the URLs that are here as objects and can be packed, and what it takes there.
  newer: StoredUrl | null = null;
  older: StoredUrl | null = null;
  mark = 0;
  rank = 0.5;
  bytes = 0;
  readonly hash: number;
  readonly key: string;
  readonly keeper: Keeper;
  /** The store knows it by its records alone; this object is only still held by somebody. */
  packed = false;
  /** Something of it can not be packed. */
  unpackable = false;
  /** The only variant of a URL without Vary and secondary key: the plain case, which needs no table. */
  only: StoredResponse | null = null;
  #specs: VarySpec[] | null = null;
  pass: PassMarker | null = null;
  count = 0;

  constructor(key: string, hash: number, keeper: Keeper) {
    this.key = key;
    this.hash = hash;
    this.keeper = keeper;
  }

  /** The response of a node, if it is one of this URL. */
  entryOf(node: StoredNode): StoredResponse | null {
    return this.list().find((entry) => entry.node === node) ?? null;
  }

  /** The variant that fits a request (RFC 9111 section 4.1); `secondary` is the configured part of the key. */
  find(secondary: string, fields: FieldReader): StoredResponse | null {
    if (this.only !== null) return secondary === "" ? this.only : null;
    for (const { vary, variants } of this.#specs ?? []) {
      const found = variants.get(variantOf(secondary, vary, fields));
      if (found !== undefined) return found;
    }
    return null;
  }

  /** The fields that the newest response's Vary named: the best guess for a response not seen yet. */
  get vary(): readonly string[] {
    return this.#specs?.[0]?.vary ?? NO_NAMES;
  }

  /** Puts a variant in; returns the one it replaces. */
  add(entry: StoredResponse): StoredResponse | null {
    const plain = entry.vary.length === 0 && entry.variant === "";
    if (plain && (this.count === 0 || this.only !== null)) {
      const replaced = this.only;
      this.only = entry;
      this.count = 1;
      return replaced;
    }
    const specs = this.#tables();
    let spec = specs.find(({ vary }) => sameNames(vary, entry.vary));
    if (spec === undefined) spec = { vary: entry.vary, variants: new Map() };
    this.#specs = [spec, ...specs.filter((other) => other !== spec)];
    const replaced = spec.variants.get(entry.variant) ?? null;
    spec.variants.delete(entry.variant);
    spec.variants.set(entry.variant, entry);
    if (replaced === null) this.count++;
    return replaced;
  }

  /** Takes a variant out, if it is still this one. */
  delete(entry: StoredResponse): void {
    if (this.only === entry) {
      this.only = null;
      this.count = 0;
      return;
    }
    for (const spec of this.#specs ?? []) {
      if (spec.variants.get(entry.variant) !== entry || !sameNames(spec.vary, entry.vary)) continue;
      spec.variants.delete(entry.variant);
      this.count--;
      if (spec.variants.size === 0) this.#specs = (this.#specs ?? []).filter((other) => other !== spec);
    }
    if (this.count === 0) this.#specs = null;
  }

  /** Every variant, newest specification first, oldest variant of it first. */
  *variants(): Generator<StoredResponse> {
    if (this.only !== null) yield this.only;
    for (const spec of this.#specs ?? []) yield* spec.variants.values();
  }

  /** The same, as they are now. */
  list(): readonly StoredResponse[] {
    if (this.only !== null) return [this.only];
    return this.count === 0 ? NO_VARIANTS : [...this.variants()];
  }

  /** What its variants take in memory while they are not packed, in bytes. */
  countBytes(): number {
    let bytes = 0;
    for (const entry of this.list()) bytes += entry.countBytes();
    return bytes;
  }

  get empty(): boolean {
    return this.count === 0 && this.pass === null;
  }

  /** The tables; the only variant moves into them. */
  #tables(): VarySpec[] {
    if (this.only !== null) {
      this.#specs = [{ vary: this.only.vary, variants: new Map([[this.only.variant, this.only]]) }];
      this.only = null;
    }
    this.#specs ??= [];
    return this.#specs;
  }
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}
