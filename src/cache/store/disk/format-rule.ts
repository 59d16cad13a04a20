/**
 * What happens when a directory was written by another version: it is refused, or emptied when the caller
 * said so. Emptying takes every shard's lock first, so that nothing is taken from under a running process.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ProximaError } from "../../../base/errors.ts";
import { type DiskFormat, type ForeignFormat, formatPath, isOwn, makeFormat, readFormat } from "./format.ts";
import { FORMAT_VERSION } from "./limits.ts";
import { lockFile, type ShardLock } from "./lock.ts";
import { emptyShard } from "./shard-parts.ts";

/** Reads or makes the format. Throws ProximaErrors `disk_version` and `disk_in_use`, or the system's own error. */
export function openFormat(path: string, otherVersion: "refuse" | "empty"): DiskFormat {
  let format = readFormat(path) ?? makeFormat(path);
  if (!isOwn(format) && otherVersion === "empty" && isDiskCache(path, format)) {
    emptyAll(path);
    format = readFormat(path) ?? makeFormat(path);
  }
  if (isOwn(format)) return format;
  throw new ProximaError("disk_version", refusal(path, format), { source: "node" });
}

function refusal(path: string, { version }: ForeignFormat): string {
  if (version === null) {
    return `${formatPath(path)} is not what Proxima writes there: empty the directory ${path} if it is a disk cache, or choose another`;
  }
  const [age, advice] =
    version > FORMAT_VERSION
      ? ["a newer", "start that one again, empty the directory, or choose another"]
      : ["an older", "empty the directory, or choose another"];
  return `the disk cache ${path} was written by ${age} version of Proxima (its format is ${version}, this one's ${FORMAT_VERSION}): ${advice}`;
}

/** False when nothing but a file of that name speaks for it: then the directory may be anybody's. */
function isDiskCache(path: string, { version, lost }: ForeignFormat): boolean {
  return version !== null || lost || shardsIn(path).length > 0;
}

function shardsIn(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^shard-\d{2}$/.test(entry.name))
    .map(({ name }) => join(path, name));
}

function emptyAll(path: string): void {
  const locks: ShardLock[] = [];
  try {
    const shards = shardsIn(path);
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
    const now = readFormat(path);
    if (now === null || isOwn(now)) return;
    for (const shard of shards) emptyShard(shard);
    rmSync(formatPath(path));
  } finally {
    for (const lock of locks) lock.release();
  }
}
