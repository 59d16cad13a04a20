/** What the phases share: the edge's store, flights, origins and clock. */
import type { Clock } from "../base/clock.ts";
import type { FillBudget } from "../cache/fill.ts";
import type { NotStoredReason } from "../cache/freshness.ts";
import type { PassForecast } from "../cache/pass-forecast.ts";
import type { DiskTier } from "../cache/store/disk-tier.ts";
import type { MemoryStore } from "../cache/store/memory.ts";
import type { Snapshot } from "../config/plan.ts";
import type { Stats } from "../telemetry/stats.ts";
import type { Shields } from "../upstream/shield/shields.ts";
import type { Flights } from "./flights.ts";
import type { Origins } from "./origins.ts";
import type { Peers } from "./peers.ts";
import type { EdgePurger } from "./phases/purge.ts";
import type { EdgePurges } from "./purges.ts";
import type { EdgeSettings } from "./settings.ts";

/** The state of an edge. */
export interface EdgeContext {
  readonly clock: Clock;
  readonly settings: EdgeSettings;
  readonly store: MemoryStore;
  /** The tier behind it; null when there is none. */
  readonly disk: DiskTier | null;
  readonly flights: Flights;
  /** What is to be expected of URLs that were not asked for before. */
  readonly forecast: PassForecast<NotStoredReason>;
  readonly fillBudget: FillBudget;
  readonly origins: Origins;
  /** The shields that this node can ask; null when there are none. */
  readonly shields: Shields | null;
  readonly stats: Stats;
  readonly purges: EdgePurges;
  /** Takes purges at the viewers' ports; null where these are methods like any other. */
  readonly purger: EdgePurger | null;
  /** The other workers of this node; null when there are none. */
  readonly peers: Peers | null;
  /** The snapshot in force. */
  snapshot: Snapshot;
}
