/** Large objects that come in slices: one sparse file a version, blocks in any order. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, openSync, statSync, writeSync } from "node:fs";
import { LARGE_BLOCK_BYTES } from "../../../src/cache/store/disk/limits.ts";
import type { SparseObject } from "../../../src/cache/store/disk/sparse-object.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

const LENGTH = 5 * LARGE_BLOCK_BYTES + 1_000;
const KEY = keyOf(0, 0);
let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

const block = (body: Uint8Array, i: number): Uint8Array =>
  body.slice(i * LARGE_BLOCK_BYTES, (i + 1) * LARGE_BLOCK_BYTES);

function started(object: SparseObject | null): SparseObject {
  if (object === null) throw new Error("it was not started");
  return object;
}

test("blocks are there as soon as they are written, take room only then, and survive a restart", async () => {
  const { store } = await openStore(dir.path);
  const body = bytesOf(1, LENGTH);
  const sparse = started(store.startSparse(KEY, parts(), LENGTH));
  expect(sparse.missing(10, 20)).toEqual([{ start: 0, end: LARGE_BLOCK_BYTES }]);
  expect(await sparse.write(5, block(body, 5))).toBe(true);
  expect(await sparse.write(2, block(body, 2))).toBe(true);
  expect(sparse.missing(0, LENGTH)).toEqual([
    { start: 0, end: 2 * LARGE_BLOCK_BYTES },
    { start: 3 * LARGE_BLOCK_BYTES, end: 5 * LARGE_BLOCK_BYTES },
  ]);
  expect(sparse.has(2 * LARGE_BLOCK_BYTES, 3 * LARGE_BLOCK_BYTES)).toBe(true);
  expect(sparse.has(2 * LARGE_BLOCK_BYTES, 3 * LARGE_BLOCK_BYTES + 1)).toBe(false);
  expect(await sparse.read(LENGTH - 10, LENGTH)).toEqual(body.slice(-10));
  expect(await sparse.read(0, 10)).toBeNull();
  const [file] = filesBelow(dir.path, /large/);
  expect(statSync(file ?? "").blocks * 512).toBeLessThan(2 * LARGE_BLOCK_BYTES);
  await store.close();

  const { store: again } = await openStore(dir.path);
  const [found] = again.find(KEY);
  if (found === undefined) throw new Error("not found");
  expect(found).toMatchObject({ large: true, complete: false, length: LENGTH });
  const second = started(again.sparse(found));
  expect(second.has(5 * LARGE_BLOCK_BYTES, LENGTH)).toBe(true);
  for (const i of [0, 1, 3, 4]) await second.write(i, block(body, i));
  expect(second.complete).toBe(true);
  expect(again.find(KEY)[0]?.complete).toBe(true);
  expect(Bun.deepEquals(await again.read(found), body)).toBe(true);
  const slice = await again.fileSlice(found, 100, LENGTH);
  expect(Bun.deepEquals(await slice?.bytes(), body.slice(100))).toBe(true);
  await again.close();
});

test("what was flushed is there for the next process, what was not is missing and not wrong", async () => {
  const { store, clock } = await openStore(dir.path);
  const body = bytesOf(1, LENGTH);
  const sparse = started(store.startSparse(KEY, parts(), LENGTH));
  await sparse.write(0, block(body, 0));
  expect(sparse.flush()).toBe(true);
  await sparse.write(1, block(body, 1));
  clock.advance(1_000);
  // Both are committed by now: by request and by time.
  const [row] = store.find(KEY);
  expect(row?.complete).toBe(false);
  await store.close();
  const { store: again } = await openStore(dir.path);
  const [found] = again.find(KEY);
  if (found === undefined) throw new Error("not found");
  expect(
    Bun.deepEquals(await again.read(found, 0, 2 * LARGE_BLOCK_BYTES), body.slice(0, 2 * LARGE_BLOCK_BYTES)),
  ).toBe(true);
  expect(await again.read(found, 0, 2 * LARGE_BLOCK_BYTES + 1)).toBeNull();
  await again.close();
});

test("two writers of one block write it once, and a block that is there is never changed", async () => {
  const { store } = await openStore(dir.path);
  const sparse = started(store.startSparse(KEY, parts(), LENGTH));
  const first = bytesOf(1, LARGE_BLOCK_BYTES);
  const other = bytesOf(2, LARGE_BLOCK_BYTES);
  expect(await Promise.all([sparse.write(0, first), sparse.write(0, other)])).toEqual([true, true]);
  expect(await sparse.write(0, other)).toBe(true);
  expect(Bun.deepEquals(await sparse.read(0, LARGE_BLOCK_BYTES), first)).toBe(true);
  await store.close();
});

test("a damaged block is missing from then on, the others stay, and it can be written again", async () => {
  const { store } = await openStore(dir.path);
  const body = bytesOf(1, LENGTH);
  const sparse = started(store.startSparse(KEY, parts(), LENGTH));
  for (let i = 0; i < sparse.blocks; i++) await sparse.write(i, block(body, i));
  await store.close();
  const [file] = filesBelow(dir.path, /large/);
  const descriptor = openSync(file ?? "", "r+");
  writeSync(descriptor, new Uint8Array([1, 2, 3]), 0, 3, 3 * LARGE_BLOCK_BYTES + 7);
  closeSync(descriptor);

  const { store: again, problems } = await openStore(dir.path);
  const [found] = again.find(KEY);
  if (found === undefined) throw new Error("not found");
  expect(found.complete).toBe(true);
  expect(await again.fileSlice(found, 0, LENGTH)).toBeNull();
  expect(problems.length).toBe(1);
  expect(again.find(KEY)[0]?.complete).toBe(false);
  const second = started(again.sparse(found));
  expect(second.missing(0, LENGTH)).toEqual([{ start: 3 * LARGE_BLOCK_BYTES, end: 4 * LARGE_BLOCK_BYTES }]);
  expect(
    Bun.deepEquals(await second.read(0, 3 * LARGE_BLOCK_BYTES), body.slice(0, 3 * LARGE_BLOCK_BYTES)),
  ).toBe(true);
  expect(await second.write(3, block(body, 3))).toBe(true);
  expect(Bun.deepEquals(await again.read(found), body)).toBe(true);
  expect(again.find(KEY)[0]?.complete).toBe(true);
  await again.close();
});
