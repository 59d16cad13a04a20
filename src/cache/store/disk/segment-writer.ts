/**
 * Appends small objects to the shard's open segment. What waits is written with one write and committed
 * with one transaction: data first, then the rows, then everybody hears of it. A segment that an earlier
 * process left is never appended to.
 */

import type { FileSet } from "./file-set.ts";
import type { DiskFiles } from "./files.ts";
import { BATCH_BYTES_MAX, BATCH_RECORDS_MAX } from "./limits.ts";
import type { ShardIndex } from "./shard-index.ts";

/** Something to append. */
export interface Append {
  readonly body: Uint8Array;
  /** Puts the row in, within the batch's transaction. Not called when the write failed. */
  commit(file: number, offset: number): void;
  /** Called once: true when data and row are there. */
  settle(stored: boolean): void;
}

/** What the writer needs of its shard. */
export interface WriterContext {
  readonly files: DiskFiles;
  readonly segments: FileSet;
  readonly index: ShardIndex;
  readonly segmentBytes: number;
  nextId(): number;
  /** Called after each commit. */
  committed(): void;
  /** The write or the commit failed; the batch was not stored. */
  failed(error: unknown): void;
}

interface OpenSegment {
  readonly number: number;
  readonly descriptor: number;
  bytes: number;
}

/** The writer of one shard. */
export class SegmentWriter {
  readonly #context: WriterContext;
  #queue: Append[] = [];
  #open: OpenSegment | null = null;
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(context: WriterContext) {
    this.#context = context;
  }

  append(append: Append): void {
    if (this.#stopped) {
      append.settle(false);
      return;
    }
    this.#queue.push(append);
    this.#running ??= this.#run();
  }

  /** The segment that may still grow: it must not be removed. */
  get openSegment(): number | null {
    return this.#open?.number ?? null;
  }

  /** Ends the open segment, unless it is being written right now. */
  seal(): boolean {
    if (this.#running !== null) return false;
    this.#close();
    return true;
  }

  /** Waits for what was appended before. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  /** Gives up what waits. */
  stop(): void {
    this.#stopped = true;
    for (const append of this.#queue.splice(0)) append.settle(false);
    if (this.#running === null) this.#close();
  }

  async #run(): Promise<void> {
    // Everything that is appended in this turn goes with the same write.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0 && !this.#stopped) {
      const batch = this.#take();
      let stored = false;
      try {
        await this.#write(batch);
        stored = !this.#stopped;
      } catch (error) {
        // The tail of the segment is unknown now.
        this.#close();
        if (!this.#stopped) this.#context.failed(error);
      }
      for (const append of batch) append.settle(stored);
    }
    this.#running = null;
    if (this.#stopped) this.#close();
  }

  #take(): Append[] {
    const room = Math.min(BATCH_BYTES_MAX, this.#context.segmentBytes - (this.#open?.bytes ?? 0));
    let bytes = 0;
    let count = 0;
    for (const { body } of this.#queue) {
      if (count > 0 && (bytes + body.byteLength > room || count >= BATCH_RECORDS_MAX)) break;
      bytes += body.byteLength;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #write(batch: readonly Append[]): Promise<void> {
    const { files, segments, index } = this.#context;
    this.#open ??= await this.#next();
    const open = this.#open;
    let offset = open.bytes;
    const offsets = batch.map(({ body }) => {
      const own = offset;
      offset += body.byteLength;
      return own;
    });
    files.step("before-data");
    await files.write(
      open.descriptor,
      batch.map(({ body }) => body),
      open.bytes,
    );
    if (this.#stopped) return;
    segments.grow(open.number, offset - open.bytes);
    open.bytes = offset;
    files.step("before-row");
    index.transaction(
      () => {
        for (const [i, append] of batch.entries()) append.commit(open.number, offsets[i] ?? 0);
      },
      () => files.step("before-commit"),
    );
    files.step("after-commit");
    if (open.bytes >= this.#context.segmentBytes) this.#close();
    this.#context.committed();
  }

  async #next(): Promise<OpenSegment> {
    const number = this.#context.nextId();
    const descriptor = await this.#context.files.open(this.#context.segments.path(number), "write");
    this.#context.segments.grow(number, 0);
    return { number, descriptor, bytes: 0 };
  }

  #close(): void {
    if (this.#open !== null) this.#context.files.close(this.#open.descriptor);
    this.#open = null;
  }
}
