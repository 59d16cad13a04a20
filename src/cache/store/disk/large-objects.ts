/**
 * The large objects of an open shard that are in memory: their checksums, and when those are committed.
 * At most so many that nobody uses; the others are read from the index when somebody asks.
 */

import type { Clock } from "../../../base/clock.ts";
import { SHARDS } from "../../shard.ts";
import type { Descriptors } from "./descriptors.ts";
import type { FileSet } from "./file-set.ts";
import { type DiskFiles, errorCode } from "./files.ts";
import { LargeFile, type LargeFileOwner } from "./large-file.ts";
import { LARGE_COMMIT_MS, LARGE_OPEN_MAX } from "./limits.ts";
import type { ShardIndex } from "./shard-index.ts";
import type { DiskVariant } from "./variant.ts";

/** What they need of their shard. */
export interface LargeContext {
  readonly files: DiskFiles;
  readonly descriptors: Descriptors;
  readonly clock: Clock;
  readonly large: FileSet;
  reserve(bytes: number): Promise<boolean>;
  release(bytes: number): void;
  /** Runs index work; false when the disk did not take it. */
  guard(work: (index: ShardIndex) => boolean): boolean;
  remove(variant: DiskVariant): void;
  reportDamage(): void;
  failed(error: unknown): void;
  committed(): void;
}

/** Large objects by name. */
export class LargeObjects {
  readonly #context: LargeContext;
  readonly #owner: LargeFileOwner;
  /** Least recently used first. */
  readonly #known = new Map<number, { file: LargeFile; variant: DiskVariant }>();
  readonly #soon = new Map<LargeFile, () => void>();

  constructor(context: LargeContext) {
    this.#context = context;
    const { files, descriptors, large } = context;
    this.#owner = {
      files,
      descriptors,
      large,
      reserve: (bytes) => context.reserve(bytes),
      release: (bytes) => context.release(bytes),
      commit: (file) => this.commit(file),
      commitSoon: (file) => this.#commitSoon(file),
      damaged: (file, block, error) => this.#damaged(file, block, error),
      failed: (error) => context.failed(error),
    };
  }

  /** A file of which nothing is there yet; `length` is null while it is not known. */
  create(born: number, length: number | null): LargeFile {
    this.#context.large.grow(born, 0);
    return new LargeFile(born, length, this.#owner);
  }

  /** The file of a row, from memory or from the index. */
  open(row: DiskVariant, index: ShardIndex): LargeFile {
    const known = this.known(row);
    if (known !== null) return known;
    const file = new LargeFile(row.born, row.length, this.#owner);
    file.load(index.chunks(row.born));
    this.remember(file, row);
    return file;
  }

  /** The file of a variant if it is in memory. */
  known(variant: DiskVariant): LargeFile | null {
    const known = this.#known.get(variant.born);
    if (known === undefined) return null;
    this.#known.delete(variant.born);
    this.#known.set(variant.born, known);
    return known.file;
  }

  /** Keeps a stored file in memory. */
  remember(file: LargeFile, variant: DiskVariant): void {
    this.#known.set(file.born, { file, variant });
    if (this.#known.size <= Math.max(1, LARGE_OPEN_MAX / SHARDS)) return;
    for (const [born, { file: other }] of this.#known) {
      if (other === file || other.users > 0 || other.dirty) continue;
      this.#known.delete(born);
      break;
    }
  }

  /** Commits the checksums that changed, and whether the object is complete; false when the disk did not take it. */
  commit(file: LargeFile): boolean {
    this.#soon.get(file)?.();
    this.#soon.delete(file);
    const known = this.#known.get(file.born);
    if (file.gone || known === undefined) return false;
    const chunks = file.takeDirty();
    const done = this.#context.guard((index) => {
      const row = index.current(known.variant);
      if (row === null) {
        this.drop(file.born);
        return false;
      }
      const { files } = this.#context;
      files.step("before-row");
      index.transaction(
        () => {
          for (const chunk of chunks) index.writeChunk(file.born, chunk.number, chunk.sums);
          if (row.complete !== file.complete) index.update({ ...row, complete: file.complete }, null);
        },
        () => files.step("before-commit"),
      );
      files.step("after-commit");
      return true;
    });
    if (done) this.#context.committed();
    else if (!file.gone) {
      file.markDirty(chunks.map(({ number }) => number));
      this.#commitSoon(file);
    }
    return done;
  }

  /** Commits everything that waits. */
  flush(): boolean {
    return [...this.#soon.keys()].map((file) => this.commit(file)).every((done) => done);
  }

  /** Its row was taken out. */
  drop(born: number): void {
    const known = this.#known.get(born);
    if (known !== undefined) {
      known.file.gone = true;
      this.#known.delete(born);
      this.#soon.get(known.file)?.();
      this.#soon.delete(known.file);
    }
    this.#context.large.retire(born);
  }

  /** The shard is given up. */
  leave(): void {
    for (const cancel of this.#soon.values()) cancel();
    this.#soon.clear();
    for (const { file } of this.#known.values()) file.gone = true;
    this.#known.clear();
  }

  #commitSoon(file: LargeFile): void {
    if (this.#soon.has(file)) return;
    this.#soon.set(
      file,
      this.#context.clock.after(LARGE_COMMIT_MS, () => this.commit(file)),
    );
  }

  #damaged(file: LargeFile, block: number, error: unknown): void {
    const known = this.#known.get(file.born);
    if (errorCode(error) === "ENOENT" && known !== undefined) {
      this.#context.remove(known.variant);
      return;
    }
    // A reader may hold what memory has let go of: the one that is known now counts.
    const live = known?.file ?? file;
    live.clear(block);
    this.commit(live);
    this.#context.reportDamage();
  }
}
