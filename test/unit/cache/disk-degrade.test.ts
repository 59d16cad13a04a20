/** A disk that is full, read-only, broken or gone: the store answers misses, says so once, and comes back. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DiskFiles, systemFiles } from "../../../src/cache/store/disk/files.ts";
import { FULL_PAUSE_MS, HEALTH_MS } from "../../../src/cache/store/disk/limits.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: the disk said no`), { code });
}

/** Files that fail while `code` is set for them. */
function breakable(): { files: DiskFiles; fail: { write: string | null; read: string | null } } {
  const fail = { write: null as string | null, read: null as string | null };
  const files: DiskFiles = {
    ...systemFiles,
    async write(descriptor, pieces, position) {
      if (fail.write !== null) {
        await systemFiles.write(descriptor, [pieces[0]?.subarray(0, 10) ?? new Uint8Array(0)], position);
        throw systemError(fail.write);
      }
      return systemFiles.write(descriptor, pieces, position);
    },
    async read(descriptor, buffer, position) {
      if (fail.read !== null) throw systemError(fail.read);
      return systemFiles.read(descriptor, buffer, position);
    },
  };
  return { files, fail };
}

test("a full disk: what is stored is served, nothing is written for a while, then it is again", async () => {
  const { files, fail } = breakable();
  const { store, problems, clock } = await openStore(dir.path, { files });
  const before = await store.put(keyOf(0, 0), parts(), bytesOf(0, 1_000));
  fail.write = "ENOSPC";
  expect(await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_000))).toBeNull();
  expect(await store.put(keyOf(1, 1), parts(), bytesOf(1, 1_000))).toBeNull();
  const sparse = store.startSparse(keyOf(1, 2), parts(), 300_000);
  expect((await sparse?.write(0, bytesOf(1, 262_144))) ?? false).toBe(false);
  fail.write = null;
  expect(await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_000))).toBeNull();
  if (before === null) throw new Error("not stored");
  expect(await store.read(before)).toEqual(bytesOf(0, 1_000));
  expect(problems.length).toBe(1);
  expect(problems[0]).toContain("is full");
  clock.advance(FULL_PAUSE_MS);
  const after = await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_000));
  if (after === null) throw new Error("not stored");
  expect(await store.read(after)).toEqual(bytesOf(1, 1_000));
  expect(store.stats().problems).toEqual([]);
  await store.close();
});

const root = process.getuid?.() === 0 && process.platform === "linux";

test.if(root)("a file system that is really full takes nothing with it", async () => {
  const mount = `${dir.path}-mount`;
  mkdirSync(mount);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", mount]);
  if (mounted.status !== 0) return;
  try {
    const path = join(mount, "cache");
    const { store, problems, clock } = await openStore(path);
    let refused = 0;
    let storedLate = 0;
    for (let i = 0; i < 400; i++) {
      const stored = await store.put(keyOf(i % 2, i % 100), parts(), bytesOf(i, 30_000 + (i % 7) * 10_000));
      if (stored === null) {
        refused++;
        if (i % 5 === 0) clock.advance(FULL_PAUSE_MS);
      } else {
        if (refused > 0) storedLate++;
        const bytes = await store.read(stored);
        if (bytes !== null) expect(Bun.deepEquals(bytes, bytesOf(i, stored.length))).toBe(true);
      }
    }
    expect(refused).toBeGreaterThan(0);
    expect(storedLate).toBeGreaterThan(100);
    expect(problems.length).toBeGreaterThan(0);
    // Removal works on a full disk.
    writeFileSync(join(mount, "ballast"), "");
    spawnSync("dd", ["if=/dev/zero", `of=${join(mount, "ballast")}`, "bs=64k"]);
    for (let i = 0; i < 200; i++) {
      store.removeUrl(keyOf(i % 2, i % 100));
      expect(store.find(keyOf(i % 2, i % 100))).toEqual([]);
    }
    // What the disk did not take is not undone by the end of the process either.
    const killed = `${dir.path}-killed`;
    cpSync(path, killed, { recursive: true });
    const { store: after } = await openStore(killed);
    for (let i = 0; i < 200; i++) expect(after.find(keyOf(i % 2, i % 100))).toEqual([]);
    await after.close();
    unlinkSync(join(mount, "ballast"));
    clock.advance(FULL_PAUSE_MS + HEALTH_MS);
    expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 1_000))).not.toBeNull();
    await store.close();
    const { store: again } = await openStore(path);
    for (let i = 1; i < 200; i++)
      expect(again.find(keyOf(i % 2, i % 100))).toEqual(i % 200 === 100 ? again.find(keyOf(0, 0)) : []);
    await again.close();
  } finally {
    spawnSync("umount", ["-l", mount]);
  }
});

test.if(root)(
  "a disk that is full or read-only at the start does not throw, and is used as soon as it can be",
  async () => {
    const mount = `${dir.path}-mount`;
    mkdirSync(mount);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=6m,ro", "tmpfs", mount]).status !== 0) return;
    try {
      const { store, problems, clock } = await openStore(join(mount, "cache"));
      expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 1_000))).toBeNull();
      expect(store.find(keyOf(0, 0))).toEqual([]);
      expect(store.removeUrl(keyOf(0, 0))).toBe(0);
      expect(problems.length).toBe(1);
      expect(store.stats().shardsOff).toBe(2);
      clock.advance(HEALTH_MS * 3);
      expect(problems.length).toBe(1);
      spawnSync("mount", ["-o", "remount,rw", mount]);
      clock.advance(HEALTH_MS);
      expect(store.stats().shardsOff).toBe(0);
      expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 1_000))).not.toBeNull();
      spawnSync("mount", ["-o", "remount,ro", mount]);
      await store.close();
    } finally {
      spawnSync("umount", ["-l", mount]);
    }
  },
);

