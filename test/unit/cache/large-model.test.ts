/**
 * A large body against its bytes: readers anywhere, fetches that fail, hang or bring another version, a disk that
 * takes nothing, removal and eviction at any time. LARGE_MODEL_SEEDS sets how many stories (default 40).
 */
import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { ProximaError } from "../../../src/base/errors.ts";
import { type FetchSpan, LargeBody } from "../../../src/cache/large-body.ts";
import { DiskStore } from "../../../src/cache/store/disk/disk-store.ts";
import { type DiskFiles, systemFiles } from "../../../src/cache/store/disk/files.ts";
import { LARGE_BLOCK_BYTES } from "../../../src/cache/store/disk/limits.ts";
import type { BodyReader } from "../../../src/http/body.ts";
import { UpstreamError } from "../../../src/upstream/next-hop.ts";
import { content } from "../../kit/file-origin.ts";
import { keyOf, parts, scratch } from "./disk-kit.ts";

const SEEDS = Number(process.env.LARGE_MODEL_SEEDS ?? 40);
const MB = 1024 * 1024;
const LENGTH = 18 * MB + 777;
const bytes = content(LENGTH, 1);

/** Numbers below `count`, the same for the same seed. */
function diceOf(seed: number): (count: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b9) >>> 0;
  return (count) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * count);
  };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What the next hop does. */
interface Hop {
  /** It has another version by now. */
  changed: boolean;
  fetches: number;
}

function readerOf(dice: (count: number) => number, start: number, end: number): BodyReader {
  let at = start;
  let cancelled = false;
  const breaksAt = dice(6) === 0 ? start + dice(end - start) : Number.POSITIVE_INFINITY;
  return {
    async read() {
      if (dice(3) === 0) await turn();
      if (cancelled) throw new UpstreamError("http_request_error", "it was given up");
      if (at >= breaksAt) throw new UpstreamError("connection_terminated", "it broke off");
      if (at >= end) return null;
      const piece = bytes.subarray(at, Math.min(end, breaksAt, at + 1 + dice(700_000)));
      at += piece.byteLength;
      return piece;
    },
    cancel() {
      cancelled = true;
    },
  };
}

function fetchOf(dice: (count: number) => number, hop: Hop): FetchSpan {
  return async (start, end) => {
    hop.fetches++;
    expect([start % LARGE_BLOCK_BYTES, end % LARGE_BLOCK_BYTES === 0 || end === LENGTH]).toEqual([0, true]);
    if (dice(2) === 0) await turn();
    if (hop.changed) return null;
    if (dice(8) === 0) throw new UpstreamError("connection_refused", "nobody is there", { retryable: true });
    return readerOf(dice, start, end);
  };
}

/** Errors that a reader may end with. */
const ALLOWED = new Set([
  "version_gone",
  "connection_terminated",
  "connection_refused",
  "http_request_error",
  "body_incomplete",
]);

async function story(seed: number, path: string): Promise<{ read: number; failed: number }> {
  const dice = diceOf(seed);
  let full = false;
  const files: DiskFiles = {
    ...systemFiles,
    async write(...how) {
      if (full) throw Object.assign(new Error("ENOSPC: full"), { code: "ENOSPC" });
      return systemFiles.write(...how);
    },
  };
  const store = await DiskStore.open({
    path,
    bytesMax: 2 ** 33,
    shards: [0],
    clock: systemClock,
    files,
    onProblem: () => undefined,
  });
  const key = keyOf(0, seed % 5);
  const sparse = store.startSparse(key, parts(), LENGTH);
  if (sparse === null) throw new Error("not begun");
  const validator = dice(5) === 0 ? null : ({ kind: "etag", value: '"v1"' } as const);
  const hop: Hop = { changed: false, fetches: 0 };
  const counts = { read: 0, failed: 0 };
  let gone = 0;
  let body = new LargeBody({ disk: store, variant: sparse.variant, validator, clock: systemClock, sparse });
  body.onGone = () => gone++;
  const fetch = fetchOf(dice, hop);
  const running: Promise<unknown>[] = [];
  const read = async (start: number, end: number): Promise<void> => {
    try {
      const reader = await body.open(start, end, fetch);
      if (reader === null) {
        counts.failed++;
        return;
      }
      let at = start;
      const leaves = dice(6) === 0 ? start + dice(end - start) : Number.POSITIVE_INFINITY;
      for (;;) {
        const piece = await reader.read();
        if (piece === null) break;
        if (Buffer.compare(piece, bytes.subarray(at, at + piece.byteLength)) !== 0)
          throw new Error(`seed ${seed}: wrong bytes at ${at}`);
        at += piece.byteLength;
        if (at >= leaves) {
          reader.cancel();
          return;
        }
        if (dice(4) === 0) await turn();
      }
      expect(at).toBe(end);
      counts.read++;
    } catch (error) {
      const code = error instanceof ProximaError ? error.code : null;
      if (code === null || !ALLOWED.has(code)) throw error;
      counts.failed++;
    }
  };
  const release = dice(4) === 0 ? body.hold() : () => undefined;
  if (validator === null || dice(2) === 0) running.push(body.fill(readerOf(dice, 0, LENGTH), 0, LENGTH));
  for (let step = 0; step < 25; step++) {
    const what = dice(20);
    if (what < 14) {
      const start = dice(LENGTH);
      running.push(read(start, Math.min(LENGTH, start + 1 + dice(dice(2) === 0 ? 300_000 : LENGTH))));
    } else if (what === 14) full = true;
    else if (what <= 16) full = false;
    else if (what === 17 && dice(4) === 0) hop.changed = true;
    else if (what === 18 && dice(3) === 0) store.removeUrl(key);
    else if (what === 19) {
      // The next one who finds the row begins anew.
      await Promise.all(running.splice(0));
      const row = store.find(key)[0];
      if (row !== undefined && validator !== null) {
        body = new LargeBody({ disk: store, variant: row, validator, clock: systemClock });
        body.onGone = () => gone++;
      }
    }
    if (dice(2) === 0) await turn();
  }
  await Promise.all(running);
  release();
  // What was begun is ended, or stopped, without anybody who reads.
  for (let turns = 0; body.users > 0 && turns < 20_000; turns++) await turn();
  expect({ seed, users: body.users }).toEqual({ seed, users: 0 });
  expect(gone).toBeLessThanOrEqual(20);
  await store.close();
  return counts;
}

test(`${SEEDS} stories of a large body give its bytes and no others, and nobody waits for ever`, async () => {
  const dir = scratch();
  const sum = { read: 0, failed: 0 };
  try {
    for (let seed = 0; seed < SEEDS; seed++) {
      const { promise: late, reject } = Promise.withResolvers<never>();
      const timer = setTimeout(() => reject(new Error(`seed ${seed} hangs`)), 20_000);
      const counts = await Promise.race([story(seed, dir.path), late]);
      clearTimeout(timer);
      sum.read += counts.read;
      sum.failed += counts.failed;
    }
  } finally {
    dir.clean();
  }
  expect(sum.read).toBeGreaterThan(SEEDS * 3);
  expect(sum.failed).toBeGreaterThan(SEEDS / 4);
}, 120_000);
