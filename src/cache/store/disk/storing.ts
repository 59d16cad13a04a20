/**
 * How variants get into a shard: small ones by its writer, large ones as a file first and a row after it, and
 * how eviction gives them another place. What a new variant replaces goes in the same transaction.
 */
import { ChurnSet } from "../../../base/churn-set.ts";
import { blockSums, keyHash } from "./checksum.ts";
import type { LargeFile } from "./large-file.ts";
import { SMALL_BLOCK_BYTES } from "./limits.ts";
import type { Shard } from "./shard.ts";
import type { Pending, ShardContext } from "./shard-context.ts";
import type { ShardIndex } from "./shard-index.ts";
import type { DiskVariant, VariantParts } from "./variant.ts";

/** Puts variants into one shard. */
export class Storing {
  readonly #shard: Shard;
  readonly #context: ShardContext;
  readonly #pending = new ChurnSet<Pending>();

  constructor(shard: Shard, context: ShardContext) {
    this.#shard = shard;
    this.#context = context;
  }

  /** Stops what is on its way to a URL. */
  cancel(key: string): void {
    for (const pending of this.#pending.list()) if (pending.key === key) pending.cancelled = true;
  }

  /** Registers something on its way, so that a removal of its URL stops it. */
  begin(key: string): Pending {
    const pending: Pending = { key, cancelled: false };
    this.#pending.add(pending);
    return pending;
  }

  end(pending: Pending): void {
    this.#pending.delete(pending);
  }

  /** Stores a small object; resolves when it is committed, null when it was not stored. */
  putSmall(pending: Pending, parts: VariantParts, body: Uint8Array): Promise<DiskVariant | null> {
    const open = this.#shard.parts;
    if (open === null) return Promise.resolve(null);
    const sums = blockSums(body, SMALL_BLOCK_BYTES);
    const { promise, resolve } = Promise.withResolvers<DiskVariant | null>();
    let stored: DiskVariant | null = null;
    let replaced: DiskVariant[] = [];
    open.writer.append({
      body,
      commit: (file, offset) => {
        if (pending.cancelled) return;
        const id = this.#context.nextId();
        const hash = keyHash(pending.key, this.#context.seed());
        stored = this.#variant(id, pending.key, parts, {
          length: body.byteLength,
          large: false,
          complete: true,
          place: { hash, file, offset, sums },
        });
        replaced = this.#replace(open.index, stored);
        open.index.insert(id, stored);
      },
      settle: (done) => {
        if (done && stored !== null) this.#inserted(pending.key, replaced);
        resolve(done ? stored : null);
      },
    });
    return promise;
  }

  /** Writes a small object again at the end of the queue; resolves when that is committed. */
  moveSmall(row: DiskVariant, body: Uint8Array): Promise<boolean> {
    const open = this.#shard.parts;
    if (open === null) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    open.writer.append({
      body,
      commit: (file, offset) => {
        const now = open.index.current(row);
        if (now !== null)
          open.index.update({ ...now, place: { ...now.place, file, offset } }, this.#context.nextId());
      },
      settle: resolve,
    });
    return promise;
  }

  /** Gives a large object a new place at the end of the queue. */
  moveLarge(row: DiskVariant): boolean {
    return this.#shard.guard(false, ({ index }) => this.requeue(index, row));
  }

  /** The same, within a transaction; false when it is gone. */
  requeue(index: ShardIndex, row: DiskVariant): boolean {
    const now = index.current(row);
    return now !== null && index.update(now, this.#context.nextId());
  }

  /** Makes a large object of which nothing is there yet. Null when the shard is off. */
  startLarge(
    key: string,
    parts: VariantParts,
    length: number,
  ): { file: LargeFile; variant: DiskVariant } | null {
    return this.#shard.guard(null, (open) => {
      const born = this.#context.nextId();
      const variant = this.#largeVariant(born, key, parts, length, length === 0);
      let replaced: DiskVariant[] = [];
      open.index.transaction(() => {
        replaced = this.#replace(open.index, variant);
        open.index.insert(born, variant);
      });
      this.#inserted(key, replaced);
      this.#shard.committed();
      const file = open.objects.create(born, length);
      open.objects.remember(file, variant);
      return { file, variant };
    });
  }

  /** A large file of unknown length that no row knows of yet. */
  newLarge(): LargeFile | null {
    return this.#shard.parts?.objects.create(this.#context.nextId(), null) ?? null;
  }

  /** A file of newLarge that is not to be stored. */
  discardLarge(file: LargeFile): void {
    this.#shard.parts?.objects.discard(file);
  }

  /** The body that was written into it is whole: now it is stored. Null when that failed. */
  finishLarge(pending: Pending, file: LargeFile, parts: VariantParts, length: number): DiskVariant | null {
    return this.#shard.guard(null, (open) => {
      if (pending.cancelled || file.gone || !open.large.has(file.born)) return null;
      file.finish(length);
      const variant = this.#largeVariant(file.born, pending.key, parts, length, true);
      let replaced: DiskVariant[] = [];
      const { files } = this.#context;
      files.step("before-row");
      open.index.transaction(
        () => {
          replaced = this.#replace(open.index, variant);
          for (const chunk of file.takeDirty()) open.index.writeChunk(file.born, chunk.number, chunk.sums);
          // A new place in the queue: it may have taken long.
          open.index.insert(this.#context.nextId(), variant);
        },
        () => files.step("before-commit"),
      );
      files.step("after-commit");
      this.#inserted(pending.key, replaced);
      this.#shard.committed();
      open.objects.remember(file, variant);
      return variant;
    });
  }

  #variant(
    born: number,
    key: string,
    parts: VariantParts,
    rest: Pick<DiskVariant, "length" | "large" | "complete" | "place">,
  ): DiskVariant {
    return {
      key,
      vary: parts.vary,
      variant: parts.variant,
      meta: parts.meta,
      sequence: parts.sequence,
      tags: parts.tags ?? [],
      shard: this.#shard.number,
      born,
      storedAtMs: Math.max(0, Math.floor(this.#context.clock.now())),
      ...rest,
    };
  }

  #largeVariant(
    born: number,
    key: string,
    parts: VariantParts,
    length: number,
    complete: boolean,
  ): DiskVariant {
    const hash = keyHash(key, this.#context.seed());
    const place = { hash, file: born, offset: 0, sums: new Float64Array(0) };
    return this.#variant(born, key, parts, { length, large: true, complete, place });
  }

  /** Takes out what a new variant replaces, and the oldest ones over the limit. Within a transaction. */
  #replace(index: ShardIndex, variant: DiskVariant): DiskVariant[] {
    const { variants } = index.find(variant.place.hash, variant.key);
    const owed = this.#shard.owes(variant.key);
    const replaced = variants.filter(
      (other) => owed || (other.variant === variant.variant && sameList(other.vary, variant.vary)),
    );
    const left = variants.filter((other) => !replaced.includes(other));
    replaced.push(...left.slice(Math.max(0, this.#context.variantsMax - 1)));
    for (const other of replaced) index.remove(other.place.hash, other.born, other.large);
    return replaced;
  }

  #inserted(key: string, replaced: readonly DiskVariant[]): void {
    this.#shard.inserted(key);
    for (const variant of replaced) this.#shard.dropped(variant, true);
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
