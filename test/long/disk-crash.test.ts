/**
 * kill -9 at any moment: a process that stores under load is killed at chosen steps and at random times, and
 * the disk is opened again, by another number of workers too. Everything that was acknowledged is there byte
 * for byte, nothing is torn, and what was removed stays away. DISK_CRASH_CYCLES sets how often (default 300).
 */
import { expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { DiskStore } from "../../src/cache/store/disk/disk-store.ts";
import type { DiskStep } from "../../src/cache/store/disk/files.ts";
import { bytesBelow, bytesOf, keyOf, scratch } from "../unit/cache/disk-kit.ts";
import { type CrashOrders, lengthOf, SPARSE_LENGTH } from "./disk-crash-child.ts";

const CYCLES = Number(process.env.DISK_CRASH_CYCLES ?? 300);
const SHARDS = [3, 17, 40, 63];
const KEYS = Array.from({ length: 36 }, (_, i) => keyOf(SHARDS[i % 4] ?? 0, i >> 2));
const STEPS: readonly (DiskStep | null)[] = [
  "before-data",
  "half-data",
  "before-row",
  "before-commit",
  "after-commit",
  "before-unlink",
  null,
  null,
];
const child = join(import.meta.dir, "disk-crash-child.ts");

/** What may be there for a key: nothing, a whole body, or a sparse one with at least these blocks. */
interface State {
  readonly kind: "none" | "whole" | "sparse";
  readonly seed: number;
  readonly blocks: Set<number>;
}
const NONE: State = { kind: "none", seed: 0, blocks: new Set() };

/** Follows the child's notes; the last line may be cut. */
function follow(states: State[][], notes: string): string[] {
  const problems: string[] = [];
  for (const line of notes.split("\n").slice(0, -1)) {
    const [what, index, seed, block] = line.split(" ");
    const number = Number(index);
    const known = states[number] ?? [];
    switch (what) {
      case "T":
        states[number] = [...known, { kind: "whole", seed: Number(seed), blocks: new Set() }];
        break;
      case "A":
        states[number] = [{ kind: "whole", seed: Number(seed), blocks: new Set() }];
        break;
      case "R":
        states[number] = [...known, NONE];
        break;
      case "D":
        states[number] = [NONE];
        break;
      case "S":
        states[number] = [...known, { kind: "sparse", seed: Number(seed), blocks: new Set() }];
        break;
      case "SA":
        states[number] = [{ kind: "sparse", seed: Number(seed), blocks: new Set() }];
        break;
      case "B":
        known.find((state) => state.seed === Number(seed))?.blocks.add(Number(block));
        break;
      default:
        problems.push(line);
    }
  }
  return problems;
}

/** Opens the disk and holds it against what may be there; what is there becomes what must be there. */
async function verify(
  path: string,
  states: State[][],
  bytesMax: number,
  workers: number,
  evicting: boolean,
): Promise<number> {
  let found = 0;
  const problems: string[] = [];
  for (let worker = 0; worker < workers; worker++) {
    const shards = SHARDS.filter((_, i) => i % workers === worker);
    const store = await DiskStore.open({
      path,
      bytesMax,
      shards,
      clock: systemClock,
      onProblem: (message) => problems.push(message),
    });
    try {
      for (const [i, key] of KEYS.entries()) {
        if (!store.owns(key)) continue;
        const allowed = states[i] ?? [NONE];
        const variants = store.find(key);
        expect(variants.length).toBeLessThanOrEqual(1);
        const [variant] = variants;
        if (variant === undefined) {
          if (!evicting) expect(allowed.map(({ kind }) => kind)).toContain("none");
          states[i] = [NONE];
          continue;
        }
        found++;
        const state = allowed.find(({ kind, seed }) => kind !== "none" && seed === variant.sequence);
        if (state === undefined)
          throw new Error(`key ${i} has a version that it must not have: ${variant.sequence}`);
        if (state.kind === "whole") {
          const bytes = await store.read(variant);
          expect(Bun.deepEquals(bytes, bytesOf(state.seed, lengthOf(state.seed)))).toBe(true);
          const slice = await store.fileSlice(variant);
          expect(Bun.deepEquals(await slice?.bytes(), bytes)).toBe(true);
        } else {
          const sparse = store.sparse(variant);
          if (sparse === null) throw new Error("a sparse object without its file");
          const right = bytesOf(state.seed, SPARSE_LENGTH);
          for (let block = 0; block < sparse.blocks; block++) {
            const from = block * sparse.blockBytes;
            const to = from + sparse.blockLength(block);
            const bytes = await sparse.read(from, to);
            if (bytes === null) expect(state.blocks.has(block)).toBe(false);
            else expect(Bun.deepEquals(bytes, right.slice(from, to))).toBe(true);
          }
          sparse.release();
        }
        states[i] = [state];
      }
    } finally {
      await store.close();
    }
  }
  // A kill leaves nothing that has to be reported: no damage, no shard set aside.
  expect(problems).toEqual([]);
  return found;
}

for (const [name, bytesMax, evicting, share] of [
  ["with room for everything", 16 * 2 ** 30, false, 0.6],
  ["while eviction runs", 2 ** 27, true, 0.4],
] as const) {
  const cycles = Math.ceil(CYCLES * share);
  test(
    `${cycles} kills ${name} lose nothing that was acknowledged and serve nothing torn`,
    async () => {
      const dir = scratch();
      const states: State[][] = KEYS.map(() => [NONE]);
      const notes = `${dir.path}.notes`;
      let found = 0;
      let killedAtStep = 0;
      try {
        for (let cycle = 0; cycle < cycles; cycle++) {
          const step = STEPS[cycle % STEPS.length] ?? null;
          const orders: CrashOrders = {
            path: dir.path,
            notes,
            bytesMax,
            shards: SHARDS,
            keys: KEYS,
            seed: cycle * 7919 + 13,
            step,
            count: 1 + ((cycle * 31) % 40),
          };
          rmSync(notes, { force: true });
          const process = Bun.spawn([globalThis.process.execPath, child, JSON.stringify(orders)], {
            stdout: "pipe",
            stderr: "inherit",
          });
          await process.stdout.getReader().read();
          // A step may not come often enough; then the time ends it.
          const timer = setTimeout(() => process.kill("SIGKILL"), step === null ? (cycle * 17) % 120 : 400);
          await process.exited;
          clearTimeout(timer);
          expect(process.signalCode).toBe("SIGKILL");
          if (step !== null) killedAtStep++;
          expect(follow(states, readFileSync(notes, "utf8"))).toEqual([]);
          // Now and then the next process finds the disk as the kill left it.
          if (cycle % 4 === 3 && cycle < cycles - 1) continue;
          found += await verify(dir.path, states, bytesMax, cycle % 3 === 0 ? 2 : 1, evicting);
          if (evicting) expect(bytesBelow(dir.path)).toBeLessThanOrEqual(bytesMax / 16);
        }
      } finally {
        dir.clean();
      }
      expect(found).toBeGreaterThan(cycles);
      expect(killedAtStep).toBeGreaterThan(0);
    },
    60_000 + CYCLES * 2_000,
  );
}

test("a second process is refused while the first lives, and takes over at once when that is killed", async () => {
  const dir = scratch();
  const notes = `${dir.path}.notes`;
  const orders: CrashOrders = {
    path: dir.path,
    notes,
    bytesMax: 2 ** 30,
    shards: SHARDS,
    keys: KEYS,
    seed: 1,
    step: null,
    count: 0,
  };
  const process = Bun.spawn([globalThis.process.execPath, child, JSON.stringify(orders)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    await process.stdout.getReader().read();
    const options = {
      path: dir.path,
      bytesMax: 2 ** 30,
      shards: [17],
      clock: systemClock,
      onProblem: () => {},
    };
    await expect(DiskStore.open(options)).rejects.toMatchObject({ code: "disk_in_use" });
    const others = await DiskStore.open({ ...options, shards: [18] });
    await others.close();
    process.kill("SIGKILL");
    await process.exited;
    const store = await DiskStore.open(options);
    await store.close();
  } finally {
    process.kill("SIGKILL");
    dir.clean();
  }
});
