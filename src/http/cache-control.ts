/**
 * Cache directives (RFC 9111 section 5.2) in one readonly form, whichever field they came from:
 * Cache-Control, a targeted field (RFC 9213) or Surrogate-Control (Edge Architecture
 * Specification). What restricts storing is read leniently; what permits it is read strictly, so
 * that a mistake makes a response staler, never fresher.
 */
import { parseDictionary, Token } from "structured-headers";
import { memoize } from "./memo.ts";
import { isToken, splitList, trimOws, unquote } from "./syntax.ts";

/** Directives of a request or of a response; times in seconds, null when the directive is absent. */
export interface CacheControl {
  readonly maxAge: number | null;
  readonly sMaxage: number | null;
  readonly noStore: boolean;
  /** `no-cache` without field names. */
  readonly noCache: boolean;
  /** Lower-case names of a qualified `no-cache="..."`. */
  readonly noCacheFields: readonly string[];
  /** `private` without field names. */
  readonly private: boolean;
  /** Lower-case names of a qualified `private="..."`. */
  readonly privateFields: readonly string[];
  readonly public: boolean;
  readonly mustRevalidate: boolean;
  readonly proxyRevalidate: boolean;
  readonly mustUnderstand: boolean;
  readonly immutable: boolean;
  readonly noTransform: boolean;
  readonly onlyIfCached: boolean;
  readonly staleWhileRevalidate: number | null;
  readonly staleIfError: number | null;
  /** Infinity when `max-stale` has no value (RFC 9111 section 5.2.1.2). */
  readonly maxStale: number | null;
  readonly minFresh: number | null;
}

/** No directive at all. */
export const NO_CACHE_CONTROL: CacheControl = Object.freeze({
  maxAge: null,
  sMaxage: null,
  noStore: false,
  noCache: false,
  noCacheFields: Object.freeze([]),
  private: false,
  privateFields: Object.freeze([]),
  public: false,
  mustRevalidate: false,
  proxyRevalidate: false,
  mustUnderstand: false,
  immutable: false,
  noTransform: false,
  onlyIfCached: false,
  staleWhileRevalidate: null,
  staleIfError: null,
  maxStale: null,
  minFresh: null,
});

/** The largest delta-seconds, in seconds; larger ones count as this (RFC 9111 section 1.2.2). */
export const DELTA_SECONDS_MAX = 2 ** 31;

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** A directive's argument: absent, text (token or quoted string), or a whole number from a structured field. */
type Argument = string | number | null;

/** Parses Cache-Control of a request or response. Never fails: what is not understood is left out. */
export function parseCacheControl(value: string | null): CacheControl {
  return value === null || value === "" ? NO_CACHE_CONTROL : cacheControlOf(value);
}

/**
 * Parses a targeted field such as CDN-Cache-Control (RFC 9213 section 2.1). Null when it is absent,
 * empty or not a dictionary: then the next field in line decides.
 */
export function parseTargetedCacheControl(value: string | null): CacheControl | null {
  return value === null ? null : targetedOf(value);
}

/**
 * Parses Surrogate-Control. Null when absent or without a directive that concerns us. The stale
 * window of `max-age=600+60` allows stale serving both while revalidating and on errors.
 */
export function parseSurrogateControl(value: string | null): { cacheControl: CacheControl } | null {
  return value === null ? null : surrogateOf(value);
}

const cacheControlOf = memoize((value: string): CacheControl => {
  const result = { ...NO_CACHE_CONTROL };
  for (const member of splitList(value)) {
    const { name, argument } = splitDirective(member);
    applyDirective(result, name, argument);
  }
  return Object.freeze(result);
});

const targetedOf = memoize((value: string): CacheControl | null => {
  let dictionary: ReturnType<typeof parseDictionary>;
  try {
    dictionary = parseDictionary(value);
  } catch {
    return null;
  }
  if (dictionary.size === 0) return null;
  const result = { ...NO_CACHE_CONTROL };
  for (const [name, [bare]] of dictionary) {
    // Parameters are ignored, and so are members whose type is not the directive's (RFC 9213 section 2.1).
    if (SECONDS_DIRECTIVES.has(name)) {
      if (typeof bare === "number" && !hasDecimal(value, name)) applyDirective(result, name, bare);
    } else if (bare === true) applyDirective(result, name, null);
    else if (QUALIFIED_DIRECTIVES.has(name)) {
      if (typeof bare === "string") applyDirective(result, name, bare);
      else if (bare instanceof Token) applyDirective(result, name, bare.toString());
    }
  }
  return Object.freeze(result);
});

