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
import { systemFiles } from "./files.ts";
import { openFormat } from "./format-rule.ts";
import { Intake, isStorable } from "./intake.ts";
import {
  CHECKPOINT_PAGES_MAX,
  CHECKPOINT_PAGES_MIN,
  DESCRIPTORS_MAX,
  INDEX_BYTES_MIN,
  INDEX_CACHE_BYTES,
  LOG_ALLOWANCE,
  MARK_CHARS_MAX,
  META_BYTES_MAX,
  OBJECT_SHARE_MAX,
  SCRUB_BYTES_PER_TICK,
  SEGMENT_BYTES_MAX,
  SEGMENT_BYTES_MIN,
  SMALL_BYTES_MAX,
  STORE_BYTES_MIN,
} from "./limits.ts";
import type { DiskBody, DiskOptions, DiskStats, SweepCounts, SweepVerdict } from "./options.ts";
import { Problems } from "./problems.ts";
import { Reader } from "./reader.ts";
import { Room } from "./room.ts";
import { Scrubber } from "./scrubber.ts";
import { Shard } from "./shard.ts";
import type { ShardContext } from "./shard-context.ts";
import { SparseObject } from "./sparse-object.ts";
import { sweep } from "./sweep.ts";
import { Upkeep } from "./upkeep.ts";
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
  readonly #room: Room;
  readonly #reader: Reader;
  readonly #scrubber: Scrubber;
  readonly #intake: Intake;
  readonly #upkeep: Upkeep;
  #lastId = 0;
  #lastMark: string | null = null;
  #puts = 0;
  #refused = 0;
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
    if (seed !== null) store.#upkeep.openShards();
    store.#upkeep.start();
    store.#scrubber.start();
    store.#room.evict();
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
    this.bytesMax = share;
    const numbers = [...new Set(shards)].sort((a, b) => a - b);
    const perShard = share / numbers.length;
    const checkpointPages = Math.max(
      CHECKPOINT_PAGES_MIN,
      Math.min(CHECKPOINT_PAGES_MAX, Math.floor(perShard / 64 / 4096)),
    );
    // Indexes that hold nothing take room as well, which counts in a small store.
    const forIndexes = numbers.length * (INDEX_BYTES_MIN + LOG_ALLOWANCE * checkpointPages * 4096);
    this.objectBytesMax = Math.floor(
      Math.min(options.bytesMax / 2, share * OBJECT_SHARE_MAX, share * 0.98 - forIndexes),
    );
    const files = options.files ?? systemFiles;
    this.#budget = new Budget(share);
    this.#descriptors = new Descriptors(files, DESCRIPTORS_MAX);
    this.#evictor = new Evictor(
      this.#budget,
      () => this.#shards.values(),
      (variant) => this.isHot(variant),
    );
    this.#room = new Room({
      path: options.path,
      clock: options.clock,
      budget: this.#budget,
      evictor: this.#evictor,
      problems,
    });
    this.#upkeep = new Upkeep(
      { path: options.path, clock: options.clock, shards: this.#shards, problems, room: this.#room },
      seed,
    );
    this.#reader = new Reader((variant) => this.#shards.get(variant.shard));
    const segmentBytes = Math.max(
      Math.min(SEGMENT_BYTES_MIN, Math.floor(perShard / 4)),
      Math.min(SEGMENT_BYTES_MAX, Math.floor(perShard / 16)),
    );
    this.#intake = new Intake({
      smallBytesMax: Math.min(options.smallBytesMax ?? SMALL_BYTES_MAX, segmentBytes),
      objectBytesMax: this.objectBytesMax,
      reserve: (bytes) => this.#room.reserve(bytes),
      release: (bytes) => this.#budget.give(bytes),
    });
    const context: ShardContext = {
      path: options.path,
      clock: options.clock,
      files,
      descriptors: this.#descriptors,
      budget: this.#budget,
      problems,
      seed: () => this.#upkeep.seed,
      segmentBytes,
      indexSizes: {
        cacheBytes: INDEX_CACHE_BYTES / numbers.length,
        checkpointPages,
      },
      variantsMax: options.variantsMax ?? 64,
      lastMark: () => this.#lastMark,
      nextId: () => this.#nextId(),
      idsBeyond: (id) => {
        this.#lastId = Math.max(this.#lastId, id);
      },
      reserve: (bytes) => this.#room.reserve(bytes),
      release: (bytes) => this.#budget.give(bytes),
      full: (error) => this.#room.full(error),
      vanished: () => this.#upkeep.vanished(),
      accept: (mark) => this.#accept(mark),
    };
    for (const number of numbers) this.#shards.set(number, new Shard(number, context));
    this.#scrubber = new Scrubber(
      [...this.#shards.values()],
      options.clock,
      options.scrubBytesPerSecond ?? SCRUB_BYTES_PER_TICK,
    );
  }

  /** Set by who keeps a tier in front of this one: what is held there is spared once more. */
  isHot: (variant: DiskVariant) => boolean = () => false;

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
  read(variant: DiskVariant, start = 0, end = variant.length): Promise<Uint8Array | null> {
    return this.#reader.read(variant, start, end);
  }

  /**
   * A slice of the file that holds the bytes, to be sent at once (within SLICE_LEASE_MS). They are verified
   * at their first use since the start: for a large object that may read all of the range first, see `verified`.
   */
  fileSlice(variant: DiskVariant, start = 0, end = variant.length): Promise<Blob | null> {
    return this.#reader.fileSlice(variant, start, end);
  }

  /** What `fileSlice` gives when `verified` holds already; null otherwise, and when it is gone. Synchronous. */
  sliceNow(variant: DiskVariant, start = 0, end = variant.length): Blob | null {
    return this.#reader.sliceNow(variant, start, end);
  }

  /** True when `fileSlice` needs no reading for this range. */
  verified(variant: DiskVariant, start = 0, end = variant.length): boolean {
    return this.#reader.verified(variant, start, end);
  }

  /** Marks a variant as used although its body was not read (a hit in memory): eviction spares it once. */
  touch(variant: DiskVariant): void {
    this.#shards.get(variant.shard)?.hits.add(variant.born);
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
    const started = shard.storing.startLarge(key, parts, length);
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
    this.#lastMark = mark;
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
    this.#upkeep.stop();
    await this.#scrubber.stop();
    await this.#evictor.stop();
    for (const shard of this.#shards.values()) await shard.close();
    this.#descriptors.closeAll();
  }

  #writable(shard: Shard): boolean {
    return this.#closing === null && shard.parts !== null && !this.#room.paused;
  }

  /** Ids are microseconds, made to grow: they order what was stored over all shards and restarts. */
  #nextId(): number {
    this.#lastId = Math.max(this.#lastId + 1, Math.floor(this.#clock.now()) * 1_000);
    return this.#lastId;
  }
}
