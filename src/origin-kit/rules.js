/** What Cache-Control a response gets. Pure: the rule, the request and what the application said decide. */
import { hashInName } from "./hashed-name.js";
import { matchesPath } from "./pattern.js";

/** @import { CacheRule } from "./types.d.ts" */

const YEAR_SECONDS = 31_536_000;
/** What is for one viewer alone; he may keep it if he asks each time. */
export const PERSONAL = "private, no-cache";

/** Statuses whose answers a rule's lifetimes are meant for: what was asked for is there, or stands elsewhere for good. */
const GOOD_STATUSES = new Set([200, 203, 204, 206, 300, 301, 304, 308]);
const GONE_STATUSES = new Set([404, 410]);

/** Session cookies of widely used frameworks. */
export const SESSION_COOKIES = [
  "session",
  "sessionid",
  "session_id",
  "sid",
  "connect.sid",
  "token",
  "jwt",
  "auth",
  "access_token",
  "PHPSESSID",
  "JSESSIONID",
  "ASP.NET_SessionId",
  ".AspNetCore.*",
  "laravel_session",
  "next-auth.session-token",
  "authjs.session-token",
  "wordpress_logged_in_*",
];

/**
 * The rule of a path: the first that matches.
 * @param {readonly CacheRule[]} rules
 * @param {string} path
 * @returns {CacheRule | null}
 */
export function ruleFor(rules, path) {
  return rules.find((rule) => matchesPath(rule.path, path)) ?? null;
}

/**
 * True when a request belongs to somebody: it has Authorization, or a cookie that carries a session.
 * @param {string | null} authorization
 * @param {string | null} cookie
 * @param {readonly string[]} names
 */
export function hasSession(authorization, cookie, names) {
  if (authorization !== null) return true;
  if (cookie === null) return false;
  return cookie.split(";").some((pair) => {
    const equals = pair.indexOf("=");
    const name = pair.slice(0, equals < 0 ? undefined : equals).trim();
    const plain = name.replace(/^__(?:Host|Secure)-/, "");
    return names.some((known) =>
      known.endsWith("*") ? plain.startsWith(known.slice(0, -1)) : plain === known,
    );
  });
}

/**
 * @typedef {object} Said
 * @property {string} method
 * @property {number} status
 * @property {string} path
 * @property {boolean} hasSession the request belongs to somebody
 * @property {boolean} setsCookie
 * @property {string | null} cacheControl what the application said
 */

/**
 * What Cache-Control becomes: null leaves it as it is. `personal` is true when no shared cache may have the
 * answer, so that fields that speak to one kind of cache have to go too.
 * @param {CacheRule | null} rule
 * @param {Said} said
 * @returns {{ readonly value: string | null, readonly personal: boolean }}
 */
export function cacheControlFor(rule, said) {
  if (said.method !== "GET" && said.method !== "HEAD") return { value: null, personal: false };
  const personal =
    rule?.private === true || said.setsCookie || (said.hasSession && rule?.ignoreSession !== true);
  if (personal) {
    // Stricter words of the application stand.
    return { value: isUnshared(said.cacheControl) ? null : PERSONAL, personal };
  }
  if (said.cacheControl !== null || rule === null) return { value: null, personal };
  if (GONE_STATUSES.has(said.status)) {
    const seconds = rule.errorMaxAgeSeconds;
    return { value: seconds === undefined ? null : `public, max-age=${seconds}`, personal };
  }
  return { value: GOOD_STATUSES.has(said.status) ? lifetimes(rule, said.path) : null, personal };
}

/** True when no shared cache stores it. @param {string | null} cacheControl */
function isUnshared(cacheControl) {
  // Without its quoted parts: a qualified private="x" keeps only a field from being shared.
  const plain = (cacheControl ?? "").replace(/"[^"]*"/g, '"');
  return /(?:^|,)\s*(?:private|no-store)\s*(?:,|$)/i.test(plain);
}

/** @param {CacheRule} rule @param {string} path @returns {string | null} */
function lifetimes(rule, path) {
  if (rule.immutable === true || (rule.immutable === "hashed" && hashInName(path) === "certain"))
    return `public, max-age=${YEAR_SECONDS}, immutable`;
  const parts = [];
  if (rule.sharedMaxAgeSeconds !== undefined) parts.push(`s-maxage=${rule.sharedMaxAgeSeconds}`);
  if (rule.staleWhileRevalidateSeconds !== undefined)
    parts.push(`stale-while-revalidate=${rule.staleWhileRevalidateSeconds}`);
  if (rule.staleIfErrorSeconds !== undefined) parts.push(`stale-if-error=${rule.staleIfErrorSeconds}`);
  if (rule.maxAgeSeconds === undefined && parts.length === 0) return null;
  return ["public", `max-age=${rule.maxAgeSeconds ?? 0}`, ...parts].join(", ");
}
