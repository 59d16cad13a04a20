/**
 * What the cache holds. A stored URL is one base key; below it are its variants, grouped by what the
 * responses' Vary named, and possibly a pass marker (hit-for-miss). Everything that takes room is a
 * node in the store's eviction queue.
 */
import { parseHttpDate } from "../http/date.ts";
import { type FieldReader, Fields } from "../http/fields.ts";
import type { Partition } from "./eviction/partitions.ts";
import type { EvictionNode } from "./eviction/policy.ts";
import { expireAt, type Freshness, type NotStoredReason } from "./freshness.ts";
import { variantOf } from "./key.ts";
import { LargeBody } from "./large-body.ts";
import { ENTRY_OVERHEAD_BYTES, FORM_OVERHEAD_BYTES, TAG_OVERHEAD_BYTES } from "./limits.ts";
import type { DiskVariant } from "./store/disk/variant.ts";

/** A node of the store: what can be evicted. */
export type QueueNode = StoredResponse | PassMarker;

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
  /** As received; hop-by-hop fields, purge tags and fields that may not be stored taken out. */
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

/** A complete stored response: one variant of a URL. */
export class StoredResponse implements EvictionNode<QueueNode>, BodyForm {
  newer: QueueNode | null = null;
  older: QueueNode | null = null;
  mark = 0;
  rank = 0.5;
  readonly hash: number;
  bytes = 0;
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
  #derived: BodyForm[] | null = null;
  freshness: Freshness;
  tags: readonly string[];
  validSequence: number;
  validLocal: number;
  etag: string | null;
  lastModifiedMs: number | null;
  dateMs: number;
  storedAtMs: number;
  /** No further background refresh before this moment: set when one failed. */
  refreshNotBeforeMs = 0;
  /** What the worker that owns the key calls its original, where workers are several. */
  copy: string | null = null;
  /** Where it stands in the disk tier; null when it is not there (yet). */
  disk: DiskVariant | null = null;

  constructor(url: StoredUrl, vary: readonly string[], variant: string, parts: StoredParts) {
    this.url = url;
    this.vary = vary;
    this.variant = variant;
    this.status = parts.status;
    this.hash = hashOf(url.key, variant);
    this.#fields = parts.fields.pack();
    this.coding = parts.coding;
    this.negotiable = parts.negotiable;
    this.length = sizeOf(parts.body);
    this.body = parts.body;
    this.freshness = parts.freshness;
    this.tags = parts.tags;
    this.validSequence = parts.validSequence;
    this.validLocal = parts.validLocal;
    this.etag = parts.etag;
    this.lastModifiedMs = parts.lastModifiedMs;
    this.dateMs = parts.dateMs;
    this.storedAtMs = parts.storedAtMs;
    this.bytes = this.countBytes();
  }

  /** The base key. */
  get key(): string {
    return this.url.key;
  }

  /** False when it was stale on arrival (no-cache, max-age=0): each request has to be validated for itself. */
  get reusable(): boolean {
    return this.freshness.freshUntilMs > this.storedAtMs;
  }

  /** The body, when it is one that stands on disk alone and may have gaps. */
  get large(): LargeBody | null {
    return this.body instanceof LargeBody ? this.body : null;
  }

