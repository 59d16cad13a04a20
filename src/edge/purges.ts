/**
 * Purges at the edge: what is stored is held against the purge table when it is used, and by the sweep
 * that follows each purge. What was asked for before a purge and comes back after it is stored with the
 * older sequence, so the purge wins against it as well. Every row of the disk is swept before a mark is
 * forgotten, and each shard notes how far it was swept: one that missed something is known by that.
 */
import type { Clock } from "../base/clock.ts";
import { FLEET_CATCH_UP_MS_MAX, LOCAL_SWEEP_MS, SWEEP_AGAIN_MS } from "../cache/limits.ts";
import { PurgeSweep } from "../cache/purge-sweep.ts";
import {
  PURGE_MARKS_MAX,
  PURGE_PATTERNS_MAX,
  type Purge,
  type PurgeableObject,
  PurgeTable,
  type Validity,
} from "../cache/purge-table.ts";
import type { DiskTier, JudgedRow } from "../cache/store/disk-tier.ts";
import type { MemoryStore, Walked } from "../cache/store/memory.ts";
import { PackedView } from "../cache/store/packed.ts";
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

/** What of a site an unsafe request made invalid, at its place among the node's invalidations. */
export interface NotedInvalidation {
  readonly sequence: number;
  readonly site: string;
  readonly tags: readonly string[];
  /** Host, path and query of keys that their owner has not removed itself: it was not there. */
  readonly urls: readonly string[];
}

/** What the purges of an edge act on. */
export interface PurgesOptions {
  readonly store: MemoryStore;
  /** Null where there is no disk tier. */
  readonly disk: DiskTier | null;
  readonly flights: Flights;
  readonly clock: Clock;
  /** False for a copy of what another worker of this node owns: the object is counted there. */
  readonly owns?: (key: string) => boolean;
  /** Notes an invalidation before it is applied, for those who start after it; the disk needs it. */
  readonly remember?: (invalidation: NotedInvalidation) => void;
}

/** The purges that an edge has applied. */
export class EdgePurges {
  readonly #options: PurgesOptions;
  readonly #table = new PurgeTable();
  /** Invalidations by unsafe requests: of this node alone, with a sequence of their own (design, section 5). */
  readonly #local = new PurgeTable();
  /** The newest of them; those by key alone are not in the table, or every hit after one would be held against it. */
  #invalidations = 0;
  readonly #sweep: PurgeSweep;
  /** Purges whose objects are being counted, or whose count nobody has asked for yet. */
  readonly #counts = new Map<number, PromiseWithResolvers<number>>();
  /** Up to where marks were forgotten: a shard that was away for longer can not be checked any more. */
  #forgotten: AskedAt = { sequence: 0, local: 0 };
  #localSweepDue = false;
  /** The disk could not be swept whole: nothing is forgotten until it can. */
  #sweptWhole = true;
  #begun = false;
  #closed = false;
  /** Place in the fleet's log up to which everything is applied, also what is no purge. */
  #standing = 0;
  /** The place at which somebody waited in vain for a newer one: nobody does so again before something comes. */
  #stuckAt = -1;
  readonly #waiting = new Set<() => void>();

