/**
 * Content in a directory: `ab/abcdef...` by the hash's first two digits. A file comes by a rename from the
 * same file system after it was synchronised, and its folder is synchronised after that: a crash leaves it
 * whole or not at all.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { type BodyReader, bodyOf } from "../http/body.ts";
import type { BlobStore } from "./blob-store.ts";
import { PIECE_BYTES } from "./limits.ts";
import { StorageError } from "./storage-error.ts";

/** A directory of content. */
export class DirectoryBlobs implements BlobStore {
  readonly #root: string;
  /** Folders that are there, and stay. */
  readonly #folders = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  async publish(file: string, hash: string): Promise<void> {
    const path = this.#pathOf(hash);
    try {
      if (!this.#folders.has(dirname(path))) {
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await syncFolder(this.#root);
        this.#folders.add(dirname(path));
      }
      await rename(file, path);
      await syncFolder(dirname(path));
    } catch (error) {
      throw unavailable(error);
    }
  }

  async read(hash: string, start: number, end: number): Promise<BodyReader> {
    if (start >= end) return bodyOf(new Uint8Array(0));
    let file: FileHandle;
    try {
      file = await open(this.#pathOf(hash), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      throw unavailable(error);
    }
    return new FileReader(file, start, end);
  }

  async delete(hash: string): Promise<void> {
    await rm(this.#pathOf(hash), { force: true }).catch((error: unknown) => {
      throw unavailable(error);
    });
  }

  async has(hash: string, bytes: number): Promise<boolean> {
    try {
      return (await stat(this.#pathOf(hash))).size === bytes;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
      throw unavailable(error);
    }
  }

  #pathOf(hash: string): string {
    if (!/^[0-9a-f]{64}$/.test(hash)) throw new Error(`assertion failed: ${hash} is a SHA-256`);
    return join(this.#root, hash.slice(0, 2), hash);
  }
}

/** A span of a file, a piece at a time; the file is closed in the end, and never while a read is under way. */
export class FileReader implements BodyReader {
  readonly #file: FileHandle;
  readonly #end: number;
  #at: number;
  #closed = false;
  #reading = false;

  constructor(file: FileHandle, start: number, end: number) {
    this.#file = file;
    this.#at = start;
    this.#end = end;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#at >= this.#end) {
      this.cancel();
      return null;
    }
    if (this.#closed) throw new StorageError("unavailable", "the file is read no further");
    this.#reading = true;
    try {
      const wanted = Math.min(PIECE_BYTES, this.#end - this.#at);
      const { bytesRead, buffer } = await this.#file.read(new Uint8Array(wanted), 0, wanted, this.#at);
      if (bytesRead === 0) throw new StorageError("unavailable", "the content is shorter than it was");
      this.#at += bytesRead;
      return bytesRead === wanted ? buffer : buffer.subarray(0, bytesRead);
    } catch (error) {
      this.#closed = true;
      throw unavailable(error);
    } finally {
      this.#reading = false;
      if (this.#closed) this.#close();
    }
  }

  cancel(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#reading) this.#close();
  }

  #close(): void {
    this.#file.close().catch(() => {});
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function unavailable(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  return new StorageError("unavailable", `the storage directory does not answer: ${messageOf(error)}`, error);
}
