/**
 * The memory store: a map from base key to stored URL, a hard limit in bytes, and SIEVE eviction
 * (Zhang et al., NSDI 2024): a hit sets one flag, the hand walks from the oldest towards the newest,
 * clears flags and evicts the first node that has none.
 */
import { assert } from "../../base/assert.ts";
import { PassMarker, StoredResponse, StoredUrl } from "../stored.ts";
import type { BodyForm, QueueNode, StoredParts } from "../stored.ts";

/** Counters and gauges of a store. */
export interface StoreStats {
  readonly objects: number;
  readonly urls: number;
  readonly bytes: number;
  readonly bytesMax: number;
  readonly evictions: number;
}

/** The memory tier. */
export class MemoryStore {
  readonly bytesMax: number;
  /** Largest body that is stored, in bytes. */
  readonly objectBytesMax: number;
  readonly #urls = new Map<string, StoredUrl>();
  #newest: QueueNode | null = null;
  #oldest: QueueNode | null = null;
  #hand: QueueNode | null = null;
  #bytes = 0;
  #objects = 0;
  #evictions = 0;

  constructor(options: { readonly bytesMax: number; readonly objectBytesMax: number }) {
    this.bytesMax = options.bytesMax;
    this.objectBytesMax = Math.min(options.objectBytesMax, options.bytesMax);
  }

  /** The URL with this base key, if anything is known of it. */
  get(key: string): StoredUrl | undefined {
    return this.#urls.get(key);
  }

  /** Stores a variant, replacing the one it stands for. Null when it is larger than the store takes. */
  put(
    key: string,
    vary: readonly string[],
    variant: string,
    parts: StoredParts,
    variantsMax: number,
  ): StoredResponse | null {
    const known = this.#urls.get(key);
    const url = known ?? new StoredUrl(key);
    const entry = new StoredResponse(url, vary, variant, parts);
    if (entry.length > this.objectBytesMax || entry.bytes > this.bytesMax) return null;
    if (known === undefined) this.#urls.set(key, url);
    if (url.pass !== null) this.#clearPass(url);
    const replaced = url.add(entry);
    if (replaced !== null) this.#unlink(replaced);
    this.#link(entry);
    while (url.count > variantsMax) {
      const oldest = [...url.variants()].reduce((a, b) => (b.storedAtMs < a.storedAtMs ? b : a));
      if (oldest === entry) break;
      this.remove(oldest);
    }
    this.#evict(entry);
    return entry;
  }

  /** Marks a URL whose answers could not be stored. */
  markPass(key: string, untilMs: number, reason: PassMarker["reason"]): void {
    let url = this.#urls.get(key);
    if (url === undefined) {
      url = new StoredUrl(key);
      this.#urls.set(key, url);
    }
    if (url.pass !== null) this.#clearPass(url);
    url.pass = new PassMarker(url, untilMs, reason);
    this.#link(url.pass);
    this.#evict(url.pass);
  }

  /** Keeps a derived form of a body with its response. */
  addForm(entry: StoredResponse, form: BodyForm): void {
    if (!this.holds(entry)) return;
    entry.forms.push(form);
    this.recount(entry);
  }

  /** Counts an entry anew after its fields or forms changed. */
  recount(entry: StoredResponse): void {
    const bytes = entry.countBytes();
    if (!this.holds(entry)) return;
    this.#bytes += bytes - entry.bytes;
    entry.bytes = bytes;
    this.#evict(entry);
  }

  /** True while the entry is in the store. */
  holds(entry: StoredResponse): boolean {
    return this.#newest === entry || entry.newer !== null || entry.older !== null;
  }

  /** Takes one variant out. */
  remove(entry: StoredResponse): void {
    if (!this.holds(entry)) return;
    this.#unlink(entry);
    entry.url.delete(entry);
    this.#dropIfEmpty(entry.url);
  }

  /** Takes a whole URL out; returns how many variants it had. */
  removeUrl(key: string): number {
    const url = this.#urls.get(key);
    if (url === undefined) return 0;
    const variants = [...url.variants()];
    for (const entry of variants) this.remove(entry);
    if (url.pass !== null) this.#clearPass(url);
    this.#dropIfEmpty(url);
    return variants.length;
  }

  /** Empties the store. */
  clear(): void {
    for (const key of [...this.#urls.keys()]) this.removeUrl(key);
  }

  /** Every stored response. What is stored while it is walked may or may not be met. */
  *entries(): Generator<StoredResponse> {
    for (const url of this.#urls.values()) yield* [...url.variants()];
  }

  stats(): StoreStats {
    return {
      objects: this.#objects,
      urls: this.#urls.size,
      bytes: this.#bytes,
      bytesMax: this.bytesMax,
      evictions: this.#evictions,
    };
  }

  #clearPass(url: StoredUrl): void {
    if (url.pass === null) return;
    this.#unlink(url.pass);
    url.pass = null;
  }

  #dropIfEmpty(url: StoredUrl): void {
    if (url.empty && this.#urls.get(url.key) === url) this.#urls.delete(url.key);
  }

  #link(node: QueueNode): void {
    node.older = this.#newest;
    if (this.#newest !== null) this.#newest.newer = node;
    this.#newest = node;
    this.#oldest ??= node;
    this.#bytes += node.bytes;
    if (node instanceof StoredResponse) this.#objects++;
  }

  #unlink(node: QueueNode): void {
    if (this.#hand === node) this.#hand = node.newer;
    if (node.newer === null) this.#newest = node.older;
    else node.newer.older = node.older;
    if (node.older === null) this.#oldest = node.newer;
    else node.older.newer = node.newer;
    node.newer = null;
    node.older = null;
    this.#bytes -= node.bytes;
    if (node instanceof StoredResponse) this.#objects--;
  }

  /** Evicts until the limit holds; `keep` was just put in and goes last. */
  #evict(keep: QueueNode): void {
    while (this.#bytes > this.bytesMax) {
      let node = this.#hand ?? this.#oldest;
      while (node !== null && (node.visited || node === keep)) {
        node.visited = false;
        const next: QueueNode | null = node.newer ?? this.#oldest;
        if (next === node) break;
        node = next;
      }
      assert(node !== null, "a store over its limit holds something");
      this.#hand = node.newer;
      this.#evictions++;
      if (node instanceof StoredResponse) this.remove(node);
      else {
        this.#clearPass(node.url);
        this.#dropIfEmpty(node.url);
      }
    }
  }
}
