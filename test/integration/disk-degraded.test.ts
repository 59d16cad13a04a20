/** A whole edge on a disk that is full, read-only, gone or forbidden: viewers do not notice, operators do, once, and it recovers. */
import { afterEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import { FULL_PAUSE_MS, HEALTH_MS } from "../../src/cache/store/disk/limits.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { content, fileAnswer } from "../kit/file-origin.ts";
import { startOrigin, text } from "../kit/origin.ts";

const MB = 1024 * 1024;
const isRoot = process.getuid?.() === 0;
/** Only root may mount; some containers forbid that too. */
const mayMount = isRoot && mounts();
const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

function mount(...how: string[]): boolean {
  return spawnSync("mount", how).status === 0;
}

function mounts(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "proxima-mount-"));
  const done = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder);
  if (done) spawnSync("umount", [folder]);
  rmSync(folder, { recursive: true });
  return done;
}

/** A disk of its own, `size` as tmpfs takes it. */
function smallDisk(size: string): string {
  const folder = mkdtempSync(join(tmpdir(), "proxima-mount-"));
  if (!mount("-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder)) throw new Error("no tmpfs");
  stops.push(() => {
    spawnSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

interface Stage {
  readonly edge: TestEdge;
  readonly clock: ManualClock;
  readonly state: { version: number };
  /** Asks, and holds the body against the origin's; X-Cache. */
  right(path: string, least?: number, headers?: Record<string, string>): Promise<string>;
  metric(name: string): Promise<number>;
  /** Messages about the disk. */
  said(): string[];
  /** Lets the disk's upkeep run. */
  upkeep(ms?: number): Promise<void>;
}

const lengthOf = (path: string) =>
  path.startsWith("/film") ? 6 * MB : path.startsWith("/big") ? 200_000 : 1_000;

async function stage(path: string | null): Promise<Stage> {
  const clock = new ManualClock(Date.UTC(2026, 0, 1));
  const state = { version: 1 };
  const origin = startOrigin((request, { target }) => {
    if (request.method === "POST") return text("done");
    return fileAnswer(request, {
      bytes: content(lengthOf(target), state.version),
      etag: `"${state.version}"`,
      ranges: true,
      fields: { "cache-control": "max-age=86400", "surrogate-key": "all" },
    });
  }, clock);
  stops.push(() => origin.stop());
  const edge = await startTestEdge({
    origin: origin.url,
    clock,
    config: {
      cache: {
        memory: "2MiB",
        objectMax: "1MiB",
        disk: { size: "4GiB", ...(path === null ? {} : { path }) },
      },
    },
  });
  stops.push(() => edge.stop());
  return {
    edge,
    clock,
    state,
    async right(url, least = 1, headers = {}) {
      const answer = await edge.get(url, headers);
      const version = Number(answer.headers.get("etag")?.slice(1, -1));
      const bytes = content(lengthOf(url), version);
      const part = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
      const wanted = part === null ? bytes : bytes.subarray(Number(part[1]), Number(part[2]) + 1);
      const same = Buffer.compare(answer.bytes, wanted) === 0;
      expect({ url, status: answer.status, same, late: version >= least }).toEqual({
        url,
        status: part === null ? 200 : 206,
        same: true,
        late: true,
      });
      return answer.cache ?? "";
    },
    async metric(name) {
      const page = String(await edge.edge.metrics());
      return Number(new RegExp(`^proxima_${name} (\\S+)$`, "m").exec(page)?.[1]);
    },
    said: () => edge.messages.filter((message) => message.includes("disk")),
    async upkeep(ms = HEALTH_MS + 1) {
      clock.advance(ms);
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

/** Waits for what runs behind the answers. */
async function soon(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + 5_000;
  while (!(await check())) {
    if (Date.now() > endMs) throw new Error(`5 s passed before ${what}`);
    await Bun.sleep(5);
  }
}

const everything = { site: "test", scope: "everything", targets: [], mode: "hard", acceptedMs: 0 } as const;

describe.skipIf(!mayMount)("a disk of its own (needs the right to mount)", () => {
  test("that is full: everybody is served, large and small; nothing taken comes back; it stores again when there is room", async () => {
    const disk = smallDisk("24m");
    const { edge, state, right, metric, said, upkeep } = await stage(disk);
    for (let i = 0; i < 150; i++) await right(`/big/${i}`);
    await soon("something is refused", async () => (await metric("disk_refused_total")) > 0);
    expect(said().map((line) => line.includes("is full"))).toEqual([true]);
    // Streams larger than all the room there is, alone and together, whole and in part.
    await Promise.all([1, 2, 3, 4, 5, 6].map((i) => right(`/film/${i % 3}`)));
    await Promise.all([1, 2].map((i) => right(`/film/${i}`, 1, { range: "bytes=3000000-4000000" })));
    // What is taken now is gone for good.
    state.version = 2;
    for (let i = 0; i < 10; i++) await edge.get(`/big/${i}`, {}, { method: "POST" });
    for (let i = 0; i < 10; i++) await right(`/big/${i}`, 2);
    await edge.edge.purge(edge.log.append({ ...everything, scope: "tag", targets: ["all"] }, null).entry)
      .applied;
    for (let i = 0; i < 150; i += 5) await right(`/big/${i}`, 2);
    await edge.restart();
    for (let i = 0; i < 150; i += 5) await right(`/big/${i}`, 2);
    // Room again.
    expect(mount("-o", "remount,size=400m", disk)).toBe(true);
    await upkeep(FULL_PAUSE_MS);
    for (let i = 200; i < 220; i++) await right(`/big/${i}`);
    await right("/film/9");
    await edge.restart();
    for (let i = 200; i < 220; i++) expect(await right(`/big/${i}`)).toBe("HIT");
    expect(await right("/film/9")).toBe("HIT");
    expect(await metric("disk_shards_off")).toBe(0);
  }, 30_000);

  test("that is mounted read-only at a start: the same, and it is used when it may be written again", async () => {
    const disk = smallDisk("200m");
    const { edge, state, right, metric, said, upkeep } = await stage(disk);
    for (let i = 0; i < 30; i++) await right(`/small/${i}`);
    await right("/film/1");
    // The kernel refuses it while files are open for writing; what breaks makes it so at any time (see disk-degrade.test.ts).
    await edge.restart(() => expect(mount("-o", "remount,ro", disk)).toBe(true));
    stops.push(() => mount("-o", "remount,rw", disk));
    state.version = 2;
    // New ones, old ones, and some that are taken while the disk can not say so.
    for (let i = 30; i < 60; i++) await right(`/small/${i}`, 2);
    await right("/film/2", 2);
    await Promise.all([right("/film/3", 2), right("/film/3", 2, { range: "bytes=5000000-5999999" })]);
    for (let i = 0; i < 10; i++) await edge.get(`/small/${i}`, {}, { method: "POST" });
    for (let i = 0; i < 10; i++) await right(`/small/${i}`, 2);
    await upkeep();
    for (let i = 0; i < 20; i++) await right(`/small/${i}`, i < 10 ? 2 : 1);
    // Once for each part of it at most, however often it is tried.
    const lines = said();
    expect(lines.length).toBeGreaterThan(0);
    await upkeep();
    await upkeep();
    for (let i = 60; i < 90; i++) await right(`/small/${i}`, 2);
    expect(new Set(said()).size).toBe(said().length);
    expect(await metric("disk_shards_off")).toBeGreaterThan(0);
    expect(mount("-o", "remount,rw", disk)).toBe(true);
    await upkeep();
    await soon("every shard is back", async () => {
      await upkeep();
      return (await metric("disk_shards_off")) === 0;
    });
    // It missed this start's beginning, and is not believed about what it had.
    for (let i = 20; i < 30; i++) await right(`/small/${i}`);
    await edge.restart();
    for (let i = 0; i < 10; i++) await right(`/small/${i}`, 2);
    for (let i = 20; i < 30; i++) expect(await right(`/small/${i}`)).toBe("HIT");
  }, 30_000);
});

/** The folder of the disk cache is away, and something that is no folder in its place. */
function takeAway(edge: TestEdge): () => void {
  const folder = join(edge.dataDir, "cache");
  renameSync(folder, `${folder}-away`);
  writeFileSync(folder, "");
  return () => {
    rmSync(folder);
    renameSync(`${folder}-away`, folder);
  };
}

describe("a folder that is not there", () => {
  test("is not believed about what was invalidated meanwhile, and is about the rest", async () => {
    const { edge, state, right, metric, upkeep } = await stage(null);
    for (let i = 0; i < 20; i++) await right(`/small/${i}`);
    // Nothing of it is in memory now.
    await edge.restart();
    const giveBack = takeAway(edge);
    await upkeep();
    expect(await metric("disk_shards_off")).toBe(64);
    state.version = 2;
    for (let i = 0; i < 10; i++) await edge.get(`/small/${i}`, {}, { method: "POST" });
    giveBack();
    await upkeep();
    await soon("every shard is back", async () => (await metric("disk_shards_off")) === 0);
    const results: string[] = [];
    for (let i = 0; i < 20; i++) results.push(await right(`/small/${i}`, i < 10 ? 2 : 1));
    expect(results).toEqual(Array.from({ length: 20 }, (_, i) => (i < 10 ? "MISS" : "HIT")));
  }, 20_000);

  test("and comes back empty keeps from then on what it takes, over a restart", async () => {
    const { edge, right, metric, upkeep } = await stage(null);
    await right("/small/1");
    rmSync(join(edge.dataDir, "cache"), { recursive: true });
    await upkeep();
    await soon("every shard is back", async () => (await metric("disk_shards_off")) === 0);
    for (let i = 10; i < 20; i++) expect(await right(`/small/${i}`)).toBe("MISS");
    await edge.restart();
    for (let i = 10; i < 20; i++) expect(await right(`/small/${i}`)).toBe("HIT");
  }, 20_000);
});

test.skipIf(isRoot)(
  "a folder that may not be entered any more leaves memory and origin (root may enter any)",
  async () => {
    const { edge, right, metric, said, upkeep } = await stage(null);
    await right("/small/1");
    const folder = join(edge.dataDir, "cache");
    chmodSync(folder, 0);
    stops.push(() => chmodSync(folder, 0o700));
    await upkeep();
    for (let i = 0; i < 20; i++) await right(`/small/${i}`);
    await right("/film/1");
    expect(said().length).toBeGreaterThan(0);
    chmodSync(folder, 0o700);
    await upkeep();
    await soon("every shard is back", async () => (await metric("disk_shards_off")) === 0);
    await right("/small/50");
    await edge.restart();
    expect(await right("/small/50")).toBe("HIT");
  },
);
