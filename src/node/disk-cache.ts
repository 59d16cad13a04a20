/** The disk cache of a node's config, opened for the shards of one process. */
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { DiskStore } from "../cache/store/disk/disk-store.ts";
import { MarkGate, type MarkLimits } from "../cache/store/disk-mark.ts";
import type { NodeConfig } from "../config/schema.ts";
import type { DiskBacking } from "../edge/edge.ts";
import type { NodeLog } from "../service/log.ts";

/** How long a process waits for the one before it to give its shards back, in milliseconds. */
const LOCK_WAIT_MS = 5_000;

/** Opens it; null when the config has none. Rejects with a ProximaError when another process uses it. */
export async function openDiskCache(options: {
  readonly config: NodeConfig;
  /** The shards of this process. */
  readonly shards: readonly number[];
  readonly limits: MarkLimits;
  readonly clock: Clock;
  readonly log: NodeLog;
}): Promise<DiskBacking | null> {
  const { config, limits, clock, log } = options;
  const { disk } = config.cache;
  if (disk === undefined || options.shards.length === 0) return null;
  const gate = new MarkGate(limits);
  const store = await DiskStore.open({
    path: disk.path ?? join(config.dataDir, "cache"),
    bytesMax: disk.size,
    shards: options.shards,
    clock,
    accept: (mark) => gate.accept(mark),
    otherVersion: "empty",
    lockWaitMs: LOCK_WAIT_MS,
    onProblem: (message) => log("warning", message),
  });
  return { store, gate, log: limits.log };
}
