/**
 * The disk tier of a node, or of one worker of it: the shards that it was opened for, one limit in bytes,
 * eviction, a scrubber and a look at the disk's health. Layout: `DIR/format`, and for each of 64 shards
 * `DIR/shard-NN/{lock.db,index.db,segments/,large/}`. Names of files are numbers, never a viewer's words.
 *
 * What the disk does never throws into a request: a shard that can not be used answers misses, `onProblem`
 * hears of it once, and it comes back by itself. What `put` gave back survives the end of the process in
 * any way; a power cut may lose the newest, and checksums keep anything wrong from being read.
 */

import { assert } from "../../../base/assert.ts";
import type { Clock } from "../../../base/clock.ts";
import { messageOf, ProximaError } from "../../../base/errors.ts";
import { allShards, SHARDS, shardOf } from "../../shard.ts";
import { Budget } from "./budget.ts";
import { Descriptors } from "./descriptors.ts";
import { Evictor } from "./evictor.ts";
import { errorCode, systemFiles } from "./files.ts";
import { makeFormat, readFormat } from "./format.ts";
import { openFormat } from "./format-rule.ts";
import { Intake, isStorable } from "./intake.ts";
import {
  CHECKPOINT_PAGES_MAX,
  CHECKPOINT_PAGES_MIN,
  DESCRIPTORS_MAX,
  FULL_PAUSE_MS,
  FULL_RECOVER_MS,
  HEALTH_MS,
  HITS_FLUSH_MS,
  INDEX_CACHE_BYTES,
  MARK_CHARS_MAX,
  META_BYTES_MAX,
  READ_BYTES_MAX,
  SCRUB_BYTES_PER_TICK,
  SEGMENT_BYTES_MAX,
  SEGMENT_BYTES_MIN,
  SMALL_BYTES_MAX,
  STORE_BYTES_MIN,
} from "./limits.ts";
import type { DiskBody, DiskOptions, DiskStats, SweepCounts, SweepVerdict } from "./options.ts";
import { Problems } from "./problems.ts";
import { Scrubber } from "./scrubber.ts";
import { Shard, type ShardContext } from "./shard.ts";
import { SparseObject } from "./sparse-object.ts";
import { sweep } from "./sweep.ts";
import type { DiskVariant, VariantParts } from "./variant.ts";

/** The disk tier. */
export class DiskStore {
  readonly bytesMax: number;
  /** Largest body that is stored, in bytes. */
  readonly objectBytesMax: number;
  readonly #options: DiskOptions;
  readonly #clock: Clock;
  readonly #shards = new Map<number, Shard>();
  readonly #problems: Problems;
  readonly #budget: Budget;
  readonly #descriptors: Descriptors;
  readonly #evictor: Evictor;
  readonly #scrubber: Scrubber;
  readonly #intake: Intake;
  #seed: bigint;
  #lastId = 0;
  #pausedUntilMs = 0;
  #fullAtMs = 0;
  #puts = 0;
  #refused = 0;
  #hitsFlushedMs: number;
  #cancelHealth: () => void = () => {};
  #closing: Promise<void> | null = null;

