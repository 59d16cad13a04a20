/** Which shards may be used, by the mark that they carry: at the start, before the edge has begun, and while it runs. */
import { describe, expect, test } from "bun:test";
import { formatMark, MarkGate } from "../../../src/cache/store/disk-mark.ts";

const limits = { log: "L", newest: { sequence: 9, local: 90 }, from: { sequence: 3, local: 30 } };
const mark = (sequence: number, local: number, log = "L") => formatMark({ log, sequence, local });

test("at the start: what is known still is applied from the least mark on; the rest starts empty", () => {
  const gate = new MarkGate(limits);
  for (const [text, accepted] of [
    [mark(9, 90), true],
    [mark(3, 30), true],
    [mark(5, 90), true],
    [mark(2, 90), false],
    [mark(9, 29), false],
    [mark(10, 90), false],
    [mark(9, 91), false],
    [mark(9, 90, "M"), false],
    [null, false],
    ["", false],
  ] as const)
    expect([text, gate.accept(text)]).toEqual([text, accepted]);
  expect(gate.floor).toEqual({ sequence: 3, local: 30 });
});

describe("a shard that comes back later", () => {
  test("before the edge has begun is used only when it has missed nothing: the floor is known already", () => {
    const gate = new MarkGate(limits);
    gate.forgotten = () => null;
    expect([gate.accept(mark(5, 90)), gate.accept(mark(9, 89)), gate.accept(mark(9, 90))]).toEqual([
      false,
      false,
      true,
    ]);
    expect(gate.floor).toEqual(limits.newest);
  });

  test("while the edge runs is used when the marks since are there still", () => {
    const gate = new MarkGate(limits);
    gate.forgotten = () => ({ sequence: 20, local: 95 });
    expect([gate.accept(mark(19, 95)), gate.accept(mark(20, 94)), gate.accept(mark(20, 95))]).toEqual([
      false,
      false,
      true,
    ]);
  });
});
