/**
 * Purges at the edge: what is stored is held against the purge table when it is used, and by the sweep
 * that follows each purge. What was asked for before a purge and comes back after it is stored with the
 * older sequence, so the purge wins against it as well.
 */
import { PurgeSweep } from "../cache/purge-sweep.ts";
import { type Purge, PurgeTable } from "../cache/purge-table.ts";
import type { MemoryStore } from "../cache/store/memory.ts";
import type { StoredResponse } from "../cache/stored.ts";
import type { FieldReader } from "../http/fields.ts";
import type { Flights } from "./flights.ts";

/** Where the purges stood when something was asked for. */
export interface AskedAt {
  /** Newest entry of the purge log that was applied. */
  readonly sequence: number;
  /** Newest invalidation of this node. */
  readonly local: number;
}

/** The purges that an edge has applied. */
export class EdgePurges {
  readonly #store: MemoryStore;
  readonly #flights: Flights;
  readonly #table = new PurgeTable();
  /** Invalidations by unsafe requests: of this node alone, with a sequence of their own (design, section 5). */
  readonly #local = new PurgeTable();
  /** The newest of them; those by key alone are not in the table, or every hit after one would be held against it. */
  #invalidations = 0;
  readonly #sweep: PurgeSweep;
  readonly #counted = new Map<number, (objects: number) => void>();

  constructor(store: MemoryStore, flights: Flights) {
    this.#store = store;
    this.#flights = flights;
    this.#sweep = new PurgeSweep({
      walk: () => store.entries(),
      visit: (object) => {
        this.holds(object as StoredResponse);
      },
      done: (purge, objects) => {
        this.#counted.get(purge.sequence)?.(objects);
        this.#counted.delete(purge.sequence);
        // A mark is needed until everything older was swept and every older request has come back.
        this.#table.forget(
          Math.min(this.#sweep.sweptBefore - 1, flights.oldestSequence(this.#table.sequence)),
        );
      },
    });
  }

  /** The newest purge that was applied: what a request to the next hop takes along. */
  get sequence(): number {
    return this.#table.sequence;
  }

  /** Where the purges stand now. */
  now(): AskedAt {
    return { sequence: this.#table.sequence, local: this.#invalidations };
  }

  /**
   * Makes everything under these base keys (in both schemes, also what is on its way) and everything of
   * the site with one of these tags invalid, at once. `sequence` is its place among the node's
   * invalidations. Returns how many stored responses went with the keys.
   */
  invalidate(
    what: { readonly keys: readonly string[]; readonly site: string; readonly tags: readonly string[] },
    sequence = this.#invalidations + 1,
  ): number {
    let count = 0;
    for (const key of what.keys) {
      const other = key.includes(" https://")
        ? key.replace(" https://", " http://")
        : key.replace(" http://", " https://");
      for (const one of [key, other]) {
        this.#flights.invalidate(one);
        count += this.#store.removeUrl(one);
      }
    }
    this.#invalidations = sequence;
    if (what.tags.length > 0)
      this.#local.apply({
        sequence,
        site: what.site,
        scope: "tag",
        targets: what.tags,
        mode: "hard",
        acceptedMs: 0,
      });
    return count;
  }

  /** Marks that stored responses are still held against. */
  get marks(): number {
    return this.#table.size + this.#local.size;
  }

  /** Applies the next entry of the log, at once; resolves with the number of objects when the sweep has passed. */
  apply(purge: Purge): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#table.apply(purge);
    this.#counted.set(purge.sequence, resolve);
    this.#sweep.add(purge);
    return promise;
  }

  /** The log stands at this sequence although nothing of it is known here: after a start with an empty cache. */
  startAt(sequence: number, local = 0): void {
    this.#table.advanceTo(sequence);
    this.#invalidations = Math.max(this.#invalidations, local);
  }

  /** The stored variant that fits a request, if no purge has taken it. */
  find(base: string, secondary: string, fields: FieldReader): StoredResponse | null {
    for (;;) {
      const entry = this.#store.get(base)?.find(secondary, fields) ?? null;
      if (entry === null) return null;
      const checked = entry.validSequence >= this.#table.sequence && entry.validLocal >= this.#local.sequence;
      if (checked || this.holds(entry)) return entry;
    }
  }

  /** Holds one stored response against the purges: false when it is gone. A soft purge makes it stale. */
  holds(entry: StoredResponse): boolean {
    const { key, tags, validLocal: validSequence } = entry;
    if (this.#local.validityOf({ key, tags, validSequence }).kind !== "valid") {
      this.#store.remove(entry);
      return false;
    }
    entry.validLocal = this.#local.sequence;
    const validity = this.#table.validityOf(entry);
    switch (validity.kind) {
      case "valid":
        break;
      case "gone":
        this.#sweep.count(entry);
        this.#store.remove(entry);
        return false;
      case "stale":
        this.#sweep.count(entry);
        entry.expire(validity.sinceMs);
        break;
    }
    entry.validSequence = this.#table.sequence;
    return true;
  }

  /** May a response that was asked for then still be given to somebody who asks now? */
  covers(key: string, tags: readonly string[], asked: AskedAt): boolean {
    return (
      this.#table.validityOf({ key, tags, validSequence: asked.sequence }).kind === "valid" &&
      this.#local.validityOf({ key, tags, validSequence: asked.local }).kind === "valid"
    );
  }

  /** Resolves when every purge so far has been counted. */
  settled(): Promise<void> {
    return this.#sweep.settled();
  }

  /** Requests that are under way, for the metrics. */
  get flights(): number {
    return this.#flights.size;
  }
}
