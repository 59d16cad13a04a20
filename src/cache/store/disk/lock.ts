/**
 * A shard belongs to one process at a time: SQLite's exclusive lock on `lock.db`, a record lock that the
 * kernel gives back however the process ends (see src/service/data-dir.ts). It is a file of its own, so that
 * a damaged index can be replaced while the lock is held.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { statSync } from "node:fs";

/** A lock that is held. */
export interface ShardLock {
  /** False when its file was removed or replaced: the lock then keeps nobody out. */
  standing(): boolean;
  release(): void;
}

/** Takes the lock; null when another process has it. Throws when the file can not be made. */
export function lockFile(path: string): ShardLock | null {
  let database: Database | null = null;
  try {
    database = new Database(path, { create: true, readwrite: true });
    database.run("PRAGMA busy_timeout = 0");
    database.run("PRAGMA cache_size = 2");
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    // The journal is of no use here, and one file less for each shard.
    database.run("PRAGMA journal_mode = MEMORY");
    // Never ended: the lock is held as long as the transaction is open.
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    if (error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY")) return null;
    throw error;
  }
  const held = database;
  const inode = statSync(path).ino;
  let released = false;
  return {
    standing() {
      const found = statSync(path, { throwIfNoEntry: false });
      return found !== undefined && found.ino === inode;
    },
    release() {
      if (released) return;
      released = true;
      held.close();
    },
  };
}
