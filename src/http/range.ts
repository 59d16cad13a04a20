/**
 * Byte ranges (RFC 9110 section 14) of a complete representation of known length. A Range that is
 * malformed, in another unit or greedy is ignored, which is always allowed: the answer is the whole.
 */
import { strongMatch } from "./conditional.ts";
import { parseHttpDate } from "./date.ts";
import { splitList, trimOws } from "./syntax.ts";

/** Ranges in one request; more are ignored altogether (RFC 9110 section 14.2: many small ranges are an attack). */
export const RANGES_MAX = 16;
/** Ranges of one request that may overlap one another (RFC 9110 section 14.2). */
export const OVERLAPPING_RANGES_MAX = 2;

/** First and last byte position, both included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** What a Range field asks for: nothing we heed, nothing that exists (416), or these ranges in the order asked. */
export type RangeRequest =
  | { kind: "none" }
  | { kind: "unsatisfiable" }
  | { kind: "ranges"; ranges: ByteRange[] };

/** One range with a first position, as nearly all are; of digits that stay exact numbers. */
const ONE_RANGE = /^bytes=([0-9]{1,15})-([0-9]{0,15})$/;

/** Reads Range against a representation of `length` bytes (RFC 9110 sections 14.1.2 and 14.2). */
export function parseRange(value: string | null, length: number): RangeRequest {
  if (value === null) return { kind: "none" };
  const one = ONE_RANGE.exec(value);
  if (one !== null) {
    const start = Number(one[1]);
    const last = one[2] === "" ? length - 1 : Number(one[2]);
    if (one[2] !== "" && last < start) return { kind: "none" };
    if (start >= length) return { kind: "unsatisfiable" };
    return { kind: "ranges", ranges: [{ start, end: Math.min(last, length - 1) }] };
  }
  const unit = /^bytes=/i.exec(value);
  if (unit === null) return { kind: "none" };
  const specs = splitList(value.slice(6));
  if (specs.length === 0 || specs.length > RANGES_MAX) return { kind: "none" };
  const ranges: ByteRange[] = [];
  for (const spec of specs) {
    const match = /^([0-9]*)-([0-9]*)$/.exec(spec);
    if (match === null) return { kind: "none" };
    const [, first = "", last = ""] = match;
    if (first === "") {
      if (last === "") return { kind: "none" };
      const suffixLength = Number(last);
      if (suffixLength === 0) continue;
      // The last bytes of nothing are the whole of nothing: no Content-Range can say so, a 200 can.
      if (length === 0) return { kind: "none" };
      ranges.push({ start: Math.max(0, length - suffixLength), end: length - 1 });
    } else {
      if (last !== "" && isLess(last, first)) return { kind: "none" };
      const start = Number(first);
      if (start >= length) continue;
      ranges.push({ start, end: last === "" ? length - 1 : Math.min(Number(last), length - 1) });
    }
  }
  if (ranges.length === 0) return { kind: "unsatisfiable" };
  if (countOverlapping(ranges) > OVERLAPPING_RANGES_MAX) return { kind: "none" };
  return { kind: "ranges", ranges };
}

/**
 * Whether If-Range allows the Range beside it to be used (RFC 9110 section 13.1.5): true when
 * absent, for an equal strong tag, or for the exact, strong Last-Modified date.
 */
export function ifRangeMatches(
  value: string | null,
  stored: {
    readonly etag: string | null;
    readonly lastModifiedMs: number | null;
    readonly dateMs: number | null;
  },
): boolean {
  if (value === null) return true;
  const validator = trimOws(value);
  if (validator.startsWith('"') || validator.startsWith("W/")) {
    return stored.etag !== null && strongMatch(validator, stored.etag);
  }
  const dateMs = parseHttpDate(validator);
  if (dateMs === null || stored.lastModifiedMs === null || stored.dateMs === null) return false;
  // A modification date is strong when Date is at least a second later (RFC 9110 section 8.8.2.2).
  return dateMs === stored.lastModifiedMs && stored.dateMs - stored.lastModifiedMs >= 1000;
}

/** Content-Range of a 206 (RFC 9110 section 14.4); positions in bytes, both included. */
export function formatContentRange(start: number, end: number, length: number): string {
  return `bytes ${start}-${end}/${length}`;
}

/** Content-Range of a 416 (RFC 9110 section 15.5.17); length in bytes. */
export function formatUnsatisfiedRange(length: number): string {
  return `bytes */${length}`;
}

/** Reads Content-Range of a 206; null when absent, malformed, in another unit or of a 416. Length null means unknown. */
export function parseContentRange(
  value: string | null,
): { start: number; end: number; length: number | null } | null {
  if (value === null) return null;
  const match = /^bytes +([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15}|\*)$/i.exec(trimOws(value));
  if (match === null) return null;
  const start = Number(match[1]);
  const end = Number(match[2]);
  const length = match[3] === "*" ? null : Number(match[3]);
  // Invalid when the last position is before the first or not within the length (section 14.4).
  if (end < start || (length !== null && end >= length)) return null;
  return { start, end, length };
}

/** Compares strings of digits of any length, where numbers would round. */
function isLess(a: string, b: string): boolean {
  const x = a.replace(/^0+/, "");
  const y = b.replace(/^0+/, "");
  return x.length !== y.length ? x.length < y.length : x < y;
}

/** How many ranges overlap at least one other. */
function countOverlapping(ranges: readonly ByteRange[]): number {
  return ranges.filter((a) => ranges.some((b) => a !== b && a.start <= b.end && b.start <= a.end)).length;
}
