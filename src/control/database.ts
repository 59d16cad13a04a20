/**
 * The records of the control plane in one SQLite file: what an operation changes, what it writes into the
 * change log and what it leaves in the audit log are one transaction. What was acknowledged is on the disk.
 */
import { Database, type SQLQueryBindings } from "bun:sqlite";
import { chmodSync } from "node:fs";
import { messageOf, ProximaError } from "../base/errors.ts";
import { ZONE_TABLES } from "./zones/tables.ts";

const TABLES = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, scopes TEXT NOT NULL, sites TEXT,
  created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, expires_ms INTEGER, revoked_ms INTEGER, used_ms INTEGER) STRICT;
CREATE TABLE join_tokens (
  id TEXT PRIMARY KEY, hash BLOB NOT NULL, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL,
  expires_ms INTEGER NOT NULL, used_ms INTEGER, used_by TEXT) STRICT;
CREATE TABLE nodes (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, joined_ms INTEGER NOT NULL, joined_sequence INTEGER NOT NULL,
  removed_ms INTEGER, drained INTEGER NOT NULL DEFAULT 0, seen_ms INTEGER, address TEXT, applied INTEGER NOT NULL, report TEXT) STRICT;
CREATE UNIQUE INDEX nodes_by_name ON nodes (name) WHERE removed_ms IS NULL;
CREATE TABLE sites (
  id TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, deleted_ms INTEGER,
  revision INTEGER NOT NULL, draft TEXT, draft_ms INTEGER, active INTEGER) STRICT;
CREATE TABLE versions (
  site TEXT NOT NULL, number INTEGER NOT NULL, config TEXT NOT NULL, hash TEXT NOT NULL, hosts TEXT NOT NULL,
  note TEXT NOT NULL, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, PRIMARY KEY (site, number)) STRICT;
CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions BEGIN SELECT RAISE(ABORT, 'a version does not change'); END;
CREATE TABLE activations (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, site TEXT NOT NULL, version INTEGER, snapshot INTEGER NOT NULL,
  at_ms INTEGER NOT NULL, by TEXT NOT NULL) STRICT;
CREATE INDEX activations_by_site ON activations (site, sequence);
CREATE TABLE hosts (host TEXT PRIMARY KEY, site TEXT NOT NULL) STRICT;
CREATE INDEX hosts_by_site ON hosts (site);
CREATE TABLE snapshots (
  number INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL, active TEXT NOT NULL, created_ms INTEGER NOT NULL,
  created_by TEXT NOT NULL) STRICT;
CREATE TABLE changes (
  sequence INTEGER PRIMARY KEY, accepted_ms INTEGER NOT NULL, digest TEXT NOT NULL, targets INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE purges (
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, site TEXT NOT NULL, scope TEXT NOT NULL, mode TEXT NOT NULL,
  targets TEXT NOT NULL, target_count INTEGER NOT NULL, accepted_ms INTEGER NOT NULL, by TEXT NOT NULL) STRICT;
CREATE TABLE purge_reports (
  sequence INTEGER NOT NULL, node TEXT NOT NULL, applied_ms INTEGER NOT NULL, objects INTEGER, counted_ms INTEGER,
  PRIMARY KEY (sequence, node)) STRICT, WITHOUT ROWID;
CREATE TABLE idempotent (
  caller TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (caller, key)) STRICT;
CREATE INDEX idempotent_by_time ON idempotent (at_ms);
CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, actor_name TEXT NOT NULL,
  address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END;
`;

/** Secrets of access keys, sealed. */
const ACCESS_KEYS = "ALTER TABLE tokens ADD COLUMN sealed BLOB;";

/** Roll-outs, hooks, webhooks; hosts that a token may claim. */
const ROLLOUT_TABLES = `
ALTER TABLE snapshots ADD COLUMN staged TEXT;
ALTER TABLE tokens ADD COLUMN hosts TEXT;
ALTER TABLE nodes ADD COLUMN lost_ms INTEGER;
ALTER TABLE purges ADD COLUMN applied_ms INTEGER;
CREATE TABLE rollouts (
  id TEXT PRIMARY KEY, sites TEXT NOT NULL, settings TEXT NOT NULL, state TEXT NOT NULL, stage INTEGER NOT NULL,
  nodes TEXT NOT NULL, snapshot INTEGER NOT NULL, stage_ms INTEGER NOT NULL, hold_ms INTEGER, reason TEXT,
  created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, ended_ms INTEGER) STRICT;
CREATE INDEX rollouts_open ON rollouts (state) WHERE ended_ms IS NULL;
CREATE TABLE rollout_counts (
  rollout TEXT NOT NULL, node TEXT NOT NULL, arm TEXT NOT NULL, since_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  problem TEXT, last_requests INTEGER NOT NULL, last_errors INTEGER NOT NULL, requests INTEGER NOT NULL,
  errors INTEGER NOT NULL, mark_requests INTEGER NOT NULL, mark_errors INTEGER NOT NULL,
  before_requests INTEGER NOT NULL, before_errors INTEGER NOT NULL, PRIMARY KEY (rollout, node, arm)) STRICT, WITHOUT ROWID;
CREATE TABLE rollout_events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at_ms INTEGER NOT NULL, what TEXT NOT NULL,
  detail TEXT NOT NULL) STRICT;
