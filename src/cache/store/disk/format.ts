/**
 * `DIR/format` says which version wrote the directory and holds the store's own seed. It is written whole
 * or not at all, and never changed: the first process that makes it wins.
 */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

const NAME = "format";
const BYTES_MAX = 1_024;

/** Path of the format file. */
export function formatPath(path: string): string {
  return join(path, NAME);
}

/** Reads the file: null when there is none, "other" when another version or anything else wrote it. */
export function readFormat(path: string): DiskFormat | "other" | null {
  let text: string;
  try {
    text = readFileSync(formatPath(path), "utf8").slice(0, BYTES_MAX);
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return null;
    throw error;
  }
  const match = /^proxima-disk (\d{1,9}) ([0-9a-f]{16})\n$/.exec(text);
  if (match === null || Number(match[1]) !== FORMAT_VERSION) return "other";
  return { version: FORMAT_VERSION, seed: BigInt(`0x${match[2]}`) };
}

/** Makes the directory and its format file; another process may be first, then its file counts. */
export function makeFormat(path: string, seed?: bigint): DiskFormat | "other" {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const own = seed ?? crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  const temporary = join(path, `${NAME}.${process.pid}.${crypto.randomUUID()}`);
  try {
    writeFileSync(temporary, `proxima-disk ${FORMAT_VERSION} ${own.toString(16).padStart(16, "0")}\n`, {
      mode: 0o600,
    });
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
