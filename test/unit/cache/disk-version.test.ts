/** A directory that this version did not write: it is refused with what to do, or emptied when that was said. */

import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { FORMAT_VERSION } from "../../../src/cache/store/disk/limits.ts";
import { bytesOf, filesBelow, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.clean());

const format = (): string => join(dir.path, "format");

/** A disk cache as another version could have left it. */
async function writtenBy(version: number): Promise<void> {
  const { store } = await openStore(dir.path);
  for (const shard of [0, 1]) await store.put(keyOf(shard, 0), parts(), bytesOf(1, 10));
  await store.put(keyOf(0, 1), parts(), bytesOf(1, 2_000_000));
  await store.close();
  for (const index of filesBelow(dir.path, /index\.db$/)) {
    const database = new Database(index);
    database.run(`PRAGMA user_version = ${version}`);
    database.run("DROP TABLE mark");
    database.run("ALTER TABLE object RENAME COLUMN sums TO checks");
    database.close();
  }
  writeFileSync(format(), `proxima-disk ${version} 0123456789abcdef\n`);
}

for (const [age, version, advice] of [
  ["an older", FORMAT_VERSION - 1, "empty the directory, or choose another"],
  ["a newer", FORMAT_VERSION + 1, "start that one again"],
] as const) {
  test(`what ${age} version wrote is refused and left as it is`, async () => {
    await writtenBy(version);
    const before = filesBelow(dir.path, /./);
    const opening = openStore(dir.path);
    await expect(opening).rejects.toMatchObject({ code: "disk_version" });
    await expect(opening).rejects.toThrow(
      `written by ${age} version of Proxima (its format is ${version}, this one's ${FORMAT_VERSION})`,
    );
    await expect(opening).rejects.toThrow(advice);
    expect(filesBelow(dir.path, /./)).toEqual(before);
  });

  test(`what ${age} version wrote is emptied when that was said, once, and used from then on`, async () => {
    await writtenBy(version);
    const { store, problems } = await openStore(dir.path, { otherVersion: "empty" });
    for (const shard of [0, 1]) expect(store.find(keyOf(shard, 0))).toEqual([]);
    expect(filesBelow(dir.path, /shard-0.\/(large|segments)/)).toEqual([]);
    expect(await store.put(keyOf(0, 0), parts(), bytesOf(2, 10))).not.toBeNull();
    expect(problems).toEqual([]);
    await store.close();
    const { store: again } = await openStore(dir.path);
    expect(again.find(keyOf(0, 0)).length).toBe(1);
    await again.close();
  });
}

test("two workers that both find another version's directory empty it once", async () => {
  await writtenBy(FORMAT_VERSION - 1);
  const workers = await Promise.all(
    [0, 1].map((shard) =>
      openStore(dir.path, { shards: [shard], otherVersion: "empty", lockWaitMs: 10_000 }),
    ),
  );
  for (const [i, { store, problems }] of workers.entries()) {
    expect(await store.put(keyOf(i, 0), parts(), bytesOf(1, 10))).not.toBeNull();
    expect(problems).toEqual([]);
  }
  for (const { store } of workers) await store.close();
});

test("another version's directory is not emptied while that runs", async () => {
  const { store } = await openStore(dir.path, { shards: [5] });
  await store.put(keyOf(5, 0), parts(), bytesOf(1, 10));
  writeFileSync(format(), "proxima-disk 999 and more\n");
  await expect(openStore(dir.path, { otherVersion: "empty" })).rejects.toMatchObject({
    code: "disk_in_use",
  });
  expect(store.find(keyOf(5, 0)).length).toBe(1);
  await store.close();
});

test("a garbled format is refused, and emptied when that was said", async () => {
  for (const text of [
    "",
    "proxima-disk",
    `proxima-disk ${FORMAT_VERSION} 0123\n`,
    "\u0000".repeat(100_000),
  ]) {
    dir.clean();
    dir = scratch();
    await writtenBy(FORMAT_VERSION);
    writeFileSync(format(), text);
    const opening = openStore(dir.path);
    await expect(opening).rejects.toMatchObject({ code: "disk_version" });
    await expect(opening).rejects.toThrow("is not what Proxima writes there: empty the directory");
    const { store } = await openStore(dir.path, { otherVersion: "empty" });
    expect(store.find(keyOf(0, 0))).toEqual([]);
    await store.close();
  }
});

test("somebody else's directory is never emptied", async () => {
  mkdirSync(dir.path);
  writeFileSync(format(), "paper: A4\n");
  await expect(openStore(dir.path, { otherVersion: "empty" })).rejects.toMatchObject({
    code: "disk_version",
  });
  expect(readFileSync(format(), "utf8")).toBe("paper: A4\n");
  expect(readdirSync(dir.path)).toEqual(["format"]);
});

test("a format file that was lost to a power cut with nothing beside it is made again when that was said", async () => {
  mkdirSync(dir.path);
  writeFileSync(format(), "");
  const { store } = await openStore(dir.path, { otherVersion: "empty" });
  expect(store.stats().shardsOff).toBe(0);
  await store.close();
});

test("an index of another version under a format of this one starts empty", async () => {
  await writtenBy(FORMAT_VERSION - 1);
  writeFileSync(format(), `proxima-disk ${FORMAT_VERSION} 0123456789abcdef\n`);
  const { store, problems } = await openStore(dir.path);
  expect(problems.length).toBe(2);
  expect(problems[0]).toContain(`its version is ${FORMAT_VERSION - 1}`);
  expect(await store.put(keyOf(0, 0), parts(), bytesOf(1, 10))).not.toBeNull();
  await store.close();
});

test("whatever the format file says, it is used, or refused as another version's", async () => {
  const near = fc
    .tuple(
      fc.constantFrom("proxima-disk ", "proxima-disk", "PROXIMA-DISK ", ""),
      fc.oneof(fc.nat(3).map(String), fc.string({ maxLength: 12 })),
      fc.constantFrom(" ", "\n", ""),
      fc.constantFrom("0123456789abcdef", "0123456789abcdeg", ""),
      fc.constantFrom("\n", "", "\n\n"),
    )
    .map((pieces) => pieces.join(""));
  mkdirSync(dir.path);
  await fc.assert(
    fc.asyncProperty(fc.oneof(near, fc.string({ unit: "binary" })), async (text) => {
      writeFileSync(format(), text);
      const right = text === `proxima-disk ${FORMAT_VERSION} 0123456789abcdef\n`;
      const opened = await openStore(dir.path, { shards: [0] }).catch((error: unknown) => error);
      if (opened instanceof Error) {
        expect(opened).toMatchObject({ code: "disk_version" });
        expect(right).toBe(false);
        return;
      }
      expect(right).toBe(true);
      await (opened as Awaited<ReturnType<typeof openStore>>).store.close();
    }),
    { numRuns: 300, examples: [[`proxima-disk ${FORMAT_VERSION} 0123456789abcdef\n`]] },
  );
  rmSync(format());
  expect(existsSync(format())).toBe(false);
});