  /** The stored fields, a copy each time. */
  get fields(): Fields {
    return Fields.unpack(this.#fields);
  }

  set fields(fields: Fields) {
    this.#fields = fields.pack();
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
    if (this.freshness.softPurged === true && this.freshness.freshUntilMs <= sinceMs) return;
    this.freshness = expireAt(this.freshness, sinceMs);
    this.forget();
  }

  /** New fields and a new life for the same body. */
  renew(fields: Fields, freshness: Freshness, receivedMs: number): void {
    this.forget();
    this.fields = fields;
    this.freshness = freshness;
    this.etag = fields.get("etag");
    this.lastModifiedMs = parseHttpDate(fields.get("last-modified"));
    this.dateMs = parseHttpDate(fields.get("date")) ?? receivedMs;
    this.storedAtMs = receivedMs;
  }

  /** Drops prepared answers: the fields or the freshness changed. */
  forget(): void {
    this.hot = null;
    for (const form of this.#derived ?? []) form.hot = null;
  }

  /** What this response costs in memory, as the store's limit counts it. */
  countBytes(): number {
    let bytes =
      ENTRY_OVERHEAD_BYTES +
      this.url.key.length +
      this.variant.length +
      this.#fields.length +
      (this.body instanceof LargeBody ? 0 : this.length);
    for (const tag of this.tags) bytes += tag.length + TAG_OVERHEAD_BYTES;
    for (const form of this.#derived ?? []) bytes += form.length + FORM_OVERHEAD_BYTES;
    return bytes;
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
  readonly url: StoredUrl;
  readonly untilMs: number;
  readonly reason: NotStoredReason | "response-too-large" | "response-self-redirect";

  constructor(url: StoredUrl, untilMs: number, reason: PassMarker["reason"]) {
    this.url = url;
    this.untilMs = untilMs;
    this.reason = reason;
    this.hash = hashOf(url.key, "pass");
    this.bytes = ENTRY_OVERHEAD_BYTES + url.key.length;
  }
}

/** Variants whose responses named the same fields in Vary. */
interface VarySpec {
  readonly vary: readonly string[];
  readonly variants: Map<string, StoredResponse>;
}

/** One base key: its variants by Vary specification, newest specification first. */
export class StoredUrl {
  readonly key: string;
  /** The store's own: where everything of this URL is counted. */
  partition: Partition<QueueNode>;
  /** The only variant of a URL without Vary and secondary key: the plain case, which needs no table. */
  only: StoredResponse | null = null;
  #specs: VarySpec[] | null = null;
  pass: PassMarker | null = null;
  count = 0;

  constructor(key: string, partition: Partition<QueueNode>) {
    this.key = key;
    this.partition = partition;
  }

  /** The variant that fits a request (RFC 9111 section 4.1); `secondary` is the configured part of the key. */
  find(secondary: string, fields: FieldReader): StoredResponse | null {
    if (this.only !== null) return secondary === "" ? this.only : null;
    for (const { vary, variants } of this.#specs ?? []) {
      const found = variants.get(variantOf(secondary, vary, fields));
      if (found !== undefined) return found;
    }
    return null;
  }

  /** The fields that the newest response's Vary named: the best guess for a response not seen yet. */
  get vary(): readonly string[] {
    return this.#specs?.[0]?.vary ?? [];
  }

  /** Puts a variant in; returns the one it replaces. */
  add(entry: StoredResponse): StoredResponse | null {
    const plain = entry.vary.length === 0 && entry.variant === "";
    if (plain && (this.count === 0 || this.only !== null)) {
      const replaced = this.only;
      this.only = entry;
      this.count = 1;
      return replaced;
    }
    const specs = this.#tables();
    let spec = specs.find(({ vary }) => sameNames(vary, entry.vary));
    if (spec === undefined) spec = { vary: entry.vary, variants: new Map() };
    this.#specs = [spec, ...specs.filter((other) => other !== spec)];
    const replaced = spec.variants.get(entry.variant) ?? null;
    spec.variants.delete(entry.variant);
    spec.variants.set(entry.variant, entry);
    if (replaced === null) this.count++;
    return replaced;
  }

  /** Takes a variant out, if it is still this one. */
  delete(entry: StoredResponse): void {
    if (this.only === entry) {
      this.only = null;
      this.count = 0;
      return;
    }
    for (const spec of this.#specs ?? []) {
      if (spec.variants.get(entry.variant) !== entry || !sameNames(spec.vary, entry.vary)) continue;
      spec.variants.delete(entry.variant);
      this.count--;
      if (spec.variants.size === 0) this.#specs = (this.#specs ?? []).filter((other) => other !== spec);
    }
    if (this.count === 0) this.#specs = null;
  }

  /** Every variant, newest specification first, oldest variant of it first. */
  *variants(): Generator<StoredResponse> {
    if (this.only !== null) yield this.only;
    for (const spec of this.#specs ?? []) yield* spec.variants.values();
  }

  get empty(): boolean {
    return this.count === 0 && this.pass === null;
  }

  /** The tables; the only variant moves into them. */
  #tables(): VarySpec[] {
    if (this.only !== null) {
      this.#specs = [{ vary: this.only.vary, variants: new Map([[this.only.variant, this.only]]) }];
      this.only = null;
    }
    this.#specs ??= [];
    return this.#specs;
  }
}

/** Seeded anew for each process: nobody can choose keys that meet in the memory of what was evicted. */
const HASH_SEED = crypto.getRandomValues(new Uint32Array(1))[0] as number;

function hashOf(key: string, variant: string): number {
  return Bun.hash.xxHash32(key + variant, HASH_SEED) | 0;
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

/** Size in bytes of a body in any form. */
export function sizeOf(body: StoredBody): number {
  if (body instanceof Uint8Array) return body.byteLength;
  return body instanceof LargeBody ? body.length : body.size;
}
