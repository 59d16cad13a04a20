/**
 * A stats snapshot in the Prometheus text format 0.0.4: base units (seconds, bytes), counters end in
 * `_total`. Label values come from a bounded set: statuses, results, error codes, and at most
 * `LABELLED_SITES_MAX` sites; the rest are summed under `site="_other"`.
 */
import type { LatencySnapshot } from "./latency.ts";
import type { GroupReport, OriginReport, OriginReports } from "./origin-report.ts";
import {
  CACHE_RESULTS,
  type DiskGauges,
  OTHER_SITE,
  type SiteSnapshot,
  type SiteStoreSnapshot,
  type StatsSnapshot,
} from "./stats.ts";

/** Sites with a label of their own. */
export const LABELLED_SITES_MAX = 1_000;
/** Origins, and groups, with a label of their own; further ones are left out. */
export const LABELLED_ORIGINS_MAX = 1_000;
/** The Content-Type of the text format. */
export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** The metrics page of a node. */
export function renderMetrics(stats: StatsSnapshot): string {
  const page = new MetricsPage();
  page.gauge("build_info", "Version of the program; the value is always 1.", [
    [{ version: stats.version }, 1],
  ]);
  page.gauge("start_time_seconds", "Start of the process, seconds since the Unix epoch.", [
    [{}, Date.parse(stats.startedAt) / 1_000],
  ]);
  page.gauge("snapshot_number", "Number of the config snapshot in force.", [[{}, stats.snapshotNumber]]);
  page.gauge("sites", "Sites of the snapshot in force.", [[{}, stats.siteCount]]);
  page.gauge("workers", "Processes that serve, and that should but do not now.", [
    [{ state: "up" }, stats.workers.up],
    [{ state: "down" }, stats.workers.down],
  ]);
  page.gauge("requests_in_flight", "Requests that have not ended yet.", [[{}, stats.requestsInFlight]]);
  page.gauge("resident_memory_bytes", "Resident memory of the process.", [[{}, stats.memory.residentBytes]]);

  page.counter(
    "requests_total",
    "Viewer requests by cache result.",
    CACHE_RESULTS.map((result) => [{ result }, stats.results[result]]),
  );
  page.counter("responses_total", "Viewer responses by status.", labelled("status", stats.statuses));
  page.counter("stale_served_total", "Viewer requests answered with a stale response.", [
    [{}, stats.staleServed],
  ]);
  page.counter(
    "tags_dropped_total",
    "Tags of responses over a limit: purges by them do not reach their objects.",
    [[{}, stats.tagsDropped]],
  );
  page.counter("collapsed_requests_total", "Requests that waited for another viewer's fetch.", [
    [{}, stats.collapsed],
  ]);
  page.counter("viewer_sent_bytes_total", "Body bytes sent to viewers.", [[{}, stats.bytes.sent]]);
  page.counter("viewer_received_bytes_total", "Body bytes received from viewers.", [
    [{}, stats.bytes.received],
  ]);

  page.counter("origin_requests_total", "Requests sent to origins.", [[{}, stats.origin.requests]]);
  page.counter("shield_requests_total", "Requests answered by shields.", [[{}, stats.shields.requests]]);
  page.counter("shield_passed_over_total", "Requests sent to the origin because no shield could answer.", [
    [{}, stats.shields.passedOver],
  ]);
  page.counter("origin_received_bytes_total", "Body bytes received from origins.", [
    [{}, stats.origin.bytesReceived],
  ]);
  page.counter(
    "origin_errors_total",
    "Failed exchanges with origins.",
    labelled("code", stats.origin.errors),
  );

  page.gauge("store_objects", "Stored responses.", [[{}, stats.store.objects]]);
  page.gauge("store_bytes", "Bytes that stored responses take.", [[{}, stats.store.bytes]]);
  page.gauge("store_limit_bytes", "Bytes that stored responses may take.", [[{}, stats.store.bytesMax]]);
  page.counter("store_evictions_total", "Stored responses removed for want of room.", [
    [{}, stats.store.evictions],
  ]);
  if (stats.disk !== null) diskMetrics(page, stats.disk);
  const stores = Object.entries(stats.siteStores).slice(0, LABELLED_SITES_MAX);
  const bySite = (value: (store: SiteStoreSnapshot) => number | null): Sample[] =>
    stores.flatMap(([site, store]): Sample[] => {
      const one = value(store);
      return one === null ? [] : [[{ site }, one]];
    });
  page.gauge(
    "site_store_entries",
    "Stored responses and pass markers, by site with a quota.",
    bySite(({ entries }) => entries),
  );
  page.gauge(
    "site_store_bytes",
    "Bytes that stored responses take, by site with a quota.",
    bySite(({ bytes }) => bytes),
  );
  page.gauge(
    "site_store_limit_bytes",
    "Bytes that stored responses of a site may take.",
    bySite(({ bytesMax }) => bytesMax),
  );
  page.gauge(
    "site_store_reserved_bytes",
    "Bytes that are reserved for a site's stored responses.",
    bySite(({ bytesReserved }) => (bytesReserved === 0 ? null : bytesReserved)),
  );
  page.counter(
    "site_store_evictions_total",
    "Stored responses removed for want of room, by site with a quota.",
    bySite(({ evictions }) => evictions),
  );
  page.counter("access_log_written_total", "Entries written to the access log.", [
    [{}, stats.accessLog.written],
  ]);
  page.counter("access_log_dropped_total", "Entries of the access log that were dropped.", [
    [{}, stats.accessLog.dropped],
  ]);

  page.histogram("request_duration_seconds", "Time to the viewer's answer; bypass is not counted.", [
    [{ cache: "hit" }, stats.latency.hit],
    [{ cache: "miss" }, stats.latency.miss],
  ]);

  const sites = foldSites(stats.sites);
  page.counter(
    "site_requests_total",
    "Viewer requests by site and cache result; results that did not occur are left out.",
    sites.flatMap(([site, counted]) =>
      CACHE_RESULTS.filter((result) => counted.results[result] > 0).map(
        (result): Sample => [{ site, result }, counted.results[result]],
      ),
    ),
  );
  page.counter(
    "site_responses_total",
    "Viewer responses by site and status class.",
    sites.flatMap(([site, counted]) =>
      Object.entries(counted.statusClasses).map(([status, value]): Sample => [{ site, status }, value]),
    ),
  );
  page.counter(
    "site_sent_bytes_total",
    "Body bytes sent to viewers by site.",
    sites.map(([site, counted]) => [{ site }, counted.bytesSent]),
  );
  page.counter(
    "site_broken_total",
    "Answers that broke off on the way by site, by no wish of the viewer.",
    sites.filter(([, { broken }]) => broken > 0).map(([site, { broken }]) => [{ site }, broken]),
  );
  originMetrics(page, stats.upstream);
  return page.text;
}

