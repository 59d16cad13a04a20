/** Quotas of sites in the memory store: for what comes, and for what was stored before they changed. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { siteOf } from "../../../src/cache/key.ts";
import { MemoryStore } from "../../../src/cache/store/memory.ts";
import type { MemoryQuota } from "../../../src/config/plan.ts";
import { STORED_AT_MS, storedParts } from "../../kit/stored.ts";

const quotas = (given: Record<string, Partial<MemoryQuota>>) =>
  new Map(
    Object.entries(given).map(([site, quota]) => [site, { bytesMax: null, bytesReserved: 0, ...quota }]),
  );
const keyOf = (site: string, number: number) => `${site} https://${site}.example/${number}`;

/** A store of 1 MB with `count` objects of about 9 KB of each site. */
function filled(sites: readonly string[], count: number): MemoryStore {
  const store = new MemoryStore({ bytesMax: 1_000_000, objectBytesMax: 500_000 });
  for (let i = 0; i < count; i++)
    for (const site of sites) store.put(keyOf(site, i), [], "", storedParts(8_300), 64);
  return store;
}

/** Bytes of a site, by walking over what is stored. */
function bytesOf(store: MemoryStore, site: string): number {
  let sum = 0;
  for (const { key, bytes } of store.entries()) if (siteOf(key) === site) sum += bytes;
  return sum;
}

