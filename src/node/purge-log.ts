/**
 * The purge log of one machine: numbered entries in SQLite, appended durably before they are applied and
 * read again after a restart. The log has an identity: a reader that knows another one can trust nothing
 * it holds. What has been swept everywhere may go.
 *
 * In a fleet the numbers are those of the fleet's log, so that nodes can compare how far they are, and the
 * place in that log is kept in the same transaction as the entry: none is lost and none is taken twice.
 */
import { Database } from "bun:sqlite";
import { randomUUID } from "node:crypto";
import { ProximaError } from "../base/errors.ts";
import type { Purge } from "../cache/purge-table.ts";

/** Entries that are kept after they were swept, so that one can ask for them. */
const PURGES_KEPT_MAX = 10_000;
/** Entries beyond the limit that are let stand before they are deleted together. */
const TRIM_EVERY = 1_000;

/** An entry of the log with what has become of it. */
export interface LoggedPurge extends Purge {
  /** What one asks for it by. */
  readonly id: string;
  /** Objects it hit; null until the sweep has ended. */
  readonly counted: number | null;
}

/** How far a node has come in its fleet's log. */
export interface FleetPosition {
  /** Identity of the fleet's log. */
  readonly log: string;
  /** The newest entry that was taken; 0 for none. */
  readonly sequence: number;
  /** Digest of the log up to there: another log, or one that was set back, has another. */
  readonly digest: string;
}

/** A purge to be logged. */
export type NewPurge = Omit<Purge, "sequence">;

interface Row {
  sequence: number;
  id: string;
  site: string;
  scope: string;
  targets: string;
  mode: string;
  accepted_ms: number;
  counted: number | null;
  idempotency_key: string | null;
}

/** The log of a node without a fleet. */
export class PurgeLog {
  readonly #db: Database;
  #untrimmed = 0;
  #id: string;
  /** Called with the sequence of each new entry before that is applied. */
  onEntry: (sequence: number) => void = () => undefined;

