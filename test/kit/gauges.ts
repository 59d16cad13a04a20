/** What a node's page of counters says beside its counters, of a node that holds nothing. */
import type { StatsGauges } from "../../src/telemetry/stats.ts";

/** One site, one worker. */
export const NO_GAUGES: StatsGauges = {
  version: "0.0.0-test",
  snapshotNumber: 1,
  sites: 1,
  store: { objects: 0, bytes: 0, bytesMax: 0, evictions: 0 },
  disk: null,
  siteStores: {},
  workers: { up: 1, down: 0 },
  accessLog: { written: 0, dropped: 0 },
  requestsInFlight: 0,
};
