/**
 * Checks that span several settings: names that must exist, limits that must agree, patterns that
 * can never match, and what is allowed but dangerous. Errors refuse the config; warnings do not.
 */

import { parseListenAddress } from "./address.ts";
import { checkBucket } from "./bucket-checks.ts";
import { covers } from "./covers.ts";
import { errorAt, type Finding, warningAt } from "./issues.ts";
import { isBucket, memberName } from "./origins.ts";
import { isWithin } from "./paths.ts";
import { nearestName, quoted } from "./problems.ts";
import type { AlertsConfig, BehaviorConfig, NodeConfig, SiteConfig, TiersConfig } from "./schema.ts";
import { orNames } from "./shape.ts";
import { formatSize } from "./size.ts";
import { starsOf } from "./values.ts";

/** Fields with so many values that a key with them hardly ever hits. */
const UNBOUNDED_FIELDS: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "date",
  "forwarded",
  "if-modified-since",
  "if-none-match",
  "range",
  "referer",
  "user-agent",
  "x-forwarded-for",
  "x-real-ip",
  "x-request-id",
]);

/** What is wrong or doubtful within one site; paths begin at the site. */
export function checkSite(site: SiteConfig): Finding[] {
  const findings: Finding[] = [];
  for (const [i, behavior] of site.behaviors.entries()) findings.push(...checkBehavior(site, behavior, i));
  if (!site.behaviors.some((behavior) => covers(behavior.path, "/*"))) {
    findings.push(
      warningAt(
        ["behaviors"],
        'none of them has the path "/*": requests that match no path are answered 404',
      ),
    );
  }
  const used = new Set(site.behaviors.map((behavior) => behavior.origin));
  for (const [name, group] of Object.entries(site.originGroups)) {
    findings.push(...checkGroup(site, name));
    if (!used.has(name))
      findings.push(warningAt(["originGroups", name], "is not the origin of any behavior"));
    else for (const member of group.members) used.add(memberName(member));
  }
  for (const [name, origin] of Object.entries(site.origins)) {
    if (isBucket(origin)) findings.push(...checkBucket(origin, ["origins", name]));
    if (!used.has(name)) findings.push(warningAt(["origins", name], "is not the origin of any behavior"));
  }
  const { memoryMax, memoryReserved } = site.cache;
  if (memoryMax !== undefined && memoryReserved !== undefined && memoryReserved > memoryMax) {
    findings.push(
      errorAt(
        ["cache", "memoryReserved"],
        `${formatSize(memoryReserved)} is more than cache.memoryMax, ${formatSize(memoryMax)}`,
      ),
    );
  }
  const seen = new Set<string>();
  site.hosts.forEach((host, i) => {
    if (seen.has(host)) findings.push(warningAt(["hosts", i], `${quoted(host)} stands here twice`));
    seen.add(host);
  });
  site.redirects.forEach((redirect, i) => {
    const finding = checkCaptures(redirect.to, starsOf(redirect.path ?? ""), ["redirects", i, "to"]);
    if (finding !== null) findings.push(finding);
    if (redirect.host === undefined && redirect.path === undefined) {
      findings.push(warningAt(["redirects", i], "has neither host nor path: it redirects every request"));
    }
  });
  return findings;
}

function checkBehavior(site: SiteConfig, behavior: BehaviorConfig, i: number): Finding[] {
  const findings: Finding[] = [];
  const at = (...steps: (string | number)[]) => ["behaviors", i, ...steps];
  const origins = [...Object.keys(site.origins), ...Object.keys(site.originGroups)];
  // Own names only: "constructor" is no origin.
  if (!origins.includes(behavior.origin)) {
    const near = nearestName(behavior.origin, origins);
    const hint =
      near === null ? `; the site's origins: ${orNames(origins)}` : `; did you mean ${quoted(near)}?`;
    findings.push(errorAt(at("origin"), `no origin is named ${quoted(behavior.origin)}${hint}`));
  }
  const { min, max, default: fallback } = behavior.ttlSeconds;
  if (min > max)
    findings.push(errorAt(at("ttlSeconds", "min"), `${min} is more than ttlSeconds.max, ${max}`));
  else if (fallback !== undefined && (fallback < min || fallback > max)) {
    findings.push(
      errorAt(
        at("ttlSeconds", "default"),
        `${fallback} is not between ttlSeconds.min, ${min}, and ttlSeconds.max, ${max}`,
      ),
    );
  }
  behavior.rewrite.forEach((rule, k) => {
    const finding = checkCaptures(rule.to, starsOf(rule.match), at("rewrite", k, "to"));
    if (finding !== null) findings.push(finding);
  });
  const shadow = site.behaviors.slice(0, i).find((earlier) => covers(earlier.path, behavior.path));
  if (shadow !== undefined) {
    findings.push(
      warningAt(
        at("path"),
        `is never reached: the earlier path ${quoted(shadow.path)} matches all that ${quoted(behavior.path)} does`,
      ),
    );
  }
  if (!behavior.cache) return findings;
  const { cacheKey, forward } = behavior;
  if (forward.query === "all" && (cacheKey.query !== "all" || cacheKey.stripTracking)) {
    findings.push(
      warningAt(
        at("forward", "query"),
        '"all" sends query parameters to the origin that are not in the cache key: a viewer can choose what others get (cache poisoning); "key" sends only those in the key',
      ),
    );
  }
  cacheKey.headers.forEach((name, k) => {
    if (!UNBOUNDED_FIELDS.has(name)) return;
    findings.push(
      warningAt(
        at("cacheKey", "headers", k),
        `${quoted(name)} has so many values that stored answers are hardly ever used again`,
      ),
    );
  });
  if (behavior.storeAuthorized) {
    findings.push(
      warningAt(
        at("storeAuthorized"),
        "one viewer's answer to a request with Authorization is served to others",
      ),
    );
  }
  if (behavior.storeSetCookie) {
    findings.push(
      warningAt(at("storeSetCookie"), "answers meant for one viewer's session may be served to others"),
    );
  }
  return findings;
}

