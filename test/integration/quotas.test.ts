/** Sites that share a node's memory: one with a limit, one with a reserve, and both changed while they are served. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SiteInput } from "../../src/config/types.ts";
import type { StatsSnapshot } from "../../src/telemetry/stats.ts";
import { startTestEdge } from "../kit/edge.ts";
import { startOrigin, text } from "../kit/origin.ts";
import { Programs } from "../kit/program.ts";

const stops: (() => unknown)[] = [];
afterAll(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const KIB = 1_024;
const origin = startOrigin(() =>
  text("x".repeat(100 * KIB), { "cache-control": "max-age=600", "content-type": "image/png" }),
);
stops.push(() => origin.stop());

const sitesOf = (caches: Record<string, SiteInput["cache"]>) =>
  Object.fromEntries(
    Object.entries(caches).map(([id, cache]) => [
      id,
      {
        hosts: [`${id}.test`],
        origins: { app: { url: origin.url } },
        ...(cache === undefined ? {} : { cache }),
      },
    ]),
  );

test("a site keeps to its limit, keeps its reserve, and follows the config", async () => {
  const config = (caches: Record<string, SiteInput["cache"]>) => ({
    cache: { memory: "4MiB" },
    sites: sitesOf(caches),
  });
  const edge = await startTestEdge({
    origin: origin.url,
    config: config({
      small: { memoryMax: "1MiB" },
      quiet: { memoryReserved: "1MiB" },
      other: undefined,
    }),
  });
  stops.push(() => edge.stop());
  const get = (site: string, i: number) => edge.get(`/${i}`, { host: `${site}.test` });
  const stats = async (): Promise<StatsSnapshot> => await edge.edge.stats();
  for (let i = 0; i < 9; i++) await get("quiet", i);
  for (let i = 0; i < 30; i++) await get("small", i);
  for (let i = 0; i < 100; i++) await get("other", i);
  const { siteStores, store } = await stats();
  expect(siteStores.small?.bytes).toBeLessThanOrEqual(2 ** 20);
  expect(siteStores.quiet).toMatchObject({ entries: 9, bytesMax: null, bytesReserved: 2 ** 20 });
  expect(store.bytes).toBeLessThanOrEqual(4 * 2 ** 20);
  for (let i = 0; i < 9; i++) expect((await get("quiet", i)).cache).toBe("HIT");
  const page = await edge.edge.metrics();
  expect(page).toContain('proxima_site_store_limit_bytes{site="small"} 1048576\n');
  expect(page).toContain('proxima_site_store_reserved_bytes{site="quiet"} 1048576\n');
  expect(page).toContain('proxima_site_store_entries{site="quiet"} 9\n');
  expect(page).not.toContain('proxima_site_store_bytes{site="other"}');
  expect(page).toContain('proxima_workers{state="up"} 1\n');

  // The reserve is given up, the limit comes to the other site.
  await edge.apply({ config: config({ small: undefined, quiet: undefined, other: { memoryMax: "1MiB" } }) });
  const limited = (await stats()).siteStores;
  expect(Object.keys(limited)).toEqual(["other"]);
  expect(limited.other?.bytes).toBeLessThanOrEqual(2 ** 20);
  expect(limited.other?.entries).toBeGreaterThan(5);
  for (let i = 0; i < 240; i++) await get("small", 1_000 + Math.floor(i / 4));
  const kept = await Promise.all(Array.from({ length: 9 }, (_, i) => get("quiet", i)));
  expect(kept.filter(({ cache }) => cache === "HIT").length).toBeLessThan(9);
}, 20_000);

test("an answer larger than its site's limit is passed on and not stored", async () => {
  const large = startOrigin(() =>
    text("y".repeat(1_500 * KIB), { "cache-control": "max-age=600", "content-type": "image/png" }),
  );
  stops.push(() => large.stop());
  const edge = await startTestEdge({ origin: large.url, site: { cache: { memoryMax: "1MiB" } } });
  stops.push(() => edge.stop());
  for (let i = 0; i < 2; i++) {
    const { status, cache, bytes } = await edge.get("/large");
    expect([status, cache, bytes.length]).toEqual([200, "BYPASS", 1_500 * KIB]);
  }
});

test("several workers divide a site's limit, and the metrics say which of them are up", async () => {
  const all = new Programs();
  stops.push(() => all.stop());
  const folder = mkdtempSync(join(tmpdir(), "proxima-quotas-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "proxima.json");
  await Bun.write(
    file,
    JSON.stringify({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      dataDir: join(folder, "data"),
      cache: { memory: "64MiB" },
      workers: 2,
      sites: sitesOf({ small: { memoryMax: "2MiB" }, other: undefined }),
    }),
  );
  const { http, control } = await all.start(["edge", "--config", file]).addresses();
  const get = (site: string, i: number) =>
    fetch(`${http}/${i}`, { keepalive: false, headers: { host: `${site}.test` } }).then((one) => one.text());
  await Promise.all(Array.from({ length: 60 }, (_, i) => get("small", i)));
  for (let i = 0; i < 20; i++) await get("other", i);
  const stats = (await (await fetch(`${control}/v1/stats`)).json()) as StatsSnapshot;
  expect(stats.siteStores.small).toMatchObject({ bytesMax: 2 * 2 ** 20, bytesReserved: 0 });
  expect(stats.siteStores.small?.bytes).toBeLessThanOrEqual(2 * 2 ** 20);
  expect(stats.siteStores.small?.entries).toBeGreaterThan(10);
  expect(stats.workers).toEqual({ up: 2, down: 0 });
  expect(await (await fetch(`${control}/metrics`)).text()).toContain('proxima_workers{state="down"} 0\n');
}, 20_000);
