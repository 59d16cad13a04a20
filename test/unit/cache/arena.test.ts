/** The arena against a plain map: whatever is stored and freed, each record reads as it was written. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Arena, BLOCK_BYTES, NOWHERE, recordCost, SLAB_BLOCKS } from "../../../src/cache/store/arena.ts";

/** Bytes that tell which record they are of, and where in it. */
function bytesFor(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = (seed * 31 + at * 7 + (at >> 8)) & 255;
  return bytes;
}

function readWhole(arena: Arena, record: number, length: number): Uint8Array {
  const target = new Uint8Array(length);
  arena.read(record, 0, length, target);
  return target;
}

describe("the arena", () => {
  test("agrees with a map under any order of storing and freeing", () => {
    const operation = fc.record({
      kind: fc.constantFrom("store", "store", "store", "free", "free", "part", "number", "drain"),
      length: fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 40_000 })),
      pick: fc.nat(),
      from: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
        const arena = new Arena();
        const model = new Map<number, Buffer>();
        let seed = 0;
        for (const { kind, length, pick, from } of operations) {
          const [record, bytes] = [...model][model.size === 0 ? 0 : pick % model.size] ?? [
            NOWHERE,
            Buffer.alloc(0),
          ];
          if (kind === "store") {
            const fresh = bytesFor(seed++, length);
            const stored = arena.store(fresh, length);
            expect(model.has(stored)).toBe(false);
            model.set(stored, fresh);
          } else if (kind === "drain") {
            arena.drain();
            const before = [...model];
            model.clear();
            for (const [at, [old, content]] of before.entries()) {
              model.set(arena.moved(old), content);
              // What is stored in between stays out of the way.
              if (at % 3 !== 0) continue;
              const fresh = bytesFor(seed++, length);
              model.set(arena.store(fresh, length), fresh);
            }
            arena.drained();
            for (const [place, content] of model)
              expect(Buffer.from(readWhole(arena, place, content.length)).equals(content)).toBe(true);
          } else if (record === NOWHERE) continue;
          else if (kind === "free") {
            arena.free(record);
            model.delete(record);
          } else if (kind === "number" && bytes.length >= BLOCK_BYTES) {
            arena.setDouble(record, 3, from + 0.5);
            bytes.writeDoubleLE(from + 0.5, 24);
            expect(arena.double(record, 3)).toBe(from + 0.5);
          } else {
            const start = from % bytes.length;
            const end = start + 1 + (pick % (bytes.length - start));
            const target = new Uint8Array(end - start + 2).fill(9);
            arena.read(record, start, end, target, 1);
            expect(Buffer.from(target.subarray(1, -1)).equals(bytes.subarray(start, end))).toBe(true);
            expect([target[0], target.at(-1)]).toEqual([9, 9]);
          }
          const used = [...model.values()].reduce((sum, { length: size }) => sum + recordCost(size), 0);
          expect(arena.usedBytes).toBe(used);
          expect(arena.heldBytes).toBeGreaterThanOrEqual(used);
        }
        for (const [record, bytes] of model)
          expect(Buffer.from(readWhole(arena, record, bytes.length)).equals(bytes)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("fits records of any size into what records of another size left", () => {
    const arena = new Arena();
    const small = Array.from({ length: 60_000 }, (_, at) => arena.store(bytesFor(at, 100), 100));
    const { heldBytes } = arena;
    for (const [at, record] of small.entries()) if (at % 2 === 0) arena.free(record);
    const large = Array.from(
      { length: 290 },
      (_, at) => [at, arena.store(bytesFor(at, 13_000), 13_000)] as const,
    );
    expect(arena.heldBytes).toBe(heldBytes);
    for (const [at, record] of large)
      expect(Buffer.from(readWhole(arena, record, 13_000)).equals(bytesFor(at, 13_000))).toBe(true);
    for (const [at, record] of small.entries())
      if (at % 2 === 1)
        expect(Buffer.from(readWhole(arena, record, 100)).equals(bytesFor(at, 100))).toBe(true);
  });

  test("gives memory back when a slab is empty, and takes it again", () => {
    const arena = new Arena();
    const slabBytes = recordCost(SLAB_BLOCKS * BLOCK_BYTES);
    for (let round = 0; round < 3; round++) {
      // 17 blocks each: some stand in two slabs.
      const records = Array.from({ length: 3_000 }, (_, at) => arena.store(bytesFor(at, 2_100), 2_100));
      for (const [at, record] of records.entries())
        if (!Buffer.from(readWhole(arena, record, 2_100)).equals(bytesFor(at, 2_100)))
          expect.unreachable(`record ${at} reads otherwise`);
      expect(arena.heldBytes).toBeGreaterThan(5 * slabBytes);
      for (const record of records) arena.free(record);
      expect(arena.usedBytes).toBe(0);
      expect(arena.heldBytes).toBeLessThanOrEqual(slabBytes);
    }
  });

  test("that is drained holds few slabs more than its records need", () => {
    const arena = new Arena();
    const records = Array.from({ length: 20 * SLAB_BLOCKS }, (_, at) =>
      arena.store(bytesFor(at, BLOCK_BYTES), BLOCK_BYTES),
    );
    for (const [at, record] of records.entries()) if (at % 10 !== 0) arena.free(record);
    arena.drain();
    for (const [at, record] of records.entries()) {
      if (at % 10 !== 0) continue;
      const moved = arena.moved(record);
      if (!Buffer.from(readWhole(arena, moved, BLOCK_BYTES)).equals(bytesFor(at, BLOCK_BYTES)))
        throw new Error(`record ${at} is another one`);
    }
    arena.drained();
    expect(arena.heldBytes).toBeLessThanOrEqual(4 * SLAB_BLOCKS * (BLOCK_BYTES + 4));
  });
});
