/**
 * A stored response as one record of bytes: what of it is kept while nobody asks for it. The first block
 * has what is of fixed size, among it the numbers that are written in place; texts follow, then bodies.
 */
import { INLINE_BODY_BYTES_MAX } from "../limits.ts";
import type { PurgeableObject } from "../purge-table.ts";
import type { RestoredParts, StoredResponse } from "../stored.ts";
import { type Arena, BLOCK_BYTES, NOWHERE, recordCost } from "./arena.ts";
import { CODINGS, SOURCES } from "./disk-record.ts";
import type { StoredNode } from "./node.ts";

/**
 * Bodies of a response, all codings together, that are packed at most, in bytes: all that are bytes here. One
 * that stays an object and is evicted at last is garbage that only a full collection finds.
 */
export const PACKED_BODY_BYTES_MAX = INLINE_BODY_BYTES_MAX;
/** Texts of a response that are packed at most, in characters. */
const PACKED_TEXT_CHARS_MAX = 32 * 1024;

// Places in the head, in eights of bytes.
export const AT_SEQUENCE = 0;
export const AT_LOCAL = 1;
export const AT_DISK = 2;
const AT_BORN = 3;
const AT_FRESH = 4;
const AT_REVALIDATE = 5;
const AT_IF_ERROR = 6;
const AT_STORED = 7;
const AT_DATE = 8;
const AT_LAST_MODIFIED = 9;
const AT_REFRESH = 10;
// In fours of bytes: lengths of the texts, in their order, and of the first body.
const AT_LENGTHS = 22;
const TEXTS = 7;
const AT_BODY = AT_LENGTHS + TEXTS;
// In bytes.
const AT_STATUS = 120;
const AT_FLAGS = 122;
const AT_SOURCE = 123;
const AT_CODING = 124;
const AT_FORMS = 125;
const HEAD_BYTES = BLOCK_BYTES;
/** A derived form: its coding, and its length. */
const FORM_BYTES = 8;

/** In place of a text's length: there is none. */
const ABSENT = 0xffff_ffff;
/** Which of the texts are the tags. */
const TEXT_TAGS = 4;
const BEYOND_LATIN1 = /[^\0-\xff]/;
const NONE: readonly string[] = [];

// Flags.
const NEGOTIABLE = 1;
const EXPLICIT = 2;
const MUST_REVALIDATE = 4;
const SOFT_PURGED = 8;

const scratch = Buffer.from(
  new ArrayBuffer(HEAD_BYTES + PACKED_TEXT_CHARS_MAX + PACKED_BODY_BYTES_MAX + 1024),
);
const doubles = new Float64Array(scratch.buffer, 0, HEAD_BYTES / 8);
const words = new Uint32Array(scratch.buffer, 0, HEAD_BYTES / 4);

/** What a packed response counts for, beside its record: its node, and its place in the index; measured by `bench/memory.ts`. */
const NODE_BYTES = 140;

/** What a response counts for when it is packed; null when it is not one that is packed. */
export function packedCost(entry: StoredResponse): number | null {
  let bodyBytes = 0;
  for (const { body } of entry.forms) {
    if (!(body instanceof Uint8Array)) return null;
    bodyBytes += body.byteLength + FORM_BYTES;
  }
  if (bodyBytes > PACKED_BODY_BYTES_MAX) return null;
  const chars = textsOf(entry).reduce((sum, text) => sum + (text?.length ?? 0), 0);
  if (chars > PACKED_TEXT_CHARS_MAX) return null;
  return recordCost(HEAD_BYTES + chars + bodyBytes) + NODE_BYTES;
}

