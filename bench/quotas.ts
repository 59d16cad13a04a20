/**
 * Quotas of sites on generated traces: what a limit and a reserve do to the site, to the others and to all.
 * Deterministic: the same table each time, but for the times.
 *
 *   npm run bench -- quotas      the table of docs/decisions/0016-site-memory.md
 */
import { mixHash } from "../src/cache/eviction/hash.ts";
import { type Partition, Partitions } from "../src/cache/eviction/partitions.ts";
import { footprintBytes, SimulatedNode, type Trace } from "../src/cache/eviction/simulator.ts";
import { generateTrace, randomOf, type TraceRecipe } from "../src/cache/eviction/trace.ts";
import type { MemoryQuota } from "../src/config/plan.ts";

const REQUESTS = 1_000_000;
const STORE_SHARES = [0.01, 0.03, 0.1];
const WEB = { medianBytes: 12_000, sigma: 1.5 };

/** A site: what its viewers ask for, and its share of all requests. */
interface Tenant {
  readonly name: string;
  readonly share: number;
  readonly recipe: Omit<TraceRecipe, "requests" | "seed">;
}

/** One that crawls and changes, one with few viewers, and forty like others. */
const TENANTS: readonly Tenant[] = [
  {
    name: "noisy",
    share: 0.5,
    recipe: { objects: 120_000, alpha: 0.7, sizes: WEB, oneHit: 0.4, arrivals: 0.05 },
  },
  {
    name: "quiet",
    share: 0.02,
    recipe: { objects: 6_000, alpha: 0.9, sizes: WEB, oneHit: 0.1, arrivals: 0.01 },
  },
  ...Array.from({ length: 40 }, (_, i) => ({
    name: `site${i}`,
    share: 0.48 / 40,
    recipe: { objects: 3_000, alpha: 0.9, sizes: WEB, arrivals: 0.02, oneHit: 0.15 },
  })),
];

const traces = TENANTS.map(({ share, recipe }, i) =>
  generateTrace({ ...recipe, seed: i + 1, requests: Math.round(REQUESTS * share) }),
);
const order = interleaved(traces);
const footprint = traces.reduce((sum, trace) => sum + footprintBytes(trace), 0);
const quiet = footprintBytes(traces[1] as Trace);

/** Which tenant each request is of: in proportion to what each still has to ask. */
function interleaved(all: readonly Trace[]): Uint16Array {
  const random = randomOf(99);
  const requests = all.flatMap(({ objects }, tenant) => new Array<number>(objects.length).fill(tenant));
  for (let at = requests.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [requests[at], requests[other]] = [requests[other] as number, requests[at] as number];
  }
  return Uint16Array.from(requests);
}

type Quotas = ReadonlyMap<string, MemoryQuota>;

/** Misses in % of requests: of all, of noisy, of quiet, of the others; and nanoseconds for a request. */
function run(bytesMax: number, quotas: Quotas): { misses: number[]; ns: number } {
  const store = new Partitions<SimulatedNode>(bytesMax);
  store.setQuotas(quotas);
  const homes = TENANTS.map(({ name }): Partition<SimulatedNode> => store.of(name));
  const nodes = traces.map(({ sizes }) => new Array<SimulatedNode | undefined>(sizes.length));
  const next = new Uint32Array(TENANTS.length);
  const missed = new Uint32Array(TENANTS.length);
  const drop = (): void => {};
  const beganMs = performance.now();
  for (let i = 0; i < order.length; i++) {
    const tenant = order[i] as number;
    const { objects, sizes, overheadBytes } = traces[tenant] as Trace;
    const object = objects[next[tenant] as number] as number;
    next[tenant] = (next[tenant] as number) + 1;
    const known = nodes[tenant]?.[object];
    if (known !== undefined && known.mark !== 0) {
      store.hit(known);
      continue;
    }
    missed[tenant] = (missed[tenant] as number) + 1;
    const home = homes[tenant] as Partition<SimulatedNode>;
    const bytes = (sizes[object] as number) + overheadBytes;
    if (bytes > Math.min(bytesMax, home.bytesMax)) continue;
    const node = known ?? new SimulatedNode(mixHash(object * 64 + tenant), bytes);
    (nodes[tenant] as (SimulatedNode | undefined)[])[object] = node;
    store.insert(home, node);
    store.evict(home, node, drop);
  }
  const ns = ((performance.now() - beganMs) * 1e6) / order.length;
  const ratio = (which: (tenant: number) => boolean) => {
    let [all, misses] = [0, 0];
    for (const [tenant, trace] of traces.entries()) {
      if (!which(tenant)) continue;
      all += trace.objects.length;
      misses += missed[tenant] as number;
    }
    return (100 * misses) / all;
  };
  return {
    misses: [ratio(() => true), ratio((t) => t === 0), ratio((t) => t === 1), ratio((t) => t > 1)],
    ns,
  };
}

for (const share of STORE_SHARES) {
  const bytesMax = Math.floor(footprint * share);
  const none = { bytesMax: null, bytesReserved: 0 };
  const everyone = (quota: (name: string) => MemoryQuota): Quotas =>
    new Map(TENANTS.map(({ name }) => [name, quota(name)]));
  const reserve = Math.min(Math.floor(quiet * 0.3), Math.floor(bytesMax / 4));
  const cases: readonly [string, Quotas][] = [
    ["no quotas", new Map()],
    ["a partition each, no quota binds", everyone(() => none)],
    ["quiet has a reserve", new Map([["quiet", { bytesMax: null, bytesReserved: reserve }]])],
    ["noisy has a limit of a quarter", new Map([["noisy", { bytesMax: bytesMax / 4, bytesReserved: 0 }]])],
    [
      "both",
      new Map([
        ["quiet", { bytesMax: null, bytesReserved: reserve }],
        ["noisy", { bytesMax: bytesMax / 4, bytesReserved: 0 }],
      ]),
    ],
    [
      "all memory reserved, in equal parts",
      everyone(() => ({ bytesMax: null, bytesReserved: bytesMax / TENANTS.length })),
    ],
    [
      "split for good, in equal parts",
      everyone(() => ({ bytesMax: bytesMax / TENANTS.length, bytesReserved: bytesMax / TENANTS.length })),
    ],
    // What a store of the reserve's size would do for quiet.
    ["quiet has a store of its own", new Map([["quiet", { bytesMax: reserve, bytesReserved: reserve }]])],
  ];
  console.log(
    `\nA store of ${(bytesMax / 1e6).toFixed(0)} MB (${share * 100} % of all objects), reserve ${(reserve / 1e6).toFixed(1)} MB; misses in %:\n`,
  );
  console.log("| quotas | all | noisy | quiet | others | request |\n|---|---|---|---|---|---|");
  for (const [name, quotas] of cases) {
    const { misses, ns } = run(bytesMax, quotas);
    console.log(`| ${name} | ${misses.map((one) => one.toFixed(1)).join(" | ")} | ${ns.toFixed(0)} ns |`);
  }
}
