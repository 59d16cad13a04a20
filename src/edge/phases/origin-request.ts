/**
 * origin-request: what the next hop gets. The key and what is forwarded belong together (design,
 * section 5): on cacheable requests only what is in the key, or what Vary can tell apart, goes on.
 */

import { chooseLanguage } from "../../cache/key.ts";
import type { StoredResponse } from "../../cache/stored.ts";
import type { OriginConfig } from "../../config/schema.ts";
import { normalizeAcceptEncoding } from "../../http/accept-encoding.ts";
import type { BodyReader } from "../../http/body.ts";
import { appendCdnLoop } from "../../http/cdn-loop.ts";
import { filterCookies } from "../../http/cookie.ts";
import { Fields, flatOf } from "../../http/fields.ts";
import { formatForwarded } from "../../http/forwarded.ts";
import { stripHopByHop } from "../../http/hop-by-hop.ts";
import { memoize } from "../../http/memo.ts";
import { appendVia } from "../../http/via.ts";
import type { UpstreamRequest } from "../../upstream/next-hop.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { EdgeSettings } from "../settings.ts";
import { applyRules } from "./viewer-fields.ts";

/**
 * Fields by which viewers try to speak for a proxy or to change the request behind the key's back.
 * They pass only from a trusted proxy (`x-forwarded-*` is made anew in any case).
 */
const PROXY_FIELDS: ReadonlySet<string> = new Set([
  "forwarded",
  "x-forwarded",
  "forwarded-for",
  "x-forward-for",
  "x-forwarded-for-original",
  "x-real-ip",
  "x-client-ip",
  "true-client-ip",
  "x-cluster-client-ip",
  "cf-connecting-ip",
  "fastly-client-ip",
  "x-remote-ip",
  "x-remote-addr",
  "x-originating-ip",
  "x-azure-clientip",
  "x-azure-socketip",
  "x-appengine-user-ip",
  "x-original-url",
  "x-original-uri",
  "x-original-path",
  "x-original-host",
  "x-original-method",
  "x-rewrite-url",
  "x-rewrite-uri",
  "x-host",
  "x-backend-host",
  "x-server-name",
  "x-override-url",
  "x-request-uri",
  "x-base-url",
  "base-url",
  "front-end-https",
  "x-http-method-override",
  "x-http-method",
  "x-method-override",
  "x-method",
  "x-http-host-override",
  "x-http-scheme",
  "client-cert",
  "client-cert-chain",
  "x-middleware-subrequest",
  "x-original-forwarded-for",
  "x-envoy-original-path",
  "x-url-scheme",
  "x-scheme",
]);

/** Fields that the connection or the writer makes anew; `proxy` becomes HTTP_PROXY in CGI programs (httpoxy). */
const MADE_ANEW: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "expect",
  "http2-settings",
  "early-data",
  "proxy",
]);

const NEEDED: ReadonlySet<string> = new Set([
  "accept-encoding",
  "cookie",
  "content-type",
  "content-encoding",
  "cdn-loop",
  "via",
]);

/** Conditions of the viewer, and what it says to caches: a cacheable fetch asks for the whole and answers them here. */
const CONDITIONS_BUT_RANGE: ReadonlySet<string> = new Set([
  "if-none-match",
  "if-modified-since",
  "if-match",
  "if-unmodified-since",
  "cache-control",
  "pragma",
]);
/** The same with its ranges. */
const CONDITIONS: ReadonlySet<string> = new Set([...CONDITIONS_BUT_RANGE, "if-range", "range"]);

/** How a request goes on. */
export interface OriginRequestOptions {
  /** The answer may be stored: conditions are taken out, and only keyed ingredients go on. */
  readonly cacheable: boolean;
  /** A stored response to revalidate. */
  readonly revalidate: StoredResponse | null;
  readonly method: string;
  readonly body: BodyReader | null;
  readonly signal: AbortSignal | null;
  /** Keep the viewer's Range although the rest is cacheable (the object is known to be too large). */
  readonly keepRange: boolean;
  /** A range of our own, of one version only when `ifRange` names it (RFC 9110 section 13.1.5). */
  readonly span?: { readonly range: string; readonly ifRange: string | null } | undefined;
}

