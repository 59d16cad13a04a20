/**
 * The files of one kind in one shard (segments, or large objects), by number, with their sizes. A file of
 * which a slice was handed out outlives its retirement by a lease, because the runtime opens it by its
 * name only when it sends. One that somebody still uses lingers: it counts as used, not as going.
 */
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../../base/clock.ts";
import type { Budget } from "./budget.ts";
import type { Descriptors } from "./descriptors.ts";
import type { DiskFiles } from "./files.ts";
import { SLICE_LEASE_MS } from "./limits.ts";

/** What a set works with. */
export interface FileSetContext {
  readonly clock: Clock;
  readonly files: DiskFiles;
  readonly descriptors: Descriptors;
  readonly budget: Budget;
}

/** Numbered files in one directory. */
export class FileSet {
  readonly #directory: string;
  readonly #context: FileSetContext;
  readonly #sizes = new Map<number, number>();
  readonly #leases = new Map<number, number>();
  /** Not counted among the others, but still in use; with their sizes. */
  readonly #lingering = new Map<number, number>();
  readonly #waiting = new Map<number, { bytes: number; cancel: () => void }>();

  /** Makes the directory and takes in what is there; the newest have the largest numbers. */
  constructor(directory: string, context: FileSetContext) {
    this.#directory = directory;
    this.#context = context;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const numbers: number[] = [];
    for (const name of readdirSync(directory)) {
      const number = Number(name);
      if (/^\d{1,16}$/.test(name) && Number.isSafeInteger(number)) numbers.push(number);
    }
    for (const number of numbers.sort((a, b) => a - b)) {
      // What it takes on disk: a sparse file is longer than that, a cut one is not.
      const found = statSync(this.path(number), { throwIfNoEntry: false });
      if (found !== undefined) this.grow(number, Math.min(found.size, found.blocks * 512));
    }
  }

  /** Numbers, oldest first. */
  numbers(): IterableIterator<number> {
    return this.#sizes.keys();
  }

  get oldest(): number | null {
    return this.#sizes.keys().next().value ?? null;
  }

  get count(): number {
    return this.#sizes.size;
  }

  has(number: number): boolean {
    return this.#sizes.has(number);
  }

  size(number: number): number {
    return this.#sizes.get(number) ?? 0;
  }

  path(number: number): string {
    return join(this.#directory, String(number));
  }

  /** Counts bytes that were written to it. */
  grow(number: number, bytes: number): void {
    const lingering = this.#lingering.get(number);
    if (lingering === undefined) this.#sizes.set(number, (this.#sizes.get(number) ?? 0) + bytes);
    else {
      this.#lingering.set(number, lingering + bytes);
      this.#context.budget.linger(bytes);
    }
    this.#context.budget.add(bytes);
  }

  /** Nothing but its users refers to it any more: it stays until `endLinger`. */
  linger(number: number): void {
    const bytes = this.#sizes.get(number);
    if (bytes === undefined) return;
    this.#sizes.delete(number);
    this.#lingering.set(number, bytes);
    this.#context.budget.linger(bytes);
  }

  /** Its last user has gone. */
  endLinger(number: number): void {
    const bytes = this.#lingering.get(number);
    if (bytes === undefined) return;
    this.#lingering.delete(number);
    this.#context.budget.linger(-bytes);
    this.#sizes.set(number, bytes);
    this.retire(number);
  }

  /** A slice of it is being handed out. */
  lease(number: number): void {
    this.#leases.set(number, this.#context.clock.now() + SLICE_LEASE_MS);
  }

  /** Nothing refers to it any more: removed now, or when its lease has ended. */
  retire(number: number): void {
    const bytes = this.#sizes.get(number);
    if (bytes === undefined) return;
    this.#sizes.delete(number);
    this.#context.budget.retire(bytes);
    const leftMs = (this.#leases.get(number) ?? 0) - this.#context.clock.now();
    this.#leases.delete(number);
    if (leftMs <= 0) {
      this.#context.budget.removing(this.#remove(number, bytes));
      return;
    }
    const cancel = this.#context.clock.after(leftMs, () => {
      this.#waiting.delete(number);
      this.#context.budget.removing(this.#remove(number, bytes));
    });
    this.#waiting.set(number, { bytes, cancel });
  }

  /** The shard is given up: nothing of it counts any more. Retired files are removed at the next start. */
  forgetAll(): void {
    for (const { bytes, cancel } of this.#waiting.values()) {
      cancel();
      this.#context.budget.retire(-bytes);
      this.#context.budget.add(-bytes);
    }
    this.#waiting.clear();
    for (const [number, bytes] of this.#lingering) {
      this.#context.budget.linger(-bytes);
      this.#sizes.set(number, bytes);
    }
    this.#lingering.clear();
    for (const [number, bytes] of this.#sizes) {
      this.#context.descriptors.drop(this.path(number));
      this.#context.budget.add(-bytes);
    }
    this.#sizes.clear();
  }

  async #remove(number: number, bytes: number): Promise<void> {
    const { files, descriptors, budget } = this.#context;
    const path = this.path(number);
    descriptors.drop(path);
    try {
      files.step("before-unlink");
      await files.remove(path);
    } catch {
      // It is looked for again at the next start; until then it is not counted twice.
    }
    budget.retire(-bytes);
    budget.add(-bytes);
  }
}
