/** What a shard is called on the disk. */

/** The name of a shard's directory. */
export function shardName(shard: number): string {
  return `shard-${String(shard).padStart(2, "0")}`;
}