/** Builds the request to the origin; without one to a group, whose members each make their own Host of the viewer's. */
export function originRequest(
  x: RoutedExchange,
  origin: OriginConfig | null,
  settings: EdgeSettings,
  options: OriginRequestOptions,
): UpstreamRequest {
  const { behavior, request } = x;
  const fields = ownFields(x, settings, behavior.forwardHeaders);
  if (options.cacheable) {
    takeConditions(fields, options);
    forwardCookies(x, fields);
    forwardCoding(x, fields);
    if (behavior.key.languages !== null) {
      fields.set(
        "accept-language",
        chooseLanguage(request.fields.get("accept-language"), behavior.key.languages),
      );
    }
  }
  addConditions(fields, options);
  speakForViewer(x, fields, settings);
  applyRules(fields, behavior.requestRules);
  return {
    method: options.method,
    scheme: x.scheme,
    authority: origin === null ? x.authority : hostFor(origin, x.authority),
    target: targetOf(x, x.originPath, options),
    fields,
    body: options.body,
    bodyLength: bodyLength(x, options.body),
    signal: options.signal,
  };
}

/**
 * Builds the request to a shield: what the viewer asked for, with all that the shield's own key, bypasses
 * and rules may read. It makes the origin's request of it as this edge would have.
 */
export function shieldRequest(
  x: RoutedExchange,
  settings: EdgeSettings,
  options: OriginRequestOptions,
): UpstreamRequest {
  const fields = ownFields(x, settings, "all");
  if (options.cacheable) {
    takeConditions(fields, options);
    forwardCoding(x, fields);
  }
  addConditions(fields, options);
  speakForViewer(x, fields, settings);
  return {
    method: options.method,
    scheme: x.scheme,
    authority: x.authority,
    target: targetOf(x, x.path, options),
    fields,
    body: options.body,
    bodyLength: bodyLength(x, options.body),
    signal: options.signal,
  };
}

/** Which of the fields that are not needed in any case go on. */
type ForwardRule = RoutedExchange["behavior"]["forwardHeaders"];

/** The viewer's fields that may go on. */
function ownFields(x: RoutedExchange, settings: EdgeSettings, rule: ForwardRule): Fields {
  const { request } = x;
  const trusted = settings.trustedProxies?.has(request.peerAddress);
  const fields = new Fields();
  const flat = flatOf(request.fields);
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    // CGI, WSGI and PHP read `X_Forwarded_Host` as if it were `X-Forwarded-Host`.
    const meant = name.includes("_") ? name.replaceAll("_", "-") : name;
    if (MADE_ANEW.has(meant) || name.startsWith(":") || meant.startsWith("x-proxima-")) continue;
    if (meant.startsWith("x-forwarded-") || (PROXY_FIELDS.has(meant) && !trusted)) continue;
    if (!isForwarded(name, rule) && !isNeeded(name)) continue;
    fields.append(name, flat[i + 1] as string);
  }
  stripHopByHop(fields);
  return fields;
}

/** A cacheable fetch is for the whole, or for a span of it: the viewer's conditions are answered here. */
function takeConditions(fields: Fields, options: OriginRequestOptions): void {
  fields.deleteAll(options.keepRange ? CONDITIONS_BUT_RANGE : CONDITIONS);
  if (options.span !== undefined) {
    fields.set("range", options.span.range);
    if (options.span.ifRange !== null) fields.set("if-range", options.span.ifRange);
  }
}

