/** The parts of a control plane, made once and handed to its routes. */
import { type Clock, MovableClock } from "../base/clock.ts";
import { openSealer, type Sealer } from "../service/sealer.ts";
import type { BlobStore } from "../storage/blob-store.ts";
import { DirectoryBlobs } from "../storage/directory-blobs.ts";
import { Audit } from "./audit.ts";
import { Batches } from "./batches.ts";
import { type LogKey, openLogKey } from "./bus/log-key.ts";
import { type ChangeLog, LocalChangeLog } from "./change-log.ts";
import { ControlDatabase } from "./database.ts";
import type { Tell } from "./events.ts";
import { FleetClock } from "./fleet-clock.ts";
import { Hooks } from "./hooks/hooks.ts";
import { Idempotent } from "./idempotent.ts";
import { Meters } from "./meters.ts";
import { Nodes } from "./nodes.ts";
import { OrphanSurveys } from "./orphan-surveys.ts";
import { FleetPurges } from "./purges.ts";
import { Rollouts } from "./rollouts/rollouts.ts";
import { Sites } from "./sites.ts";
import { Tokens } from "./tokens.ts";
import { FleetWatch } from "./watch.ts";
import { type SendWebhook, WebhookCourier } from "./webhooks/courier.ts";
import { Webhooks } from "./webhooks/webhooks.ts";
import { Blobs } from "./zones/blobs.ts";
import { ZoneFiles } from "./zones/zone-files.ts";
import { ZoneSites } from "./zones/zone-sites.ts";
import { Zones } from "./zones/zones.ts";

/** All of them. */
export interface ControlParts {
  readonly version: string;
  readonly clock: Clock;
  readonly database: ControlDatabase;
  readonly log: ChangeLog;
  /** Signs what goes over a bus. */
  readonly logKey: LogKey;
  readonly audit: Audit;
  readonly tokens: Tokens;
  /** For secrets that have to be known again. */
  readonly sealer: Sealer;
  readonly sites: Sites;
  readonly nodes: Nodes;
  readonly purges: FleetPurges;
  readonly zones: Zones;
  readonly batches: Batches;
  readonly rollouts: Rollouts;
  readonly hooks: Hooks;
  readonly webhooks: Webhooks;
  readonly watch: FleetWatch;
  readonly orphans: OrphanSurveys;
  readonly idempotent: Idempotent;
  readonly meters: Meters;
  /** The time of the fleet; null where nobody moves it. */
  readonly fleetClock: FleetClock | null;
  close(): void;
}

/** What they are made from. */
export interface PartsSetup {
  /** Path of a name in the data directory. */
  readonly fileOf: (name: string) => string;
  readonly version: string;
  readonly clock: Clock;
  /** Where content of push zones is; null or left out: in a folder of the data directory. */
  readonly store?: BlobStore | null;
  readonly sendWebhook: SendWebhook;
  readonly onError: (message: string) => void;
}

/** Opens the database and what stands on it. Throws a ProximaError when it can not be used. */
export function openParts({ fileOf, version, clock, store, sendWebhook, onError }: PartsSetup): ControlParts {
  const sealer = openSealer(fileOf("seal.key"));
  const database = new ControlDatabase(fileOf("control.db"));
  const log = new LocalChangeLog(database, clock);
  const audit = new Audit(database, clock);
  const nodes = new Nodes(database, clock);
  const meters = new Meters(clock);
  const webhooks = new Webhooks(database, clock, sealer);
  const tell: Tell = (event) => webhooks.tell(event);
  const purges = new FleetPurges(database, log, nodes, clock);
  purges.onApplied = (purge) => {
    meters.purges.record(purge.appliedAfterMs);
    tell({ type: "purge.applied", sites: [purge.site], data: { ...purge } });
  };
  const zoneSites = new ZoneSites(database);
  const zoneFiles = new ZoneFiles(database, log, purges, zoneSites, clock);
  const blobs = new Blobs(
    database,
    store ?? new DirectoryBlobs(fileOf("zones")),
    fileOf("zones-incoming"),
    clock,
  );
  const sites = new Sites(database, log, clock, tell);
  const rollouts = new Rollouts({ database, sites, nodes, audit, clock, tell, onError });
  const orphans = new OrphanSurveys(nodes, log, clock);
  const watch = new FleetWatch({ database, nodes, clock, tell });
  const courier = new WebhookCourier({
    webhooks,
    database,
    clock,
    send: sendWebhook,
    random: Math.random,
    onError,
  });
  return {
    version,
    clock,
    database,
    log,
    logKey: openLogKey(database),
    audit,
    sealer,
    tokens: new Tokens(database, clock, sealer),
    sites,
    nodes,
    purges,
    zones: new Zones(database, zoneFiles, blobs, zoneSites, clock),
    batches: new Batches(database, purges),
    rollouts,
    hooks: new Hooks({ database, clock, sealer, sites, purges }),
    webhooks,
    watch,
    orphans,
    idempotent: new Idempotent(database, clock),
    meters,
    fleetClock: clock instanceof MovableClock ? new FleetClock(clock, log, nodes) : null,
    close() {
      courier.close();
      watch.close();
      orphans.close();
      rollouts.close();
      log.close();
      purges.close();
      audit.close();
      database.close();
    },
  };
}
