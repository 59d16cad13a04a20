/**
 * The files of a folder that is pushed. Left out are hidden files and folders (but `.well-known`, RFC 8615),
 * what the ignore list names, and the list itself; symbolic links and what is no file end the push, since
 * what viewers get must not depend on what lies outside the folder.
 */
import { type Dirent, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { compilePathPattern, type PathPattern } from "../../config/pattern.ts";
import { RELEASE_FILES_MAX } from "../../storage/limits.ts";
import { StorageError } from "../../storage/storage-error.ts";
import { checkPath } from "../../storage/zone-path.ts";
import { UsageError } from "../failure.ts";
import { plainText } from "../io.ts";

/** Name of the ignore list, in the folder itself. */
export const IGNORE_FILE = ".proximaignore";
const IGNORE_LINES_MAX = 1_000;
const DEPTH_MAX = 64;

/** A file to push. */
export interface LocalFile {
  /** In the zone. */
  readonly path: string;
  /** On this machine. */
  readonly file: string;
}

/** What was found. */
export interface Scan {
  readonly files: readonly LocalFile[];
  /** Hidden or ignored: files, and folders as one. */
  readonly leftOut: number;
}

/** Reads the folder. Rejects with a UsageError that names what can not be pushed. */
export async function scan(folder: string, ignore: readonly string[]): Promise<Scan> {
  const patterns = [...ignore, ...ignoreFile(folder)].map(patternOf);
  const files: LocalFile[] = [];
  let leftOut = 0;
  const walk = async (path: string, depth: number): Promise<void> => {
    if (depth > DEPTH_MAX)
      throw new UsageError(`the folder is nested deeper than ${DEPTH_MAX}: ${plainText(path)}`);
    let entries: Dirent[];
    try {
      entries = await readdir(join(folder, path), { withFileTypes: true });
    } catch (cause) {
      throw new UsageError(
        `folder ${plainText(join(folder, path))} can not be read: ${messageOf(cause)}`,
        cause,
      );
    }
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const name = path === "" ? entry.name : `${path}/${entry.name}`;
      const hidden = entry.name.startsWith(".") && !(depth === 0 && entry.name === ".well-known");
      if (hidden || patterns.some((pattern) => pattern.matches(`/${name}`) || pattern.matches(`/${name}/`))) {
        leftOut++;
        continue;
      }
      if (entry.isDirectory()) {
        await walk(name, depth + 1);
        continue;
      }
      if (!entry.isFile())
        throw new UsageError(
          `${plainText(join(folder, name))} is ${entry.isSymbolicLink() ? "a symbolic link" : "no file"}; push files alone, or leave it out with --ignore`,
        );
      files.push({ path: checked(name), file: join(folder, name) });
      if (files.length > RELEASE_FILES_MAX)
        throw new UsageError(
          `the folder holds more than ${RELEASE_FILES_MAX} files, which is the limit of a release`,
        );
    }
  };
  await walk("", 0);
  return { files, leftOut };
}

function checked(name: string): string {
  try {
    return checkPath(name);
  } catch (error) {
    if (error instanceof StorageError) throw new UsageError(`${plainText(name)}: ${error.message}`);
    throw error;
  }
}

/** Without a slash in front a pattern is meant in every folder. */
function patternOf(text: string): PathPattern {
  return compilePathPattern(text.startsWith("/") ? text : `*/${text}`);
}

function ignoreFile(folder: string): string[] {
  let text: string;
  try {
    text = readFileSync(join(folder, IGNORE_FILE), "utf8");
  } catch (error) {
    // That the folder itself is none is told when it is read.
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
      return [];
    throw new UsageError(`${IGNORE_FILE} can not be read: ${messageOf(error)}`, error);
  }
  const lines = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (lines.length > IGNORE_LINES_MAX)
    throw new UsageError(`${IGNORE_FILE} has more than ${IGNORE_LINES_MAX} lines`);
  return lines;
}
