/** A clock that is moved: the time of decisions moves, waits do not. */
import { expect, test } from "bun:test";
import { ManualClock, MovableClock, systemClock, UNMOVED } from "../../../src/base/clock.ts";
import { inEdgeTime } from "../../../src/edge/edge-time.ts";
import { Fields } from "../../../src/http/fields.ts";
import type { UpstreamResponse } from "../../../src/upstream/next-hop.ts";

const HOUR_MS = 3_600_000;

test("a clock that nobody moves is its own steady one", () => {
  const manual = new ManualClock();
  expect(manual.steady).toBe(manual);
  expect(systemClock.steady).toBe(systemClock);
  const clock = new MovableClock(manual);
  expect(clock.setting).toEqual(UNMOVED);
  expect(clock.now()).toBe(manual.now());
});

test("it runs on from where it was set, or stands", () => {
  const machine = new ManualClock(1_000);
  const clock = new MovableClock(machine);
  clock.set({ offsetMs: HOUR_MS, frozenAtMs: null });
  machine.advance(5);
  expect(clock.now()).toBe(HOUR_MS + 1_005);
  clock.set({ offsetMs: HOUR_MS, frozenAtMs: HOUR_MS + 1_005 });
  machine.advance(500);
  expect(clock.now()).toBe(HOUR_MS + 1_005);
  expect(clock.steady.now()).toBe(1_505);
});

test("waits keep to the machine's time, also while it stands", () => {
  const machine = new ManualClock(0);
  const clock = new MovableClock(machine);
  let rang = 0;
  clock.after(100, () => rang++);
  clock.set({ offsetMs: HOUR_MS, frozenAtMs: null });
  expect(rang).toBe(0);
  clock.set({ offsetMs: HOUR_MS, frozenAtMs: HOUR_MS });
  machine.advance(100);
  expect(rang).toBe(1);
  clock.after(100, () => rang++)();
  machine.advance(200);
  expect(rang).toBe(1);
});

test("an origin's answer comes in the edge's time; a shield's dates are in it already", () => {
  const machine = new ManualClock(Date.UTC(2030, 0, 1, 12));
  const fields = () =>
    Fields.from([
      ["date", "Tue, 01 Jan 2030 12:00:00 GMT"],
      ["expires", "Tue, 01 Jan 2030 13:00:00 GMT"],
      ["last-modified", "Tue, 01 Jan 2030 11:00:00 GMT"],
    ]);
  const answer = (): UpstreamResponse => ({
    status: 200,
    fields: fields(),
    framing: "none",
    bodyLength: 0,
    body: null,
    requestTimeMs: machine.now() - 20,
    responseTimeMs: machine.now(),
    reused: false,
  });
  const plain = answer();
  expect(inEdgeTime(plain, machine, true)).toBe(plain);
  const clock = new MovableClock(machine, { offsetMs: HOUR_MS + 300, frozenAtMs: null });
  const moved = inEdgeTime(answer(), clock, true);
  expect(moved.requestTimeMs).toBe(machine.now() + HOUR_MS + 280);
  expect(moved.responseTimeMs).toBe(clock.now());
  // Rounded up: an answer is never older than it is.
  expect(moved.fields.get("date")).toBe("Tue, 01 Jan 2030 13:00:01 GMT");
  expect(moved.fields.get("expires")).toBe("Tue, 01 Jan 2030 14:00:01 GMT");
  expect(moved.fields.get("last-modified")).toBe("Tue, 01 Jan 2030 11:00:00 GMT");
  const shields = inEdgeTime(answer(), clock, false);
  expect(shields.fields.get("date")).toBe("Tue, 01 Jan 2030 12:00:00 GMT");
  expect(shields.responseTimeMs).toBe(clock.now());
  const odd = answer();
  odd.fields.set("expires", "0");
  odd.fields.set("date", "Fri, 31 Dec 9999 23:59:59 GMT");
  const kept = inEdgeTime(odd, clock, true);
  expect(kept.fields.get("expires")).toBe("0");
  expect(kept.fields.get("date")).toBe("Fri, 31 Dec 9999 23:59:59 GMT");
});
