/**
 * What every store of responses keeps, whatever it keeps them in: the same sentences about the memory store
 * and the disk store, each behind a thin adapter.
 */
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { shardOf } from "../../src/cache/shard.ts";
import { MemoryStore } from "../../src/cache/store/memory.ts";
import { STORED_AT_MS, storedParts } from "../kit/stored.ts";
import { bytesOf, parts as diskParts, openStore, scratch, settle } from "../unit/cache/disk-kit.ts";

/** Room of a store under test: enough for 100 objects of `USUAL_BYTES`. */
const BYTES_MAX = 6 * 2 ** 20;
const USUAL_BYTES = 50_000;
const VARIANTS_MAX = 3;

interface Found {
  readonly variant: string;
  readonly body: Uint8Array;
}

/** What a store of responses can be asked, as far as all of them can. */
interface Store {
  /** True when it was stored: from then on it is found. */
  put(key: string, variant: string, body: Uint8Array): Promise<boolean>;
  find(key: string): Promise<Found[]>;
  /** Says that a variant was used. */
  hit(key: string, variant: string): void;
  /** True when it was there. */
  remove(key: string, variant: string): boolean;
  /** How many variants it had. */
  removeUrl(key: string): number;
  /** Key and variant of everything that a walk over the store meets. */
  walk(): Promise<string[]>;
  readonly objectBytesMax: number;
  stats(): { readonly objects: number; readonly bytes: number; readonly evictions: number };
}

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function memoryStore(): Promise<Store> {
  const store = new MemoryStore({ bytesMax: BYTES_MAX, objectBytesMax: BYTES_MAX / 2 });
  const variantsOf = (key: string) => [...(store.get(key)?.variants() ?? [])];
  let puts = 0;
  const entry = (key: string, variant: string) => variantsOf(key).find((one) => one.variant === variant);
  return {
    put: async (key, variant, body) =>
      store.put(
        key,
        variant === "" ? [] : ["x"],
        variant,
        storedParts(body, STORED_AT_MS + puts++),
        VARIANTS_MAX,
      ) !== null,
    find: async (key) => variantsOf(key).map(({ variant, body }) => ({ variant, body: body as Uint8Array })),
    hit(key, variant) {
      const found = entry(key, variant);
      if (found !== undefined) store.hit(found);
    },
    remove(key, variant) {
      const found = entry(key, variant);
      if (found !== undefined) store.remove(found);
      return found !== undefined;
    },
    removeUrl: (key) => store.removeUrl(key),
    walk: async () => [...store.entries()].map(({ key, variant }) => `${key} ${variant}`),
    objectBytesMax: store.objectBytesMax,
    stats: () => store.stats(),
  };
}

async function diskStore(): Promise<Store> {
  const dir = scratch();
  closing.push(() => dir.clean());
  // One of 64 shards, so a 64th of the limit.
  const { store, problems } = await openStore(dir.path, {
    bytesMax: BYTES_MAX * 64,
    shards: [0],
    variantsMax: VARIANTS_MAX,
  });
  closing.push(async () => {
    await store.close();
    expect(problems).toEqual([]);
  });
  await settle(() => store.stats().objects !== null);
  const entry = (key: string, variant: string) => store.find(key).find((one) => one.variant === variant);
  return {
    put: async (key, variant, body) =>
      (await store.put(key, diskParts({ vary: variant === "" ? [] : ["x"], variant }), body)) !== null,
    find: async (key) =>
      await Promise.all(
        store
          .find(key)
          .map(async (one) => ({ variant: one.variant, body: (await store.read(one)) as Uint8Array })),
      ),
    hit(key, variant) {
      const found = entry(key, variant);
      if (found !== undefined) store.touch(found);
    },
    remove(key, variant) {
      const found = entry(key, variant);
      return found !== undefined && store.remove(found);
    },
    removeUrl: (key) => store.removeUrl(key),
    async walk() {
      const met: string[] = [];
      await store.sweep(({ key, variant }) => {
        met.push(`${key} ${variant}`);
        return "keep";
      });
      return met;
    },
    objectBytesMax: store.objectBytesMax,
    stats() {
      const { objects, bytes, evictions } = store.stats();
      return { objects: objects ?? Number.NaN, bytes, evictions };
    },
  };
}

