/**
 * One store for many sites, some of them with a quota: a limit that the site's own objects have to keep
 * to, a reserve that objects of other sites never push it out of, or both. Each such site is a partition
 * with a policy of its own; all other sites share one. The policies share their age, so that the worth of
 * nodes can be compared: as long as no quota binds, who goes is whom one policy for all would have named.
 *
 * Over a partition's limit, its own least goes. Over the store's limit, the least of all partitions goes
 * that are above their reserve. A heap knows which that is: an eviction costs the logarithm of the
 * partitions, a hit nothing. A reserve is a claim and sets nothing aside: what its site does not use,
 * others may, until it wants it.
 */
import type { MemoryQuota } from "../../config/plan.ts";
import { countHit, Gdsf, GdsfShared } from "./gdsf.ts";
import type { EvictionNode } from "./policy.ts";

/** What a site with a quota takes and may take. */
export interface PartitionUse {
  /** Nodes: stored responses, and markers of what may not be stored. */
  readonly entries: number;
  readonly bytes: number;
  /** Null where only the store's own limit holds. */
  readonly bytesMax: number | null;
  readonly bytesReserved: number;
  readonly evictions: number;
}

/** What a partition can give to others: freely, only by cutting into its reserve with its next node, or nothing. */
type Standing = 0 | 1 | 2;
const FREE: Standing = 0;
const TIGHT: Standing = 1;
const NOTHING: Standing = 2;

/** The objects of one site with a quota, or those of all sites without. */
export class Partition<N extends EvictionNode<N>> {
  /** Null for the one that all sites without a quota share. */
  readonly site: string | null;
  readonly policy: Gdsf<N>;
  /** The limit in force, and the one that was asked for: a lower one is come to in steps (`shrink`). */
  bytesMax = Number.POSITIVE_INFINITY;
  bytesWanted = Number.POSITIVE_INFINITY;
  bytesReserved = 0;
  /** What it holds; also what stands aside for a moment. */
  bytes = 0;
  count = 0;
  evictions = 0;
  /** Its place in the heap, and what it stands there by. */
  at = 0;
  standing: Standing = NOTHING;
  worth = Number.POSITIVE_INFINITY;

  constructor(site: string | null, policy: Gdsf<N>) {
    this.site = site;
    this.policy = policy;
  }
}

/** The partitions of a store. A node is in one of them, which its owner remembers. */
export class Partitions<N extends EvictionNode<N>> {
  readonly bytesMax: number;
  readonly #gdsf: GdsfShared;
  readonly #common: Partition<N>;
  readonly #bySite = new Map<string, Partition<N>>();
  /** The partition that has to give next first (a binary heap). */
  readonly #heap: Partition<N>[];
  #quotas: ReadonlyMap<string, MemoryQuota> = new Map();
  /** Below 1 when the reserves together are more than the store: each is that much smaller. */
  #reserveShare = 1;
  #bytes = 0;