const surrogateOf = memoize((value: string): { cacheControl: CacheControl } | null => {
  const result = { ...NO_CACHE_CONTROL };
  let known = false;
  for (const member of splitList(value)) {
    const parts = splitList(member, ";");
    // `;name` aims a directive at the surrogate of that name; we have none, so it is for another.
    if (parts.length !== 1 || parts[0] === undefined) continue;
    const { name, argument } = splitDirective(parts[0]);
    const window = name === "max-age" && argument !== null ? /^(\d+)\+(\d+)$/.exec(argument) : null;
    if (window !== null) {
      applyDirective(result, name, window[1] ?? null);
      applyDirective(result, "stale-while-revalidate", window[2] ?? null);
      applyDirective(result, "stale-if-error", window[2] ?? null);
      known = true;
      // A CDN is the remote surrogate that no-store-remote speaks of.
    } else if (name === "no-store-remote") known = applyDirective(result, "no-store", null);
    else if (applyDirective(result, name, argument)) known = true;
  }
  return known ? Object.freeze({ cacheControl: Object.freeze(result) }) : null;
});

/** Whether the member was sent as a Decimal: the library makes 60.0 a plain 60, which is still of the wrong type. */
function hasDecimal(value: string, name: string): boolean {
  return value.includes(".") && new RegExp(`(?:^|[, \\t])${name}=-?[0-9]+\\.`).test(value);
}

const SECONDS_DIRECTIVES: ReadonlySet<string> = new Set([
  "max-age",
  "s-maxage",
  "stale-while-revalidate",
  "stale-if-error",
  "max-stale",
  "min-fresh",
]);
const QUALIFIED_DIRECTIVES: ReadonlySet<string> = new Set(["no-cache", "private"]);

/** `name[=argument]`, unquoted, the name in lower case. White space around `=` is not allowed and spoils the argument. */
function splitDirective(member: string): { name: string; argument: string | null } {
  const equals = member.indexOf("=");
  if (equals < 0) return { name: member.toLowerCase(), argument: null };
  return {
    name: trimOws(member.slice(0, equals)).toLowerCase(),
    argument: isToken(member.slice(0, equals)) ? unquote(member.slice(equals + 1)) : "",
  };
}

/** Adds one directive; false when it is unknown. */
function applyDirective(into: Mutable<CacheControl>, name: string, argument: Argument): boolean {
  switch (name) {
    case "max-age":
      into.maxAge = smaller(into.maxAge, deltaSeconds(argument));
      return true;
    case "s-maxage":
      into.sMaxage = smaller(into.sMaxage, deltaSeconds(argument));
      return true;
    case "stale-while-revalidate":
      into.staleWhileRevalidate = smaller(into.staleWhileRevalidate, deltaSeconds(argument));
      return true;
    case "stale-if-error":
      into.staleIfError = smaller(into.staleIfError, deltaSeconds(argument));
      return true;
    case "max-stale":
      into.maxStale = smaller(
        into.maxStale,
        argument === null ? Number.POSITIVE_INFINITY : deltaSeconds(argument),
      );
      return true;
    case "min-fresh":
      // A request's wish for more: here the larger value is the stricter one.
      into.minFresh = Math.max(into.minFresh ?? 0, deltaSeconds(argument));
      return true;
    case "no-store":
      into.noStore = true;
      return true;
    case "no-cache": {
      const names = fieldNames(argument);
      if (names === null) into.noCache = true;
      else into.noCacheFields = union(into.noCacheFields, names);
      return true;
    }
    case "private": {
      const names = fieldNames(argument);
      if (names === null) into.private = true;
      else into.privateFields = union(into.privateFields, names);
      return true;
    }
    case "public":
      into.public = true;
      return true;
    case "must-revalidate":
      into.mustRevalidate = true;
      return true;
    case "proxy-revalidate":
      into.proxyRevalidate = true;
      return true;
    case "must-understand":
      into.mustUnderstand = true;
      return true;
    case "immutable":
      into.immutable = true;
      return true;
    case "no-transform":
      into.noTransform = true;
      return true;
    case "only-if-cached":
      into.onlyIfCached = true;
      return true;
    default:
      return false;
  }
}

/** Seconds of an argument; 0 when it is invalid, which makes the response stale (RFC 9111 section 4.2.1). */
function deltaSeconds(argument: Argument): number {
  if (typeof argument === "number") return Math.min(Math.max(argument, 0), DELTA_SECONDS_MAX);
  if (argument === null || !/^\d+$/.test(argument)) return 0;
  return Math.min(Number(argument), DELTA_SECONDS_MAX);
}

/** Of two freshness directives of one name the one that is stale sooner counts (RFC 9111 section 4.2.1). */
function smaller(before: number | null, next: number): number {
  return before === null ? next : Math.min(before, next);
}

/** Names of a qualified directive; null when the list is missing, empty or malformed: then it holds for the whole response. */
function fieldNames(argument: Argument): string[] | null {
  if (typeof argument !== "string") return null;
  const names = splitList(argument.toLowerCase());
  return names.length > 0 && names.every(isToken) ? names : null;
}

function union(before: readonly string[], more: readonly string[]): readonly string[] {
  return Object.freeze([...new Set([...before, ...more])]);
}
