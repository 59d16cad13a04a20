/**
 * The purge log of one machine: numbered entries in SQLite, appended durably before they are applied and
 * read again after a restart. The log has an identity: a reader that knows another one can trust nothing
 * it holds. What has been swept everywhere may go.
 */
import { Database } from "bun:sqlite";
import { randomUUID } from "node:crypto";
import { ProximaError } from "../base/errors.ts";
import type { Purge } from "../cache/purge-table.ts";

/** Entries that are kept after they were swept, so that one can ask for them. */
export const PURGES_KEPT_MAX = 10_000;

/** An entry of the log with what has become of it. */
export interface LoggedPurge extends Purge {
  /** What one asks for it by. */
  readonly id: string;
  /** Objects it hit; null until the sweep has ended. */
  readonly counted: number | null;
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
  #id: string;
  /** Called with the sequence of each new entry before that is applied. */
  onEntry: (sequence: number) => void = () => undefined;

  /** Opens or makes the log. Throws a ProximaError "purge_log_unusable". */
  constructor(file: string) {
    try {
      this.#db = new Database(file, { create: true, strict: true });
      // FULL: what was acknowledged is there after a power failure.
      this.#db.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
      this.#db.run(`CREATE TABLE IF NOT EXISTS meta (id TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS purges (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, site TEXT NOT NULL,
          scope TEXT NOT NULL, targets TEXT NOT NULL, mode TEXT NOT NULL, accepted_ms REAL NOT NULL, counted INTEGER, idempotency_key TEXT UNIQUE);`);
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
    return Math.max(0, this.newest - PURGES_KEPT_MAX);
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
    this.#db
      .query("DELETE FROM purges WHERE counted IS NOT NULL AND sequence <= ?")
      .run(sequence - PURGES_KEPT_MAX);
  }

  close(): void {
    this.#db.close();
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
