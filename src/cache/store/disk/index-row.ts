/**
 * Rows of the index as SQLite holds them. Each carries a checksum over all of it but `id`: a row that is not as
 * it was written is nothing.
 */
import { chainedSum, sumsFromBytes, sumsToBytes } from "./checksum.ts";
import type { DiskVariant } from "./variant.ts";

/** What a column can hold. */
export type Value = string | number | bigint | Uint8Array | null;

/** The columns that `decodeRow` takes, in its order. */
export const COLUMNS =
  "id, hash, born, file, offset, length, sequence, stored, kind, key, vary, variant, tags, meta, sums, sum";

/** How a variant lies on disk. Part of the format. */
const KIND = { small: 0, largeWhole: 1, largeSparse: 2 } as const;

/** A row with its place in the queue. */
export interface IndexRow {
  readonly id: number;
  /** Null when the row's checksum is wrong. */
  readonly variant: DiskVariant | null;
  readonly born: number;
  readonly hash: number;
  readonly large: boolean;
}

/** A row as the store knows it; without its variant when it is damaged. */
export function decodeRow(values: readonly Value[], shard: number): IndexRow {
  const [
    id,
    hash,
    born,
    file,
    offset,
    length,
    sequence,
    stored,
    kind,
    key,
    vary,
    variant,
    tags,
    meta,
    sums,
    sum,
  ] = values;
  const large = kind !== KIND.small;
  const damaged = {
    id: Number(id),
    variant: null,
    born: Number(born) || 0,
    hash: Number(hash) || 0,
    large,
  };
  if (
    !(isCount(id) && isCount(hash) && isCount(born) && isCount(file) && isCount(offset) && isCount(length)) ||
    !(isCount(sequence) && isCount(stored) && isCount(kind) && kind <= KIND.largeSparse) ||
    !(
      typeof key === "string" &&
      typeof vary === "string" &&
      typeof variant === "string" &&
      typeof tags === "string"
    ) ||
    !(meta instanceof Uint8Array && sums instanceof Uint8Array)
  ) {
    return damaged;
  }
  const [names, labels, blocks] = [textToList(vary), textToList(tags), sumsFromBytes(sums)];
  if (names === null || labels === null || blocks === null) return damaged;
  const decoded: DiskVariant = {
    key,
    vary: names,
    variant,
    tags: labels,
    meta,
    sequence,
    shard,
    born,
    storedAtMs: stored,
    length,
    large,
    complete: kind !== KIND.largeSparse,
    place: { hash, file, offset, sums: blocks },
  };
  if (rowSum(decoded) !== sum) return damaged;
  return { id, variant: decoded, born, hash, large };
}

const NOTHING: readonly string[] = [];

/** A list of texts as it lies in a row. */
export function listToText(list: readonly string[]): string {
  return list.length === 0 ? "" : JSON.stringify(list);
}

function textToList(text: string): readonly string[] | null {
  if (text === "") return NOTHING;
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) && list.every((item) => typeof item === "string") ? list : null;
  } catch {
    return null;
  }
}

function isCount(value: Value | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** How a variant lies on disk, as a number. Part of the format. */
export function kindOf(variant: DiskVariant): number {
  if (!variant.large) return KIND.small;
  return variant.complete ? KIND.largeWhole : KIND.largeSparse;
}

/** Checksum of a row, over everything but the place in the queue. Part of the format. */
export function rowSum(variant: DiskVariant): number {
  const { place } = variant;
  const numbers = `${place.hash} ${variant.born} ${place.file} ${place.offset} ${variant.length} ${variant.sequence} ${variant.storedAtMs} ${kindOf(variant)}`;
  const [vary, tags] = [listToText(variant.vary), listToText(variant.tags)];
  const lengths = `${variant.key.length} ${vary.length} ${variant.variant.length} ${tags.length}`;
  return chainedSum(
    `${numbers} ${lengths} ${variant.key}${vary}${variant.variant}${tags}`,
    variant.meta,
    sumsToBytes(place.sums),
  );
}
