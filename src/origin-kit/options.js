/** Options of the kit, checked once at the start: a misspelt name or a wrong unit must not pass in silence. */
import { SESSION_COOKIES } from "./rules.js";
import { tagText } from "./tags.js";

/** @import { OriginKitOptions, CacheRule, HealthOptions, PurgeOptions } from "./types.d.ts" */

const RULES_MAX = 1_000;
const SECONDS_MAX = 2_147_483_647;
const PATTERN_CHARS_MAX = 1_024;
const HOUR_MS = 3_600_000;

/** @param {string} path @param {string} expected @param {unknown} value @returns {never} */
function wrong(path, expected, value) {
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 60)) : describe(value);
  throw new TypeError(`origin kit: ${path}: expected ${expected}; got ${shown}`);
}

/** @param {unknown} value */
function describe(value) {
  if (value === undefined) return "nothing";
  if (value === null || typeof value === "number" || typeof value === "boolean") return String(value);
  return Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** The object's own members, all of them among `names`. @param {string} path @param {unknown} value @param {readonly string[]} names */
function members(path, value, names) {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    wrong(path, `an object {${names.join(", ")}}`, value);
  for (const name of Object.keys(value)) {
    if (!names.includes(name))
      throw new TypeError(`origin kit: ${path}.${name} is no option; there are ${names.join(", ")}`);
  }
  return /** @type {Record<string, unknown>} */ (value);
}

/** @param {string} path @param {unknown} value @param {string} unit @param {number} min @param {number} max @param {number} fallback */
function whole(path, value, unit, min, max, fallback) {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
    wrong(path, `a whole number of ${unit} from ${min} to ${max}`, value);
  return value;
}

/** @param {string} path @param {unknown} value @returns {readonly unknown[]} */
function list(path, value) {
  if (value === undefined) return [];
  if (!Array.isArray(value)) wrong(path, "a list", value);
  return value;
}

/** @param {CacheRule} rule @param {number} index @returns {CacheRule} */
function readRule(rule, index) {
  const path = `rules[${index}]`;
  const given = members(path, rule, [
    "path",
    "maxAgeSeconds",
    "sharedMaxAgeSeconds",
    "staleWhileRevalidateSeconds",
    "staleIfErrorSeconds",
    "immutable",
    "private",
    "ignoreSession",
    "errorMaxAgeSeconds",
    "tags",
  ]);
  if (typeof given.path !== "string" || !/^[/*]/.test(given.path) || given.path.length > PATTERN_CHARS_MAX)
    wrong(`${path}.path`, 'a pattern beginning with "/" or "*" such as "/assets/*"', given.path);
  for (const [name, value] of Object.entries(given)) {
    if (name.endsWith("Seconds")) whole(`${path}.${name}`, value, "seconds", 0, SECONDS_MAX, 0);
  }
  if (![undefined, true, false, "hashed"].includes(/** @type {boolean | undefined} */ (given.immutable)))
    wrong(`${path}.immutable`, 'true, false or "hashed"', given.immutable);
  for (const name of ["private", "ignoreSession"]) {
    if (given[name] !== undefined && typeof given[name] !== "boolean")
      wrong(`${path}.${name}`, "true or false", given[name]);
  }
  if (given.private === true && (given.immutable || given.sharedMaxAgeSeconds !== undefined))
    throw new TypeError(`origin kit: ${path}: private can not stand beside immutable or sharedMaxAgeSeconds`);
  return { ...rule, tags: list(`${path}.tags`, given.tags).map(tagText) };
}

/** @param {HealthOptions | false | undefined} options */
function readHealth(options) {
  if (options === false) return null;
  const given = members("health", options ?? {}, ["delayMs", "heapFraction", "recoverMs"]);
  const { heapFraction = 0.9 } = given;
  if (typeof heapFraction !== "number" || !(heapFraction > 0 && heapFraction <= 1))
    wrong("health.heapFraction", "a number above 0, to 1", heapFraction);
  return {
    delayMs: whole("health.delayMs", given.delayMs, "milliseconds", 1, HOUR_MS, 200),
    heapFraction,
    recoverMs: whole("health.recoverMs", given.recoverMs, "milliseconds", 0, HOUR_MS, 10_000),
  };
}

/** @param {unknown} text @param {string} path @param {boolean} hasToken */
function controlOrigin(text, path, hasToken) {
  const url = typeof text === "string" && URL.canParse(text) ? new URL(text) : null;
  if (
    url === null ||
    !/^https?:$/.test(url.protocol) ||
    `${url.username}${url.password}${url.search}${url.hash}` !== ""
  )
    wrong(path, 'a URL such as "http://127.0.0.1:8081", without user, query and fragment', undefined);
  if (url.pathname !== "/") wrong(path, "the URL of a control listener, without a path", url.pathname);
  const isNear = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (hasToken && url.protocol === "http:" && !isNear)
    throw new TypeError(
      `origin kit: ${path}: ${url.origin} would get the token in the clear; use https beyond loopback`,
    );
  return url.origin;
}

/** @param {PurgeOptions | undefined} options */
function readPurge(options) {
  if (options === undefined) return null;
  const given = members("purge", options, [
    "control",
    "token",
    "site",
    "mode",
    "content",
    "gatherMs",
    "waitingMax",
    "timeoutMs",
    "fetch",
  ]);
  const { token, site, mode = "hard", content = {}, fetch = globalThis.fetch } = given;
  // Never shown: it may be the token itself, with a line break.
  if (token !== undefined && (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)))
    wrong("purge.token", "visible ASCII characters", undefined);
  if (site !== undefined && (typeof site !== "string" || !/^[a-z0-9][a-z0-9-]{0,62}$/.test(site)))
    wrong("purge.site", "the id of a site of the edge", site);
  if (mode !== "hard" && mode !== "soft") wrong("purge.mode", '"hard" or "soft"', mode);
  if (typeof content !== "object" || content === null)
    wrong("purge.content", "an object of functions", content);
  for (const [kind, map] of Object.entries(content)) {
    if (typeof map !== "function") wrong(`purge.content.${kind}`, "a function of an id", map);
  }
  if (typeof fetch !== "function") wrong("purge.fetch", "a function", fetch);
  const controls = typeof given.control === "string" ? [given.control] : list("purge.control", given.control);
  if (controls.length === 0) wrong("purge.control", "at least one control listener", given.control);
  return {
    controls: controls.map((one, i) => controlOrigin(one, `purge.control[${i}]`, token !== undefined)),
    token: token ?? null,
    site: site ?? null,
    mode: /** @type {"hard" | "soft"} */ (mode),
    content: /** @type {NonNullable<PurgeOptions["content"]>} */ (content),
    gatherMs: whole("purge.gatherMs", given.gatherMs, "milliseconds", 0, HOUR_MS, 50),
    waitingMax: whole("purge.waitingMax", given.waitingMax, "targets", 1, 10_000_000, 100_000),
    timeoutMs: whole("purge.timeoutMs", given.timeoutMs, "milliseconds", 1, HOUR_MS, 10_000),
    fetch: /** @type {(url: string, init: RequestInit) => Promise<Response>} */ (fetch),
  };
}

