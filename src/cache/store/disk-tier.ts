/**
 * The disk behind the memory store: what memory no longer holds is found there, what is stored is written
 * there, and what is removed for what it is, is removed there. Eviction from memory changes nothing on disk.
 *
 * Everything that is on its way between the two (a body being read, one being written) keeps the purges that
 * it has not seen from being forgotten, and an invalidation of its URL ends it.
 */
import type { Clock } from "../../base/clock.ts";
import type { FieldReader } from "../../http/fields.ts";
import { validatorOf } from "../../http/validator.ts";
import { expireAt } from "../freshness.ts";
import { siteOf, variantOf } from "../key.ts";
import { LargeBody } from "../large-body.ts";
import { DISK_LIFE_MS_MIN, INLINE_BODY_BYTES_MAX, MEMORY_BODY_BYTES_MAX } from "../limits.ts";
import type { PurgeableObject, Validity } from "../purge-table.ts";
import type { StoredParts, StoredResponse } from "../stored.ts";
import type { DiskStore } from "./disk/disk-store.ts";
import { READ_BYTES_MAX } from "./disk/limits.ts";
import type { DiskVariant } from "./disk/variant.ts";
import { formatMark } from "./disk-mark.ts";
import { type DiskRecord, decodeRecord, encodeRecord } from "./disk-record.ts";
import type { MemoryStore } from "./memory.ts";

/** Gauges of the tier, and counters since the start. */
export interface DiskTierStats {
  readonly objects: number;
  readonly bytes: number;
  readonly bytesMax: number;
  readonly revived: number;
  readonly written: number;
  readonly refused: number;
  readonly evictions: number;
  readonly damaged: number;
  readonly shardsOff: number;
}

/** Something on its way between memory and disk. */
interface Passage {
  readonly base: string;
  /** Up to which purge and invalidation it is valid. */
  readonly sequence: number;
  readonly local: number;
  /** Its URL was invalidated. */
  ended: boolean;
}

/** A row as purges see it. */
export class JudgedRow implements PurgeableObject {
  readonly key: string;
  readonly tags: readonly string[];
  readonly validSequence: number;
  readonly #row: DiskVariant;

  constructor(row: DiskVariant) {
    this.#row = row;
    this.key = row.key;
    this.tags = row.tags;
    this.validSequence = row.sequence;
  }

  /** Up to which invalidation it is valid; read only where that matters. */
  get validLocal(): number {
    return decodeRecord(this.#row.meta)?.validLocal ?? -1;
  }
}

/** The disk tier as the edge uses it. */
export class DiskTier {
  readonly #memory: MemoryStore;
  readonly #disk: DiskStore;
  readonly #clock: Clock;
  readonly #holds: (entry: StoredResponse) => boolean;
  readonly #log: string;
  #revived = 0;
  readonly #passages = new Set<Passage>();
  /** Bodies being read, by the name of their row. */
  readonly #reviving = new Map<number, Promise<StoredResponse | null>>();
  /** The last write of each base key: writes of one URL keep their order. */
  readonly #writes = new Map<string, Promise<void>>();
  /** Responses that were removed before their write had ended. */
  readonly #dropped = new WeakSet<StoredResponse>();

  constructor(options: {
    readonly memory: MemoryStore;
    readonly disk: DiskStore;
    readonly clock: Clock;
    /** Holds a response against the purges; false when one has taken it. */
    readonly holds: (entry: StoredResponse) => boolean;
    /** Identity of the purge log. */
    readonly log: string;
  }) {
    this.#log = options.log;
    this.#memory = options.memory;
    this.#disk = options.disk;
    this.#clock = options.clock;
    this.#holds = options.holds;
    // What memory answers the disk is never asked for.
    this.#disk.isHot = ({ key, born }) => this.#memory.holdsRow(key, born);
    this.#memory.rowOf = (key, born) => this.#disk.find(key).find((row) => row.born === born) ?? null;
  }

  /** True when a base key's place is here and can be used. */
  owns(base: string): boolean {
    return this.#disk.owns(base);
  }

