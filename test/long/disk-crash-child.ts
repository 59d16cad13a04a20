/**
 * The process that disk-crash.test.ts kills: it stores, replaces, removes and fills sparse objects as fast as
 * it can, notes each thing before and after in a file that survives it, and ends itself at the step it is told.
 */
import { openSync, writeSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { DiskStore } from "../../src/cache/store/disk/disk-store.ts";
import { type DiskFiles, type DiskStep, systemFiles } from "../../src/cache/store/disk/files.ts";
import { bytesOf, parts } from "../unit/cache/disk-kit.ts";

/** What the test tells it. */
export interface CrashOrders {
  readonly path: string;
  readonly notes: string;
  readonly bytesMax: number;
  readonly shards: readonly number[];
  readonly keys: readonly string[];
  readonly seed: number;
  /** Dies at the `count`th time of this step; null waits to be killed. */
  readonly step: DiskStep | null;
  readonly count: number;
}

/** Length of the body that belongs to a seed: mostly small, some in files of their own. */
export function lengthOf(seed: number): number {
  return seed % 9 === 0 ? 300_000 + (seed % 400_000) : (seed * 7919) % 40_000;
}

/** Blocks of the sparse objects. */
export const SPARSE_LENGTH = 1_200_000;

if (import.meta.main) {
  const orders = JSON.parse(process.argv[2] ?? "") as CrashOrders;
  const notes = openSync(orders.notes, "a");
  const note = (line: string): void => void writeSync(notes, `${line}\n`);
  let left = orders.count;
  const reached = (step: DiskStep): boolean => step === orders.step && --left <= 0;
  const die = (): void => void process.kill(process.pid, "SIGKILL");
  const files: DiskFiles = {
    ...systemFiles,
    async write(descriptor, pieces, position) {
      if (reached("half-data")) {
        const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
        const whole = new Uint8Array(bytes);
        let at = 0;
        for (const piece of pieces) {
          whole.set(piece, at);
          at += piece.byteLength;
        }
        await systemFiles.write(descriptor, [whole.subarray(0, Math.floor(bytes / 2))], position);
        die();
      }
      return systemFiles.write(descriptor, pieces, position);
    },
    step(step) {
      if (reached(step)) die();
    },
  };
  const store = await DiskStore.open({
    path: orders.path,
    bytesMax: orders.bytesMax,
    shards: orders.shards,
    smallBytesMax: 200_000,
    clock: systemClock,
    onProblem: (message) => note(`P ${message}`),
    files,
  });
  process.stdout.write("ready\n");
  let x = orders.seed;
  const random = (max: number): number => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * max);
  };
  /** One worker owns its keys, so that at most one thing happens to a key at a time. */
  const work = async (own: readonly string[]): Promise<never> => {
    for (;;) {
      const key = own[random(own.length)] ?? "";
      const index = orders.keys.indexOf(key);
      const seed = random(2 ** 30);
      const kind = random(20);
      if (kind === 0) {
        note(`R ${index}`);
        store.removeUrl(key);
        note(`D ${index}`);
      } else if (kind === 1) {
        note(`S ${index} ${seed}`);
        const sparse = store.startSparse(key, parts({ sequence: seed }), SPARSE_LENGTH);
        if (sparse === null) continue;
        note(`SA ${index} ${seed}`);
        for (let i = 0; i < 4; i++) {
          const block = random(sparse.blocks);
          const from = block * sparse.blockBytes;
          const written = await sparse.write(
            block,
            bytesOf(seed, SPARSE_LENGTH).slice(from, from + sparse.blockLength(block)),
          );
          if (!written) break;
          sparse.flush();
          if (!sparse.gone) note(`B ${index} ${seed} ${block}`);
        }
        sparse.release();
      } else {
        note(`T ${index} ${seed}`);
        const stored = await store.put(key, parts({ sequence: seed }), bytesOf(seed, lengthOf(seed)));
        if (stored !== null) note(`A ${index} ${seed}`);
        const found = store.find(orders.keys[random(orders.keys.length)] ?? "")[0];
        if (found !== undefined && random(3) === 0) store.touch(found);
      }
    }
  };
  const workers = 6;
  await Promise.all(
    Array.from({ length: workers }, (_, worker) =>
      work(orders.keys.filter((_key, i) => i % workers === worker)),
    ),
  );
}
