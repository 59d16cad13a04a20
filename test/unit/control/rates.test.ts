/** How often one may ask: by the machine's time, wherever the fleet's clock stands. */
import { expect, test } from "bun:test";
import { ManualClock, MovableClock } from "../../../src/base/clock.ts";
import { Rates } from "../../../src/control/rates.ts";

test("a clock that stands stops nobody, and one that is moved lets nobody have more", () => {
  const machine = new ManualClock();
  const clock = new MovableClock(machine);
  const rates = new Rates(clock, 1, 2);
  clock.set({ offsetMs: 0, frozenAtMs: clock.now() });
  expect([rates.take("a"), rates.take("a"), rates.take("a")]).toEqual([0, 0, 1]);
  machine.advance(1_000);
  expect([rates.take("a"), rates.take("a")]).toEqual([0, 1]);
  clock.set({ offsetMs: 3_600_000, frozenAtMs: null });
  expect(rates.take("a")).toBe(1);
});
