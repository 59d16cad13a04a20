/**
 * One shard of the disk: index, segments and large files of the keys that belong to it. It is open or
 * off; off, it answers misses and takes nothing, and is opened again when the disk allows. No operation
 * throws for what the disk does: `#guard` turns errors into a state and an answer.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { messageOf, ProximaError } from "../../../base/errors.ts";
import { SHARDS } from "../../shard.ts";
import { blockSum, blockSums, keyHash } from "./checksum.ts";
import { errorCode } from "./files.ts";
import type { LargeFile } from "./large-file.ts";
import { LargeObjects } from "./large-objects.ts";
import { HITS_IN_MEMORY_MAX, SMALL_BLOCK_BYTES, VERIFIED_MAX } from "./limits.ts";
import { OwedRemovals } from "./owed.ts";
import type { Problems } from "./problems.ts";
import { SegmentWriter } from "./segment-writer.ts";
import { type IndexRow, isCorrupt, type ShardIndex, sqliteMessage } from "./shard-index.ts";
import { shardName } from "./shard-key.ts";
import { emptyShard, type OpenContext, openShardParts, type ShardParts } from "./shard-parts.ts";
import type { DiskVariant, VariantParts } from "./variant.ts";

/** What a shard shares with the others of its store. */
export interface ShardContext
  extends Omit<OpenContext, "onSetAside" | "onUnsettled" | "onEmpty" | "knowsOwed"> {
  readonly problems: Problems;
  /** The store's own, see DiskFormat. */
  seed(): bigint;
  readonly segmentBytes: number;
  readonly variantsMax: number;
  nextId(): number;
  /** Ids given from now on are larger than this. */
  idsBeyond(id: number): void;
  reserve(bytes: number): Promise<boolean>;
  release(bytes: number): void;
  /** The disk is full. */
  full(error: unknown): void;
  /** Its files were removed under it. */
  vanished(): void;
}

const TOO_MUCH_OWED = "more removals were owed to it than are remembered";

/** A put or a sparse object on its way: a removal of its URL in between stops it. */
export interface Pending {
  readonly key: string;
  cancelled: boolean;
}

interface OpenShard extends ShardParts {
  readonly writer: SegmentWriter;
  readonly objects: LargeObjects;
}

/** One shard. */
export class Shard {
  readonly number: number;
  readonly #context: ShardContext;
  #open: OpenShard | null = null;
  #closed = false;
  /** Hit since they were written and not noted in the index yet. */
  #hits = new Set<number>();
  /** Small objects verified since the start, oldest first. */
  readonly #verified = new Set<number>();
  readonly #pending = new Set<Pending>();
  readonly #owed: OwedRemovals;
  #indexBytes = 0;
  #checkpointing = false;
  #objects: number | null = null;