  /** For a store of `bytesMax` bytes. */
  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    this.#gdsf = new GdsfShared(bytesMax);
    this.#common = new Partition<N>(null, new Gdsf<N>(bytesMax, {}, this.#gdsf));
    this.#heap = [this.#common];
  }

  /** Bytes of all nodes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Where the nodes of a site belong. */
  of(site: string): Partition<N> {
    if (this.#bySite.size === 0 && this.#quotas.size === 0) return this.#common;
    const known = this.#bySite.get(site);
    if (known !== undefined) return known;
    return this.#quotas.has(site) ? this.#make(site) : this.#common;
  }

  /** What the sites with a quota take and may take. */
  *sites(): Generator<readonly [site: string, use: PartitionUse]> {
    for (const [site, { bytesMax, bytesReserved }] of this.#quotas) {
      const { count = 0, bytes = 0, evictions = 0 } = this.#bySite.get(site) ?? {};
      const reserved = Math.floor(bytesReserved * this.#reserveShare);
      yield [site, { entries: count, bytes, bytesMax, bytesReserved: reserved, evictions }];
    }
  }

  /** Most bytes that a node of this site may have. */
  bytesMaxOf(site: string): number {
    return Math.min(this.bytesMax, this.#quotas.get(site)?.bytesMax ?? Number.POSITIVE_INFINITY);
  }

  /** Takes a node in. */
  insert(to: Partition<N>, node: N): void {
    to.policy.insert(node);
    this.#add(to, 1, node.bytes);
    this.#moved(to);
  }

  /** A node of any partition was used. */
  hit(node: N): void {
    countHit(node);
  }

  /** Takes a node out. */
  remove(from: Partition<N>, node: N): void {
    from.policy.remove(node);
    this.#add(from, -1, -node.bytes);
    this.#moved(from);
  }

  /** A node counts for another number of bytes from now on. */
  resize(of: Partition<N>, node: N, bytes: number): void {
    this.#add(of, 0, bytes - node.bytes);
    of.policy.resize(node, bytes);
    this.#moved(of);
  }

  /** Moves a node to another partition, where it is as often used as here and as old as what comes now. */
  move(from: Partition<N>, to: Partition<N>, node: N): void {
    from.policy.setAside(node);
    to.policy.putBack(node);
    this.#add(from, -1, -node.bytes);
    this.#add(to, 1, node.bytes);
    this.#moved(from);
    this.#moved(to);
  }

  /**
   * Takes nodes out until every limit holds, and gives them to `drop`. `keep`, which was just put into
   * `from` or grew there, goes last: false says that it had to.
   */
  evict(from: Partition<N>, keep: N, drop: (node: N) => void): boolean {
    if (this.#bytes <= this.bytesMax && from.bytes <= from.bytesMax) return true;
    from.policy.setAside(keep);
    this.#moved(from);
    for (;;) {
      const giver = this.#giver(from);
      if (giver === null) break;
      if (this.#take(giver, drop)) continue;
      // Only `keep` is left of what may go.
      keep.mark = 0;
      from.evictions++;
      this.#add(from, -1, -keep.bytes);
      this.#moved(from);
      return false;
    }
    from.policy.putBack(keep);
    this.#moved(from);
    return true;
  }

  /** Puts quotas in force, in place of those before. What a lower limit takes is left to `shrink`; true when nodes have to be moved. */
  setQuotas(quotas: ReadonlyMap<string, MemoryQuota>): boolean {
    const before = this.#quotas;
    this.#quotas = quotas;
    let reserved = 0;
    for (const { bytesReserved } of quotas.values()) reserved += bytesReserved;
    this.#reserveShare = reserved > this.bytesMax ? this.bytesMax / reserved : 1;
    for (const partition of [...this.#bySite.values()]) {
      this.#setQuota(partition);
      this.#moved(partition);
    }
    if (this.#common.count === 0) return false;
    for (const site of quotas.keys()) if (!before.has(site)) return true;
    return false;
  }

  /** Takes up to `nodesMax` nodes out of a partition that has more than its limit; false when there is none. */
  shrink(nodesMax: number, drop: (node: N) => void): boolean {
    for (const partition of this.#bySite.values()) {
      if (partition.bytesMax === partition.bytesWanted) continue;
      for (let taken = 0; taken < nodesMax && partition.bytes > partition.bytesWanted; taken++) {
        partition.bytesMax = partition.bytesWanted;
        this.#take(partition, drop);
      }
      partition.bytesMax = Math.max(partition.bytes, partition.bytesWanted);
      return true;
    }
    return false;
  }

  /** Takes nodes out of a partition until its own limit holds. */
  trim(partition: Partition<N>, drop: (node: N) => void): void {
    while (partition.bytes > partition.bytesMax && this.#take(partition, drop));
  }

  /** Who has to give a node; null when every limit holds. */
  #giver(from: Partition<N>): Partition<N> | null {
    if (from.bytes > from.bytesMax) return from;
    if (this.#bytes <= this.bytesMax) return null;
    const first = this.#heap[0] as Partition<N>;
    if (first.standing === FREE) return first;
    // What is left to take would cut into a reserve. Who came in gives it back, if that is above its own;
    // otherwise somebody is, for the reserves together are not more than the store.
    return first.standing === NOTHING || from.bytes > from.bytesReserved ? from : first;
  }

  /** Takes the least node of a partition out, or lets its hits take effect; false when it has none. */
  #take(giver: Partition<N>, drop: (node: N) => void): boolean {
    const { policy } = giver;
    const node = policy.least;
    if (node === null) return false;
    if (!policy.promote(node)) {
      policy.evict(node, giver.bytes > giver.bytesMax ? "part" : "store");
      giver.evictions++;
      this.#add(giver, -1, -node.bytes);
      drop(node);
    }
    this.#moved(giver);
    return true;
  }

  #make(site: string): Partition<N> {
    const partition = new Partition<N>(site, new Gdsf<N>(this.bytesMax, {}, this.#gdsf));
    this.#setQuota(partition);
    this.#bySite.set(site, partition);
    partition.at = this.#heap.length;
    this.#heap.push(partition);
    this.#moved(partition);
    this.#moved(this.#common);
    return partition;
  }

  #setQuota(partition: Partition<N>): void {
    const quota = this.#quotas.get(partition.site ?? "");
    partition.bytesReserved = (quota?.bytesReserved ?? 0) * this.#reserveShare;
    if (partition.bytesReserved === 0) partition.policy.rest(false);
    partition.bytesWanted = quota?.bytesMax ?? Number.POSITIVE_INFINITY;
    partition.bytesMax = Math.max(partition.bytesWanted, partition.bytes);
  }

  #add(partition: Partition<N>, count: number, bytes: number): void {
    partition.count += count;
    partition.bytes += bytes;
    this.#bytes += bytes;
  }

  /** Finds a partition its place anew after anything about it changed. One without a quota ends with its last node. */
  #moved(partition: Partition<N>): void {
    const { site } = partition;
    if (partition.count === 0 && site !== null && !this.#quotas.has(site)) {
      this.#end(partition, site);
      return;
    }
    const least = partition.policy.least;
    const above = partition.bytes - partition.bytesReserved;
    partition.worth = least === null ? Number.POSITIVE_INFINITY : partition.policy.worth(least);
    partition.standing = least === null || above <= 0 ? NOTHING : above >= least.bytes ? FREE : TIGHT;
    // The others' haste is not its own: what they evict makes nothing here older that they can not have.
    if (partition.bytesReserved > 0) partition.policy.rest(partition.standing !== FREE);
    this.#sift(partition);
  }

  #end(partition: Partition<N>, site: string): void {
    this.#bySite.delete(site);
    const last = this.#heap.pop() as Partition<N>;
    if (last === partition) return;
    this.#place(last, partition.at);
    this.#sift(last);
  }

  #sift(partition: Partition<N>): void {
    const heap = this.#heap;
    let { at } = partition;
    for (let parent = (at - 1) >> 1; at > 0 && isBefore(partition, heap[parent]); parent = (at - 1) >> 1) {
      this.#place(heap[parent] as Partition<N>, at);
      at = parent;
    }
    for (;;) {
      const left = 2 * at + 1;
      const right = heap[left + 1];
      const child = right !== undefined && isBefore(right, heap[left]) ? left + 1 : left;
      const other = heap[child];
      if (other === undefined || !isBefore(other, partition)) break;
      this.#place(other, at);
      at = child;
    }
    this.#place(partition, at);
  }

  #place(partition: Partition<N>, at: number): void {
    this.#heap[at] = partition;
    partition.at = at;
  }
}

interface Place {
  readonly standing: Standing;
  readonly worth: number;
}

function isBefore(a: Place, b: Place | undefined): boolean {
  if (b === undefined) return true;
  return a.standing === b.standing ? a.worth < b.worth : a.standing < b.standing;
}
