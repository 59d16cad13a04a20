/**
 * The data of a local CI run: a folder that goes when the run ends. One that was killed outright leaves its
 * folder; the next run takes it away, once it is certain that nobody holds it.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDataDir } from "../../service/data-dir.ts";

const PREFIX = "proxima-ci-";
/** A younger folder may be one whose owner has not locked it yet, in milliseconds. */
const ABANDONED_AFTER_MS = 60_000;
/** Folders of others that are looked at in one start. */
const LOOKED_AT_MAX = 100;

/** A run's folder. */
export interface CiFolder {
  readonly path: string;
  /** Path of something in it. */
  file(...names: string[]): string;
  /** Takes it away with everything in it. */
  remove(): void;
}

/** Makes a folder that only this user can read (mode 0700), and takes away those that were left. */
export function makeCiFolder(parent = tmpdir(), nowMs = Date.now()): CiFolder {
  sweep(parent, nowMs);
  const path = mkdtempSync(join(parent, PREFIX));
  const lock = openDataDir(join(path, "run"), "proxima dev --ci");
  return {
    path,
    file: (...names) => join(path, ...names),
    remove() {
      lock.release();
      rmSync(path, { recursive: true, force: true });
    },
  };
}

function sweep(parent: string, nowMs: number): void {
  const left = readdirSync(parent).filter((name) => name.startsWith(PREFIX));
  for (const name of left.slice(0, LOOKED_AT_MAX)) {
    const path = join(parent, name);
    try {
      if (nowMs - statSync(path).mtimeMs < ABANDONED_AFTER_MS) continue;
      mkdirSync(join(path, "run"), { recursive: true });
      // Refused while its owner lives.
      openDataDir(join(path, "run")).release();
      rmSync(path, { recursive: true, force: true });
    } catch {
      // In use, or another user's.
    }
  }
}
