/**
 * The memory store: a map from base key to stored URL, and a hard limit in bytes. Who goes when the limit
 * is reached is for the policy to say (decision 7), and which site has to give (decision 16); a hit is one
 * increment.
 */
import type { MemoryQuota } from "../../config/plan.ts";
import { Partitions, type PartitionUse } from "../eviction/partitions.ts";
import { siteOf } from "../key.ts";
import { FORM_OVERHEAD_BYTES } from "../limits.ts";
import type { BodyForm, QueueNode, StoredParts } from "../stored.ts";
import { PassMarker, StoredResponse, StoredUrl } from "../stored.ts";

/** Longest time that new quotas may hold the event loop in one go, in milliseconds, and how often they look at the time. */
const SLICE_MS_MAX = 2;
const NODES_PER_LOOK = 32;

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
  readonly #partitions: Partitions<QueueNode>;
  readonly #onRemoved: (entry: StoredResponse) => void;
  readonly #dropEvicted = (node: QueueNode): void => this.#evicted(node);
  #objects = 0;
  #evictions = 0;
  /** Quotas that have not reached everything that was stored before them. */
  #settling: { readonly moves: boolean; done: Promise<void> } | null = null;

  constructor(options: {
    readonly bytesMax: number;
    readonly objectBytesMax: number;
    /** Hears of each response that is removed for what it is, also when it was evicted before: not of those evicted or replaced. */
    readonly onRemoved?: (entry: StoredResponse) => void;
  }) {
    this.#onRemoved = options.onRemoved ?? (() => undefined);
    this.bytesMax = options.bytesMax;
    this.#partitions = new Partitions(options.bytesMax);
    this.objectBytesMax = Math.min(options.objectBytesMax, options.bytesMax);
  }

  /** The URL with this base key, if anything is known of it. */
  get(key: string): StoredUrl | undefined {
    return this.#urls.get(key);
  }

  /** Largest body that is stored for a site, in bytes. */
  objectBytesMaxOf(site: string): number {
    return Math.min(this.objectBytesMax, this.#partitions.bytesMaxOf(site));
  }

  /** Stores a variant, replacing the one it stands for. Null when it is larger than the store, or its site, may take. */
  put(
    key: string,
    vary: readonly string[],
    variant: string,
    parts: StoredParts,
    variantsMax: number,
  ): StoredResponse | null {
    const site = siteOf(key);
    const url = this.#urls.get(key) ?? new StoredUrl(key, this.#partitions.of(site));
    const entry = new StoredResponse(url, vary, variant, parts);
    if (!entry.large && entry.length > this.objectBytesMax) return null;
    if (entry.bytes > this.#partitions.bytesMaxOf(site)) return null;
    this.#moveHome(url);
    this.#urls.set(key, url);
    const replaced = url.add(entry);
    this.#link(entry);
    if (replaced !== null) this.#unlink(replaced);
    if (url.pass !== null) this.#clearPass(url);
    while (url.count > variantsMax) {
      const oldest = [...url.variants()].reduce((a, b) => (b.storedAtMs < a.storedAtMs ? b : a));
      if (oldest === entry) break;
      this.remove(oldest);
    }
    this.#evict(entry);
    return entry;
  }

  /** A variant that is not in the store: what was refused, for those who have it already. */
  unkept(key: string, vary: readonly string[], variant: string, parts: StoredParts): StoredResponse {
    return new StoredResponse(new StoredUrl(key, this.#partitions.of(siteOf(key))), vary, variant, parts);
  }

  /** Marks a URL whose answers could not be stored. */
  markPass(key: string, untilMs: number, reason: PassMarker["reason"]): void {
    const url = this.#urls.get(key) ?? new StoredUrl(key, this.#partitions.of(siteOf(key)));
    this.#moveHome(url);
    this.#urls.set(key, url);
    const replaced = url.pass;
    url.pass = new PassMarker(url, untilMs, reason);
    this.#link(url.pass);
    if (replaced !== null) this.#unlink(replaced);
    this.#evict(url.pass);
  }

  /** A stored response was used. */
  hit(entry: StoredResponse): void {
    // A mark says that a node is in a queue: one that has left, or never came in, has none.
    if (this.holds(entry)) this.#partitions.hit(entry);
  }

  /** Keeps a derived form of a body with its response, unless there is no room for both. */
  addForm(entry: StoredResponse, form: BodyForm): void {
    if (!this.holds(entry)) return;
    const bytes = entry.bytes + form.length + FORM_OVERHEAD_BYTES;
    if (bytes > this.#partitions.bytesMaxOf(siteOf(entry.key))) return;
    entry.addForm(form);
    this.recount(entry);
  }

  /** Counts an entry anew after its fields or forms changed. */
  recount(entry: StoredResponse): void {
    if (!this.holds(entry)) return;
    this.#partitions.resize(entry.url.partition, entry, entry.countBytes());
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

  /**
   * Puts quotas by site in force, in place of those before. What is stored from now on keeps to them;
   * what a site has too much, or is counted elsewhere, is seen to a slice at a time. Resolves when it is.
   */
  setQuotas(quotas: ReadonlyMap<string, MemoryQuota>): Promise<void> {
    const moves = this.#partitions.setQuotas(quotas);
    const settling = { moves: moves || this.#settling?.moves === true, done: Promise.resolve() };
    this.#settling = settling;
    settling.done = this.#settle(settling);
    return settling.done;
  }

  stats(): StoreStats {
    return {
      objects: this.#objects,
      urls: this.#urls.size,
      bytes: this.#partitions.bytes,
      bytesMax: this.bytesMax,
      evictions: this.#evictions,
    };
  }

  /** What the sites with a quota take and may take, by site. */
  siteStats(): Record<string, PartitionUse> {
    return Object.assign(Object.create(null), Object.fromEntries(this.#partitions.sites()));
  }

  async #settle(settling: object): Promise<void> {
    const steps = this.#settlingSteps();
    let sliceStart = performance.now();
    while (steps.next().done !== true) {
      if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
      await new Promise((resolve) => setImmediate(resolve));
      // Newer quotas have begun anew.
      if (this.#settling !== settling) return this.#settling?.done;
      sliceStart = performance.now();
    }
    this.#settling = null;
  }

  *#settlingSteps(): Generator<void> {
    while (this.#partitions.shrink(NODES_PER_LOOK, this.#dropEvicted)) yield;
    if (this.#settling?.moves !== true) return;
    let looked = 0;
    for (const url of this.#urls.values()) {
      this.#moveHome(url);
      if (++looked % NODES_PER_LOOK === 0) yield;
    }
  }

  /** Brings what is known of a URL to the partition of its site. */
  #moveHome(url: StoredUrl): void {
    const from = url.partition;
    const to = this.#partitions.of(siteOf(url.key));
    if (from === to) return;
    for (const entry of url.variants()) this.#partitions.move(from, to, entry);
    if (url.pass !== null) this.#partitions.move(from, to, url.pass);
    url.partition = to;
    this.#partitions.trim(to, this.#dropEvicted);
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
    this.#partitions.insert(node.url.partition, node);
    if (node instanceof StoredResponse) this.#objects++;
  }

  #unlink(node: QueueNode): void {
    this.#partitions.remove(node.url.partition, node);
    if (node instanceof StoredResponse) this.#objects--;
  }

  /** Evicts until the limits hold; `keep` was just put in or grew, and goes last. */
  #evict(keep: QueueNode): void {
    if (!this.#partitions.evict(keep.url.partition, keep, this.#dropEvicted)) this.#evicted(keep);
  }

  /** Takes what the policy has given up off its URL. */
  #evicted(node: QueueNode): void {
    this.#evictions++;
    if (node instanceof StoredResponse) {
      this.#objects--;
      node.url.delete(node);
    } else if (node.url.pass === node) {
      node.url.pass = null;
    }
    this.#dropIfEmpty(node.url);
  }
}
