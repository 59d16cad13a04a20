/**
 * A node's data directory belongs to one process at a time. The lock is SQLite's exclusive lock on
 * `lock.db`: a POSIX record lock, which the kernel gives back when the process ends in whatever way
 * (kill -9), which children do not inherit (as they would a flock), and which holds between containers
 * that share the volume (an abstract socket's name does not leave its network namespace). `owner.json`
 * beside it only tells a person who holds the lock; it decides nothing and may be out of date.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { accessSync, constants, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { messageOf, ProximaError } from "../base/errors.ts";

/** Codes of errors about the data directory. */
export type DataDirErrorCode = "data_dir_in_use" | "data_dir_unusable";

/** A locked data directory. */
export interface DataDir {
  /** Absolute path. */
  readonly path: string;
  /** The path of something in the directory. */
  file(...names: string[]): string;
  /** Gives the lock back. Safe to call more than once. */
  release(): void;
}

const COMMAND_LENGTH_MAX = 200;
const OWNER_BYTES_MAX = 4_096;

/**
 * Makes the directory (mode 0700) if it is not there and locks it. `command` is what a second start
 * tells of the first. Throws a ProximaError of DataDirErrorCode.
 */
export function openDataDir(path: string, command = "proxima"): DataDir {
  const absolute = resolve(path);
  prepare(absolute);
  const database = lock(absolute);
  const owner = join(absolute, "owner.json");
  const text = JSON.stringify({ pid: process.pid, command: shownCommand(command) });
  try {
    writeFileSync(owner, `${text}\n`, { mode: 0o600 });
  } catch (error) {
    database.close();
    throw unusable(absolute, messageOf(error), error);
  }
  let released = false;
  return {
    path: absolute,
    file: (...names) => join(absolute, ...names),
    release() {
      if (released) return;
      released = true;
      // First the note, then the lock: the next owner's note must not be the one that is removed.
      rmSync(owner, { force: true });
      database.close();
    },
  };
}

function prepare(absolute: string): void {
  try {
    mkdirSync(absolute, { recursive: true, mode: 0o700 });
    if (!statSync(absolute).isDirectory()) throw unusable(absolute, "it is not a directory");
    accessSync(absolute, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof ProximaError) throw error;
    const code = error instanceof Error && "code" in error ? error.code : null;
    const what =
      code === "EEXIST" || code === "ENOTDIR"
        ? "it is not a directory"
        : code === "EACCES" || code === "EROFS" || code === "EPERM"
          ? "this user can not write to it"
          : messageOf(error);
    throw unusable(absolute, what, error);
  }
}

function lock(absolute: string): Database {
  let database: Database | null = null;
  try {
    database = new Database(join(absolute, "lock.db"), { create: true, readwrite: true });
    database.run("PRAGMA busy_timeout = 0");
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    // Never ended: the lock is held as long as the transaction is open.
    database.run("BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY")) {
      throw new ProximaError(
        "data_dir_in_use" satisfies DataDirErrorCode,
        `data directory ${absolute} is in use by ${ownerOf(absolute)}; stop it, or choose another directory with --data-dir`,
        { source: "node", cause: error },
      );
    }
    throw unusable(absolute, `it can not be locked: ${messageOf(error)}`, error);
  }
}

function unusable(absolute: string, why: string, cause?: unknown): ProximaError {
  return new ProximaError(
    "data_dir_unusable" satisfies DataDirErrorCode,
    `data directory ${absolute} can not be used: ${why}`,
    { source: "node", cause },
  );
}

/** Who holds the lock, for a person; the note may be missing, old or anything at all. */
function ownerOf(absolute: string): string {
  try {
    const text = readFileSync(join(absolute, "owner.json"), "utf8").slice(0, OWNER_BYTES_MAX);
    const note: unknown = JSON.parse(text);
    if (typeof note === "object" && note !== null && "pid" in note && Number.isSafeInteger(note.pid)) {
      const command = "command" in note && typeof note.command === "string" ? note.command : "proxima";
      return `process ${String(note.pid)} (${shownCommand(command)})`;
    }
  } catch {
    // Another process between its lock and its note, or somebody's edit: the lock alone decides.
  }
  return "another process";
}

/** Without control characters, passwords of URLs and secrets of tokens. */
function shownCommand(command: string): string {
  const plain = command
    .replace(/[^\x20-\x7e]/g, "?")
    .replace(/\/\/[^/@\s]*@/g, "//***@")
    .replace(/\b(px[anj]_[0-9a-f]{12})_[\w-]+/g, "$1_***");
  return plain.length > COMMAND_LENGTH_MAX ? `${plain.slice(0, COMMAND_LENGTH_MAX)}...` : plain;
}
