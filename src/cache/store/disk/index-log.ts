/**
 * The files of an open shard's index: what they take, and when its write-ahead log is copied into the database.
 * A checkpoint makes this thread wait for the disk, and with it for all that other files have waiting to be
 * written. So the log is brought to the disk in the background first; what is left to wait for is little.
 */
import { statSync } from "node:fs";
import type { Budget } from "./budget.ts";
import type { DiskFiles } from "./files.ts";
import type { IndexSizes, ShardIndex } from "./shard-index.ts";

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
  #checkpointing = false;

  constructor(context: IndexLogContext) {
    this.#context = context;
  }

  /** The index was written to: its size is counted, and a checkpoint started if it is time. */
  committed(): void {
    this.#context.guard((index) => {
      const { budget, indexSizes } = this.#context;
      const threshold = indexSizes.checkpointPages * 4096;
      const log = statSync(`${index.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
      // The log counts as grown to its checkpoint from the start.
      const bytes = index.bytes() + Math.max(log, threshold);
      budget.add(bytes - this.#countedBytes);
      this.#countedBytes = bytes;
      if (log > threshold && !this.#checkpointing) void this.#checkpoint();
    });
  }

  /** The shard is given up: nothing of it counts any more. */
  leave(): void {
    this.#context.budget.add(-this.#countedBytes);
    this.#countedBytes = 0;
  }

  async #checkpoint(): Promise<void> {
    this.#checkpointing = true;
    try {
      await this.#context.files.sync(`${this.#context.index.path}-wal`);
    } catch {
      // The checkpoint itself tells what is wrong.
    }
    this.#checkpointing = false;
    this.#context.guard((index) => index.checkpoint());
  }
}
