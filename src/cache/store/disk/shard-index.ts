/**
 * The index of one shard: a SQLite database in WAL mode, the only authority on what is stored where.
 * `id` is a row's place in the eviction queue, and grows for ever: the oldest row is evicted first, a row
 * that is given a second chance gets a new id. `born` is its first id and never changes. Every row carries
 * a checksum over all of it but `id`, so that a damaged page can hide a row but not make up another one.
 *
 * Methods throw SQLiteErrors; the shard decides what they mean.
 */
import { Database, SQLiteError, type Statement } from "bun:sqlite";
import { messageOf, ProximaError } from "../../../base/errors.ts";
import { chainedSum, sumsFromBytes, sumsToBytes } from "./checksum.ts";
import { COLUMNS, decodeRow, type IndexRow, kindOf, listToText, rowSum, type Value } from "./index-row.ts";
import { FORMAT_VERSION } from "./limits.ts";
import type { DiskVariant } from "./variant.ts";

/** 'Prox' */
const APPLICATION_ID = 0x50726f78;

/** What an index may take. */
export interface IndexSizes {
  /** Its page cache, in bytes. */
  readonly cacheBytes: number;
  /** Pages of the write-ahead log that start a checkpoint. */
  readonly checkpointPages: number;
}

/** Thrown for a database that is not this program's, although `format` says so: it is damaged. */
class ForeignIndexError extends Error {}

/** True when the file is damaged. */
export function isCorrupt(error: unknown): boolean {
  if (error instanceof ForeignIndexError) return true;
  return error instanceof SQLiteError && /^SQLITE_(CORRUPT|NOTADB|FORMAT|MISMATCH)/.test(error.code ?? "");
}

/** One shard's index. */
export class ShardIndex {
  readonly #database: Database;
  readonly #path: string;
  readonly #shard: number;
  readonly #statements = new Map<string, Statement>();
  /** It was made just now: nothing is in it. */
  readonly created: boolean;

