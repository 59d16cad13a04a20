import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Gdsf } from "../../../../src/cache/eviction/gdsf.ts";
import { mixHash } from "../../../../src/cache/eviction/hash.ts";
import { createPolicy, POLICY_NAMES } from "../../../../src/cache/eviction/policies.ts";
import type { EvictionPolicy } from "../../../../src/cache/eviction/policy.ts";
import { S3Fifo } from "../../../../src/cache/eviction/s3-fifo.ts";
import { SimulatedNode, simulate, type Trace } from "../../../../src/cache/eviction/simulator.ts";
import { generateTrace } from "../../../../src/cache/eviction/trace.ts";

type Policy = EvictionPolicy<SimulatedNode>;

const node = (key: number, bytes = 100) => new SimulatedNode(mixHash(key), bytes);

/** Inserts as a store does: victims go until the limit holds. */
function put(policy: Policy, one: SimulatedNode, bytesMax: number): void {
  policy.insert(one);
  while (policy.bytes > bytesMax && policy.victim(policy.refuses ? null : one) !== null);
}

const sizes = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 1_000, max: 60_000 }),
  fc.constant(100_000),
);
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("use" as const), key: fc.nat(40), bytes: sizes }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("remove" as const), key: fc.nat(40), bytes: fc.constant(0) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("resize" as const), key: fc.nat(40), bytes: sizes }),
  },
);
const BYTES_MAX = 100_000;

describe.each(POLICY_NAMES)("the policy %s", (name) => {
  const make = (bytesMax: number): Policy => createPolicy(name, bytesMax);

  test("agrees with a model under any operations, stays below its limit and loses no node", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 300 }), fc.boolean(), (operations, keeps) => {
        const policy = make(BYTES_MAX);
        const held = new Map<number, SimulatedNode>();
        const keyOf = new Map<SimulatedNode, number>();
        const evict = (keep: SimulatedNode | null) => {
          while (policy.bytes > BYTES_MAX) {
            const victim = policy.victim(keep);
            if (victim === null) break;
            expect(victim).not.toBe(keep as SimulatedNode);
            // Each victim was held, and is held no more.
            expect(held.delete(keyOf.get(victim) ?? -1)).toBe(true);
            expect([victim.mark, victim.newer, victim.older]).toEqual([0, null, null]);
          }
        };
        for (const { kind, key, bytes } of operations) {
          const known = held.get(key);
          if (kind === "use" && known !== undefined) policy.hit(known);
          else if (kind === "use") {
            const entering = node(key, bytes);
            keyOf.set(entering, key);
            held.set(key, entering);
            policy.insert(entering);
            evict(keeps ? entering : null);
          } else if (known !== undefined && kind === "remove") {
            policy.remove(known);
            held.delete(key);
          } else if (known !== undefined) {
            policy.resize(known, bytes);
            expect(known.bytes).toBe(bytes);
            evict(keeps ? known : null);
          }
          const sum = [...held.values()].reduce((total, one) => total + one.bytes, 0);
          expect([policy.count, policy.bytes]).toEqual([held.size, sum]);
          expect(policy.bytes).toBeLessThanOrEqual(BYTES_MAX);
        }
        // Emptied, it gives back each node once.
        for (let one = policy.victim(null); one !== null; one = policy.victim(null)) {
          expect(held.delete(keyOf.get(one) ?? -1)).toBe(true);
        }
        expect([held.size, policy.count, policy.bytes]).toEqual([0, 0, 0]);
      }),
      { numRuns: 150 },
    );
  });

  test("has no victim when it holds nothing, or only what is to be kept", () => {
    const policy = make(1_000);
    expect(policy.victim(null)).toBeNull();
    const only = node(1);
    policy.insert(only);
    expect(policy.victim(only)).toBeNull();
    expect([policy.count, policy.bytes]).toEqual([1, 100]);
    expect(policy.victim(null)).toBe(only);
  });

  test("keeps what is asked for often while many new objects pass", () => {
    const policy = make(20_000);
    const hot = Array.from({ length: 50 }, (_, key) => node(key));
    for (const one of hot) policy.insert(one);
    for (let key = 1_000; key < 6_000; key++) {
      for (let times = 0; times < 5; times++) {
        const one = hot[(key * 5 + times) % hot.length];
        if (one !== undefined && one.mark !== 0) policy.hit(one);
      }
      put(policy, node(key), 20_000);
    }
    expect(hot.filter((one) => one.mark !== 0).length).toBe(50);
  });

  test("takes objects from 100 bytes to 100 MB and holds its limit with them", () => {
    const policy = make(200_000_000);
    for (let key = 0; key < 3_000; key++) {
      put(policy, node(key, key % 100 === 0 ? 100_000_000 : 100 * (1 + (key % 1_000))), 200_000_000);
      expect(policy.bytes).toBeLessThanOrEqual(200_000_000);
    }
    expect(policy.count).toBeGreaterThan(100);
  });
});