  /**
   * Opens or makes the log. `ownsEntries` is false in a fleet: what a power failure takes, the fleet's log
   * gives again. Throws a ProximaError "purge_log_unusable".
   */
  constructor(file: string, ownsEntries = true) {
    try {
      this.#db = new Database(file, { create: true, strict: true });
      // FULL: what was acknowledged is there after a power failure.
      this.#db.run(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${ownsEntries ? "FULL" : "NORMAL"};`);
      this.#db.run(`CREATE TABLE IF NOT EXISTS meta (id TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS purges (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, site TEXT NOT NULL,
          scope TEXT NOT NULL, targets TEXT NOT NULL, mode TEXT NOT NULL, accepted_ms REAL NOT NULL, counted INTEGER, idempotency_key TEXT UNIQUE);
        CREATE TABLE IF NOT EXISTS fleet (log TEXT NOT NULL, sequence INTEGER NOT NULL, digest TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS trimmed (sequence INTEGER NOT NULL);
        INSERT INTO trimmed SELECT coalesce((SELECT min(sequence) - 1 FROM purges), (SELECT seq FROM sqlite_sequence WHERE name = 'purges'), 0)
          WHERE NOT EXISTS (SELECT 1 FROM trimmed);`);
      const known = this.#db.query<{ id: string }, []>("SELECT id FROM meta").get();
      this.#id = known?.id ?? randomUUID();
      if (known === null) this.#db.query("INSERT INTO meta (id) VALUES (?)").run(this.#id);
    } catch (cause) {
      throw new ProximaError(
        "purge_log_unusable",
        `the purge log ${file} can not be used: ${String(cause)}`,
        { source: "node", cause },
      );
    }
  }

  /** Identity of this log: another file, another identity. */
  get id(): string {
    return this.#id;
  }

  /** Takes another identity: its numbers will be given to other entries than before. */
  renew(): void {
    this.#id = randomUUID();
    this.#db.query("UPDATE meta SET id = ?").run(this.#id);
  }

  /**
   * Appends entries in one transaction. With an idempotency key that is known the entry of that key comes
   * back; a ProximaError "idempotency_conflict" says that it was another purge.
   */
  append(
    purge: NewPurge,
    idempotencyKey: string | null,
  ): { readonly entry: LoggedPurge; readonly isNew: boolean } {
    if (idempotencyKey !== null) {
      const known = this.#db
        .query<Row, [string]>("SELECT * FROM purges WHERE idempotency_key = ?")
        .get(idempotencyKey);
      if (known !== null) {
        const entry = entryOf(known);
        const same =
          entry.site === purge.site &&
          entry.scope === purge.scope &&
          entry.mode === purge.mode &&
          known.targets === JSON.stringify(purge.targets);
        if (!same) {
          throw new ProximaError(
            "idempotency_conflict",
            `the idempotency key ${idempotencyKey} was used for another purge`,
            { source: "viewer" },
          );
        }
        return { entry, isNew: false };
      }
    }
    const row = this.#db
      .query<Row, [string, string, string, string, string, number, string | null]>(
        "INSERT INTO purges (id, site, scope, targets, mode, accepted_ms, idempotency_key) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
      )
      .get(
        randomUUID(),
        purge.site,
        purge.scope,
        JSON.stringify(purge.targets),
        purge.mode,
        purge.acceptedMs,
        idempotencyKey,
      );
    if (row === null)
      throw new ProximaError("purge_log_unusable", "the purge log took no entry", { source: "node" });
    this.onEntry(row.sequence);
    return { entry: entryOf(row), isNew: true };
  }

  /** True when a purge with this idempotency key was logged. */
  hasKey(idempotencyKey: string): boolean {
    return this.#db.query("SELECT 1 FROM purges WHERE idempotency_key = ?").get(idempotencyKey) !== null;
  }

  /** How far the node has come in its fleet's log; null before it took anything of one. */
  get fleet(): FleetPosition | null {
    return this.#db.query<FleetPosition, []>("SELECT log, sequence, digest FROM fleet").get();
  }

  /**
   * Takes entries of the fleet's log, in order, and the place behind them, all or nothing. Entries that are
   * not newer than the log are left out: they were taken before.
   */
  take(
    entries: readonly (Purge & { readonly id: string })[],
    position: FleetPosition,
  ): readonly LoggedPurge[] {
    const taken = this.#db.transaction(() => {
      const taken: LoggedPurge[] = [];
      let { newest } = this;
      for (const entry of entries) {
        if (entry.sequence <= newest) continue;
        newest = entry.sequence;
        const { id, sequence, site, scope, targets, mode, acceptedMs } = entry;
        this.#db
          .query(
            "INSERT INTO purges (sequence, id, site, scope, targets, mode, accepted_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
          )
          .run(sequence, id, site, scope, JSON.stringify(targets), mode, acceptedMs);
        taken.push({ ...entry, counted: null });
      }
      this.#db.run("DELETE FROM fleet");
      this.#db
        .query("INSERT INTO fleet (log, sequence, digest) VALUES (?, ?, ?)")
        .run(position.log, position.sequence, position.digest);
      return taken;
    })();
    const last = taken.at(-1);
    if (last !== undefined) this.onEntry(last.sequence);
    return taken;
  }

  /** The entry with this id. */
  get(id: string): LoggedPurge | null {
    const row = this.#db.query<Row, [string]>("SELECT * FROM purges WHERE id = ?").get(id);
    return row === null ? null : entryOf(row);
  }

  /** The newest entries, newest first, older than `before` when given. */
  list(limit: number, before = Number.MAX_SAFE_INTEGER): LoggedPurge[] {
    return this.#db
      .query<Row, [number, number]>("SELECT * FROM purges WHERE sequence < ? ORDER BY sequence DESC LIMIT ?")
      .all(before, limit)
      .map(entryOf);
  }

  /** Entries that have not been swept, in order: what has to be applied again after a restart. */
  *unswept(): Generator<LoggedPurge> {
    for (const row of this.#db
      .query<Row, []>("SELECT * FROM purges WHERE counted IS NULL ORDER BY sequence")
      .iterate())
      yield entryOf(row);
  }

  /** Entries after `sequence`, in order. */
  since(sequence: number): Purge[] {
    return this.#db
      .query<Row, [number]>("SELECT * FROM purges WHERE sequence > ? ORDER BY sequence")
      .all(sequence)
      .map((row) => {
        const { id: _, counted: __, ...purge } = entryOf(row);
        return purge;
      });
  }

  /** Every entry after this one is still here. */
  get from(): number {
    return this.#db.query<{ sequence: number }, []>("SELECT sequence FROM trimmed").get()?.sequence ?? 0;
  }

  /** Sequence of the newest entry; 0 when there was none yet. */
  get newest(): number {
    return (
      this.#db.query<{ seq: number }, []>("SELECT seq FROM sqlite_sequence WHERE name = 'purges'").get()
        ?.seq ?? 0
    );
  }

  /** The sweep of an entry has ended. */
  setCounted(sequence: number, objects: number): void {
    this.#db.query("UPDATE purges SET counted = ? WHERE sequence = ?").run(objects, sequence);
    if (++this.#untrimmed >= TRIM_EVERY) this.#trim();
  }

  close(): void {
    this.#db.close();
  }

  /** Deletes what is beyond the limit, the oldest first, up to the first entry that was not counted. */
  #trim(): void {
    this.#untrimmed = 0;
    const last = this.#db
      .query<{ sequence: number }, [number]>(
        "SELECT sequence FROM purges ORDER BY sequence DESC LIMIT 1 OFFSET ?",
      )
      .get(PURGES_KEPT_MAX);
    const uncounted = this.#db
      .query<{ sequence: number | null }, []>(
        "SELECT min(sequence) AS sequence FROM purges WHERE counted IS NULL",
      )
      .get()?.sequence;
    if (last === null) return;
    const upTo = Math.min(last.sequence, (uncounted ?? Number.MAX_SAFE_INTEGER) - 1);
    this.#db.transaction(() => {
      this.#db.query("DELETE FROM purges WHERE sequence <= ?").run(upTo);
      this.#db.query("UPDATE trimmed SET sequence = max(sequence, ?)").run(upTo);
    })();
  }
}

function entryOf(row: Row): LoggedPurge {
  return {
    sequence: row.sequence,
    id: row.id,
    site: row.site,
    // Written by `append` alone, so the texts are of the unions.
    scope: row.scope as Purge["scope"],
    targets: JSON.parse(row.targets) as string[],
    mode: row.mode as Purge["mode"],
    acceptedMs: row.accepted_ms,
    counted: row.counted,
  };
}
