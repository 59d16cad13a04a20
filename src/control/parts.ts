/** The parts of a control plane, made once and handed to its routes. */
import { type Clock, MovableClock } from "../base/clock.ts";
import { openSealer, type Sealer } from "../service/sealer.ts";
import { Audit } from "./audit.ts";
import { Batches } from "./batches.ts";
import { type LogKey, openLogKey } from "./bus/log-key.ts";
import { type ChangeLog, LocalChangeLog } from "./change-log.ts";
import { ControlDatabase } from "./database.ts";
import type { Tell } from "./events.ts";
import { FleetClock } from "./fleet-clock.ts";
import { Idempotent } from "./idempotent.ts";
import { Nodes } from "./nodes.ts";
import { FleetPurges } from "./purges.ts";
import { Rollouts } from "./rollouts/rollouts.ts";
import { Sites } from "./sites.ts";
import { Tokens } from "./tokens.ts";

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
  readonly batches: Batches;
  readonly rollouts: Rollouts;
  readonly idempotent: Idempotent;
  /** The time of the fleet; null where nobody moves it. */
  readonly fleetClock: FleetClock | null;
  close(): void;
}

/**
 * Opens the database and what stands on it; `fileOf` gives the path of a name in the data directory. Throws a
 * ProximaError when it can not be used.
 */
export function openParts(
  fileOf: (name: string) => string,
  version: string,
  clock: Clock,
  onError: (message: string) => void,
): ControlParts {
  const sealer = openSealer(fileOf("seal.key"));
  const database = new ControlDatabase(fileOf("control.db"));
  const log = new LocalChangeLog(database, clock);
  const audit = new Audit(database, clock);
  const nodes = new Nodes(database, clock);
  const purges = new FleetPurges(database, log, nodes, clock);
  const sites = new Sites(database, log, clock);
  const tell: Tell = () => {};
  const rollouts = new Rollouts({ database, sites, nodes, audit, clock, tell, onError });
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
    batches: new Batches(database, purges),
    rollouts,
    idempotent: new Idempotent(database, clock),
    fleetClock: clock instanceof MovableClock ? new FleetClock(clock, log, nodes) : null,
    close() {
      rollouts.close();
      log.close();
      purges.close();
      audit.close();
      database.close();
    },
  };
}