  /**
   * Opens the shards. Throws a ProximaError: `disk_in_use` (another process has one of them),
   * `disk_version` (another version wrote the directory), `disk_options`. A disk that can not be used now
   * does not throw: its shards are off until it can.
   */
  static async open(options: DiskOptions): Promise<DiskStore> {
    const shards = options.shards ?? allShards;
    if (
      shards.length === 0 ||
      shards.some((shard) => !Number.isInteger(shard) || shard < 0 || shard >= SHARDS)
    ) {
      throw new ProximaError(
        "disk_options",
        `shards must be one or more whole numbers from 0 to ${SHARDS - 1}`,
        { source: "node" },
      );
    }
    const share = Math.floor((options.bytesMax / SHARDS) * new Set(shards).size);
    if (!(options.bytesMax >= STORE_BYTES_MIN)) {
      throw new ProximaError(
        "disk_options",
        `the disk cache's size is ${options.bytesMax} bytes; it must be ${STORE_BYTES_MIN} or more`,
        { source: "node" },
      );
    }
    const problems = new Problems(options.onProblem);
    const untilMs = performance.now() + (options.lockWaitMs ?? 0);
    for (;;) {
      try {
        return DiskStore.#openNow(options, shards, share, problems);
      } catch (error) {
        const wait =
          error instanceof ProximaError && error.code === "disk_in_use" && performance.now() < untilMs;
        if (!wait) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  static #openNow(
    options: DiskOptions,
    shards: readonly number[],
    share: number,
    problems: Problems,
  ): DiskStore {
    let seed: bigint | null = null;
    try {
      seed = openFormat(options.path, options.otherVersion ?? "refuse").seed;
    } catch (error) {
      if (error instanceof ProximaError && (error.code === "disk_in_use" || error.code === "disk_version"))
        throw error;
      problems.report(
        "unusable",
        "store",
        `the disk cache ${options.path} can not be used: ${messageOf(error)}; it is tried again`,
      );
    }
    const store = new DiskStore(
      options,
      shards,
      share,
      problems,
      seed ?? crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n,
    );
    if (seed !== null) store.#openShards();
    store.#start();
    return store;
  }

  private constructor(
    options: DiskOptions,
    shards: readonly number[],
    share: number,
    problems: Problems,
    seed: bigint,
  ) {
    this.#options = options;
    this.#clock = options.clock;
    this.#problems = problems;
    this.#seed = seed;
    this.bytesMax = share;
    this.objectBytesMax = Math.floor(share / 2);
    const files = options.files ?? systemFiles;
    this.#budget = new Budget(share);
    this.#descriptors = new Descriptors(files, DESCRIPTORS_MAX);
    const numbers = [...new Set(shards)].sort((a, b) => a - b);
    const perShard = share / numbers.length;
    const segmentBytes = Math.max(
      Math.min(SEGMENT_BYTES_MIN, Math.floor(perShard / 4)),
      Math.min(SEGMENT_BYTES_MAX, Math.floor(perShard / 16)),
    );
    this.#intake = new Intake({
      smallBytesMax: Math.min(options.smallBytesMax ?? SMALL_BYTES_MAX, segmentBytes),
      objectBytesMax: this.objectBytesMax,
      reserve: (bytes) => this.#reserve(bytes),
      release: (bytes) => this.#budget.give(bytes),
    });
    const context: ShardContext = {
      path: options.path,
      clock: options.clock,
      files,
      descriptors: this.#descriptors,
      budget: this.#budget,
      problems,
      seed: () => this.#seed,
      segmentBytes,
      indexSizes: {
        cacheBytes: INDEX_CACHE_BYTES / numbers.length,
        checkpointPages: Math.max(
          CHECKPOINT_PAGES_MIN,
          Math.min(CHECKPOINT_PAGES_MAX, Math.floor(perShard / 32 / 4096)),
        ),
      },
      variantsMax: options.variantsMax ?? 64,
      nextId: () => this.#nextId(),
      idsBeyond: (id) => {
        this.#lastId = Math.max(this.#lastId, id);
      },
      reserve: (bytes) => this.#reserve(bytes),
      release: (bytes) => this.#budget.give(bytes),
      full: (error) => this.#full(error),
      vanished: () => this.#vanished(),
      accept: (mark) => this.#accept(mark),
    };
    for (const number of numbers) this.#shards.set(number, new Shard(number, context));
    this.#evictor = new Evictor(this.#budget, () => this.#shards.values());
    this.#scrubber = new Scrubber(
      [...this.#shards.values()],
      options.clock,
      options.scrubBytesPerSecond ?? SCRUB_BYTES_PER_TICK,
    );
    this.#hitsFlushedMs = options.clock.now();
  }

  /** Variants of a key, newest first, without their bodies. Synchronous, some microseconds. */
  find(key: string): DiskVariant[] {
    return this.#shards.get(shardOf(key))?.find(key) ?? [];
  }

  /** True when the key belongs to one of this store's shards and that shard can be used. */
  owns(key: string): boolean {
    return (this.#shards.get(shardOf(key))?.parts ?? null) !== null;
  }

  /**
   * Verified bytes of a variant, from `start` to `end` (exclusive; at most READ_BYTES_MAX of them). Null
   * when they are gone, missing or damaged; what was damaged is forgotten and reported.
   */
  async read(variant: DiskVariant, start = 0, end = variant.length): Promise<Uint8Array | null> {
    this.#checkRange(variant, start, end);
    assert(end - start <= READ_BYTES_MAX, "a read has a limit");
    const shard = this.#shards.get(variant.shard);
    if (shard === undefined || shard.parts === null) return null;
    shard.touch(variant.born);
    if (variant.large) return (await shard.largeOf(variant)?.read(start, end)) ?? null;
    return this.#readSmall(shard, variant, start, end);
  }

  async #readSmall(
    shard: Shard,
    variant: DiskVariant,
    start: number,
    end: number,
  ): Promise<Uint8Array | null> {
    if (start === end) return new Uint8Array(0);
    let place = variant;
    // Eviction may have written it again elsewhere since the handle was made, even while it was read.
    for (let attempt = 0; attempt < 3; attempt++) {
      const bytes = await shard.readSmall(place, start, end);
      if (bytes instanceof Uint8Array) return bytes;
      const now = shard.current(variant);
      if (now === null) return null;
      if (now.place.file === place.place.file && now.place.offset === place.place.offset) {
        // A segment that is not there was given up for room, or taken away: the health check tells of that.
        if (bytes === "gone") shard.remove(now);
        else shard.damaged(now, "objects");
        return null;
      }
      place = now;
    }
    return null;
  }

