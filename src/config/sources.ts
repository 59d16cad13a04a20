/** The files that a config was made from, and whether they hold something else by now. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { messageOf } from "../base/errors.ts";

/** What a reading gave, and the files that it was made from. */
export interface Read<T> {
  readonly result: T;
  readonly files: readonly string[];
}

/** The sources of one config, from reading to reading. */
export class Sources {
  #files: readonly string[];
  /** Hash of each file as last read; null before the first reading. */
  #read: ReadonlyMap<string, string> | null = null;

  /** `file`: absolute path of the config itself. */
  constructor(file: string) {
    this.#files = [file];
  }

  /** The files that the config was last made from: itself, and what it imports. */
  get files(): readonly string[] {
    return this.#files;
  }

  /** Runs a reading, and remembers what the files held before it: what changes in between is a change that `changed` still sees. */
  async read<T>(reading: () => Promise<Read<T>>): Promise<T> {
    const before = await hashAll(this.#files);
    const { result, files } = await reading();
    this.#files = files;
    const read = new Map<string, string>();
    for (const source of files) read.set(source, before.get(source) ?? (await hashOf(source)));
    this.#read = read;
    return result;
  }

  /** True when a file holds something else than when it was last read, or nothing was read yet. */
  async changed(): Promise<boolean> {
    for (const [source, hash] of this.#read ?? []) if ((await hashOf(source)) !== hash) return true;
    return this.#read === null;
  }

  /** Takes the files as read as they are at this moment, when nothing was read yet. */
  takeAsRead(): void {
    this.#read ??= new Map(this.#files.map((source) => [source, hashSync(source)]));
  }
}

/** What a file holds, in few bytes; that it cannot be read is a content of its own. */
async function hashOf(file: string): Promise<string> {
  try {
    return sha256(await readFile(file));
  } catch (error) {
    return `unreadable: ${messageOf(error)}`;
  }
}

function hashSync(file: string): string {
  try {
    return sha256(readFileSync(file));
  } catch (error) {
    return `unreadable: ${messageOf(error)}`;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function hashAll(files: readonly string[]): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const file of files) hashes.set(file, await hashOf(file));
  return hashes;
}
