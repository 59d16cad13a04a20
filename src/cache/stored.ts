/**
 * What the cache holds. A stored URL is one base key; below it are its variants, grouped by what the
 * responses' Vary named, and possibly a pass marker (hit-for-miss). Everything that takes room is a
 * node in the store's eviction queue.
 */
import type { Fields } from "../http/fields.ts";
import { FIELD_OVERHEAD_BYTES } from "./limits.ts";
import { selectingKey } from "./key.ts";
import type { Freshness, NotStoredReason } from "./freshness.ts";
import type { FieldReader } from "../http/fields.ts";

/** A node of the eviction queue: linked here, so that a hit is one flag and no allocation. */
export interface QueueNode {
  newer: QueueNode | null;
  older: QueueNode | null;
  /** Set by a hit, cleared by the eviction hand (SIEVE). */
  visited: boolean;
  bytes: number;
  readonly url: StoredUrl;
}

/** The codings in which a body can be held. */
export type Coding = "identity" | "gzip" | "br" | "zstd";

/** One coded form of a stored body; all but the first are derived on demand. */
export interface BodyForm {
  readonly coding: Coding;
  readonly body: Uint8Array | Blob;
  readonly length: number;
  /** The deliver phase's own prepared answer for this form. */
  hot: unknown;
}

/** What a response consists of when it is stored. */
export interface StoredParts {
  readonly status: number;
  /** As received; hop-by-hop fields, purge tags and fields that may not be stored taken out. */
  readonly fields: Fields;
  readonly body: Uint8Array | Blob;
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
export class StoredResponse implements QueueNode {
  newer: QueueNode | null = null;
  older: QueueNode | null = null;
  visited = false;
  bytes = 0;
  readonly url: StoredUrl;
  readonly variant: string;
  readonly vary: readonly string[];
  readonly status: number;
  readonly length: number;
  readonly coding: Coding;
  readonly negotiable: boolean;
  fields: Fields;
  forms: BodyForm[];
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

  constructor(url: StoredUrl, vary: readonly string[], variant: string, parts: StoredParts) {
    this.url = url;
    this.vary = vary;
    this.variant = variant;
    this.status = parts.status;
    this.fields = parts.fields;
    this.coding = parts.coding;
    this.negotiable = parts.negotiable;
    this.length = sizeOf(parts.body);
    this.forms = [{ coding: parts.coding, body: parts.body, length: this.length, hot: null }];
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

  /** A soft purge: stale since `sinceMs`, its stale windows counted from then (must-revalidate keeps them shut). */
  expire(sinceMs: number): void {
    const { freshness } = this;
    if (freshness.freshUntilMs <= sinceMs) return;
    const earlierMs = freshness.freshUntilMs - sinceMs;
    this.freshness = {
      ...freshness,
      freshUntilMs: sinceMs,
      whileRevalidateUntilMs: freshness.whileRevalidateUntilMs - earlierMs,
      ifErrorUntilMs: freshness.ifErrorUntilMs - earlierMs,
    };
    for (const form of this.forms) form.hot = null;
  }

  /** What this response costs in memory, as the store's limit counts it. */
  countBytes(): number {
    let bytes = FIELD_OVERHEAD_BYTES + this.url.key.length + this.variant.length + this.fields.length + this.fields.size * 32;
    for (const form of this.forms) bytes += form.length;
    return bytes;
  }
}

/** Remembers that a URL's answers could not be stored, so that its viewers do not queue (hit-for-miss). */
export class PassMarker implements QueueNode {
  newer: QueueNode | null = null;
  older: QueueNode | null = null;
  visited = false;
  bytes: number;
  readonly url: StoredUrl;
  readonly untilMs: number;
  readonly reason: NotStoredReason | "response-too-large" | "response-self-redirect";

  constructor(url: StoredUrl, untilMs: number, reason: PassMarker["reason"]) {
    this.url = url;
    this.untilMs = untilMs;
    this.reason = reason;
    this.bytes = FIELD_OVERHEAD_BYTES + url.key.length;
  }
}

/** One base key: its variants by Vary specification, newest specification first. */
export class StoredUrl {
  readonly key: string;
  /** The single variant of a URL without Vary and secondary key: the plain case. */
  only: StoredResponse | null = null;
  specs: { readonly vary: readonly string[]; readonly variants: Map<string, StoredResponse> }[] = [];
  pass: PassMarker | null = null;
  count = 0;

  constructor(key: string) {
    this.key = key;
  }

  /** The variant that fits a request (RFC 9111 section 4.1); `secondary` is the configured part of the key. */
  find(secondary: string, fields: FieldReader): StoredResponse | null {
    if (this.only !== null) return secondary === "" ? this.only : null;
    for (const { vary, variants } of this.specs) {
      const found = variants.get(secondary + (vary.length > 0 ? selectingKey(vary, fields) : ""));
      if (found !== undefined) return found;
    }
    return null;
  }

  /** The fields that the newest response's Vary named: the best guess for a response not seen yet. */
  get vary(): readonly string[] {
    return this.specs[0]?.vary ?? [];
  }

  /** Puts a variant in; returns the one it replaces. */
  add(entry: StoredResponse): StoredResponse | null {
    let spec = this.specs.find(({ vary }) => sameNames(vary, entry.vary));
    if (spec === undefined) spec = { vary: entry.vary, variants: new Map() };
    this.specs = [spec, ...this.specs.filter((other) => other !== spec)];
    const replaced = spec.variants.get(entry.variant) ?? null;
    spec.variants.delete(entry.variant);
    spec.variants.set(entry.variant, entry);
    if (replaced === null) this.count++;
    this.#setOnly();
    return replaced;
  }

  /** Takes a variant out, if it is still this one. */
  delete(entry: StoredResponse): void {
    for (const spec of this.specs) {
      if (spec.variants.get(entry.variant) !== entry || !sameNames(spec.vary, entry.vary)) continue;
      spec.variants.delete(entry.variant);
      this.count--;
      if (spec.variants.size === 0) this.specs = this.specs.filter((other) => other !== spec);
    }
    this.#setOnly();
  }

  /** Every variant, newest specification first, oldest variant of it first. */
  *variants(): Generator<StoredResponse> {
    for (const spec of this.specs) yield* spec.variants.values();
  }

  get empty(): boolean {
    return this.count === 0 && this.pass === null;
  }

  #setOnly(): void {
    const spec = this.specs[0];
    const plain = this.count === 1 && spec !== undefined && spec.vary.length === 0;
    this.only = plain ? (spec.variants.get("") ?? null) : null;
  }
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

/** Size in bytes of a body in either form. */
export function sizeOf(body: Uint8Array | Blob): number {
  return body instanceof Uint8Array ? body.byteLength : body.size;
}