/** What is wrong or doubtful with a group. */
function checkGroup(site: SiteConfig, name: string): Finding[] {
  const findings: Finding[] = [];
  const group = site.originGroups[name];
  if (group === undefined) return findings;
  const origins = Object.keys(site.origins);
  if (origins.includes(name)) {
    findings.push(errorAt(["originGroups", name], "has the name of an origin; give it another one"));
  }
  const seen = new Set<string>();
  group.members.forEach((member, i) => {
    const origin = memberName(member);
    const at = ["originGroups", name, "members", i];
    if (!origins.includes(origin)) {
      const near = nearestName(origin, origins);
      const hint =
        near === null ? `; the site's origins: ${orNames(origins)}` : `; did you mean ${quoted(near)}?`;
      findings.push(errorAt(at, `no origin is named ${quoted(origin)}${hint}`));
    }
    if (seen.has(origin)) findings.push(errorAt(at, `${quoted(origin)} stands here twice`));
    seen.add(origin);
  });
  if (group.members.length === 1) {
    findings.push(warningAt(["originGroups", name, "members"], "holds one origin: nothing can stand for it"));
  }
  if (group.members.length > 1 && group.failoverOn.length === 0) {
    findings.push(
      warningAt(
        ["originGroups", name, "failoverOn"],
        "is empty: a request that fails is not asked of another",
      ),
    );
  }
  return findings;
}

/** A `$n` that no `*` stands for. */
function checkCaptures(target: string, stars: number, path: (string | number)[]): Finding | null {
  for (const match of target.matchAll(/\$([1-9])/g)) {
    if (Number(match[1]) <= stars) continue;
    const have = stars === 0 ? "no *" : `only ${stars} *`;
    return errorAt(path, `holds $${match[1]}, but the pattern has ${have}`);
  }
  return null;
}

/** What is wrong with the node's own part. */
export function checkNode(node: NodeConfig): Finding[] {
  const findings: Finding[] = [];
  const taken: { name: string; hostname: string; port: number }[] = [];
  for (const name of ["http", "https", "control"] as const) {
    const address = parseListenAddress(node.listen[name] ?? "");
    if (address === null || address.port === 0) continue;
    const clash = taken.find(
      (other) =>
        other.port === address.port &&
        (other.hostname === address.hostname || isAny(other.hostname) || isAny(address.hostname)),
    );
    if (clash !== undefined) {
      findings.push(errorAt(["listen", name], `has the same port as listen.${clash.name}, ${address.port}`));
    }
    taken.push({ name, ...address });
  }
  if (node.listen.proxyProtocol && node.trustedProxies.length === 0) {
    findings.push(
      errorAt(
        ["listen", "proxyProtocol"],
        "needs trustedProxies: the addresses that may send the PROXY protocol",
      ),
    );
  }
  if (node.alerts !== undefined) findings.push(...checkAlerts(node.alerts));
  if (node.tiers !== undefined) findings.push(...checkTiers(node.tiers));
  return findings;
}

/** A node that neither asks nor is asked, and shields that it could not reach. */
function checkTiers({ accept, shields, formerSecret }: TiersConfig): Finding[] {
  const findings: Finding[] = [];
  if (!accept && Object.keys(shields).length === 0)
    findings.push(warningAt(["tiers"], "does nothing: it names no shields, and accept is false"));
  if (!accept && formerSecret !== undefined)
    findings.push(warningAt(["tiers", "formerSecret"], "is for nodes that accept edges: this one does not"));
  for (const [name, { urls, tls }] of Object.entries(shields)) {
    const at = ["tiers", "shields", name];
    urls.forEach((url, i) => {
      if (urls.indexOf(url) !== i)
        findings.push(errorAt([...at, "urls", i], `${quoted(url)} stands here twice`));
    });
    if ((tls.caFile ?? tls.serverName) !== undefined && !urls.some((url) => /^https:/i.test(url)))
      findings.push(warningAt([...at, "tls"], "is not used: none of the URLs is https"));
  }
  return findings;
}