  constructor(options: PurgesOptions) {
    this.#options = options;
    const { store, disk } = options;
    this.#sweep = new PurgeSweep({
      walk: () => store.entries(),
      visit: (object) => this.#visit(object as Walked),
      ...(disk === null ? {} : { rest: () => this.#sweepDisk(disk) }),
      done: (purge, objects) => {
        this.#counts.get(purge.sequence)?.resolve(objects);
      },
      ended: () => {
        if (this.#sweptWhole) this.#forget(this.#sweep.sweptBefore - 1);
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

  /** Up to where the fleet's log is applied: its entries that are no purges count too. */
  get applied(): number {
    return Math.max(this.#table.sequence, this.#standing);
  }

  /** Everything of the fleet's log up to here is applied. */
  standAt(sequence: number): void {
    this.#standing = Math.max(this.#standing, sequence);
    this.#wake();
  }

  /**
   * Resolves true when the fleet's log is applied up to `sequence`, false when that takes longer than
   * FLEET_CATCH_UP_MS_MAX, or when it took somebody that long and nothing has come since.
   */
  async caughtUp(sequence: number): Promise<boolean> {
    if (this.applied >= sequence) return true;
    if (this.#stuckAt === this.applied || this.#closed) return false;
    let late = false;
    const moved = Promise.withResolvers<void>();
    const look = (): void => {
      if (this.applied >= sequence || late || this.#closed) moved.resolve();
    };
    this.#waiting.add(look);
    const cancel = this.#options.clock.steady.after(FLEET_CATCH_UP_MS_MAX, () => {
      late = true;
      this.#stuckAt = this.applied;
      look();
    });
    await moved.promise;
    cancel();
    this.#waiting.delete(look);
    return this.applied >= sequence;
  }

  #wake(): void {
    for (const look of this.#waiting) look();
  }

  /** True once it is known what was missed before the start. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Marks up to here are gone: what was last held against the purges before can not be trusted. */
  get forgotten(): AskedAt {
    return this.#forgotten;
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
    const { store, disk, flights } = this.#options;
    let count = 0;
    for (const key of what.keys) {
      const other = key.includes(" https://")
        ? key.replace(" https://", " http://")
        : key.replace(" http://", " https://");
      for (const one of [key, other]) {
        flights.invalidate(one);
        const inMemory = [...(store.get(one)?.variants() ?? [])].filter(
          (entry) => entry.disk === null,
        ).length;
        const onDisk = disk?.forgetUrl(one) ?? 0;
        store.removeUrl(one);
        count += inMemory + onDisk;
      }
    }
    this.#invalidations = sequence;
    if (what.tags.length > 0) {
      const { site, tags } = what;
      const noted = { sequence, site, tags, urls: [] };
      this.#options.remember?.(noted);
      this.applyNoted(noted);
    }
    return count;
  }

  /** Applies an invalidation that is held against what is found: a new one by tag, or any from before the start. */
  applyNoted({ sequence, site, tags, urls }: NotedInvalidation): void {
    this.#invalidations = Math.max(this.#invalidations, sequence);
    const all = { sequence, site, mode: "hard", acceptedMs: 0 } as const;
    this.#local.apply({ ...all, scope: "tag", targets: tags }, { ...all, scope: "url", targets: urls });
    this.#sweepLocalSoon();
  }

  /**
   * Marks of the purge log that are in force, and patterns of a site among them. Where they are many, those
   * that wait for nothing but a slow fill from before them give way: that fill is not kept.
   */
  inForce(site: string): { readonly marks: number; readonly patterns: number } {
    if (this.#sweptWhole) {
      const swept = this.#sweep.sweptBefore - 1;
      this.#forget(swept);
      const many =
        this.#table.patternsOf(site) > PURGE_PATTERNS_MAX / 2 || this.#table.size > PURGE_MARKS_MAX / 2;
      if (many) this.#table.foldUpTo(swept);
    }
    return { marks: this.#table.size, patterns: this.#table.patternsOf(site) };
  }

  /** Marks that stored responses are still held against. */
  get marks(): number {
    return this.#table.size + this.#local.size;
  }

  /** Applies the next entry of the log, at once; an entry that was applied before changes nothing. `countedOf` tells what it hit. */
  apply(purge: Purge): void {
    if (purge.sequence <= this.#table.sequence) return;
    this.#table.apply(purge);
    this.#wake();
    this.#counts.set(purge.sequence, Promise.withResolvers<number>());
    this.#sweep.add(purge);
  }

  /** Objects that a purge hit, once the sweep has passed; to be asked once. 0 for one that was not applied here. */
  async countedOf(sequence: number): Promise<number> {
    const count = (await this.#counts.get(sequence)?.promise) ?? 0;
    this.#counts.delete(sequence);
    return count;
  }

  /**
   * The start: what is stored was held against everything up to `floor`; what came after is applied to it
   * now, and both logs stand at `now`.
   */
  begin(
    floor: AskedAt,
    missed: { readonly purges: readonly Purge[]; readonly invalidations: readonly NotedInvalidation[] },
    now: AskedAt,
  ): void {
    this.#advanceTo(floor);
    for (const invalidation of missed.invalidations) this.applyNoted(invalidation);
    for (const purge of missed.purges) this.apply(purge);
    this.#advanceTo(now);
    this.#forgotten = missed.purges.length + missed.invalidations.length > 0 ? floor : this.now();
    this.#begun = true;
    if (missed.purges.length === 0) this.#markDisk();
  }

  #advanceTo({ sequence, local }: AskedAt): void {
    this.#table.advanceTo(sequence);
    this.#local.advanceTo(local);
    this.#invalidations = Math.max(this.#invalidations, local);
  }

  /** Notes on the disk how far it was held against the purges. */
  #markDisk(): void {
    this.#options.disk?.setMark(this.#forgotten);
  }

  /** The stored variant that fits a request, if no purge has taken it. */
  find(base: string, secondary: string, fields: FieldReader): StoredResponse | null {
    for (;;) {
      const entry = this.#options.store.get(base)?.find(secondary, fields) ?? null;
      if (entry === null) return null;
      const checked = entry.validSequence >= this.#table.sequence && entry.validLocal >= this.#local.sequence;
      if (checked || this.holds(entry)) return entry;
    }
  }

  /** Holds one stored response against the purges: false when it is gone. A soft purge makes it stale. */
  holds(entry: StoredResponse): boolean {
    const { store, disk } = this.#options;
    if (!this.#holdsLocally(entry)) {
      store.remove(entry);
      return false;
    }
    entry.validLocal = Math.max(entry.validLocal, this.#local.sequence);
    const validity = this.#table.validityOf(entry);
    switch (validity.kind) {
      case "valid":
        entry.validSequence = Math.max(entry.validSequence, this.#table.sequence);
        return true;
      case "gone":
        this.#count(entry);
        store.remove(entry);
        return false;
      case "stale":
        this.#count(entry);
        entry.expire(validity.sinceMs);
        entry.validSequence = this.#table.sequence;
        // Now, so that the disk's own row is not met, and counted, as one more object.
        disk?.renew(entry);
        return true;
    }
  }

  /** Holds what the sweep meets against the purges; what is packed stays so unless one has taken it. */
  #visit(met: Walked): void {
    const { store } = this.#options;
    if (!(met instanceof PackedView)) {
      this.holds(met);
      return;
    }
    if (this.#holdsLocally(met) && this.#table.validityOf(met).kind === "valid") {
      const { validSequence, validLocal } = met;
      store.confirm(
        met,
        Math.max(validSequence, this.#table.sequence),
        Math.max(validLocal, this.#local.sequence),
      );
      return;
    }
    const entry = store.wake(met);
    if (entry !== null) this.holds(entry);
  }

  #count(object: PurgeableObject): void {
    if (this.#options.owns?.(object.key) ?? true) this.#sweep.count(object);
  }

  #holdsLocally({ key, tags, validLocal }: Pick<StoredResponse, "key" | "tags" | "validLocal">): boolean {
    return this.#local.validityOf({ key, tags, validSequence: validLocal }).kind === "valid";
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
    return this.#options.flights.size;
  }

  /** Nothing is swept any more. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  async #sweepDisk(disk: DiskTier): Promise<void> {
    this.#sweptWhole = await disk.sweep(
      (row) => this.#judge(row),
      () => this.#table.sequence,
    );
    if (this.#sweptWhole || this.#closed) return;
    // What the disk did not take now it takes later; until then every mark stays.
    this.#options.clock.after(SWEEP_AGAIN_MS, () => {
      if (!this.#closed) void this.#sweepAgain(disk);
    });
  }

  async #sweepAgain(disk: DiskTier): Promise<void> {
    const { sequence } = this.#table;
    await this.#sweepDisk(disk);
    if (this.#sweptWhole) this.#forget(Math.min(sequence, this.#sweep.sweptBefore - 1));
  }

  #judge(row: JudgedRow): Validity {
    if (this.#local.size > 0 && !this.#holdsLocally(row)) return { kind: "gone" };
    const validity = this.#table.validityOf(row);
    if (validity.kind !== "valid") this.#count(row);
    return validity;
  }

  /** A mark is needed until everything older was swept and every older request has come back. */
  #forget(swept: number): void {
    const { disk, flights } = this.#options;
    const oldest = flights.oldestSequence(this.#table.sequence);
    const sequence = Math.min(swept, disk?.oldestSequence(oldest) ?? oldest);
    if (sequence <= this.#forgotten.sequence) return;
    this.#table.forget(sequence);
    this.#forgotten = { ...this.#forgotten, sequence };
    this.#markDisk();
  }

  /** Invalidations by tag are swept too, but seldom: they come with requests, not from an operator. */
  #sweepLocalSoon(): void {
    if (this.#localSweepDue) return;
    this.#localSweepDue = true;
    this.#options.clock.after(LOCAL_SWEEP_MS, () => void this.#sweepLocal());
  }

  async #sweepLocal(): Promise<void> {
    if (this.#closed) return;
    const { store, disk, flights } = this.#options;
    const upTo = this.#local.sequence;
    this.#localSweepDue = false;
    let looked = 0;
    for (const met of store.entries()) {
      const entry = this.#holdsLocally(met) ? null : store.wake(met);
      if (entry !== null) store.remove(entry);
      if (++looked % 1024 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const whole =
      disk === null ||
      (await disk.sweep(
        (row) => this.#judge(row),
        () => this.#table.sequence,
      ));
    const oldest = flights.oldestLocal(upTo);
    const local = Math.min(upTo, disk?.oldestLocal(oldest) ?? oldest);
    if (whole && local > this.#forgotten.local) {
      this.#local.forget(local);
      this.#forgotten = { ...this.#forgotten, local };
      this.#markDisk();
    }
    if (this.#local.size > 0) this.#sweepLocalSoon();
  }
}
