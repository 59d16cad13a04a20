import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../src/base/clock.ts";
import type { CacheResult } from "../../../src/edge/message.ts";
import { LATENCY_BOUNDS_MS } from "../../../src/telemetry/latency.ts";
import { LABELLED_SITES_MAX, renderMetrics } from "../../../src/telemetry/prometheus.ts";
import { CACHE_RESULTS, COUNTED_SITES_MAX, type CountedResult, Stats } from "../../../src/telemetry/stats.ts";

// The pipeline's words and the counters' words are the same: a compile error when they part.
const sameWords: [CacheResult] extends [CountedResult]
  ? [CountedResult] extends [CacheResult]
    ? true
    : false
  : false = true;

const gauges = {
  version: "1.2.3",
  snapshotNumber: 7,
  sites: 2,
  store: { objects: 3, bytes: 4_000, bytesMax: 1_048_576, evictions: 5 },
  disk: null,
  siteStores: {},
  workers: { up: 1, down: 0 },
  accessLog: { written: 9, dropped: 1 },
  requestsInFlight: 2,
};

describe("stats", () => {
  test("count by result, status, site and bytes", () => {
    const clock = new ManualClock();
    const stats = new Stats(clock);
    const shop = stats.site("shop");
    shop.record("hit", 200, 100, 0.1);
    shop.record("hit", 304, 0, 0.1);
    shop.record("miss", 200, 50, 30);
    stats.site("blog").record("bypass", 502, 20, 5);
    shop.recordReceived(11);
    shop.recordCollapsed();
    stats.recordOriginRequest();
    stats.recordOriginBytes(70);
    stats.recordOriginError("connection_refused");
    clock.advance(90_000);
    const seen = stats.snapshot(gauges);
    expect(seen).toMatchObject({
      version: "1.2.3",
      snapshotNumber: 7,
      startedAt: "2026-01-01T00:00:00.000Z",
      uptimeSeconds: 90,
      requests: 4,
      results: { hit: 2, miss: 1, expired: 0, stale: 0, updating: 0, revalidated: 0, bypass: 1 },
      statuses: { 200: 2, 304: 1, 502: 1 },
      collapsed: 1,
      bytes: { sent: 170, received: 11 },
      origin: { requests: 1, bytesReceived: 70, errors: { connection_refused: 1 } },
      store: gauges.store,
    });
    expect(seen.sites.shop).toMatchObject({
      requests: 3,
      bytesSent: 150,
      statusClasses: { "2xx": 2, "3xx": 1 },
    });
    expect(seen.latency.hit.count).toBe(2);
    expect(seen.latency.miss.count).toBe(1);
    expect(JSON.parse(JSON.stringify(seen))).toEqual(seen);
    expect(sameWords).toBe(true);
  });

  test("count every word as itself", () => {
    const stats = new Stats(new ManualClock());
    for (const [index, result] of CACHE_RESULTS.entries()) {
      for (let i = 0; i <= index; i++) stats.site("s").record(result, 200, 0);
    }
    expect(Object.values(stats.snapshot(gauges).results)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(stats.snapshot(gauges).staleServed).toBe(4 + 5);
  });

  test("tell the hit ratio of what could have been served from the cache", () => {
    const stats = new Stats(new ManualClock());
    expect(stats.snapshot(gauges).hitRatio).toBeNull();
    const site = stats.site("s");
    site.record("bypass", 200, 0);
    expect(stats.snapshot(gauges).hitRatio).toBeNull();
    for (const result of ["hit", "stale", "updating", "revalidated", "miss", "expired"] as const) {
      site.record(result, 200, 0);
    }
    expect(stats.snapshot(gauges).hitRatio).toBeCloseTo(4 / 6, 10);
    expect(stats.snapshot(gauges).sites.s?.hitRatio).toBeCloseTo(4 / 6, 10);
  });

  test("put a duration into the bucket whose bound it does not pass", () => {
    const stats = new Stats(new ManualClock());
    const site = stats.site("s");
    for (const ms of [0, 0.25, 0.26, 1, 60_000, 60_001]) site.record("hit", 200, 0, ms);
    const { hit } = stats.snapshot(gauges).latency;
    expect(hit.buckets.map((bucket) => bucket.leMs)).toEqual([...LATENCY_BOUNDS_MS]);
    expect(hit.buckets.map((bucket) => bucket.count).slice(0, 4)).toEqual([2, 3, 4, 4]);
    expect(hit.buckets.at(-1)?.count).toBe(5);
    expect(hit).toMatchObject({ count: 6, sumMs: 120_002.51, p50Ms: 0.5, p99Ms: null });
  });

  test("survive a site named like a part of every object, and count sites past the limit together", () => {
    const stats = new Stats(new ManualClock());
    stats.site("__proto__").record("hit", 200, 1);
    stats.site("constructor").record("hit", 200, 1);
    for (let i = 0; i < COUNTED_SITES_MAX + 10; i++) stats.site(`s${i}`).record("miss", 200, 1);
    const seen = stats.snapshot(gauges);
    expect(Object.entries(seen.sites)[0]).toMatchObject(["__proto__", { requests: 1 }]);
    expect(Object.keys(seen.sites)).toHaveLength(COUNTED_SITES_MAX + 1);
    expect(seen.sites._other?.requests).toBe(12);
    expect(seen.requests).toBe(COUNTED_SITES_MAX + 12);
  });

  test("ignore a status outside 100 to 599 and bound the codes of origin errors", () => {
    const stats = new Stats(new ManualClock());
    stats.site("s").record("miss", 0, 0);
    stats.site("s").record("miss", 999, 0);
    for (let i = 0; i < 500; i++) stats.recordOriginError(`code${i}`);
    const seen = stats.snapshot(gauges);
    expect(seen.statuses).toEqual({});
    expect(seen.requests).toBe(2);
    expect(Object.keys(seen.origin.errors)).toHaveLength(65);
    expect(seen.origin.errors.other).toBe(436);
  });
});

/** Reads the text format as strictly as Prometheus does: every sample under its family's HELP and TYPE. */
function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  let family = "";
  const families = new Set<string>();
  expect(text.endsWith("\n")).toBe(true);
  const lines = text.slice(0, -1).split("\n");
  for (const [index, line] of lines.entries()) {
    const help = /^# HELP (proxima_[a-z_]+) (.+)$/.exec(line);
    if (help !== null) {
      family = help[1] as string;
      expect(families.has(family)).toBe(false);
      families.add(family);
      expect(lines[index + 1]).toMatch(new RegExp(`^# TYPE ${family} (counter|gauge|histogram)$`));
      continue;
    }
    if (line.startsWith("# TYPE ")) continue;
    const sample = /^([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (\S+)$/.exec(line);
    if (sample === null) throw new Error(`not a sample: ${line}`);
    expect(
      (sample[1] as string)
        .replace(/_(bucket|sum|count)$/, "")
        .startsWith(family.replace(/_(sum|count)$/, "")),
    ).toBe(true);
    const id = `${sample[1]}${sample[2] ?? ""}`;
    expect(samples.has(id)).toBe(false);
    expect(Number.isFinite(Number(sample[3]))).toBe(true);
    samples.set(id, Number(sample[3]));
  }
  return samples;
}

describe("the metrics page", () => {
  test("is valid text format with base units", () => {
    const stats = new Stats(new ManualClock());
    stats.site("shop").record("hit", 200, 100, 0.2);
    stats.site("shop").record("miss", 404, 5, 3);
    stats.recordOriginError("dns_error");
    const samples = parseMetrics(renderMetrics(stats.snapshot(gauges)));
    expect(samples.get('proxima_build_info{version="1.2.3"}')).toBe(1);
    expect(samples.get('proxima_requests_total{result="hit"}')).toBe(1);
    expect(samples.get('proxima_requests_total{result="stale"}')).toBe(0);
    expect(samples.get('proxima_responses_total{status="404"}')).toBe(1);
    expect(samples.get('proxima_origin_errors_total{code="dns_error"}')).toBe(1);
    expect(samples.get('proxima_request_duration_seconds_bucket{cache="hit",le="0.00025"}')).toBe(1);
    expect(samples.get('proxima_request_duration_seconds_bucket{cache="miss",le="0.0025"}')).toBe(0);
    expect(samples.get('proxima_request_duration_seconds_bucket{cache="miss",le="+Inf"}')).toBe(1);
    expect(samples.get('proxima_request_duration_seconds_sum{cache="miss"}')).toBe(0.003);
    expect(samples.get('proxima_site_requests_total{site="shop",result="miss"}')).toBe(1);
    expect(samples.get("proxima_store_limit_bytes")).toBe(1_048_576);
    expect(samples.get("proxima_access_log_dropped_total")).toBe(1);
  });

  test("escapes label values", () => {
    const stats = new Stats(new ManualClock());
    stats.site('a"b\\c\nd').record("hit", 200, 1);
    const samples = parseMetrics(renderMetrics(stats.snapshot(gauges)));
    expect(samples.get('proxima_site_sent_bytes_total{site="a\\"b\\\\c\\nd"}')).toBe(1);
  });

  test("names a bounded number of sites and sums the rest", () => {
    const stats = new Stats(new ManualClock());
    for (let i = 0; i < LABELLED_SITES_MAX + 50; i++) stats.site(`s${i}`).record("hit", 200, 2);
    const samples = parseMetrics(renderMetrics(stats.snapshot(gauges)));
    const sites = [...samples.keys()].filter((id) => id.startsWith("proxima_site_sent_bytes_total"));
    expect(sites).toHaveLength(LABELLED_SITES_MAX + 1);
    expect(samples.get('proxima_site_sent_bytes_total{site="_other"}')).toBe(100);
    expect(samples.get('proxima_site_responses_total{site="_other",status="2xx"}')).toBe(50);
  });
});
