/** Whether a request may use the cache at all; and, if it may, its key. */
import type { Freshness } from "../../cache/freshness.ts";
import { baseKey, keyQuery, secondaryKey, selectingKey } from "../../cache/key.ts";
import type { StoredResponse } from "../../cache/stored.ts";
import type { StoredUrl } from "../../cache/stored-url.ts";
import { nominatesFields } from "../../http/hop-by-hop.ts";
import { splitQuery } from "../../http/target.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { CacheReason } from "../message.ts";
import { cookieForwardedUnkeyed } from "./origin-request.ts";

/** Fields that a stored answer to OPTIONS depends on (the CORS preflight). */
const PREFLIGHT_FIELDS = ["access-control-request-headers", "access-control-request-method", "origin"];

/** Null when the request may be answered from the cache; otherwise why not. */
export function bypassReason(x: RoutedExchange): CacheReason | null {
  const { site, behavior, method } = x;
  if (!behavior.cachedMethods.has(method)) return "request-method";
  if (site.developmentMode) return "development-mode";
  if (!behavior.cache) return "behavior-no-cache";
  const { fields } = x.request;
  if (fields.has("authorization") && !authorizationAllowed(x)) return "request-authorization";
  // A cache does not evaluate these: only the origin can (RFC 9111 section 4.3.2).
  if (fields.has("if-match") || fields.has("if-unmodified-since")) return "request-condition";
  // What Connection nominates does not reach the origin: neither the key nor Vary may speak of it.
  if (nominatesFields(fields)) return "request-connection";
  // A body on GET means nothing to the key, so an answer to it can not be shared.
  if (fields.has("transfer-encoding") || (fields.get("content-length") ?? "0") !== "0") return "request-body";
  if (behavior.bypass !== null && isBypassed(x)) return "behavior-bypass";
  return null;
}

function authorizationAllowed({ behavior }: RoutedExchange): boolean {
  return behavior.ttl.storeAuthorized || behavior.key.headers.includes("authorization");
}

function isBypassed({ behavior, request, query }: RoutedExchange): boolean {
  const { bypass } = behavior;
  if (bypass === null) return false;
  if (bypass.headers.some((name) => request.fields.has(name))) return true;
  if (bypass.cookies.length > 0) {
    const cookies = request.fields.get("cookie");
    if (
      cookies?.split(";").some((pair) => matchesName(bypass.cookies, pair.split("=", 1)[0]?.trim() ?? ""))
    ) {
      return true;
    }
  }
  if (bypass.queryParameters.size === 0 || query === null) return false;
  return splitQuery(query).some(({ name }) => bypass.queryParameters.has(name));
}

/** What was stored by the operator's lifetime or a heuristic says nothing about viewers whose cookies the origin sees. */
export function mayUse(x: RoutedExchange, freshness: Freshness): boolean {
  return freshness.explicit || !cookieForwardedUnkeyed(x);
}

/** How a lookup ends that found nothing fresh: a stale response, another variant, or nothing. */
export function endUnfresh(
  x: RoutedExchange,
  url: StoredUrl | undefined,
  entry: StoredResponse | null,
): void {
  if (entry !== null) {
    x.end("expired", "past-freshness");
    x.forwarded = "stale";
    return;
  }
  const known = url !== undefined && url.count > 0;
  x.end("miss", known ? "vary-mismatch" : "not-stored");
  x.forwarded = known ? "vary-miss" : "uri-miss";
}

/** A name, or a prefix that ends in "*" (session cookies often carry a random tail). */
function matchesName(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : pattern === name,
  );
}

/** Fills in the key. */
export function makeKey(x: RoutedExchange): void {
  const { key } = x.behavior;
  x.keyQuery = keyQuery(key, x.query);
  x.base = baseKey(x.site.id, x.scheme, x.authority, x.originPath, x.keyQuery);
  x.secondary = secondaryKey(key, x.request.fields);
  if (x.method === "OPTIONS")
    x.secondary = `OPTIONS ${selectingKey(PREFLIGHT_FIELDS, x.request.fields)}${x.secondary}`;
}
