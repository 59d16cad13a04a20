/**
 * What the eviction policy sees of a stored response: small, and the only object that is left of it while
 * the rest is packed into the arena.
 */
import type { Partition } from "../eviction/partitions.ts";
import type { EvictionNode } from "../eviction/policy.ts";
import type { QueueNode } from "../stored.ts";
import type { StoredUrl } from "../stored-url.ts";
import { NOWHERE } from "./arena.ts";

/** One stored response in the eviction queue. No more than nine members: the engine's next size of object has fourteen. */
export class StoredNode implements EvictionNode<QueueNode> {
  newer: QueueNode | null = null;
  older: QueueNode | null = null;
  mark = 0;
  rank = 0.5;
  /** Of its base key alone. */
  readonly hash: number;
  bytes = 0;
  /** Where it is counted. */
  partition: Partition<QueueNode>;
  /** Its record in the arena, when it has one that is as it is. */
  record = NOWHERE;
  /**
   * Its URL. While the URL is packed somebody may still hold it, or a response of it: then it is to be
   * the same one again, not another beside it.
   */
  url: StoredUrl | WeakRef<StoredUrl> | null;

  constructor(hash: number, partition: Partition<QueueNode>, url: StoredUrl | null) {
    this.hash = hash;
    this.partition = partition;
    this.url = url;
  }
}
