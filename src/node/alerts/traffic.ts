/**
 * The newest traffic of each site, from counters that only grow: how many requests of a window were served
 * from the cache, and how many failed; and what share is usual for the site.
 */
import type { SiteSnapshot, StatsSnapshot } from "../../telemetry/stats.ts";

/** Sites that are followed; the busiest ones of a first look, whoever comes first later. */
export const SITES_FOLLOWED_MAX = 5_000;
/** Samples of a window: it is as exact as a sixth of itself. */
const SAMPLES = 6;
/** After this time the usual counts for little more than a third (1/e), in milliseconds. */
const USUAL_MS = 4 * 3_600_000;
/** Nothing is usual before a site was followed for so long, in milliseconds. */
const USUAL_AFTER_MS = 30 * 60_000;

/** Counts of a site; in a window, or since the start. */
export interface Counts {
  readonly requests: number;
  /** Requests that the cache could answer. */
  readonly cacheable: number;
  /** Of them, those that it did. */
  readonly served: number;
  /** Answers with a 5xx status. */
  readonly errors: number;
}

const NONE: Counts = { requests: 0, cacheable: 0, served: 0, errors: 0 };

/** A site's counts in a window, and the hit ratio that is usual for it; null while nothing is. */
export interface SiteTraffic {
  readonly site: string;
  readonly window: Counts;
  readonly usualRatio: number | null;
}

interface Followed {
  /** Cumulative counts, the oldest at the beginning of the window. */
  samples: { readonly atMs: number; readonly counts: Counts }[];
  newest: Counts;
  readonly sinceMs: number;
  usualServed: number;
  usualCacheable: number;
}

/** Follows sites over one length of window. */
export class Traffic {
  readonly #sites = new Map<string, Followed>();
  #lastMs: number | null = null;

  /** Takes counters as they are at `nowMs`. Returns each site that had requests in the window. */
  take(stats: StatsSnapshot, nowMs: number, windowMs: number): SiteTraffic[] {
    const lastMs = this.#lastMs;
    this.#lastMs = nowMs;
    for (const site of this.#sites.keys()) if (!Object.hasOwn(stats.sites, site)) this.#sites.delete(site);
    const traffic: SiteTraffic[] = [];
    for (const [site, snapshot] of Object.entries(stats.sites)) {
      const counts = countsOf(snapshot);
      let followed = this.#sites.get(site);
      if (followed === undefined) {
        if (this.#sites.size >= SITES_FOLLOWED_MAX) continue;
        // A site that came later had nothing before; nor had any when the counters began within the window.
        const uptimeMs = stats.uptimeSeconds * 1_000;
        const isOld = lastMs === null && uptimeMs > windowMs;
        followed = started(isOld ? counts : NONE, lastMs ?? (isOld ? nowMs : nowMs - uptimeMs));
        this.#sites.set(site, followed);
      } else if (counts.requests < followed.newest.requests) {
        // Counters of a process that was killed are lost.
        followed = started(counts, nowMs);
        this.#sites.set(site, followed);
      }
      traffic.push({ site, ...advance(followed, counts, nowMs, lastMs ?? nowMs, windowMs) });
    }
    return traffic;
  }
}

function started(counts: Counts, atMs: number): Followed {
  return {
    samples: [{ atMs, counts }],
    newest: counts,
    sinceMs: atMs,
    usualServed: 0,
    usualCacheable: 0,
  };
}

function advance(
  followed: Followed,
  counts: Counts,
  nowMs: number,
  lastMs: number,
  windowMs: number,
): { window: Counts; usualRatio: number | null } {
  const { samples } = followed;
  const usualRatio =
    nowMs - followed.sinceMs >= USUAL_AFTER_MS && followed.usualCacheable >= 1
      ? followed.usualServed / followed.usualCacheable
      : null;
  const step = minus(counts, followed.newest);
  const decay = Math.exp(-(nowMs - lastMs) / USUAL_MS);
  followed.usualServed = followed.usualServed * decay + step.served;
  followed.usualCacheable = followed.usualCacheable * decay + step.cacheable;
  followed.newest = counts;
  if (nowMs - (samples.at(-1)?.atMs ?? 0) >= windowMs / SAMPLES) samples.push({ atMs: nowMs, counts });
  // The second sample is old enough to be where the window begins.
  while ((samples[1]?.atMs ?? nowMs) <= nowMs - windowMs) samples.shift();
  return { window: minus(counts, samples[0]?.counts ?? NONE), usualRatio };
}

function countsOf({ requests, results, statusClasses }: SiteSnapshot): Counts {
  const served = results.hit + results.stale + results.updating + results.revalidated;
  return {
    requests,
    served,
    cacheable: served + results.miss + results.expired,
    errors: statusClasses["5xx"] ?? 0,
  };
}

function minus(a: Counts, b: Counts): Counts {
  return {
    requests: a.requests - b.requests,
    cacheable: a.cacheable - b.cacheable,
    served: a.served - b.served,
    errors: a.errors - b.errors,
  };
}
