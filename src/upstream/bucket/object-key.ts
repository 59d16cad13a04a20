/**
 * From a request's path to the key of an object. One object has one URL: what stores, or servers before
 * them, would read as another key is refused and never asked for. The query is no part of a key, and never
 * goes on: a store takes commands in it (`?acl`, `?list-type=2`, `?response-content-type=`, `?comp=list`).
 */
import { uriEncode } from "../../http/sigv4/sign.ts";

/** Longest key, in bytes of UTF-8 (S3 and Google Cloud Storage; Azure: 1,024 characters). */
export const KEY_BYTES_MAX = 1024;

/** How paths become keys. */
export interface KeyRules {
  /** Put before every key; empty, or with a slash at its end. */
  readonly prefix: string;
  /** Document that answers for a path that ends in a slash; null for none. */
  readonly index: string | null;
}

/**
 * The key that an origin-form target asks for; null for one that can not exist: malformed or not UTF-8,
 * with an encoded slash or backslash, a control character or a dot segment in it, too long, or empty
 * (which would ask for the bucket itself: the list of what is in it).
 */
export function objectKeyOf(target: string, rules: KeyRules): string | null {
  const queryAt = target.indexOf("?");
  const path = queryAt < 0 ? target : target.slice(0, queryAt);
  if (!path.startsWith("/") || path.length > 3 * KEY_BYTES_MAX + 1) return null;
  const names: string[] = [];
  for (const segment of path.slice(1).split("/")) {
    const name = decode(segment);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a name with one is nobody's, and forges lines of a log
    if (name === null || name === "." || name === ".." || /[/\\\u0000-\u001f\u007f]/.test(name)) return null;
    names.push(name);
  }
  const asked = names.join("/");
  const document = rules.index !== null && (asked === "" || asked.endsWith("/")) ? rules.index : "";
  const key = rules.prefix + asked + document;
  return asked + document === "" || Buffer.byteLength(key) > KEY_BYTES_MAX ? null : key;
}

/** A key in a path: every byte encoded but the unreserved characters and the slash, as signatures want it. */
export function encodeKey(key: string): string {
  return uriEncode(key).replaceAll("%2F", "/");
}

function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}