/** Keys of the one shard that is under test. */
const KEYS = (function* () {
  for (let i = 0; ; i++) {
    const key = `shop https://shop.example/${i}?a=%20b`;
    if (shardOf(key) === 0) yield key;
  }
})();
const known: string[] = [];
function keyOf(number: number): string {
  while (known.length <= number) known.push(KEYS.next().value as string);
  return known[number] as string;
}

describe.each([
  ["memory", memoryStore],
  ["disk", diskStore],
] as const)("the %s store", (_name, open) => {
  test("gives back what was put, under its key and variant only", async () => {
    const store = await open();
    for (const [number, variant] of [
      [0, ""],
      [0, "1:a;"],
      [0, "1:b;"],
      [1, ""],
    ] as const)
      expect(await store.put(keyOf(number), variant, bytesOf(number * 10 + variant.length, 2_000))).toBe(
        true,
      );
    const found = await store.find(keyOf(0));
    expect(found.map(({ variant }) => variant).sort()).toEqual(["", "1:a;", "1:b;"]);
    expect(found.find(({ variant }) => variant === "1:a;")?.body).toEqual(bytesOf(4, 2_000));
    expect((await store.find(keyOf(1))).map(({ body }) => body)).toEqual([bytesOf(10, 2_000)]);
    expect(await store.find(keyOf(2))).toEqual([]);
    expect(store.stats().objects).toBe(4);
  });

  test("takes an empty body", async () => {
    const store = await open();
    expect(await store.put(keyOf(0), "", new Uint8Array(0))).toBe(true);
    expect(await store.find(keyOf(0))).toEqual([{ variant: "", body: new Uint8Array(0) }]);
  });

  test("replaces a variant and leaves the others: the old body is never found again", async () => {
    const store = await open();
    await store.put(keyOf(0), "1:a;", bytesOf(1, 3_000));
    await store.put(keyOf(0), "1:b;", bytesOf(2, 3_000));
    const before = store.stats();
    await store.put(keyOf(0), "1:a;", bytesOf(3, 3_000));
    const found = new Map((await store.find(keyOf(0))).map(({ variant, body }) => [variant, body]));
    expect(found).toEqual(
      new Map([
        ["1:a;", bytesOf(3, 3_000)],
        ["1:b;", bytesOf(2, 3_000)],
      ]),
    );
    expect(store.stats().objects).toBe(before.objects);
  });

  test("removes one variant, or a whole URL, once, and says what it took", async () => {
    const store = await open();
    for (const variant of ["", "1:a;", "1:b;"]) await store.put(keyOf(0), variant, bytesOf(1, 100));
    await store.put(keyOf(1), "", bytesOf(2, 100));
    expect(store.remove(keyOf(0), "1:a;")).toBe(true);
    expect(store.remove(keyOf(0), "1:a;")).toBe(false);
    expect(store.removeUrl(keyOf(0))).toBe(2);
    expect(store.removeUrl(keyOf(0))).toBe(0);
    expect(await store.find(keyOf(0))).toEqual([]);
    expect((await store.find(keyOf(1))).length).toBe(1);
    expect(store.stats().objects).toBe(1);
  });

  test("counts nothing when everything was removed, and takes as much as before", async () => {
    const store = await open();
    const fill = async () => {
      for (let i = 0; i < 30; i++) expect(await store.put(keyOf(i), "", bytesOf(i, USUAL_BYTES))).toBe(true);
      return store.stats().objects;
    };
    expect(await fill()).toBe(30);
    for (let i = 0; i < 30; i++) expect(store.removeUrl(keyOf(i))).toBe(1);
    expect(store.stats().objects).toBe(0);
    expect(store.stats().evictions).toBe(0);
    expect(await fill()).toBe(30);
  });

  test("refuses what is larger than an object may be, and keeps what it has", async () => {
    const store = await open();
    await store.put(keyOf(0), "", bytesOf(1, 100));
    await store.put(keyOf(1), "", bytesOf(2, 100));
    expect(await store.put(keyOf(0), "", new Uint8Array(store.objectBytesMax + 1))).toBe(false);
    expect(await store.put(keyOf(2), "", new Uint8Array(BYTES_MAX * 2))).toBe(false);
    expect(await store.find(keyOf(2))).toEqual([]);
    expect((await store.find(keyOf(1))).map(({ body }) => body)).toEqual([bytesOf(2, 100)]);
    expect(store.stats().objects).toBeGreaterThan(0);
  });

  test("keeps so many variants of a URL and no more: the one stored first goes first", async () => {
    const store = await open();
    for (let i = 0; i < VARIANTS_MAX + 2; i++) await store.put(keyOf(0), `1:${i};`, bytesOf(i, 100));
    expect((await store.find(keyOf(0))).map(({ variant }) => variant).sort()).toEqual([
      "1:2;",
      "1:3;",
      "1:4;",
    ]);
    expect(store.stats().objects).toBe(VARIANTS_MAX);
  });

  test("never has more than its limit, in whatever sizes objects come, and has the newest", async () => {
    const store = await open();
    for (let i = 0; i < 250; i++) {
      const bytes = i % 25 === 0 ? 400_000 : 500 + ((i * 7_919) % 60_000);
      expect(await store.put(keyOf(i), "", bytesOf(i, bytes))).toBe(true);
      expect(store.stats().bytes).toBeLessThanOrEqual(BYTES_MAX);
      expect((await store.find(keyOf(i))).map(({ body }) => body.length)).toEqual([bytes]);
    }
    expect(store.stats().evictions).toBeGreaterThan(50);
    expect(store.stats().objects).toBeGreaterThan(20);
  });

  test("evicts what nobody asks for before what is asked for again and again", async () => {
    const store = await open();
    for (let i = 0; i < 5; i++) await store.put(keyOf(i), "", bytesOf(i, 10_000));
    for (let i = 5; i < 400; i++) {
      for (let hot = 0; hot < 5; hot++) store.hit(keyOf(hot), "");
      await store.put(keyOf(i), "", bytesOf(i, USUAL_BYTES));
    }
    for (let hot = 0; hot < 5; hot++)
      expect((await store.find(keyOf(hot))).map(({ body }) => body)).toEqual([bytesOf(hot, 10_000)]);
  });

  test("meets everything that is stored, once, on a walk", async () => {
    const store = await open();
    const stored: string[] = [];
    for (let i = 0; i < 40; i++) {
      const variant = i % 3 === 0 ? "1:a;" : "";
      await store.put(keyOf(i >> 1), variant, bytesOf(i, 300));
      if (!stored.includes(`${keyOf(i >> 1)} ${variant}`)) stored.push(`${keyOf(i >> 1)} ${variant}`);
    }
    expect((await store.walk()).sort()).toEqual(stored.sort());
  });

  test("agrees with a model under any operations; when room is short, only by lacking something", async () => {
    const operation = fc.record({
      kind: fc.constantFrom("put", "put", "put", "put", "hit", "remove", "removeUrl"),
      key: fc.nat(9).map(keyOf),
      variant: fc.constantFrom("", "1:a;", "1:b;"),
      bytes: fc.oneof(fc.nat(2_000), fc.integer({ min: 300_000, max: 1_200_000 })),
    });
    // A failure prints its seed and path: fc.assert(..., { seed, path }) repeats it.
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (operations) => {
        const store = await open();
        const model = new Map<string, Map<string, Uint8Array>>();
        for (const [step, { kind, key, variant, bytes }] of operations.entries()) {
          const variants = model.get(key) ?? new Map<string, Uint8Array>();
          model.set(key, variants);
          if (kind === "put") {
            const body = bytesOf(step, bytes);
            expect(await store.put(key, variant, body)).toBe(true);
            variants.set(variant, body);
          } else if (kind === "hit") store.hit(key, variant);
          else if (kind === "remove") {
            const removed = store.remove(key, variant);
            if (removed || store.stats().evictions === 0) expect(removed).toBe(variants.has(variant));
            variants.delete(variant);
          } else {
            const removed = store.removeUrl(key);
            if (store.stats().evictions === 0) expect(removed).toBe(variants.size);
            expect(removed).toBeLessThanOrEqual(variants.size);
            variants.clear();
          }
          const { objects, bytes: held } = store.stats();
          expect(held).toBeGreaterThanOrEqual(0);
          expect(held).toBeLessThanOrEqual(BYTES_MAX);
          expect(objects).toBeGreaterThanOrEqual(0);
        }
        let found = 0;
        let missing = 0;
        for (const [key, variants] of model) {
          const there = await store.find(key);
          found += there.length;
          missing += variants.size - there.length;
          for (const { variant, body } of there)
            expect(Bun.deepEquals(body, variants.get(variant))).toBe(true);
        }
        const { objects, evictions } = store.stats();
        expect(objects).toBe(found);
        expect(missing).toBeLessThanOrEqual(evictions);
        for (const close of closing.splice(0).reverse()) await close();
      }),
      { numRuns: 40 },
    );
  }, 30_000);
});
