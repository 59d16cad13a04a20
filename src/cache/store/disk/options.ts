/** How a disk store is opened, what it takes and what it tells. */
import type { Clock } from "../../../base/clock.ts";
import type { DiskFiles } from "./files.ts";

/** How a store is opened. */
export interface DiskOptions {
  readonly path: string;
  /** Limit in bytes of the whole disk cache; a store for some of the shards takes their share of it. */
  readonly bytesMax: number;
  /** The shards that this process owns; all of them by default. */
  readonly shards?: readonly number[];
  readonly clock: Clock;
  /** Hears of each problem once, in one sentence. */
  readonly onProblem: (message: string) => void;
  /** What to do with what another version wrote. Default "refuse". */
  readonly otherVersion?: "refuse" | "empty";
  /**
   * Asked whenever a shard is opened, also when it comes back after it was off, with the mark that `setMark`
   * gave it last (null: none, or it is empty). False empties the shard, which then carries the newest mark. Must not throw: that counts as false.
   */
  readonly accept?: (mark: string | null) => boolean;
  /** How long to wait for another process to give its shards up, in milliseconds. Default 0. */
  readonly lockWaitMs?: number;
  /** Variants that one URL may have. Default 64. */
  readonly variantsMax?: number;
  /** Bytes that the scrubber verifies each second; 0 turns it off. */
  readonly scrubBytesPerSecond?: number;
  /** Bodies up to this size share segments. */
  readonly smallBytesMax?: number;
  readonly files?: DiskFiles;
}

/** A body to store: all of it at once, or piece by piece. */
export type DiskBody = Uint8Array | readonly Uint8Array[] | AsyncIterable<Uint8Array>;

/** What becomes of an object that a sweep comes to: the last takes the place of its metadata and sequence. */
export type SweepVerdict = "keep" | "drop" | { readonly meta: Uint8Array; readonly sequence: number };

/** What a walk over the store found. */
export interface SweepCounts {
  readonly seen: number;
  readonly dropped: number;
  readonly droppedBytes: number;
  /** Objects that were given other metadata. */
  readonly changed: number;
  /** False when a shard was off, the disk did not take it all, or `decide` failed: walk again before relying on it. */
  readonly complete: boolean;
}

/** Counters since the start and gauges. */
export interface DiskStats {
  /** Objects; null until they were counted, soon after the start. */
  readonly objects: number | null;
  /** What counts against the limit: files, room that is kept for the indexes' logs, removed objects that are in use. */
  readonly bytes: number;
  readonly bytesMax: number;
  readonly shards: number;
  /** Shards that can not be used now. */
  readonly shardsOff: number;
  readonly evictions: number;
  readonly evictedBytes: number;
  readonly reinserted: number;
  readonly puts: number;
  /** Objects that were not stored: no room, no disk, too much waiting, or too large. */
  readonly refused: number;
  readonly scrubbedBytes: number;
  readonly scrubDamaged: number;
  readonly openFiles: number;
  /** Problems that stand now. */
  readonly problems: readonly string[];
}
