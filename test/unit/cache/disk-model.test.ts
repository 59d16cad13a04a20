/** Random operations against a model: what the store finds is what was stored last, byte for byte. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { DiskStore } from "../../../src/cache/store/disk/disk-store.ts";
import { bytesOf, keyOf, openStore, parts, scratch } from "./disk-kit.ts";

const KEYS = [keyOf(0, 0), keyOf(0, 1), keyOf(1, 0)];
const LENGTHS = [0, 1, 1_000, 65_536, 65_537, 70_000, 262_144, 300_000];

type Operation =
  | { readonly do: "put" | "stream"; readonly key: number; readonly variant: string; readonly length: number }
  | {
      readonly do: "removeUrl" | "remove" | "meta" | "read" | "slice";
      readonly key: number;
      readonly pick: number;
    }
  | { readonly do: "sparse"; readonly key: number; readonly blocks: readonly number[] }
  | { readonly do: "sweep"; readonly variant: string }
  | { readonly do: "reopen" };

const key = fc.nat(KEYS.length - 1);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("put" as const, "stream" as const),
      key,
      variant: fc.constantFrom("", "a", "b"),
      length: fc.constantFrom(...LENGTHS),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "removeUrl" as const,
        "remove" as const,
        "meta" as const,
        "read" as const,
        "read" as const,
        "slice" as const,
      ),
      key,
      pick: fc.nat(5),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("sparse" as const),
      key,
      blocks: fc.array(fc.nat(3), { maxLength: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("sweep" as const), variant: fc.constantFrom("", "a") }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "reopen" as const }) },
);

/** What the model knows of a variant; `blocks` are those of a sparse one. */
interface Known {
  readonly variant: string;
  readonly body: Uint8Array;
  readonly blocks: Set<number> | null;
  meta: Uint8Array;
}

async function* streamOf(body: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < body.length; at += 50_000) yield body.subarray(at, at + 50_000);
}

async function compare(store: DiskStore, model: readonly Known[][]): Promise<void> {
  for (const [number, known] of model.entries()) {
    const found = store.find(KEYS[number] ?? "");
    expect(found.map(({ variant }) => variant)).toEqual(known.map(({ variant }) => variant));
    for (const [i, variant] of found.entries()) {
      const entry = known[i];
      if (entry === undefined) continue;
      expect(variant.length).toBe(entry.body.length);
      expect(variant.meta).toEqual(entry.meta);
      if (entry.blocks === null) expect(Bun.deepEquals(await store.read(variant), entry.body)).toBe(true);
      else {
        const sparse = store.sparse(variant);
        for (let block = 0; block < (sparse?.blocks ?? 0); block++) {
          const [from, to] = [block * 262_144, Math.min(entry.body.length, (block + 1) * 262_144)];
          expect(sparse?.has(from, to)).toBe(entry.blocks.has(block));
          const bytes = await store.read(variant, from, to);
          expect(Bun.deepEquals(bytes, entry.blocks.has(block) ? entry.body.slice(from, to) : null)).toBe(
            true,
          );
        }
        sparse?.release();
      }
    }
  }
}

test("a store agrees with a model under random operations and restarts", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { minLength: 5, maxLength: 40 }),
      fc.boolean(),
      async (operations, smallFiles) => {
        const dir = scratch();
        const options = { smallBytesMax: smallFiles ? 60_000 : 280_000 };
        let { store, problems } = await openStore(dir.path, options);
        // Newest first, as the store answers.
        const model: Known[][] = KEYS.map(() => []);
        const replace = (number: number, entry: Known): void => {
          model[number] = [
            entry,
            ...(model[number] ?? []).filter(({ variant }) => variant !== entry.variant),
          ];
        };
        try {
          for (const [step, op] of operations.entries()) {
            switch (op.do) {
              case "put":
              case "stream": {
                const body = bytesOf(step, op.length);
                const stored = await store.put(
                  KEYS[op.key] ?? "",
                  parts({ variant: op.variant }),
                  op.do === "put" ? body : streamOf(body),
                );
                expect(stored).not.toBeNull();
                replace(op.key, { variant: op.variant, body, blocks: null, meta: parts().meta });
                break;
              }
              case "removeUrl":
                expect(store.removeUrl(KEYS[op.key] ?? "")).toBe(model[op.key]?.length ?? 0);
                model[op.key] = [];
                break;
              case "remove":
              case "meta":
              case "read":
              case "slice": {
                const found = store.find(KEYS[op.key] ?? "")[op.pick];
                const entry = model[op.key]?.[op.pick];
                if (found === undefined || entry === undefined) {
                  expect(found).toBe(entry as undefined);
                  break;
                }
                if (op.do === "remove") {
                  expect(store.remove(found)).toBe(true);
                  model[op.key]?.splice(op.pick, 1);
                } else if (op.do === "meta") {
                  entry.meta = bytesOf(step, 30);
                  expect(store.updateMeta(found, entry.meta)).not.toBeNull();
                } else if (entry.blocks === null) {
                  const start = Math.min(found.length, op.pick * 60_000);
                  const bytes =
                    op.do === "read"
                      ? await store.read(found, start)
                      : await (await store.fileSlice(found, start))?.bytes();
                  expect(Bun.deepEquals(bytes, entry.body.slice(start))).toBe(true);
                }
                break;
              }
              case "sparse": {
                const body = bytesOf(step, 900_000);
                const sparse = store.startSparse(KEYS[op.key] ?? "", parts({ variant: "s" }), body.length);
                expect(sparse).not.toBeNull();
                for (const block of op.blocks) {
                  expect(await sparse?.write(block, body.slice(block * 262_144, (block + 1) * 262_144))).toBe(
                    true,
                  );
                }
                sparse?.release();
                replace(op.key, { variant: "s", body, blocks: new Set(op.blocks), meta: parts().meta });
                break;
              }
              case "sweep": {
                const counts = await store.sweep(({ variant }) => (variant === op.variant ? "drop" : "keep"));
                const all = model.flat();
                expect(counts.seen).toBe(all.length);
                expect(counts.dropped).toBe(all.filter(({ variant }) => variant === op.variant).length);
                for (const [number, known] of model.entries())
                  model[number] = known.filter(({ variant }) => variant !== op.variant);
                break;
              }
              case "reopen":
                await store.close();
                expect(problems).toEqual([]);
                ({ store, problems } = await openStore(dir.path, options));
                break;
            }
          }
          await compare(store, model);
          await store.close();
          ({ store, problems } = await openStore(dir.path, options));
          await compare(store, model);
          expect(problems).toEqual([]);
        } finally {
          await store.close();
          dir.clean();
        }
      },
    ),
    { numRuns: 40 },
  );
}, 60_000);
