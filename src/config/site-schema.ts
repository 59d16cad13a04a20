/**
 * The schema of a site: its hosts, its origins, and its behaviors by path. Part of the one schema of
 * the config (schema.ts), and what a snapshot holds.
 */

import * as z from "zod";
import { bucketOrigins } from "./bucket-schema.ts";
import { connection } from "./connection-schema.ts";
import { degraded, health, originGroup } from "./group-schema.ts";
import { memberName } from "./origins.ts";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";
import { zoneOrigin } from "./zone-schema.ts";

/** Limits of lists and records: more is an error of the config, not a slow start. */
const HOSTS_MAX = 1000;
const ORIGINS_MAX = 200;
const GROUPS_MAX = 200;
const BEHAVIORS_MAX = 500;
const REDIRECTS_MAX = 5000;
const REWRITES_MAX = 50;
const NAMES_MAX = 200;
const VENDOR_IDS_MAX = 50;

const YEAR_SECONDS = 31_536_000;

/** A list of names, no longer than NAMES_MAX. */
export const names = <S extends z.ZodType>(item: S) => z.array(item).max(NAMES_MAX);
const seconds = () => v.whole("seconds", 0, 2_147_483_647);

// ---- a behaviour ----

/** Rules for header fields. */
export const headerRules = z
  .strictObject({
    set: z
      .record(v.ruleFieldName, v.fieldValue)
      .prefault({})
      .describe("Fields to set: name and value; lines of the same name are replaced."),
    append: z
      .record(v.ruleFieldName, v.fieldValue)
      .prefault({})
      .describe("Fields to add beside lines of the same name."),
    remove: names(v.ruleFieldName).prefault([]).describe("Names of fields to take out. Done first."),
  })
  .register(typeNames, { name: "HeaderRulesInput" });

const includeNames = (name: z.ZodType<string, string>, what: string) =>
  z.strictObject({ include: names(name).describe(`Only these ${what}.`) });
const excludeNames = (name: z.ZodType<string, string>, what: string) =>
  z.strictObject({ exclude: names(name).describe(`All ${what} but these.`) });

/** What is in a cache key. */
export const cacheKey = z
  .strictObject({
    query: z
      .union([
        z.enum(["all", "none"]),
        includeNames(v.parameterName, "query parameters"),
        excludeNames(v.parameterName, "query parameters"),
      ])
      .prefault("all")
      .describe("Query parameters in the key."),
    stripTracking: z
      .boolean()
      .prefault(false)
      .describe("Leaves tracking parameters (utm_*, gclid, fbclid and the like) out of the key."),
    sortQuery: z
      .boolean()
      .prefault(false)
      .describe("Sorts query parameters by name, so that their order makes no second object."),
    headers: names(v.fieldName)
      .prefault([])
      .describe("Request header fields in the key. Prefer the origin's Vary where you can."),
    cookies: names(v.cookieName).prefault([]).describe("Cookies in the key, by name."),
    device: z
      .boolean()
      .prefault(false)
      .describe("Keeps apart what desktop, mobile and tablet get, told by User-Agent and client hints."),
    language: z
      .union([z.literal(false), z.array(v.languageTag).min(1).max(100)])
      .prefault(false)
      .describe(
        "Languages the site has, the first the default one: Accept-Language is matched to one of them, which is in the key. False: not in the key.",
      ),
  })
  .register(typeNames, { name: "CacheKeyInput" });

const forward = z
  .strictObject({
    query: z
      .enum(["key", "all"])
      .prefault("key")
      .describe(
        'Query parameters sent to the origin on cacheable requests: those in the cache key, or all. "all" lets a viewer choose what others get (cache poisoning).',
      ),
    headers: z
      .union([
        z.literal("all"),
        includeNames(v.fieldName, "request header fields"),
        excludeNames(v.fieldName, "request header fields"),
      ])
      .prefault("all")
      .describe("Request header fields sent to the origin."),
    cookies: z
      .union([z.enum(["auto", "all", "none"]), names(v.cookieName)])
      .prefault("auto")
      .describe(
        'Cookies sent to the origin, by name or all or none. "auto" sends all, unless ttlSeconds.default or edgeTtlSeconds is set.',
      ),
  })
  .register(typeNames, { name: "ForwardInput" });

