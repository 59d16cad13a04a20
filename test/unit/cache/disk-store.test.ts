/** The disk store as its callers see it, on real files. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { allShards, shardOf } from "../../../src/cache/shard.ts";
import type { DiskStore } from "../../../src/cache/store/disk/disk-store.ts";
import { DESCRIPTORS_MAX, OBJECT_SHARE_MAX } from "../../../src/cache/store/disk/limits.ts";
import { bytesBelow, bytesOf, filesBelow, keyOf, openStore, parts, scratch, settle } from "./disk-kit.ts";

let dir: ReturnType<typeof scratch>;
const opened: DiskStore[] = [];
const open = async (options: Parameters<typeof openStore>[1] = {}) => {
  const result = await openStore(dir.path, options);
  opened.push(result.store);
  return result;
};
beforeEach(() => {
  dir = scratch();
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  dir.clean();
});

describe("what was stored", () => {
  test("is found and read back, whole and in part, also after a restart", async () => {
    const { store } = await open();
    const key = keyOf(0, 0);
    const body = bytesOf(1, 200_000);
    const stored = await store.put(
      key,
      parts({ vary: ["accept"], variant: "a\u0000b", tags: ["t1", "t 2"], sequence: 9 }),
      body,
    );
    if (stored === null) throw new Error("not stored");
    expect(await store.read(stored)).toEqual(body);
    expect(await store.read(stored, 65_530, 131_080)).toEqual(body.slice(65_530, 131_080));
    await store.close();

    const { store: again, problems } = await open();
    const [found] = again.find(key);
    if (found === undefined) throw new Error("not found");
    expect(found).toMatchObject({
      key,
      vary: ["accept"],
      variant: "a\u0000b",
      tags: ["t1", "t 2"],
      sequence: 9,
      length: 200_000,
    });
    expect(found.meta).toEqual(bytesOf(7, 40));
    expect(await again.read(found, 199_999)).toEqual(body.slice(199_999));
    expect(await again.read(found, 5, 5)).toEqual(new Uint8Array(0));
    expect(problems).toEqual([]);
  });

  test("may be empty, come in pieces, or as a stream that is larger than a segment takes", async () => {
    const { store } = await open({ smallBytesMax: 100_000 });
    const empty = await store.put(keyOf(0, 0), parts(), new Uint8Array(0));
    const pieces = await store.put(keyOf(0, 1), parts(), [bytesOf(1, 10), bytesOf(2, 20)]);
    const whole = bytesOf(3, 1_000_000);
    const stream = async function* () {
      for (let at = 0; at < whole.length; at += 70_001) yield whole.subarray(at, at + 70_001);
    };
    const large = await store.put(keyOf(1, 0), parts(), stream());
    if (empty === null || pieces === null || large === null) throw new Error("not stored");
    expect(await store.read(empty)).toEqual(new Uint8Array(0));
    expect(await store.read(pieces)).toEqual(new Uint8Array([...bytesOf(1, 10), ...bytesOf(2, 20)]));
    expect(large).toMatchObject({ large: true, complete: true, length: 1_000_000 });
    expect(await store.read(large)).toEqual(whole);
    await store.close();
    const { store: again } = await open();
    const [found] = again.find(keyOf(1, 0));
    if (found === undefined) throw new Error("not found");
    expect(await again.read(found, 262_100, 600_000)).toEqual(whole.slice(262_100, 600_000));
  });

  test("replaces the variant that it stands for and leaves the others", async () => {
    const { store } = await open();
    const key = keyOf(0, 0);
    await store.put(key, parts({ vary: ["accept"], variant: "html" }), bytesOf(1, 10));
    await store.put(key, parts({ vary: ["accept"], variant: "json" }), bytesOf(2, 10));
    await store.put(key, parts({ vary: ["accept"], variant: "html" }), bytesOf(3, 10));
    const found = store.find(key);
    expect(found.map(({ variant }) => variant)).toEqual(["html", "json"]);
    expect(await Promise.all(found.map((variant) => store.read(variant)))).toEqual([
      bytesOf(3, 10),
      bytesOf(2, 10),
    ]);
  });

  test("has a limit of variants of one URL: the oldest goes", async () => {
    const { store } = await open({ variantsMax: 3 });
    for (let i = 0; i < 5; i++) await store.put(keyOf(0, 0), parts({ variant: `v${i}` }), bytesOf(i, 10));
    expect(store.find(keyOf(0, 0)).map(({ variant }) => variant)).toEqual(["v4", "v3", "v2"]);
  });

  test("takes new metadata without being written again", async () => {
    const { store } = await open();
    const stored = await store.put(keyOf(0, 0), parts(), bytesOf(1, 10));
    if (stored === null) throw new Error("not stored");
    const updated = store.updateMeta(stored, bytesOf(9, 3), 12);
    expect(updated).toMatchObject({ sequence: 12 });
    await store.close();
    const { store: again } = await open();
    const [found] = again.find(keyOf(0, 0));
    expect(found?.meta).toEqual(bytesOf(9, 3));
    expect(found?.sequence).toBe(12);
  });

  test("is not stored when its body fails, and leaves no file", async () => {
    const { store } = await open({ smallBytesMax: 1_000 });
    const failing = async function* (after: number) {
      for (let i = 0; i < after; i++) yield bytesOf(i, 100_000);
      throw new Error("cut");
    };
    expect(await store.put(keyOf(0, 0), parts(), failing(0))).toBeNull();
    expect(await store.put(keyOf(0, 0), parts(), failing(9))).toBeNull();
    expect(store.find(keyOf(0, 0))).toEqual([]);
    await settle(() => filesBelow(dir.path, /large/).length === 0);
    expect(filesBelow(dir.path, /large/)).toEqual([]);
  });
});

describe("removal", () => {
  test("of a URL takes all variants, survives a restart, and stops what is on its way", async () => {
    const { store } = await open({ smallBytesMax: 1_000 });
    const key = keyOf(0, 0);
    await store.put(key, parts({ variant: "a" }), bytesOf(1, 10));
    await store.put(key, parts({ variant: "b" }), bytesOf(2, 300_000));
    const gate = Promise.withResolvers<void>();
    const slow = async function* () {
      yield bytesOf(1, 5_000);
      await gate.promise;
      yield bytesOf(1, 5_000);
    };
    const onItsWay = [
      store.put(key, parts({ variant: "c" }), bytesOf(3, 10)),
      store.put(key, parts({ variant: "d" }), slow()),
    ];
    // The small one waits for its write by now.
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(store.removeUrl(key)).toBe(2);
    gate.resolve();
    expect(await Promise.all(onItsWay)).toEqual([null, null]);
    expect(store.find(key)).toEqual([]);
    await store.close();
    const { store: again } = await open();
    expect(again.find(key)).toEqual([]);
  });
});

describe("a slice of the file", () => {
  test("carries the bytes, and outlives eviction by its lease", async () => {
    const { store, clock } = await open();
    const body = bytesOf(1, 150_000);
    const small = await store.put(keyOf(0, 0), parts(), body);
    const large = await store.put(keyOf(0, 1), parts(), bytesOf(2, 2_000_000));
    if (small === null || large === null) throw new Error("not stored");
    expect(store.verified(small)).toBe(false);
    const slices = [await store.fileSlice(small, 10, 100_000), await store.fileSlice(large, 5, 1_500_000)];
    expect(store.verified(small)).toBe(true);
    store.removeUrl(keyOf(0, 1));
    expect(await slices[0]?.bytes()).toEqual(body.slice(10, 100_000));
    expect(await slices[1]?.bytes()).toEqual(bytesOf(2, 2_000_000).slice(5, 1_500_000));
    clock.advance(11_000);
    await settle(() => filesBelow(dir.path, /large/).length === 0);
    expect(filesBelow(dir.path, /large/)).toEqual([]);
  });
});

describe("the limit in bytes", () => {
  test("holds for everything in the directory while objects of all sizes come", async () => {
    const bytesMax = 6 * 2 ** 20 * 32;
    const { store } = await open({ bytesMax, shards: [0, 1] });
    const share = bytesMax / 32;
    for (let i = 0; i < 400; i++) {
      await store.put(
        keyOf(i % 2, i >> 1),
        parts(),
        bytesOf(i, i % 40 === 0 ? 1_500_000 : 1_000 + ((i * 7919) % 60_000)),
      );
      expect(store.stats().bytes).toBeLessThanOrEqual(share);
    }
    await settle(() => bytesBelow(dir.path) <= share);
    expect(bytesBelow(dir.path)).toBeLessThanOrEqual(share);
    expect(store.stats().evictions).toBeGreaterThan(50);
    expect(store.stats().refused).toBe(0);
    const [newest] = store.find(keyOf(1, 199));
    if (newest === undefined) throw new Error("the newest went first");
    expect(await store.read(newest)).toEqual(bytesOf(399, newest.length));
  });

  test("holds when very much comes at once: what has no room is not stored", async () => {
    const { store } = await open({ bytesMax: 4 * 2 ** 20 * 64, shards: [0] });
    let most = 0;
    const puts = Array.from({ length: 200 }, (_, i) =>
      store.put(keyOf(0, i), parts(), bytesOf(i, 60_000)).then((stored) => {
        most = Math.max(most, store.stats().bytes);
        return stored;
      }),
    );
    const stored = (await Promise.all(puts)).filter((variant) => variant !== null);
    expect(stored.length).toBeGreaterThan(30);
    expect(most).toBeLessThanOrEqual(4 * 2 ** 20);
  });

  test("spares what was hit, also when the hits were before a restart", async () => {
    const options = { bytesMax: 4 * 2 ** 20 * 64, shards: [0] };
    const { store } = await open(options);
    for (let i = 0; i < 40; i++) await store.put(keyOf(0, i), parts(), bytesOf(i, 50_000));
    for (const i of [3, 5, 7]) {
      const [variant] = store.find(keyOf(0, i));
      if (variant !== undefined) await store.read(variant);
    }
    await store.close();
    const { store: again } = await open(options);
    for (let i = 40; i < 90; i++) await again.put(keyOf(0, i), parts(), bytesOf(i, 50_000));
    const left = [...Array(40).keys()].filter((i) => again.find(keyOf(0, i)).length > 0);
    expect(left).toContain(3);
    expect(left).toContain(7);
    expect(left).not.toContain(4);
    expect(again.stats().reinserted).toBeGreaterThanOrEqual(3);
    const [spared] = again.find(keyOf(0, 5));
    if (spared === undefined) throw new Error("not spared");
    expect(await again.read(spared)).toEqual(bytesOf(5, 50_000));
  });

  test("a handle from before eviction wrote the object again still reads it", async () => {
    const { store } = await open({ bytesMax: 4 * 2 ** 20 * 64, shards: [0] });
    const stored = await store.put(keyOf(0, 0), parts(), bytesOf(0, 50_000));
    if (stored === null) throw new Error("not stored");
    store.touch(stored);
    for (let i = 1; store.stats().reinserted === 0 && i < 200; i++)
      await store.put(keyOf(0, i), parts(), bytesOf(i, 50_000));
    expect(store.stats().reinserted).toBe(1);
    expect(await store.read(stored)).toEqual(bytesOf(0, 50_000));
  });

  test("everything being hit does not stop eviction", async () => {
    const { store } = await open({ bytesMax: 4 * 2 ** 20 * 64, shards: [0] });
    for (let i = 0; i < 200; i++) {
      const stored = await store.put(keyOf(0, i), parts(), bytesOf(i, 50_000));
      if (stored === null) throw new Error(`object ${i} was not stored`);
      store.touch(stored);
    }
    expect(store.stats().evictions).toBeGreaterThan(50);
  });

  test("holds while everything is hit and much comes at once", async () => {
    const { store } = await open({ bytesMax: 6 * 2 ** 20 * 64, shards: [0] });
    const keys = Array.from({ length: 250 }, (_, i) => keyOf(0, i));
    const body = bytesOf(1, 60_000);
    for (let i = 0; i < 1_000; i += 4) {
      const puts = [0, 1, 2, 3].map((j) =>
        store.put(keys[(i + j) % 250] ?? "", parts(), body.subarray(0, 500 + (((i + j) * 7_919) % 59_500))),
      );
      for (const stored of await Promise.all(puts)) if (stored !== null) store.touch(stored);
      expect(store.stats().bytes).toBeLessThanOrEqual(6 * 2 ** 20);
    }
    expect(store.stats().reinserted).toBeGreaterThan(10);
  });

  test("what is hot elsewhere is spared, and everything being hot does not stop eviction", async () => {
    const { store } = await open({ bytesMax: 4 * 2 ** 20 * 64, shards: [0] });
    store.isHot = ({ key }) => key === keyOf(0, 0);
    for (let i = 0; i < 30; i++)
      expect(await store.put(keyOf(0, i), parts(), new Uint8Array(500_000))).not.toBeNull();
    expect(store.stats().evictions).toBeGreaterThan(10);
    expect(store.find(keyOf(0, 0)).length).toBe(1);
    store.isHot = () => true;
    for (let i = 30; i < 60; i++)
      expect(await store.put(keyOf(0, i), parts(), new Uint8Array(500_000))).not.toBeNull();
    expect(store.stats().evictions).toBeGreaterThan(40);
  });

  test("an object may take almost all of a worker's share, and half of the whole disk at most", async () => {
    const whole = 64 * 2 ** 20;
    const { store: all } = await open({ bytesMax: whole, shards: allShards });
    expect(all.objectBytesMax).toBe(whole / 2);
    await all.close();
    const { store: one } = await open({ bytesMax: 4 * whole, shards: [0] });
    expect(one.objectBytesMax).toBe(Math.floor(4 * 2 ** 20 * OBJECT_SHARE_MAX));
    const tooLarge = one.objectBytesMax + 1;
    expect(await one.put(keyOf(0, 0), parts(), new Uint8Array(tooLarge))).toBeNull();
    expect(one.startSparse(keyOf(0, 0), parts(), tooLarge)).toBeNull();
  });

  test("a block that is larger than what is kept free finds room in a small store that is full", async () => {
    const { store } = await open({ bytesMax: 4 * 2 ** 20 * 64, shards: [0] });
    for (let i = 0; i < 100; i++) await store.put(keyOf(0, i), parts(), bytesOf(i, 60_000));
    for (let i = 0; i < 5; i++)
      expect(await store.put(keyOf(0, 100 + i), parts(), new Uint8Array(3_000_000))).not.toBeNull();
  });

  test("the largest object finds room where thousands of small ones were, and they where it was", async () => {
    const { store } = await open({ bytesMax: 8 * 2 ** 20 * 64, shards: [0] });
    const limit = store.bytesMax;
    const body = new Uint8Array(store.objectBytesMax);
    for (let at = 0; at < body.length; at += 99_999)
      body.set(bytesOf(at, 99), Math.min(at, body.length - 99));
    let number = 0;
    const keys = Array.from({ length: 3_000 }, () => {
      while (shardOf(`key ${number}`) !== 0) number++;
      return `key ${number++}`;
    });
    for (let round = 0; round < 2; round++) {
      let next = 0;
      const lane = async (): Promise<void> => {
        for (let i = next++; i < keys.length; i = next++)
          await store.put(keys[i] ?? "", parts({ meta: new Uint8Array(2_000) }), bytesOf(i, 100));
      };
      await Promise.all(Array.from({ length: 64 }, lane));
      expect(store.stats().refused).toBe(0);
      const [newest] = store.find(keys.at(-1) ?? "");
      expect(newest).toBeDefined();
      const stored = await store.put(keyOf(0, 0), parts(), body);
      if (stored === null) throw new Error("the largest object had no room");
      expect(Bun.deepEquals(await store.read(stored, 0, 5_000_000), body.slice(0, 5_000_000))).toBe(true);
      expect(store.stats().bytes).toBeLessThanOrEqual(limit);
      await settle(() => bytesBelow(dir.path) <= limit);
      expect(bytesBelow(dir.path)).toBeLessThanOrEqual(limit);
    }
  });
});

describe("opening", () => {
  test("with other shards finds what belongs to them: another number of workers keeps the disk", async () => {
    const { store } = await open({ shards: allShards });
    for (let i = 0; i < 100; i++) await store.put(`key ${i}`, parts(), bytesOf(i, 100));
    await store.close();
    const halves = [
      await open({ shards: allShards.slice(0, 32) }),
      await open({ shards: allShards.slice(32) }),
    ];
    for (let i = 0; i < 100; i++) {
      const owner = shardOf(`key ${i}`) < 32 ? 0 : 1;
      expect(halves[owner]?.store.find(`key ${i}`).length).toBe(1);
      expect(halves[1 - owner]?.store.find(`key ${i}`)).toEqual([]);
      expect(halves[1 - owner]?.store.owns(`key ${i}`)).toBe(false);
    }
  });

  test("is refused while another has one of the shards, and waits for it when told to", async () => {
    const { store } = await open({ shards: [0, 1] });
    await expect(openStore(dir.path, { shards: [1, 2] })).rejects.toMatchObject({ code: "disk_in_use" });
    const waiting = open({ shards: [1, 2], lockWaitMs: 10_000 });
    await store.close();
    await waiting;
  });

  test("says what is allowed", async () => {
    await expect(openStore(dir.path, { shards: [64] })).rejects.toThrow(/from 0 to 63/);
    await expect(openStore(dir.path, { bytesMax: 1_000 })).rejects.toThrow(/67108864 or more/);
  });

  test("removes what a crash left and leaves what it does not know", async () => {
    mkdirSync(join(dir.path, "shard-00", "large"), { recursive: true });
    writeFileSync(join(dir.path, "shard-00", "large", "123"), "orphan");
    writeFileSync(join(dir.path, "shard-00", "large", "README"), "someone's");
    const { store } = await open();
    await settle(() => !existsSync(join(dir.path, "shard-00", "large", "123")));
    expect(filesBelow(dir.path, /large/).map((path) => path.split("/").at(-1))).toEqual(["README"]);
    expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 10))).not.toBeNull();
  });
});

test("open files stay bounded however many large objects are read", async () => {
  const { store } = await open({ smallBytesMax: 10 });
  const stored = await Promise.all(
    Array.from({ length: 400 }, (_, i) => store.put(keyOf(i % 2, i >> 1), parts(), bytesOf(i, 100))),
  );
  for (const variant of stored) if (variant !== null) expect((await store.read(variant))?.length).toBe(100);
  expect(store.stats().openFiles).toBeLessThanOrEqual(DESCRIPTORS_MAX);
});
