/** The folder of a CI run: it goes with the run, and what a killed one left goes with the next. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCiFolder } from "../../../src/cli/ci/folder.ts";

const LATER_MS = Date.now() + 120_000;

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "proxima-folder-"));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

test("only this user can read it, and it goes with what is in it", () => {
  const folder = makeCiFolder(parent);
  expect(statSync(folder.path).mode & 0o777).toBe(0o700);
  writeFileSync(folder.file("secret"), "x");
  folder.remove();
  expect(existsSync(folder.path)).toBe(false);
});

test("one that nobody holds is taken away; one in use, a young one and what is not ours are let be", () => {
  const left = join(parent, "proxima-ci-left");
  mkdirSync(join(left, "control"), { recursive: true });
  const other = join(parent, "proxima-other");
  mkdirSync(other);
  const running = makeCiFolder(parent);
  expect(existsSync(left)).toBe(true);
  const next = makeCiFolder(parent, LATER_MS);
  expect(existsSync(left)).toBe(false);
  expect(existsSync(other)).toBe(true);
  expect(existsSync(running.path)).toBe(true);
  running.remove();
  next.remove();
});
