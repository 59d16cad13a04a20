/**
 * Which shard a base key belongs to, and which worker owns a shard. The number of shards never changes,
 * so that a store on disk survives another number of workers; shards move between slots by rendezvous
 * hashing, so that a slot more or less moves only the shards that it gains or gives.
 */

/** Shards of a node's store: fixed, so that a disk outlives any number of workers. Part of the disk's format. */
export const SHARDS = 64;

/** Every shard: what a node with one worker owns. */
export const allShards: readonly number[] = Array.from({ length: SHARDS }, (_, shard) => shard);

/** Shard of a base key, from 0 to 63: the same in every process and every version of the store's format. */
export function shardOf(key: string): number {
  return Number(Bun.hash.xxHash64(key) & BigInt(SHARDS - 1));
}

/** For each shard the slot (from 0) that owns it among `slots` workers. */
export function shardOwners(slots: number): readonly number[] {
  return allShards.map((shard) => {
    let owner = 0;
    let highest = -1n;
    for (let slot = 0; slot < slots; slot++) {
      const weight = Bun.hash.xxHash64(`${shard}/${slot}`);
      if (weight <= highest) continue;
      highest = weight;
      owner = slot;
    }
    return owner;
  });
}
