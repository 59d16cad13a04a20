/** Fields of an upload that are kept with the file and given back with it. */
import type { FieldReader } from "../../http/fields.ts";
import { KEPT_FIELDS_CHARS_MAX, KEPT_FIELDS_MAX } from "../limits.ts";
import { StorageError } from "../storage-error.ts";

const KEPT: ReadonlySet<string> = new Set([
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
  "x-amz-website-redirect-location",
]);
const METADATA = "x-amz-meta-";

/** Reads them. Throws a StorageError when they are too many. */
export function keptFields(fields: FieldReader): Record<string, string> {
  const kept: Record<string, string> = {};
  let chars = 0;
  for (const [name] of fields.entries()) {
    if (!KEPT.has(name) && !name.startsWith(METADATA)) continue;
    let value = fields.get(name) ?? "";
    // "aws-chunked" speaks of the message, not of the file.
    if (name === "content-encoding")
      value = value
        .split(",")
        .map((part) => part.trim())
        .filter((part) => part !== "aws-chunked" && part !== "")
        .join(", ");
    if (value === "" && name === "content-encoding") continue;
    chars += name.length + value.length;
    kept[name] = value;
  }
  if (Object.keys(kept).length > KEPT_FIELDS_MAX || chars > KEPT_FIELDS_CHARS_MAX)
    throw new StorageError(
      "bad_request",
      `at most ${KEPT_FIELDS_MAX} fields of ${KEPT_FIELDS_CHARS_MAX} characters together are kept with a file`,
    );
  return kept;
}

/** The content type that was sent; what S3 takes where none was. */
export function sentType(fields: FieldReader): string {
  const type = fields.get("content-type") ?? "";
  return type === "" ? "binary/octet-stream" : type.slice(0, 200);
}
