/**
 * The file operations that touch bodies, behind an interface, so that tests can fill the disk, break it
 * and end the process between any two steps. Directories and names are handled with node:fs directly.
 */
import { closeSync, open, read, unlink, writev } from "node:fs";
import { open as openFile } from "node:fs/promises";
import { ProximaError } from "../../../base/errors.ts";

/** Points between which a crash must lose nothing that was acknowledged. */
export type DiskStep =
  | "before-data"
  | "half-data"
  | "before-row"
  | "before-commit"
  | "after-commit"
  | "before-unlink";

/** File operations of the store. Errors are the system's own, with `code`. */
export interface DiskFiles {
  /** Opens for reading, or for writing (made when it is not there). */
  open(path: string, mode: "read" | "write"): Promise<number>;
  close(descriptor: number): void;
  /** Fills the buffer from `position`; rejects when the file ends before. */
  read(descriptor: number, buffer: Uint8Array, position: number): Promise<void>;
  /** Writes all pieces one after another from `position`. */
  write(descriptor: number, pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** Brings a file's bytes to the disk. */
  sync(path: string): Promise<void>;
  /** Removes a file; one that is not there is fine. */
  remove(path: string): Promise<void>;
  /** Called at each step; does nothing outside tests. */
  step(step: DiskStep): void;
}

/** The code of a system error, or null. */
export function errorCode(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
}

/** The machine's files. */
export const systemFiles: DiskFiles = {
  open: (path, mode) =>
    new Promise((resolve, reject) => {
      open(path, mode === "read" ? "r" : "a+", 0o600, (error, descriptor) => {
        if (error !== null) return reject(error);
        if (mode === "read") return resolve(descriptor);
        // "a+" only makes the file: on Linux an appending descriptor ignores positions.
        closeSync(descriptor);
        open(path, "r+", (again, writable) => (again === null ? resolve(writable) : reject(again)));
      });
    }),
  close(descriptor) {
    closeSync(descriptor);
  },
  async read(descriptor, buffer, position) {
    let done = 0;
    while (done < buffer.byteLength) {
      const count = await new Promise<number>((resolve, reject) => {
        read(descriptor, buffer, done, buffer.byteLength - done, position + done, (error, bytes) =>
          error === null ? resolve(bytes) : reject(error),
        );
      });
      if (count === 0)
        throw new ProximaError("disk_short", "the file ends before the object", { source: "node" });
      done += count;
    }
  },
  async write(descriptor, pieces, position) {
    let rest = pieces.filter((piece) => piece.byteLength > 0);
    let at = position;
    while (rest.length > 0) {
      // The kernel takes at most 1,024 pieces at once.
      const now = rest.slice(0, 1_000);
      const count = await new Promise<number>((resolve, reject) => {
        writev(descriptor, now, at, (error, bytes) => (error === null ? resolve(bytes) : reject(error)));
      });
      if (count === 0) throw new ProximaError("disk_short", "the disk took no bytes", { source: "node" });
      at += count;
      rest = after(rest, count);
    }
  },
  async sync(path) {
    const file = await openFile(path, "r+");
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
  },
  remove: (path) =>
    new Promise((resolve, reject) => {
      unlink(path, (error) => (error === null || error.code === "ENOENT" ? resolve() : reject(error)));
    }),
  step() {},
};

/** What is left of the pieces after the first `count` bytes. */
function after(pieces: readonly Uint8Array[], count: number): Uint8Array[] {
  const left: Uint8Array[] = [];
  let skip = count;
  for (const piece of pieces) {
    if (skip >= piece.byteLength) skip -= piece.byteLength;
    else {
      left.push(skip > 0 ? piece.subarray(skip) : piece);
      skip = 0;
    }
  }
  return left;
}
