/**
 * One shard of the disk: index, segments and large files of the keys that belong to it. It is open or
 * off; off, it answers misses and takes nothing, and is opened again when the disk allows. No operation
 * throws for what the disk does: `#guard` turns errors into a state and an answer.
 */
import { join } from "node:path";
import { messageOf } from "../../../base/errors.ts";
import { keyHash } from "./checksum.ts";
import { errorCode } from "./files.ts";
import { Hits } from "./hits.ts";
import { IndexLog } from "./index-log.ts";
import type { IndexRow } from "./index-row.ts";
import type { LargeFile } from "./large-file.ts";
import { LargeObjects } from "./large-objects.ts";
import { OwedRemovals } from "./owed.ts";
import { SegmentWriter } from "./segment-writer.ts";
import type { OpenShard, ShardContext } from "./shard-context.ts";
import { isCorrupt, sqliteMessage } from "./shard-index.ts";
import { shardName } from "./shard-key.ts";
import { emptyShard, openShardParts } from "./shard-parts.ts";
import { SmallObjects } from "./small-objects.ts";
import { Storing } from "./storing.ts";
import type { DiskVariant } from "./variant.ts";

const TOO_MUCH_OWED = "more removals were owed to it than are remembered";

/** One shard. */
export class Shard {
  readonly number: number;
  readonly #context: ShardContext;
  #open: OpenShard | null = null;
  #closed = false;
  readonly storing: Storing;
  readonly hits: Hits;
  readonly #owed: OwedRemovals;
  #objects: number | null = null;

