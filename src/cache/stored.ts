/**
 * What the cache holds. A stored URL is one base key; below it are its variants, grouped by what the
 * responses' Vary named, and possibly a pass marker (hit-for-miss). Everything that takes room is a
 * node in the store's eviction queue.
 */
import { parseHttpDate } from "../http/date.ts";
import { Fields } from "../http/fields.ts";
import type { Partition } from "./eviction/partitions.ts";
import type { EvictionNode } from "./eviction/policy.ts";
import { expireAt, type Freshness, type NotStoredReason } from "./freshness.ts";
import { LargeBody } from "./large-body.ts";
import { ENTRY_OVERHEAD_BYTES, FORM_OVERHEAD_BYTES, TAG_OVERHEAD_BYTES } from "./limits.ts";
import type { DiskVariant } from "./store/disk/variant.ts";
import type { StoredNode } from "./store/node.ts";
import type { StoredUrl } from "./stored-url.ts";

/** A node of the store: what can be evicted. */
export type QueueNode = StoredNode | PassMarker;

/** The codings in which a body can be held. */
export type Coding = "identity" | "gzip" | "br" | "zstd";

/** A stored body: in memory, or on disk, where parts of it may be missing. */
export type StoredBody = Uint8Array | Blob | LargeBody;

/** One coded form of a stored body; all but the first are derived on demand. */
export interface BodyForm {
  readonly coding: Coding;
  readonly body: StoredBody;
  readonly length: number;
  /** The deliver phase's own prepared answer for this form. */
  hot: unknown;
}

/** What a response consists of when it is stored. */
export interface StoredParts {
  readonly status: number;
  /** As received; hop-by-hop fields, purge tags and fields that may not be stored taken out. Given away: who stores it changes it no more. */
  readonly fields: Fields;
  readonly body: StoredBody;
  readonly coding: Coding;
  /** Other codings may be derived from it. */
  readonly negotiable: boolean;
  readonly freshness: Freshness;
  /** Names by which it can be purged. */
  readonly tags: readonly string[];
  /** The newest purge that was applied before it was asked for. */
  readonly validSequence: number;
  /** The same for invalidations on this node. */
  readonly validLocal: number;
  readonly etag: string | null;
  readonly lastModifiedMs: number | null;
  readonly dateMs: number;
  readonly storedAtMs: number;
}

/** What a packed response consists of: read again, or about to be stored for the first time. */
export interface RestoredParts extends Omit<StoredParts, "fields"> {
  readonly vary: readonly string[];
  readonly variant: string;
  /** As `Fields.pack` made them. */
  readonly fields: string;
  readonly refreshNotBeforeMs: number;
  readonly copy: string | null;
  readonly diskBorn: number;
  readonly derived: readonly BodyForm[];
}

/** What the store does for what is in it. */
export interface Keeper {
  /** Hears that a response is about to change: what is packed of it will not be right any more. */
  changing(entry: StoredResponse): void;
  /** Hears that it was held against purges, or has another row on disk: what is packed of it is put right. */
  noted(entry: StoredResponse): void;
  /** The disk's row of this name, if it is there. */
  rowOf(key: string, born: number): DiskVariant | null;
}

/**
 * A complete stored response: one variant of a URL. Of most there is only a packed record (store/packed.ts):
 * an object like this is made when one is asked for. Whoever holds it holds the only one there is.
 */
export class StoredResponse implements BodyForm {
  readonly node: StoredNode;
  readonly url: StoredUrl;
  readonly variant: string;
  readonly vary: readonly string[];
  readonly status: number;
  readonly length: number;
  readonly coding: Coding;
  readonly negotiable: boolean;
  readonly body: StoredBody;
  /** The deliver phase's own prepared answer for the body as it is stored. */
  hot: unknown = null;
  /** Names and values, a line each: one string costs a fifth of forty. */
  #fields: string;
  /** The same, unpacked already: for the first who asks, who mostly is the viewer that it was fetched for. */
  #unpacked: Fields | null = null;
  #derived: readonly BodyForm[] | null = null;
  #freshness: Freshness;
  #tags: readonly string[];
  #validSequence: number;
  #validLocal: number;
  #etag: string | null;
  #lastModifiedMs: number | null;
  #dateMs: number;
  #storedAtMs: number;
  #refreshNotBeforeMs = 0;
  #copy: string | null = null;
  #disk: DiskVariant | null = null;
  #diskBorn = 0;