/** Packs a response into the arena; NOWHERE when it is not one that can be. */
export function pack(arena: Arena, entry: StoredResponse): number {
  if (packedCost(entry) === null) return NOWHERE;
  const { freshness, status } = entry;
  doubles[AT_SEQUENCE] = entry.validSequence;
  doubles[AT_LOCAL] = entry.validLocal;
  doubles[AT_DISK] = entry.diskBorn;
  doubles[AT_BORN] = freshness.bornMs;
  doubles[AT_FRESH] = freshness.freshUntilMs;
  doubles[AT_REVALIDATE] = freshness.whileRevalidateUntilMs;
  doubles[AT_IF_ERROR] = freshness.ifErrorUntilMs;
  doubles[AT_STORED] = entry.storedAtMs;
  doubles[AT_DATE] = entry.dateMs;
  doubles[AT_LAST_MODIFIED] = entry.lastModifiedMs ?? Number.NaN;
  doubles[AT_REFRESH] = entry.refreshNotBeforeMs;
  let at = HEAD_BYTES;
  const texts = textsOf(entry);
  for (let number = 0; number < TEXTS; number++) {
    const text = texts[number] ?? null;
    words[AT_LENGTHS + number] = text === null ? ABSENT : text.length;
    if (text === null || text === "") continue;
    // A byte for each character.
    if (BEYOND_LATIN1.test(text)) return NOWHERE;
    at += scratch.write(text, at, "latin1");
  }
  const { forms } = entry;
  for (let number = 1; number < forms.length; number++) {
    const form = forms[number] as (typeof forms)[number];
    scratch.writeUInt32LE(CODINGS.indexOf(form.coding), at);
    scratch.writeUInt32LE(form.length, at + 4);
    at += FORM_BYTES;
  }
  for (const { body } of forms) {
    scratch.set(body as Uint8Array, at);
    at += (body as Uint8Array).byteLength;
  }
  words[AT_BODY] = entry.length;
  scratch.writeUInt16LE(status, AT_STATUS);
  scratch[AT_FLAGS] =
    (entry.negotiable ? NEGOTIABLE : 0) |
    (freshness.explicit ? EXPLICIT : 0) |
    (freshness.mustRevalidate ? MUST_REVALIDATE : 0) |
    (freshness.softPurged === true ? SOFT_PURGED : 0);
  scratch[AT_SOURCE] = SOURCES.indexOf(freshness.source);
  scratch[AT_CODING] = CODINGS.indexOf(entry.coding);
  scratch[AT_FORMS] = forms.length - 1;
  return arena.store(scratch, at);
}

/** The base key of a record. */
export function keyOf(arena: Arena, record: number): string {
  arena.read(record, 0, HEAD_BYTES, scratch);
  const end = HEAD_BYTES + lengthOf(0);
  arena.read(record, HEAD_BYTES, end, scratch, HEAD_BYTES);
  return scratch.toString("latin1", HEAD_BYTES, end);
}

