/**
 * The memory store: a hard limit in bytes. Who goes when the limit is reached is for the policy to say
 * (decision 7), and which site has to give (decision 16); a hit is two increments.
 *
 * A URL that is in use is here as objects, found by a map from base key; all others are packed records,
 * found by the key's hash (decision 21). It is always wholly one or the other. Asking for a packed URL
 * makes objects of it; S3-FIFO over those says which are packed again. The room of the objects is set aside:
 * responses count for what they take when packed, but for those that can not be.
 */
import { ChurnMap } from "../../base/churn-map.ts";
import type { MemoryQuota } from "../../config/plan.ts";
import { Partitions, type PartitionUse } from "../eviction/partitions.ts";
import { S3Fifo } from "../eviction/s3-fifo.ts";
import { siteOf } from "../key.ts";
import {
  FORM_OVERHEAD_BYTES,
  SLACK_BYTES_MIN,
  SLACK_SHARE,
  UNPACKED_BYTES_MAX,
  UNPACKED_NEW_BYTES_MAX,
  UNPACKED_SHARE,
} from "../limits.ts";
import type { BodyForm, Keeper, QueueNode, StoredParts } from "../stored.ts";
import { hashOf, PassMarker, StoredResponse } from "../stored.ts";
import { StoredUrl } from "../stored-url.ts";
import { Arena, NOWHERE } from "./arena.ts";
import type { DiskVariant } from "./disk/variant.ts";
import { StoredNode } from "./node.ts";
import { AT_DISK, AT_LOCAL, AT_SEQUENCE, keyOf, PackedView, pack, packedCost, unpack } from "./packed.ts";
import { PackedIndex } from "./packed-index.ts";

/** Longest time that new quotas may hold the event loop in one go, in milliseconds, and how often they look at the time. */
const SLICE_MS_MAX = 2;
const NODES_PER_LOOK = 32;
/** Variants of a URL that is packed at most: all are made objects of when one is asked for. */
const PACKED_VARIANTS_MAX = 8;
/** Packed nodes, for each one that is packed, of which it is seen whether anybody still holds them. */
const HELD_PER_PACKED = 2;

/** Counters and gauges of a store. */
export interface StoreStats {
  readonly objects: number;
  readonly urls: number;
  readonly bytes: number;
  readonly bytesMax: number;
  readonly evictions: number;
}

/** A response as a walk over the store meets it. */
export type Walked = StoredResponse | PackedView;

/** The memory tier. */
export class MemoryStore implements Keeper {
  readonly bytesMax: number;
  /** Largest body that is stored, in bytes. */
  readonly objectBytesMax: number;
  /** The disk's row of a response, if it is still there. */
  rowOf: (key: string, born: number) => DiskVariant | null = () => null;
  /** URLs that are here as objects. */
  readonly #urls = new ChurnMap<string, StoredUrl>();
  /** Those of them that can be packed, and which is packed next. */
  readonly #unpacked: S3Fifo<StoredUrl>;
  readonly #unpackedBytesMax: number;
  readonly #arena = new Arena();
  readonly #packed = new PackedIndex();
  #packedUrls = 0;
  /** Packed nodes whose URL somebody held when it was last looked: to look at in turn. */
  #held: StoredNode[] = [];
  #heldNext: StoredNode[] = [];
  /** What was packed while walks were under way, for each of them. */
  readonly #walks = new Set<StoredNode[]>();
  readonly #partitions: Partitions<QueueNode>;
  readonly #onRemoved: (entry: StoredResponse) => void;
  readonly #dropEvicted = (node: QueueNode): void => this.#evicted(node);
  #objects = 0;
  #evictions = 0;
  /** A node stands aside while others go for it: nothing is packed then, for that may count this very node anew. */
  #evicting = false;
  /** Quotas that have not reached everything that was stored before them. */
  #settling: { readonly moves: boolean; done: Promise<void> } | null = null;
  /** Room in slabs that may be without records before they are emptied into each other, in bytes. */
  readonly #slackBytesMax: number;
  #draining: Promise<void> | null = null;