/** All options, with their defaults. Throws a TypeError. @param {OriginKitOptions} options */
export function readOptions(options) {
  const given = members("options", options, [
    "rules",
    "sessionCookies",
    "etagBytesMax",
    "health",
    "purge",
    "onProblem",
  ]);
  const rules = list("rules", given.rules);
  if (rules.length > RULES_MAX) wrong("rules", `at most ${RULES_MAX} rules`, rules.length);
  const cookies =
    given.sessionCookies === undefined ? SESSION_COOKIES : list("sessionCookies", given.sessionCookies);
  cookies.forEach((name, i) => {
    if (typeof name !== "string" || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
      wrong(`sessionCookies[${i}]`, 'a cookie name such as "sid"', name);
  });
  const { onProblem = (/** @type {string} */ message) => console.warn(`proxima origin kit: ${message}`) } =
    given;
  if (typeof onProblem !== "function") wrong("onProblem", "a function", onProblem);
  return {
    rules: rules.map((rule, i) => readRule(/** @type {CacheRule} */ (rule), i)),
    sessionCookies: /** @type {readonly string[]} */ (cookies),
    etagBytesMax:
      given.etagBytesMax === false
        ? null
        : whole("etagBytesMax", given.etagBytesMax, "bytes", 1, 1_073_741_824, 1_048_576),
    health: readHealth(/** @type {HealthOptions | false | undefined} */ (given.health)),
    purge: readPurge(/** @type {PurgeOptions | undefined} */ (given.purge)),
    onProblem: /** @type {(message: string) => void} */ (onProblem),
  };
}
