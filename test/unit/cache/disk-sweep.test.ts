/** Walks over the whole store: what they see, drop and change, and that everybody else gets a turn. */

import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { META_BYTES_MAX, SWEEP_SLICE_MS } from "../../../src/cache/store/disk/limits.ts";
import type { DiskVariant } from "../../../src/cache/store/disk/variant.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

test("a walk sees every object once, drops some, changes others, and counts both", async () => {
  const { store } = await openStore(dir.path);
  await Promise.all(
    Array.from({ length: 300 }, (_, i) =>
      store.put(
        keyOf(i % 2, i >> 1),
        parts({ tags: [["drop", "keep", "change"][i % 3] ?? ""], sequence: i }),
        bytesOf(i, 100),
      ),
    ),
  );
  const seen = new Set<string>();
  const counts = await store.sweep((variant) => {
    expect(seen.has(variant.key)).toBe(false);
    seen.add(variant.key);
    if (variant.tags[0] !== "change") return variant.tags[0] === "drop" ? "drop" : "keep";
    return { meta: bytesOf(variant.sequence, 50), sequence: variant.sequence + 1_000 };
  });
  expect(counts).toEqual({ seen: 300, dropped: 100, droppedBytes: 10_000, changed: 100, complete: true });
  expect(store.stats().objects).toBe(200);
  await store.close();
  const { store: again } = await openStore(dir.path);
  for (let i = 0; i < 300; i++) {
    const found = again.find(keyOf(i % 2, i >> 1));
    expect(found.length).toBe(i % 3 === 0 ? 0 : 1);
    const [variant] = found;
    if (variant === undefined) continue;
    const changed = i % 3 === 2;
    expect(variant.sequence).toBe(changed ? i + 1_000 : i);
    expect(variant.meta).toEqual(changed ? bytesOf(i, 50) : parts().meta);
    expect(await again.read(variant)).toEqual(bytesOf(i, 100));
  }
  await again.close();
});

test("a large object that is read while its metadata change reads on", async () => {
  const { store } = await openStore(dir.path);
  const body = bytesOf(1, 1_500_000);
  await store.put(keyOf(0, 0), parts(), body);
  const [before] = store.find(keyOf(0, 0));
  if (before === undefined) throw new Error("not stored");
  const counts = await store.sweep(() => ({ meta: bytesOf(2, 9), sequence: 77 }));
  expect(counts.changed).toBe(1);
  expect(Bun.deepEquals(await store.read(before), body)).toBe(true);
  expect(store.find(keyOf(0, 0))[0]).toMatchObject({ sequence: 77, complete: true });
  await store.close();
});

test("others get their turn every few milliseconds, however slow the decisions are", async () => {
  const { store } = await openStore(dir.path, { shards: [0] });
  await Promise.all(Array.from({ length: 120 }, (_, i) => store.put(keyOf(0, i), parts(), bytesOf(i, 10))));
  let turn = 0;
  let running = true;
  const tick = (): void => {
    turn++;
    if (running) setImmediate(tick);
  };
  tick();
  const perTurn = new Map<number, number>();
  await store.sweep(() => {
    perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1);
    const untilMs = performance.now() + 1;
    while (performance.now() < untilMs);
    return "drop";
  });
  running = false;
  expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(SWEEP_SLICE_MS + 1);
  expect(store.stats().objects).toBe(0);
  await store.close();
});

test("a decision that fails keeps its object, is told of once, and the walk is not complete", async () => {
  const { store, problems } = await openStore(dir.path);
  for (let i = 0; i < 3; i++) await store.put(keyOf(0, i), parts(), bytesOf(i, 10));
  const verdicts = [
    () => {
      throw new Error("no verdict");
    },
    () => ({ meta: new Uint8Array(META_BYTES_MAX + 1), sequence: 1 }),
    () => ({ meta: new Uint8Array(1), sequence: -1 }),
  ];
  let i = 0;
  const counts = await store.sweep(() => (verdicts[i++] ?? verdicts[0])?.() ?? "keep");
  expect(counts).toEqual({ seen: 3, dropped: 0, droppedBytes: 0, changed: 0, complete: false });
  expect(problems.length).toBe(1);
  expect(problems[0]).toContain("no verdict");
  for (let n = 0; n < 3; n++) expect(store.find(keyOf(0, n))[0]?.meta).toEqual(parts().meta);
  await store.close();
});

test("what the disk does not take is not counted, and the walk is not complete", async () => {
  const { store } = await openStore(dir.path, { shards: [0] });
  await store.put(keyOf(0, 0), parts(), bytesOf(0, 10));
  await store.close();
  const [index] = filesBelow(dir.path, /index\.db$/);
  const database = new Database(index ?? "");
  database.run("CREATE TRIGGER no BEFORE DELETE ON object BEGIN SELECT RAISE(ABORT, 'no'); END");
  database.close();
  const { store: again } = await openStore(dir.path, { shards: [0] });
  const drop = (_variant: DiskVariant): "drop" => "drop";
  expect(await again.sweep(drop)).toEqual({
    seen: 1,
    dropped: 0,
    droppedBytes: 0,
    changed: 0,
    complete: false,
  });
  // The shard is off now: nothing of it is seen.
  expect(await again.sweep(drop)).toMatchObject({ seen: 0, complete: false });
  await again.close();
});
