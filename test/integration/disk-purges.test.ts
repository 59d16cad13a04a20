/** Purges and invalidations over memory and disk, at the moments that matter: nothing comes back that was taken. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import { LOCAL_SWEEP_MS } from "../../src/cache/limits.ts";
import { PURGE_MARKS_MAX } from "../../src/cache/purge-table.ts";
import { allShards, shardOf } from "../../src/cache/shard.ts";
import type { SiteInput } from "../../src/config/types.ts";
import { DiskPlane, type PlaneOptions } from "../kit/disk-plane.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { keyOf } from "../unit/cache/disk-kit.ts";

let clock: ManualClock;
let origin: TestOrigin;
let version = 1;
/** Requests to the origin wait here, when there is one. */
let gate: PromiseWithResolvers<void> | null = null;
const planes: DiskPlane[] = [];

beforeEach(() => {
  clock = new ManualClock(Date.UTC(2026, 0, 1));
  version = 1;
  gate = null;
  origin = startOrigin(async (request, { target }) => {
    const tag = `"${version}"`;
    const fields = {
      "cache-control": "max-age=86400",
      etag: tag,
      "surrogate-key": `all ${target.slice(1)}`,
      "cache-groups": '"news"',
    };
    const body = `v${version} ${target} `.padEnd(2_000, "x");
    await gate?.promise;
    if (request.method === "POST") return text("done", { "cache-group-invalidation": '"news"' });
    if (request.method === "PUT") return text("done");
    if (request.headers.get("if-none-match") === tag)
      return new Response(null, { status: 304, headers: fields });
    return text(body, fields);
  }, clock);
});
afterEach(async () => {
  gate?.resolve();
  for (const plane of planes.splice(0).reverse()) await plane.remove();
  await origin.stop();
});

/** A site whose origin may take its time: the clock is moved while it is asked. */
function siteOf(host: string): SiteInput {
  const timeouts = { firstByteMs: 600_000, betweenBytesMs: 600_000 };
  return { hosts: [host], origins: { app: { url: origin.url, timeouts } }, behaviors: [{ path: "/*" }] };
}

/** Resolves when the origin has so many requests. */
async function asked(count: number): Promise<void> {
  while (origin.count() < count) await Bun.sleep(1);
}

/** Most tests are about these alone. */
const few = [..."abc"].map((name) => `test http://site.test/${name}`);
/** One of each shard. */
const allKeys = allShards.map((shard) => keyOf(shard, 0));

async function open(options: Partial<PlaneOptions> = {}, folder?: string): Promise<DiskPlane> {
  const sites = { test: siteOf("*") };
  const plane = await DiskPlane.open({ origin: origin.url, clock, sites, keys: few, ...options }, folder);
  planes.push(plane);
  return plane;
}

/** The same data, as the next start finds it after an end in good order. */
async function again(plane: DiskPlane, options: Partial<PlaneOptions> = {}): Promise<DiskPlane> {
  planes.splice(planes.indexOf(plane), 1);
  await plane.close();
  return await open(options, plane.folder);
}

async function killed(plane: DiskPlane, change?: (folder: string) => void): Promise<DiskPlane> {
  const next = await plane.killed(change);
  planes.push(next);
  return next;
}

/** Version and cache result. */
async function seen(plane: DiskPlane, path: string): Promise<string> {
  const { body, cache } = await plane.ask(path);
  return `${body.split(" ")[0]} ${cache}`;
}

/** Each way to take something; its kind is what is seen of it afterwards. */
const ways: Record<string, (plane: DiskPlane) => Promise<unknown> | unknown> = {
  "a hard purge": (plane) => plane.purge({ scope: "url", targets: ["site.test/a"] }),
  "a soft purge": (plane) => plane.purge({ scope: "tag", targets: ["all"], mode: "soft" }),
  "an invalidation by URL": (plane) => plane.ask("/a", {}, "PUT"),
  "an invalidation by group": (plane) => plane.ask("/other", {}, "POST"),
};
const after = (way: string) => (way === "a soft purge" ? "v2 EXPIRED" : "v2 MISS");

/** Sweeps of invalidations by group are late. */
async function swept(plane: DiskPlane): Promise<void> {
  await plane.settled();
  clock.advance(LOCAL_SWEEP_MS);
  for (let turn = 0; turn < 300; turn++) await new Promise((resolve) => setImmediate(resolve));
  await plane.settled();
}

