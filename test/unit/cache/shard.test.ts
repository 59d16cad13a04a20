/** Keys belong to shards, shards to workers. */
import { describe, expect, test } from "bun:test";
import { SHARDS, shardOf, shardOwners } from "../../../src/cache/shard.ts";

describe("shards", () => {
  test("are the same for a key in every process and version: a disk depends on it", () => {
    expect(["shop https://shop.example/", "shop https://shop.example/a.css", ""].map(shardOf)).toEqual([
      54, 26, 25,
    ]);
  });

  test("get keys evenly", () => {
    const counts = new Array<number>(SHARDS).fill(0);
    for (let i = 0; i < 64_000; i++) {
      const shard = shardOf(`site https://host/${i}`);
      counts[shard] = (counts[shard] as number) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1_150);
  });

  test("all belong to the only worker where there is one", () => {
    expect(new Set(shardOwners(1))).toEqual(new Set([0]));
  });

  test("are owned by every slot, and move only to the slot that is added", () => {
    for (let slots = 1; slots < 16; slots++) {
      const before = shardOwners(slots);
      const after = shardOwners(slots + 1);
      expect(new Set(before).size).toBe(slots);
      const moved = after.filter((owner, shard) => owner !== before[shard]);
      expect(new Set(moved)).toEqual(new Set([slots]));
    }
  });
});
