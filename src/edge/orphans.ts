/**
 * Which stored responses no request would find any more if a site had another config: their key would not be
 * made by it. Every object is looked at. Where a behaviour rewrites paths the viewer's path is not known, and
 * the origin's stands for it; all that is below the base key (headers, cookies, device, language) counts as
 * lost when its ingredients change.
 */
import { keyQuery } from "../cache/key.ts";
import type { DiskTier } from "../cache/store/disk-tier.ts";
import type { MemoryStore } from "../cache/store/memory.ts";
import { HostIndex } from "../config/pattern.ts";
import type { BehaviorPlan, SitePlan } from "../config/plan.ts";
import { behaviorFor, originPath } from "./phases/route.ts";

/** What becomes of the objects of one behaviour; `path` is its pattern as it is now. */
export interface OrphanCount {
  readonly path: string;
  readonly stored: number;
  readonly orphaned: number;
}

/** Counts by the behaviours of a site as it is now. */
export class OrphanCounter {
  readonly #before: SitePlan;
  readonly #after: SitePlan;
  readonly #hosts = new HostIndex<true>();
  readonly #prefix: string;
  readonly #counts = new Map<string, { stored: number; orphaned: number }>();

  constructor(before: SitePlan, after: SitePlan) {
    this.#before = before;
    this.#after = after;
    this.#prefix = `${before.id} `;
    for (const host of after.config.hosts) this.#hosts.add(host, true);
  }

  /** Looks at a stored response by its base key. */
  look(key: string): void {
    if (!key.startsWith(this.#prefix)) return;
    const match = /^https?:\/\/(\[[^\]]*\]|[^/:]*)(?::\d+)?(\/[^?]*)(?:\?([\s\S]*))?$/.exec(
      key.slice(this.#prefix.length),
    );
    if (match === null) return;
    const [, host = "", path = "/", query = null] = match;
    const behavior = behaviorFor(this.#before, path);
    const name = behavior?.pattern.source ?? "";
    const count = this.#counts.get(name) ?? { stored: 0, orphaned: 0 };
    this.#counts.set(name, count);
    count.stored++;
    if (!this.#isFound(behavior, host, path, query)) count.orphaned++;
  }

  counts(): OrphanCount[] {
    return [...this.#counts].map(([path, count]) => ({ path, ...count }));
  }

  #isFound(before: BehaviorPlan | null, host: string, path: string, query: string | null): boolean {
    const after = behaviorFor(this.#after, path);
    if (after === null || !after.cache || this.#hosts.find(host) === null) return false;
    if (before !== null && belowBase(before) !== belowBase(after)) return false;
    const rewrites = (behavior: BehaviorPlan | null): boolean => (behavior?.rewrites.length ?? 0) > 0;
    if (!rewrites(before) && !rewrites(after) && originPath(this.#after, after, path) !== path) return false;
    return keyQuery(after.key, query) === query;
  }
}

/** Longest time that looking at what is stored may hold the event loop in one go, in milliseconds. */
const SLICE_MS_MAX = 2;

/** What is stored in one process. */
export interface StoredThere {
  readonly store: MemoryStore;
  readonly disk: DiskTier | null;
  /** Is this process the one that counts a key? Others have copies. */
  owns(key: string): boolean;
}

/** Looks at everything that is stored for a site, some at a time. */
export async function countOrphans(
  { store, disk, owns }: StoredThere,
  before: SitePlan,
  after: SitePlan,
): Promise<OrphanCount[]> {
  const counter = new OrphanCounter(before, after);
  let sliceStart = performance.now();
  for (const { key } of store.entries()) {
    if (owns(key)) counter.look(key);
    if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
    await new Promise<void>((resume) => setImmediate(resume));
    sliceStart = performance.now();
  }
  await disk?.walk((key, isInMemory) => {
    if (!isInMemory) counter.look(key);
  });
  return counter.counts();
}

/** What the key has below its base, as one text. */
function belowBase({ key }: BehaviorPlan): string {
  return JSON.stringify([key.headers, key.cookies, key.device, key.languages]);
}

/** Counts of several processes or nodes as one. */
export function sumOrphans(all: readonly (readonly OrphanCount[])[]): OrphanCount[] {
  const sums = new Map<string, OrphanCount>();
  for (const { path, stored, orphaned } of all.flat()) {
    const known = sums.get(path);
    sums.set(path, {
      path,
      stored: stored + (known?.stored ?? 0),
      orphaned: orphaned + (known?.orphaned ?? 0),
    });
  }
  return [...sums.values()];
}
