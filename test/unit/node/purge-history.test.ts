/** What a node knows of its purges and invalidations from one start to the next. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidationLog } from "../../../src/node/invalidation-log.ts";
import { PurgeHistory } from "../../../src/node/purge-history.ts";
import { PurgeLog } from "../../../src/node/purge-log.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-history-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const everything = { site: "test", scope: "everything", targets: [], mode: "hard", acceptedMs: 0 } as const;

function open() {
  const purges = new PurgeLog(join(folder, "purges.db"));
  const invalidations = new InvalidationLog(join(folder, "invalidations.db"));
  const problems: string[] = [];
  const history = new PurgeHistory(purges, invalidations, (message) => problems.push(message));
  const close = () => {
    purges.close();
    invalidations.close();
  };
  return { purges, invalidations, history, problems, close };
}

test("invalidations by tag and by URL come back in order, after the place that is asked for", () => {
  const first = open();
  const { base } = first.history;
  const one = { sequence: base + 1, site: "test", tags: ["a"], urls: [] };
  const two = { sequence: base + 2, site: "test", tags: [], urls: ["h/a", "h/b?x=1"] };
  first.history.remember(one);
  first.history.remember(two);
  first.close();
  const next = open();
  expect(next.history.base).toBeGreaterThan(base + 2);
  expect(next.history.since({ sequence: 0, local: base }).invalidations).toEqual([one, two]);
  expect(next.history.since({ sequence: 0, local: base + 1 }).invalidations).toEqual([two]);
  next.close();
});

test("one whose failing disk can not note it is reported, and does not fail", () => {
  const { history, invalidations, purges, problems } = open();
  invalidations.close();
  history.remember({ sequence: history.base + 1, site: "test", tags: ["a"], urls: [] });
  expect(purges.append(everything, null).isNew).toBe(true);
  expect(problems.map((problem) => problem.replace(/\(.*\)/, "(…)"))).toEqual([
    "an invalidation could not be noted (…): it is in force, and may not be for the disk cache after a restart",
    "how far the purge log has come could not be noted (…): it is in force, and may not be for the disk cache after a restart",
  ]);
  purges.close();
});

test("a purge log that is an older copy of itself is another log; the same one, and one that went on, are not", () => {
  const first = open();
  first.purges.append(everything, null);
  const { id } = first.purges;
  first.close();
  copyFileSync(join(folder, "purges.db"), join(folder, "older.db"));
  const second = open();
  expect(second.purges.id).toBe(id);
  second.purges.append(everything, null);
  second.close();
  const third = open();
  expect(third.purges.id).toBe(id);
  third.close();
  copyFileSync(join(folder, "older.db"), join(folder, "purges.db"));
  const restored = open();
  const { id: another } = restored.purges;
  expect(another).not.toBe(id);
  restored.close();
  // And stays that one.
  const later = open();
  expect(later.purges.id).toBe(another);
  later.close();
});
