/** Files cut and garbled at random places: what is read afterwards is right or nothing. */
import { expect, test } from "bun:test";
import { closeSync, ftruncateSync, openSync, readSync, statSync, writeSync } from "node:fs";
import type { DiskStore } from "../../../src/cache/store/disk/disk-store.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

const KEYS = Array.from({ length: 40 }, (_, i) => keyOf(i % 2, i >> 1));
const lengthOf = (i: number): number => (i % 10 === 9 ? 700_000 : 500 + ((i * 7919) % 90_000));

async function fill(path: string): Promise<void> {
  const { store } = await openStore(path, { smallBytesMax: 300_000 });
  for (const [i, key] of KEYS.entries())
    await store.put(key, parts({ variant: `v${i}`, meta: bytesOf(i, 300) }), bytesOf(i, lengthOf(i)));
  const sparse = store.startSparse(keyOf(0, 30), parts({ variant: "s" }), 900_000);
  for (const block of [0, 2])
    await sparse?.write(block, bytesOf(99, 900_000).slice(block * 262_144, (block + 1) * 262_144));
  await store.close();
}

/** Everything that is found is right; returns how many bodies could be read. */
async function check(store: DiskStore): Promise<number> {
  let good = 0;
  for (const [i, key] of KEYS.entries()) {
    for (const variant of store.find(key)) {
      expect(variant.key).toBe(key);
      expect(variant.variant).toBe(`v${i}`);
      expect(Bun.deepEquals(variant.meta, bytesOf(i, 300))).toBe(true);
      const right = bytesOf(i, lengthOf(i));
      const part = await store.read(variant, 100, 400);
      if (part !== null) expect(Bun.deepEquals(part, right.slice(100, 400))).toBe(true);
      const slice = await store.fileSlice(variant);
      if (slice !== null) expect(Bun.deepEquals(await slice.bytes(), right)).toBe(true);
      const bytes = await store.read(variant);
      if (bytes === null) continue;
      expect(Bun.deepEquals(bytes, right)).toBe(true);
      good++;
    }
  }
  for (const variant of store.find(keyOf(0, 30))) {
    const right = bytesOf(99, 900_000);
    for (const at of [0, 2 * 262_144]) {
      const bytes = await store.read(variant, at, at + 1_000);
      if (bytes !== null) expect(Bun.deepEquals(bytes, right.slice(at, at + 1_000))).toBe(true);
    }
    expect(await store.read(variant, 262_144, 262_200)).toBeNull();
  }
  return good;
}

function garble(path: string, random: () => number): void {
  const { size } = statSync(path);
  if (size === 0) return;
  const file = openSync(path, "r+");
  try {
    const at = Math.floor(random() * size);
    if (random() < 0.25) {
      ftruncateSync(file, at);
      return;
    }
    const bytes = new Uint8Array(1 + Math.floor(random() * 64));
    readSync(file, bytes, 0, bytes.length, at);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) ^ (1 + Math.floor(random() * 255));
    writeSync(file, bytes, 0, Math.min(bytes.length, size - at), at);
  } finally {
    closeSync(file);
  }
}

function randomOf(seed: number): () => number {
  let x = seed;
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return x / 2 ** 32;
  };
}

for (const [what, fits] of [
  ["segments", /segments/],
  ["large files", /large/],
  ["index", /index\.db$/],
  ["anything", /segments|large|index\.db|lock\.db/],
] as const) {
  test(`after damage to ${what} nothing wrong is read, and the store works on`, async () => {
    let [found, lost] = [0, 0];
    for (let round = 0; round < 12; round++) {
      const dir = scratch();
      try {
        await fill(dir.path);
        const random = randomOf(round * 7 + what.length);
        const files = filesBelow(dir.path, fits);
        for (let i = 0; i < 4; i++) garble(files[Math.floor(random() * files.length)] ?? "", random);
        const { store, problems } = await openStore(dir.path);
        const good = await check(store);
        found += good;
        lost += KEYS.length - good;
        // Whatever a walk sees is right as well.
        await store.sweep((variant) =>
          KEYS.includes(variant.key) || variant.key === keyOf(0, 30) ? "keep" : "drop",
        );
        while (!(await store.scrub(2 ** 30)));
        // A walk may come upon damage that makes a shard start empty.
        expect(await check(store)).toBeLessThanOrEqual(good);
        for (const key of [keyOf(0, 50), keyOf(1, 50)]) {
          const stored = store.owns(key) ? await store.put(key, parts(), bytesOf(5, 5_000)) : null;
          if (store.owns(key))
            expect(stored === null ? null : await store.read(stored)).toEqual(bytesOf(5, 5_000));
          else expect(problems.length).toBeGreaterThan(0);
        }
        await store.close();
      } finally {
        dir.clean();
      }
    }
    expect(found).toBeGreaterThan(0);
    expect(lost).toBeGreaterThan(0);
  }, 60_000);
}

test("what is damaged while the store is open is reported once and forgotten", async () => {
  const dir = scratch();
  try {
    const { store, problems } = await openStore(dir.path);
    const stored = await Promise.all(
      [0, 1, 2].map((i) => store.put(keyOf(0, i), parts(), bytesOf(i, 10_000))),
    );
    for (const file of filesBelow(dir.path, /segments/)) ftruncateSync(openSync(file, "r+"), 9_000);
    for (const variant of stored) if (variant !== null) expect(await store.read(variant)).toBeNull();
    expect(store.find(keyOf(0, 0))).toEqual([]);
    expect(problems.length).toBe(1);
    expect(problems[0]).toContain("failed verification");
    await store.close();
  } finally {
    dir.clean();
  }
});

test("the scrubber finds damage before a viewer does, at its own pace", async () => {
  const dir = scratch();
  try {
    const { store, problems, clock } = await openStore(dir.path, { scrubBytesPerSecond: 100_000 });
    for (let i = 0; i < 20; i++) await store.put(keyOf(0, i), parts(), bytesOf(i, 50_000));
    const [file] = filesBelow(dir.path, /segments/);
    if (file === undefined) throw new Error("no segment");
    const descriptor = openSync(file, "r+");
    writeSync(descriptor, new Uint8Array([1, 2, 3, 4]), 0, 4, 17 * 50_000 + 5);
    closeSync(descriptor);
    clock.advance(1_000);
    for (let i = 0; i < 50; i++) await Bun.sleep(1);
    expect(store.stats().scrubbedBytes).toBe(100_000);
    while (!(await store.scrub(2 ** 20)));
    expect(store.stats().scrubDamaged).toBe(1);
    expect(problems.length).toBe(1);
    expect(store.stats().objects).toBe(19);
    expect(store.find(keyOf(0, 17))).toEqual([]);
    await store.close();
  } finally {
    dir.clean();
  }
});
