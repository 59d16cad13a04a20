/** Validators for answers that have none, and the conditions that use them (RFC 9110 sections 8.8.3 and 13.1.2). */
import { createHash } from "node:crypto";

/**
 * Weak: the middleware can not know whether something after it compresses the body.
 * @param {string | Uint8Array} body
 * @returns {string}
 */
export function etagOf(body) {
  return `W/"${createHash("sha256").update(body).digest("base64url").slice(0, 27)}"`;
}

/** Longest If-None-Match that is read, in characters. */
const CONDITION_CHARS_MAX = 8_192;

/**
 * True when If-None-Match names the entity tag, by weak comparison: 304 is the answer.
 * @param {string | null} condition
 * @param {string | null} etag
 */
export function isNotModified(condition, etag) {
  if (condition === null || etag === null || condition.length > CONDITION_CHARS_MAX) return false;
  if (condition.trim() === "*") return true;
  const wanted = etag.replace(/^W\//, "");
  return [...condition.matchAll(/"[^"]*"/g)].some(([tag]) => tag === wanted);
}

/** Fields that describe a body, which a 304 has not. */
export const BODY_FIELDS = ["content-length", "content-type", "content-encoding", "transfer-encoding"];
