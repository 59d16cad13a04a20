/** What the kit does to an answer's header section, whatever framework made it. */
import { isNotModified } from "./etag.js";
import { cacheControlFor, hasSession, PERSONAL, ruleFor } from "./rules.js";
import { tagField } from "./tags.js";

/** @import { CacheRule } from "./types.d.ts" */

/**
 * @typedef {object} Asked What of a request counts.
 * @property {string} method
 * @property {string} path without the query
 * @property {string | null} authorization
 * @property {string | null} cookie
 * @property {string | null} ifNoneMatch
 */

/**
 * @typedef {object} Fields The header section of an answer; names in lower case.
 * @property {(name: string) => string | null} get
 * @property {(name: string, value: string) => void} set
 * @property {(name: string) => void} remove
 */

/**
 * @typedef {object} Setup
 * @property {readonly CacheRule[]} rules
 * @property {readonly string[]} sessionCookies
 * @property {(message: string) => void} onProblem
 */

/** Fields that speak to caches of one kind, and would go above Cache-Control (RFC 9213 section 2.2). */
const TARGETED_FIELDS = ["cdn-cache-control", "surrogate-control"];

/** The path of a request target or URL, without its query. @param {string} target */
export function pathOf(target) {
  const path = /^https?:\/\/[^/?#]*/i.test(target) ? target.replace(/^https?:\/\/[^/?#]*/i, "") : target;
  const end = path.search(/[?#]/);
  return (end < 0 ? path : path.slice(0, end)) || "/";
}

/**
 * Sets what the rules, the tags and the origin's health say.
 * @param {Setup} setup
 * @param {Asked} asked
 * @param {number} status
 * @param {Fields} fields
 * @param {readonly string[]} tags of the exchange
 * @param {boolean} degraded
 */
export function setFields(setup, asked, status, fields, tags, degraded) {
  const rule = ruleFor(setup.rules, asked.path);
  const { value, personal } = cacheControlFor(rule, {
    method: asked.method,
    status,
    path: asked.path,
    hasSession: hasSession(asked.authorization, asked.cookie, setup.sessionCookies),
    setsCookie: fields.get("set-cookie") !== null,
    cacheControl: fields.get("cache-control"),
  });
  if (value !== null) fields.set("cache-control", value);
  if (personal) for (const name of TARGETED_FIELDS) fields.remove(name);
  if (degraded) fields.set("x-origin-status", "degraded");

  const ruleTags = rule?.tags ?? [];
  if (ruleTags.length + tags.length === 0) return;
  const field = tagField(fields.get("cache-tag"), [...ruleTags, ...tags]);
  if (field === "too-many") {
    // A purge by a tag that an edge dropped would not reach it: then it is better not kept.
    fields.remove("cache-tag");
    fields.set("cache-control", PERSONAL);
    for (const name of TARGETED_FIELDS) fields.remove(name);
    setup.onProblem(`${asked.path} has more tags than an edge keeps; its answer is not shared`);
  } else if (field !== null) fields.set("cache-tag", field);
}

/**
 * True when 304 is the answer to a request whose whole answer would be this one.
 * @param {Asked} asked
 * @param {number} status
 * @param {string | null} etag
 */
export function isCurrent(asked, status, etag) {
  return (
    status === 200 &&
    (asked.method === "GET" || asked.method === "HEAD") &&
    isNotModified(asked.ifNoneMatch, etag)
  );
}
