/** A packed response and its row on disk: known by name alone, and still renewed and removed with it. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { type DiskFiles, systemFiles } from "../../../src/cache/store/disk/files.ts";
import { HEALTH_MS } from "../../../src/cache/store/disk/limits.ts";
import { decodeRecord } from "../../../src/cache/store/disk-record.ts";
import { DiskTier } from "../../../src/cache/store/disk-tier.ts";
import { MemoryStore } from "../../../src/cache/store/memory.ts";
import { PackedView } from "../../../src/cache/store/packed.ts";
import { Fields } from "../../../src/http/fields.ts";
import { STORED_AT_MS, storedParts } from "../../kit/stored.ts";
import { keyOf, openStore, parts, scratch } from "./disk-kit.ts";

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

/** A memory with a disk behind it, and one response that is packed and on disk. */
async function packedOnDisk() {
  let broken = false;
  const files: DiskFiles = {
    ...systemFiles,
    async write(...call) {
      if (broken) throw Object.assign(new Error("EIO: the disk said no"), { code: "EIO" });
      return systemFiles.write(...call);
    },
  };
  const { store: disk, clock } = await openStore(dir.path, { files, shards: [0] });
  const memory = new MemoryStore({
    bytesMax: 2 ** 20,
    objectBytesMax: 2 ** 20,
    onRemoved: (entry) => tier.forget(entry),
  });
  const tier: DiskTier = new DiskTier({ memory, disk, clock, holds: () => true, log: "log" });
  const refs = new Map<string, WeakRef<object>>();
  for (let number = 0; number < 20; number++) {
    const entry = memory.put(keyOf(0, number), [], "", storedParts(500, clock.now()), 64);
    if (entry === null) throw new Error("not stored");
    tier.save(entry);
    refs.set(entry.key, new WeakRef(entry));
  }
  await tier.settled();
  for (let at = 0; at < 100; at++) memory.put(`crowd https://a.example/${at}`, [], "", storedParts(10), 64);
  // One that nobody has as an object any more: what comes back is made of the record.
  let key: string | undefined;
  for (let round = 0; round < 50 && key === undefined; round++) {
    await Bun.sleep(1);
    Bun.gc(true);
    key = [...refs].find(([, ref]) => ref.deref() === undefined)?.[0];
  }
  const KEY = key ?? expect.unreachable();
  const find = () => memory.get(KEY)?.find("", Fields.from([])) ?? null;
  expect([...memory.entries()].some((met) => met instanceof PackedView && met.key === KEY)).toBe(true);
  return {
    ...{ KEY, disk, memory, tier, find },
    async turnOff() {
      broken = true;
      await disk.put(keyOf(0, 99), parts(), new Uint8Array(10));
      expect(disk.stats().shardsOff).toBe(1);
    },
    comeBack() {
      broken = false;
      clock.advance(HEALTH_MS);
      expect(disk.stats().shardsOff).toBe(0);
    },
  };
}

test("the disk knows that a packed response is in memory, and the response finds its row", async () => {
  const { KEY, disk, memory, tier, find } = await packedOnDisk();
  const [row] = disk.find(KEY);
  if (row === undefined) throw new Error("not on disk");
  expect(memory.holdsRow(KEY, row.born)).toBe(true);
  expect(memory.holdsRow(KEY, row.born + 1)).toBe(false);
  expect(find()?.disk?.born).toBe(row.born);
  await tier.close();
});

test("a soft purge reaches the row of what was packed", async () => {
  const { KEY, disk, tier, find } = await packedOnDisk();
  const entry = find() ?? expect.unreachable();
  entry.expire(STORED_AT_MS - 1_000_000_000_000);
  tier.renew(entry);
  const [row] = disk.find(KEY);
  expect(decodeRecord(row?.meta ?? new Uint8Array(0))?.freshness.softPurged).toBe(true);
  await tier.close();
});

test("the row of what was packed is removed with it", async () => {
  const { KEY, disk, memory, tier } = await packedOnDisk();
  expect(memory.removeUrl(KEY)).toBe(1);
  expect(disk.find(KEY)).toEqual([]);
  await tier.close();
});

test("also when its shard is off just then: the disk owes it", async () => {
  const { KEY, disk, memory, tier, turnOff, comeBack } = await packedOnDisk();
  await turnOff();
  expect(memory.removeUrl(KEY)).toBe(1);
  comeBack();
  expect(disk.find(KEY)).toEqual([]);
  await tier.close();
});
