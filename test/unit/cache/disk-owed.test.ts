/** Removals that the disk did not take: they hold at once, and also when the process is killed before it takes them. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { shardOf } from "../../../src/cache/shard.ts";
import type { DiskStore } from "../../../src/cache/store/disk/disk-store.ts";
import { type DiskFiles, systemFiles } from "../../../src/cache/store/disk/files.ts";
import { HEALTH_MS, OWED_REMOVALS_MAX } from "../../../src/cache/store/disk/limits.ts";
import { bytesOf, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

const KEYS = [0, 1, 2].map((i) => keyOf(0, i));
let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

/** A store of one shard with an object for each key, and a way to make its disk fail. */
async function failing(): Promise<{
  store: DiskStore;
  problems: string[];
  turnOff(): Promise<void>;
  comeBack(): void;
}> {
  let broken = false;
  const files: DiskFiles = {
    ...systemFiles,
    async write(...call) {
      if (broken) throw Object.assign(new Error("EIO: the disk said no"), { code: "EIO" });
      return systemFiles.write(...call);
    },
  };
  const { store, problems, clock } = await openStore(dir.path, { files, shards: [0] });
  for (const [i, key] of KEYS.entries()) await store.put(key, parts(), bytesOf(i, 1_000));
  return {
    store,
    problems,
    async turnOff() {
      broken = true;
      await store.put(keyOf(0, 9), parts(), bytesOf(1, 10));
      expect(store.stats().shardsOff).toBe(1);
    },
    comeBack() {
      broken = false;
      clock.advance(HEALTH_MS);
      expect(store.stats().shardsOff).toBe(0);
    },
  };
}

/** Which keys a process finds that starts with the directory as it is now: as after kill -9. */
async function foundAfterKill(): Promise<{ found: number[]; problems: string[] }> {
  const path = `${dir.path}-killed`;
  rmSync(path, { recursive: true, force: true });
  cpSync(dir.path, path, { recursive: true });
  const { store, problems } = await openStore(path, { shards: [0] });
  const found = KEYS.flatMap((key, i) => (store.find(key).length > 0 ? [i] : []));
  await store.close();
  return { found, problems };
}

test("a shard that is off without owing anything is whole after a kill", async () => {
  const { store, turnOff } = await failing();
  await turnOff();
  expect(await foundAfterKill()).toEqual({ found: [0, 1, 2], problems: [] });
  await store.close();
});

for (const [what, remove] of [
  ["a URL", (store: DiskStore) => store.removeUrl(KEYS[1] ?? "")],
  ["a variant", (store: DiskStore, handle: Parameters<DiskStore["remove"]>[0]) => store.remove(handle)],
] as const) {
  test(`a removal of ${what} that is owed holds after a kill: the shard starts empty, and says why`, async () => {
    const { store, turnOff, comeBack } = await failing();
    const [handle] = store.find(KEYS[1] ?? "");
    if (handle === undefined) throw new Error("not stored");
    await turnOff();
    remove(store, handle);
    const killed = await foundAfterKill();
    expect(killed.found).toEqual([]);
    expect(killed.problems.length).toBe(1);
    expect(killed.problems[0]).toContain("shard-00");
    expect(killed.problems[0]).toContain("had not taken all removals");
    // This process knows what it owes: the others stay.
    comeBack();
    expect(store.find(KEYS[1] ?? "")).toEqual([]);
    expect(store.find(KEYS[0] ?? "").length).toBe(1);
    expect(await foundAfterKill()).toEqual({ found: [0, 2], problems: [] });
    await store.close();
    const { store: again, problems } = await openStore(dir.path, { shards: [0] });
    expect(again.find(KEYS[2] ?? "").length).toBe(1);
    expect(problems).toEqual([]);
    await again.close();
  });
}

test("a store that is closed with something owed starts empty", async () => {
  const { store, turnOff } = await failing();
  await turnOff();
  store.removeUrl(KEYS[1] ?? "");
  await store.close();
  expect((await foundAfterKill()).found).toEqual([]);
  // Once: what it stores then stays.
  for (let i = 0; i < 2; i++) {
    const { store: again, problems } = await openStore(dir.path, { shards: [0] });
    expect(problems.length).toBe(1 - i);
    expect(again.find(KEYS[0] ?? "").length).toBe(i);
    await again.put(KEYS[0] ?? "", parts(), bytesOf(5, 10));
    await again.close();
  }
});

test("an index without the file beside it that says that nothing is owed is not used", async () => {
  const { store } = await failing();
  await store.close();
  rmSync(join(dir.path, "shard-00", "settled"));
  expect((await foundAfterKill()).found).toEqual([]);
});

test("more removals than are remembered empty the shard when it comes back", async () => {
  const { store, problems, turnOff, comeBack } = await failing();
  await turnOff();
  let removals = 0;
  for (let i = 1_000_000; removals <= OWED_REMOVALS_MAX; i++) {
    const key = `shop https://shop.example/${i}`;
    if (shardOf(key) !== 0) continue;
    store.removeUrl(key);
    removals++;
  }
  comeBack();
  for (const key of KEYS) expect(store.find(key)).toEqual([]);
  expect(problems.filter((message) => message.includes("more removals were owed")).length).toBe(1);
  expect(await store.put(KEYS[0] ?? "", parts(), bytesOf(1, 10))).not.toBeNull();
  expect((await foundAfterKill()).found).toEqual([0]);
  await store.close();
});

test("a removal that can not even be noted is told of", async () => {
  const { store, problems, turnOff, comeBack } = await failing();
  const settled = join(dir.path, "shard-00", "settled");
  rmSync(settled);
  mkdirSync(settled);
  writeFileSync(join(settled, "in the way"), "");
  await turnOff();
  store.removeUrl(KEYS[1] ?? "");
  store.removeUrl(KEYS[2] ?? "");
  expect(problems.filter((message) => message.includes("can not note it")).length).toBe(1);
  rmSync(settled, { recursive: true });
  writeFileSync(settled, "");
  // The next one is noted again, and what was owed before with it.
  store.removeUrl(KEYS[2] ?? "");
  expect(existsSync(settled)).toBe(false);
  comeBack();
  expect(await foundAfterKill()).toEqual({ found: [0], problems: [] });
  await store.close();
});
