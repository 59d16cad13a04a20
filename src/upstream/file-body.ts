/**
 * The body of a file that is already open: a span of bytes read piece by piece from one descriptor, so
 * that a file replaced by rename meanwhile is still sent whole. One read is in flight at most, and the
 * descriptor is closed only after it has ended: a closed number is given to the next file at once, and a
 * late read would take that file's bytes.
 */
import type { FileHandle } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { BodyReader } from "../http/body.ts";
import { UpstreamError } from "./next-hop.ts";

/** Size of a piece, in bytes: large enough that a system call is cheap beside it, small enough to hold many. */
export const PIECE_BYTES = 128 * 1024;

/** What tells one state of a file from another: a change while it is read spoils the body. */
export interface FileVersion {
  readonly inode: bigint;
  readonly size: bigint;
  readonly modifiedNs: bigint;
}

/** The version of an open file as it is now. */
export async function versionOf(file: FileHandle): Promise<FileVersion> {
  const stat = await file.stat({ bigint: true });
  return { inode: stat.ino, size: stat.size, modifiedNs: stat.mtimeNs };
}

/** What a body is read from, and how long it may take. */
export interface FileSpan {
  /** Owned by the body, which closes it in all cases. */
  readonly file: FileHandle;
  /** First byte, and the one after the last. */
  readonly start: number;
  readonly end: number;
  /** The version that the answer's fields were made of. */
  readonly version: FileVersion;
  readonly clock: Clock;
  /** Limit of one read, in milliseconds. */
  readonly readLimitMs: number;
  readonly signal: AbortSignal | null;
  /** Runs once, when the descriptor is given back. */
  readonly onClose: () => void;
}

/** Bytes of an open file. Rejects with an UpstreamError when they are not there whole, or no longer the same. */
export class FileBody implements BodyReader {
  readonly #span: FileSpan;
  #position: number;
  #reading = false;
  #state: "open" | "whole" | "failed" = "open";
  #failure: UpstreamError | null = null;
  #closed = false;

  constructor(span: FileSpan) {
    this.#span = span;
    this.#position = span.start;
    span.signal?.addEventListener("abort", this.#giveUp, { once: true });
    if (span.signal?.aborted) this.#giveUp();
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#failure !== null) throw this.#failure;
    if (this.#state === "whole") return null;
    const { clock, readLimitMs } = this.#span;
    try {
      const piece = await within(clock, readLimitMs, null, this.#next());
      // Given up while the read was in flight.
      if (this.#failure !== null) throw this.#failure;
      if (piece === null) this.#end(null);
      return piece;
    } catch (error) {
      throw this.#end(asUpstreamError(error));
    }
  }

  cancel(): void {
    this.#giveUp();
  }

  readonly #giveUp = (): void => {
    if (this.#state === "open") this.#end(givenUp());
  };

  async #next(): Promise<Uint8Array | null> {
    this.#reading = true;
    try {
      const { file, end } = this.#span;
      const wanted = Math.min(PIECE_BYTES, end - this.#position);
      if (wanted === 0) return await this.#verify();
      const piece = new Uint8Array(wanted);
      const { bytesRead } = await file.read(piece, 0, wanted, this.#position);
      if (bytesRead === 0) {
        const missing = `${end - this.#position} bytes are missing`;
        throw new UpstreamError("http_response_incomplete", `the file was cut while it was sent, ${missing}`);
      }
      this.#position += bytesRead;
      return bytesRead === wanted ? piece : piece.subarray(0, bytesRead);
    } finally {
      this.#reading = false;
      if (this.#state !== "open") this.#close();
    }
  }

  /** A file written to in place while it was read may be half old and half new: that is no whole body. */
  async #verify(): Promise<null> {
    const now = await versionOf(this.#span.file);
    const { size, modifiedNs } = this.#span.version;
    if (now.size === size && now.modifiedNs === modifiedNs) return null;
    throw new UpstreamError("http_response_incomplete", "the file was changed while it was sent");
  }

  /** The one way out: whole (null) or failed; the first failure stays. */
  #end(failure: UpstreamError | null): UpstreamError | null {
    if (this.#state === "open") {
      this.#state = failure === null ? "whole" : "failed";
      this.#failure = failure;
      this.#span.signal?.removeEventListener("abort", this.#giveUp);
    }
    if (!this.#reading) this.#close();
    return this.#failure;
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#span.onClose();
    // Nothing depends on how closing a file that was only read ends.
    this.#span.file.close().catch(() => {});
  }
}

/** The error of an exchange that its asker no longer wants. */
export function givenUp(): UpstreamError {
  return new UpstreamError("connection_terminated", "the asker gave up");
}

/**
 * `work`, or an UpstreamError when it takes longer than `limitMs` or `signal` fires; a file system on a
 * network can hang, and a call to it can not be taken back. `discard` gets a result that comes too late.
 */
export function within<T>(
  clock: Clock,
  limitMs: number,
  signal: AbortSignal | null,
  work: Promise<T>,
  discard: (late: T) => void = () => {},
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let over = false;
    const done = () => {
      over = true;
      cancelTimer();
      signal?.removeEventListener("abort", abort);
    };
    const abort = () => {
      done();
      reject(givenUp());
    };
    const cancelTimer = clock.after(limitMs, () => {
      done();
      reject(
        new UpstreamError("http_response_timeout", `the file system did not answer within ${limitMs} ms`),
      );
    });
    signal?.addEventListener("abort", abort, { once: true });
    work.then(
      (value) => {
        if (over) return discard(value);
        done();
        resolve(value);
      },
      (error: unknown) => {
        if (over) return;
        done();
        reject(error);
      },
    );
  });
}

function asUpstreamError(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  return new UpstreamError("http_response_incomplete", `reading the file failed: ${messageOf(error)}`, {
    cause: error,
  });
}
