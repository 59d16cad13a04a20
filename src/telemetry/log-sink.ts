/**
 * Where log lines go: standard output or a file that is appended to. The sink takes a piece whole:
 * what the disk refused stays in `pending` and goes first at the next try, so that no line is torn.
 * A file that was removed is made again.
 */

import { write as writeFd } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

const STANDARD_OUTPUT_FD = 1;
/** Readable by the group (log shippers), not by others: addresses of viewers are personal. */
const FILE_MODE = 0o640;
/** How often standard output that takes nothing (a full pipe) is asked again within one write. */
const BUSY_RETRIES_MAX = 20;
const BUSY_WAIT_MS = 10;

/** An append-only destination. Writes must not overlap. */
export class LogSink {
  readonly #path: string | null;
  #file: FileHandle | null = null;
  #rest: Uint8Array | null = null;

  /** `target` is "-" for standard output, or a path. */
  constructor(target: string) {
    this.#path = target === "-" ? null : target;
  }

  /** True when a piece could not be written whole. */
  get pending(): boolean {
    return this.#rest !== null;
  }

  /** Writes the text, after what is pending. Rejects with the system's error; the text is then pending. */
  async write(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    this.#rest = this.#rest === null ? bytes : Buffer.concat([this.#rest, bytes]);
    await this.retry();
  }

  /** Writes what is pending. */
  async retry(): Promise<void> {
    if (this.#path !== null) await this.#ensureFile(this.#path);
    let busy = 0;
    while (this.#rest !== null) {
      let taken: number;
      try {
        taken = await this.#writeSome(this.#rest);
      } catch (error) {
        // A pipe that the runtime made non-blocking and that is full.
        if (!isBusy(error) || ++busy > BUSY_RETRIES_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, BUSY_WAIT_MS));
        continue;
      }
      this.#rest = taken < this.#rest.byteLength ? this.#rest.subarray(taken) : null;
    }
  }

  /** Closes the file; the next write opens it anew. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close().catch(() => {});
  }

  async #ensureFile(path: string): Promise<void> {
    if (this.#file !== null) {
      const { nlink } = await this.#file.stat();
      if (nlink > 0) return;
      // Removed under us: nobody could ever read what we write to it.
      await this.close();
    }
    this.#file = await open(path, "a", FILE_MODE);
  }

  async #writeSome(bytes: Uint8Array): Promise<number> {
    if (this.#file !== null) return (await this.#file.write(bytes)).bytesWritten;
    return await new Promise((resolve, reject) => {
      writeFd(STANDARD_OUTPUT_FD, bytes, (error, taken) => (error ? reject(error) : resolve(taken)));
    });
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EAGAIN";
}
