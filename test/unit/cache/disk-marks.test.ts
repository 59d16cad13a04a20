/** Marks: what a shard remembers of its caller, and what the caller makes of it when the shard is opened. */

import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { systemFiles } from "../../../src/cache/store/disk/files.ts";
import { HEALTH_MS, MARK_CHARS_MAX } from "../../../src/cache/store/disk/limits.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

test("a mark is kept by each shard over a restart, and asked for at each opening", async () => {
  const asked: (string | null)[] = [];
  const accept = (mark: string | null): boolean => {
    asked.push(mark);
    return true;
  };
  const { store } = await openStore(dir.path, { accept });
  expect(asked).toEqual([null, null]);
  expect(store.marks()).toEqual([null, null]);
  expect(store.setMark("log 7 at 12")).toBe(true);
  const longest = "ü".repeat(MARK_CHARS_MAX);
  expect(store.setMark(longest)).toBe(true);
  expect(store.marks()).toEqual([longest, longest]);
  expect(() => store.setMark(`${longest}.`)).toThrow("short text");
  await store.put(keyOf(0, 0), parts(), bytesOf(1, 10));
  await store.close();
  const { store: again } = await openStore(dir.path, { accept });
  expect(asked.slice(2)).toEqual([longest, longest]);
  expect(again.marks()).toEqual([longest, longest]);
  expect(again.find(keyOf(0, 0)).length).toBe(1);
  await again.close();
});

test("a mark that is not accepted empties its shard without a word, and only that one", async () => {
  const { store } = await openStore(dir.path, { shards: [0] });
  await store.put(keyOf(0, 0), parts(), bytesOf(1, 10));
  await store.put(keyOf(0, 1), parts(), bytesOf(1, 2_000_000));
  store.setMark("old");
  await store.close();
  const { store: other } = await openStore(dir.path, { shards: [1] });
  await other.put(keyOf(1, 0), parts(), bytesOf(1, 10));
  other.setMark("new");
  await other.close();
  const asked: (string | null)[] = [];
  const { store: again, problems } = await openStore(dir.path, {
    accept: (mark) => {
      asked.push(mark);
      return mark === "new";
    },
  });
  expect(asked).toEqual(["old", "new"]);
  expect(again.find(keyOf(0, 0))).toEqual([]);
  expect(again.find(keyOf(0, 1))).toEqual([]);
  expect(filesBelow(dir.path, /shard-00.(segments|large)/)).toEqual([]);
  expect(again.find(keyOf(1, 0)).length).toBe(1);
  expect(again.marks()).toEqual([null, "new"]);
  expect(problems).toEqual([]);
  expect(again.stats().shardsOff).toBe(0);
  expect(await again.put(keyOf(0, 0), parts(), bytesOf(1, 10))).not.toBeNull();
  await again.close();
});

test("a shard that was off keeps the mark of what it knew, and is judged by it when it comes back", async () => {
  let broken = false;
  const files = {
    ...systemFiles,
    write: async (...call: Parameters<typeof systemFiles.write>): Promise<void> => {
      if (broken) throw Object.assign(new Error("EIO"), { code: "EIO" });
      return systemFiles.write(...call);
    },
  };
  let now = "1";
  const asked: (string | null)[] = [];
  const { store, clock } = await openStore(dir.path, {
    files,
    accept: (mark) => {
      asked.push(mark);
      return mark === null || mark === now;
    },
  });
  store.setMark("1");
  for (const shard of [0, 1]) await store.put(keyOf(shard, 0), parts(), bytesOf(1, 10));
  broken = true;
  await store.put(keyOf(0, 1), parts(), bytesOf(1, 10));
  broken = false;
  now = "2";
  expect(store.marks()).toEqual(["1"]);
  expect(store.setMark(now)).toBe(true);
  clock.advance(HEALTH_MS);
  expect(asked).toEqual([null, null, "1"]);
  expect(store.find(keyOf(0, 0))).toEqual([]);
  expect(store.find(keyOf(1, 0)).length).toBe(1);
  // The one that was emptied has missed nothing since.
  expect(store.marks()).toEqual(["2", "2"]);
  await store.close();
});

test("a shard that was emptied for damage is judged as one without a mark, and damage hides a mark", async () => {
  const { store } = await openStore(dir.path);
  store.setMark("here");
  await store.close();
  const [first, second] = filesBelow(dir.path, /index\.db$/);
  writeFileSync(first ?? "", "no database at all".repeat(1_000));
  const database = new Database(second ?? "");
  database.run("UPDATE mark SET text = 'there'");
  database.close();
  const asked: (string | null)[] = [];
  const { store: again, problems } = await openStore(dir.path, {
    accept: (mark) => {
      asked.push(mark);
      return false;
    },
  });
  expect(asked).toEqual([null, null]);
  expect(problems.length).toBe(1);
  expect(again.stats().shardsOff).toBe(0);
  await again.close();
});

test("a judge that throws empties the shard, and is told of", async () => {
  const { store } = await openStore(dir.path, { shards: [0] });
  await store.put(keyOf(0, 0), parts(), bytesOf(1, 10));
  await store.close();
  const { store: again, problems } = await openStore(dir.path, {
    shards: [0],
    accept: () => {
      throw new Error("not now");
    },
  });
  expect(again.find(keyOf(0, 0))).toEqual([]);
  expect(problems.length).toBe(1);
  expect(problems[0]).toContain("not now");
  await again.close();
});

test("a mark that one shard did not take is told, and the others have it", async () => {
  const { store } = await openStore(dir.path);
  store.setMark("1");
  const [first] = filesBelow(dir.path, /shard-00.index\.db$/);
  await store.close();
  // A disk that refuses just this write.
  const database = new Database(first ?? "");
  database.run("CREATE TRIGGER no BEFORE INSERT ON mark BEGIN SELECT RAISE(ABORT, 'no'); END");
  database.close();
  const { store: again, problems } = await openStore(dir.path);
  expect(again.setMark("2")).toBe(false);
  expect(problems.length).toBe(1);
  expect(again.marks()).toEqual(["2"]);
  await again.close();
});