describe("a cache with room for a handful of objects", () => {
  test.each(POLICY_NAMES.filter((name) => !createPolicy(name, 1).refuses))("is usable with %s", (name) => {
    // Each object twice in a row: room for three is enough to hit every second time.
    const objects = Uint32Array.from({ length: 4_000 }, (_, at) => at >>> 1);
    const trace: Trace = { objects, sizes: new Float64Array(2_000).fill(100), overheadBytes: 0 };
    expect(simulate(trace, createPolicy(name, 300), 300).objectMissRatio).toBe(0.5);
  });
});

describe("scans", () => {
  /** How many of 1,000 objects hit three times are held after a scan of 15,000 others through room for 4,000. */
  const survivors = (policy: Policy) => {
    const hot = Array.from({ length: 1_000 }, (_, key) => node(key));
    for (const one of hot) policy.insert(one);
    for (let round = 0; round < 3; round++) for (const one of hot) policy.hit(one);
    for (let key = 10_000; key < 25_000; key++) put(policy, node(key), 400_000);
    return hot.filter((one) => one.mark !== 0).length;
  };

  test("empty an LRU and pass by the others", () => {
    expect(survivors(createPolicy("lru", 400_000))).toBe(0);
    for (const name of ["sieve", "s3-fifo", "w-tinylfu", "gdsf"] as const) {
      // The sketch of W-TinyLFU ages meanwhile, and two hashes may meet there.
      expect([name, survivors(createPolicy(name, 400_000)) > 900]).toEqual([name, true]);
    }
  });
});

describe("S3-FIFO", () => {
  test("takes what comes back soon after its eviction into the main queue", () => {
    const policy = new S3Fifo<SimulatedNode>(100_000, { guard: false });
    for (let key = 0; key < 1_100; key++) put(policy, node(key), 100_000);
    // The first hundred are gone, and remembered.
    const back = node(50);
    const fresh = node(50_000);
    put(policy, back, 100_000);
    put(policy, fresh, 100_000);
    // A full small queue of others passes: only who was remembered is still here.
    for (let key = 3_000; key < 4_500; key++) put(policy, node(key), 100_000);
    expect([back.mark !== 0, fresh.mark !== 0]).toEqual([true, false]);
  });

  test("with a limit of its own for what is new lets that go early, although there is room, and keeps what comes back", () => {
    const policy = new S3Fifo<SimulatedNode>(100_000, { smallBytesMax: 5_000 });
    const put = (one: SimulatedNode): void => {
      policy.insert(one);
      for (let gone = 0; policy.isCrowded; gone++) {
        expect(gone).toBeLessThan(100);
        policy.victim(one);
      }
    };
    const [wanted, ...others] = Array.from({ length: 21 }, (_, key) => node(key, 1_000));
    const all = [wanted as SimulatedNode, ...others];
    put(all[0] as SimulatedNode);
    policy.hit(all[0] as SimulatedNode);
    policy.hit(all[0] as SimulatedNode);
    for (const other of others) put(other);
    const here = (): number[] => [...all.keys()].filter((at) => all[at]?.mark !== 0);
    // Five of a thousand bytes are new; one was asked for twice meanwhile.
    expect(here()).toEqual([0, 16, 17, 18, 19, 20]);
    const back = others[0] as SimulatedNode;
    put(back);
    for (let key = 100; key < 110; key++) put(node(key, 1_000));
    expect(here()).toEqual([0, 1]);
  });

  test("with a limit of its own for what is new keeps the others when one alone is more than that", () => {
    const policy = new S3Fifo<SimulatedNode>(100_000, { smallBytesMax: 5_000 });
    const old = Array.from({ length: 10 }, (_, key) => node(key, 1_000));
    for (const one of old) {
      policy.insert(one);
      for (let hits = 0; hits < 3; hits++) policy.hit(one);
      while (policy.isCrowded && policy.victim(one) !== null);
    }
    const large = node(99, 6_000);
    policy.insert(large);
    let gone = 0;
    while (policy.isCrowded && policy.victim(large) !== null) gone++;
    // The ten were asked for often: those in the main queue stay, and those in the small one went on to it.
    expect([gone, policy.count, policy.bytes]).toEqual([0, 11, 16_000]);
    const next = node(100, 100);
    policy.insert(next);
    expect(policy.victim(next)).toBe(large);
  });

  test("with the guard is not far behind LRU in a tiny cache of bursts, without it is", () => {
    const trace = generateTrace({
      seed: 3,
      requests: 60_000,
      objects: 30_000,
      alpha: 0.6,
      sizes: { medianBytes: 10_000, sigma: 0.5 },
      repeat: { share: 0.5, within: 150 },
    });
    const bytesMax = 2_000_000;
    const missOf = (policy: Policy) => simulate(trace, policy, bytesMax).objectMissRatio;
    const lru = missOf(createPolicy("lru", bytesMax));
    expect(missOf(new S3Fifo(bytesMax, { guard: false }))).toBeGreaterThan(lru + 0.08);
    expect(missOf(new S3Fifo(bytesMax))).toBeLessThan(lru + 0.06);
    expect(missOf(createPolicy("gdsf", bytesMax))).toBeLessThan(lru + 0.04);
  });
});

