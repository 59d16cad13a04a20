/**
 * When a stale answer is better than to wait, or to ask: while its origin says that it suffers, and when
 * the origin takes longer than the behaviour allows. Nothing here overrides an explicit must-revalidate,
 * proxy-revalidate or no-cache, nor a purge.
 */
import { type Freshness, forbidsStale } from "../cache/freshness.ts";
import { REFRESH_BACKOFF_MS } from "../cache/limits.ts";
import type { StoredResponse } from "../cache/stored.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import type { FlightOutcome } from "./flights.ts";
import type { CacheReason, CacheResult } from "./message.ts";

/** The freshness of a stored response as it counts now: longer while its origin is degraded. */
export function lifeOf(
  x: RoutedExchange,
  entry: StoredResponse,
  { origins, settings, clock }: EdgeContext,
  nowMs: number,
): Freshness {
  const { freshness } = entry;
  if (settings.fleet.mustValidate)
    return {
      ...freshness,
      freshUntilMs: Math.min(freshness.freshUntilMs, nowMs),
      whileRevalidateUntilMs: 0,
      ifErrorUntilMs: 0,
    };
  // How an origin does is of the machine's time.
  const machineMs = nowMs + clock.steady.now() - clock.now();
  const bounds = origins.degradedBounds(x.site, x.origin, machineMs);
  if (bounds === null || !entry.reusable || freshness.softPurged === true) return freshness;
  if (forbidsStale(entry.fields, x.behavior.ttl)) return freshness;
  const { freshUntilMs, whileRevalidateUntilMs, ifErrorUntilMs } = freshness;
  const moreMs = bounds.freshMs + bounds.staleMs;
  return {
    ...freshness,
    freshUntilMs: freshUntilMs + bounds.freshMs,
    whileRevalidateUntilMs: Math.max(freshUntilMs, whileRevalidateUntilMs) + moreMs,
    ifErrorUntilMs: Math.max(freshUntilMs, ifErrorUntilMs) + moreMs,
  };
}

/** How a stored response is used without waiting for its origin. */
interface Use {
  readonly result: CacheResult;
  readonly reason: CacheReason;
  /** It is fetched anew meanwhile. */
  readonly refresh: boolean;
}

const FRESH: Use = { result: "hit", reason: "fresh", refresh: false };
const SPARING: Use = { result: "stale", reason: "origin-degraded", refresh: false };
const UPDATING: Use = { result: "updating", reason: "stale-while-revalidate", refresh: true };

/** How it may be used now; null when the origin has to be asked first. */
export function usableNow(
  x: RoutedExchange,
  entry: StoredResponse,
  context: EdgeContext,
  nowMs: number,
): Use | null {
  if (nowMs < entry.freshness.freshUntilMs && !context.settings.fleet.mustValidate) return FRESH;
  const life = lifeOf(x, entry, context, nowMs);
  if (nowMs < life.freshUntilMs) return SPARING;
  return nowMs < life.whileRevalidateUntilMs ? UPDATING : null;
}

/** When each flight was first waited for with a stale answer at hand: who comes later waits for the rest only. */
const waitedSince = new WeakMap<Promise<FlightOutcome>, number>();

/**
 * Waits for a flight as long as its behaviour allows where a stale answer could be served instead of an
 * error. True when it took longer: the stale answer is to be served, and the flight goes on unattended.
 */
export async function tookTooLong(
  x: RoutedExchange,
  entry: StoredResponse | null,
  flight: Promise<FlightOutcome>,
  context: EdgeContext,
): Promise<boolean> {
  const { staleAfterMs } = x.behavior;
  if (staleAfterMs === null || entry === null) return false;
  const { clock } = context;
  const nowMs = clock.now();
  if (nowMs >= lifeOf(x, entry, context, nowMs).ifErrorUntilMs) return false;
  const sinceMs = waitedSince.get(flight) ?? nowMs;
  waitedSince.set(flight, sinceMs);
  const late = Promise.withResolvers<true>();
  const cancel = clock.after(Math.max(0, sinceMs + staleAfterMs - nowMs), () => late.resolve(true));
  const isLate = await Promise.race([flight.then(() => false), late.promise]);
  cancel();
  if (!isLate || clock.now() >= lifeOf(x, entry, context, clock.now()).ifErrorUntilMs) return false;
  if (!x.collapsed) void flight.then((outcome) => landUnattended(context, entry, outcome));
  x.collapsed = false;
  return true;
}

/** What becomes of a flight for which no viewer waits: `entry` is what is served meanwhile. */
export function landUnattended(context: EdgeContext, entry: StoredResponse, outcome: FlightOutcome): void {
  const failed = (): void => {
    entry.refreshNotBeforeMs = context.clock.now() + REFRESH_BACKOFF_MS;
  };
  switch (outcome.kind) {
    case "error":
    case "stale":
      failed();
      return;
    case "pass":
      context.store.remove(entry);
      return;
    case "freshened":
    case "large":
      return;
    case "response":
      if (!outcome.storage.store) {
        // What may not be stored any more is not what viewers should go on getting.
        context.store.remove(entry);
        outcome.fill.letGo();
        return;
      }
      // A body that broke off is a failure, too.
      void outcome.settled.then((stored) => {
        if (stored !== null) return;
        outcome.fill.letGo();
        failed();
      });
  }
}
