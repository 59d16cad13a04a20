/** The files that a config was made from, and whether they hold something else by now. */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { messageOf } from "../base/errors.ts";

/** Larger config files are refused. */
export const FILE_BYTES_MAX = 64 * 2 ** 20;

/** How files are opened: without waiting, because what stands in a file's place may be a pipe that nobody writes to. */
export const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/** What a reading gave, and the files that it was made from. */
export interface Read<T> {
  readonly result: T;
  readonly files: readonly string[];
  /** Nothing was read, and not because of what the files hold: the same may be read another time. */
  readonly missed?: boolean;
}

/** The sources of one config, from reading to reading. */
export class Sources {
  #files: readonly string[];
  /** Hash of each file as last read; null before the first reading. */
  #read: ReadonlyMap<string, string> | null = null;

  #missed = false;

  /** `file`: absolute path of the config itself. */
  constructor(file: string) {
    this.#files = [file];
  }

  /** The files that the config was last made from: itself, and what it imports. */
  get files(): readonly string[] {
    return this.#files;
  }

  /** The last reading came to nothing, and not because of what the files hold. */
  get missed(): boolean {
    return this.#missed;
  }

  /** Runs a reading, and remembers what the files held before it: what changes in between is a change that `changed` still sees. */
  async read<T>(reading: () => Promise<Read<T>>): Promise<T> {
    const startMs = Date.now();
    const before = await hashAll(this.#files);
    const { result, files, missed = false } = await reading();
    this.#files = files;
    const read = new Map<string, string>();
    for (const source of files) read.set(source, before.get(source) ?? (await hashOf(source, startMs)));
    this.#read = read;
    this.#missed = missed;
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

/**
 * What a file holds, in few bytes; that it cannot be read is a content of its own. Of a file that was written after
 * `knownMs` nobody knows what it held then: nothing that it holds is the same.
 */
async function hashOf(file: string, knownMs = Number.POSITIVE_INFINITY): Promise<string> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(file, OPEN_FLAGS);
    const stats = await handle.stat();
    if (stats.mtimeMs > knownMs) return "written meanwhile";
    return unread(stats) ?? sha256(await handle.readFile());
  } catch (error) {
    return unreadable(error);
  } finally {
    await handle?.close();
  }
}

function hashSync(file: string): string {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(file, OPEN_FLAGS);
    return unread(fstatSync(descriptor)) ?? sha256(readFileSync(descriptor));
  } catch (error) {
    return unreadable(error);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

/** What stands for the content of what is not read here either; null for a file that is. */
function unread(stats: Stats): string | null {
  if (!stats.isFile()) return "not a file";
  return stats.size > FILE_BYTES_MAX ? `too large: ${stats.size} ${stats.mtimeMs}` : null;
}

function unreadable(error: unknown): string {
  return `unreadable: ${error instanceof Error && "code" in error ? String(error.code) : messageOf(error)}`;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function hashAll(files: readonly string[]): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const file of files) hashes.set(file, await hashOf(file));
  return hashes;
}
