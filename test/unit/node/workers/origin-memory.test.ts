import { expect, test } from "bun:test";
import { OriginMemory } from "../../../../src/node/workers/origin-memory.ts";

const at = { site: "shop", origin: "app", atMs: 0 };

test("a worker that starts is told what still holds, and nothing that is over", () => {
  const memory = new OriginMemory();
  memory.take({ ...at, kind: "checks", verdict: "down", isFirst: true, reason: "r" });
  memory.take({ ...at, kind: "down", untilMs: 1_000, reason: "r" });
  memory.take({ ...at, origin: "b", kind: "down", untilMs: 5_000, reason: "r" });
  memory.take({ ...at, origin: "c", kind: "down", untilMs: 5_000, reason: "r" });
  memory.take({ ...at, origin: "c", kind: "up" });
  memory.take({ ...at, kind: "degraded", untilMs: 9_000, began: true });
  memory.take({ ...at, origin: "b", kind: "degraded", untilMs: 9_000, began: true });
  memory.take({ ...at, origin: "b", kind: "well" });
  expect(memory.events(1_000).map(({ origin, kind }) => `${origin} ${kind}`)).toEqual([
    "app checks",
    "b down",
    "app degraded",
  ]);
  memory.take({ ...at, kind: "checks", verdict: "up", isFirst: false, reason: "r" });
  expect(memory.events(1_000)).toContainEqual(expect.objectContaining({ kind: "checks", verdict: "up" }));
  memory.retain({ other: {} });
  expect(memory.events(0)).toEqual([]);
});

test("and of the faults that have not ended", () => {
  const memory = new OriginMemory();
  memory.setFault({ ...at, fault: { kind: "refuse", untilMs: 1_000 } });
  memory.setFault({ ...at, origin: "b", fault: { kind: "cut", untilMs: 5_000 } });
  memory.setFault({ ...at, origin: "c", fault: { kind: "cut", untilMs: 5_000 } });
  memory.setFault({ ...at, origin: "c", fault: null });
  expect(memory.faults(1_000).map(({ origin }) => origin)).toEqual(["b"]);
});
