/** Which shard a base key belongs to: the same in every process and every version of the format. */
import { SHARDS } from "./limits.ts";

/** Shard of a base key, from 0 to 63. */
export function shardOf(key: string): number {
  return Number(Bun.hash.xxHash64(key) & BigInt(SHARDS - 1));
}

/** Every shard: what a node with one worker opens. */
export const allShards: readonly number[] = Array.from({ length: SHARDS }, (_, shard) => shard);

/** The name of a shard's directory. */
export function shardName(shard: number): string {
  return `shard-${String(shard).padStart(2, "0")}`;
}
