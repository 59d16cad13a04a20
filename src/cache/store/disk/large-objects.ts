/**
 * The large objects of an open shard that are in memory: their checksums, and when those are committed.
 * At most so many that nobody uses; the others are read from the index when somebody asks. What was removed
 * while it is in use is kept apart until its last user has gone.
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
  /** True when a removed object that is in use may grow by so much. */
  mayLinger(bytes: number): boolean;
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
  /** Being written for the first time: no row knows of them yet. */
  readonly #unstored = new Set<LargeFile>();
  /** Removed, and still in use. */
  readonly #lingering = new Set<LargeFile>();
  readonly #soon = new Map<LargeFile, () => void>();

  constructor(context: LargeContext) {
    this.#context = context;
    const { files, descriptors, large } = context;
    this.#owner = {
      files,
      descriptors,
      large,
      reserve: (bytes, removed) =>
        removed && !context.mayLinger(bytes) ? Promise.resolve(false) : context.reserve(bytes),
      release: (bytes) => context.release(bytes),
      unused: (file) => {
        if (this.#lingering.delete(file)) large.endLinger(file.born);
      },
      commit: (file) => this.commit(file),
      commitSoon: (file) => this.#commitSoon(file),
      damaged: (file, block, error) => this.#damaged(file, block, error),
      failed: (error) => context.failed(error),
    };
  }

  /** A file of which nothing is there yet; `length` is null while it is not known. */
  create(born: number, length: number | null): LargeFile {
    this.#context.large.grow(born, 0);
    const file = new LargeFile(born, length, this.#owner);
    this.#unstored.add(file);
    return file;
  }

  /** It is not to be stored after all. */
  discard(file: LargeFile): void {
    this.#unstored.delete(file);
    file.close();
    this.#context.large.retire(file.born);
  }

  /** The file of a row, from memory or from the index; null when it was given up for room, and then its row goes too. */
  open(row: DiskVariant, index: ShardIndex): LargeFile | null {
    const known = this.known(row);
    if (known !== null) return known;
    const file = new LargeFile(row.born, row.length, this.#owner);
    const chunks = index.chunks(row.born);
    if (chunks.length > 0 && !this.#context.large.has(row.born)) {
      this.#context.remove(row);
      return null;
    }
    file.load(chunks);
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

  /** True when somebody reads, writes or holds the object. */
  inUse(born: number): boolean {
    return this.#known.get(born)?.file.inUse ?? false;
  }

  /** Keeps a stored file in memory. */
  remember(file: LargeFile, variant: DiskVariant): void {
    this.#unstored.delete(file);
    this.#known.set(file.born, { file, variant });
    if (this.#known.size <= Math.max(1, LARGE_OPEN_MAX / SHARDS)) return;
    for (const [born, { file: other }] of this.#known) {
      if (other === file || other.inUse || other.dirty) continue;
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
    const file = this.#known.get(born)?.file;
    if (file !== undefined) {
      this.#known.delete(born);
      this.#soon.get(file)?.();
      this.#soon.delete(file);
      file.remove();
      if (!file.closed) {
        this.#lingering.add(file);
        this.#context.large.linger(born);
        return;
      }
    }
    this.#context.large.retire(born);
  }

  /** The shard is given up. */
  leave(): void {
    for (const cancel of this.#soon.values()) cancel();
    const files = [...this.#known.values()].map(({ file }) => file);
    for (const file of [...files, ...this.#unstored, ...this.#lingering]) file.close();
    this.#soon.clear();
    this.#known.clear();
    this.#unstored.clear();
    this.#lingering.clear();
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
    if (errorCode(error) === "ENOENT") {
      if (known !== undefined) this.#context.remove(known.variant);
      return;
    }
    file.clear(block);
    this.commit(file);
    this.#context.reportDamage();
  }
}