test("a place that can not be a directory does not throw, and is used once it can", async () => {
  writeFileSync(dir.path, "a file");
  const { store, problems, clock } = await openStore(dir.path);
  expect(store.find(keyOf(0, 0))).toEqual([]);
  expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 10))).toBeNull();
  expect(problems.length).toBe(1);
  rmSync(dir.path);
  clock.advance(HEALTH_MS);
  expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 10))).not.toBeNull();
  await store.close();
});

test("a directory that vanishes while it is used: misses, said once, and it starts again empty", async () => {
  const { store, problems, clock } = await openStore(dir.path);
  const small = await store.put(keyOf(0, 0), parts(), bytesOf(0, 1_000));
  const large = await store.put(keyOf(1, 0), parts(), bytesOf(0, 1_200_000));
  const sparse = store.startSparse(keyOf(1, 1), parts(), 900_000);
  if (small === null || large === null || sparse === null) throw new Error("not stored");
  rmSync(dir.path, { recursive: true });
  for (const variant of [small, large]) {
    await store.read(variant);
    await store.fileSlice(variant);
  }
  await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_000));
  await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_200_000));
  await sparse.write(0, bytesOf(1, 262_144));
  store.updateMeta(small, bytesOf(1, 5));
  store.removeUrl(keyOf(0, 0));
  expect(store.find(keyOf(0, 0))).toEqual([]);
  clock.advance(HEALTH_MS * 3);
  expect(store.find(keyOf(1, 0))).toEqual([]);
  expect(await store.read(large)).toBeNull();
  expect(await sparse.write(0, bytesOf(1, 262_144))).toBe(false);
  expect(problems.filter((message) => message.includes("removed while")).length).toBe(1);
  expect(problems.length).toBeLessThanOrEqual(5);
  expect(existsSync(join(dir.path, "format"))).toBe(true);
  const stored = await store.put(keyOf(0, 0), parts(), bytesOf(2, 1_000));
  if (stored === null) throw new Error("it did not come back");
  expect(await store.read(stored)).toEqual(bytesOf(2, 1_000));
  expect(store.stats().problems.filter((id) => !id.startsWith("object"))).toEqual([]);
  await store.close();
  const { store: again } = await openStore(dir.path);
  expect(again.find(keyOf(0, 0)).length).toBe(1);
  await again.close();
});

test("a device that fails to read or write gives misses and comes back", async () => {
  const { files, fail } = breakable();
  const { store, problems, clock } = await openStore(dir.path, { files });
  const stored = await store.put(keyOf(0, 0), parts(), bytesOf(0, 1_000));
  if (stored === null) throw new Error("not stored");
  fail.read = "EIO";
  expect(await store.read(stored)).toBeNull();
  fail.read = null;
  fail.write = "EIO";
  expect(await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_000))).toBeNull();
  expect(store.stats().shardsOff).toBe(1);
  expect(problems.length).toBeGreaterThan(0);
  fail.write = null;
  clock.advance(HEALTH_MS);
  expect(store.stats().shardsOff).toBe(0);
  expect(await store.put(keyOf(0, 1), parts(), bytesOf(1, 1_000))).not.toBeNull();
  await store.close();
});

test("what was removed while its shard was off does not come back with it", async () => {
  const { files, fail } = breakable();
  const { store, clock } = await openStore(dir.path, { files });
  for (const i of [0, 1]) await store.put(keyOf(0, i), parts(), bytesOf(i, 1_000));
  fail.write = "EIO";
  await store.put(keyOf(0, 2), parts(), bytesOf(1, 1_000));
  expect(store.stats().shardsOff).toBe(1);
  store.removeUrl(keyOf(0, 0));
  fail.write = null;
  clock.advance(HEALTH_MS);
  expect(store.find(keyOf(0, 0))).toEqual([]);
  expect(store.find(keyOf(0, 1)).length).toBe(1);
  await store.close();
});

test("an index that is no database is set aside: that shard starts empty, the others are as they were", async () => {
  const { store } = await openStore(dir.path);
  for (const shard of [0, 1]) await store.put(keyOf(shard, 0), parts(), bytesOf(shard, 1_000));
  await store.close();
  const [index] = filesBelow(dir.path, /shard-00.*index\.db$/);
  writeFileSync(index ?? "", "this is not a database, and long enough to be looked at as one".repeat(100));
  const { store: again, problems } = await openStore(dir.path);
  expect(problems.length).toBe(1);
  expect(problems[0]).toContain("shard-00");
  expect(again.find(keyOf(0, 0))).toEqual([]);
  expect(again.find(keyOf(1, 0)).length).toBe(1);
  expect(await again.put(keyOf(0, 0), parts(), bytesOf(1, 10))).not.toBeNull();
  await again.close();
});

test.if(!root)("a directory of somebody else's is told and left alone", async () => {
  mkdirSync(dir.path);
  chmodSync(dir.path, 0o500);
  const { store, problems } = await openStore(dir.path);
  expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 10))).toBeNull();
  expect(problems.length).toBe(1);
  await store.close();
  chmodSync(dir.path, 0o700);
});
