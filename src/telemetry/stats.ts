/**
 * Counters of a node since its start. The compile step asks once for the SiteStats of each site and
 * keeps it in the plan; recording a request is then a handful of increments on preallocated arrays,
 * without a lookup by name. Everything else (sums, ratios, names) is worked out when somebody asks.
 */
import { LatencyHistogram, type LatencySnapshot } from "./latency.ts";
import { NO_ORIGINS, type OriginReports } from "./origin-report.ts";

/** The cache results in the order of their counters: the words of edge/message.ts. */
export const CACHE_RESULTS = [
  "hit",
  "miss",
  "expired",
  "stale",
  "updating",
  "revalidated",
  "bypass",
] as const;
/** One of the seven ends of a request. */
export type CountedResult = (typeof CACHE_RESULTS)[number];
type ByResult = Readonly<Record<CountedResult, number>>;

const RESULT_INDEX: ByResult = {
  hit: 0,
  miss: 1,
  expired: 2,
  stale: 3,
  updating: 4,
  revalidated: 5,
  bypass: 6,
};

/** Sites counted apart; further ones share one counter named `OTHER_SITE`. */
export const COUNTED_SITES_MAX = 20_000;
/** Different codes of origin errors counted apart. */
const ERROR_CODES_MAX = 64;
/** Name under which everything past a limit is counted. */
export const OTHER_SITE = "_other";

// Slots of a site's array: 0..6 results, 7..11 status classes 1xx..5xx, then sums.
const CLASS_BASE = CACHE_RESULTS.length;
const SENT_SLOT = CLASS_BASE + 5;
const RECEIVED_SLOT = SENT_SLOT + 1;
const BROKEN_SLOT = RECEIVED_SLOT + 1;
const SLOT_COUNT = BROKEN_SLOT + 1;

/** Counters of one site. */
export interface SiteSnapshot {
  readonly requests: number;
  readonly hitRatio: number | null;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Answers that broke off on the way, by no wish of the viewer. */
  readonly broken: number;
  readonly results: ByResult;
  /** Keys "1xx" to "5xx"; classes that did not occur are left out. */
  readonly statusClasses: Readonly<Record<string, number>>;
}

/** The disk cache: gauges, and counters since the start. A type, not an interface: its numbers are added by name. */
export type DiskGauges = {
  readonly objects: number;
  readonly bytes: number;
  readonly bytesMax: number;
  /** Responses that came back into memory. */
  readonly revived: number;
  readonly written: number;
  /** Not written for want of room, or because the disk could not be used. */
  readonly refused: number;
  readonly evictions: number;
  readonly damaged: number;
  /** Parts of 64 that can not be used now. */
  readonly shardsOff: number;
};

/** Requests that shields are for. A type, not an interface: its numbers are added by name. */
export type ShieldCounts = {
  /** Answered by a shield, or failed there. */
  readonly requests: number;
  /** Sent to the origin because no shield was up, or none could answer. */
  readonly passedOver: number;
};

/** What a site with a quota of the store's memory takes of it. */
export interface SiteStoreSnapshot {
  /** Stored responses, and markers of what may not be stored. */
  readonly entries: number;
  readonly bytes: number;
  /** Null where the site has no limit of its own. */
  readonly bytesMax: number | null;
  readonly bytesReserved: number;
  readonly evictions: number;
}

/** Values that others keep and that are read when somebody asks. */
export interface StatsGauges {
  readonly version: string;
  readonly snapshotNumber: number;
  readonly sites: number;
  readonly store: {
    readonly objects: number;
    readonly bytes: number;
    readonly bytesMax: number;
    readonly evictions: number;
  };
  /** Null without a disk cache. */
  readonly disk: DiskGauges | null;
  readonly siteStores: Readonly<Record<string, SiteStoreSnapshot>>;
  readonly accessLog: { readonly written: number; readonly dropped: number };
  /** Processes that serve, and that should but do not now. */
  readonly workers: { readonly up: number; readonly down: number };
  readonly requestsInFlight: number;
  readonly upstream?: OriginReports;
}

