/**
 * The path of a file in a zone: segments of UTF-8, kept exactly as they came. One file has one path, and a
 * path can not leave its zone: what systems, stores or proxies might read in another way is refused, not
 * mended. Case and Unicode forms are kept apart.
 */
import { createHash } from "node:crypto";
import { PATH_BYTES_MAX, SEGMENT_BYTES_MAX } from "./limits.ts";
import { StorageError } from "./storage-error.ts";

/** Name of a zone: as that of a bucket, so that it can stand in a host name. */
export const ZONE_NAME = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;

/** Throws a StorageError "bad_path" for what is no path of a file; a trailing slash names a folder. */
export function checkPath(path: string): string {
  if (path === "") throw bad("the path is empty");
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw bad(`the path is longer than ${PATH_BYTES_MAX} bytes`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL ends a name for the system, others forge lines of a log
  if (/[\u0000-\u001f\u007f\\]/.test(path)) throw bad("the path holds a control character or a backslash");
  if (!path.isWellFormed() || path.includes("\ufffd")) throw bad("the path is not UTF-8");
  const segments = path.split("/");
  const last = segments.pop();
  if (segments.includes("") || (last === "" && segments.length === 0))
    throw bad("the path has an empty segment");
  for (const segment of [...segments, last ?? ""]) {
    if (segment === "." || segment === "..") throw bad('the path has a segment "." or ".."');
    if (Buffer.byteLength(segment) > SEGMENT_BYTES_MAX)
      throw bad(`a segment of the path is longer than ${SEGMENT_BYTES_MAX} bytes`);
  }
  return path;
}

/** A path as it stands in a URL, each segment percent-decoded once. Throws a StorageError "bad_path". */
export function decodePath(encoded: string): string {
  // An encoded slash would make two spellings of one path.
  if (/%2f|%5c/i.test(encoded)) throw bad("the path holds an encoded slash or backslash");
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw bad("the path is not percent-encoded UTF-8");
  }
}

/** The tag by which what edges keep of a path is purged. */
export function pathTag(zone: string, path: string): string {
  return `zone:${zone}:${createHash("sha256").update(path).digest("base64url").slice(0, 20)}`;
}

/** The tag of everything in a zone. */
export function zoneTag(zone: string): string {
  return `zone:${zone}`;
}

function bad(message: string): StorageError {
  return new StorageError("bad_path", message);
}
