/**
 * Removals that the disk did not take: full, broken, or its shard off. They are remembered here and paid when
 * the disk takes them. A process may end before that, so the shard's file `settled` is removed before the
 * first one is owed, which needs no room, and made again when all are paid: a shard without it starts empty.
 */
import { statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "./files.ts";
import { OWED_REMOVALS_MAX } from "./limits.ts";

const NAME = "settled";

/** True when nothing is owed to the shard in this directory. */
export function isSettled(directory: string): boolean {
  return statSync(join(directory, NAME), { throwIfNoEntry: false }) !== undefined;
}

/** Says that nothing is owed to the shard in this directory. */
export function settle(directory: string): void {
  writeFileSync(join(directory, NAME), "", { mode: 0o600 });
}

/** What is owed to one shard. */
export class OwedRemovals {
  readonly #directory: string;
  readonly #unnoted: (error: unknown) => void;
  readonly #keys = new Set<string>();
  #all = false;
  /** The file was removed by this process. */
  #noted = false;

  /** `unnoted` hears of a removal that would not outlive the process. */
  constructor(directory: string, unnoted: (error: unknown) => void) {
    this.#directory = directory;
    this.#unnoted = unnoted;
  }

  /** True when the URL's removal is owed: what is stored under it does not count. */
  has(key: string): boolean {
    return this.#all || (this.#keys.size > 0 && this.#keys.has(key));
  }

  /** More is owed than is remembered: everything has to go. */
  get all(): boolean {
    return this.#all;
  }

  /** This process knows what is owed to a shard that is not settled. */
  get noted(): boolean {
    return this.#noted;
  }

  /** Nothing is owed, and the disk says so. */
  get settled(): boolean {
    return this.#keys.size === 0 && !this.#all && !this.#noted;
  }

  get keys(): ReadonlySet<string> {
    return this.#keys;
  }

  /** A URL's removal is owed from now on. */
  add(key: string): void {
    this.#note();
    if (this.#keys.size < OWED_REMOVALS_MAX) this.#keys.add(key);
    else this.#all = true;
  }

  /** One was paid in passing. */
  delete(key: string): void {
    this.#keys.delete(key);
  }

  /** All were paid. Throws the system's error when the disk does not take that; then it is said again later. */
  paid(): void {
    this.#keys.clear();
    this.#all = false;
    if (!this.#noted) return;
    settle(this.#directory);
    this.#noted = false;
  }

  /** The shard is empty and settled: there is nothing to remove. */
  forget(): void {
    this.#keys.clear();
    this.#all = false;
    this.#noted = false;
  }

  #note(): void {
    if (this.#noted) return;
    try {
      unlinkSync(join(this.#directory, NAME));
    } catch (error) {
      // Without the file, or the whole directory, there is nothing that would come back.
      if (errorCode(error) !== "ENOENT" && errorCode(error) !== "ENOTDIR") {
        this.#unnoted(error);
        return;
      }
    }
    this.#noted = true;
  }
}
