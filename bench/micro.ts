/**
 * The pure parts of a hit, each alone: time by that of a reference step in the same run, allocated bytes,
 * and how many fields of the request a hit asks for. Times differ between machines; the ratios, the bytes
 * and the reads hardly do, and stand in bench/baselines/micro.json.
 *
 *   npm run bench -- micro [--check] [--strict] [--update]
 */
import { heapStats } from "bun:jsc";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { decideStorage } from "../src/cache/freshness.ts";
import { baseKey, keyQuery, secondaryKey } from "../src/cache/key.ts";
import { MemoryStore } from "../src/cache/store/memory.ts";
import { compileSnapshot } from "../src/config/compile.ts";
import { parseConfig } from "../src/config/parse.ts";
import type { Config } from "../src/config/schema.ts";
import type { ViewerRequest } from "../src/edge/message.ts";
import { parseCacheControl } from "../src/http/cache-control.ts";
import { type FieldReader, Fields } from "../src/http/fields.ts";
import { parseTarget } from "../src/http/target.ts";
import { makePlane } from "../src/node/plane.ts";
import { describeFalls, FALL_MAX, falls, type Ratios } from "./compare/baseline.ts";
import { FEATURES, merge } from "./compare/peers/proxima.ts";
import { median } from "./compare/statistics.ts";

const BASELINE = join(import.meta.dir, "baselines", "micro.json");
const ROUNDS = 11;
/** How long one batch of a step takes, in milliseconds. */
const BATCH_MS = 20;
const ALLOCATION_STEPS = 20_000;

/** Fields that a browser sends. */
const BROWSER = Fields.from([
  ["host", "shop.example"],
  [
    "user-agent",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0 Safari/537.36",
  ],
  ["accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
  ["accept-encoding", "gzip, deflate, br, zstd"],
  ["accept-language", "en-GB,en;q=0.9,de;q=0.8"],
  ["cookie", "group=b; theme=dark; visits=17"],
  ["referer", "https://shop.example/"],
]);
const STORED = Fields.from([
  ["content-type", "image/webp"],
  ["cache-control", "public, max-age=3600"],
  ["etag", '"v1"'],
  ["last-modified", "Tue, 06 Jan 2026 08:00:00 GMT"],
  ["date", new Date().toUTCString()],
]);

/** Counts what is asked of the fields: a number that no machine changes. */
class CountingFields implements FieldReader {
  reads = 0;
  get(name: string): string | null {
    this.reads++;
    return BROWSER.get(name);
  }
  has(name: string): boolean {
    this.reads++;
    return BROWSER.has(name);
  }
  entries(): Iterable<[string, string]> {
    this.reads++;
    return BROWSER.entries();
  }
}

function configOf(over: Record<string, unknown>, originPort: number): Config {
  const shipped = {
    listen: { http: "127.0.0.1:0" },
    sites: { bench: { hosts: ["*"], origins: { app: { url: `http://127.0.0.1:${originPort}` } } } },
  };
  const parsed = parseConfig(merge(shipped, over));
  if (!parsed.ok)
    throw new Error(parsed.problems.map(({ path, message }) => `${path}: ${message}`).join("\n"));
  return parsed.config;
}

function requestOf(fields: FieldReader): ViewerRequest {
  return {
    method: "GET",
    scheme: "https",
    http3: false,
    url: "https://shop.example/products/chair.webp?page=1&utm_source=mail",
    fields,
    peerAddress: "127.0.0.1",
    body: () => null,
    signal: new AbortController().signal,
  };
}

const origin = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: () =>
    new Response(new Uint8Array(1_024), {
      headers: { "content-type": "image/webp", "cache-control": "public, max-age=3600", etag: '"v1"' },
    }),
});

/** A data plane with the object stored; the step answers one hit. */
async function hitStep(over: Record<string, unknown>): Promise<{ step: () => unknown; reads: number }> {
  const config = configOf(over, origin.port as number);
  const { plane } = makePlane({
    config,
    version: "0",
    clock: systemClock,
    log: (_, message) => console.error(message),
    tiers: null,
    loopId: "bench",
    controlPort: () => null,
    memoryBytesMax: config.cache.memory,
    disk: null,
    peers: null,
    onOriginEvent: () => {},
  });
  await plane.apply(config);
  const request = requestOf(BROWSER);
  await plane.handle(request);
  await Bun.sleep(50);
  const counting = new CountingFields();
  const answer = plane.handle(requestOf(counting));
  if (answer instanceof Promise) throw new Error("a hit made a promise");
  if ("kind" in answer || answer.fields.get("x-cache") !== "HIT") throw new Error("not a hit");
  return { step: () => plane.handle(request), reads: counting.reads };
}

const plain = await hitStep({});
const featured = await hitStep(FEATURES.settings);
const snapshot = await compileSnapshot(configOf(FEATURES.settings, 1).sites, 1, null);
const behaviors = snapshot.sites.get("bench")?.behaviors ?? [];
const recipe = behaviors.at(-1)?.key;
const ttl = behaviors.at(-1)?.ttl;
if (recipe === undefined || ttl === undefined) throw new Error("the plan has another shape");

