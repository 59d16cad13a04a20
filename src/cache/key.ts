/**
 * The cache key. The base key is what a URL purge, an invalidation and the variant limit act on:
 * site, scheme, host, path and the query that the recipe keeps. Below it, the secondary key holds
 * the configured headers, cookies, device and language; Vary chooses below that.
 *
 * The key and what is forwarded belong together: `keyQuery` is also what a cacheable request sends.
 */

import { TRACKING_PARAMETERS } from "../config/compile.ts";
import type { KeyRecipe } from "../config/plan.ts";
import { readCookies } from "../http/cookie.ts";
import type { FieldReader } from "../http/fields.ts";
import { splitQuery } from "../http/target.ts";
import { normalizeSelectingValue } from "../http/vary.ts";

/** The query that is part of the key, without "?"; null when there is none. */
export function keyQuery(recipe: KeyRecipe, query: string | null): string | null {
  if (query === null || query === "" || recipe.query.kind === "none") return null;
  return recipe.queryAsIs ? query : chosenQuery(recipe, query);
}

function chosenQuery(recipe: KeyRecipe, query: string): string | null {
  const rule = recipe.query;
  let parts = splitQuery(query).filter(({ name }) => {
    if (recipe.stripTracking && isTracking(name)) return false;
    if (rule.kind === "include") return rule.names.has(name);
    if (rule.kind === "exclude") return !rule.names.has(name);
    return true;
  });
  if (recipe.sortQuery) {
    // By name only, and stably: the order of equal names can matter to the origin.
    parts = parts.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }
  return parts.length === 0 ? null : parts.map(({ raw }) => raw).join("&");
}

function isTracking(name: string): boolean {
  return name.startsWith("utm_") || TRACKING_PARAMETERS.has(name);
}

/** The base key. `query` is the result of keyQuery. */
export function baseKey(
  site: string,
  scheme: string,
  authority: string,
  path: string,
  query: string | null,
): string {
  const begin = beginOf(site, scheme, authority);
  return query === null ? `${begin}${path}` : `${begin}${path}?${query}`;
}

/** What the last key began with: many in a row begin alike. */
let last = { site: "", scheme: "", authority: "", begin: "" };

function beginOf(site: string, scheme: string, authority: string): string {
  if (last.site !== site || last.scheme !== scheme || last.authority !== authority)
    last = { site, scheme, authority, begin: `${site} ${scheme}://${authority}` };
  return last.begin;
}

/** The site of a base key. */
export function siteOf(base: string): string {
  return base.slice(0, base.indexOf(" "));
}

/** One ingredient of the secondary key, for explain. */
export interface KeyIngredient {
  readonly kind: "header" | "cookie" | "device" | "language";
  readonly name: string;
  readonly value: string | null;
}

/** The ingredients below the base key, in a fixed order. */
export function secondaryIngredients(recipe: KeyRecipe, fields: FieldReader): KeyIngredient[] {
  const ingredients: KeyIngredient[] = [];
  for (const name of recipe.headers) {
    ingredients.push({ kind: "header", name, value: normalizeSelectingValue(name, fields.get(name)) });
  }
  if (recipe.cookies.length > 0) {
    const found = readCookies(fields.get("cookie"), recipe.cookies);
    for (const name of recipe.cookies) {
      // A cookie sent twice counts with both values: which one the origin reads is not known.
      const values = found.flatMap(([found, value]) => (found === name ? [value] : []));
      ingredients.push({ kind: "cookie", name, value: values.length === 0 ? null : values.join(";") });
    }
  }
  if (recipe.device) {
    ingredients.push({ kind: "device", name: "device", value: deviceClass(fields.get("user-agent")) });
  }
  if (recipe.languages !== null) {
    const value = chooseLanguage(fields.get("accept-language"), recipe.languages);
    ingredients.push({ kind: "language", name: "language", value });
  }
  return ingredients;
}

/** The secondary key: "" when the recipe has none. Length-prefixed, so that values can not run into each other. */
export function secondaryKey(recipe: KeyRecipe, fields: FieldReader): string {
  if (!recipe.hasSecondary) return "";
  let key = "";
  for (const { value } of secondaryIngredients(recipe, fields)) {
    key += value === null ? "-;" : `${value.length}:${value};`;
  }
  return key;
}

/** The values of the fields that a stored response's Vary names, as one string (RFC 9111 section 4.1). */
export function selectingKey(vary: readonly string[], fields: FieldReader): string {
  let key = "";
  for (const name of vary) {
    const value = normalizeSelectingValue(name, fields.get(name));
    key += value === null ? "-;" : `${value.length}:${value};`;
  }
  return key;
}

/** Which variant of its URL a request asks for, where responses named these fields in Vary: what stored ones are told apart by. */
export function variantOf(secondary: string, vary: readonly string[], fields: FieldReader): string {
  return vary.length === 0 ? secondary : secondary + selectingKey(vary, fields);
}

/** A coarse class of device, as CDNs put it into the key. */
export type DeviceClass = "mobile" | "tablet" | "desktop";

/** The class that a User-Agent names. */
export function deviceClass(userAgent: string | null): DeviceClass {
  if (userAgent === null) return "desktop";
  if (/ipad|tablet|kindle|silk|playbook/i.test(userAgent)) return "tablet";
  if (/android/i.test(userAgent)) return /mobile/i.test(userAgent) ? "mobile" : "tablet";
  return /iphone|ipod|mobile|windows phone|blackberry|opera mini/i.test(userAgent) ? "mobile" : "desktop";
}

/** Most languages of an Accept-Language that are looked at. */
const LANGUAGE_RANGES_MAX = 16;

/** The supported language that fits best (RFC 4647 lookup), or the first supported one. */
export function chooseLanguage(acceptLanguage: string | null, supported: readonly string[]): string {
  const fallback = supported[0] ?? "";
  if (acceptLanguage === null) return fallback;
  const ranges = acceptLanguage
    .split(",", LANGUAGE_RANGES_MAX)
    .map((part, order) => {
      const [tag = "", ...parameters] = part.trim().toLowerCase().split(";");
      const q = parameters.map((text) => /^\s*q=([01](?:\.\d{0,3})?)\s*$/.exec(text)?.[1]).find(Boolean);
      return { tag: tag.trim(), quality: q === undefined ? 1 : Number(q), order };
    })
    .filter(({ tag, quality }) => tag !== "" && quality > 0)
    .toSorted((a, b) => b.quality - a.quality || a.order - b.order);
  for (const { tag } of ranges) {
    if (tag === "*") return fallback;
    for (
      let range = tag;
      range !== "";
      range = range.includes("-") ? range.slice(0, range.lastIndexOf("-")) : ""
    ) {
      const found = supported.find((language) => language.toLowerCase() === range);
      if (found !== undefined) return found;
    }
  }
  return fallback;
}