  /** Largest body, in bytes. */
  get objectBytesMax(): number {
    return this.#disk.objectBytesMax;
  }

  /** What is stored of a URL, newest first. Some microseconds. */
  rows(base: string): DiskVariant[] {
    return this.#disk.find(base);
  }

  /**
   * Brings what fits a request back into memory; when only other variants are there, the newest of them, so
   * that their Vary is known. The response that fits, which memory need not have taken; null when there is none.
   */
  async revive(
    base: string,
    secondary: string,
    fields: FieldReader,
    variantsMax: number,
  ): Promise<StoredResponse | null> {
    const rows = this.#disk.find(base);
    const fitting = rows.find(({ vary, variant }) => variant === variantOf(secondary, vary, fields));
    const row = fitting ?? rows[0];
    if (row === undefined) return null;
    let reviving = this.#reviving.get(row.born);
    if (reviving === undefined) {
      reviving = this.#revive(row, variantsMax).finally(() => this.#reviving.delete(row.born));
      this.#reviving.set(row.born, reviving);
    }
    const revived = await reviving;
    return fitting === undefined ? null : revived;
  }

  /** What revive would bring back, without its body and changing nothing: for who explains. Null also when a purge has taken it. */
  peek(base: string, secondary: string, fields: FieldReader): StoredResponse | null {
    const row = this.#disk
      .find(base)
      .find(({ vary, variant }) => variant === variantOf(secondary, vary, fields));
    const record = row === undefined ? null : decodeRecord(row.meta);
    if (row === undefined || record === null) return null;
    const body = new LargeBody({
      disk: this.#disk,
      variant: row,
      validator: validatorOf(record.fields, record.dateMs),
      clock: this.#clock,
    });
    const parts = { ...record, body, tags: row.tags, validSequence: row.sequence };
    const entry = this.#memory.unkept(base, row.vary, row.variant, parts);
    entry.disk = row;
    return entry;
  }

  async #revive(row: DiskVariant, variantsMax: number): Promise<StoredResponse | null> {
    const record = decodeRecord(row.meta);
    const validator = record === null ? null : validatorOf(record.fields, record.dateMs);
    // What another version of the program wrote; what broke off and can not be completed.
    if (record === null || (!row.complete && validator === null)) {
      this.#disk.remove(row);
      return null;
    }
    const passage = this.#begin(row.key, row.sequence, record.validLocal);
    try {
      const body = await this.#bodyOf(row, record);
      if (body === null) return null;
      // While it was read a sweep may have changed the row, or taken it out, and counted it.
      const now = this.#disk.find(row.key).find(({ born }) => born === row.born);
      const current = now === undefined ? null : decodeRecord(now.meta);
      if (now === undefined || current === null) return null;
      const known = this.#memory.get(row.key);
      const newer = [...(known?.variants() ?? [])].find(
        (entry) => entry.variant === row.variant && entry.vary.join() === row.vary.join(),
      );
      if (newer !== undefined) return this.#holds(newer) ? newer : null;
      const parts: StoredParts = { ...current, body, tags: now.tags, validSequence: now.sequence };
      const entry =
        this.#memory.put(row.key, row.vary, row.variant, parts, variantsMax) ??
        this.#memory.unkept(row.key, row.vary, row.variant, parts);
      entry.disk = now;
      this.#revived++;
      if (body instanceof LargeBody) body.onGone = () => this.#memory.remove(entry);
      // While the marks that it is older than are still there.
      return this.#holds(entry) ? entry : null;
    } finally {
      this.#passages.delete(passage);
    }
  }