CREATE INDEX rollout_events_by_rollout ON rollout_events (rollout, sequence);
CREATE TABLE origins_out (
  site TEXT NOT NULL, origin TEXT NOT NULL, node TEXT NOT NULL, PRIMARY KEY (site, origin, node)) STRICT, WITHOUT ROWID;
CREATE TABLE hooks (
  name TEXT PRIMARY KEY, site TEXT NOT NULL, config TEXT NOT NULL, secret BLOB NOT NULL, old_secret BLOB,
  old_until_ms INTEGER, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, used_ms INTEGER) STRICT;
CREATE TABLE hook_messages (
  hook TEXT NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL, answer TEXT NOT NULL,
  PRIMARY KEY (hook, message)) STRICT, WITHOUT ROWID;
CREATE INDEX hook_messages_by_time ON hook_messages (at_ms);
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, target BLOB NOT NULL, events TEXT NOT NULL, sites TEXT,
  created_ms INTEGER NOT NULL, created_by TEXT NOT NULL) STRICT;
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY, webhook TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,
  created_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, next_ms INTEGER NOT NULL, ended_ms INTEGER,
  problem TEXT) STRICT;
CREATE INDEX deliveries_due ON deliveries (next_ms) WHERE state = 'waiting';
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, created_ms);
`;

const BATCHES = `
CREATE TABLE batches (
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, vendor TEXT NOT NULL, site TEXT, reference TEXT,
  content TEXT NOT NULL, echo TEXT NOT NULL, purges TEXT NOT NULL, accepted_ms INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX batches_by_reference ON batches (vendor, site, reference) WHERE reference IS NOT NULL;
CREATE INDEX batches_by_site ON batches (vendor, site, sequence);
`;

/** Each webhook's next delivery is found without a look at all that wait. */
const DELIVERIES_BY_TURN = `
DROP INDEX deliveries_due;
CREATE INDEX deliveries_waiting ON deliveries (webhook, next_ms) WHERE state = 'waiting';
`;

/** What brings the file from each layout to the next; a file that is beyond the last one is refused. */
const LAYOUTS: readonly string[] = [
  TABLES,
  ACCESS_KEYS,
  ROLLOUT_TABLES,
  ZONE_TABLES,
  BATCHES,
  DELIVERIES_BY_TURN,
];

/** The file, opened. */
export class ControlDatabase {
  readonly #db: Database;

  /** Opens or makes it. Throws a ProximaError "control_database_unusable". */
  constructor(file: string) {
    try {
      this.#db = new Database(file, { create: true, strict: true });
      // It holds the key of the log.
      chmodSync(file, 0o600);
      this.#db.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
      const layout =
        this.#db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
      if (layout > LAYOUTS.length)
        throw new Error(
          `it was written by a newer version of the program (layout ${layout}, this one knows ${LAYOUTS.length})`,
        );
      if (layout < LAYOUTS.length)
        this.transaction(() => {
          for (const step of LAYOUTS.slice(layout)) this.#db.run(step);
          this.#db.run(`PRAGMA user_version = ${LAYOUTS.length}`);
        });
    } catch (cause) {
      throw new ProximaError(
        "control_database_unusable",
        `the control plane's database ${file} can not be used: ${messageOf(cause)}`,
        { source: "node", cause },
      );
    }
  }

  /** Every row. */
  all<R>(sql: string, ...values: SQLQueryBindings[]): R[] {
    return this.#db.query<R, SQLQueryBindings[]>(sql).all(...values);
  }

  /** The first row; null when there is none. */
  get<R>(sql: string, ...values: SQLQueryBindings[]): R | null {
    return this.#db.query<R, SQLQueryBindings[]>(sql).get(...values);
  }

  /** Changes rows; returns how many. */
  run(sql: string, ...values: SQLQueryBindings[]): number {
    return this.#db.query(sql).run(...values).changes;
  }

  /** All that `work` does, or nothing of it. May be nested. */
  transaction<T>(work: () => T): T {
    return this.#db.transaction(work)();
  }

  /** A transaction that outlives the process, but perhaps not a power failure: for what is said again anyway. */
  relaxed<T>(work: () => T): T {
    this.#db.run("PRAGMA synchronous = NORMAL");
    try {
      return this.transaction(work);
    } finally {
      this.#db.run("PRAGMA synchronous = FULL");
    }
  }

  close(): void {
    this.#db.close();
  }
}
