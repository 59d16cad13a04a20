/**
 * From parsed sites to a snapshot. Sites that did not change keep their plan, and the work yields
 * between slices, so that a snapshot of 10,000 sites does not stall requests.
 */
import { isBucket } from "./origins.ts";
import { compilePathPattern, HostIndex } from "./pattern.ts";
import type {
  BehaviorPlan,
  FieldRules,
  KeyRecipe,
  MemoryQuota,
  QueryRule,
  RedirectRule,
  SitePlan,
  Snapshot,
  TtlPolicy,
} from "./plan.ts";
import type { BehaviorConfig, CacheKeyConfig, HeaderRules, SiteConfig } from "./schema.ts";

/** Longest time in milliseconds that compiling may hold the event loop in one go. */
const SLICE_MS_MAX = 1;

/** Methods of `allowedMethods: "read"`. */
const READ_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Statuses that blame a request's header, which is not in the key: a lifetime for "4xx" does not reach
 * them, or one viewer's oversized header would be everyone's error page (CPDoS).
 */
const ABOUT_THE_REQUEST: ReadonlySet<number> = new Set([
  400, 406, 407, 408, 411, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431,
]);

/** Query parameters that trackers add and no origin needs: what `stripTracking` takes out. `utm_*` as well. */
export const TRACKING_PARAMETERS: ReadonlySet<string> = new Set([
  "fbclid",
  "gclid",
  "gclsrc",
  "dclid",
  "gbraid",
  "wbraid",
  "msclkid",
  "twclid",
  "ttclid",
  "yclid",
  "igshid",
  "mc_cid",
  "mc_eid",
  "_ga",
  "_gl",
  "_hsenc",
  "_hsmi",
  "mkt_tok",
  "li_fat_id",
  "srsltid",
]);

/** Compiles `sites` into snapshot `number`, keeping the plans of `previous` where nothing changed. */
export async function compileSnapshot(
  sites: Readonly<Record<string, SiteConfig>>,
  number: number,
  previous: Snapshot | null,
): Promise<Snapshot> {
  const compiled = new Map<string, SitePlan>();
  const hosts = new HostIndex<SitePlan>();
  let sliceStart = performance.now();
  for (const [id, config] of Object.entries(sites)) {
    const kept = previous?.sites.get(id);
    const plan =
      kept !== undefined && isSame(kept, config) ? kept : compileSite(id, config, JSON.stringify(config));
    compiled.set(id, plan);
    for (const host of config.hosts) hosts.add(host, plan);
    if (performance.now() - sliceStart > SLICE_MS_MAX) {
      await new Promise((resolve) => setImmediate(resolve));
      sliceStart = performance.now();
    }
  }
  return { number, sites: compiled, hosts };
}

/** The loader gives an unchanged site as the same object; one from elsewhere is compared by its text. */
function isSame(kept: SitePlan, config: SiteConfig): boolean {
  return kept.config === config || kept.source === JSON.stringify(config);
}

/** Compiles one site; `source` is its canonical text, kept with it. */
export function compileSite(id: string, config: SiteConfig, source: string): SitePlan {
  const behaviors: BehaviorPlan[] = [];
  const site: SitePlan = {
    id,
    config,
    source,
    behaviors,
    redirects: config.redirects.map(compileRedirect),
    errorPages: new Map(
      Object.entries(config.errorPages).map(([status, page]) => [
        status,
        { path: page.path, status: page.status ?? null },
      ]),
    ),
    defaultDocument: config.defaultDocument ?? null,
    cacheStatusFields: config.cacheStatusFields,
    foldsTags: config.tagCase === "insensitive",
    http3: config.http3,
    developmentMode: config.developmentMode,
    quota: compileQuota(config.cache),
    origins: new Map(Object.entries(config.origins)),
    originGroups: new Map(Object.entries(config.originGroups)),
  };
  config.behaviors.forEach((behavior, index) => {
    behaviors.push(compileBehavior(site, behavior, index));
  });
  return site;
}

function compileQuota({ memoryMax, memoryReserved }: SiteConfig["cache"]): MemoryQuota | null {
  if (memoryMax === undefined && memoryReserved === undefined) return null;
  return { bytesMax: memoryMax ?? null, bytesReserved: memoryReserved ?? 0 };
}

function compileRedirect(redirect: SiteConfig["redirects"][number]): RedirectRule {
  return {
    host: redirect.host ?? null,
    path: redirect.path === undefined ? null : compilePathPattern(redirect.path),
    to: redirect.to,
    status: redirect.status,
  };
}