describe("W-TinyLFU", () => {
  /** Whether an object asked for `times` times in all enters a cache full of small ones that were asked for once. */
  const enters = (bytes: number, times: number) => {
    const policy = createPolicy<SimulatedNode>("w-tinylfu", 100_000);
    for (let key = 0; key < 1_000; key++) put(policy, node(key), 100_000);
    const candidate = node(5_000, bytes);
    for (let time = 0; time < times; time++) {
      if (candidate.mark === 0) put(policy, candidate, 100_000);
      else policy.hit(candidate);
    }
    put(policy, node(6_000), 100_000);
    return candidate.mark !== 0;
  };

  test("takes an object in only when it is seen more often than all who have to go for it", () => {
    expect([enters(2_000, 1), enters(10_000, 5)]).toEqual([false, false]);
    expect([enters(2_000, 1), enters(1_100, 15)]).toEqual([false, true]);
  });
});

describe("GDSF", () => {
  test("gives up the large object before the small one that is asked for as often, unless told to ignore size", () => {
    const fateOf = (sizeExponent: number) => {
      const policy = new Gdsf<SimulatedNode>(1_000_000, { sizeExponent });
      const small = node(1, 1_000);
      const large = node(2, 400_000);
      policy.insert(small);
      policy.insert(large);
      for (let times = 0; times < 3; times++) {
        policy.hit(small);
        policy.hit(large);
      }
      for (let key = 10; small.mark !== 0 && large.mark !== 0; key++)
        put(policy, node(key, 20_000), 1_000_000);
      return { small: small.mark !== 0, large: large.mark !== 0 };
    };
    expect(fateOf(1)).toEqual({ small: true, large: false });
    expect(fateOf(0)).toEqual({ small: false, large: true });
  });

  test("forgets what is hit no more: former popularity does not last", () => {
    const policy = new Gdsf<SimulatedNode>(100_000);
    const former = Array.from({ length: 500 }, (_, key) => node(key));
    for (const one of former) policy.insert(one);
    for (let times = 0; times < 15; times++) for (const one of former) policy.hit(one);
    for (let round = 0; round < 60; round++) {
      // Of each round's objects all are hit twice, and never again.
      const fresh = Array.from({ length: 800 }, (_, key) => node(10_000 + round * 1_000 + key));
      for (const one of fresh) {
        put(policy, one, 100_000);
        if (one.mark !== 0) policy.hit(one);
        if (one.mark !== 0) policy.hit(one);
      }
    }
    expect(former.filter((one) => one.mark !== 0).length).toBe(0);
  });
});
