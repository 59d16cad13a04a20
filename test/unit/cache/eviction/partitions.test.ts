/** Sites with a limit, a reserve or both in one store: nobody over the limit, nobody pushed out of the reserve. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Gdsf } from "../../../../src/cache/eviction/gdsf.ts";
import { mixHash } from "../../../../src/cache/eviction/hash.ts";
import { type Partition, Partitions } from "../../../../src/cache/eviction/partitions.ts";
import { footprintBytes, SimulatedNode, simulate } from "../../../../src/cache/eviction/simulator.ts";
import { generateTrace } from "../../../../src/cache/eviction/trace.ts";
import type { MemoryQuota } from "../../../../src/config/plan.ts";

type Quotas = Record<string, Partial<MemoryQuota>>;

const quotasOf = (quotas: Quotas) =>
  new Map(
    Object.entries(quotas).map(([site, quota]) => [site, { bytesMax: null, bytesReserved: 0, ...quota }]),
  );

/** A store without objects: nodes by site and number, as a store would hold them. */
class Bench {
  readonly partitions: Partitions<SimulatedNode>;
  readonly held = new Map<SimulatedNode, { site: string; home: Partition<SimulatedNode>; id: string }>();
  readonly #byId = new Map<string, SimulatedNode>();
  /** Told of each node that goes, before it is forgotten. */
  onDrop: (node: SimulatedNode) => void = () => {};

  constructor(bytesMax: number, quotas: Quotas = {}) {
    this.partitions = new Partitions(bytesMax);
    this.partitions.setQuotas(quotasOf(quotas));
  }

  /** Uses an object; false when it was missed, and stored. */
  use(site: string, number: number, bytes = 1_000): boolean {
    const id = `${site} ${number}`;
    const known = this.#byId.get(id);
    if (known !== undefined) {
      this.partitions.hit(known);
      return true;
    }
    if (bytes > this.partitions.bytesMaxOf(site)) return false;
    const node = new SimulatedNode(mixHash(Bun.hash.xxHash32(id)), bytes);
    const home = this.partitions.of(site);
    this.held.set(node, { site, home, id });
    this.#byId.set(id, node);
    this.partitions.insert(home, node);
    this.evict(node);
    return false;
  }

  evict(keep: SimulatedNode): void {
    const { home } = this.held.get(keep) ?? {};
    if (home === undefined) throw new Error("not held");
    if (!this.partitions.evict(home, keep, this.drop)) this.drop(keep);
  }

  readonly drop = (node: SimulatedNode): void => {
    expect(node.mark).toBe(0);
    this.onDrop(node);
    this.forget(node);
  };

  forget(node: SimulatedNode): void {
    const { id } = this.held.get(node) ?? {};
    expect(id).toBeDefined();
    this.held.delete(node);
    this.#byId.delete(id ?? "");
  }

  node(site: string, number: number): SimulatedNode | undefined {
    return this.#byId.get(`${site} ${number}`);
  }

  bytes(site: string): number {
    let sum = 0;
    for (const [node, held] of this.held) if (held.site === site) sum += node.bytes;
    return sum;
  }

  /** Moves every node to where it belongs now, as a store does after new quotas. */
  moveHome(): void {
    for (const [node, held] of [...this.held]) {
      const to = this.partitions.of(held.site);
      if (node.mark === 0 || to === held.home) continue;
      this.partitions.move(held.home, to, node);
      held.home = to;
      this.partitions.trim(to, this.drop);
    }
  }
}

/**
 * Misses of a site beside one that never asks for anything twice, in a store of a tenth more than `room`,
 * against its misses in a store of `room` alone. Without quotas there are an eighth more.
 */
function besideNoise(quotas: (room: number) => Quotas): number {
  const trace = generateTrace({
    seed: 3,
    requests: 30_000,
    objects: 4_000,
    alpha: 0.9,
    sizes: { medianBytes: 12_000, sigma: 1.5 },
    oneHit: 0.2,
    arrivals: 0.01,
  });
  const room = Math.floor(footprintBytes(trace) * 0.1);
  const alone = simulate(trace, new Gdsf(room), room).misses;
  const bench = new Bench(Math.floor(room * 1.1), quotas(room));
  let misses = 0;
  let noise = 0;
  for (const object of trace.objects) {
    if (!bench.use("quiet", object, (trace.sizes[object] as number) + trace.overheadBytes)) misses++;
    for (let i = 0; i < 4; i++) bench.use("noisy", noise++, 20_000);
  }
  return misses / alone;
}

