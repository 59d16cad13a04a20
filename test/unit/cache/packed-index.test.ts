/** The index of packed nodes against a plain set, with hashes that meet. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Partitions } from "../../../src/cache/eviction/partitions.ts";
import { StoredNode } from "../../../src/cache/store/node.ts";
import { PackedIndex } from "../../../src/cache/store/packed-index.ts";
import type { QueueNode } from "../../../src/cache/stored.ts";

const partition = new Partitions<QueueNode>(1e6).of("a");

test("the index has the nodes that were put in and not taken out, by their hash, whatever hashes meet", () => {
  const operation = fc.record({
    add: fc.boolean(),
    hash: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })),
    pick: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), fc.nat(3_000), (operations, crowd) => {
      const index = new PackedIndex();
      const model: StoredNode[] = [];
      const add = (hash: number): void => {
        const node = new StoredNode(hash, partition, null);
        index.add(node);
        model.push(node);
      };
      for (let at = 0; at < crowd; at++) add(Math.imul(at, 0x9e37_79b1) >> 3);
      for (const { add: adds, hash, pick } of operations) {
        if (adds || model.length === 0) add(hash);
        else {
          const [node] = model.splice(pick % model.length, 1);
          if (node !== undefined) index.remove(node);
        }
        const expected = model.filter((node) => node.hash === hash);
        expect(new Set(index.withHash(hash))).toEqual(new Set(expected));
      }
      expect(index.size).toBe(model.length);
      const listed = Array.from({ length: index.size }, (_, place) => index.at(place));
      expect(new Set(listed).size).toBe(model.length);
      for (const node of model) expect(index.withHash(node.hash)).toContain(node);
    }),
    { numRuns: 60 },
  );
});
