/** What tells the versions of a representation apart, where that has to be certain (RFC 9110 section 8.8). */
import { parseHttpDate } from "./date.ts";
import type { FieldReader } from "./fields.ts";
import { trimOws } from "./syntax.ts";

/** A strong validator. */
export interface Validator {
  readonly kind: "etag" | "last-modified";
  /** As received: what If-Range carries. */
  readonly value: string;
}

/** The strong validator of a response that was made at `dateMs`; null when it has none. */
export function validatorOf(fields: FieldReader, dateMs: number): Validator | null {
  const etag = fields.get("etag");
  // A weak tag says that the versions mean the same, not that their bytes are: no date beside it can make up for that.
  if (etag !== null) return /^"[^"]*"$/.test(trimOws(etag)) ? { kind: "etag", value: trimOws(etag) } : null;
  const value = fields.get("last-modified");
  const lastModifiedMs = parseHttpDate(value);
  // Strong when Date is at least a second later (RFC 9110 section 8.8.2.2).
  if (value === null || lastModifiedMs === null || dateMs - lastModifiedMs < 1000) return null;
  return { kind: "last-modified", value };
}
