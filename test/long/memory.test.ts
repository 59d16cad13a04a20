/** Memory of a whole process under a limit of 256 MiB: 100,000 distinct URLs, then an hour of mixed traffic. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type EdgeProcess, startEdgeProcess } from "../kit/edge-process.ts";
import { startLoad } from "../kit/load.ts";

const RSS_MIB_MAX = 700;
let origin: Bun.Server<undefined>;
let edge: EdgeProcess;

/** A number from 0 to 1 that depends on `seed` alone. */
function hash(seed: number): number {
  let x = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
}

/** Log-normal sizes, median 4 KiB, most under 64 KiB. */
function sizeOf(seed: number): number {
  const normal = Math.sqrt(-2 * Math.log(hash(seed) + 1e-9)) * Math.cos(2 * Math.PI * hash(seed + 7));
  return Math.min(2_000_000, Math.round(4_096 * Math.exp(1.2 * normal)));
}

const filler = "All work and no play makes a cache a dull box. ".repeat(50_000);

beforeAll(async () => {
  origin = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const [, kind = "", id = "0"] = pathname.split("/");
      const body = filler.slice(0, sizeOf(Number(id)));
      if (request.method !== "GET") {
        await request.bytes();
        return new Response("done");
      }
      const plain = { "content-type": "text/plain" };
      switch (kind) {
        case "page":
          if (request.headers.get("if-none-match") === `"${id}"`)
            return new Response(null, {
              status: 304,
              headers: { etag: `"${id}"`, "cache-control": "max-age=2" },
            });
          return new Response(body, {
            headers: { ...plain, etag: `"${id}"`, "cache-control": "max-age=2, stale-while-revalidate=2" },
          });
        case "personal":
          return new Response(body, { headers: { ...plain, "cache-control": "private, no-store" } });
        case "vary":
          return new Response(body, {
            headers: { ...plain, vary: "accept-language", "cache-control": "max-age=60" },
          });
        case "broken":
          return new Response("broken", { status: 503 });
        default:
          return new Response(body, {
            headers: { "content-type": "image/png", "cache-control": "max-age=3600" },
          });
      }
    },
  });
  edge = await startEdgeProcess(["dev", `http://127.0.0.1:${origin.port}`, "--cache-memory", "256MiB"]);
});
afterAll(async () => {
  await edge.stop();
  await origin.stop(true);
});

test("100,000 distinct URLs stay under the limit", async () => {
  let next = 0;
  let most = 0;
  const load = await startLoad({ port: edge.port, connections: 32, path: () => `/image/${next++}` });
  while (next < 100_000) {
    await Bun.sleep(200);
    most = Math.max(most, edge.rssMiB());
  }
  const report = await load.stop();
  const { store } = (await edge.stats()) as { store: { bytes: number; objects: number; evictions: number } };
  console.log(
    `${next} distinct URLs: at most ${most.toFixed(0)} MiB resident; the store holds ${store.objects} objects, ${(store.bytes / 2 ** 20).toFixed(0)} MiB, after ${store.evictions} evictions; ${(report.requests / report.seconds).toFixed(0)} requests/s`,
  );
  expect(report.failures).toBe(0);
  expect(store.bytes).toBeLessThanOrEqual(256 * 2 ** 20);
  expect(store.evictions).toBeGreaterThan(0);
  expect(most).toBeLessThan(RSS_MIB_MAX);
}, 300_000);

test("an hour of mixed traffic at 500 requests a second leaves no growth", async () => {
  const total = Number(process.env.SOAK_REQUESTS ?? 1_800_000);
  let n = 0;
  const pick = (): string => {
    const i = n++;
    const r = hash(i);
    // Zipf-like: small numbers come often.
    const id = Math.floor(20_000 * hash(i + 1) ** 3);
    if (r < 0.6) return `/image/${id}`;
    if (r < 0.85) return `/page/${id}`;
    if (r < 0.9) return `/vary/${id % 500}`;
    if (r < 0.95) return `/personal/${id}?session=${i}`;
    if (r < 0.97) return `/broken/${id}`;
    return `/image/${id}?cache-buster=${i}`;
  };
  const load = await startLoad({
    port: edge.port,
    connections: 32,
    path: pick,
    headers: "Accept-Encoding: gzip, br\r\nAccept-Language: de\r\n",
  });
  const aborting = abortNowAndThen(edge.port, () => n < total);
  const samples: number[] = [];
  for (let mark = total / 20; n < total; ) {
    await Bun.sleep(50);
    if (n < mark) continue;
    mark += total / 20;
    samples.push(edge.rssMiB());
  }
  const report = await load.stop();
  const aborted = await aborting;
  const middle = samples.slice(6, 13);
  const end = samples.slice(-7);
  const mean = (list: number[]): number => list.reduce((sum, one) => sum + one, 0) / list.length;
  console.log(
    `${report.requests} requests and ${aborted} aborted ones in ${report.seconds.toFixed(0)} s, statuses ${JSON.stringify(report.statuses)}; resident MiB: ${samples.map((one) => one.toFixed(0)).join(" ")}; middle ${mean(middle).toFixed(0)}, end ${mean(end).toFixed(0)}`,
  );
  expect(report.failures).toBe(0);
  expect(Object.keys(report.statuses).sort()).toEqual(["200", "503"]);
  expect(mean(end)).toBeLessThan(mean(middle) * 1.1 + 10);
  expect(Math.max(...samples)).toBeLessThan(RSS_MIB_MAX);
  const { requestsInFlight } = (await edge.stats()) as { requestsInFlight: number };
  expect(requestsInFlight).toBeLessThanOrEqual(2);
}, 900_000);

/** Viewers who leave in the middle, and ones who post; returns how many. */
async function abortNowAndThen(port: number, more: () => boolean): Promise<number> {
  let count = 0;
  while (more()) {
    const controller = new AbortController();
    const method = count % 3 === 0 ? "POST" : "GET";
    const answer = fetch(`http://127.0.0.1:${port}/page/${count % 1_000}?a=${count}`, {
      method,
      signal: controller.signal,
      ...(method === "POST" ? { body: "x".repeat(10_000) } : {}),
    });
    if (count % 2 === 0) setTimeout(() => controller.abort(), 1);
    await answer.then((response) => response.bytes()).catch(() => undefined);
    count++;
    await Bun.sleep(2);
  }
  return count;
}