  constructor(
    url: StoredUrl,
    node: StoredNode,
    vary: readonly string[],
    variant: string,
    parts: StoredParts | RestoredParts,
  ) {
    this.url = url;
    this.node = node;
    this.vary = vary;
    this.variant = variant;
    this.status = parts.status;
    this.coding = parts.coding;
    this.negotiable = parts.negotiable;
    this.length = sizeOf(parts.body);
    this.body = parts.body;
    this.#freshness = parts.freshness;
    this.#tags = parts.tags;
    this.#validSequence = parts.validSequence;
    this.#validLocal = parts.validLocal;
    this.#etag = parts.etag;
    this.#lastModifiedMs = parts.lastModifiedMs;
    this.#dateMs = parts.dateMs;
    this.#storedAtMs = parts.storedAtMs;
    if ("diskBorn" in parts) {
      this.#fields = parts.fields;
      this.#refreshNotBeforeMs = parts.refreshNotBeforeMs;
      this.#copy = parts.copy;
      this.#diskBorn = parts.diskBorn;
      if (parts.derived.length > 0) this.#derived = parts.derived;
    } else {
      this.#fields = parts.fields.pack();
      this.#unpacked = parts.fields;
    }
  }

  /** The base key. */
  get key(): string {
    return this.url.key;
  }

  /** What it counts for in the store, in bytes. */
  get bytes(): number {
    return this.node.bytes;
  }

  get freshness(): Freshness {
    return this.#freshness;
  }

  set freshness(freshness: Freshness) {
    this.#changing();
    this.#freshness = freshness;
  }

  get tags(): readonly string[] {
    return this.#tags;
  }

  set tags(tags: readonly string[]) {
    this.#changing();
    this.#tags = tags;
  }

  /** The newest purge that it has been held against. */
  get validSequence(): number {
    return this.#validSequence;
  }

  set validSequence(sequence: number) {
    this.#validSequence = sequence;
    this.url.keeper.noted(this);
  }

  /** The same for invalidations on this node. */
  get validLocal(): number {
    return this.#validLocal;
  }

  set validLocal(local: number) {
    this.#validLocal = local;
    this.url.keeper.noted(this);
  }

  get etag(): string | null {
    return this.#etag;
  }

  get lastModifiedMs(): number | null {
    return this.#lastModifiedMs;
  }

  get dateMs(): number {
    return this.#dateMs;
  }

  get storedAtMs(): number {
    return this.#storedAtMs;
  }

  /** No further background refresh before this moment: set when one failed. */
  get refreshNotBeforeMs(): number {
    return this.#refreshNotBeforeMs;
  }

  set refreshNotBeforeMs(ms: number) {
    this.#changing();
    this.#refreshNotBeforeMs = ms;
  }

  /** What the worker that owns the key calls its original, where workers are several. */
  get copy(): string | null {
    return this.#copy;
  }

  set copy(copy: string | null) {
    this.#changing();
    this.#copy = copy;
  }

