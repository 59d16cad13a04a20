/**
 * What a snapshot becomes when it arrives: for each site and behaviour one plan in which the
 * config's choices are already made, so that what is not configured costs nothing on a request.
 */
import type { HostIndex, PathPattern } from "./pattern.ts";
import type { OriginConfig, OriginGroupConfig, SiteConfig } from "./schema.ts";

/** How the query becomes part of the key. */
export type QueryRule =
  | { readonly kind: "all" }
  | { readonly kind: "none" }
  | { readonly kind: "include"; readonly names: ReadonlySet<string> }
  | { readonly kind: "exclude"; readonly names: ReadonlySet<string> };

/** The ingredients of a cache key. */
export interface KeyRecipe {
  readonly query: QueryRule;
  readonly stripTracking: boolean;
  readonly sortQuery: boolean;
  /** True when the query goes into the key as it stands: nothing to do. */
  readonly queryAsIs: boolean;
  readonly headers: readonly string[];
  readonly cookies: readonly string[];
  readonly device: boolean;
  /** Supported languages, the first is the default; null when language is not in the key. */
  readonly languages: readonly string[] | null;
  /** True when anything below the base key is configured. */
  readonly hasSecondary: boolean;
}

/** Everything that decides freshness, in milliseconds; the pure policy takes it as an argument. */
export interface TtlPolicy {
  readonly minMs: number;
  readonly defaultMs: number | null;
  readonly maxMs: number;
  /** Share of a lifetime that is taken off by key, at most. */
  readonly jitterFraction: number;
  readonly edgeMs: number | null;
  readonly staleWhileRevalidateMs: number | null;
  readonly staleIfErrorMs: number | null;
  readonly strictSMaxage: boolean;
  readonly heuristicFraction: number;
  readonly heuristicMaxMs: number;
  readonly storeAuthorized: boolean;
  readonly storeSetCookie: boolean;
  /** Lifetime for a status when the origin says none; null when not configured. */
  statusMs(status: number): number | null;
}

/** Compiled header rules: null when there are none. */
export interface FieldRules {
  readonly remove: readonly string[];
  readonly set: readonly (readonly [string, string])[];
  readonly append: readonly (readonly [string, string])[];
}

/** Which cookies reach the origin on cacheable requests. */
export type CookieForwarding = "all" | "none" | readonly string[];

/** One behaviour, compiled. */
export interface BehaviorPlan {
  readonly site: SitePlan;
  /** Place in the site's list, for explain and the log. */
  readonly index: number;
  readonly pattern: PathPattern;
  /** Name of the origin or group in the site. */
  readonly origin: string;
  readonly viewerProtocol: "allow-all" | "https-only" | "redirect-to-https";
  /** Null when every method is allowed. */
  readonly allowedMethods: ReadonlySet<string> | null;
  readonly cachedMethods: ReadonlySet<string>;
  readonly cache: boolean;
  readonly collapse: boolean;
  readonly ttl: TtlPolicy;
  readonly browserTtlSeconds: number | null;
  /** How long the origin is waited for where a stale answer could be served; null: until it answers. */
  readonly staleAfterMs: number | null;
  readonly key: KeyRecipe;
  readonly compress: boolean;
  readonly forwardAllQuery: boolean;
  readonly forwardHeaders:
    | "all"
    | { readonly include: ReadonlySet<string> }
    | { readonly exclude: ReadonlySet<string> };
  readonly forwardCookies: CookieForwarding;
  readonly requestRules: FieldRules | null;
  readonly responseRules: FieldRules | null;
  readonly rewrites: readonly { readonly match: PathPattern; readonly to: string }[];
  readonly bypass: {
    readonly cookies: readonly string[];
    readonly headers: readonly string[];
    readonly queryParameters: ReadonlySet<string>;
  } | null;
  readonly variantsMax: number;
}

/** A site's redirect, tried in order before behaviours. */
export interface RedirectRule {
  readonly host: string | null;
  readonly path: PathPattern | null;
  readonly to: string;
  readonly status: number;
}

/** What a site may take of a node's memory for stored answers, in bytes. */
export interface MemoryQuota {
  /** Null when only the node's own limit holds. */
  readonly bytesMax: number | null;
  readonly bytesReserved: number;
}

/** One site, compiled. Unchanged sites are kept from one snapshot to the next. */
export interface SitePlan {
  readonly id: string;
  readonly config: SiteConfig;
  /** Canonical text of the config, to see whether a site changed. */
  readonly source: string;
  readonly behaviors: readonly BehaviorPlan[];
  readonly redirects: readonly RedirectRule[];
  readonly errorPages: ReadonlyMap<string, { readonly path: string; readonly status: number | null }>;
  readonly defaultDocument: string | null;
  /** Names of fields that say what X-Cache says. */
  readonly cacheStatusFields: readonly string[];
  /** Capitals do not count in its tags. */
  readonly foldsTags: boolean;
  readonly http3: boolean;
  readonly developmentMode: boolean;
  /** The site's part of the node's memory; null without a quota. */
  readonly quota: MemoryQuota | null;
  readonly origins: ReadonlyMap<string, OriginConfig>;
  readonly originGroups: ReadonlyMap<string, OriginGroupConfig>;
}

/** An immutable, numbered set of sites, ready to serve. */
export interface Snapshot {
  readonly number: number;
  readonly sites: ReadonlyMap<string, SitePlan>;
  readonly hosts: HostIndex<SitePlan>;
}