/** Shields that sites name and this node does not know. A shield itself need not know its own name. */
export function checkShields(node: NodeConfig, sites: Readonly<Record<string, SiteConfig>>): Finding[] {
  const known = Object.keys(node.tiers?.shields ?? {});
  const findings: Finding[] = [];
  for (const [id, site] of Object.entries(sites)) {
    site.shields.forEach((name, i) => {
      const at = ["sites", id, "shields", i];
      if (site.shields.indexOf(name) !== i) findings.push(errorAt(at, `${quoted(name)} stands here twice`));
      if (known.includes(name) || node.tiers?.accept === true) return;
      const near = nearestName(name, known);
      const hint =
        near !== null
          ? `; did you mean ${quoted(near)}?`
          : known.length === 0
            ? "; tiers.shields has none"
            : `; tiers.shields has: ${orNames(known)}`;
      findings.push(errorAt(at, `no shield is named ${quoted(name)}${hint}`));
    });
  }
  return findings;
}

/** Channels that rules name, and logins that would go in the clear. */
function checkAlerts({ channels, rules }: AlertsConfig): Finding[] {
  const findings: Finding[] = [];
  const known = Object.keys(channels);
  if (known.length === 0) findings.push(warningAt(["alerts", "channels"], "is empty: nobody is told"));
  for (const [rule, { to = [] }] of Object.entries(rules)) {
    to.forEach((name, i) => {
      if (known.includes(name)) return;
      const near = nearestName(name, known);
      const hint = near === null ? "" : `; did you mean ${quoted(near)}?`;
      findings.push(
        errorAt(["alerts", "rules", rule, "to", i], `no channel is named ${quoted(name)}${hint}`),
      );
    });
  }
  for (const [name, channel] of Object.entries(channels)) {
    if (!("email" in channel)) continue;
    const { host, tls, user, password } = channel.smtp;
    const at = ["alerts", "channels", name, "smtp"];
    if ((user === undefined) !== (password === undefined))
      findings.push(errorAt(at, "has only one of user and password; a login needs both"));
    if (tls === "none" && user !== undefined && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(host))
      findings.push(errorAt([...at, "tls"], '"none" would send the password in the clear, beyond loopback'));
  }
  return findings;
}

function isAny(hostname: string): boolean {
  return hostname === "" || hostname === "0.0.0.0" || hostname === "::";
}

/**
 * Memory that sites reserve: together not more than the node has. Told at the first site that is too much,
 * and where nothing is left for sites that reserve none.
 */
export function checkReserved(node: NodeConfig, sites: Readonly<Record<string, SiteConfig>>): Finding[] {
  const { memory } = node.cache;
  let together = 0;
  let first: string | null = null;
  let last: string | null = null;
  let without = 0;
  for (const [id, { cache }] of Object.entries(sites)) {
    if (cache.memoryReserved === undefined) without++;
    else {
      together += cache.memoryReserved;
      last = id;
      if (together > memory) first ??= id;
    }
  }
  if (first !== null) {
    return [
      errorAt(
        ["sites", first, "cache", "memoryReserved"],
        `is too much: all sites together reserve ${formatSize(together)}, and cache.memory is ${formatSize(memory)}; reserve less, or give the cache more`,
      ),
    ];
  }
  if (last === null || without === 0 || memory - together >= node.cache.objectMax) return [];
  return [
    warningAt(
      ["sites", last, "cache", "memoryReserved"],
      `all sites together reserve ${formatSize(together)} of cache.memory, ${formatSize(memory)}: what is left for the sites without a reserve is less than one object of cache.objectMax`,
    ),
  ];
}

/** Hosts that two sites claim: each host belongs to one. Paths begin at the top. */
export function checkHosts(sites: Readonly<Record<string, SiteConfig>>): Finding[] {
  const findings: Finding[] = [];
  const owners = new Map<string, string>();
  for (const [id, site] of Object.entries(sites)) {
    site.hosts.forEach((host, i) => {
      const owner = owners.get(host);
      if (owner === undefined) owners.set(host, id);
      else if (owner !== id) {
        findings.push(
          errorAt(["sites", id, "hosts", i], `${quoted(host)} already belongs to site ${quoted(owner)}`),
        );
      }
    });
  }
  return findings;
}

/** Directory origins outside the permitted folders, when those are named. Paths are absolute by now. */
export function checkPermitted(node: NodeConfig, sites: Readonly<Record<string, SiteConfig>>): Finding[] {
  const roots = node.permitted?.directories;
  if (roots === undefined) return [];
  const findings: Finding[] = [];
  for (const [id, site] of Object.entries(sites)) {
    for (const [name, origin] of Object.entries(site.origins)) {
      if (!("directory" in origin) || roots.some((root) => isWithin(root, origin.directory))) continue;
      findings.push(
        errorAt(
          ["sites", id, "origins", name, "directory"],
          `${quoted(origin.directory)} lies outside permitted.directories`,
        ),
      );
    }
  }
  return findings;
}
