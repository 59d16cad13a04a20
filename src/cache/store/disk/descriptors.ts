/**
 * Open files for reading and for large objects, at most so many: the least recently used that nobody
 * holds is closed. A path is opened once however many ask at the same time.
 */
import { ChurnMap } from "../../../base/churn-map.ts";
import type { DiskFiles } from "./files.ts";

interface OpenFile {
  readonly opening: Promise<number>;
  users: number;
  /** Closed as soon as nobody holds it. */
  dropped: boolean;
}

/** A bounded set of open files. */
export class Descriptors {
  readonly #files: DiskFiles;
  readonly #max: number;
  /** In order of use, oldest first. */
  readonly #open = new ChurnMap<string, OpenFile>();

  constructor(files: DiskFiles, max: number) {
    this.#files = files;
    this.#max = max;
  }

  /** Runs `use` with the file open; rejects with the system's error when it can not be opened. */
  async with<T>(path: string, mode: "read" | "write", use: (descriptor: number) => Promise<T>): Promise<T> {
    const name = `${mode} ${path}`;
    let file = this.#open.get(name);
    if (file === undefined) {
      file = { opening: this.#files.open(path, mode), users: 0, dropped: false };
      this.#trim();
    } else this.#open.delete(name);
    this.#open.set(name, file);
    file.users++;
    try {
      return await use(await file.opening);
    } catch (error) {
      // A file that could not be opened is tried anew next time.
      await file.opening.catch(() => {
        if (this.#open.get(name) === file) this.#open.delete(name);
        file.dropped = false;
      });
      throw error;
    } finally {
      file.users--;
      if (file.dropped && file.users === 0) this.#close(file);
    }
  }

  /** Closes a file that is about to be removed, as soon as nobody reads it. */
  drop(path: string): void {
    for (const mode of ["read", "write"]) this.#drop(`${mode} ${path}`);
  }

  /** Closes everything. */
  closeAll(): void {
    for (const name of this.#open.keys()) this.#drop(name);
  }

  get size(): number {
    return this.#open.size;
  }

  #drop(name: string): void {
    const file = this.#open.get(name);
    if (file === undefined) return;
    this.#open.delete(name);
    file.dropped = true;
    if (file.users === 0) this.#close(file);
  }

  #trim(): void {
    if (this.#open.size < this.#max) return;
    for (const name of this.#open.keys()) {
      if (this.#open.size < this.#max) return;
      if (this.#open.get(name)?.users === 0) this.#drop(name);
    }
  }

  #close(file: OpenFile): void {
    void file.opening.then(
      (descriptor) => this.#files.close(descriptor),
      () => {},
    );
  }
}