function compileBehavior(site: SitePlan, config: BehaviorConfig, index: number): BehaviorPlan {
  const { bypass } = config;
  const bypasses = bypass.cookies.length + bypass.headers.length + bypass.queryParameters.length > 0;
  return {
    site,
    index,
    pattern: compilePathPattern(config.path),
    origin: config.origin ?? (site.origins.keys().next().value as string),
    viewerProtocol: config.viewerProtocol,
    allowedMethods: compileMethods(config.allowedMethods),
    cachedMethods: new Set(config.cachedMethods),
    cache: config.cache,
    collapse: config.collapse,
    ttl: compileTtl(config),
    browserTtlSeconds: config.browserTtlSeconds ?? null,
    staleAfterMs: config.staleAfterMs ?? null,
    key: compileKey(config.cacheKey),
    compress: config.compress,
    forwardAllQuery: config.forward.query === "all",
    forwardHeaders: compileForwardHeaders(config.forward.headers),
    forwardCookies: readsCookies(site, config) ? compileCookies(config) : "none",
    requestRules: compileRules(config.requestHeaders),
    responseRules: compileRules(config.responseHeaders),
    rewrites: config.rewrite.map(({ match, to }) => ({ match: compilePathPattern(match), to })),
    bypass: bypasses
      ? {
          cookies: bypass.cookies,
          headers: bypass.headers.map((name) => name.toLowerCase()),
          queryParameters: new Set(bypass.queryParameters),
        }
      : null,
    variantsMax: config.maxVariants,
  };
}

function compileMethods(methods: BehaviorConfig["allowedMethods"]): ReadonlySet<string> | null {
  if (methods === "all") return null;
  return methods === "read" ? READ_METHODS : new Set(methods);
}

function compileTtl(config: BehaviorConfig): TtlPolicy {
  const statuses = new Map(Object.entries(config.statusTtlSeconds).map(([key, s]) => [key, s * 1000]));
  const seconds = (value: number | undefined): number | null => (value === undefined ? null : value * 1000);
  return {
    minMs: config.ttlSeconds.min * 1000,
    defaultMs: seconds(config.ttlSeconds.default),
    maxMs: config.ttlSeconds.max * 1000,
    jitterFraction: config.ttlSeconds.jitterFraction,
    edgeMs: seconds(config.edgeTtlSeconds),
    staleWhileRevalidateMs: seconds(config.staleWhileRevalidateSeconds),
    staleIfErrorMs: seconds(config.staleIfErrorSeconds),
    strictSMaxage: config.strictSMaxage,
    heuristicFraction: config.heuristic.fraction,
    heuristicMaxMs: config.heuristic.maxSeconds * 1000,
    storeAuthorized: config.storeAuthorized,
    storeSetCookie: config.storeSetCookie,
    statusMs: (status) =>
      statuses.get(String(status)) ??
      (ABOUT_THE_REQUEST.has(status) ? null : (statuses.get(`${Math.floor(status / 100)}xx`) ?? null)),
  };
}

function compileKey(config: CacheKeyConfig): KeyRecipe {
  const query = compileQuery(config.query);
  const languages = config.language === false ? null : config.language;
  return {
    query,
    stripTracking: config.stripTracking,
    sortQuery: config.sortQuery,
    queryAsIs: query.kind === "all" && !config.stripTracking && !config.sortQuery,
    headers: config.headers.map((name) => name.toLowerCase()),
    cookies: config.cookies,
    device: config.device,
    languages,
    hasSecondary:
      config.headers.length > 0 || config.cookies.length > 0 || config.device || languages !== null,
  };
}

function compileQuery(query: CacheKeyConfig["query"]): QueryRule {
  if (query === "all" || query === "none") return { kind: query };
  return "include" in query
    ? { kind: "include", names: new Set(query.include) }
    : { kind: "exclude", names: new Set(query.exclude) };
}

function compileForwardHeaders(
  headers: BehaviorConfig["forward"]["headers"],
): BehaviorPlan["forwardHeaders"] {
  if (headers === "all") return "all";
  const lower = (names: readonly string[]): ReadonlySet<string> =>
    new Set(names.map((name) => name.toLowerCase()));
  return "include" in headers ? { include: lower(headers.include) } : { exclude: lower(headers.exclude) };
}

/** A folder and a bucket never see a cookie: their answers depend on none. */
function readsCookies(site: SitePlan, config: BehaviorConfig): boolean {
  const origin = site.origins.get(config.origin);
  return origin === undefined || !("directory" in origin || "zone" in origin || isBucket(origin));
}

/** "auto": with a lifetime of the operator's own making, cookies stay at the edge (design, section 5). */
function compileCookies(config: BehaviorConfig): BehaviorPlan["forwardCookies"] {
  const { cookies } = config.forward;
  if (cookies !== "auto") return cookies;
  const ownLifetime = config.ttlSeconds.default !== undefined || config.edgeTtlSeconds !== undefined;
  if (!ownLifetime) return "all";
  return config.cacheKey.cookies.length > 0 ? config.cacheKey.cookies : "none";
}

function compileRules(rules: HeaderRules): FieldRules | null {
  const lower = (record: Readonly<Record<string, string>>): [string, string][] =>
    Object.entries(record).map(([name, value]) => [name.toLowerCase(), value]);
  const compiled = {
    remove: rules.remove.map((name) => name.toLowerCase()),
    set: lower(rules.set),
    append: lower(rules.append),
  };
  return compiled.remove.length + compiled.set.length + compiled.append.length > 0 ? compiled : null;
}
