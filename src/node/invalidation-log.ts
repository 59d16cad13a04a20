/**
 * The node's own invalidations that a disk cache has to be held against when it is opened: those by tag (unsafe
 * requests whose answers name groups), and those by URL that the URL's owner could not apply at once. Their
 * sequence grows over restarts: the number of the start stands above the number of the invalidation.
 */
import { Database } from "bun:sqlite";
import { ProximaError } from "../base/errors.ts";
import type { NotedInvalidation } from "../edge/purges.ts";

/** Invalidations that are kept; a shard that missed more starts empty. */
export const INVALIDATIONS_KEPT_MAX = 10_000;
/** Entries beyond the limit that are let stand before they are deleted together. */
const TRIM_EVERY = 1_000;
/** Invalidations of one start: more than a node makes in years. */
const SEQUENCES_PER_START = 2 ** 32;

/** Where invalidations stand when a node starts, and how new ones are noted. */
export class InvalidationLog {
  readonly #db: Database;
  /** Place of the newest invalidation before this start. */
  readonly base: number;
  #untrimmed = 0;

  /** Opens or makes it, and begins a new start. Throws a ProximaError "invalidation_log_unusable". */
  constructor(file: string) {
    try {
      this.#db = new Database(file, { create: true, strict: true });
      // What is noted outlives the process; what a power cut takes, it takes from the disk cache as well.
      this.#db.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;");
      this.#db.run(`CREATE TABLE IF NOT EXISTS meta (starts INTEGER NOT NULL, trimmed INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS purge_log (id TEXT NOT NULL, newest INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS noted (sequence INTEGER PRIMARY KEY, site TEXT NOT NULL, tags TEXT NOT NULL, urls TEXT NOT NULL);
        INSERT INTO meta SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM meta);`);
      const row = this.#db
        .query<{ starts: number }, []>("UPDATE meta SET starts = starts + 1 RETURNING starts")
        .get();
      this.base = (row?.starts ?? 1) * SEQUENCES_PER_START;
    } catch (cause) {
      throw new ProximaError(
        "invalidation_log_unusable",
        `the log of invalidations ${file} can not be used: ${String(cause)}`,
        { source: "node", cause },
      );
    }
  }

  /** The newest purge of the log with this identity that was noted here; 0 when none was. */
  newestPurge(log: string): number {
    return (
      this.#db.query<{ newest: number }, [string]>("SELECT newest FROM purge_log WHERE id = ?").get(log)
        ?.newest ?? 0
    );
  }

  /** Notes how far the purge log has come, before that is applied: a log that stands before it later was set back. */
  notePurge(log: string, newest: number): void {
    const { changes } = this.#db.query("UPDATE purge_log SET newest = ? WHERE id = ?").run(newest, log);
    if (changes > 0) return;
    this.#db.transaction(() => {
      this.#db.run("DELETE FROM purge_log");
      this.#db.query("INSERT INTO purge_log (id, newest) VALUES (?, ?)").run(log, newest);
    })();
  }

  /** Every invalidation after this one is known still. */
  get from(): number {
    return this.#db.query<{ trimmed: number }, []>("SELECT trimmed FROM meta").get()?.trimmed ?? 0;
  }

  /** Notes an invalidation; it outlives the process when this returns. */
  append({ sequence, site, tags, urls }: NotedInvalidation): void {
    this.#db
      .query("INSERT OR REPLACE INTO noted (sequence, site, tags, urls) VALUES (?, ?, ?, ?)")
      .run(sequence, site, JSON.stringify(tags), JSON.stringify(urls));
    if (++this.#untrimmed >= TRIM_EVERY) this.#trim();
  }

  /** Those after `sequence`, in order. */
  since(sequence: number): NotedInvalidation[] {
    return this.#db
      .query<{ sequence: number; site: string; tags: string; urls: string }, [number]>(
        "SELECT sequence, site, tags, urls FROM noted WHERE sequence > ? ORDER BY sequence",
      )
      .all(sequence)
      .map((row) => ({
        sequence: row.sequence,
        site: row.site,
        tags: JSON.parse(row.tags) as string[],
        urls: JSON.parse(row.urls) as string[],
      }));
  }

  close(): void {
    this.#db.close();
  }

  #trim(): void {
    this.#untrimmed = 0;
    const last = this.#db
      .query<{ sequence: number }, [number]>(
        "SELECT sequence FROM noted ORDER BY sequence DESC LIMIT 1 OFFSET ?",
      )
      .get(INVALIDATIONS_KEPT_MAX);
    if (last === null) return;
    this.#db.transaction(() => {
      this.#db.query("UPDATE meta SET trimmed = ?").run(last.sequence);
      this.#db.query("DELETE FROM noted WHERE sequence <= ?").run(last.sequence);
    })();
  }
}
