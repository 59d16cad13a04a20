/**
 * What happens when a directory was written by another version: it is refused, or emptied when the caller
 * said so. Emptying takes every shard's lock first, so that nothing is taken from under a running process.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ProximaError } from "../../../base/errors.ts";
import { type DiskFormat, formatPath, makeFormat, readFormat } from "./format.ts";
import { FORMAT_VERSION } from "./limits.ts";
import { lockFile, type ShardLock } from "./lock.ts";
import { emptyShard } from "./shard-parts.ts";

/** Reads or makes the format. Throws ProximaErrors `disk_version` and `disk_in_use`, or the system's own error. */
export function openFormat(path: string, otherVersion: "refuse" | "empty"): DiskFormat {
  let format = readFormat(path) ?? makeFormat(path);
  if (format === "other" && otherVersion === "empty") {
    emptyAll(path);
    format = readFormat(path) ?? makeFormat(path);
  }
  if (format === "other") {
    throw new ProximaError(
      "disk_version",
      `the disk cache ${path} was written by another version of Proxima; this one knows version ${FORMAT_VERSION}: empty the directory, or choose another`,
      { source: "node" },
    );
  }
  return format;
}

function emptyAll(path: string): void {
  const locks: ShardLock[] = [];
  try {
    const shards = readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /^shard-\d{2}$/.test(entry.name))
      .map(({ name }) => join(path, name));
    for (const shard of shards) {
      const lock = lockFile(join(shard, "lock.db"));
      if (lock === null) {
        throw new ProximaError(
          "disk_in_use",
          `the disk cache ${path} is in use by another version of Proxima; stop it first`,
          {
            source: "node",
            retryable: true,
          },
        );
      }
      locks.push(lock);
    }
    // Another process may have been first with the same.
    if (readFormat(path) !== "other") return;
    for (const shard of shards) emptyShard(shard);
    rmSync(formatPath(path));
  } finally {
    for (const lock of locks) lock.release();
  }
}