describe("a limit", () => {
  test("is kept by the site's own objects, and leaves those of others alone", () => {
    const bench = new Bench(1_000_000, { small: { bytesMax: 10_000 } });
    for (let i = 0; i < 100; i++) bench.use("other", i);
    for (let i = 0; i < 1_000; i++) {
      bench.use("small", i);
      expect(bench.bytes("small")).toBeLessThanOrEqual(10_000);
    }
    expect(bench.bytes("small")).toBe(10_000);
    expect(bench.bytes("other")).toBe(100_000);
  });

  test("keeps what its site uses most", () => {
    const bench = new Bench(1_000_000, { small: { bytesMax: 20_000 } });
    for (let i = 0; i < 2_000; i++) {
      for (let hot = 0; hot < 5; hot++) bench.use("small", hot);
      bench.use("small", 100 + i);
    }
    for (let hot = 0; hot < 5; hot++) expect(bench.node("small", hot)).toBeDefined();
  });

  test("of one site does not make the objects of others older", () => {
    // Whoever is limited may change as fast as it likes: the others have the rest as if it were theirs alone.
    expect(besideNoise((room) => ({ noisy: { bytesMax: Math.floor(room * 0.1) } }))).toBeLessThan(1.05);
  });
});

describe("a reserve", () => {
  test("is never taken by others, whatever they ask for", () => {
    const bench = new Bench(100_000, { quiet: { bytesReserved: 20_000 } });
    for (let i = 0; i < 20; i++) bench.use("quiet", i);
    bench.onDrop = (node) => expect(bench.held.get(node)?.site).toBe("noisy");
    for (let i = 0; i < 5_000; i++) bench.use("noisy", i % 700, 500 + (i % 9) * 2_000);
    expect(bench.bytes("quiet")).toBe(20_000);
  });

  test("that is not used is used by others, and given back when it is wanted", () => {
    const bench = new Bench(100_000, { quiet: { bytesReserved: 60_000 } });
    for (let i = 0; i < 100; i++) bench.use("noisy", i);
    expect(bench.bytes("noisy")).toBe(100_000);
    for (let i = 0; i < 60; i++) {
      bench.use("quiet", i);
      expect(bench.bytes("quiet")).toBe((i + 1) * 1_000);
    }
    expect(bench.bytes("noisy")).toBe(40_000);
  });

  test("holds to the byte while others can give", () => {
    const bench = new Bench(100_000, { quiet: { bytesReserved: 25_000 } });
    for (let i = 0; i < 3; i++) bench.use("quiet", i, 9_000);
    // 27,000 bytes are above the reserve, but one object less would be below it.
    for (let i = 0; i < 500; i++) bench.use("noisy", i);
    expect(bench.bytes("quiet")).toBe(27_000);
  });

  test("makes who comes in give way when all memory is reserved", () => {
    const bench = new Bench(100_000, { a: { bytesReserved: 50_000 }, b: { bytesReserved: 50_000 } });
    for (let i = 0; i < 50; i++) for (const site of ["a", "b"]) bench.use(site, i);
    for (let i = 0; i < 50; i++) bench.use("others", i);
    expect([bench.bytes("a"), bench.bytes("b"), bench.bytes("others")]).toEqual([50_000, 50_000, 0]);
    for (let i = 50; i < 200; i++) bench.use("a", i);
    expect([bench.bytes("a"), bench.bytes("b")]).toEqual([50_000, 50_000]);
  });

  test("is smaller in proportion where a store has less than all reserves together", () => {
    const bench = new Bench(100_000, { a: { bytesReserved: 150_000 }, b: { bytesReserved: 50_000 } });
    expect(Object.fromEntries(bench.partitions.sites())).toMatchObject({
      a: { bytesReserved: 75_000 },
      b: { bytesReserved: 25_000 },
    });
    for (let i = 0; i < 100; i++) bench.use("a", i);
    for (let i = 0; i < 500; i++) bench.use("b", i);
    for (let i = 0; i < 500; i++) bench.use("others", i);
    expect([bench.bytes("a"), bench.bytes("b")]).toEqual([75_000, 25_000]);
  });

  test("serves its site as well as a store of its own, however fast the others change", () => {
    expect(besideNoise((room) => ({ quiet: { bytesReserved: room } }))).toBeLessThan(1.05);
  });
});

