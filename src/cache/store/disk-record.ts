/** What the cache keeps of a stored response in the disk's metadata: everything but the body, the tags and the sequence. */
import { parseHttpDate } from "../../http/date.ts";
import { Fields } from "../../http/fields.ts";
import type { Freshness, LifetimeSource } from "../freshness.ts";
import type { Coding, StoredResponse } from "../stored.ts";

/** Version of the record; another one is not read. */
const RECORD_VERSION = 2;

/** A stored response without its body, as it was written. */
export interface DiskRecord {
  readonly status: number;
  readonly fields: Fields;
  readonly coding: Coding;
  readonly negotiable: boolean;
  readonly freshness: Freshness;
  readonly validLocal: number;
  readonly etag: string | null;
  readonly lastModifiedMs: number | null;
  readonly dateMs: number;
  readonly storedAtMs: number;
}

/** Codings by the number that stands for them in records. */
export const CODINGS: readonly Coding[] = ["identity", "gzip", "br", "zstd"];
/** Sources of a lifetime by the number that stands for them in records. */
export const SOURCES: readonly LifetimeSource[] = [
  "edge-ttl",
  "cdn-cache-control",
  "surrogate-control",
  "s-maxage",
  "max-age",
  "expires",
  "status-ttl",
  "default-ttl",
  "heuristic",
];

/** The record's members in the order in which they are written. */
type Row = readonly [
  version: number,
  status: number,
  coding: number,
  negotiable: 0 | 1,
  source: number,
  explicit: 0 | 1,
  bornMs: number,
  freshUntilMs: number,
  whileRevalidateUntilMs: number,
  ifErrorUntilMs: number,
  /** 1: must be revalidated; 2: purged softly; 3: both. */
  staleUse: 0 | 1 | 2 | 3,
  validLocal: number,
  dateMs: number,
  storedAtMs: number,
  fields: string,
];

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Writes a record; `freshness` may be another than the response's own. */
export function encodeRecord(
  record: Pick<StoredResponse, Exclude<keyof DiskRecord, "etag" | "lastModifiedMs">>,
): Uint8Array {
  const { freshness } = record;
  const row: Row = [
    RECORD_VERSION,
    record.status,
    CODINGS.indexOf(record.coding),
    record.negotiable ? 1 : 0,
    SOURCES.indexOf(freshness.source),
    freshness.explicit ? 1 : 0,
    freshness.bornMs,
    freshness.freshUntilMs,
    freshness.whileRevalidateUntilMs,
    freshness.ifErrorUntilMs,
    ((freshness.mustRevalidate ? 1 : 0) + (freshness.softPurged === true ? 2 : 0)) as Row[10],
    record.validLocal,
    record.dateMs,
    record.storedAtMs,
    record.fields.pack(),
  ];
  return encoder.encode(JSON.stringify(row));
}

/** Reads a record; null when it is of another version or not a record. Never throws. */
export function decodeRecord(meta: Uint8Array): DiskRecord | null {
  let row: Row;
  let fields: Fields;
  try {
    const parsed: unknown = JSON.parse(decoder.decode(meta));
    if (!isRow(parsed)) return null;
    row = parsed;
    // Names and values in turn; no field at all is the empty text.
    if (row[14] !== "" && row[14].split("\n").length % 2 !== 0) return null;
    fields = Fields.unpack(row[14]);
  } catch {
    return null;
  }
  const coding = CODINGS[row[2]];
  const source = SOURCES[row[4]];
  if (coding === undefined || source === undefined) return null;
  return {
    status: row[1],
    fields,
    coding,
    negotiable: row[3] === 1,
    freshness: {
      source,
      explicit: row[5] === 1,
      bornMs: row[6],
      freshUntilMs: row[7],
      whileRevalidateUntilMs: row[8],
      ifErrorUntilMs: row[9],
      mustRevalidate: row[10] % 2 === 1,
      ...(row[10] > 1 ? { softPurged: true } : {}),
    },
    validLocal: row[11],
    etag: fields.get("etag"),
    lastModifiedMs: parseHttpDate(fields.get("last-modified")),
    dateMs: row[12],
    storedAtMs: row[13],
  };
}

function isRow(value: unknown): value is Row {
  if (!Array.isArray(value) || value.length !== 15 || value[0] !== RECORD_VERSION) return false;
  // What can be answered at all.
  if (!Number.isInteger(value[1]) || value[1] < 200 || value[1] > 599) return false;
  return value.slice(0, 14).every((item) => Number.isFinite(item)) && typeof value[14] === "string";
}