/** Everything `/v1/stats` tells. Counters count since `startedAt`. */
export interface StatsSnapshot {
  readonly version: string;
  readonly snapshotNumber: number;
  readonly siteCount: number;
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly requests: number;
  readonly requestsInFlight: number;
  /**
   * (hit + stale + updating + revalidated) / (those + miss + expired): the share of the requests that
   * could be answered from the cache and were. `bypass` is in neither. Null while there is none.
   */
  readonly hitRatio: number | null;
  readonly results: ByResult;
  readonly statuses: Readonly<Record<string, number>>;
  /** Viewer requests answered with a stale response: results stale and updating. */
  readonly staleServed: number;
  /** Requests that waited for another viewer's fetch instead of asking the origin. */
  readonly collapsed: number;
  /** Tags over a limit, so that a purge by them does not reach their objects. */
  readonly tagsDropped: number;
  readonly bytes: { readonly sent: number; readonly received: number };
  readonly origin: {
    readonly requests: number;
    readonly bytesReceived: number;
    readonly errors: Readonly<Record<string, number>>;
  };
  readonly shields: ShieldCounts;
  /** Each origin that was asked, checked or is in a group that was asked, and each such group. */
  readonly upstream: OriginReports;
  readonly latency: { readonly hit: LatencySnapshot; readonly miss: LatencySnapshot };
  readonly store: StatsGauges["store"];
  readonly disk: DiskGauges | null;
  /** By site, for sites with a quota. */
  readonly siteStores: StatsGauges["siteStores"];
  readonly workers: StatsGauges["workers"];
  readonly accessLog: StatsGauges["accessLog"];
  readonly memory: { readonly residentBytes: number };
  readonly sites: Readonly<Record<string, SiteSnapshot>>;
}

/** The counters of one site; get it once from `Stats.site` and keep it. */
export class SiteStats {
  readonly #slots = new Float64Array(SLOT_COUNT);
  readonly #shared: SharedCounters;

  constructor(shared: SharedCounters) {
    this.#shared = shared;
  }

  /**
   * Counts a request that has ended. `bytesSent` are body bytes to the viewer, `durationMs` the time
   * from the request to the answer; without it the histogram is left alone.
   */
  record(result: CountedResult, status: number, bytesSent: number, durationMs = -1): void {
    const slots = this.#slots;
    const index = RESULT_INDEX[result];
    slots[index] = (slots[index] as number) + 1;
    const statusClass = (status / 100) | 0;
    if (statusClass >= 1 && statusClass <= 5) {
      const slot = CLASS_BASE + statusClass - 1;
      slots[slot] = (slots[slot] as number) + 1;
      const statuses = this.#shared.statuses;
      statuses[status] = (statuses[status] as number) + 1;
    }
    slots[SENT_SLOT] = (slots[SENT_SLOT] as number) + bytesSent;
    if (durationMs < 0) return;
    // hit, stale and updating do not wait for the origin; miss, expired and revalidated do.
    if (index === 0 || index === 3 || index === 4) this.#shared.hitLatency.record(durationMs);
    else if (index !== 6) this.#shared.missLatency.record(durationMs);
  }

  /** Counts body bytes that the viewer sent. */
  recordReceived(bytes: number): void {
    this.#slots[RECEIVED_SLOT] = (this.#slots[RECEIVED_SLOT] as number) + bytes;
  }

  /** Counts an answer that broke off. */
  recordBroken(): void {
    this.#slots[BROKEN_SLOT] = (this.#slots[BROKEN_SLOT] as number) + 1;
  }

  /** Counts a request that waited for another one's fetch. */
  recordCollapsed(): void {
    this.#shared.collapsed++;
  }

  snapshot(): SiteSnapshot {
    const slots = this.#slots;
    const results = { hit: 0, miss: 0, expired: 0, stale: 0, updating: 0, revalidated: 0, bypass: 0 };
    let requests = 0;
    for (const name of CACHE_RESULTS) {
      results[name] = slots[RESULT_INDEX[name]] as number;
      requests += results[name];
    }
    const statusClasses: Record<string, number> = {};
    for (let i = 0; i < 5; i++) {
      const count = slots[CLASS_BASE + i] as number;
      if (count > 0) statusClasses[`${i + 1}xx`] = count;
    }
    return {
      requests,
      hitRatio: hitRatioOf(results),
      bytesSent: slots[SENT_SLOT] as number,
      bytesReceived: slots[RECEIVED_SLOT] as number,
      broken: slots[BROKEN_SLOT] as number,
      results,
      statusClasses,
    };
  }
}

/** What all sites count into together. */
interface SharedCounters {
  readonly statuses: Float64Array;
  readonly hitLatency: LatencyHistogram;
  readonly missLatency: LatencyHistogram;
  collapsed: number;
}

