/** A large object that is removed, replaced or evicted while somebody uses it: nobody is cut, nothing is lost count of. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { systemFiles } from "../../../src/cache/store/disk/files.ts";
import { LARGE_BLOCK_BYTES } from "../../../src/cache/store/disk/limits.ts";
import type { SparseObject } from "../../../src/cache/store/disk/sparse-object.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch, settle } from "./disk-kit.ts";

const LENGTH = 5 * LARGE_BLOCK_BYTES + 1_000;
const KEY = keyOf(0, 0);
const MIB = 2 ** 20;
let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

const block = (body: Uint8Array, i: number): Uint8Array =>
  body.slice(i * LARGE_BLOCK_BYTES, (i + 1) * LARGE_BLOCK_BYTES);

function there<T>(object: T | null | undefined): T {
  if (object === null || object === undefined) throw new Error("it is not there");
  return object;
}

const largeFiles = (): string[] => filesBelow(dir.path, /large/);

async function readAll(sparse: SparseObject, body: Uint8Array): Promise<boolean> {
  for (let i = 0; i < sparse.blocks; i++) {
    const from = i * LARGE_BLOCK_BYTES;
    const bytes = await sparse.read(from, from + sparse.blockLength(i));
    if (!Bun.deepEquals(bytes, block(body, i))) return false;
  }
  return true;
}

describe("a viewer in the middle of a download", () => {
  for (const [how, remove] of [
    ["a removal of the URL", (store) => void store.removeUrl(KEY)],
    ["a removal of the variant", (store) => void store.remove(there(store.find(KEY)[0]))],
    ["a sweep", (store) => store.sweep(() => "drop")],
    ["another version", (store) => store.put(KEY, parts({ sequence: 2 }), bytesOf(2, 100))],
    ["another large version", (store) => store.put(KEY, parts({ sequence: 2 }), bytesOf(2, LENGTH))],
  ] as [string, (store: Awaited<ReturnType<typeof openStore>>["store"]) => unknown][]) {
    test(`has it to the end in spite of ${how}`, async () => {
      const { store } = await openStore(dir.path);
      const body = bytesOf(1, LENGTH);
      await store.put(KEY, parts({ sequence: 1 }), body);
      const variant = there(store.find(KEY)[0]);
      const [one, two] = [there(store.sparse(variant)), there(store.sparse(variant))];
      expect(await one.read(0, 10)).toEqual(body.slice(0, 10));
      await remove(store);
      expect(one.gone).toBe(true);
      expect(store.find(KEY).filter(({ sequence }) => sequence === 1)).toEqual([]);
      // Nobody else gets at it by the handle of the variant.
      expect(store.sparse(variant)).toBeNull();
      expect(await store.read(variant, 0, 10)).toBeNull();
      expect(store.sliceNow(variant, 0, 10)).toBeNull();
      expect(one.slice(0, 10)).toBeNull();
      expect(await readAll(one, body)).toBe(true);
      one.release();
      expect(await readAll(two, body)).toBe(true);
      const left = store.find(KEY).filter(({ large }) => large).length;
      two.release();
      await settle(() => largeFiles().length === left);
      expect(largeFiles().length).toBe(left);
      expect(await two.read(0, 10)).toBeNull();
      await store.close();
    });
  }

  test("has it although its last user goes while it is being read", async () => {
    const { store } = await openStore(dir.path);
    const body = bytesOf(1, LENGTH);
    const variant = there(await store.put(KEY, parts(), body));
    const sparse = there(store.sparse(variant));
    const reading = sparse.read(0, LENGTH);
    store.removeUrl(KEY);
    sparse.release();
    expect(Bun.deepEquals(await reading, body)).toBe(true);
    await settle(() => largeFiles().length === 0);
    expect(largeFiles()).toEqual([]);
    await store.close();
  });

  test("has what another viewer's fill still writes, and damage is still found", async () => {
    const { store, problems } = await openStore(dir.path);
    const body = bytesOf(1, LENGTH);
    const filling = there(store.startSparse(KEY, parts(), LENGTH));
    const reading = there(store.sparse(filling.variant));
    await filling.write(0, block(body, 0));
    const writing = filling.write(1, block(body, 1));
    expect(store.removeUrl(KEY)).toBe(1);
    expect(await writing).toBe(true);
    for (const i of [2, 3, 4, 5]) expect(await filling.write(i, block(body, i))).toBe(true);
    expect(filling.flush()).toBe(false);
    filling.release();
    expect(await readAll(reading, body)).toBe(true);
    const path = there(largeFiles()[0]);
    const file = await systemFiles.open(path, "write");
    await systemFiles.write(file, [new Uint8Array([1, 2, 3])], 2 * LARGE_BLOCK_BYTES + 9);
    systemFiles.close(file);
    expect(await reading.read(2 * LARGE_BLOCK_BYTES, 3 * LARGE_BLOCK_BYTES)).toBeNull();
    expect(reading.missing(0, LENGTH)).toEqual([
      { start: 2 * LARGE_BLOCK_BYTES, end: 3 * LARGE_BLOCK_BYTES },
    ]);
    expect(problems.length).toBe(1);
    reading.release();
    await settle(() => !existsSync(path));
    expect(existsSync(path)).toBe(false);
    await store.close();
    const { store: again } = await openStore(dir.path);
    expect(again.find(KEY)).toEqual([]);
    await again.close();
  });

  test("keeps a new version apart from the old one", async () => {
    const { store } = await openStore(dir.path);
    const old = there(store.startSparse(KEY, parts({ sequence: 1 }), LENGTH));
    await old.write(0, bytesOf(1, LARGE_BLOCK_BYTES));
    const now = there(store.startSparse(KEY, parts({ sequence: 2 }), LENGTH));
    expect(await old.write(1, bytesOf(3, LARGE_BLOCK_BYTES))).toBe(true);
    expect(await now.write(1, bytesOf(4, LARGE_BLOCK_BYTES))).toBe(true);
    expect(now.has(0, 1)).toBe(false);
    const at = LARGE_BLOCK_BYTES;
    expect(Bun.deepEquals(await old.read(at, 2 * at), bytesOf(3, at))).toBe(true);
    expect(Bun.deepEquals(await now.read(at, 2 * at), bytesOf(4, at))).toBe(true);
    expect(store.find(KEY).map(({ sequence }) => sequence)).toEqual([2]);
    old.release();
    now.release();
    await store.close();
  });
});

test("what a process that ended left of removed objects is gone at the next start", async () => {
  const { store } = await openStore(dir.path);
  const sparse = there(store.sparse(there(await store.put(KEY, parts(), bytesOf(1, LENGTH)))));
  store.removeUrl(KEY);
  expect(largeFiles().length).toBe(1);
  await store.close();
  expect(await sparse.read(0, 10)).toBeNull();
  expect(await sparse.write(0, bytesOf(1, LARGE_BLOCK_BYTES))).toBe(false);
  sparse.release();
  const { store: again } = await openStore(dir.path);
  await settle(() => largeFiles().length === 0);
  expect(largeFiles()).toEqual([]);
  expect(again.find(KEY)).toEqual([]);
  await again.close();
});

describe("eviction", () => {
  // One shard of 16 MiB.
  const options = { bytesMax: 16 * MIB * 64, shards: [0] };

  test("takes what nobody reads before what somebody does, whichever is older", async () => {
    const { store } = await openStore(dir.path, options);
    const body = bytesOf(0, 2 * MIB);
    const read = there(store.sparse(there(await store.put(KEY, parts(), body))));
    for (let i = 1; i < 30; i++)
      expect(await store.put(keyOf(0, i), parts(), bytesOf(i, 2 * MIB))).not.toBeNull();
    expect(store.stats().evictions).toBeGreaterThan(20);
    expect(read.gone).toBe(false);
    expect(store.find(KEY).length).toBe(1);
    expect(await readAll(read, body)).toBe(true);
    read.release();
    for (let i = 1; i < 10; i++) await store.put(keyOf(0, i), parts(), bytesOf(i, 2 * MIB));
    expect(store.find(KEY)).toEqual([]);
    await store.close();
  });

  test("takes what is in use when there is nothing else, frees its room with its last user, and keeps the limit", async () => {
    const { store } = await openStore(dir.path, options);
    const bodies = Array.from({ length: 7 }, (_, i) => bytesOf(i, 2 * MIB));
    const users: SparseObject[] = [];
    for (const [i, body] of bodies.entries()) {
      const variant = there(await store.put(keyOf(0, i), parts(), body));
      users.push(there(store.sparse(variant)));
    }
    // 14 of 16 MiB are in use. Nothing more fits until somebody leaves.
    expect(await store.put(keyOf(0, 10), parts(), bytesOf(10, 2 * MIB))).toBeNull();
    const taken = users.filter(({ gone }) => gone);
    expect(taken.length).toBeGreaterThan(0);
    expect(taken.length).toBeLessThan(users.length);
    expect(store.stats().bytes).toBeLessThanOrEqual(16 * MIB);
    for (const [i, user] of users.entries()) expect(await readAll(user, there(bodies[i]))).toBe(true);
    const before = store.stats().bytes;
    for (const user of taken) user.release();
    await settle(() => store.stats().bytes < before);
    expect(store.stats().bytes).toBeLessThanOrEqual(before - taken.length * 2 * MIB);
    expect(await store.put(keyOf(0, 10), parts(), bytesOf(10, 2 * MIB))).not.toBeNull();
    for (const user of users) user.release();
    await store.close();
  });

  test("removed objects that are in use count, and may grow up to half of the store only", async () => {
    const { store } = await openStore(dir.path, options);
    const length = 7 * MIB;
    const objects = [0, 1].map((i) => there(store.startSparse(keyOf(0, i), parts(), length)));
    for (const object of objects) expect(await object.write(0, bytesOf(0, LARGE_BLOCK_BYTES))).toBe(true);
    for (const i of [0, 1]) store.removeUrl(keyOf(0, i));
    let written = 2;
    for (let i = 1; i < 28; i++) {
      for (const object of objects) {
        if (await object.write(i, bytesOf(i, LARGE_BLOCK_BYTES))) written++;
      }
    }
    expect(written * LARGE_BLOCK_BYTES).toBe(8 * MIB);
    expect(store.stats().bytes).toBeGreaterThanOrEqual(8 * MIB);
    // The others have the other half.
    for (let i = 10; i < 30; i++)
      expect(await store.put(keyOf(0, i), parts(), bytesOf(i, 500_000))).not.toBeNull();
    expect(store.stats().bytes).toBeLessThanOrEqual(16 * MIB);
    for (const object of objects) object.release();
    await settle(() => store.stats().bytes < 9 * MIB);
    expect(store.stats().bytes).toBeLessThan(9 * MIB);
    await store.close();
  });
});

describe("a slice at once", () => {
  test("is there as soon as the bytes are verified, for small and large, and not for what was removed", async () => {
    const { store } = await openStore(dir.path);
    const bodies = [bytesOf(1, 100_000), bytesOf(2, LENGTH)];
    for (const [i, body] of bodies.entries()) {
      const variant = there(await store.put(keyOf(0, i), parts(), body));
      // A large one was verified as it was written.
      if (i === 0) expect(store.sliceNow(variant)).toBeNull();
    }
    await store.close();
    const { store: again } = await openStore(dir.path);
    for (const [i, body] of bodies.entries()) {
      const variant = there(again.find(keyOf(0, i))[0]);
      expect(again.sliceNow(variant, 10, 20)).toBeNull();
      expect(await again.fileSlice(variant, 10, 20)).not.toBeNull();
      expect(again.verified(variant, 10, 20)).toBe(true);
      expect(await again.sliceNow(variant, 10, 20)?.bytes()).toEqual(body.slice(10, 20));
      expect(await again.sliceNow(variant, 5, 5)?.bytes()).toEqual(new Uint8Array(0));
      if (i === 1) expect(again.sliceNow(variant)).toBeNull();
      again.remove(variant);
      expect(again.sliceNow(variant, 10, 20)).toBeNull();
    }
    await again.close();
  });

  test("of a sparse object has the ranges that are there", async () => {
    const { store } = await openStore(dir.path);
    const body = bytesOf(1, LENGTH);
    const sparse = there(store.startSparse(KEY, parts(), LENGTH));
    expect(sparse.slice(0, 10)).toBeNull();
    for (const i of [1, 2]) await sparse.write(i, block(body, i));
    const [from, to] = [LARGE_BLOCK_BYTES + 3, 3 * LARGE_BLOCK_BYTES];
    const slice = there(sparse.slice(from, to));
    expect(sparse.slice(from, to + 1)).toBeNull();
    expect(sparse.slice(from - 4, to)).toBeNull();
    store.removeUrl(KEY);
    expect(sparse.slice(from, to)).toBeNull();
    // The one that was handed out before lives on, also without its user, by its lease.
    sparse.release();
    expect(Bun.deepEquals(await slice.bytes(), body.slice(from, to))).toBe(true);
    await store.close();
  });
});