describe.each(Object.keys(ways))("%s", (way) => {
  const take = async (plane: DiskPlane) => {
    version = 2;
    await ways[way]?.(plane);
  };

  test("while the body is read back from disk, and every sweep ends before that", async () => {
    const first = await open();
    await first.ask("/a");
    await first.settled();
    const plane = await again(first);
    plane.reads.close();
    const early = seen(plane, "/a");
    await plane.reads.reached;
    await take(plane);
    await swept(plane);
    const late = seen(plane, "/a");
    plane.reads.open();
    expect(await late).toMatch(/^v2 /);
    await early;
    expect(await seen(plane, "/a")).toBe("v2 HIT");
    await plane.settled();
    expect(await seen(await killed(plane), "/a")).toBe("v2 HIT");
  });

  test.each([false, true])(
    "while the body is written to disk (gone from memory: %p), and every sweep ends before that",
    async (evicted) => {
      const plane = await open(evicted ? { memory: "1MiB" } : {});
      plane.writes.close();
      expect(await seen(plane, "/a")).toBe("v1 MISS");
      await plane.writes.reached;
      if (evicted) for (let i = 0; i < 500; i++) await plane.ask(`/fill/${i}`, {}, "GET");
      await take(plane);
      await swept(plane);
      plane.writes.open();
      await plane.settled();
      version = 2;
      expect(await seen(await killed(plane), "/a")).toBe(after(way));
      expect(await seen(plane, "/a")).toMatch(evicted ? /^v2 / : new RegExp(`^${after(way)}$`));
    },
  );

  test("while the answer is fetched, and every sweep ends before that", async () => {
    const plane = await open();
    gate = Promise.withResolvers();
    const held = gate;
    const early = seen(plane, "/a");
    await asked(1);
    gate = null;
    await take(plane);
    await swept(plane);
    held.resolve();
    expect(await early).toMatch(/^v1 /);
    await plane.settled();
    const next = await killed(plane);
    // What was stale when it came is of no use to a later start.
    expect(await seen(next, "/a")).toBe("v2 MISS");
    expect(await seen(plane, "/a")).toMatch(/^v2 /);
  });

  test("of what is on disk alone holds after a kill before, and after, any sweep", async () => {
    const first = await open();
    await first.ask("/a");
    await first.settled();
    const plane = await again(first);
    await take(plane);
    const before = await killed(plane);
    // That start is killed as well, before it has swept anything.
    const twice = await killed(before);
    await swept(plane);
    const later = await killed(plane);
    for (const one of [before, twice, later, plane]) expect(await seen(one, "/a")).toBe(after(way));
  });
});

describe("soft and hard in turn", () => {
  test.each([
    [["hard", "soft"], "v2 MISS"],
    [["soft", "hard"], "v2 MISS"],
    [["soft", "soft"], "v2 EXPIRED"],
  ] as const)("%p on what is on disk alone", async (modes, wanted) => {
    for (const sweep of [true, false]) {
      version = 1;
      const first = await open();
      await first.ask("/a");
      await first.settled();
      const plane = await again(first);
      version = 2;
      for (const [i, mode] of modes.entries()) {
        plane.purge({ mode, ...(i === 0 ? {} : { scope: "tag", targets: ["all"] }) });
        if (sweep) await plane.settled();
      }
      const next = await killed(plane);
      expect([await seen(plane, "/a"), await seen(next, "/a")]).toEqual([wanted, wanted]);
    }
  });
});

/** A path whose object belongs to a shard. */
function inShard(shard: number): string {
  for (let i = 0; ; i++) if (shardOf(`test http://site.test/in/${i}`) === shard) return `/in/${i}`;
}

