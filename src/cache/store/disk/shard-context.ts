/** What a shard is given by its store, and what it consists of while it is open. */
import type { IndexLog } from "./index-log.ts";
import type { LargeObjects } from "./large-objects.ts";
import type { Problems } from "./problems.ts";
import type { SegmentWriter } from "./segment-writer.ts";
import type { OpenContext, ShardParts } from "./shard-parts.ts";
import type { SmallObjects } from "./small-objects.ts";

/** What a shard shares with the others of its store. */
export interface ShardContext
  extends Omit<OpenContext, "onSetAside" | "onUnsettled" | "onEmpty" | "knowsOwed"> {
  readonly problems: Problems;
  /** The store's own, see DiskFormat. */
  seed(): bigint;
  readonly segmentBytes: number;
  readonly variantsMax: number;
  /** What the store was marked with last; null before that. */
  lastMark(): string | null;
  nextId(): number;
  /** Ids given from now on are larger than this. */
  idsBeyond(id: number): void;
  reserve(bytes: number): Promise<boolean>;
  release(bytes: number): void;
  /** The disk is full. */
  full(error: unknown): void;
  /** Its files were removed under it. */
  vanished(): void;
}

/** A put or a sparse object on its way: a removal of its URL in between stops it. */
export interface Pending {
  readonly key: string;
  cancelled: boolean;
}

/** A shard that is open. */
export interface OpenShard extends ShardParts {
  readonly writer: SegmentWriter;
  readonly objects: LargeObjects;
  readonly small: SmallObjects;
  readonly log: IndexLog;
}
