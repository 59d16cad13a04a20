/**
 * `DIR/format` says which version wrote the directory and holds the store's own seed. It is written whole
 * or not at all, and never changed: the first process that makes it wins.
 */
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ProximaError } from "../../../base/errors.ts";
import { errorCode } from "./files.ts";
import { FORMAT_VERSION } from "./limits.ts";

/** What the file says. */
export interface DiskFormat {
  readonly version: number;
  /** Spreads keys within an index in a way that nobody outside can foresee. */
  readonly seed: bigint;
}

/** A directory that this version can not use. `version` is null when its format file is not Proxima's. */
export interface ForeignFormat {
  readonly version: number | null;
  /** The file is empty: a power cut took what was in it. */
  readonly lost: boolean;
}

const NAME = "format";
const BYTES_MAX = 1_024;

/** Path of the format file. */
export function formatPath(path: string): string {
  return join(path, NAME);
}

/** True for a format that this version can use. */
export function isOwn(format: DiskFormat | ForeignFormat): format is DiskFormat {
  return "seed" in format;
}

/** Reads the file; null when there is none. Throws the system's error. */
export function readFormat(path: string): DiskFormat | ForeignFormat | null {
  const bytes = new Uint8Array(BYTES_MAX);
  let length: number;
  try {
    const file = openSync(formatPath(path), "r");
    try {
      length = readSync(file, bytes, 0, BYTES_MAX, 0);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return null;
    throw error;
  }
  const text = Buffer.from(bytes.buffer, 0, length).toString("latin1");
  const match = /^proxima-disk (\d{1,9}) ([0-9a-f]{16})\n$/.exec(text);
  if (match !== null && Number(match[1]) === FORMAT_VERSION)
    return { version: FORMAT_VERSION, seed: BigInt(`0x${match[2]}`) };
  // What stands behind the version is that version's own.
  const version = /^proxima-disk (\d{1,9})[ \n]/.exec(text)?.[1];
  const known = version === undefined ? null : Number(version);
  return { version: known === FORMAT_VERSION ? null : known, lost: length === 0 };
}

/** Makes the directory and its format file; another process may be first, then its file counts. */
export function makeFormat(path: string, seed?: bigint): DiskFormat | ForeignFormat {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const own = seed ?? crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  const temporary = join(path, `${NAME}.${process.pid}.${crypto.randomUUID()}`);
  try {
    const file = openSync(temporary, "wx", 0o600);
    try {
      writeSync(file, `proxima-disk ${FORMAT_VERSION} ${own.toString(16).padStart(16, "0")}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    linkSync(temporary, formatPath(path));
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
  const format = readFormat(path);
  if (format === null)
    throw new ProximaError("disk_unusable", `${formatPath(path)} went away`, { source: "node" });
  return format;
}
