import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Balancer, type Candidate } from "../../../../src/upstream/group/balance.ts";
import { RetryBudget } from "../../../../src/upstream/group/retry-budget.ts";

const of = (name: string, weight = 1, inFlight = 0): Candidate => ({ name, weight, inFlight });
/** How often each was the first of `count` orders. */
function firsts(balancer: Balancer, candidates: Candidate[], count: number, key = (i: number) => `k${i}`) {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const name = balancer.order(candidates, key(i))[0]?.name ?? "none";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

describe("members are asked", () => {
  test("as they are listed, for failover", () => {
    const order = new Balancer("failover").order([of("a", 1, 9), of("b", 5), of("c")], "k");
    expect(order.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });

  test("by weight, exactly and evenly spread", () => {
    const balancer = new Balancer("weighted");
    const candidates = [of("a", 5), of("b", 1), of("c", 1)];
    const order = Array.from({ length: 7 }, () => balancer.order(candidates, "k")[0]?.name).join("");
    expect(order).toBe("aabacaa");
    expect(firsts(balancer, candidates, 700)).toEqual({ a: 500, b: 100, c: 100 });
  });

  test("by fewest requests under way for their weight; equals take turns", () => {
    const balancer = new Balancer("least-connections");
    expect(balancer.order([of("a", 1, 4), of("b", 4, 8), of("c", 1, 3)], "k").map((one) => one.name)).toEqual(
      ["b", "c", "a"],
    );
    expect(firsts(balancer, [of("a"), of("b"), of("c")], 300)).toEqual({ a: 100, b: 100, c: 100 });
  });

  test("by key, each in proportion to its weight", () => {
    const counts = firsts(new Balancer("hash"), [of("a", 3), of("b", 1)], 20_000);
    expect((counts.a ?? 0) / (counts.b ?? 1)).toBeGreaterThan(2.8);
    expect((counts.a ?? 0) / (counts.b ?? 1)).toBeLessThan(3.2);
  });

  test("by key, so that one that goes moves its own keys only", () => {
    const all = [of("a"), of("b", 2), of("c"), of("d")];
    const balancer = new Balancer("hash");
    fc.assert(
      fc.property(fc.string(), (key) => {
        const before = balancer.order(all, key).map(({ name }) => name);
        const after = balancer.order(
          all.filter(({ name }) => name !== before[0]),
          key,
        );
        expect(after.map(({ name }) => name)).toEqual(before.slice(1));
      }),
      { numRuns: 500 },
    );
  });

  test("by key, but no one with a quarter more than its share under way", () => {
    const balancer = new Balancer("hash");
    const [first, second] = balancer.order([of("a"), of("b")], "hot");
    // 12 and one more would be more than 1.25 times the half of all 18; 11 and one more are not.
    const busy = [of(first?.name ?? "", 1, 12), of(second?.name ?? "", 1, 5)];
    expect(balancer.order(busy, "hot")[0]?.name).toBe(second?.name as string);
    const evenly = [of(first?.name ?? "", 1, 11), of(second?.name ?? "", 1, 6)];
    expect(balancer.order(evenly, "hot")[0]?.name).toBe(first?.name as string);
  });

  test("each once, whatever the rule and the members", () => {
    const candidate = fc.record({
      name: fc.string(),
      weight: fc.integer({ min: 1, max: 1000 }),
      inFlight: fc.nat(9),
    });
    const kinds = fc.constantFrom("failover", "weighted", "least-connections", "hash");
    fc.assert(
      fc.property(
        kinds,
        fc.uniqueArray(candidate, { selector: (one) => one.name }),
        fc.string(),
        (kind, list, key) => {
          const order = new Balancer(kind as "hash").order(list, key);
          expect(new Set(order)).toEqual(new Set(list));
          expect(order).toHaveLength(list.length);
        },
      ),
    );
  });
});

describe("a retry budget", () => {
  const spend = (budget: RetryBudget, nowMs: number, wanted: number) =>
    Array.from({ length: wanted }, () => budget.withdraw(nowMs)).filter(Boolean).length;

  test("allows a share of the requests of ten seconds, and a small rate beside it", () => {
    const budget = new RetryBudget({ fraction: 0.2, perSecondMin: 1 });
    for (let i = 0; i < 1_000; i++) budget.deposit(1_000_000 + i * 10);
    expect(spend(budget, 1_009_999, 1_000)).toBe(210);
    expect(spend(budget, 1_009_999, 10)).toBe(0);
  });

  test("forgets requests and retries when ten seconds have passed", () => {
    const budget = new RetryBudget({ fraction: 0.5, perSecondMin: 0 });
    for (let i = 0; i < 100; i++) budget.deposit(5_000);
    expect(spend(budget, 5_000, 100)).toBe(50);
    for (let i = 0; i < 10; i++) budget.deposit(15_000);
    expect(spend(budget, 15_000, 100)).toBe(5);
    expect(spend(budget, 60_000, 100)).toBe(0);
  });

  test("of nothing allows nothing", () => {
    const budget = new RetryBudget({ fraction: 0, perSecondMin: 0 });
    for (let i = 0; i < 100; i++) budget.deposit(0);
    expect(spend(budget, 0, 10)).toBe(0);
  });

  test("holds when the clock is set back", () => {
    const budget = new RetryBudget({ fraction: 0, perSecondMin: 1 });
    expect(spend(budget, 1_000_000, 100)).toBe(10);
    expect(spend(budget, 900_000, 100)).toBe(0);
  });
});