describe("new quotas", () => {
  test("reach what was stored before them", async () => {
    const store = filled(["a", "b"], 40);
    await store.setQuotas(quotas({ a: { bytesMax: 100_000 } }));
    expect(bytesOf(store, "a")).toBeLessThanOrEqual(100_000);
    expect(bytesOf(store, "a")).toBeGreaterThan(80_000);
    expect(bytesOf(store, "b")).toBeGreaterThan(350_000);
    expect(store.siteStats().a).toMatchObject({ bytes: bytesOf(store, "a"), bytesMax: 100_000, entries: 11 });
    // A lower limit, and a higher one.
    await store.setQuotas(quotas({ a: { bytesMax: 50_000 } }));
    expect(store.siteStats().a).toMatchObject({ bytes: bytesOf(store, "a"), entries: 5 });
    await store.setQuotas(quotas({ a: { bytesMax: 200_000 } }));
    for (let i = 100; i < 150; i++) store.put(keyOf("a", i), [], "", storedParts(8_300), 64);
    expect(bytesOf(store, "a")).toBeGreaterThan(180_000);
    expect(bytesOf(store, "a")).toBeLessThanOrEqual(200_000);
  });

  test("that are taken back leave the site like any other", async () => {
    const store = filled(["a"], 20);
    await store.setQuotas(quotas({ a: { bytesMax: 50_000 } }));
    await store.setQuotas(new Map());
    expect(store.siteStats()).toEqual({});
    for (let i = 0; i < 200; i++) store.put(keyOf("a", i), [], "", storedParts(8_300), 64);
    // All but the sixteenth for objects in use.
    expect(bytesOf(store, "a")).toBeGreaterThan(920_000);
    store.clear();
    expect(store.stats()).toMatchObject({ objects: 0, urls: 0, bytes: 0 });
  });

  test("protect what was stored before them from others", async () => {
    const store = filled(["quiet"], 20);
    await store.setQuotas(quotas({ quiet: { bytesReserved: 250_000 } }));
    for (let i = 0; i < 2_000; i++) store.put(keyOf("noisy", i), [], "", storedParts(8_300), 64);
    expect(store.siteStats().quiet?.entries).toBe(20);
    for (let i = 0; i < 20; i++) expect(store.get(keyOf("quiet", i))).toBeDefined();
  });

  test("take their time with very much, and nothing that comes meanwhile passes them", async () => {
    const store = new MemoryStore({ bytesMax: 2 ** 30, objectBytesMax: 2 ** 20 });
    for (let i = 0; i < 60_000; i++) store.put(keyOf("a", i), [], "", storedParts(10), 64);
    let settled = false;
    const done = store.setQuotas(quotas({ a: { bytesMax: 1_000_000 } })).then(() => {
      settled = true;
    });
    let turns = 0;
    while (!settled) {
      store.put(keyOf("a", 100_000 + turns++), [], "", storedParts(10), 64);
      const { bytes = 0 } = store.siteStats().a ?? {};
      expect(bytes).toBeLessThanOrEqual(1_000_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await done;
    expect(turns).toBeGreaterThan(2);
    expect(bytesOf(store, "a")).toBeLessThanOrEqual(1_000_000);
    expect(store.stats().bytes).toBe(bytesOf(store, "a"));
  });

  test("that come while others are being seen to win", async () => {
    const store = new MemoryStore({ bytesMax: 2 ** 30, objectBytesMax: 2 ** 20 });
    for (let i = 0; i < 60_000; i++)
      store.put(keyOf(i % 2 === 0 ? "a" : "b", i), [], "", storedParts(10), 64);
    const first = store.setQuotas(quotas({ a: { bytesMax: 1_000_000 } }));
    const second = store.setQuotas(quotas({ a: { bytesMax: 2_000_000 }, b: { bytesMax: 3_000_000 } }));
    await Promise.all([first, second]);
    for (const [site, bytesMax] of [
      ["a", 2_000_000],
      ["b", 3_000_000],
    ] as const) {
      expect(bytesOf(store, site)).toBeLessThanOrEqual(bytesMax);
      expect(store.siteStats()[site]?.bytes).toBe(bytesOf(store, site));
    }
  });
});

describe("a site with a limit", () => {
  test("is refused what is larger than that, and may not grow beyond it", async () => {
    const store = filled(["other"], 3);
    await store.setQuotas(quotas({ a: { bytesMax: 20_000 } }));
    expect(store.objectBytesMaxOf("a")).toBe(20_000);
    expect(store.objectBytesMaxOf("other")).toBe(500_000);
    expect(store.put(keyOf("a", 1), [], "", storedParts(20_000), 64)).toBeNull();
    expect(store.get(keyOf("a", 1))).toBeUndefined();
    const entry = store.put(keyOf("a", 2), [], "", storedParts(15_000), 64);
    if (entry === null) throw new Error("not stored");
    store.addForm(entry, { coding: "gzip", body: new Uint8Array(9_000), length: 9_000, hot: null });
    expect(store.holds(entry)).toBe(true);
    expect(entry.form("gzip")).toBeNull();
  });

  test("has its pass markers counted as well", async () => {
    const store = filled([], 0);
    await store.setQuotas(quotas({ a: { bytesMax: 20_000 } }));
    for (let i = 0; i < 500; i++) store.markPass(keyOf("a", i), STORED_AT_MS, "response-no-store");
    expect(store.siteStats().a?.bytes).toBeLessThanOrEqual(20_000);
    expect(store.stats().urls).toBe(store.siteStats().a?.entries ?? -1);
  });
});

test("under any operations and quotas the counts are those of what is stored", async () => {
  const site = fc.constantFrom("a", "b", "c");
  const operation = fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        kind: fc.constantFrom("put", "put", "put", "hit", "remove", "mark"),
        key: fc.tuple(site, fc.nat(8)).map(([name, number]) => keyOf(name, number)),
        variant: fc.nat(3).map((n) => `1:${n};`),
        bytes: fc.nat(9_000),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("quotas" as const),
        given: fc.dictionary(
          site,
          fc.record({
            bytesMax: fc.constantFrom(null, 6_000, 20_000),
            bytesReserved: fc.constantFrom(0, 10_000, 40_000),
          }),
        ),
      }),
    },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 120 }), async (operations) => {
      const store = new MemoryStore({ bytesMax: 50_000, objectBytesMax: 50_000 });
      for (const operation of operations) {
        if (operation.kind === "quotas") await store.setQuotas(new Map(Object.entries(operation.given)));
        else {
          const { kind, key, variant, bytes } = operation;
          const entry = [...(store.get(key)?.variants() ?? [])][0];
          if (kind === "put") store.put(key, ["x"], variant, storedParts(bytes), 2);
          else if (kind === "mark") store.markPass(key, STORED_AT_MS, "response-private");
          else if (kind === "remove") store.removeUrl(key);
          else if (entry !== undefined) store.hit(entry);
        }
        let sum = 0;
        let objects = 0;
        const bySite = new Map<string, number>();
        for (const name of ["a", "b", "c"]) {
          for (let number = 0; number <= 8; number++) {
            const url = store.get(keyOf(name, number));
            if (url === undefined) continue;
            const nodes = [...url.variants(), ...(url.pass === null ? [] : [url.pass])];
            expect(nodes.length).toBeGreaterThan(0);
            objects += url.count;
            for (const node of nodes) bySite.set(name, (bySite.get(name) ?? 0) + node.bytes);
          }
          sum += bySite.get(name) ?? 0;
        }
        expect(store.stats()).toMatchObject({ objects, bytes: sum });
        expect(sum).toBeLessThanOrEqual(50_000);
        for (const [name, use] of Object.entries(store.siteStats())) {
          expect(use.bytes).toBe(bySite.get(name) ?? 0);
          expect(use.bytes).toBeLessThanOrEqual(use.bytesMax ?? 50_000);
        }
      }
    }),
    { numRuns: 150 },
  );
});
