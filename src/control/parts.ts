/** The parts of a control plane, made once and handed to its routes. */
import { type Clock, MovableClock } from "../base/clock.ts";
import { Audit } from "./audit.ts";
import { type ChangeLog, LocalChangeLog } from "./change-log.ts";
import { ControlDatabase } from "./database.ts";
import { FleetClock } from "./fleet-clock.ts";
import { Idempotent } from "./idempotent.ts";
import { Nodes } from "./nodes.ts";
import { FleetPurges } from "./purges.ts";
import { Sites } from "./sites.ts";
import { Tokens } from "./tokens.ts";

/** All of them. */
export interface ControlParts {
  readonly version: string;
  readonly clock: Clock;
  readonly database: ControlDatabase;
  readonly log: ChangeLog;
  readonly audit: Audit;
  readonly tokens: Tokens;
  readonly sites: Sites;
  readonly nodes: Nodes;
  readonly purges: FleetPurges;
  readonly idempotent: Idempotent;
  /** The time of the fleet; null where nobody moves it. */
  readonly fleetClock: FleetClock | null;
  close(): void;
}

/** Opens the database and what stands on it. Throws a ProximaError when it can not be used. */
export function openParts(file: string, version: string, clock: Clock): ControlParts {
  const database = new ControlDatabase(file);
  const log = new LocalChangeLog(database, clock);
  const audit = new Audit(database, clock);
  const nodes = new Nodes(database, clock);
  const purges = new FleetPurges(database, log, nodes, clock);
  return {
    version,
    clock,
    database,
    log,
    audit,
    tokens: new Tokens(database, clock),
    sites: new Sites(database, log, clock),
    nodes,
    purges,
    idempotent: new Idempotent(database, clock),
    fleetClock: clock instanceof MovableClock ? new FleetClock(clock, log, nodes) : null,
    close() {
      log.close();
      purges.close();
      audit.close();
      database.close();
    },
  };
}
