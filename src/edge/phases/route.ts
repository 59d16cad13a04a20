/** route: site by host, redirects, behaviour by path (first match), protocol policy, methods, rewrites. */
import { fillTemplate } from "../../config/pattern.ts";
import type { BehaviorPlan, SitePlan, Snapshot } from "../../config/plan.ts";
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
  if (site.redirects.length > 0) {
    const location = redirectOf(site, x);
    if (location !== null) return redirect(x, settings, location.status, location.to);
  }
  const behavior = behaviorFor(site, x.path);
  if (behavior === null) {
    x.end("bypass", "no-site");
    return madeAnswer(x, settings, { status: 404, message: "No behaviour of this site matches the path." });
  }
  x.behavior = behavior;
  if (x.scheme === "http" && behavior.viewerProtocol !== "allow-all") {
    if (behavior.viewerProtocol === "https-only") {
      return madeAnswer(x, settings, { status: 403, message: "This is served over https only." });
    }
    // 308 keeps the method and the body of what is not a plain read.
    const status = x.method === "GET" || x.method === "HEAD" ? 301 : 308;
    return redirect(x, settings, status, httpsUrl(x, settings));
  }
  if (behavior.allowedMethods !== null && !behavior.allowedMethods.has(x.method)) {
    const allow = [...behavior.allowedMethods].join(", ");
    return madeAnswer(x, settings, { status: 405, message: `The method ${x.method} is not allowed here.`, allow });
  }
  x.originPath = originPath(site, behavior, x.path);
  return null;
}

/** The first behaviour whose pattern matches. */
export function behaviorFor(site: SitePlan, path: string): BehaviorPlan | null {
  for (const behavior of site.behaviors) if (behavior.pattern.matches(path)) return behavior;
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
    const to = fillTemplate(rule.to, captures, {
      scheme: x.scheme,
      host: x.authority,
      path: x.path,
      query: x.query === null ? "" : `?${x.query}`,
    });
    // A rule that leads back to the same URL would loop.
    const self = `${x.scheme}://${x.authority}${x.path}${x.query === null ? "" : `?${x.query}`}`;
    if (to !== self && to !== self.slice(self.indexOf("/", 8))) return { to, status: rule.status };
  }
  return null;
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
