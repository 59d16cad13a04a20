/** The orders of the one purge model that an operation of a vendor comes to, site by site. */
import { PURGE_PATTERNS_MAX } from "../../cache/purge-table.ts";
import type { Caller } from "../api/route.ts";
import { Refused } from "../refusal.ts";
import type { SiteNames } from "./site-names.ts";
import type { KnownSite, Operation, Target } from "./vendor.ts";

/** Sites that one call may purge without naming them. */
const SITES_MAX = 100;
/** URLs that paths and hosts may come to in one order; more are purged by path on every host. */
const URLS_MAX = 10_000;

/** An order as `POST /v1/purges` takes it. */
export type OrderBody = Readonly<Record<string, unknown>> & { readonly site: string };

/** What an operation orders, and of which sites. Throws a Refused. */
export function ordersOf(
  { site, mode, targets }: Pick<Extract<Operation, { kind: "purge" }>, "site" | "mode" | "targets">,
  names: SiteNames,
  caller: Caller,
): { readonly orders: readonly OrderBody[]; readonly sites: readonly KnownSite[] } {
  const order = (of: KnownSite, target: Exclude<Target, { scope: "path" }>): OrderBody => ({
    site: of.id,
    mode,
    ...target,
  });
  const onSite = (of: KnownSite) =>
    targets
      .flatMap((target) => (target.scope === "path" ? pathTargets(of, target.paths) : [target]))
      .map((target) => order(of, target));
  switch (site.by) {
    case "id": {
      const known = names.find(site.id, caller);
      for (const target of targets) if (target.scope === "url") mustServe(target.urls, known, names, caller);
      return { orders: onSite(known), sites: [known] };
    }
    case "caller": {
      const all = names.all(caller);
      if (all.length === 0) throw new Refused(404, "the token is for no site in force");
      if (all.length > SITES_MAX)
        throw new Refused(
          400,
          `the token is for ${all.length} sites; without naming one at most ${SITES_MAX} are purged`,
        );
      return { orders: all.flatMap(onSite), sites: all };
    }
    case "host": {
      const sites = new Map<string, KnownSite>();
      const bySite = new Map<string, Target[]>();
      for (const target of targets)
        for (const [host, one] of byHost(target)) {
          const known = siteOf(host, names, caller);
          sites.set(known.id, known);
          bySite.set(known.id, [...(bySite.get(known.id) ?? []), one]);
        }
      const orders = [...bySite].flatMap(([id, parts]) => {
        const known = sites.get(id);
        return known === undefined ? [] : merged(parts).map((target) => order(known, target));
      });
      return { orders, sites: [...sites.values()] };
    }
  }
}

function siteOf(host: string, names: SiteNames, caller: Caller): KnownSite {
  const known = names.ofHost(host, caller);
  if (known !== null) return known;
  const shown = host.slice(0, 253);
  if (caller.sites !== null)
    throw new Refused(403, `the token is not for host "${shown}"; it is for ${caller.sites.join(", ")}`);
  throw new Refused(404, `no site answers for host "${shown}"`);
}

/** A URL of another site would be purged nowhere, in silence. */
function mustServe(urls: readonly string[], site: KnownSite, names: SiteNames, caller: Caller): void {
  const checked = new Set<string>();
  for (const [i, text] of urls.entries()) {
    const host = URL.parse(text)?.hostname;
    if (host === undefined || checked.has(host)) continue;
    if (names.ofHost(host, caller)?.id !== site.id)
      throw new Refused(
        400,
        `target ${i + 1}: "${text.slice(0, 200)}" is not a URL of site ${site.id}, which answers for ${site.hosts.slice(0, 5).join(", ")}`,
      );
    checked.add(host);
  }
}

type Plain = Exclude<Target, { scope: "path" }>;

/** One target for each of the hosts that a target names. */
function byHost(target: Target): [string, Plain][] {
  const hostOf = (text: string) => {
    const url = URL.parse(text.includes("://") ? text : `http://${text}`);
    if (url === null || url.hostname === "")
      throw new Refused(400, `"${text.slice(0, 200)}" names no host whose site could be found`);
    return url.hostname;
  };
  switch (target.scope) {
    case "url":
      return target.urls.map((url) => [hostOf(url), { scope: "url", urls: [url] }]);
    case "prefix":
      return target.prefixes.map((prefix) => [hostOf(prefix), { scope: "prefix", prefixes: [prefix] }]);
    case "wildcard":
      // A host with a star in it is the site's that has the same pattern.
      return target.patterns.map((pattern) => [
        pattern.split("/", 1)[0] ?? "",
        { scope: "wildcard", patterns: [pattern] },
      ]);
    case "host":
      return target.hosts.map((host) => [hostOf(host), { scope: "host", hosts: [host] }]);
    default:
      throw new Refused(400, `what is purged by ${target.scope} needs a site`);
  }
}

/** Targets of one scope as one. */
function merged(targets: readonly Target[]): Plain[] {
  const urls = targets.flatMap((target) => (target.scope === "url" ? target.urls : []));
  const prefixes = targets.flatMap((target) => (target.scope === "prefix" ? target.prefixes : []));
  const patterns = targets.flatMap((target) => (target.scope === "wildcard" ? target.patterns : []));
  const hosts = targets.flatMap((target) => (target.scope === "host" ? target.hosts : []));
  return [
    ...(urls.length === 0 ? [] : [{ scope: "url", urls } as const]),
    ...(prefixes.length === 0 ? [] : [{ scope: "prefix", prefixes } as const]),
    ...(patterns.length === 0 ? [] : [{ scope: "wildcard", patterns } as const]),
    ...(hosts.length === 0 ? [] : [{ scope: "host", hosts } as const]),
  ];
}

/**
 * Paths (with their query) on whatever host the site has: URLs where all its hosts are known, and otherwise
 * the path with every query on every host. A star at the end is a prefix; patterns are few, so where there
 * are too many paths for them the site is purged whole: too much, but never too little.
 */
function pathTargets(site: KnownSite, paths: readonly string[]): Plain[] {
  const prefixes: string[] = [];
  const exact: string[] = [];
  for (const path of paths) {
    if (path === "/*") return [{ scope: "everything" }];
    const query = path.indexOf("?");
    if (!path.endsWith("*")) exact.push(path);
    // A star within the query: every query of that path goes, and what else begins like it.
    else prefixes.push(query < 0 ? path.slice(0, -1) : path.slice(0, query));
  }
  const targets: Plain[] = prefixes.length === 0 ? [] : [{ scope: "prefix", prefixes }];
  if (exact.length === 0) return targets;
  const known = site.hosts.every((host) => !host.includes("*"));
  if (known && exact.length * site.hosts.length <= URLS_MAX)
    return [
      ...targets,
      { scope: "url", urls: site.hosts.flatMap((host) => exact.map((path) => `http://${host}${path}`)) },
    ];
  const patterns = [...new Set(exact.map((path) => path.split("?", 1)[0] ?? path))];
  return patterns.length > PURGE_PATTERNS_MAX
    ? [{ scope: "everything" }]
    : [...targets, { scope: "wildcard", patterns }];
}