/** Reads a record, its bodies into memory of their own; null when it is that of another key. */
export function unpack(arena: Arena, record: number, key: string): RestoredParts | null {
  arena.read(record, 0, HEAD_BYTES, scratch);
  if (lengthOf(0) !== key.length) return null;
  let end = HEAD_BYTES;
  for (let number = 0; number < TEXTS; number++) end += lengthOf(number);
  const formsAt = end;
  const formCount = scratch[AT_FORMS] as number;
  end += formCount * FORM_BYTES;
  arena.read(record, HEAD_BYTES, end, scratch, HEAD_BYTES);
  let at = HEAD_BYTES;
  const text = (number: number): string | null => {
    const length = words[AT_LENGTHS + number] as number;
    if (length === ABSENT) return null;
    if (length === 0) return "";
    at += length;
    return scratch.toString("latin1", at - length, at);
  };
  if (text(0) !== key) return null;
  const [variant, vary, fields, tags, etag, copy] = [text(1), text(2), text(3), text(4), text(5), text(6)];
  const body = (length: number): Uint8Array => {
    const own = new Uint8Array(length);
    arena.read(record, end, end + length, own);
    end += length;
    return own;
  };
  const flags = scratch[AT_FLAGS] as number;
  const lastModifiedMs = doubles[AT_LAST_MODIFIED] as number;
  const stored = body(words[AT_BODY] as number);
  const derived: { coding: (typeof CODINGS)[number]; body: Uint8Array; length: number; hot: unknown }[] = [];
  for (let number = 0; number < formCount; number++) {
    const coding = CODINGS[scratch.readUInt32LE(formsAt + number * FORM_BYTES)] ?? "identity";
    const length = scratch.readUInt32LE(formsAt + number * FORM_BYTES + 4);
    derived.push({ coding, body: body(length), length, hot: null });
  }
  return {
    variant: variant ?? "",
    vary: listOf(vary),
    status: scratch.readUInt16LE(AT_STATUS),
    fields: fields ?? "",
    body: stored,
    coding: CODINGS[scratch[AT_CODING] as number] ?? "identity",
    negotiable: (flags & NEGOTIABLE) !== 0,
    freshness: {
      source: SOURCES[scratch[AT_SOURCE] as number] ?? "heuristic",
      explicit: (flags & EXPLICIT) !== 0,
      bornMs: doubles[AT_BORN] as number,
      freshUntilMs: doubles[AT_FRESH] as number,
      whileRevalidateUntilMs: doubles[AT_REVALIDATE] as number,
      ifErrorUntilMs: doubles[AT_IF_ERROR] as number,
      mustRevalidate: (flags & MUST_REVALIDATE) !== 0,
      ...((flags & SOFT_PURGED) === 0 ? {} : { softPurged: true }),
    },
    tags: listOf(tags),
    validSequence: doubles[AT_SEQUENCE] as number,
    validLocal: doubles[AT_LOCAL] as number,
    etag,
    lastModifiedMs: Number.isNaN(lastModifiedMs) ? null : lastModifiedMs,
    dateMs: doubles[AT_DATE] as number,
    storedAtMs: doubles[AT_STORED] as number,
    refreshNotBeforeMs: doubles[AT_REFRESH] as number,
    copy,
    diskBorn: doubles[AT_DISK] as number,
    derived,
  };
}

/** A packed response as a walk over the store meets it: usable until the next thing that is done to the store. */
export class PackedView implements PurgeableObject {
  readonly node: StoredNode;
  readonly key: string;
  readonly variant: string;
  readonly tags: readonly string[];
  readonly #arena: Arena;

  constructor(arena: Arena, node: StoredNode) {
    this.#arena = arena;
    this.node = node;
    arena.read(node.record, 0, HEAD_BYTES, scratch);
    const ends: number[] = [];
    let end = HEAD_BYTES;
    for (let number = 0; number <= TEXT_TAGS; number++) {
      end += lengthOf(number);
      ends.push(end);
    }
    arena.read(node.record, HEAD_BYTES, end, scratch, HEAD_BYTES);
    const [keyEnd = 0, variantEnd = 0] = ends;
    this.key = scratch.toString("latin1", HEAD_BYTES, keyEnd);
    this.variant = scratch.toString("latin1", keyEnd, variantEnd);
    this.tags = listOf(scratch.toString("latin1", ends[TEXT_TAGS - 1] ?? 0, end));
  }

  get bytes(): number {
    return this.node.bytes;
  }

  get validSequence(): number {
    return this.#arena.double(this.node.record, AT_SEQUENCE);
  }

  get validLocal(): number {
    return this.#arena.double(this.node.record, AT_LOCAL);
  }
}

/** What a record holds as texts, in its order. */
function textsOf(entry: StoredResponse): readonly (string | null)[] {
  const { key, variant, vary, packedFields, tags, etag, copy } = entry;
  return [key, variant, vary.join("\n"), packedFields, tags.join("\n"), etag, copy];
}

/** Length of a text in the head that was just read. */
function lengthOf(number: number): number {
  const length = words[AT_LENGTHS + number] as number;
  return length === ABSENT ? 0 : length;
}

function listOf(text: string | null): readonly string[] {
  return text === null || text === "" ? NONE : text.split("\n");
}