/** The conditions of a revalidation. */
function addConditions(fields: Fields, { revalidate }: OriginRequestOptions): void {
  if (revalidate === null) return;
  const lastModified = revalidate.fields.get("last-modified");
  if (revalidate.etag !== null) fields.set("if-none-match", revalidate.etag);
  if (lastModified !== null) fields.set("if-modified-since", lastModified);
}

/** Says who asks and what for, and that this node passed it on. */
function speakForViewer(x: RoutedExchange, fields: Fields, settings: EdgeSettings): void {
  const { request } = x;
  const believed = x.fromEdge || settings.trustedProxies?.has(request.peerAddress) === true;
  const chain = believed ? request.fields.get("x-forwarded-for") : null;
  const forwarded = believed ? request.fields.get("forwarded") : null;
  // An edge has put its viewer there already: the origin sees the same through a shield as without one.
  const own = x.fromEdge
    ? null
    : formatForwarded({ for: request.peerAddress, proto: x.scheme, host: x.authority });
  fields.set("x-forwarded-for", listOf(chain, x.fromEdge ? null : request.peerAddress));
  fields.set("x-forwarded-proto", x.scheme);
  fields.set("x-forwarded-host", x.authority);
  fields.set("forwarded", listOf(forwarded, own));
  fields.set("via", appendVia(fields.get("via"), settings.name));
  fields.set("cdn-loop", appendCdnLoop(fields.get("cdn-loop"), settings.loopId));
}

function listOf(before: string | null, own: string | null): string {
  if (before === null) return own ?? "";
  return own === null ? before : `${before}, ${own}`;
}

function targetOf(x: RoutedExchange, path: string, { cacheable }: OriginRequestOptions): string {
  const query = cacheable && !x.behavior.forwardAllQuery ? x.keyQuery : x.query;
  return query === null ? path : `${path}?${query}`;
}

const hostOfUrl = memoize((url) => new URL(url).host);

/** The Host that an origin gets. */
export function hostFor(origin: OriginConfig, authority: string): string {
  if (!("url" in origin) || origin.hostHeader === "viewer") return authority;
  if (origin.hostHeader === "origin") return hostOfUrl(origin.url);
  return origin.hostHeader.name;
}

/** True when the request's cookies reach the origin and the key does not hold them all. */
export function cookieForwardedUnkeyed(x: RoutedExchange): boolean {
  const { forwardCookies: forward, key } = x.behavior;
  if (forward === "none" || !x.request.fields.has("cookie")) return false;
  if (forward === "all") return true;
  return forward.some((name) => !key.cookies.includes(name));
}

/** Fields without which a request is not itself, whatever `forward.headers` says. */
function isNeeded(name: string): boolean {
  return NEEDED.has(name);
}

function isForwarded(name: string, rule: ForwardRule): boolean {
  if (rule === "all") return true;
  return "include" in rule ? rule.include.has(name) : !rule.exclude.has(name);
}

function forwardCookies(x: RoutedExchange, fields: Fields): void {
  const rule = x.behavior.forwardCookies;
  if (rule === "all") return;
  const cookie = fields.get("cookie");
  if (cookie === null) return;
  const kept = rule === "none" ? null : filterCookies(cookie, rule);
  if (kept === null || kept === "") fields.delete("cookie");
  else fields.set("cookie", kept);
}

/** Where the edge compresses it asks for one coding, so that one object serves all; else for what the viewer takes. */
function forwardCoding(x: RoutedExchange, fields: Fields): void {
  // A part of a coded body can not be expanded for a viewer who does not take the coding.
  const coding = fields.has("range")
    ? "identity"
    : x.behavior.compress
      ? "gzip"
      : normalizeAcceptEncoding(x.request.fields.get("accept-encoding"));
  fields.set("accept-encoding", coding === "" ? "identity" : coding);
}

function bodyLength(x: RoutedExchange, body: BodyReader | null): number | null {
  if (body === null) return null;
  const length = x.request.fields.get("content-length");
  return length !== null && /^\d{1,15}$/.test(length) ? Number(length) : null;
}
