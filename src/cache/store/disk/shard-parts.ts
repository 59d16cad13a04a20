/**
 * What an open shard consists of: its lock, its index, its segments and its large files. It is opened
 * whole or not at all. A damaged index is set aside with everything it knew of, and the shard starts empty:
 * files without an index are nothing.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ProximaError } from "../../../base/errors.ts";
import { FileSet, type FileSetContext } from "./file-set.ts";
import { errorCode } from "./files.ts";
import { lockFile, type ShardLock } from "./lock.ts";
import { isSettled, settle } from "./owed.ts";
import { type IndexSizes, isCorrupt, ShardIndex, sqliteMessage } from "./shard-index.ts";
import { shardName } from "./shard-key.ts";

/** An open shard. */
export interface ShardParts {
  readonly lock: ShardLock;
  readonly index: ShardIndex;
  readonly segments: FileSet;
  readonly large: FileSet;
  /** Its largest number in use, for ids that grow for ever. */
  readonly lastId: number;
}

/** What opening a shard needs. */
export interface OpenContext extends FileSetContext {
  readonly path: string;
  readonly indexSizes: IndexSizes;
  /** The index was damaged; the shard starts empty. */
  onSetAside(why: string): void;
  /** Removals were owed to it when the process ended; the shard starts empty. */
  onUnsettled(): void;
  /** It is empty now. */
  onEmpty(): void;
  /** True when this process knows itself what is owed to the shard. */
  knowsOwed(): boolean;
  /** Asked with the shard's mark: false empties the shard. */
  accept(mark: string | null): boolean;
}

/** Opens a shard. Throws a ProximaError `disk_in_use`, or the system's own error. */
export function openShardParts(shard: number, context: OpenContext): ShardParts {
  const directory = join(context.path, shardName(shard));
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const lock = lockFile(join(directory, "lock.db"));
  if (lock === null) {
    throw new ProximaError(
      "disk_in_use",
      `shard ${shard} of the disk cache ${context.path} is in use by another process; stop it first`,
      { source: "node", retryable: true },
    );
  }
  try {
    return openLocked(shard, directory, lock, context);
  } catch (error) {
    lock.release();
    throw error;
  }
}

function openLocked(shard: number, directory: string, lock: ShardLock, context: OpenContext): ShardParts {
  removeTrash(directory);
  const index = openIndex(shard, directory, context);
  try {
    const lastId = index.lastId();
    const segments = new FileSet(join(directory, "segments"), context);
    const large = new FileSet(join(directory, "large"), context);
    const numbers = [...segments.numbers(), ...large.numbers()];
    // What a crash left: large files whose row was never committed, segments that nothing refers to.
    const known = index.largeBorn();
    for (const number of [...large.numbers()]) if (!known.has(number)) large.retire(number);
    if (lastId === 0) for (const number of [...segments.numbers()]) segments.retire(number);
    return { lock, index, segments, large, lastId: numbers.reduce((a, b) => Math.max(a, b), lastId) };
  } catch (error) {
    index.close();
    throw error;
  }
}

/** Opens the index; an empty one when it is damaged, when removals are owed to it, or when its mark is not accepted. */
function openIndex(shard: number, directory: string, context: OpenContext): ShardIndex {
  const path = join(directory, "index.db");
  const openNow = (): ShardIndex => new ShardIndex(path, shard, context.indexSizes);
  const openNew = (): ShardIndex => {
    // A crash may have left these without their database.
    for (const end of ["-wal", "-shm", "-journal"]) rmSync(`${path}${end}`, { force: true });
    // In this order: an index without this file is never taken for whole.
    settle(directory);
    const index = openNow();
    context.onEmpty();
    return index;
  };
  const openEmpty = (): ShardIndex => {
    emptyShard(directory);
    return openNew();
  };
  let index: ShardIndex | null = null;
  let mark: string | null = null;
  if (statSync(path, { throwIfNoEntry: false }) === undefined) index = openNew();
  else if (!isSettled(directory) && !context.knowsOwed()) {
    context.onUnsettled();
    index = openEmpty();
  } else {
    try {
      index = openNow();
      mark = index.mark();
    } catch (error) {
      index?.close();
      if (!isCorrupt(error)) throw error;
      context.onSetAside(sqliteMessage(error));
      index = openEmpty();
    }
  }
  if (context.accept(mark) || index.created) return index;
  index.close();
  return openEmpty();
}

/** Takes everything of a shard away, at once for its users, bit by bit for the disk. The lock must be held. */
export function emptyShard(directory: string): void {
  const trash = join(directory, `trash-${crypto.randomUUID()}`);
  mkdirSync(trash, { mode: 0o700 });
  for (const name of ["segments", "large", "index.db", "index.db-wal", "index.db-shm", "index.db-journal"]) {
    try {
      renameSync(join(directory, name), join(trash, name));
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
  removeTrash(directory);
}

function removeTrash(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (!name.startsWith("trash-")) continue;
    // What can not be removed now is tried again at the next start.
    rm(join(directory, name), { recursive: true, force: true }).catch(() => {});
  }
}
