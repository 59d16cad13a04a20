import { edenGC, fullGC, heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { ChurnMap } from "../../../src/base/churn-map.ts";
import { ChurnSet } from "../../../src/base/churn-set.ts";

describe("a map for what comes and goes", () => {
  test("gives back what was put in, under any text and number", () => {
    const map = new ChurnMap<string | number, object>();
    const keys = ["a", "__proto__", "constructor", "7", "", "é\n\0", 12];
    for (const key of keys) map.set(key, { key });
    expect(map.size).toBe(keys.length);
    for (const key of keys) expect(map.get(key)).toEqual({ key });
    expect(map.get("toString")).toBeUndefined();
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
    map.set("a", { other: true });
    expect(map.size).toBe(keys.length);
    expect(map.delete("a")).toBe(true);
    expect(map.delete("a")).toBe(false);
    expect(map.get("a")).toBeUndefined();
    expect(map.size).toBe(keys.length - 1);
  });

  test("tells keys and values in the order they came", () => {
    const map = new ChurnMap<string, { n: number }>();
    for (let n = 0; n < 200; n++) map.set(`k${n}`, { n });
    for (let n = 0; n < 200; n += 2) map.delete(`k${n}`);
    map.set("k0", { n: 0 });
    // More have gone than are left meanwhile: the table was made anew.
    for (let n = 1_000; n < 3_000; n++) {
      map.set(`k${n}`, { n });
      map.delete(`k${n}`);
    }
    const odd = Array.from({ length: 100 }, (_, i) => 2 * i + 1);
    expect(map.values().map(({ n }) => n)).toEqual([...odd, 0]);
    expect(map.keys()).toEqual([...odd, 0].map((n) => `k${n}`));
  });
});

describe("a set for what comes and goes", () => {
  test("keeps the order they came in, whoever goes", () => {
    const set = new ChurnSet<{ n: number }>();
    const members = Array.from({ length: 6 }, (_, n) => ({ n }));
    for (const member of members) set.add(member);
    set.add(members[0] as { n: number });
    const told = (): string =>
      set
        .list()
        .map(({ n }) => n)
        .join("");
    expect([told(), set.size, set.first]).toEqual(["012345", 6, members[0]]);
    for (const [gone, left] of [
      [0, "12345"],
      [3, "1245"],
      [5, "124"],
    ] as const) {
      expect(set.delete(members[gone] as { n: number })).toBe(true);
      expect(set.delete(members[gone] as { n: number })).toBe(false);
      expect(told()).toBe(left);
    }
    set.add(members[0] as { n: number });
    expect([told(), set.size, set.first]).toEqual(["1240", 4, members[1]]);
    for (const member of set.list()) set.delete(member);
    expect([told(), set.size, set.first]).toEqual(["", 0, undefined]);
  });
});

test("sets in which nobody is, or is any more, have no tables", () => {
  const tables = (): number => {
    fullGC();
    return heapStats().objectTypeCounts.WeakMap ?? 0;
  };
  const before = tables();
  const sets = Array.from({ length: 1_000 }, () => new ChurnSet<object>());
  for (const set of sets) {
    const member = {};
    set.add(member);
    expect(set.delete(member)).toBe(true);
    expect(set.delete(member)).toBe(false);
  }
  expect(tables() - before).toBeLessThan(50);
  expect(sets.every((set) => set.size === 0 && set.first === undefined)).toBe(true);
});

describe("what has gone through, the small collections take away", () => {
  /** How many of 20,000 objects that went through something, eight at a time, outlive ten small collections. */
  async function left(pass: (object: object, n: number) => void): Promise<number> {
    fullGC();
    const references: WeakRef<object>[] = [];
    for (let n = 0; n < 20_000; n++) {
      const object = { n };
      references.push(new WeakRef(object));
      pass(object, n);
      if (n % 2_000 !== 0) continue;
      // A reference that was just made holds what it leads to until the turn ends.
      await new Promise<void>((resolve) => setImmediate(resolve));
      edenGC();
    }
    await new Promise<void>((resolve) => setImmediate(resolve));
    edenGC();
    await new Promise<void>((resolve) => setImmediate(resolve));
    return references.filter((reference) => reference.deref() !== undefined).length;
  }

  const leftBy = (map: Pick<Map<string, object>, "delete"> & { set(key: string, object: object): unknown }) =>
    left((object, n) => {
      map.set(`k${n}`, object);
      map.delete(`k${n - 8}`);
    });

  test("from the engine's Map they do not: the reason for the others", async () => {
    const count = await leftBy(new Map<string, object>());
    expect(count).toBeGreaterThan(15_000);
  });

  test("from a ChurnMap", async () => {
    const count = await leftBy(new ChurnMap<string, object>());
    expect(count).toBeLessThan(2_000);
  });

  test("from a ChurnSet", async () => {
    const set = new ChurnSet<object>();
    const count = await left((object) => {
      set.add(object);
      if (set.size > 8) set.delete(set.first as object);
    });
    expect(count).toBeLessThan(2_000);
  });
});