  /**
   * A slice of the file that holds the bytes, to be sent at once (within SLICE_LEASE_MS). They are verified
   * at their first use since the start: for a large object that may read all of the range first, see `verified`.
   */
  async fileSlice(variant: DiskVariant, start = 0, end = variant.length): Promise<Blob | null> {
    this.#checkRange(variant, start, end);
    const shard = this.#shards.get(variant.shard);
    if (shard === undefined || shard.parts === null) return null;
    if (variant.large) {
      if (!((await shard.largeOf(variant)?.verify(start, end)) ?? false)) return null;
    } else if (start < end && !shard.isVerified(variant.born)) {
      if ((await this.#readSmall(shard, variant, 0, variant.length)) === null) return null;
      shard.setVerified(variant.born);
    }
    return this.sliceNow(variant, start, end);
  }

  /** What `fileSlice` gives when `verified` holds already; null otherwise, and when it is gone. Synchronous. */
  sliceNow(variant: DiskVariant, start = 0, end = variant.length): Blob | null {
    this.#checkRange(variant, start, end);
    const shard = this.#shards.get(variant.shard);
    const parts = shard?.parts ?? null;
    if (shard === undefined || parts === null) return null;
    if (variant.large) {
      const slice = shard.largeOf(variant)?.slice(start, end) ?? null;
      if (slice !== null) shard.touch(variant.born);
      return slice;
    }
    if (!shard.isVerified(variant.born) && start < end) return null;
    const now = shard.current(variant);
    if (now === null) return null;
    shard.touch(variant.born);
    if (start === end) return new Blob([]);
    if (!parts.segments.has(now.place.file)) return null;
    parts.segments.lease(now.place.file);
    const { file, offset } = now.place;
    return Bun.file(parts.segments.path(file)).slice(offset + start, offset + end);
  }

  /** True when `fileSlice` needs no reading for this range. */
  verified(variant: DiskVariant, start = 0, end = variant.length): boolean {
    const shard = this.#shards.get(variant.shard);
    if (shard === undefined) return false;
    return variant.large
      ? (shard.largeOf(variant)?.verified(start, end) ?? false)
      : shard.isVerified(variant.born);
  }

  /** Marks a variant as used although its body was not read (a hit in memory): eviction spares it once. */
  touch(variant: DiskVariant): void {
    this.#shards.get(variant.shard)?.touch(variant.born);
  }

  /**
   * Stores a variant, replacing the one it stands for. Resolves when it is committed; null when it was not
   * stored (no room, no disk, too large, its URL was removed meanwhile, or the body failed). Never rejects.
   */
  async put(key: string, parts: VariantParts, body: DiskBody): Promise<DiskVariant | null> {
    const shard = this.#shards.get(shardOf(key));
    const stored =
      shard === undefined || !this.#writable(shard) ? null : await this.#intake.put(shard, key, parts, body);
    if (stored === null) this.#refused++;
    else this.#puts++;
    return stored;
  }

  /** Replaces the cache's own metadata (after a revalidation). Null when the variant is gone. Committed at once. */
  updateMeta(
    variant: DiskVariant,
    meta: Uint8Array,
    sequence = variant.sequence,
    tags = variant.tags,
  ): DiskVariant | null {
    if (meta.byteLength > META_BYTES_MAX) return null;
    return this.#shards.get(variant.shard)?.updateMeta(variant, meta, sequence, tags) ?? null;
  }

  /** Removes one variant; true when it was there. Committed at once. */
  remove(variant: DiskVariant): boolean {
    return this.#shards.get(variant.shard)?.remove(variant) ?? false;
  }

  /** Removes all variants of a URL, and stops those on their way; returns how many were stored. Committed at once. */
  removeUrl(key: string): number {
    return this.#shards.get(shardOf(key))?.removeUrl(key) ?? 0;
  }

  /** Begins a large object that comes in slices. Null when it can not be stored. */
  startSparse(key: string, parts: VariantParts, length: number): SparseObject | null {
    const shard = this.#shards.get(shardOf(key));
    if (shard === undefined || !this.#writable(shard) || !isStorable(key, parts)) return null;
    if (!Number.isSafeInteger(length) || length < 1 || length > this.objectBytesMax) return null;
    const started = shard.startLarge(key, parts, length);
    return started === null
      ? null
      : new SparseObject(started.variant, started.file, () => shard.flushLarge());
  }

  /** A large object as a sparse one, also when it is complete. Null when it is gone or not large. */
  sparse(variant: DiskVariant): SparseObject | null {
    const shard = this.#shards.get(variant.shard);
    const file = variant.large ? (shard?.largeOf(variant) ?? null) : null;
    return shard === undefined || file === null
      ? null
      : new SparseObject(variant, file, () => shard.flushLarge());
  }

  /**
   * Walks all objects, some at a time, and drops or changes those that `decide` says: all that were there when
   * it began are seen. `decide` must not throw; when it does, the object is kept and the walk is not complete.
   */
  sweep(decide: (variant: DiskVariant) => SweepVerdict): Promise<SweepCounts> {
    return sweep({
      shards: this.#shards.values(),
      problems: this.#problems,
      stopped: () => this.#closing !== null,
      decide,
    });
  }

  /** The mark of each open shard; null for one that has none. */
  marks(): readonly (string | null)[] {
    return [...this.#shards.values()].filter(({ parts }) => parts !== null).map(({ mark }) => mark);
  }

  /**
   * Writes a text of the caller's (at most MARK_CHARS_MAX characters) to every open shard; false when one did
   * not take it. A shard that is off keeps its old one, so that `DiskOptions.accept` can tell what it missed.
   */
  setMark(mark: string): boolean {
    assert(mark.length <= MARK_CHARS_MAX && mark.isWellFormed(), "a mark is a short text");
    return [...this.#shards.values()].map((shard) => shard.setMark(mark)).every((taken) => taken);
  }

  #accept(mark: string | null): boolean {
    try {
      return this.#options.accept?.(mark) ?? true;
    } catch (error) {
      this.#problems.report(
        "callback",
        "accept",
        `a shard of the disk cache starts empty, because its mark could not be judged: ${messageOf(error)}`,
      );
      return false;
    }
  }

  stats(): DiskStats {
    const shards = [...this.#shards.values()];
    const counted = shards.map(({ objects }) => objects);
    return {
      objects: shards.some(({ parts, objects }) => parts !== null && objects === null)
        ? null
        : counted.reduce<number>((sum, objects) => sum + (objects ?? 0), 0),
      bytes: this.#budget.used,
      bytesMax: this.bytesMax,
      shards: shards.length,
      shardsOff: shards.filter(({ parts }) => parts === null).length,
      evictions: this.#evictor.counts.evicted,
      evictedBytes: this.#evictor.counts.evictedBytes,
      reinserted: this.#evictor.counts.reinserted,
      puts: this.#puts,
      refused: this.#refused,
      scrubbedBytes: this.#scrubber.counts.verifiedBytes,
      scrubDamaged: this.#scrubber.counts.damaged,
      openFiles: this.#descriptors.size,
      problems: this.#problems.standing,
    };
  }

  /** Verifies about so many bytes now, beside the scrubber's own pace; true when a round ended. */
  scrub(bytes: number): Promise<boolean> {
    return this.#scrubber.tick(bytes);
  }

  /** Commits what is on its way and gives the shards back. Safe to call more than once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cancelHealth();
    await this.#scrubber.stop();
    await this.#evictor.stop();
    for (const shard of this.#shards.values()) await shard.close();
    this.#descriptors.closeAll();
  }

  #openShards(): void {
    for (const shard of this.#shards.values()) {
      try {
        shard.open();
      } catch (error) {
        if (
          error instanceof ProximaError &&
          (error.code === "disk_in_use" || error.code === "disk_version")
        ) {
          for (const other of this.#shards.values()) other.turnOff();
          throw error;
        }
        if (errorCode(error) === "ENOSPC" || errorCode(error)?.startsWith("SQLITE_FULL")) this.#full(error);
        this.#problems.report(
          "unusable",
          "store",
          `the disk cache ${this.#options.path} can not be used: ${messageOf(error)}; it is tried again`,
        );
      }
    }
  }

  #start(): void {
    this.#waitForHealth();
    this.#scrubber.start();
    void this.#countObjects();
    if (this.#budget.over > 0) void this.#evictor.run();
  }

  async #countObjects(): Promise<void> {
    for (const shard of this.#shards.values()) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (this.#closing === null) shard.countObjects();
    }
  }

  #waitForHealth(): void {
    this.#cancelHealth = this.#clock.after(HEALTH_MS, () => {
      this.checkHealth();
      if (this.#closing === null) this.#waitForHealth();
    });
  }

  /** Looks after the disk: removed directories, shards that were off, hits to note. Runs every HEALTH_MS. */
  checkHealth(): void {
    if (this.#closing !== null) return;
    const shards = [...this.#shards.values()];
    const lost = shards.filter((shard) => shard.parts !== null && !shard.standing());
    if (lost.length > 0) {
      for (const shard of lost) shard.turnOff();
      this.#vanished();
    }
    const off = shards.filter(({ parts }) => parts === null);
    if (off.length > 0 && this.#formatStands()) {
      for (const shard of off) if (shard.tryOpen()) shard.countObjects();
    }
    if (shards.every(({ parts }) => parts !== null)) {
      this.#problems.clear("unusable", "store");
      if (lost.length === 0) this.#problems.clear("vanished", "store");
    }
    for (const shard of shards) shard.payOwed();
    if (this.#budget.lowered && this.#clock.now() - this.#fullAtMs >= FULL_RECOVER_MS) {
      this.#fullAtMs = this.#clock.now();
      this.#budget.raise();
    }
    if (this.#clock.now() - this.#hitsFlushedMs >= HITS_FLUSH_MS) {
      this.#hitsFlushedMs = this.#clock.now();
      for (const shard of shards) shard.flushHits();
    }
    if (this.#budget.over > 0) void this.#evictor.run();
  }

  /** The format file is there, if need be again; false when shards must not be opened. */
  #formatStands(): boolean {
    try {
      const format = readFormat(this.#options.path) ?? makeFormat(this.#options.path, this.#seed);
      // Another seed is another directory: this store's hashes mean nothing in it while a shard is open.
      if (format !== "other" && [...this.#shards.values()].every(({ parts }) => parts === null)) {
        this.#seed = format.seed;
      }
      if (format !== "other" && format.seed === this.#seed) return true;
      this.#problems.report(
        "unusable",
        "store",
        `the disk cache ${this.#options.path} was replaced by another; restart to use it`,
      );
    } catch (error) {
      this.#problems.report(
        "unusable",
        "store",
        `the disk cache ${this.#options.path} can not be used: ${messageOf(error)}; it is tried again`,
      );
    }
    return false;
  }

  #writable(shard: Shard): boolean {
    return this.#closing === null && shard.parts !== null && this.#clock.now() >= this.#pausedUntilMs;
  }

  #vanished(): void {
    const what = `files of the disk cache ${this.#options.path} were removed while it was in use`;
    this.#problems.report("vanished", "store", `${what}; it starts again empty`);
  }

  #full(error: unknown): void {
    this.#problems.report(
      "full",
      "store",
      `the disk of ${this.#options.path} is full (${messageOf(error)}): the cache stores less on it`,
    );
    this.#fullAtMs = this.#clock.now();
    this.#pausedUntilMs = this.#fullAtMs + FULL_PAUSE_MS;
    this.#budget.lower();
    void this.#evictor.run();
  }

  async #reserve(bytes: number): Promise<boolean> {
    if (this.#clock.now() < this.#pausedUntilMs) return false;
    if (this.#pausedUntilMs > 0) {
      // The first writes after a full disk.
      this.#pausedUntilMs = 0;
      this.#problems.clear("full", "store");
    }
    if (this.#budget.lowered && this.#budget.used + bytes > this.#budget.ceiling) this.#budget.raise();
    for (let attempt = 0; attempt < 8; attempt++) {
      if (this.#budget.take(bytes)) {
        if (this.#budget.over > 0) void this.#evictor.run();
        return true;
      }
      if (!(await this.#evictor.run()) && !this.#budget.take(0)) break;
    }
    return false;
  }

  /** Ids are microseconds, made to grow: they order what was stored over all shards and restarts. */
  #nextId(): number {
    this.#lastId = Math.max(this.#lastId + 1, Math.floor(this.#clock.now()) * 1_000);
    return this.#lastId;
  }

  #checkRange(variant: DiskVariant, start: number, end: number): void {
    assert(
      Number.isSafeInteger(start) && start >= 0 && start <= end && end <= variant.length,
      "a range lies within its object",
    );
  }
}