const ttlSeconds = z
  .strictObject({
    min: seconds()
      .prefault(0)
      .describe("Keeps a storable answer at least so long, whatever the origin says."),
    default: seconds().optional().describe("How long an answer without freshness of its own is fresh."),
    max: seconds().prefault(YEAR_SECONDS).describe("Keeps no answer longer than this."),
    jitterFraction: z
      .number()
      .min(0)
      .max(0.5)
      .register(v.valueNotes, { allowed: "a number from 0 to 0.5" })
      .prefault(0)
      .describe(
        "Shortens each object's freshness by up to this share, by its key, so that what was stored together does not expire together.",
      ),
  })
  .register(typeNames, { name: "TtlSecondsInput" });

/** A behaviour as written; a site fills in the origin where it has only one. */
const behaviorObject = z
  .strictObject({
    path: v.pathPattern.describe(
      "Pattern of the path: * stands for any characters, ? for one. The first match wins.",
    ),
    origin: v.originName
      .optional()
      .describe("Name of the origin or group to ask. Required unless there is only one to ask."),
    viewerProtocol: z
      .enum(["allow-all", "https-only", "redirect-to-https"])
      .prefault("allow-all")
      .describe("What to do with http: answer it, refuse it (403), or redirect it to https (301)."),
    allowedMethods: z
      .union([z.enum(["read", "all"]), names(v.method).min(1)])
      .prefault("all")
      .describe('Request methods that are let through; others get 405. "read" is GET, HEAD and OPTIONS.'),
    cachedMethods: z
      .array(z.enum(["GET", "HEAD", "OPTIONS"]))
      .max(3)
      .prefault(["GET", "HEAD"])
      .describe("Methods whose answers may be stored."),
    cache: z.boolean().prefault(true).describe("False passes every request through and stores nothing."),
    collapse: z
      .boolean()
      .prefault(true)
      .describe("Lets viewers of one object wait for one request to the origin, instead of one each."),
    ttlSeconds: ttlSeconds.prefault({}).describe("Limits of how long answers are fresh, in seconds."),
    statusTtlSeconds: z
      .record(v.statusKey, seconds())
      .prefault({})
      .describe(
        'Freshness by status, such as {"404": 10, "5xx": 0}, for answers without freshness of their own.',
      ),
    edgeTtlSeconds: seconds().optional().describe("Freshness at the edge, whatever the origin says."),
    browserTtlSeconds: seconds()
      .optional()
      .describe("Freshness told to browsers (Cache-Control max-age), apart from the edge's."),
    staleWhileRevalidateSeconds: seconds()
      .optional()
      .describe(
        "How long a stale answer is served while a new one is fetched, where the origin says nothing.",
      ),
    staleIfErrorSeconds: seconds()
      .optional()
      .describe("How long a stale answer is served while the origin fails, where the origin says nothing."),
    staleAfterMs: v
      .whole("milliseconds", 1, 3_600_000)
      .optional()
      .describe(
        "How long the origin is waited for where a stale answer could be served instead of an error. Left out: until it answers or fails.",
      ),
    strictSMaxage: z
      .boolean()
      .prefault(false)
      .describe("Lets s-maxage forbid stale answers, even beside stale-while-revalidate and stale-if-error."),
    heuristic: z
      .strictObject({
        fraction: z
          .number()
          .min(0)
          .max(1)
          .register(v.valueNotes, { allowed: "a number from 0 to 1" })
          .prefault(0.1)
          .describe(
            "Part of the time since Last-Modified that an answer without freshness is fresh. 0 turns it off.",
          ),
        maxSeconds: seconds().prefault(3600).describe("Heuristic freshness is never longer than this."),
      })
      .register(typeNames, { name: "HeuristicInput" })
      .prefault({})
      .describe("Freshness of answers that have Last-Modified only (RFC 9111 section 4.2.2)."),
    cacheKey: cacheKey
      .prefault({})
      .describe("What tells stored answers apart, beside site, scheme, host and path."),
    compress: z
      .boolean()
      .prefault(true)
      .describe("Compresses texts with zstd, Brotli or gzip, as the viewer accepts."),
    forward: forward.prefault({}).describe("What of the viewer's request is sent to the origin."),
    requestHeaders: headerRules.prefault({}).describe("Rules for the header of requests to the origin."),
    responseHeaders: headerRules.prefault({}).describe("Rules for the header of answers to viewers."),
    rewrite: z
      .array(
        z
          .strictObject({
            match: v.pathPattern.describe("Pattern of the path."),
            to: v.rewriteTarget.describe(
              "The path to ask the origin for; $1 to $9 are what the pattern's * stood for.",
            ),
          })
          .register(typeNames, { name: "RewriteInput" }),
      )
      .max(REWRITES_MAX)
      .prefault([])
      .describe("Changes the path before the origin is asked; the first match wins."),
    bypass: z
      .strictObject({
        cookies: names(v.cookieName).prefault([]).describe("Cookies, by name."),
        headers: names(v.fieldName).prefault([]).describe("Request header fields, by name."),
        queryParameters: names(v.parameterName).prefault([]).describe("Query parameters, by name."),
      })
      .register(typeNames, { name: "BypassInput" })
      .prefault({})
      .describe("A request that has one of these is passed through, and its answer not stored."),
    storeAuthorized: z
      .boolean()
      .prefault(false)
      .describe("Stores answers to requests with Authorization as if they were for everyone. Dangerous."),
    storeSetCookie: z
      .boolean()
      .prefault(false)
      .describe("Stores answers with Set-Cookie, without that field. Dangerous."),
    maxVariants: v
      .whole("variants", 1, 10_000)
      .prefault(64)
      .describe("Most variants (Vary) kept of one object."),
  })
  .register(typeNames, { name: "BehaviorInput" });

