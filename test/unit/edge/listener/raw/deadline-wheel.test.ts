import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../../src/base/clock.ts";
import { DeadlineWheel, type WheelMember } from "../../../../../src/edge/listener/raw/deadline-wheel.ts";

const TICK_MS = 100;

function wheelOf(slots = 16) {
  const clock = new ManualClock(1_000_050);
  const startMs = clock.now();
  const wheel = new DeadlineWheel(clock, TICK_MS, slots);
  const member = (): WheelMember & { dueMs: number[] } => ({
    deadlineMs: Number.POSITIVE_INFINITY,
    wheelTick: -1,
    wheelPlace: -1,
    dueMs: [],
    onDeadline() {
      this.dueMs.push(clock.now() - startMs);
    },
  });
  return { clock, wheel, member };
}

describe("a deadline on the wheel", () => {
  test("is told once, never early and two ticks late at most, also beyond the wheel's reach", () => {
    for (const delayMs of [0, 1, 99, 100, 101, 250, 1_499, 1_600, 5_000, 60_000]) {
      const { clock, wheel, member } = wheelOf();
      const one = member();
      wheel.set(one, delayMs);
      clock.advance(120_000);
      expect(one.dueMs).toHaveLength(1);
      expect(one.dueMs[0]).toBeGreaterThanOrEqual(delayMs);
      expect(one.dueMs[0]).toBeLessThanOrEqual(delayMs + 2 * TICK_MS);
    }
  });

  test("may be put off, brought forward and taken away", () => {
    const { clock, wheel, member } = wheelOf();
    const [later, sooner, never] = [member(), member(), member()];
    for (const one of [later, sooner, never]) wheel.set(one, 1_000);
    clock.advance(500);
    wheel.set(later, 1_000);
    wheel.set(sooner, 200);
    wheel.set(never, Number.POSITIVE_INFINITY);
    clock.advance(10_000);
    expect(later.dueMs[0]).toBeGreaterThanOrEqual(1_500);
    expect(sooner.dueMs[0]).toBeLessThanOrEqual(900);
    expect([later.dueMs.length, sooner.dueMs.length, never.dueMs.length]).toEqual([1, 1, 0]);
  });

  test("of a member that is gone is never told, also when another of the same moment lets it go", () => {
    const { clock, wheel, member } = wheelOf();
    const [one, two] = [member(), member()];
    one.onDeadline = () => wheel.remove(two);
    two.onDeadline = () => wheel.remove(one);
    let told = 0;
    for (const each of [one, two]) {
      const run = each.onDeadline;
      each.onDeadline = () => {
        told += 1;
        run();
      };
      wheel.set(each, 300);
    }
    clock.advance(10_000);
    expect([told, wheel.size]).toEqual([1, 1]);
    wheel.remove(one);
    wheel.remove(two);
    wheel.remove(two);
    expect(wheel.size).toBe(0);
  });

  test("is kept through a jump of the clock of many rounds", () => {
    const { clock, wheel, member } = wheelOf();
    const one = member();
    wheel.set(one, 3_600_000);
    clock.advance(3_599_000);
    expect(one.dueMs).toEqual([]);
    clock.advance(1_500);
    expect(one.dueMs).toHaveLength(1);
  });
});