  async #bodyOf(row: DiskVariant, record: DiskRecord): Promise<Uint8Array | Blob | LargeBody | null> {
    // What is recoded for viewers has to be in memory for that.
    const inMemory =
      row.complete &&
      row.length <= this.#memory.objectBytesMaxOf(siteOf(row.key)) &&
      (row.length <= MEMORY_BODY_BYTES_MAX || record.negotiable);
    if (!inMemory)
      return row.large
        ? new LargeBody({
            disk: this.#disk,
            variant: row,
            validator: validatorOf(record.fields, record.dateMs),
            clock: this.#clock,
          })
        : null;
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 0; at < row.length; at += READ_BYTES_MAX) {
      const piece = await this.#disk.read(row, at, Math.min(row.length, at + READ_BYTES_MAX));
      if (piece === null) return null;
      pieces.push(piece as Uint8Array<ArrayBuffer>);
    }
    if (row.length > INLINE_BODY_BYTES_MAX) return new Blob(pieces);
    return pieces[0] ?? new Uint8Array(0);
  }

  /** Writes what memory has just taken. What will not be usable for long is not written; what it replaces goes in any case. */
  save(entry: StoredResponse): void {
    const { key, freshness, body } = entry;
    if (body instanceof LargeBody || !this.#disk.owns(key)) return;
    const usableUntilMs = Math.max(
      freshness.freshUntilMs,
      freshness.whileRevalidateUntilMs,
      freshness.ifErrorUntilMs,
    );
    const worth = usableUntilMs - this.#clock.now() >= DISK_LIFE_MS_MIN;
    if (!worth && this.#disk.find(key).length === 0 && !this.#writes.has(key)) return;
    const passage = this.#begin(key, entry.validSequence, entry.validLocal);
    const before = this.#writes.get(key) ?? Promise.resolve();
    const write = before
      .then(() => this.#write(entry, passage, worth))
      .finally(() => {
        this.#passages.delete(passage);
        if (this.#writes.get(key) === write) this.#writes.delete(key);
      });
    this.#writes.set(key, write);
  }

  async #write(entry: StoredResponse, passage: Passage, worth: boolean): Promise<void> {
    // Confirmed while an earlier write of it was under way: that has written the body.
    if (entry.disk !== null && worth && !passage.ended) {
      this.renew(entry);
      return;
    }
    const { key, vary, variant, body, tags } = entry;
    let row: DiskVariant | null = null;
    const { freshness, storedAtMs, validSequence } = entry;
    if (worth && !passage.ended && !this.#dropped.has(entry) && !(body instanceof LargeBody)) {
      const meta = encodeRecord(entry);
      row = await this.#disk.put(
        key,
        { vary, variant, meta, sequence: validSequence, tags },
        body instanceof Uint8Array ? body : body.stream(),
      );
    }
    if (row === null) {
      this.#removeVariant(key, vary, variant);
      return;
    }
    entry.disk = row;
    if (passage.ended || this.#dropped.has(entry)) this.forget(entry);
    // Purged, confirmed or made stale while it was written.
    else if (
      this.#holds(entry) &&
      (freshness !== entry.freshness ||
        storedAtMs !== entry.storedAtMs ||
        validSequence !== entry.validSequence)
    )
      this.renew(entry);
  }

  /** An older row of this variant must not outlive the response that replaced it. */
  #removeVariant(key: string, vary: readonly string[], variant: string): void {
    for (const row of this.#disk.find(key))
      if (row.variant === variant && row.vary.join() === vary.join()) this.#disk.remove(row);
  }

  /** Begins a large body under the variant of a response to come; null when the disk does not take it. */
  startLarge(
    key: string,
    vary: readonly string[],
    variant: string,
    parts: Omit<StoredParts, "body">,
    length: number,
  ): LargeBody | null {
    const { tags, validSequence } = parts;
    const meta = encodeRecord(parts);
    const sparse = this.#disk.startSparse(
      key,
      { vary, variant, meta, sequence: validSequence, tags },
      length,
    );
    if (sparse === null) return null;
    return new LargeBody({
      disk: this.#disk,
      variant: sparse.variant,
      validator: validatorOf(parts.fields, parts.dateMs),
      clock: this.#clock,
      sparse,
    });
  }

  /** A response got new fields or another life: so does its row. */
  renew(entry: StoredResponse): void {
    const { disk } = entry;
    if (disk === null) {
      this.#forgetUnseen(entry);
      return;
    }
    const row = this.#disk.updateMeta(disk, encodeRecord(entry), entry.validSequence, entry.tags);
    // What the disk still has of it is not what it is any more, and must not come back.
    if (row === null) this.#disk.remove(disk);
    entry.disk = row;
  }

  /** A response is gone for what it is: so is its row. */
  forget(entry: StoredResponse): void {
    this.#dropped.add(entry);
    const { disk } = entry;
    if (disk === null) this.#forgetUnseen(entry);
    else this.#disk.remove(disk);
    entry.disk = null;
  }

  /** A row that can not be seen is evicted, or its shard is off: then the removal of its URL is owed. */
  #forgetUnseen(entry: StoredResponse): void {
    if (entry.diskBorn === 0) return;
    this.#disk.removeUrl(entry.key);
    entry.disk = null;
  }

  /** Removes a URL, and ends what is on its way; returns how many rows went. */
  forgetUrl(base: string): number {
    for (const passage of this.#passages) if (passage.base === base) passage.ended = true;
    // Also while its shard is off: the removal is owed then.
    return this.#disk.removeUrl(base);
  }

  /** The least sequence of what is on its way, or `otherwise`. */
  oldestSequence(otherwise: number): number {
    let oldest = otherwise;
    for (const { sequence } of this.#passages) oldest = Math.min(oldest, sequence);
    return oldest;
  }

  /** The same for invalidations. */
  oldestLocal(otherwise: number): number {
    let oldest = otherwise;
    for (const { local } of this.#passages) oldest = Math.min(oldest, local);
    return oldest;
  }

  /**
   * Holds every row against `judge` and takes out or makes stale what it says; what is made stale is valid up
   * to `sequence`. Resolves true when every row was seen; false when some of the disk could not be used.
   */
  async sweep(judge: (row: JudgedRow) => Validity, sequence: () => number): Promise<boolean> {
    const { complete } = await this.#disk.sweep((row) => {
      const validity = judge(new JudgedRow(row));
      if (validity.kind === "gone") return "drop";
      if (validity.kind === "valid") return "keep";
      const record = decodeRecord(row.meta);
      if (record === null) return "drop";
      const freshness = expireAt(record.freshness, validity.sinceMs);
      return { meta: encodeRecord({ ...record, freshness }), sequence: sequence() };
    });
    return complete;
  }

  /** Shows every row's key, and whether memory has it too. Changes nothing. */
  async walk(look: (key: string, isInMemory: boolean) => void): Promise<void> {
    await this.#disk.sweep((row) => {
      look(row.key, this.#memory.holdsRow(row.key, row.born));
      return "keep";
    });
  }

  /** Notes on every shard how far its rows have been held against the purges. */
  setMark(upTo: { readonly sequence: number; readonly local: number }): void {
    this.#disk.setMark(formatMark({ log: this.#log, ...upTo }));
  }

  /** Resolves when no write of this URL is under way. */
  async quiet(base: string): Promise<void> {
    await this.#writes.get(base);
  }

  /** Resolves when nothing is being written: for tests, and before the end. */
  async settled(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all([...this.#writes.values()]);
  }

  stats(): DiskTierStats {
    const stats = this.#disk.stats();
    return {
      objects: stats.objects ?? 0,
      bytes: stats.bytes,
      bytesMax: stats.bytesMax,
      revived: this.#revived,
      written: stats.puts,
      refused: stats.refused,
      evictions: stats.evictions,
      damaged: stats.scrubDamaged,
      shardsOff: stats.shardsOff,
    };
  }

  /** What is wrong with the disk now, in sentences. */
  get problems(): readonly string[] {
    return this.#disk.stats().problems;
  }

  /** Writes what waits, and gives the shards back. */
  async close(): Promise<void> {
    await this.settled();
    await this.#disk.close();
  }

  #begin(base: string, sequence: number, local: number): Passage {
    const passage = { base, sequence, local, ended: false };
    this.#passages.add(passage);
    return passage;
  }
}
