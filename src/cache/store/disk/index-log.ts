/**
 * The files of an open shard's index: what they take, and when its write-ahead log is copied into the database.
 * A checkpoint makes this thread wait for the disk, and with it for all that other files have waiting to be
 * written. So the log is brought to the disk in the background first; what is left to wait for is little.
 */
import { statSync } from "node:fs";
import type { Budget } from "./budget.ts";
import type { DiskFiles } from "./files.ts";
import { LOG_ALLOWANCE } from "./limits.ts";
import type { IndexSizes, ShardIndex } from "./shard-index.ts";

const PAGE_BYTES = 4_096;

/** Pages that are given back at once: some milliseconds. */
const GIVE_BACK_PAGES = 64;

/** What it needs of its shard. */
export interface IndexLogContext {
  readonly index: ShardIndex;
  readonly files: DiskFiles;
  readonly budget: Budget;
  readonly indexSizes: IndexSizes;
  /** Runs index work while the shard is open; what fails is the shard's to handle. */
  guard(work: (index: ShardIndex) => void): void;
}

/** Counts and checkpoints one index. */
export class IndexLog {
  readonly #context: IndexLogContext;
  #countedBytes = 0;
  #checkpointing: Promise<void> | null = null;

  constructor(context: IndexLogContext) {
    this.#context = context;
  }

  /** The index was written to: its size is counted, and a checkpoint started if it is time. */
  committed(): void {
    if (this.#measure()) void this.#checkpoint();
  }

  /** Counts its files; true when it is time for a checkpoint. */
  #measure(): boolean {
    const threshold = this.#context.indexSizes.checkpointPages * PAGE_BYTES;
    let log = 0;
    this.#context.guard((index) => {
      const { budget } = this.#context;
      const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      log = sizeOf(`${index.path}-wal`);
      // The log counts as grown from the start, and pages that were given back until they are cut off.
      const pages = Math.max(index.pages() * PAGE_BYTES, sizeOf(index.path));
      const bytes = pages + Math.max(log, LOG_ALLOWANCE * threshold);
      budget.add(bytes - this.#countedBytes);
      this.#countedBytes = bytes;
    });
    return log > threshold;
  }

  /** The shard is given up: nothing of it counts any more. */
  leave(): void {
    this.#context.budget.add(-this.#countedBytes);
    this.#countedBytes = 0;
  }

  /** Gives pages that hold nothing back, some at a time, once they are many. */
  shrink(): void {
    this.#context.guard((index) => {
      if (index.freePages() <= Math.max(GIVE_BACK_PAGES, index.pages() / 4)) return;
      index.giveBack(GIVE_BACK_PAGES);
      this.committed();
    });
  }

  /** The same however few they are, and cuts them off; true when it takes less now. */
  async shrinkNow(): Promise<boolean> {
    const beforeBytes = this.#countedBytes;
    this.#context.guard((index) => index.giveBack(GIVE_BACK_PAGES));
    await this.#checkpointing;
    await this.#checkpoint();
    return this.#countedBytes < beforeBytes;
  }

  #checkpoint(): Promise<void> {
    this.#checkpointing ??= this.#syncAndCopy().finally(() => {
      this.#checkpointing = null;
    });
    return this.#checkpointing;
  }

  async #syncAndCopy(): Promise<void> {
    try {
      await this.#context.files.sync(`${this.#context.index.path}-wal`);
    } catch {
      // The checkpoint itself tells what is wrong.
    }
    this.#context.guard((index) => index.checkpoint());
    this.#measure();
  }
}