/** Origins and groups by name, as many as have a label of their own. */
function originMetrics(page: MetricsPage, upstream: OriginReports): void {
  const origins = upstream.origins.slice(0, LABELLED_ORIGINS_MAX);
  const groups = upstream.groups.slice(0, LABELLED_ORIGINS_MAX);
  const ofOrigins = (value: (origin: OriginReport) => number): Sample[] =>
    origins.map((origin) => [{ site: origin.site, origin: origin.name }, value(origin)]);
  const ofGroups = (value: (group: GroupReport) => number): Sample[] =>
    groups.map((group) => [{ site: group.site, group: group.name }, value(group)]);
  page.gauge(
    "origin_up",
    "1 when an origin is up, 0.5 on trial, 0 when it is down in a process of the node.",
    ofOrigins(({ state }) => (state === "up" ? 1 : state === "trial" ? 0.5 : 0)),
  );
  page.gauge(
    "origin_degraded",
    "1 while an origin says that it is degraded.",
    ofOrigins(({ degraded }) => Number(degraded)),
  );
  page.gauge(
    "origin_in_flight",
    "Requests under way by origin.",
    ofOrigins(({ inFlight }) => inFlight),
  );
  page.gauge(
    "origin_waiting",
    "Requests that wait for a place by origin.",
    ofOrigins(({ waiting }) => waiting),
  );
  page.counter(
    "origin_asked_total",
    "Requests by origin.",
    ofOrigins(({ requests }) => requests),
  );
  page.counter(
    "origin_failures_total",
    "Failed requests by origin.",
    ofOrigins(({ failures }) => failures),
  );
  page.counter(
    "origin_ejections_total",
    "How often an origin was taken out.",
    ofOrigins(({ ejections }) => ejections),
  );
  page.counter(
    "origin_refused_total",
    "Requests that found no place by origin.",
    ofOrigins(({ refused }) => refused),
  );
  page.counter(
    "group_requests_total",
    "Requests by group.",
    ofGroups(({ requests }) => requests),
  );
  page.counter(
    "group_failovers_total",
    "Requests asked of another member after one failed.",
    ofGroups(({ failovers }) => failovers),
  );
  page.counter(
    "group_retries_denied_total",
    "Requests not asked of another member because the retry budget was spent.",
    ofGroups(({ retriesDenied }) => retriesDenied),
  );
}