// ---- an origin ----

const urlOrigin = z
  .strictObject({
    url: v.originUrl.describe("URL of the origin server; a path in it is put before every path asked for."),
    hostHeader: z
      .union([
        z.enum(["origin", "viewer"]),
        z.strictObject({ name: v.authority.describe("Host, with a port where it is not the usual one.") }),
      ])
      .prefault("origin")
      .describe("What the Host field says: the host of the URL, the one the viewer asked for, or a name."),
    ...connection,
    health: health.optional().describe("Health checks. Left out: none."),
    degraded: degraded
      .prefault({})
      .describe("What is done while the origin's answers say X-Origin-Status: degraded."),
  })
  .register(typeNames, { name: "UrlOriginInput" });

const directoryOrigin = z
  .strictObject({
    directory: v.filePath.describe("Folder whose files are served."),
    index: v.documentName.prefault("index.html").describe("File that is served for a folder."),
  })
  .register(typeNames, { name: "DirectoryOriginInput" });

const origin = z
  .union([urlOrigin, directoryOrigin, zoneOrigin, ...bucketOrigins])
  .register(typeNames, { name: "OriginInput" });

// ---- a site ----

const redirect = z
  .strictObject({
    host: v.hostPattern.optional().describe("Pattern of the host. Left out: any."),
    path: v.pathPattern.optional().describe("Pattern of the path. Left out: any."),
    to: v.redirectTarget.describe(
      "Where to: URL or path. $scheme, $host, $path and $query (with its ?) are the request's; $1 to $9 are what the path pattern's * stood for.",
    ),
    status: z.literal([301, 302, 303, 307, 308]).prefault(301).describe("Status of the answer."),
  })
  .register(typeNames, { name: "RedirectInput" });