const store = new MemoryStore({ bytesMax: 2 ** 30, objectBytesMax: 2 ** 20 });
const now = Date.now();
const freshness = {
  source: "max-age",
  explicit: true,
  bornMs: now,
  freshUntilMs: now + 1e7,
  whileRevalidateUntilMs: now + 1e7,
  ifErrorUntilMs: now + 1e7,
  mustRevalidate: false,
} as const;
const body = new Uint8Array(16);
const KEYS = Array.from({ length: 100_000 }, (_, at) => `bench https://shop.example/products/${at}`);
for (const key of KEYS) {
  store.put(
    key,
    [],
    "",
    {
      status: 200,
      fields: STORED,
      body,
      coding: "identity",
      negotiable: false,
      freshness,
      tags: [],
      validSequence: 0,
      validLocal: 0,
      etag: null,
      lastModifiedMs: null,
      dateMs: now,
      storedAtMs: now,
    },
    64,
  );
}
const reference = new Map(Array.from({ length: 1_000 }, (_, at) => [`key ${at}`, at]));
// Inputs change from step to step, or the engine would compute them once.
const PATHS = Array.from({ length: 1_000 }, (_, number) => `/products/chair-${number}.webp`);
const URLS = PATHS.map((path) => `https://shop.example${path}?page=1`);
let at = 0;
let kept: unknown;

/** What is timed. The first is what the others are compared with. */
const STEPS: Readonly<Record<string, () => unknown>> = {
  reference: () => reference.get(`key ${at++ % 1_000}`),
  "target of a URL": () => parseTarget(URLS[at++ % URLS.length] ?? ""),
  "base key, plain": () =>
    baseKey("bench", "https", "shop.example", PATHS[at++ % PATHS.length] ?? "", "page=1"),
  "query, rule and sort": () => keyQuery(recipe, "page=1&utm_source=mail&colour=red"),
  "secondary key, four parts": () => secondaryKey(recipe, BROWSER),
  "Cache-Control, seen before": () => parseCacheControl("public, max-age=3600, stale-while-revalidate=60"),
  "Cache-Control, new": () => parseCacheControl(`public, max-age=${at++}, stale-while-revalidate=60`),
  "freshness of a response": () =>
    decideStorage(
      { spread: 0, path: "/products/chair.webp", authorized: false, cookieForwardedUnkeyed: false },
      { status: 200, fields: STORED, completable: true, requestTimeMs: now, responseTimeMs: now },
      ttl,
    ),
  "lookup among 100,000": () => store.get(KEYS[(at++ * 7_919) % KEYS.length] ?? "")?.find("", BROWSER),
  "hit, default configuration": plain.step,
  "hit, all features": featured.step,
};

/** Time of one step, in nanoseconds, over a batch. */
function timeNs(step: () => unknown, batch: number): number {
  const startNs = Bun.nanoseconds();
  for (let i = 0; i < batch; i++) kept = step();
  return (Bun.nanoseconds() - startNs) / batch;
}

/** Bytes that one step allocates, by how far the heap's blocks grew without a collection. */
function allocatedBytes(step: () => unknown): number {
  const runs = Array.from({ length: 5 }, () => {
    Bun.gc(true);
    const before = heapStats().heapCapacity;
    for (let i = 0; i < ALLOCATION_STEPS; i++) kept = step();
    return (heapStats().heapCapacity - before) / ALLOCATION_STEPS;
  });
  return Math.max(0, Math.round(median(runs)));
}

const names = Object.keys(STEPS);
const batches = new Map<string, number>();
for (const [name, step] of Object.entries(STEPS)) {
  timeNs(step, 50_000);
  batches.set(name, Math.max(1_000, Math.round((BATCH_MS * 1e6) / timeNs(step, 50_000))));
}
const times = new Map<string, number[]>(names.map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, step] of Object.entries(STEPS))
    times.get(name)?.push(timeNs(step, batches.get(name) ?? 1_000));
}
const referenceNs = times.get("reference") ?? [];
// Higher is better, as in the other baseline: steps of the reference in the time of one of these.
const found: Record<string, number> = {};
console.log("| step | ns | by the reference | bytes allocated |\n|---|---|---|---|");
for (const [name, step] of Object.entries(STEPS)) {
  const own = times.get(name) ?? [];
  const ratio = median(own.map((ns, round) => ns / (referenceNs[round] ?? Number.NaN)));
  const bytes = allocatedBytes(step);
  console.log(`| ${name} | ${median(own).toFixed(1)} | ${ratio.toFixed(2)} | ${bytes} |`);
  if (name === "reference") continue;
  found[`speed: ${name}`] = Math.round(1e4 / ratio) / 1e4;
  found[`thrift: ${name}`] = Math.round(1e6 / (bytes + 16)) / 1e6;
}
found["thrift: field reads of a hit"] = 1 / plain.reads;
console.log(
  `\nA hit asks ${plain.reads} times for fields of the request; with all features ${featured.reads} times.`,
);
void kept;

const args = process.argv.slice(2);
if (args.includes("--update")) {
  writeFileSync(BASELINE, `${JSON.stringify(found, null, 2)}\n`);
  console.log(`written to ${BASELINE}`);
} else if (args.includes("--check")) {
  if (!existsSync(BASELINE)) throw new Error("there is no baseline: write one with --update");
  const fallen = falls(JSON.parse(readFileSync(BASELINE, "utf8")) as Ratios, found);
  if (fallen.length > 0) console.log(describeFalls(fallen));
  console.log(`${fallen.length} fell by more than ${FALL_MAX * 100} %`);
  if (args.includes("--strict") && fallen.length > 0) process.exitCode = 1;
}
await origin.stop(true);
process.exit();