/** A page that is being written. */
export class MetricsPage {
  text = "";

  gauge(name: string, help: string, samples: readonly Sample[]): void {
    this.#family(name, "gauge", help, samples);
  }

  counter(name: string, help: string, samples: readonly Sample[]): void {
    this.#family(name, "counter", help, samples);
  }

  histogram(
    name: string,
    help: string,
    series: readonly (readonly [Readonly<Record<string, string>>, LatencySnapshot])[],
  ): void {
    this.#head(name, "histogram", help);
    for (const [labels, latency] of series) {
      for (const { leMs, count } of latency.buckets) {
        this.#sample(`${name}_bucket`, { ...labels, le: String(leMs / 1_000) }, count);
      }
      this.#sample(`${name}_bucket`, { ...labels, le: "+Inf" }, latency.count);
      this.#sample(`${name}_sum`, labels, latency.sumMs / 1_000);
      this.#sample(`${name}_count`, labels, latency.count);
    }
  }

  #family(name: string, type: string, help: string, samples: readonly Sample[]): void {
    if (samples.length === 0) return;
    this.#head(name, type, help);
    for (const [labels, value] of samples) this.#sample(name, labels, value);
  }

  #head(name: string, type: string, help: string): void {
    const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
    this.text += `# HELP proxima_${name} ${escaped}\n# TYPE proxima_${name} ${type}\n`;
  }

  #sample(name: string, labels: Readonly<Record<string, string>>, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    this.text += `proxima_${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}\n`;
  }
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function labelled(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([name, count]) => [{ [label]: name }, count]);
}

/** The first sites that were counted keep their name (a label must not change its meaning), others are summed. */
function foldSites(sites: Readonly<Record<string, SiteSnapshot>>): [string, SiteSnapshot][] {
  const all = Object.entries(sites);
  const named = all.filter(([site]) => site !== OTHER_SITE).slice(0, LABELLED_SITES_MAX);
  const kept = new Set(named.map(([site]) => site));
  const rest = all.filter(([site]) => !kept.has(site)).map(([, counted]) => counted);
  return rest.length === 0 ? named : [...named, [OTHER_SITE, rest.reduce(sumOf)]];
}

function sumOf(a: SiteSnapshot, b: SiteSnapshot): SiteSnapshot {
  const results = { ...a.results };
  for (const name of CACHE_RESULTS) results[name] += b.results[name];
  const statusClasses = { ...a.statusClasses };
  for (const [name, count] of Object.entries(b.statusClasses)) {
    statusClasses[name] = (statusClasses[name] ?? 0) + count;
  }
  return {
    requests: a.requests + b.requests,
    hitRatio: null,
    bytesSent: a.bytesSent + b.bytesSent,
    bytesReceived: a.bytesReceived + b.bytesReceived,
    broken: a.broken + b.broken,
    results,
    statusClasses,
  };
}

function diskMetrics(page: MetricsPage, disk: DiskGauges): void {
  page.gauge("disk_objects", "Stored responses on disk.", [[{}, disk.objects]]);
  page.gauge("disk_bytes", "Bytes that they take on disk, with their index.", [[{}, disk.bytes]]);
  page.gauge("disk_limit_bytes", "Bytes that they may take on disk.", [[{}, disk.bytesMax]]);
  page.gauge("disk_shards_off", "Parts of the disk cache (of 64) that can not be used now.", [
    [{}, disk.shardsOff],
  ]);
  page.counter("disk_revived_total", "Stored responses that came back from disk into memory.", [
    [{}, disk.revived],
  ]);
  page.counter("disk_written_total", "Stored responses written to disk.", [[{}, disk.written]]);
  page.counter("disk_refused_total", "Stored responses that were not written to disk.", [[{}, disk.refused]]);
  page.counter("disk_evictions_total", "Stored responses removed from disk for want of room.", [
    [{}, disk.evictions],
  ]);
  page.counter("disk_damaged_total", "Stored responses that failed verification on disk and were removed.", [
    [{}, disk.damaged],
  ]);
}
