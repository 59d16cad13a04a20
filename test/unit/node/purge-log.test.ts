/** The purge log of a node in a fleet: entries and the place behind them are one. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PurgeLog } from "../../../src/node/purge-log.ts";

let folder = "";
let log: PurgeLog;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-purge-log-"));
  log = new PurgeLog(join(folder, "purges.db"), false);
});
afterEach(() => {
  log.close();
  rmSync(folder, { recursive: true, force: true });
});

const purge = (sequence: number, id = `p${sequence}`) =>
  ({ id, sequence, site: "s", scope: "tag", targets: ["t"], mode: "hard", acceptedMs: 5 }) as const;
const place = (sequence: number) => ({ log: "fleet", sequence, digest: `d${sequence}` });

describe("the purge log of a node in a fleet", () => {
  test("takes the fleet's numbers, above its own from before", () => {
    const own = log.append(
      { site: "s", scope: "tag", targets: ["x"], mode: "hard", acceptedMs: 1 },
      null,
    ).entry;
    expect(log.fleet).toBeNull();
    expect(log.take([purge(1_000), purge(1_007)], place(1_009)).map(({ sequence }) => sequence)).toEqual([
      1_000, 1_007,
    ]);
    expect([log.newest, log.fleet, log.from]).toEqual([1_007, place(1_009), 0]);
    expect(log.since(own.sequence).map(({ sequence }) => sequence)).toEqual([1_000, 1_007]);
  });

  test("takes nothing twice", () => {
    log.take([purge(10)], place(10));
    expect(log.take([purge(10), purge(11)], place(11)).map(({ sequence }) => sequence)).toEqual([11]);
    expect(log.since(0)).toHaveLength(2);
  });

  test("takes all with the place, or nothing", () => {
    log.take([purge(10)], place(10));
    expect(() => log.take([purge(11), purge(12, "p11")], place(12))).toThrow();
    expect([log.newest, log.fleet?.sequence]).toEqual([10, 10]);
  });

  test("knows its place after a restart, and what was not counted", () => {
    log.take([purge(10), purge(20)], place(21));
    log.setCounted(10, 3);
    log.close();
    log = new PurgeLog(join(folder, "purges.db"), false);
    expect(log.fleet).toEqual(place(21));
    expect([...log.unswept()].map(({ sequence }) => sequence)).toEqual([20]);
  });

  test("tells from where on it is whole, whatever its numbers, and never drops what was not counted", () => {
    const count = 11_500;
    log.take(
      Array.from({ length: count }, (_, i) => purge(1_000_000 + 7 * i)),
      place(1_000_000 + 7 * count),
    );
    expect(log.from).toBe(0);
    for (let i = 0; i < count; i++) if (i !== 200) log.setCounted(1_000_000 + 7 * i, 0);
    expect(log.from).toBe(1_000_000 + 7 * 200 - 1);
    expect(log.since(log.from)[0]?.sequence).toBe(1_000_000 + 7 * 200);
  });
});