  /** Opens or makes it. Reads only its first and last pages. */
  constructor(path: string, shard: number, sizes: IndexSizes) {
    this.#path = path;
    this.#shard = shard;
    this.#database = new Database(path, { create: true, readwrite: true });
    try {
      const run = (sql: string): void => void this.#database.run(sql);
      run("PRAGMA busy_timeout = 0");
      // The shard's lock makes this process the only one: no shared memory file, no locking for each lookup.
      run("PRAGMA locking_mode = EXCLUSIVE");
      if (this.#number("PRAGMA page_count") === 0) {
        // There is nothing to lose yet: a file that a power cut takes is made again.
        run("PRAGMA synchronous = OFF");
        // What eviction empties can be given back; said of an existing file it would only write to it.
        run("PRAGMA auto_vacuum = INCREMENTAL");
      }
      run("PRAGMA journal_mode = WAL");
      // The shard asks for checkpoints once the log has reached the disk; SQLite itself only if that does not come.
      run(`PRAGMA wal_autocheckpoint = ${sizes.checkpointPages * 3}`);
      run(`PRAGMA journal_size_limit = ${sizes.checkpointPages * 4096}`);
      run(`PRAGMA cache_size = -${Math.max(64, Math.floor(sizes.cacheBytes / 1024))}`);
      run("PRAGMA mmap_size = 0");
      run("PRAGMA cell_size_check = ON");
      run("PRAGMA trusted_schema = OFF");
      run("PRAGMA temp_store = MEMORY");
      const version = this.#number("PRAGMA user_version");
      const tables = this.#number("SELECT count(*) FROM sqlite_schema");
      this.created = tables === 0;
      if (this.created) this.#create();
      else if (this.#number("PRAGMA application_id") !== APPLICATION_ID || version !== FORMAT_VERSION) {
        throw new ForeignIndexError(`its version is ${version}`);
      }
      run("PRAGMA synchronous = NORMAL");
      // A look at each table: what is damaged at its root shows now.
      for (const table of ["object", "chunk", "hit", "mark"])
        this.#database.query(`SELECT * FROM ${table} LIMIT 1`).values();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #create(): void {
    this.#database.transaction(() => {
      const run = (sql: string): void => void this.#database.run(sql);
      run(`CREATE TABLE object (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, born INTEGER NOT NULL, file INTEGER NOT NULL,
        offset INTEGER NOT NULL, length INTEGER NOT NULL, sequence INTEGER NOT NULL, stored INTEGER NOT NULL, kind INTEGER NOT NULL,
        key TEXT NOT NULL, vary TEXT NOT NULL, variant TEXT NOT NULL, tags TEXT NOT NULL, meta BLOB NOT NULL, sums BLOB NOT NULL, sum INTEGER NOT NULL)`);
      run("CREATE INDEX object_hash ON object (hash)");
      run("CREATE INDEX object_large ON object (born) WHERE kind > 0");
      run(
        "CREATE TABLE chunk (born INTEGER NOT NULL, number INTEGER NOT NULL, sums BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (born, number)) WITHOUT ROWID",
      );
      run("CREATE TABLE hit (born INTEGER PRIMARY KEY)");
      run("CREATE TABLE mark (id INTEGER PRIMARY KEY, text TEXT NOT NULL, sum INTEGER NOT NULL)");
      run(`PRAGMA application_id = ${APPLICATION_ID}`);
      run(`PRAGMA user_version = ${FORMAT_VERSION}`);
    })();
  }

  close(): void {
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
    this.#database.close();
  }

  /** Runs `work` as one transaction; `beforeCommit` is a test's hook. */
  transaction(work: () => void, beforeCommit: () => void = () => {}): void {
    this.#statement("BEGIN IMMEDIATE").run();
    try {
      work();
      beforeCommit();
      this.#statement("COMMIT").run();
    } catch (error) {
      try {
        if (this.#database.inTransaction) this.#statement("ROLLBACK").run();
      } catch {
        // SQLite has rolled back by itself, or can not: the first error says why.
      }
      throw error;
    }
  }

  /** Variants of a key, newest first, and how many of its rows were damaged. */
  find(hash: number, key: string): { variants: DiskVariant[]; damaged: number } {
    const variants: DiskVariant[] = [];
    let damaged = 0;
    for (const values of this.#values(`SELECT ${COLUMNS} FROM object WHERE hash = ?`, hash)) {
      const row = decodeRow(values, this.#shard);
      if (row.variant === null) {
        damaged++;
        this.removeRow(row);
      } else if (row.variant.key === key) variants.push(row.variant);
    }
    if (variants.length > 1) variants.sort((a, b) => b.born - a.born);
    return { variants, damaged };
  }

  /** Looks for the row of this name again: its place may have changed. */
  current(variant: DiskVariant): DiskVariant | null {
    const { variants } = this.find(variant.place.hash, variant.key);
    return variants.find(({ born }) => born === variant.born) ?? null;
  }

  insert(id: number, variant: DiskVariant): void {
    const { place } = variant;
    this.#statement(`INSERT INTO object (${COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`).run(
      id,
      place.hash,
      variant.born,
      place.file,
      place.offset,
      variant.length,
      variant.sequence,
      variant.storedAtMs,
      kindOf(variant),
      variant.key,
      listToText(variant.vary),
      variant.variant,
      listToText(variant.tags),
      variant.meta,
      sumsToBytes(place.sums),
      rowSum(variant),
    );
  }

  /** Writes what may change: place, meta, tags, sequence, completeness; with `id`, a new place in the queue. False when the row is gone. */
  update(variant: DiskVariant, id: number | null): boolean {
    const { place } = variant;
    const row: Value[] = [
      place.file,
      place.offset,
      variant.sequence,
      kindOf(variant),
      listToText(variant.tags),
      variant.meta,
      rowSum(variant),
    ];
    const sql = "UPDATE object SET file = ?, offset = ?, sequence = ?, kind = ?, tags = ?, meta = ?, sum = ?";
    const where = "WHERE hash = ? AND born = ?";
    const { changes } =
      id === null
        ? this.#statement(`${sql} ${where}`).run(...row, place.hash, variant.born)
        : this.#statement(`${sql}, id = ? ${where}`).run(...row, id, place.hash, variant.born);
    return changes > 0;
  }

  /** Takes a row out; false when it was not there. */
  remove(hash: number, born: number, large: boolean): boolean {
    const { changes } = this.#statement("DELETE FROM object WHERE hash = ? AND born = ?").run(hash, born);
    this.#forget(born, large);
    return changes > 0;
  }

  /** Takes a row out by its place in the queue, whatever it says. */
  removeRow(row: IndexRow): void {
    this.#statement("DELETE FROM object WHERE id = ?").run(row.id);
    this.#forget(row.born, row.large);
  }

  #forget(born: number, large: boolean): void {
    if (large) this.#statement("DELETE FROM chunk WHERE born = ?").run(born);
    this.#statement("DELETE FROM hit WHERE born = ?").run(born);
  }

  /** The oldest rows, from the front of the queue. */
  front(limit: number): IndexRow[] {
    return this.after(-1, limit);
  }

  /** Rows behind `id` in the queue. */
  after(id: number, limit: number): IndexRow[] {
    return this.#values(`SELECT ${COLUMNS} FROM object WHERE id > ? ORDER BY id LIMIT ?`, id, limit).map(
      (values) => decodeRow(values, this.#shard),
    );
  }

  /** Id of the oldest row. */
  frontId(): number | null {
    const [first] = this.#values("SELECT min(id) FROM object");
    return typeof first?.[0] === "number" ? first[0] : null;
  }

  /** Id of the newest row. */
  lastId(): number {
    const [first] = this.#values("SELECT max(id) FROM object");
    return typeof first?.[0] === "number" ? first[0] : 0;
  }

  /** True when a row between these ids lies in this segment. */
  usesSegment(file: number, beforeId: number): boolean {
    return (
      this.#values("SELECT 1 FROM object WHERE id >= ? AND id < ? AND file = ? LIMIT 1", file, beforeId, file)
        .length > 0
    );
  }

  /** Names of all large objects: read from an index of its own, without their rows. */
  largeBorn(): Set<number> {
    return new Set(this.#values("SELECT born FROM object WHERE kind > 0").map(([born]) => Number(born)));
  }

  /** Number of objects; walks the smallest index. */
  count(): number {
    return this.#number("SELECT count(*) FROM object");
  }

  /** Checksums of a large object's blocks, chunk by chunk; damaged chunks are left out. */
  chunks(born: number): { number: number; sums: Float64Array }[] {
    const chunks: { number: number; sums: Float64Array }[] = [];
    for (const [number, bytes, sum] of this.#values(
      "SELECT number, sums, sum FROM chunk WHERE born = ?",
      born,
    )) {
      if (typeof number !== "number" || !(bytes instanceof Uint8Array)) continue;
      if (chunkSum(born, number, bytes) !== sum) continue;
      const sums = sumsFromBytes(bytes);
      if (sums !== null) chunks.push({ number, sums });
    }
    return chunks;
  }

  writeChunk(born: number, number: number, sums: Float64Array): void {
    const bytes = sumsToBytes(sums);
    this.#statement("INSERT OR REPLACE INTO chunk (born, number, sums, sum) VALUES (?,?,?,?)").run(
      born,
      number,
      bytes,
      chunkSum(born, number, bytes),
    );
  }

  writeHits(born: Iterable<number>): void {
    const insert = this.#statement("INSERT OR IGNORE INTO hit (born) VALUES (?)");
    for (const name of born) insert.run(name);
  }

  /** Whether it was hit since it was written; forgets it. */
  takeHit(born: number): boolean {
    return this.#statement("DELETE FROM hit WHERE born = ?").run(born).changes > 0;
  }

  /** The shard's mark; null when it has none, or a damaged one. */
  mark(): string | null {
    const [text, sum] = this.#values("SELECT text, sum FROM mark WHERE id = 1")[0] ?? [];
    return typeof text === "string" && chainedSum(text) === sum ? text : null;
  }

  setMark(text: string): void {
    this.#statement("INSERT OR REPLACE INTO mark (id, text, sum) VALUES (1, ?, ?)").run(
      text,
      chainedSum(text),
    );
  }

  /** Copies the write-ahead log into the database. Waits for the disk: see `Shard`. */
  checkpoint(): void {
    this.#values("PRAGMA wal_checkpoint(PASSIVE)");
  }

  /** Pages of the database itself, without its write-ahead log (4 KiB each). */
  pages(): number {
    return this.#number("PRAGMA page_count");
  }

  /** Pages of it that hold nothing. */
  freePages(): number {
    return this.#number("PRAGMA freelist_count");
  }

  /** Gives up to so many of them back; the file is cut at the next checkpoint. */
  giveBack(pages: number): void {
    this.#values(`PRAGMA incremental_vacuum(${pages})`);
  }

  get path(): string {
    return this.#path;
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #values(sql: string, ...parameters: Value[]): Value[][] {
    // bun:sqlite types rows as `any`; these are what its columns can hold.
    return this.#statement(sql).values(...parameters) as Value[][];
  }

  #number(sql: string): number {
    const value = this.#values(sql)[0]?.[0];
    if (typeof value !== "number")
      throw new ProximaError("disk_index", `${sql} gave no number`, { source: "node" });
    return value;
  }
}

/** One sentence of a SQLite error. */
export function sqliteMessage(error: unknown): string {
  return error instanceof SQLiteError ? `${error.message} (${error.code ?? "no code"})` : messageOf(error);
}

function chunkSum(born: number, number: number, sums: Uint8Array): number {
  return chainedSum(`${born} ${number}`, sums);
}
