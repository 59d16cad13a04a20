/** The counters of several processes as those of one node. */
import { mergeLatency } from "./latency.ts";
import { endedOriginReports, mergeOriginReports } from "./origin-report.ts";
import { hitRatioOf, type SiteSnapshot, type SiteStoreSnapshot, type StatsSnapshot } from "./stats.ts";

/** Sums counters and gauges; ratios and quantiles are worked out anew. The list must not be empty. */
export function mergeStats(parts: readonly StatsSnapshot[]): StatsSnapshot {
  const [first, ...others] = parts;
  if (first === undefined) throw new RangeError("there are no counters to merge");
  return others.reduce(mergeTwo, first);
}

/** What remains of a process that has ended: its counters, without what it held. */
export function withoutGauges(stats: StatsSnapshot): StatsSnapshot {
  return {
    ...stats,
    requestsInFlight: 0,
    upstream: endedOriginReports(stats.upstream),
    store: { ...stats.store, objects: 0, bytes: 0, bytesMax: 0 },
    disk: stats.disk === null ? null : { ...stats.disk, objects: 0, bytes: 0, bytesMax: 0, shardsOff: 0 },
    siteStores: Object.fromEntries(
      Object.entries(stats.siteStores).map(([site, { evictions }]) => [
        site,
        { entries: 0, bytes: 0, bytesMax: null, bytesReserved: 0, evictions },
      ]),
    ),
    workers: { up: 0, down: 0 },
    memory: { ...stats.memory, residentBytes: 0 },
  };
}

function mergeTwo(a: StatsSnapshot, b: StatsSnapshot): StatsSnapshot {
  const results = addRecords(a.results, b.results);
  return {
    ...a,
    snapshotNumber: Math.max(a.snapshotNumber, b.snapshotNumber),
    siteCount: Math.max(a.siteCount, b.siteCount),
    startedAt: [a.startedAt, b.startedAt].sort()[0] ?? a.startedAt,
    uptimeSeconds: Math.max(a.uptimeSeconds, b.uptimeSeconds),
    requests: a.requests + b.requests,
    requestsInFlight: a.requestsInFlight + b.requestsInFlight,
    hitRatio: hitRatioOf(results),
    results,
    statuses: addRecords(a.statuses, b.statuses),
    staleServed: a.staleServed + b.staleServed,
    collapsed: a.collapsed + b.collapsed,
    tagsDropped: a.tagsDropped + b.tagsDropped,
    bytes: addRecords(a.bytes, b.bytes),
    origin: {
      requests: a.origin.requests + b.origin.requests,
      bytesReceived: a.origin.bytesReceived + b.origin.bytesReceived,
      errors: addRecords(a.origin.errors, b.origin.errors),
    },
    shields: addRecords(a.shields, b.shields),
    upstream: mergeOriginReports(a.upstream, b.upstream),
    latency: {
      hit: mergeLatency(a.latency.hit, b.latency.hit),
      miss: mergeLatency(a.latency.miss, b.latency.miss),
    },
    store: addRecords(a.store, b.store),
    disk: a.disk === null || b.disk === null ? (a.disk ?? b.disk) : addRecords(a.disk, b.disk),
    siteStores: mergeBySite(a.siteStores, b.siteStores, mergeStores),
    workers: addRecords(a.workers, b.workers),
    accessLog: addRecords(a.accessLog, b.accessLog),
    memory: addRecords(a.memory, b.memory),
    sites: mergeBySite(a.sites, b.sites, mergeSites),
  };
}

function mergeBySite<T>(
  a: Readonly<Record<string, T>>,
  b: Readonly<Record<string, T>>,
  merge: (one: T, other: T) => T,
): Record<string, T> {
  const merged: Record<string, T> = Object.assign(Object.create(null), a);
  for (const [site, other] of Object.entries(b)) {
    const one = merged[site];
    merged[site] = one === undefined ? other : merge(one, other);
  }
  return merged;
}

function mergeStores(a: SiteStoreSnapshot, b: SiteStoreSnapshot): SiteStoreSnapshot {
  return {
    entries: a.entries + b.entries,
    bytes: a.bytes + b.bytes,
    bytesMax: a.bytesMax === null ? b.bytesMax : a.bytesMax + (b.bytesMax ?? 0),
    bytesReserved: a.bytesReserved + b.bytesReserved,
    evictions: a.evictions + b.evictions,
  };
}

function mergeSites(a: SiteSnapshot, b: SiteSnapshot): SiteSnapshot {
  const results = addRecords(a.results, b.results);
  return {
    requests: a.requests + b.requests,
    hitRatio: hitRatioOf(results),
    bytesSent: a.bytesSent + b.bytesSent,
    bytesReceived: a.bytesReceived + b.bytesReceived,
    broken: a.broken + b.broken,
    results,
    statusClasses: addRecords(a.statusClasses, b.statusClasses),
  };
}

/** Adds numbers by name; a name that one side lacks counts as 0 there. */
function addRecords<T extends Readonly<Record<string, number>>>(a: T, b: T): T {
  const sum: Record<string, number> = { ...a };
  for (const [name, value] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + value;
  // The same names as the two that went in.
  return sum as T;
}