/** The counters of a node. */
export class Stats {
  readonly #shared: SharedCounters = {
    statuses: new Float64Array(600),
    hitLatency: new LatencyHistogram(),
    missLatency: new LatencyHistogram(),
    collapsed: 0,
  };
  readonly #sites = new Map<string, SiteStats>();
  readonly #originErrors = new Map<string, number>();
  readonly #now: () => number;
  readonly #startedAtMs: number;
  #originRequests = 0;
  #originBytes = 0;
  readonly #shields = { requests: 0, passedOver: 0 };
  #tagsDropped = 0;

  /** `clock.now` is read at the start and for each snapshot. */
  constructor(clock: { now(): number }) {
    this.#now = () => clock.now();
    this.#startedAtMs = clock.now();
  }

  /** The counters of a site, made when first asked for. Requests without a site count under "_none". */
  site(id: string | null): SiteStats {
    const name = id ?? "_none";
    const known = this.#sites.get(name);
    if (known !== undefined) return known;
    if (this.#sites.size >= COUNTED_SITES_MAX && name !== OTHER_SITE) return this.site(OTHER_SITE);
    const made = new SiteStats(this.#shared);
    this.#sites.set(name, made);
    return made;
  }

  /** Counts a request sent to an origin. */
  recordOriginRequest(): void {
    this.#originRequests++;
  }

  /** Counts a request for which shields were asked, and whether one had the last word. */
  recordShieldRequest(answered: boolean): void {
    if (answered) this.#shields.requests++;
    else this.#shields.passedOver++;
  }

  /** Counts body bytes that came from an origin. */
  recordOriginBytes(bytes: number): void {
    this.#originBytes += bytes;
  }

  /** Counts tags of responses that were over a limit: purges by them do not reach those objects. */
  recordTagsDropped(count: number): void {
    this.#tagsDropped += count;
  }

  /** Counts a failed exchange with an origin by the code of its UpstreamError. */
  recordOriginError(code: string): void {
    const name = this.#originErrors.has(code) || this.#originErrors.size < ERROR_CODES_MAX ? code : "other";
    this.#originErrors.set(name, (this.#originErrors.get(name) ?? 0) + 1);
  }

  /** All counters as plain data. */
  snapshot(gauges: StatsGauges): StatsSnapshot {
    const results = { hit: 0, miss: 0, expired: 0, stale: 0, updating: 0, revalidated: 0, bypass: 0 };
    const bytes = { sent: 0, received: 0 };
    const sites: Record<string, SiteSnapshot> = Object.create(null);
    let requests = 0;
    for (const [id, counters] of this.#sites) {
      const site = counters.snapshot();
      sites[id] = site;
      requests += site.requests;
      bytes.sent += site.bytesSent;
      bytes.received += site.bytesReceived;
      for (const name of CACHE_RESULTS) results[name] += site.results[name];
    }
    const statuses: Record<string, number> = {};
    for (const [status, count] of this.#shared.statuses.entries()) {
      if (count > 0) statuses[status] = count;
    }
    const now = this.#now();
    return {
      version: gauges.version,
      snapshotNumber: gauges.snapshotNumber,
      siteCount: gauges.sites,
      startedAt: new Date(this.#startedAtMs).toISOString(),
      uptimeSeconds: Math.max(0, Math.round((now - this.#startedAtMs) / 1_000)),
      requests,
      requestsInFlight: gauges.requestsInFlight,
      hitRatio: hitRatioOf(results),
      results,
      statuses,
      staleServed: results.stale + results.updating,
      collapsed: this.#shared.collapsed,
      tagsDropped: this.#tagsDropped,
      bytes,
      origin: {
        requests: this.#originRequests,
        bytesReceived: this.#originBytes,
        errors: Object.fromEntries(this.#originErrors),
      },
      shields: { ...this.#shields },
      upstream: gauges.upstream ?? NO_ORIGINS,
      latency: { hit: this.#shared.hitLatency.snapshot(), miss: this.#shared.missLatency.snapshot() },
      store: gauges.store,
      disk: gauges.disk,
      siteStores: gauges.siteStores,
      workers: gauges.workers,
      accessLog: gauges.accessLog,
      memory: { residentBytes: process.memoryUsage.rss() },
      sites,
    };
  }
}

/** The share of cacheable requests that the cache answered; null when there was none. */
export function hitRatioOf(results: ByResult): number | null {
  const served = results.hit + results.stale + results.updating + results.revalidated;
  const cacheable = served + results.miss + results.expired;
  return cacheable === 0 ? null : served / cacheable;
}
