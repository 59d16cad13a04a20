/** Helpers of the disk store's tests: directories of their own, keys of given shards, bytes that tell themselves. */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { shardOf } from "../../../src/cache/shard.ts";
import { DiskStore } from "../../../src/cache/store/disk/disk-store.ts";
import type { DiskOptions } from "../../../src/cache/store/disk/options.ts";
import type { VariantParts } from "../../../src/cache/store/disk/variant.ts";

/** A directory that `clean` removes. */
export function scratch(): { path: string; clean(): void } {
  const path = mkdtempSync(join(tmpdir(), "proxima-disk-"));
  return { path: join(path, "cache"), clean: () => rmSync(path, { recursive: true, force: true }) };
}

/** A store with what most tests leave open; problems are collected. */
export async function openStore(
  path: string,
  options: Partial<DiskOptions> = {},
): Promise<{ store: DiskStore; problems: string[]; clock: ManualClock }> {
  const problems: string[] = [];
  const clock = options.clock instanceof ManualClock ? options.clock : new ManualClock();
  const store = await DiskStore.open({
    path,
    // Two of 64 shards: 64 MiB are theirs.
    bytesMax: 2 ** 31,
    shards: [0, 1],
    onProblem: (message) => problems.push(message),
    ...options,
    clock,
  });
  return { store, problems, clock };
}

/** The `number`th key that belongs to a shard. */
export function keyOf(shard: number, number: number): string {
  for (let i = 0, found = -1; ; i++) {
    const key = `shop https://shop.example/${i}`;
    if (shardOf(key) === shard && ++found === number) return key;
  }
}

/** Bytes that depend on the seed and on their place. */
export function bytesOf(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = Math.imul(seed + 1, 0x9e3779b9) >>> 0;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** A plain variant. */
export function parts(more: Partial<VariantParts> = {}): VariantParts {
  return { vary: [], variant: "", meta: bytesOf(7, 40), sequence: 1, ...more };
}

/** Bytes that all files below a directory take. */
export function bytesBelow(path: string): number {
  let bytes = 0;
  for (const entry of readdirSync(path, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const found = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    if (found !== undefined) bytes += Math.min(found.size, found.blocks * 512);
  }
  return bytes;
}

/** Files below a directory whose path fits. */
export function filesBelow(path: string, fits: RegExp): string[] {
  return readdirSync(path, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => fits.test(file))
    .sort();
}

/** Lets what was started with setImmediate or by the thread pool go on. */
export async function settle(until: () => boolean): Promise<void> {
  for (let i = 0; i < 2_000 && !until(); i++) await new Promise((resolve) => setImmediate(resolve));
}