  constructor(number: number, context: ShardContext) {
    this.number = number;
    this.#context = context;
    this.storing = new Storing(this, context);
    this.hits = new Hits((hits) =>
      this.guard(undefined, ({ index }) => {
        index.transaction(() => index.writeHits(hits));
        this.committed();
      }),
    );
    this.#owed = new OwedRemovals(join(context.path, this.name), (error) =>
      context.problems.report(
        "io",
        this.name,
        `${this.#where} did not take a removal and can not note it (${messageOf(error)}): what was removed may come back if the process ends now`,
      ),
    );
  }

  /** Opens it. Throws ProximaErrors of openShardParts, or the system's own error. */
  open(): void {
    const parts = openShardParts(this.number, {
      ...this.#context,
      onSetAside: (why) => this.#unusable(why),
      onUnsettled: () => {
        this.#context.problems.report(
          "unsettled",
          this.name,
          `${this.#where} starts empty: it had not taken all removals when the process ended`,
        );
      },
      onEmpty: () => this.#owed.forget(),
      knowsOwed: () => this.#owed.noted,
    });
    const { index, segments } = parts;
    // One that comes back empty has missed nothing; without a mark what it takes now would be lost at the next start.
    const mark = this.#context.lastMark();
    if (mark !== null && index.mark() === null) index.setMark(mark);
    this.#context.idsBeyond(parts.lastId);
    const {
      files,
      descriptors,
      clock,
      segmentBytes,
      nextId,
      reserve,
      release,
      budget,
      indexSizes,
      problems,
    } = this.#context;
    const objects = new LargeObjects({
      files,
      descriptors,
      clock,
      large: parts.large,
      reserve,
      release,
      mayLinger: (bytes) => budget.mayLinger(bytes),
      guard: (work) => this.guard(false, (open) => work(open.index)),
      remove: (variant) => void this.remove(variant),
      reportDamage: () => this.#reportDamage("parts of large objects"),
      failed: (error) => this.fault(error),
      committed: () => this.committed(),
    });
    const writer = new SegmentWriter({
      files,
      segments,
      index,
      segmentBytes,
      nextId,
      committed: () => this.committed(),
      failed: (error) => this.fault(error),
    });
    const small = new SmallObjects({
      files,
      descriptors,
      segments,
      failed: (error) =>
        problems.report("io", this.name, `${this.#where} could not be read: ${messageOf(error)}`),
    });
    const log: IndexLog = new IndexLog({
      index,
      files,
      budget,
      indexSizes,
      guard: (work) =>
        this.guard(undefined, (open) => {
          if (open.log === log) work(open.index);
        }),
    });
    this.#objects = null;
    this.#open = { ...parts, writer, objects, small, log };
    log.committed();
  }

  /** What is open, or null while the shard is off. */
  get parts(): OpenShard | null {
    return this.#open;
  }

  get name(): string {
    return shardName(this.number);
  }

  get closed(): boolean {
    return this.#closed;
  }

  get #where(): string {
    return `${this.name} of the disk cache ${this.#context.path}`;
  }

  /** Its mark; null when it has none or is off. */
  get mark(): string | null {
    return this.guard(null, ({ index }) => index.mark());
  }

  /** Writes its mark; false when the disk did not take it. True while it is off: then it keeps the old one. */
  setMark(mark: string): boolean {
    if (this.#open === null) return true;
    return this.guard(false, ({ index }) => {
      if (index.mark() === mark) return true;
      index.setMark(mark);
      this.committed();
      return true;
    });
  }

  // Lookup and removal.

  find(key: string): DiskVariant[] {
    if (this.#owed.has(key)) return [];
    return this.guard([], ({ index }) => {
      const { variants, damaged } = index.find(keyHash(key, this.#context.seed()), key);
      if (damaged > 0) this.#reportDamage("rows of its index");
      return variants;
    });
  }

  /** Looks for a handle's row again; null when it is gone. */
  current(variant: DiskVariant): DiskVariant | null {
    return this.guard(null, ({ index }) => index.current(variant));
  }

  updateMeta(
    variant: DiskVariant,
    meta: Uint8Array,
    sequence: number,
    tags: readonly string[],
  ): DiskVariant | null {
    return this.guard(null, ({ index }) => {
      const row = index.current(variant);
      if (row === null) return null;
      const updated = { ...row, meta, sequence, tags };
      index.update(updated, null);
      this.committed();
      return updated;
    });
  }

  remove(variant: DiskVariant): boolean {
    return this.#removing(variant.key, false, ({ index }) => {
      const removed = index.remove(variant.place.hash, variant.born, variant.large);
      this.dropped(variant, removed);
      this.committed();
      return removed;
    });
  }

  /** Removes all variants of a URL, and those on their way. */
  removeUrl(key: string): number {
    this.storing.cancel(key);
    return this.#removing(key, 0, ({ index }) => {
      const { variants } = index.find(keyHash(key, this.#context.seed()), key);
      if (variants.length === 0) return 0;
      index.transaction(() => {
        for (const variant of variants) index.remove(variant.place.hash, variant.born, variant.large);
      });
      for (const variant of variants) this.dropped(variant, true);
      this.committed();
      return variants.length;
    });
  }

  /** A removal that the disk does not take is owed: it must not be undone by the disk's return. */
  #removing<T>(key: string, otherwise: T, work: (open: OpenShard) => T): T {
    let done = false;
    const result = this.guard(otherwise, (open) => {
      const value = work(open);
      done = true;
      return value;
    });
    if (!done && !this.#closed) {
      this.#owed.add(key);
      if (this.#owed.all) this.#setAside(TOO_MUCH_OWED);
    }
    return result;
  }

  /** Tries again what is owed; true when nothing is. */
  payOwed(): boolean {
    if (this.#owed.settled) return true;
    return this.guard(false, ({ index }) => {
      const variants = [...this.#owed.keys].flatMap(
        (key) => index.find(keyHash(key, this.#context.seed()), key).variants,
      );
      index.transaction(() => {
        for (const variant of variants) index.remove(variant.place.hash, variant.born, variant.large);
      });
      for (const variant of variants) this.dropped(variant, true);
      this.#owed.paid();
      return true;
    });
  }

  /** Drops and changes what a walk has just seen, all of it or nothing; false when the disk did not take it. */
  apply(drop: readonly DiskVariant[], change: readonly DiskVariant[]): boolean {
    return this.guard(false, ({ index }) => {
      index.transaction(() => {
        for (const { place, born, large } of drop) index.remove(place.hash, born, large);
        for (const variant of change) index.update(variant, null);
      });
      for (const variant of drop) this.dropped(variant, true);
      this.committed();
      return true;
    });
  }

  /** Its row was taken out: its file and what is in memory go too. */
  dropped(variant: DiskVariant, counted: boolean): void {
    if (counted && this.#objects !== null) this.#objects--;
    this.hits.delete(variant.born);
    this.#open?.small.forget(variant.born);
    if (variant.large) this.droppedLarge(variant.born);
  }

  droppedLarge(born: number): void {
    this.#open?.objects.drop(born);
  }

  /** The large file behind a variant; null when it is gone. */
  largeOf(variant: DiskVariant): LargeFile | null {
    return this.guard(null, ({ index, objects }) => {
      const known = objects.known(variant);
      if (known !== null) return known;
      const row = index.current(variant);
      return row?.large === true ? objects.open(row, index) : null;
    });
  }

  /** Commits what large files have in memory; false when the disk did not take it. */
  flushLarge(): boolean {
    return this.#open?.objects.flush() ?? false;
  }

  /** True when a removal of the URL is owed. */
  owes(key: string): boolean {
    return this.#owed.has(key);
  }

  /** A new row was put in for the URL. */
  inserted(key: string): void {
    this.#owed.delete(key);
    if (this.#objects !== null) this.#objects++;
  }

  /** The index was written to. */
  committed(): void {
    this.#open?.log.committed();
  }

  /** A variant failed verification: it is forgotten and reported. */
  damaged(variant: DiskVariant, what: string): void {
    if (this.remove(variant)) this.#reportDamage(what);
  }

  #reportDamage(what: string): void {
    this.#context.problems.report(
      "object-corrupt",
      this.name,
      `${this.#where}: ${what} failed verification and were removed`,
    );
  }

  // State.

  /** Runs index work; what the disk does to it becomes a state of the shard, never an exception. */
  guard<T>(otherwise: T, work: (open: OpenShard) => T): T {
    const open = this.#open;
    if (open === null) return otherwise;
    try {
      return work(open);
    } catch (error) {
      this.fault(error);
      return otherwise;
    }
  }

  /** Something about the disk failed. */
  fault(error: unknown): void {
    const code = errorCode(error);
    if (code === "ENOSPC" || code === "EDQUOT" || code?.startsWith("SQLITE_FULL")) {
      this.#context.full(error);
      return;
    }
    if (isCorrupt(error)) {
      this.#setAside(sqliteMessage(error));
      return;
    }
    const vanished = !this.standing();
    this.turnOff();
    if (vanished) {
      this.#context.vanished();
      return;
    }
    this.#off(error);
  }

  #off(error: unknown): void {
    const why = `is off: ${sqliteMessage(error)}; it is tried again`;
    this.#context.problems.report("unusable", this.name, `${this.#where} ${why}`);
  }

  #unusable(why: string): void {
    const what = `can not be used as it is and starts empty: ${why}`;
    this.#context.problems.report("index-corrupt", this.name, `${this.#where} ${what}`);
  }

  #setAside(why: string): void {
    const open = this.#open;
    if (open === null) return;
    this.#unusable(why);
    this.#leave(open);
    try {
      emptyShard(join(this.#context.path, this.name));
    } catch (error) {
      this.#off(error);
      return;
    } finally {
      open.lock.release();
    }
    this.tryOpen();
  }

  /** Opens it again after it was off; true when it is open. */
  tryOpen(): boolean {
    if (this.#open !== null) return true;
    if (this.#closed) return false;
    try {
      this.open();
      this.#context.problems.clear("unusable", this.name);
      if (this.#owed.all) this.#setAside(TOO_MUCH_OWED);
      else this.payOwed();
      return this.parts !== null;
    } catch (error) {
      this.#off(error);
      return false;
    }
  }

  /** Closes everything and gives the lock back; what was on its way is not stored. */
  turnOff(): void {
    const open = this.#open;
    if (open === null) return;
    this.#leave(open);
    open.lock.release();
  }

  #leave(open: OpenShard): void {
    this.#open = null;
    open.writer.stop();
    open.objects.leave();
    this.hits.clear();
    this.#objects = null;
    open.segments.forgetAll();
    open.large.forgetAll();
    open.log.leave();
    try {
      open.index.close();
    } catch {
      // It is given up in any case.
    }
  }

  async close(): Promise<void> {
    await this.#open?.writer.idle();
    this.flushLarge();
    this.hits.flush();
    this.payOwed();
    this.#closed = true;
    this.turnOff();
  }

  /** False when its files were removed under it. */
  standing(): boolean {
    try {
      return this.#open?.lock.standing() ?? true;
    } catch {
      return false;
    }
  }

  /** Objects, once they were counted. */
  get objects(): number | null {
    return this.#objects;
  }

  countObjects(): void {
    this.guard(undefined, ({ index }) => {
      this.#objects ??= index.count();
    });
  }

  /** Rows behind `id`, for walks; null when they can not be read. */
  rowsAfter(id: number, limit: number): IndexRow[] | null {
    return this.guard<IndexRow[] | null>(null, ({ index }) => index.after(id, limit));
  }
}
