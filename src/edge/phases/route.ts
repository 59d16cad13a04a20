/** route: site by host, redirects, behaviour by path (first match), protocol policy, methods, rewrites. */
import { fillTemplate } from "../../config/pattern.ts";
import type { BehaviorPlan, SitePlan, Snapshot } from "../../config/plan.ts";
import { foldPath } from "../../http/target.ts";
import type { Exchange } from "../exchange.ts";
import type { ViewerResponse } from "../message.ts";
import type { EdgeSettings } from "../settings.ts";
import { madeAnswer } from "./answer.ts";

/** Finds site and behaviour; returns an answer when the edge itself answers. */
export function route(x: Exchange, snapshot: Snapshot, settings: EdgeSettings): ViewerResponse | null {
  const site = snapshot.hosts.find(x.hostname);
  if (site === null) {
    x.end("bypass", "no-site");
    return madeAnswer(x, settings, { status: 404, message: `No site here has the host ${x.hostname}.` });
  }
  x.site = site;
  // An edge that asks has seen to what concerns viewers.
  if (site.redirects.length > 0 && !x.fromEdge) {
    const location = redirectOf(site, x);
    if (location !== null) return redirect(x, settings, location.status, location.to);
  }
  const behavior = behaviorFor(site, x.path);
  if (behavior === null) {
    x.end("bypass", "no-site");
    return madeAnswer(x, settings, { status: 404, message: "No behaviour of this site matches the path." });
  }
  x.behavior = behavior;
  if (x.scheme === "http" && behavior.viewerProtocol !== "allow-all" && !x.fromEdge) {
    if (behavior.viewerProtocol === "https-only") {
      return madeAnswer(x, settings, { status: 403, message: "This is served over https only." });
    }
    // 308 keeps the method and the body of what is not a plain read.
    const status = x.method === "GET" || x.method === "HEAD" ? 301 : 308;
    return redirect(x, settings, status, httpsUrl(x, settings));
  }
  if (behavior.allowedMethods !== null && !behavior.allowedMethods.has(x.method)) {
    const allow = [...behavior.allowedMethods].join(", ");
    return madeAnswer(x, settings, {
      status: 405,
      message: `The method ${x.method} is not allowed here.`,
      allow,
    });
  }
  x.originPath = originPath(site, behavior, x.path);
  return null;
}

/**
 * The first behaviour whose pattern matches the path, or what an origin may read in it: `//api/private`
 * must not slip past the behaviour of `/api/private`.
 */
export function behaviorFor(site: SitePlan, path: string): BehaviorPlan | null {
  const folded = foldPath(path);
  for (const behavior of site.behaviors) {
    if (behavior.pattern.matches(path) || (folded !== path && behavior.pattern.matches(folded)))
      return behavior;
  }
  return null;
}

/** The path after the default document and the behaviour's first matching rewrite. */
export function originPath(site: SitePlan, behavior: BehaviorPlan, path: string): string {
  for (const { match, to } of behavior.rewrites) {
    const captures = match.capture(path);
    if (captures === null) continue;
    const rewritten = fillTemplate(to, captures);
    return rewritten.startsWith("/") ? rewritten : `/${rewritten}`;
  }
  if (path === "/" && site.defaultDocument !== null) {
    return site.defaultDocument.startsWith("/") ? site.defaultDocument : `/${site.defaultDocument}`;
  }
  return path;
}

function redirectOf(site: SitePlan, x: Exchange): { to: string; status: number } | null {
  for (const rule of site.redirects) {
    if (rule.host !== null && !hostMatches(rule.host, x.hostname)) continue;
    const captures = rule.path === null ? [] : rule.path.capture(x.path);
    if (captures === null) continue;
    const query = x.query === null ? "" : `?${x.query}`;
    const named = { scheme: x.scheme, host: x.authority, path: x.path, query };
    const to = onItsHost(fillTemplate(hostClosed(rule.to, captures), captures, named), rule.to);
    // A rule that leads back to the same URL would loop.
    if (!isSameUrl(to, `${x.scheme}://${x.authority}${x.path}${query}`)) return { to, status: rule.status };
  }
  return null;
}

/** A capture right behind a host begins the path: "https://shop.example$1" must not become "https://shop.example.evil". */
function hostClosed(template: string, captures: readonly string[]): string {
  const match = /^(?:[a-z]+|\$scheme):\/\/(?:[^/?#$]|\$host)+(?=\$([1-9]))/.exec(template);
  if (match === null) return template;
  const capture = captures[Number(match[1]) - 1] ?? "";
  return capture === "" || capture.startsWith("/")
    ? template
    : `${match[0]}/${template.slice(match[0].length)}`;
}

/** A path template stays a path: "/$1" filled with "/evil.example" would name another host (RFC 3986 section 4.2). */
function onItsHost(to: string, template: string): string {
  return template.startsWith("/") && !template.startsWith("//") ? to.replace(/^[/\\]{2,}/, "/") : to;
}

/** Do both lead to one request? A fragment does not reach the server. */
function isSameUrl(to: string, self: string): boolean {
  const url = URL.parse(to, self);
  if (url === null) return false;
  url.hash = "";
  return url.href === new URL(self).href;
}

function hostMatches(pattern: string, hostname: string): boolean {
  if (pattern === "*") return true;
  return pattern.startsWith("*.") ? hostname.endsWith(pattern.slice(1)) : pattern === hostname;
}

function httpsUrl(x: Exchange, settings: EdgeSettings): string {
  const host = x.hostname.includes(":") ? `[${x.hostname.replace(/^\[|\]$/g, "")}]` : x.hostname;
  const port = settings.httpsPort === null || settings.httpsPort === 443 ? "" : `:${settings.httpsPort}`;
  return `https://${host}${port}${x.path}${x.query === null ? "" : `?${x.query}`}`;
}

function redirect(x: Exchange, settings: EdgeSettings, status: number, location: string): ViewerResponse {
  return madeAnswer(x, settings, { status, message: `Moved to ${location}`, location });
}
