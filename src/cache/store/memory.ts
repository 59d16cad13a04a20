/**
 * The memory store: a map from base key to stored URL, and a hard limit in bytes. Who goes when the limit
 * is reached is for the policy to say (decision 7); a hit is one increment.
 */
import { createPolicy, STORE_POLICY } from "../eviction/policies.ts";
import type { EvictionPolicy, PolicyName } from "../eviction/policy.ts";
import type { BodyForm, QueueNode, StoredParts } from "../stored.ts";
import { PassMarker, StoredResponse, StoredUrl } from "../stored.ts";

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
  readonly #policy: EvictionPolicy<QueueNode>;
  readonly #onRemoved: (entry: StoredResponse) => void;
  #objects = 0;
  #evictions = 0;

  constructor(options: {
    readonly bytesMax: number;
    readonly objectBytesMax: number;
    readonly policy?: PolicyName;
    /** Hears of each response that is removed for what it is, also when it was evicted before: not of those evicted or replaced. */
    readonly onRemoved?: (entry: StoredResponse) => void;
  }) {
    this.#onRemoved = options.onRemoved ?? (() => undefined);
    this.bytesMax = options.bytesMax;
    this.#policy = createPolicy(options.policy ?? STORE_POLICY, options.bytesMax);
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
    if ((!entry.large && entry.length > this.objectBytesMax) || entry.bytes > this.bytesMax) return null;
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

  /** A stored response was used. */
  hit(entry: StoredResponse): void {
    this.#policy.hit(entry);
  }

  /** Keeps a derived form of a body with its response. */
  addForm(entry: StoredResponse, form: BodyForm): void {
    if (!this.holds(entry)) return;
    entry.addForm(form);
    this.recount(entry);
  }

  /** Counts an entry anew after its fields or forms changed. */
  recount(entry: StoredResponse): void {
    if (!this.holds(entry)) return;
    this.#policy.resize(entry, entry.countBytes());
    this.#evict(entry);
  }

  /** True while the entry is in the store. */
  holds(entry: StoredResponse): boolean {
    return entry.mark !== 0;
  }

  /** Takes one variant out. */
  remove(entry: StoredResponse): void {
    this.#onRemoved(entry);
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
      bytes: this.#policy.bytes,
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
    this.#policy.insert(node);
    if (node instanceof StoredResponse) this.#objects++;
  }

  #unlink(node: QueueNode): void {
    this.#policy.remove(node);
    if (node instanceof StoredResponse) this.#objects--;
  }

  /** Evicts until the limit holds; `keep` was just put in and goes last. */
  #evict(keep: QueueNode): void {
    while (this.#policy.bytes > this.bytesMax) {
      const victim = this.#policy.victim(this.#policy.refuses ? null : keep);
      this.#evictions++;
      if (victim === null) {
        // Only `keep` is left, and it has outgrown the store.
        this.#drop(keep);
        return;
      }
      this.#drop(victim);
    }
  }

  /** Takes out what the policy named, and what hangs on it. */
  #drop(node: QueueNode): void {
    if (node.mark !== 0) this.#policy.remove(node);
    if (node instanceof StoredResponse) {
      this.#objects--;
      node.url.delete(node);
    } else if (node.url.pass === node) {
      node.url.pass = null;
    }
    this.#dropIfEmpty(node.url);
  }
}