  constructor(number: number, context: ShardContext) {
    this.number = number;
    this.#context = context;
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
      onSetAside: (why) => {
        this.#context.problems.report(
          "index-corrupt",
          this.name,
          `${this.#where} can not be used as it is and starts empty: ${why}`,
        );
      },
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
    this.#context.idsBeyond(parts.lastId);
    const { files, descriptors, clock, segmentBytes, nextId, reserve, release } = this.#context;
    const objects = new LargeObjects({
      files,
      descriptors,
      clock,
      large: parts.large,
      reserve,
      release,
      mayLinger: (bytes) => this.#context.budget.mayLinger(bytes),
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
    this.#objects = null;
    this.#open = { ...parts, writer, objects };
    this.#measureIndex();
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

  updateMeta(variant: DiskVariant, meta: Uint8Array, sequence: number): DiskVariant | null {
    return this.guard(null, ({ index }) => {
      const row = index.current(variant);
      if (row === null) return null;
      const updated = { ...row, meta, sequence };
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
    for (const pending of this.#pending) if (pending.key === key) pending.cancelled = true;
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
    this.#hits.delete(variant.born);
    this.#verified.delete(variant.born);
    if (variant.large) this.droppedLarge(variant.born);
  }

  droppedLarge(born: number): void {
    this.#open?.objects.drop(born);
  }

  // Storing.

  /** Registers something on its way, so that a removal of its URL stops it. */
  begin(key: string): Pending {
    const pending: Pending = { key, cancelled: false };
    this.#pending.add(pending);
    return pending;
  }

  end(pending: Pending): void {
    this.#pending.delete(pending);
  }

  /** Stores a small object; resolves when it is committed, null when it was not stored. */
  putSmall(pending: Pending, parts: VariantParts, body: Uint8Array): Promise<DiskVariant | null> {
    const open = this.#open;
    if (open === null) return Promise.resolve(null);
    const sums = blockSums(body, SMALL_BLOCK_BYTES);
    const { promise, resolve } = Promise.withResolvers<DiskVariant | null>();
    let stored: DiskVariant | null = null;
    let replaced: DiskVariant[] = [];
    open.writer.append({
      body,
      commit: (file, offset) => {
        if (pending.cancelled) return;
        const id = this.#context.nextId();
        const hash = keyHash(pending.key, this.#context.seed());
        stored = this.#variant(id, pending.key, parts, {
          length: body.byteLength,
          large: false,
          complete: true,
          place: { hash, file, offset, sums },
        });
        replaced = this.#replace(open.index, stored);
        open.index.insert(id, stored);
      },
      settle: (done) => {
        if (done && stored !== null) this.#inserted(pending.key, replaced);
        resolve(done ? stored : null);
      },
    });
    return promise;
  }

  /** Writes a small object again at the end of the queue; resolves when that is committed. */
  moveSmall(row: DiskVariant, body: Uint8Array): Promise<boolean> {
    const open = this.#open;
    if (open === null) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    open.writer.append({
      body,
      commit: (file, offset) => {
        const now = open.index.current(row);
        if (now !== null)
          open.index.update({ ...now, place: { ...now.place, file, offset } }, this.#context.nextId());
      },
      settle: resolve,
    });
    return promise;
  }

  /** Gives a large object a new place at the end of the queue. */
  moveLarge(row: DiskVariant): boolean {
    return this.guard(false, ({ index }) => this.requeue(index, row));
  }

  /** The same, within a transaction; false when it is gone. */
  requeue(index: ShardIndex, row: DiskVariant): boolean {
    const now = index.current(row);
    return now !== null && index.update(now, this.#context.nextId());
  }

  /** Makes a large object of which nothing is there yet. Null when the shard is off. */
  startLarge(
    key: string,
    parts: VariantParts,
    length: number,
  ): { file: LargeFile; variant: DiskVariant } | null {
    return this.guard(null, (open) => {
      const born = this.#context.nextId();
      const variant = this.#largeVariant(born, key, parts, length, length === 0);
      let replaced: DiskVariant[] = [];
      open.index.transaction(() => {
        replaced = this.#replace(open.index, variant);
        open.index.insert(born, variant);
      });
      this.#inserted(key, replaced);
      this.committed();
      const file = open.objects.create(born, length);
      open.objects.remember(file, variant);
      return { file, variant };
    });
  }

  /** A large file of unknown length that no row knows of yet. */
  newLarge(): LargeFile | null {
    return this.#open?.objects.create(this.#context.nextId(), null) ?? null;
  }

  /** A file of newLarge that is not to be stored. */
  discardLarge(file: LargeFile): void {
    this.#open?.objects.discard(file);
  }

  /** The body that was written into it is whole: now it is stored. Null when that failed. */
  finishLarge(pending: Pending, file: LargeFile, parts: VariantParts, length: number): DiskVariant | null {
    return this.guard(null, (open) => {
      if (pending.cancelled || file.gone || !open.large.has(file.born)) return null;
      file.finish(length);
      const variant = this.#largeVariant(file.born, pending.key, parts, length, true);
      let replaced: DiskVariant[] = [];
      const { files } = this.#context;
      files.step("before-row");
      open.index.transaction(
        () => {
          replaced = this.#replace(open.index, variant);
          for (const chunk of file.takeDirty()) open.index.writeChunk(file.born, chunk.number, chunk.sums);
          // A new place in the queue: it may have taken long.
          open.index.insert(this.#context.nextId(), variant);
        },
        () => files.step("before-commit"),
      );
      files.step("after-commit");
      this.#inserted(pending.key, replaced);
      this.committed();
      open.objects.remember(file, variant);
      return variant;
    });
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

  #variant(
    born: number,
    key: string,
    parts: VariantParts,
    rest: Pick<DiskVariant, "length" | "large" | "complete" | "place">,
  ): DiskVariant {
    return {
      key,
      vary: parts.vary,
      variant: parts.variant,
      meta: parts.meta,
      sequence: parts.sequence,
      tags: parts.tags ?? [],
      shard: this.number,
      born,
      storedAtMs: Math.max(0, Math.floor(this.#context.clock.now())),
      ...rest,
    };
  }

  #largeVariant(
    born: number,
    key: string,
    parts: VariantParts,
    length: number,
    complete: boolean,
  ): DiskVariant {
    const hash = keyHash(key, this.#context.seed());
    const place = { hash, file: born, offset: 0, sums: new Float64Array(0) };
    return this.#variant(born, key, parts, { length, large: true, complete, place });
  }

  /** Takes out what a new variant replaces, and the oldest ones over the limit. Within a transaction. */
  #replace(index: ShardIndex, variant: DiskVariant): DiskVariant[] {
    const { variants } = index.find(variant.place.hash, variant.key);
    const owed = this.#owed.has(variant.key);
    const replaced = variants.filter(
      (other) => owed || (other.variant === variant.variant && sameList(other.vary, variant.vary)),
    );
    const left = variants.filter((other) => !replaced.includes(other));
    replaced.push(...left.slice(Math.max(0, this.#context.variantsMax - 1)));
    for (const other of replaced) index.remove(other.place.hash, other.born, other.large);
    return replaced;
  }

  #inserted(key: string, replaced: readonly DiskVariant[]): void {
    this.#owed.delete(key);
    if (this.#objects !== null) this.#objects++;
    for (const variant of replaced) this.dropped(variant, true);
  }

  // Verification.

  /** Noted in memory, written lazily; eviction gives what was hit a second chance. */
  touch(born: number): void {
    if (this.#hits.size < HITS_IN_MEMORY_MAX) this.#hits.add(born);
    else if (!this.#hits.has(born)) {
      this.flushHits();
      this.#hits.add(born);
    }
  }

  /** True once for each time it was hit since it was written. */
  takeHit(index: ShardIndex, born: number): boolean {
    const inMemory = this.#hits.delete(born);
    return index.takeHit(born) || inMemory;
  }

  flushHits(): void {
    if (this.#hits.size === 0) return;
    const hits = this.#hits;
    this.#hits = new Set();
    this.guard(undefined, ({ index }) => {
      index.transaction(() => index.writeHits(hits));
      this.committed();
    });
  }

  /** Verified bytes of a small object, or why there are none. */
  async readSmall(
    variant: DiskVariant,
    start: number,
    end: number,
  ): Promise<Uint8Array | "damaged" | "gone"> {
    const open = this.#open;
    if (open === null) return "gone";
    const { place, length } = variant;
    const first = Math.floor(start / SMALL_BLOCK_BYTES);
    const last = Math.ceil(end / SMALL_BLOCK_BYTES);
    const from = first * SMALL_BLOCK_BYTES;
    const buffer = new Uint8Array(Math.min(length, last * SMALL_BLOCK_BYTES) - from);
    const { descriptors, files } = this.#context;
    try {
      await descriptors.with(open.segments.path(place.file), "read", (descriptor) =>
        files.read(descriptor, buffer, place.offset + from),
      );
    } catch (error) {
      if (errorCode(error) === "ENOENT") return "gone";
      // A file that is too short is damage; anything else is the device.
      if (!(error instanceof ProximaError)) {
        this.#context.problems.report(
          "io",
          this.name,
          `${this.#where} could not be read: ${messageOf(error)}`,
        );
      }
      return "damaged";
    }
    for (let i = 0; first + i < last; i++) {
      if (
        blockSum(buffer.subarray(i * SMALL_BLOCK_BYTES, (i + 1) * SMALL_BLOCK_BYTES)) !==
        place.sums[first + i]
      )
        return "damaged";
    }
    return buffer.subarray(start - from, end - from);
  }

  isVerified(born: number): boolean {
    return this.#verified.has(born);
  }

  setVerified(born: number): void {
    this.#verified.add(born);
    if (this.#verified.size <= VERIFIED_MAX / SHARDS) return;
    for (const oldest of this.#verified) {
      this.#verified.delete(oldest);
      break;
    }
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
    this.#context.problems.report(
      "unusable",
      this.name,
      `${this.#where} is off: ${sqliteMessage(error)}; it is tried again`,
    );
  }

  #setAside(why: string): void {
    const open = this.#open;
    if (open === null) return;
    this.#context.problems.report(
      "index-corrupt",
      this.name,
      `${this.#where} can not be used as it is and starts empty: ${why}`,
    );
    this.#leave(open);
    try {
      emptyShard(join(this.#context.path, this.name));
    } catch (error) {
      this.#context.problems.report(
        "unusable",
        this.name,
        `${this.#where} is off: ${messageOf(error)}; it is tried again`,
      );
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
      this.#context.problems.report(
        "unusable",
        this.name,
        `${this.#where} is off: ${sqliteMessage(error)}; it is tried again`,
      );
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
    this.#hits.clear();
    this.#verified.clear();
    this.#objects = null;
    open.segments.forgetAll();
    open.large.forgetAll();
    this.#context.budget.add(-this.#indexBytes);
    this.#indexBytes = 0;
    try {
      open.index.close();
    } catch {
      // It is given up in any case.
    }
  }

  async close(): Promise<void> {
    await this.#open?.writer.idle();
    this.flushLarge();
    this.flushHits();
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

  /** The index was written to: its size is counted, and a checkpoint started if it is time. */
  committed(): void {
    const log = this.#measureIndex();
    if (log > this.#context.indexSizes.checkpointPages * 4096 && !this.#checkpointing)
      void this.#checkpoint();
  }

  /**
   * A checkpoint makes this thread wait for the disk, and with it for all that other files have waiting to be
   * written. So the log is brought to the disk in the background first; what is left to wait for is little.
   */
  async #checkpoint(): Promise<void> {
    const open = this.#open;
    if (open === null) return;
    this.#checkpointing = true;
    try {
      await this.#context.files.sync(`${open.index.path}-wal`);
    } catch {
      // The checkpoint itself tells what is wrong.
    }
    this.#checkpointing = false;
    if (open === this.#open) this.guard(undefined, ({ index }) => index.checkpoint());
  }

  /** Counts the index's files; returns the bytes of the log, which counts as grown to its checkpoint from the start. */
  #measureIndex(): number {
    return this.guard(0, ({ index }) => {
      const log = statSync(`${index.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
      const bytes = index.bytes() + Math.max(log, this.#context.indexSizes.checkpointPages * 4096);
      this.#context.budget.add(bytes - this.#indexBytes);
      this.#indexBytes = bytes;
      return log;
    });
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