const siteObject = z
  .strictObject({
    hosts: z
      .array(v.hostPattern)
      .min(1)
      .max(HOSTS_MAX)
      .describe('Hosts the site answers for: "shop.example", "*.shop.example", or "*" for any.'),
    origins: z
      .record(v.originName, origin)
      .describe("Where the content comes from, by a name of your choice. At least one."),
    originGroups: z
      .record(v.originName, originGroup)
      .prefault({})
      .describe("Origins that stand for one another, by a name of your choice."),
    behaviors: z
      .array(behaviorObject)
      .min(1)
      .max(BEHAVIORS_MAX)
      .optional()
      .describe(
        "What to do, by path; the first match wins. Left out: everything is asked of the only origin.",
      ),
    shields: names(v.originName)
      .prefault([])
      .describe(
        "Shields that misses are sent to, the preferred one first; where they are, each node knows (tiers.shields). When none can answer, the origin is asked.",
      ),
    redirects: z
      .array(redirect)
      .max(REDIRECTS_MAX)
      .prefault([])
      .describe("Redirects; the first match wins, before any behavior."),
    errorPages: z
      .record(
        v.errorStatusKey,
        z
          .strictObject({
            path: v.sitePath.describe("Path of the page, asked of the site itself."),
            status: v
              .whole("status", 200, 599)
              .optional()
              .describe("Status to answer with. Left out: the error's own."),
          })
          .register(typeNames, { name: "ErrorPageInput" }),
      )
      .prefault({})
      .describe('Pages for errors, by status or class: {"404": {"path": "/404.html"}, "5xx": ...}.'),
    defaultDocument: v.documentName
      .optional()
      .describe('What a request of "/" is for, such as "index.html".'),
    cache: z
      .strictObject({
        memoryMax: v
          .size(2 ** 20, "1MiB", 2 ** 44, "16TiB")
          .optional()
          .describe("Most of cache.memory that this site's answers take. Left out: all of it."),
        memoryReserved: v
          .size(2 ** 20, "1MiB", 2 ** 44, "16TiB")
          .optional()
          .describe(
            "Memory that other sites' answers never push this site's out of; what it does not use, others may. All sites' together are not more than cache.memory.",
          ),
      })
      .register(typeNames, { name: "SiteCacheInput" })
      .prefault({})
      .describe("This site's part of the cache in memory, which is divided among workers like cache.memory."),
    vendorIds: z
      .array(v.vendorId)
      .max(VENDOR_IDS_MAX)
      .prefault([])
      .describe(
        "Ids by which clients of other CDNs' APIs know this site, such as a zone, a service or a distribution. It always has its own id, and one that is made of it.",
      ),
    cacheStatusFields: z
      .array(z.enum(["cf-cache-status", "cdn-cache"]))
      .max(2)
      .prefault([])
      .describe(
        "Further fields of answers that say what X-Cache says, for programs that look for those of another CDN.",
      ),
    tagCase: z
      .enum(["sensitive", "insensitive"])
      .prefault("sensitive")
      .describe(
        'Whether capitals count in tags. "insensitive" takes what arrives, and what is purged, in small letters.',
      ),
    http3: z.boolean().prefault(true).describe("Offers HTTP/3 for this site, where the node listens for it."),
    developmentMode: z
      .boolean()
      .prefault(false)
      .describe("Passes everything through, to see changes at once."),
  })
  .register(typeNames, { name: "SiteInput" });

const DEFAULT_BEHAVIOR = behaviorObject.parse({ path: "/*" });

/** A site, with the origin of each behaviour filled in. */
export const siteSchema = siteObject.transform((site, context) => {
  const originNames = Object.keys(site.origins);
  const [first] = originNames;
  const refuse = (path: (string | number)[], message: string) => {
    context.addIssue({ code: "custom", path, message });
    return "";
  };
  if (first === undefined) {
    refuse(["origins"], "is empty; a site needs at least one origin");
    return z.NEVER;
  }
  if (originNames.length > ORIGINS_MAX) {
    refuse(["origins"], `holds ${originNames.length} origins; at most ${ORIGINS_MAX} are allowed`);
    return z.NEVER;
  }
  const groupNames = Object.keys(site.originGroups);
  if (groupNames.length > GROUPS_MAX) {
    refuse(["originGroups"], `holds ${groupNames.length} groups; at most ${GROUPS_MAX} are allowed`);
    return z.NEVER;
  }
  const askable = [...groupNames, ...originNames];
  const only = onlyOne(site.originGroups, originNames);
  if (site.behaviors === undefined && only === null) {
    refuse(
      ["behaviors"],
      `is missing; a site with several origins (${askable.join(", ")}) must say which is asked for what`,
    );
    return z.NEVER;
  }
  const behaviors = (site.behaviors ?? [DEFAULT_BEHAVIOR]).map((behavior, i) => ({
    ...behavior,
    origin:
      behavior.origin ??
      only ??
      refuse(["behaviors", i, "origin"], `is missing; the site has several origins: ${askable.join(", ")}`),
  }));
  return { ...site, behaviors };
});

/** What is asked where nothing says: the only origin, or the only group when it holds every origin. */
function onlyOne(
  groups: Readonly<Record<string, z.output<typeof originGroup>>>,
  originNames: readonly string[],
): string | null {
  const [group, ...others] = Object.entries(groups);
  if (group === undefined) return originNames.length === 1 ? (originNames[0] ?? null) : null;
  const [name, { members }] = group;
  const held = new Set(members.map(memberName));
  return others.length === 0 && originNames.every((origin) => held.has(origin)) ? name : null;
}