  constructor(options: {
    readonly bytesMax: number;
    readonly objectBytesMax: number;
    /** Hears of each response that is removed for what it is, also when it was evicted before: not of those evicted or replaced. */
    readonly onRemoved?: (entry: StoredResponse) => void;
  }) {
    this.#onRemoved = options.onRemoved ?? (() => undefined);
    this.bytesMax = options.bytesMax;
    this.#unpackedBytesMax = Math.min(UNPACKED_BYTES_MAX, Math.floor(options.bytesMax * UNPACKED_SHARE));
    this.#unpacked = new S3Fifo<StoredUrl>(this.#unpackedBytesMax, {
      smallBytesMax: Math.min(UNPACKED_NEW_BYTES_MAX, this.#unpackedBytesMax / 10),
    });
    this.#slackBytesMax = Math.max(SLACK_BYTES_MIN, Math.floor(options.bytesMax * SLACK_SHARE));
    this.#partitions = new Partitions(options.bytesMax - this.#unpackedBytesMax);
    this.objectBytesMax = Math.min(options.objectBytesMax, options.bytesMax);
  }

  /** The URL with this base key, if anything is known of it. */
  get(key: string): StoredUrl | undefined {
    return this.#urls.get(key) ?? this.#unpack(key);
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
    const url = this.get(key) ?? new StoredUrl(key, hashOf(key), this);
    const entry = this.#make(url, vary, variant, parts);
    const { node } = entry;
    if (!entry.large && entry.length > this.objectBytesMax) return null;
    const cost = packedCost(entry);
    node.bytes = cost ?? entry.countBytes();
    if (node.bytes > this.#partitions.bytesMaxOf(site)) return null;
    this.#bringHome(url);
    node.partition = this.#partitions.of(site);
    const replaced = url.add(entry);
    this.#link(node);
    if (replaced !== null) this.#unlink(replaced.node);
    if (url.pass !== null) this.#clearPass(url);
    while (url.count > variantsMax) {
      const oldest = url.list().reduce((a, b) => (b.storedAtMs < a.storedAtMs ? b : a));
      if (oldest === entry) break;
      this.remove(oldest);
    }
    if (cost === null) this.#keepUnpacked(url);
    else if (url.count === 1) url.unpackable = false;
    else if (url.unpackable) this.#recount(entry);
    this.#evict(node);
    this.#weigh(url);
    return entry;
  }

  /** A variant that is not in the store: what was refused, for those who have it already. */
  unkept(key: string, vary: readonly string[], variant: string, parts: StoredParts): StoredResponse {
    return this.#make(new StoredUrl(key, hashOf(key), this), vary, variant, parts);
  }

  /** Marks a URL whose answers could not be stored. */
  markPass(key: string, untilMs: number, reason: PassMarker["reason"]): void {
    const url = this.get(key) ?? new StoredUrl(key, hashOf(key), this);
    this.#bringHome(url);
    const replaced = url.pass;
    url.pass = new PassMarker(url, this.#partitions.of(siteOf(key)), untilMs, reason);
    this.#link(url.pass);
    if (replaced !== null) this.#unlink(replaced);
    this.#evict(url.pass);
  }

  /** A stored response was used. */
  hit(entry: StoredResponse): void {
    // A mark says that a node is in a queue: one that has left, or never came in, has none.
    if (!this.holds(entry)) return;
    this.#partitions.hit(entry.node);
    if (entry.url.mark !== 0) this.#unpacked.hit(entry.url);
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
    this.#wakeUrl(entry.url);
    if (!this.holds(entry)) return;
    if (!entry.url.unpackable && packedCost(entry) === null) this.#keepUnpacked(entry.url);
    else this.#recount(entry);
    this.#evict(entry.node);
    this.#weigh(entry.url);
  }

  /** True while the entry is in the store. */
  holds(entry: StoredResponse): boolean {
    return entry.node.mark !== 0;
  }

  /** Takes one variant out. */
  remove(entry: StoredResponse): void {
    this.#onRemoved(entry);
    if (!this.holds(entry)) return;
    this.#wakeUrl(entry.url);
    // What comes back pushes others out, which may be counted for more then, and that may have evicted it.
    if (!this.holds(entry)) return;
    this.#unlink(entry.node);
    entry.url.delete(entry);
    this.#dropIfEmpty(entry.url);
  }

  /** Takes a whole URL out; returns how many variants it had. */
  removeUrl(key: string): number {
    const url = this.get(key);
    if (url === undefined) return 0;
    const variants = url.list();
    for (const entry of variants) this.remove(entry);
    if (url.pass !== null) this.#clearPass(url);
    this.#dropIfEmpty(url);
    return variants.length;
  }

  /** Empties the store. */
  clear(): void {
    for (let node = this.#packed.at(0); node !== undefined; node = this.#packed.at(0))
      this.removeUrl(keyOf(this.#arena, node.record));
    for (const key of this.#urls.keys()) this.removeUrl(key);
  }

  /** Every stored response; what is packed stays so. What is stored while it is walked may or may not be met. */
  *entries(): Generator<Walked> {
    for (const met of this.#walk()) {
      if (met instanceof StoredUrl) yield* met.list();
      else yield new PackedView(this.#arena, met);
    }
  }

  /** The response itself that a walk met; null when it is gone. */
  wake(met: Walked): StoredResponse | null {
    return met instanceof PackedView ? (this.get(met.key)?.entryOf(met.node) ?? null) : met;
  }

  /** Notes that what a walk met packed was held against purges up to here. */
  confirm({ node }: PackedView, sequence: number, local: number): void {
    this.#arena.setDouble(node.record, AT_SEQUENCE, sequence);
    this.#arena.setDouble(node.record, AT_LOCAL, local);
  }

  /** Is the disk's row of this name in memory as well? */
  holdsRow(key: string, born: number): boolean {
    const url = this.#urls.get(key);
    if (url !== undefined) return url.list().some(({ diskBorn }) => diskBorn === born);
    return this.#packed
      .withHash(hashOf(key))
      .some(({ record }) => this.#arena.double(record, AT_DISK) === born);
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
      urls: this.#urls.size + this.#packedUrls,
      bytes: this.#partitions.bytes,
      bytesMax: this.bytesMax,
      evictions: this.#evictions,
    };
  }

  /** What the sites with a quota take and may take, by site. */
  siteStats(): Record<string, PartitionUse> {
    return Object.assign(Object.create(null), Object.fromEntries(this.#partitions.sites()));
  }

  /** When no slabs are being emptied: how many bytes of them are without records. */
  async drained(): Promise<number> {
    await this.#draining;
    return this.#arena.slackBytes;
  }

  // ---- for the responses ----

  changing(entry: StoredResponse): void {
    if (!this.holds(entry)) return;
    this.#wakeUrl(entry.url);
    this.#freeRecord(entry.node);
  }

  noted({ node, validSequence, validLocal, diskBorn }: StoredResponse): void {
    if (node.record === NOWHERE) return;
    this.#arena.setDouble(node.record, AT_SEQUENCE, validSequence);
    this.#arena.setDouble(node.record, AT_LOCAL, validLocal);
    this.#arena.setDouble(node.record, AT_DISK, diskBorn);
  }

  /**
   * Empties slabs into each other. What goes leaves gaps everywhere: were they not closed, a few records
   * that stay would hold the memory of all that stood beside them, beyond the limit.
   */
  async #drain(): Promise<void> {
    let looked = 0;
    let sliceStart = 0;
    this.#arena.drain();
    for (const met of this.#walk()) {
      if (looked++ % NODES_PER_LOOK === 0 && performance.now() - sliceStart >= SLICE_MS_MAX) {
        await nextTurn();
        sliceStart = performance.now();
      }
      // It may have gone, or changed its form, meanwhile.
      if (met instanceof StoredUrl) for (const { node } of met.list()) this.#moveRecord(node);
      else this.#moveRecord(met);
    }
    this.#arena.drained();
    this.#draining = null;
  }

  #moveRecord(node: StoredNode): void {
    if (node.record !== NOWHERE) node.record = this.#arena.moved(node.record);
  }

  async #settle(settling: object): Promise<void> {
    const steps = this.#settlingSteps();
    let sliceStart = performance.now();
    while (steps.next().done !== true) {
      if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
      await nextTurn();
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
    for (const met of this.#walk()) {
      if (met instanceof StoredUrl) this.#moveHome(met);
      else this.#move(met, siteOf(keyOf(this.#arena, met.record)));
      if (++looked % NODES_PER_LOOK === 0) yield;
    }
  }

  /** Makes a URL one that is here, as objects, in the partition of its site. */
  #bringHome(url: StoredUrl): void {
    this.#moveHome(url);
    // What the move evicted may have had it packed.
    this.#wakeUrl(url);
    this.#urls.set(url.key, url);
  }

  /** Brings what is known of a URL to the partition of its site. */
  #moveHome(url: StoredUrl): void {
    const site = siteOf(url.key);
    for (const { node } of url.list()) this.#move(node, site);
    if (url.pass !== null) this.#move(url.pass, site);
  }

  #move(node: QueueNode, site: string): void {
    const to = this.#partitions.of(site);
    const from = node.partition;
    if (from === to || node.mark === 0) return;
    node.partition = to;
    this.#partitions.move(from, to, node);
    this.#partitions.trim(to, this.#dropEvicted);
  }

  #clearPass(url: StoredUrl): void {
    if (url.pass === null) return;
    this.#unlink(url.pass);
    url.pass = null;
    this.#weigh(url);
  }

  #dropIfEmpty(url: StoredUrl): void {
    if (url.count === 0 && url.mark !== 0) this.#unpacked.remove(url);
    if (url.empty && this.#urls.get(url.key) === url) this.#urls.delete(url.key);
  }

  #make(url: StoredUrl, vary: readonly string[], variant: string, parts: StoredParts): StoredResponse {
    const node = new StoredNode(url.hash, this.#partitions.of(siteOf(url.key)), url);
    return new StoredResponse(url, node, vary, variant, parts);
  }

  #link(node: QueueNode): void {
    this.#partitions.insert(node.partition, node);
    if (node instanceof StoredNode) this.#objects++;
  }

  #unlink(node: QueueNode): void {
    this.#partitions.remove(node.partition, node);
    if (!(node instanceof StoredNode)) return;
    this.#freeRecord(node);
    this.#objects--;
  }

  /** Evicts until the limits hold; `keep` was just put in or grew, and goes last. */
  #evict(keep: QueueNode): void {
    if (keep.mark === 0) return;
    let isKept: boolean;
    this.#evicting = true;
    try {
      isKept = this.#partitions.evict(keep.partition, keep, this.#dropEvicted);
    } finally {
      this.#evicting = false;
    }
    if (!isKept) this.#evicted(keep);
  }

  /** Takes what the policy has given up off its URL. */
  #evicted(node: QueueNode): void {
    this.#evictions++;
    if (!(node instanceof StoredNode)) {
      if (node.url.pass === node) node.url.pass = null;
      this.#weigh(node.url);
      this.#dropIfEmpty(node.url);
      return;
    }
    this.#objects--;
    const { url } = node;
    if (url instanceof StoredUrl) {
      const entry = url.entryOf(node);
      if (entry !== null) url.delete(entry);
      this.#weigh(url);
      this.#dropIfEmpty(url);
    } else this.#evictedPacked(node, url?.deref() ?? null);
    this.#freeRecord(node);
  }

  #evictedPacked(node: StoredNode, held: StoredUrl | null): void {
    this.#packed.remove(node);
    node.url = null;
    const others = this.#packed.withHash(node.hash);
    const key = others.length === 0 ? "" : keyOf(this.#arena, node.record);
    const isLast = !others.some(({ record }) => keyOf(this.#arena, record) === key);
    if (isLast) this.#packedUrls--;
    if (held === null) return;
    const entry = held.entryOf(node);
    if (entry !== null) held.delete(entry);
    if (isLast) held.packed = false;
  }

  #freeRecord(node: StoredNode): void {
    if (node.record === NOWHERE) return;
    this.#arena.free(node.record);
    node.record = NOWHERE;
    if (this.#draining === null && this.#arena.slackBytes > this.#slackBytesMax)
      this.#draining = nextTurn().then(() => this.#drain());
  }

  // ---- packed, and not ----

  /** Makes objects of a packed URL. */
  #unpack(key: string): StoredUrl | undefined {
    if (this.#packed.size === 0) return undefined;
    const hash = hashOf(key);
    const nodes = this.#packed.withHash(hash);
    let url: StoredUrl | undefined;
    const restored: { readonly node: StoredNode; readonly parts: ReturnType<typeof unpack> }[] = [];
    for (const node of nodes) {
      const held = node.url instanceof WeakRef ? node.url.deref() : undefined;
      if (held?.key === key) {
        this.#wakeUrl(held);
        return held;
      }
      const parts = held === undefined ? unpack(this.#arena, node.record, key) : null;
      if (parts !== null) restored.push({ node, parts });
    }
    if (restored.length > 1) restored.sort((a, b) => (a.parts?.storedAtMs ?? 0) - (b.parts?.storedAtMs ?? 0));
    for (const { node, parts } of restored) {
      if (parts === null) continue;
      url ??= new StoredUrl(key, hash, this);
      url.add(new StoredResponse(url, node, parts.vary, parts.variant, parts));
    }
    if (url !== undefined) this.#comeBack(url);
    return url;
  }

  /** A packed URL that somebody held is asked for, or changes. */
  #wakeUrl(url: StoredUrl): void {
    if (url.packed) this.#comeBack(url);
  }

  #comeBack(url: StoredUrl): void {
    for (const { node } of url.list()) {
      this.#packed.remove(node);
      node.url = url;
    }
    url.packed = false;
    this.#packedUrls--;
    this.#urls.set(url.key, url);
    this.#weigh(url);
  }

  /** Finds a URL its place among those that can be packed, by what it takes now, and packs others where that is too much. */
  #weigh(url: StoredUrl): void {
    if (url.packed || this.#urls.get(url.key) !== url) return;
    const bytes = url.unpackable ? 0 : url.countBytes();
    if (bytes === 0) {
      if (url.mark !== 0) this.#unpacked.remove(url);
      return;
    }
    if (url.mark !== 0) this.#unpacked.resize(url, bytes);
    else {
      url.bytes = bytes;
      this.#unpacked.insert(url);
    }
    while (!this.#evicting && this.#unpacked.isCrowded) {
      const next = this.#unpacked.victim(url);
      if (next === null) return;
      this.#pack(next);
    }
  }

  /** Packs a URL, if it can be. */
  #pack(url: StoredUrl): void {
    // It comes back when the marker goes.
    if (url.pass !== null) return;
    const entries = url.list();
    for (const entry of entries) {
      if (entry.node.record === NOWHERE) entry.node.record = pack(this.#arena, entry);
      if (entry.node.record === NOWHERE || entries.length > PACKED_VARIANTS_MAX) {
        this.#keepUnpacked(url);
        this.#evict(entry.node);
        return;
      }
    }
    const ref = new WeakRef(url);
    for (const { node } of entries) {
      node.url = ref;
      this.#packed.add(node);
      this.#held.push(node);
      for (const late of this.#walks) late.push(node);
    }
    url.packed = true;
    this.#packedUrls++;
    this.#urls.delete(url.key);
    for (let looked = 0; looked < HELD_PER_PACKED * entries.length; looked++) this.#lookAtHeld();
  }

  /** Forgets a reference that leads to nothing any more: it costs more than its node. */
  #lookAtHeld(): void {
    if (this.#heldNext.length === 0) {
      this.#heldNext = this.#held.reverse();
      this.#held = [];
    }
    const node = this.#heldNext.pop();
    if (!(node?.url instanceof WeakRef)) return;
    if (node.url.deref() === undefined) node.url = null;
    else this.#held.push(node);
  }

  /** A URL that can not be packed counts for what it takes as it is. */
  #keepUnpacked(url: StoredUrl): void {
    url.unpackable = true;
    if (url.mark !== 0) this.#unpacked.remove(url);
    for (const entry of url.list()) {
      this.#freeRecord(entry.node);
      this.#recount(entry);
    }
  }

  #recount(entry: StoredResponse): void {
    const bytes = (entry.url.unpackable ? null : packedCost(entry)) ?? entry.countBytes();
    this.#partitions.resize(entry.node.partition, entry.node, bytes);
  }

  /**
   * Every packed node, then every URL that was here as objects by then. What is unpacked before it was met
   * is among those; what was packed before is noted for the walk.
   */
  *#walk(): Generator<StoredUrl | StoredNode> {
    const late: StoredNode[] = [];
    this.#walks.add(late);
    try {
      // From the end: a node that is removed gives its place to the last one, which has been met.
      for (let place = this.#packed.size - 1; place >= 0; place = Math.min(place, this.#packed.size) - 1) {
        const node = this.#packed.at(place);
        if (node !== undefined) yield node;
      }
    } finally {
      this.#walks.delete(late);
    }
    yield* this.#urls.values();
    for (const node of late) {
      if (node.mark === 0) continue;
      if (node.url instanceof StoredUrl) yield node.url;
      else yield node;
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