describe("the sweep of the disk", () => {
  const all = { keys: allKeys };

  test.each(["hard", "soft"] as const)(
    "counts once what comes back to memory while it walks (%s)",
    async (mode) => {
      const first = await open();
      await first.ask("/a");
      await first.settled();
      const plane = await again(first);
      plane.reads.close();
      const asked = plane.ask("/a");
      await plane.reads.reached;
      version = 2;
      const { sequence } = plane.purge({ mode });
      await plane.plane.purges.settled();
      plane.reads.open();
      expect((await asked).body).toStartWith("v2 ");
      plane.purge({ scope: "tag", targets: ["nothing"] });
      await plane.settled();
      expect(await plane.plane.purges.countedOf(sequence)).toBe(1);
    },
  );

  test.each(["hard", "soft"] as const)(
    "is not waited for by what comes back before it (%s)",
    async (mode) => {
      // The last shard, to which it comes last.
      const path = inShard(63);
      for (let attempt = 0; ; attempt++) {
        version = 1;
        const first = await open(all);
        for (let i = 0; i < 200; i++) await first.ask(`/row/${i}`);
        await first.ask(path);
        await first.settled();
        const plane = await again(first, all);
        version = 2;
        plane.purge({ mode });
        const found = await seen(plane, path);
        expect(found).toBe(mode === "hard" ? "v2 MISS" : "v2 EXPIRED");
        // It did come back, and was held against the purge then; or the sweep was faster for once.
        if (plane.plane.stats().disk?.revived === 1) return;
        expect(attempt).toBeLessThan(5);
      }
    },
    20_000,
  );

  test("an object that arrives behind it, asked for before the purge, is not found by this start nor the next", async () => {
    const first = await open(all);
    for (let i = 0; i < 100; i++) await first.ask(`/${i}`);
    await first.settled();
    const plane = await again(first, all);
    gate = Promise.withResolvers();
    const late = Array.from({ length: 8 }, (_, i) => plane.ask(`/late/${i}`));
    await asked(108);
    const held = gate;
    gate = null;
    version = 2;
    plane.purge({});
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    held.resolve();
    await Promise.all(late);
    await plane.settled();
    const next = await killed(plane);
    for (let i = 0; i < 8; i++)
      expect([await seen(plane, `/late/${i}`), await seen(next, `/late/${i}`)]).toEqual([
        "v2 MISS",
        "v2 MISS",
      ]);
  }, 20_000);
});

test("tables that are folded take more of the site, from disk too, and nothing of another site", async () => {
  const sites = { test: siteOf("site.test"), other: siteOf("other.test") };
  const keys = [...few, "other http://other.test/a"];
  const first = await open({ sites, keys });
  for (const url of ["/a", "/b", "http://other.test/a"]) await first.ask(url);
  await first.settled();
  const plane = await again(first, { sites, keys });
  // Nothing is swept and forgotten while this one is in the air.
  gate = Promise.withResolvers();
  const held = plane.ask("/held");
  await asked(4);
  version = 2;
  for (let at = 0; at <= PURGE_MARKS_MAX; at += 10_000) {
    const targets = Array.from({ length: 10_000 }, (_, i) => `site.test/none/${at + i}`);
    if (at === 0) targets[0] = "site.test/a";
    plane.purge({ scope: "url", targets });
  }
  const { marks } = plane.plane.purges;
  expect(marks).toBeLessThan(PURGE_MARKS_MAX / 2);
  gate.resolve();
  gate = null;
  await held;
  for (const one of [plane, await killed(plane)]) {
    expect(await seen(one, "/a")).toBe("v2 MISS");
    expect(await seen(one, "http://other.test/a")).toBe("v1 HIT");
  }
  expect(await seen(plane, "/b")).toMatch(/^v[12] /);
});

describe("another log of purges", () => {
  const logFiles = ["purges.db", "purges.db-wal", "purges.db-shm"];

  test("a log that was replaced is another history: the disk starts empty", async () => {
    const plane = await open();
    await plane.ask("/a");
    await plane.settled();
    version = 2;
    const next = await killed(plane, (folder) => {
      for (const name of logFiles) rmSync(join(folder, name), { force: true });
    });
    expect(await seen(next, "/a")).toBe("v2 MISS");
  });

  test.each([false, true])(
    "a log that was set back (a request in the air all the time: %p) takes what its lost entries took",
    async (inTheAir) => {
      const first = await open();
      await first.ask("/a");
      first.purge({ scope: "tag", targets: ["nothing"] });
      await first.settled();
      const plane = await again(first);
      if (inTheAir) gate = Promise.withResolvers();
      const held = inTheAir ? plane.ask("/held") : null;
      if (inTheAir) await asked(2);
      const older = await killed(plane);
      const backup = gate;
      gate = null;
      await plane.ask("/b");
      version = 2;
      plane.purge({ scope: "url", targets: ["site.test/a"] });
      plane.purge({ scope: "tag", targets: ["nothing"] });
      await plane.ask("/c");
      await plane.settled();
      const restored = await killed(plane, (folder) => {
        for (const name of logFiles) rmSync(join(folder, name), { force: true });
        for (const name of ["purges.db", "purges.db-wal"])
          copyFileSync(join(older.folder, name), join(folder, name));
      });
      expect(await seen(restored, "/a")).toBe("v2 MISS");
      version = 3;
      restored.purge({});
      expect(await seen(restored, "/c")).toBe("v3 MISS");
      backup?.resolve();
      await held;
    },
  );
});