  /** Where it stands in the disk tier; null when it is not there (yet, or any more). */
  get disk(): DiskVariant | null {
    if (this.#disk === null && this.#diskBorn !== 0)
      this.#disk = this.url.keeper.rowOf(this.key, this.#diskBorn);
    return this.#disk;
  }

  set disk(row: DiskVariant | null) {
    this.#disk = row;
    this.#diskBorn = row?.born ?? 0;
    this.url.keeper.noted(this);
  }

  /** The name of its row on disk, which may be gone; 0 when it has none. */
  get diskBorn(): number {
    return this.#diskBorn;
  }

  /** False when it was stale on arrival (no-cache, max-age=0): each request has to be validated for itself. */
  get reusable(): boolean {
    return this.#freshness.freshUntilMs > this.#storedAtMs;
  }

  /** The body, when it is one that stands on disk alone and may have gaps. */
  get large(): LargeBody | null {
    return this.body instanceof LargeBody ? this.body : null;
  }

  /** The stored fields, a copy each time. */
  get fields(): Fields {
    const fields = this.#unpacked;
    this.#unpacked = null;
    return fields ?? Fields.unpack(this.#fields);
  }

  /** The stored fields as they are kept. */
  get packedFields(): string {
    return this.#fields;
  }

  /** Every form of the body that is here, the stored one first. */
  get forms(): readonly BodyForm[] {
    return this.#derived === null ? [this] : [this, ...this.#derived];
  }

  /** The body in a coding, if it is here. */
  form(coding: Coding): BodyForm | null {
    if (coding === this.coding) return this;
    return this.#derived?.find((form) => form.coding === coding) ?? null;
  }

  /** Keeps a derived form; the store counts it. */
  addForm(form: BodyForm): void {
    this.#changing();
    this.#derived = [...(this.#derived ?? []), form];
  }

  /** What it consists of, to be stored under another variant. */
  get parts(): StoredParts {
    const { status, fields, body, coding, negotiable, freshness, tags, validSequence, validLocal } = this;
    const { etag, lastModifiedMs, dateMs, storedAtMs } = this;
    return {
      status,
      fields,
      body,
      coding,
      negotiable,
      freshness,
      tags,
      validSequence,
      validLocal,
      etag,
      lastModifiedMs,
      dateMs,
      storedAtMs,
    };
  }

  /** A soft purge: stale since `sinceMs`, its stale windows counted from then (must-revalidate keeps them shut). */
  expire(sinceMs: number): void {
    if (this.#freshness.softPurged === true && this.#freshness.freshUntilMs <= sinceMs) return;
    this.freshness = expireAt(this.#freshness, sinceMs);
    this.forget();
  }

  /** New fields of the same representation, received at `receivedMs`; what was derived from the old ones is dropped. */
  setFields(fields: Fields, receivedMs: number): void {
    this.#changing();
    this.forget();
    this.#fields = fields.pack();
    this.#unpacked = null;
    this.#etag = fields.get("etag");
    this.#lastModifiedMs = parseHttpDate(fields.get("last-modified"));
    this.#dateMs = parseHttpDate(fields.get("date")) ?? receivedMs;
  }

  /** A new life for the same body, since `receivedMs`. */
  renew(freshness: Freshness, receivedMs: number): void {
    this.freshness = freshness;
    this.#storedAtMs = receivedMs;
  }

  /** Drops prepared answers: the fields or the freshness changed. */
  forget(): void {
    this.hot = null;
    for (const form of this.#derived ?? []) form.hot = null;
  }

  /** What this response costs in memory while it is not packed, in bytes. */
  countBytes(): number {
    let bytes =
      ENTRY_OVERHEAD_BYTES +
      this.url.key.length +
      this.variant.length +
      this.#fields.length +
      (this.body instanceof LargeBody ? 0 : this.length);
    for (const tag of this.#tags) bytes += tag.length + TAG_OVERHEAD_BYTES;
    for (const form of this.#derived ?? []) bytes += form.length + FORM_OVERHEAD_BYTES;
    return bytes;
  }

  #changing(): void {
    this.url.keeper.changing(this);
  }
}

/** Remembers that a URL's answers could not be stored, so that its viewers do not queue (hit-for-miss). */
export class PassMarker implements EvictionNode<QueueNode> {
  newer: QueueNode | null = null;
  older: QueueNode | null = null;
  mark = 0;
  rank = 0.5;
  readonly hash: number;
  bytes: number;
  partition: Partition<QueueNode>;
  readonly url: StoredUrl;
  readonly untilMs: number;
  readonly reason: NotStoredReason | "response-too-large" | "response-self-redirect";

  constructor(
    url: StoredUrl,
    partition: Partition<QueueNode>,
    untilMs: number,
    reason: PassMarker["reason"],
  ) {
    this.url = url;
    this.partition = partition;
    this.untilMs = untilMs;
    this.reason = reason;
    this.hash = hashOf(`${url.key}pass`);
    this.bytes = ENTRY_OVERHEAD_BYTES + url.key.length;
  }
}

/** Seeded anew for each process: nobody can choose keys that meet in the memory of what was evicted. */
const HASH_SEED = crypto.getRandomValues(new Uint32Array(1))[0] as number;

/** 32 bits of a seeded hash of a base key. */
export function hashOf(key: string): number {
  return Bun.hash.xxHash32(key, HASH_SEED) | 0;
}

/** Size in bytes of a body in any form. */
export function sizeOf(body: StoredBody): number {
  if (body instanceof Uint8Array) return body.byteLength;
  return body instanceof LargeBody ? body.length : body.size;
}
