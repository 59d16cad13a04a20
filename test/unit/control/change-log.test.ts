/** The fleet's log: one order, whatever happens to the process, its clock and its file. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { type ChangeLog, LocalChangeLog } from "../../../src/control/change-log.ts";
import { ControlDatabase } from "../../../src/control/database.ts";

let folder = "";
let clock = new ManualClock();
let database: ControlDatabase;
let log: ChangeLog;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-log-"));
  clock = new ManualClock();
  open();
});
afterEach(() => {
  log.close();
  database.close();
  rmSync(folder, { recursive: true, force: true });
});

function open(): void {
  database = new ControlDatabase(join(folder, "control.db"));
  log = new LocalChangeLog(database, clock);
}

function reopen(between = () => {}): void {
  log.close();
  database.close();
  between();
  open();
}

const tags = (...targets: string[]) =>
  ({ kind: "purge", id: "i", site: "s", scope: "tag", targets, mode: "hard" }) as const;

describe("the change log", () => {
  test("gives what is behind a place, in order", () => {
    const start = log.head();
    const made = ["a", "b", "c"].map((tag) => log.append(tags(tag), 1));
    expect(log.since(start)).toEqual(made);
    expect(log.since(made[1] ?? start)).toEqual(made.slice(2));
    expect(log.since(log.head())).toEqual([]);
  });

  test("does not know a place with another digest, or one that is not there", () => {
    const { sequence, digest } = log.append(tags("a"), 1);
    expect(log.since({ sequence, digest: "0".repeat(32) })).toBeNull();
    expect(log.since({ sequence: sequence + 1, digest })).toBeNull();
    expect(log.since({ sequence: 0, digest })).toBeNull();
    expect(log.since({ sequence: 1, digest: "" })).toBeNull();
  });

  test("has a place before its first entry, as long as that is kept", () => {
    log.append(tags("a"), 1);
    const start = { sequence: 0, digest: "" };
    expect(log.placeAt(0)).toEqual(start);
    const [first, second] = log.since(start) ?? [];
    expect([first?.body.kind, second?.body.kind]).toEqual(["start", "purge"]);
    expect(log.placeAt(first?.sequence ?? 0)).toEqual({
      sequence: first?.sequence ?? 0,
      digest: first?.digest ?? "",
    });
    database.run("DELETE FROM changes WHERE sequence = ?", first?.sequence ?? 0);
    log.append(tags("b"), 1);
    expect(log.since(start)).toBeNull();
    expect(log.placeAt(0)).toEqual({ sequence: second?.sequence ?? 0, digest: second?.digest ?? "" });
  });

  test("numbers grow over restarts, also with a clock that was set back", () => {
    const before = log.append(tags("a"), 1);
    clock = new ManualClock(0);
    reopen();
    const after = log.append(tags("b"), 1);
    expect(after.sequence).toBeGreaterThan(before.sequence);
    expect(log.since(before)?.map(({ body }) => body.kind)).toEqual(["start", "purge"]);
  });

  test("of which an older copy was put back is known by its digests, and goes on above the newer one", () => {
    log.append(tags("a"), 1);
    const copy = join(folder, "copy");
    reopen(() => cpSync(join(folder, "control.db"), copy));
    const lost = [log.append(tags("b"), 1), log.append(tags("c"), 1)];
    clock.advance(60_000);
    reopen(() => {
      for (const name of ["control.db", "control.db-wal", "control.db-shm"])
        rmSync(join(folder, name), { force: true });
      cpSync(copy, join(folder, "control.db"));
    });
    for (const place of lost) {
      expect(log.since(place)).toBeNull();
      expect(log.head().sequence).toBeGreaterThan(place.sequence);
    }
  });

  test("is on another branch from the first entry on that is different, though later ones look the same", () => {
    const copy = join(folder, "copy");
    reopen(() => cpSync(join(folder, "control.db"), copy));
    log.append(tags("b"), 1);
    const lost = log.append(tags("c"), 1);
    reopen(() => {
      for (const name of ["control.db", "control.db-wal", "control.db-shm"])
        rmSync(join(folder, name), { force: true });
      cpSync(copy, join(folder, "control.db"));
    });
    log.append(tags("x"), 1);
    const alike = log.append(tags("c"), 1);
    expect([alike.sequence, alike.acceptedMs]).toEqual([lost.sequence, lost.acceptedMs]);
    expect(log.since(lost)).toBeNull();
  });

  test("gives an answer no more targets than it may have, and the rest with the next", () => {
    const start = log.head();
    const many = Array.from({ length: 10_000 }, (_, i) => String(i));
    for (let i = 0; i < 25; i++) log.append(tags(...many), many.length);
    const first = log.since(start) ?? [];
    expect(first).toHaveLength(10);
    expect(log.since(first.at(-1) ?? start)).toHaveLength(10);
  });

  test("keeps no more entries than it may; who is further behind is told so", () => {
    const start = log.head();
    const first = log.append(tags("a"), 1);
    database.transaction(() => {
      for (let i = 0; i < 20_200; i++) log.append(tags("a"), 1);
    });
    expect(log.since(start)).toBeNull();
    expect(log.since(first)).toBeNull();
    expect(log.since(log.head())).toEqual([]);
  });

  test("wakes who waits when an entry is there, when the time is over, and at its end", async () => {
    const never = new AbortController().signal;
    const woken = log.changed(log.head().sequence, 25_000, never);
    const made = log.append(tags("a"), 1);
    await woken;
    // Nobody waits for what is there already.
    await log.changed(made.sequence - 1, 25_000, never);
    const late = log.changed(made.sequence, 25_000, never);
    clock.advance(25_000);
    await late;
    const gone = new AbortController();
    const given = log.changed(made.sequence, 25_000, gone.signal);
    gone.abort();
    await given;
    const ended = log.changed(made.sequence, 25_000, never);
    log.close();
    await ended;
    expect(log.waiting).toBe(0);
  });
});