test("partitions whose quotas do not bind miss what one policy for all would miss", () => {
  const sites = 12;
  const traces = Array.from({ length: sites }, (_, seed) =>
    generateTrace({
      seed,
      requests: 10_000,
      objects: 1_500,
      alpha: 0.8,
      sizes: { medianBytes: 12_000, sigma: 1.5 },
      oneHit: 0.2,
      arrivals: 0.02,
    }),
  );
  const bytesMax = Math.floor(traces.reduce((sum, trace) => sum + footprintBytes(trace), 0) * 0.05);
  const missesOf = (quotas: Quotas) => {
    const bench = new Bench(bytesMax, quotas);
    let misses = 0;
    for (let at = 0; at < 10_000; at++) {
      for (const [site, trace] of traces.entries()) {
        const object = trace.objects[at] as number;
        if (!bench.use(`s${site}`, object, (trace.sizes[object] as number) + trace.overheadBytes)) misses++;
      }
    }
    return misses;
  };
  const one = missesOf({});
  const many = missesOf(Object.fromEntries(Array.from({ length: sites }, (_, site) => [`s${site}`, {}])));
  expect(Math.abs(many / one - 1)).toBeLessThan(0.01);
});

test("under any operations and quotas no limit is passed, no reserve is cut, no node is lost", () => {
  const SITES = ["a", "b", "c", "d"];
  const BYTES_MAX = 50_000;
  const quota = fc.record({
    bytesMax: fc.constantFrom(null, null, 3_000, 12_000, 49_000, 90_000),
    bytesReserved: fc.constantFrom(0, 0, 4_000, 10_000, 20_000, 60_000),
  });
  const operation = fc.oneof(
    {
      weight: 20,
      arbitrary: fc.record({
        kind: fc.constant("use" as const),
        site: fc.constantFrom(...SITES),
        number: fc.nat(30),
        bytes: fc.oneof(fc.integer({ min: 1, max: 3_000 }), fc.integer({ min: 1, max: 60_000 })),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom("remove" as const, "resize" as const),
        site: fc.constantFrom(...SITES),
        number: fc.nat(30),
        bytes: fc.integer({ min: 1, max: 9_000 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("quotas" as const),
        quotas: fc.dictionary(fc.constantFrom(...SITES), quota),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("settle" as const) }) },
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const bench = new Bench(BYTES_MAX);
      const { partitions } = bench;
      let quotas: Record<string, MemoryQuota> = {};
      let settled = true;
      let comer = "";
      const reserveOf = (site: string) => {
        const all = Object.values(quotas).reduce((sum, { bytesReserved }) => sum + bytesReserved, 0);
        return (quotas[site]?.bytesReserved ?? 0) * Math.min(1, BYTES_MAX / Math.max(1, all));
      };
      bench.onDrop = (node) => {
        const { site } = bench.held.get(node) ?? { site: "" };
        if (!settled || site === comer || quotas[site] === undefined) return;
        const before = bench.bytes(site);
        expect(before).toBeGreaterThan(reserveOf(site));
        // Cut into only for one who is himself not above his own.
        if (before - node.bytes < reserveOf(site))
          expect(bench.bytes(comer)).toBeLessThanOrEqual(reserveOf(comer));
      };
      for (const operation of operations) {
        if (operation.kind === "quotas") {
          quotas = operation.quotas;
          partitions.setQuotas(new Map(Object.entries(quotas)));
          settled = false;
        } else if (operation.kind === "settle") {
          while (partitions.shrink(3, bench.drop));
          bench.moveHome();
          settled = true;
        } else {
          const { kind, site, number, bytes } = operation;
          comer = site;
          const known = bench.node(site, number);
          const home = known === undefined ? null : bench.held.get(known)?.home;
          if (kind === "use") bench.use(site, number, bytes);
          else if (known !== undefined && home != null && kind === "remove") {
            partitions.remove(home, known);
            bench.forget(known);
          } else if (known !== undefined && home != null) {
            partitions.resize(home, known, bytes);
            bench.evict(known);
          }
        }
        let sum = 0;
        const bySite = new Map<string, number>();
        for (const [node, { site }] of bench.held) {
          expect(node.mark).not.toBe(0);
          sum += node.bytes;
          bySite.set(site, (bySite.get(site) ?? 0) + node.bytes);
        }
        expect(partitions.bytes).toBe(sum);
        expect(sum).toBeLessThanOrEqual(BYTES_MAX);
        if (!settled) continue;
        for (const [site, use] of partitions.sites()) {
          expect(use.bytes).toBe(bySite.get(site) ?? 0);
          expect(use.bytes).toBeLessThanOrEqual(use.bytesMax ?? BYTES_MAX);
        }
      }
      for (const [node, { home }] of [...bench.held]) {
        partitions.remove(home, node);
        bench.forget(node);
      }
      expect(partitions.bytes).toBe(0);
    }),
    { numRuns: 400 },
  );
});
