/**
 * The disk store: puts, finds and reads a second at 1 KB and 100 KB, then a disk of many objects: how long it
 * takes to open again, memory per object, and latency of finds.
 *
 *   npm run bench -- disk [objects] [directory]
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { DiskStore } from "../src/cache/store/disk/disk-store.ts";

const objects = Number(process.argv[2] ?? 1_000_000);
const folder = mkdtempSync(join(process.argv[3] ?? tmpdir(), "proxima-disk-"));
const meta = new Uint8Array(500).fill(7);
const keyOf = (i: number): string => `shop https://shop.example/products/${i}?page=1`;
const open = (path: string): Promise<DiskStore> =>
  DiskStore.open({
    path,
    bytesMax: 64 * 2 ** 30,
    clock: systemClock,
    onProblem: (message) => console.log(message),
    scrubBytesPerSecond: 0,
  });

/** Runs `work` for each number, `width` of them at a time; returns operations a second. */
async function rate(count: number, width: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
  return Math.round(count / ((performance.now() - start) / 1000));
}

function put(store: DiskStore, i: number, body: Uint8Array): Promise<unknown> {
  return store.put(keyOf(i), { vary: [], variant: "", meta, sequence: 1 }, body);
}

async function get(store: DiskStore, i: number): Promise<void> {
  const [variant] = store.find(keyOf(i));
  if (variant === undefined || (await store.read(variant)) === null)
    throw new Error(`object ${i} is not there`);
}

/** Milliseconds that this thread waited for a processor so far: other work on the machine is not the store's. */
function waitedMs(): number {
  try {
    const [, waitedNs] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ");
    return Number(waitedNs) / 1e6;
  } catch {
    return 0;
  }
}

/** Runs `work`; returns the longest time in milliseconds that nobody else had a turn, without waiting for a processor. */
async function worstStall(work: () => Promise<unknown>): Promise<number> {
  const now = (): number => performance.now() - waitedMs();
  let worst = 0;
  let last = now();
  let running = true;
  const tick = (): void => {
    const at = now();
    worst = Math.max(worst, at - last);
    last = at;
    if (running) setTimeout(tick, 1);
  };
  tick();
  await work();
  running = false;
  return worst;
}

try {
  for (const [name, bytes, count] of [
    ["1 KB", 1_024, 50_000],
    ["100 KB", 102_400, 10_000],
  ] as const) {
    const store = await open(join(folder, name));
    const body = new Uint8Array(bytes).fill(3);
    const results: string[] = [];
    let at = 0;
    for (const width of [1, 64, 512]) {
      const from = at;
      const some = width === 1 ? count / 10 : count;
      at += some;
      results.push(`put x${width} ${await rate(some, width, (i) => put(store, from + i, body))}/s`);
    }
    for (const width of [1, 64])
      results.push(`find+read x${width} ${await rate(count, width, (i) => get(store, i))}/s`);
    const stall = await worstStall(() => rate(count, 64, (i) => put(store, at + i, body)));
    console.log(
      `${name}: ${results.join(", ")}; longest pause of the event loop while writing ${stall.toFixed(1)} ms`,
    );
    await store.close();
  }

  const path = join(folder, "many");
  const small = new Uint8Array(1_024).fill(5);
  let store = await open(path);
  const rssEmpty = process.memoryUsage.rss();
  const building = await rate(objects, 512, (i) => put(store, i, small));
  const { bytes } = store.stats();
  const closing = performance.now();
  await store.close();
  console.log(
    `${objects} objects of 1 KB: built at ${building}/s, closed in ${Math.round(performance.now() - closing)} ms, ${(bytes / objects).toFixed(0)} bytes on disk each`,
  );
  Bun.gc(true);
  const rssBefore = process.memoryUsage.rss();
  const opening = performance.now();
  store = await open(path);
  const openMs = performance.now() - opening;
  const rssOpen = process.memoryUsage.rss();
  const times: number[] = [];
  const misses: number[] = [];
  for (let n = 0; n < 200_000; n++) {
    const key = keyOf(Math.floor(Math.random() * objects));
    const start = Bun.nanoseconds();
    if (store.find(key).length === 0) throw new Error(`${key} is not there`);
    times.push(Bun.nanoseconds() - start);
    const none = keyOf(objects + n);
    const start2 = Bun.nanoseconds();
    store.find(none);
    misses.push(Bun.nanoseconds() - start2);
  }
  const quantiles = (all: number[]): string => {
    all.sort((a, b) => a - b);
    return [0.5, 0.99, 0.999]
      .map((q) => `p${q * 100} ${((all[Math.floor(all.length * q)] ?? 0) / 1000).toFixed(1)}`)
      .join(", ");
  };
  Bun.gc(true);
  const rssAfter = process.memoryUsage.rss();
  console.log(
    `opened again in ${openMs.toFixed(0)} ms; find, microseconds: ${quantiles(times)}; of a key that is not there: ${quantiles(misses)}`,
  );
  console.log(
    `find+read of random objects x64: ${await rate(100_000, 64, () => get(store, Math.floor(Math.random() * objects)))}/s`,
  );
  console.log(
    `resident: ${mib(rssEmpty)} before the build, ${mib(rssBefore)} after it, ${mib(rssOpen)} open again, ${mib(rssAfter)} after 400,000 finds (${((rssAfter - rssBefore) / objects).toFixed(0)} bytes for each object)`,
  );
  let seen = 0;
  const walking = performance.now();
  const stall = await worstStall(async () => {
    seen = (await store.sweep(({ key }) => (key.endsWith("7?page=1") ? "drop" : "keep"))).seen;
  });
  console.log(
    `a sweep that drops a tenth: ${Math.round(seen / ((performance.now() - walking) / 1000))} objects/s, longest pause of the event loop ${stall.toFixed(1)} ms`,
  );
  await store.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
