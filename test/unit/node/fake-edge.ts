/** A data plane for tests of what stands around it: it answers "snapshot N", and slowly under /slow. */
import { ProximaError } from "../../../src/base/errors.ts";
import { parseListenAddress } from "../../../src/config/address.ts";
import type { Config } from "../../../src/config/schema.ts";
import type { CreateEdge } from "../../../src/node/node.ts";
import { listenError } from "../../../src/service/listen-error.ts";
import { renderMetrics } from "../../../src/telemetry/prometheus.ts";
import { Stats } from "../../../src/telemetry/stats.ts";

/** What happened to fake edges of this process, in order. */
export const edgeEvents: string[] = [];
/** How long an answer under /slow takes. */
export const SLOW_MS = 300;

/** Makes a fake edge; a site named "refused" is one that it can not take. */
export const createFakeEdge: CreateEdge = ({ config, dataDir, version, clock, history }) => {
  const stats = new Stats(clock);
  let number = 1;
  const address = parseListenAddress(config.listen.http ?? "127.0.0.1:0") ?? {
    hostname: "127.0.0.1",
    port: 0,
  };
  let server: Bun.Server<undefined>;
  try {
    server = Bun.serve({
      hostname: address.hostname,
      port: address.port,
      async fetch(request) {
        const { pathname } = new URL(request.url);
        if (pathname === "/slow") await Bun.sleep(SLOW_MS);
        if (pathname === "/reject") void Promise.reject(new Error("nobody waits"));
        if (pathname === "/throw") setTimeout(() => throwFault(new Error("broken state")), 0);
        if (pathname === "/reset") {
          setTimeout(() => throwFault(Object.assign(new Error("late reset"), { code: "ECONNRESET" })), 0);
        }
        stats.site("dev").record("hit", 200, 10);
        return new Response(`snapshot ${number}`);
      },
    });
  } catch (cause) {
    return Promise.reject(listenError("http", "--http", address, cause));
  }
  edgeEvents.push(`made in ${dataDir.path}`, `purges from ${history.limits().newest.sequence}`);
  const snapshot = () =>
    stats.snapshot({
      version,
      snapshotNumber: number,
      sites: Object.keys(config.sites).length,
      store: { objects: 0, bytes: 0, bytesMax: config.cache.memory, evictions: 0 },
      disk: null,
      siteStores: {},
      workers: { up: 1, down: 0 },
      accessLog: { written: 0, dropped: 0 },
      requestsInFlight: server.pendingRequests,
    });
  return Promise.resolve({
    snapshot: number,
    caFile: dataDir.file("ca.pem"),
    edge: {
      addresses: { http: `${address.hostname}:${server.port}`, https: null, http3: null },
      apply(newer: Config) {
        if ("refused" in newer.sites) {
          return Promise.reject(
            new ProximaError("refused", "site refused can not be used", { source: "node" }),
          );
        }
        number++;
        edgeEvents.push(`applied ${number}`);
        return Promise.resolve({ snapshot: number });
      },
      orphans: () => Promise.resolve([]),
      stats: snapshot,
      metrics: () => renderMetrics(snapshot()),
      explain: (url, { method = "GET", headers = {} }) => ({
        url,
        steps: [
          { step: "site", outcome: "dev", details: { host: "*", method } },
          { step: "key", outcome: "dev/a", details: { headers, none: [], list: ["a", "b"] } },
        ],
        would: { result: "hit", reason: "fresh" },
      }),
      ready: () => ({ ready: true, reasons: [] }),
      setFleet: ({ unsynced }) => edgeEvents.push(`unsynced ${unsynced}`),
      certificates: () => [],
      sites: () => ["dev"],
      urlTarget: (_site, url) => new URL(url).host + new URL(url).pathname,
      purgesInForce: () => ({ marks: 0, patterns: 0 }),
      purge(purge) {
        edgeEvents.push(`purge ${purge.sequence} ${purge.scope}`);
        return { applied: Promise.resolve(), counted: Promise.resolve(7) };
      },
      counted(sequence) {
        edgeEvents.push(`counted again ${sequence}`);
        return Promise.resolve(0);
      },
      setFault(site, origin, fault) {
        edgeEvents.push(`fault of ${site} ${origin}: ${fault?.kind ?? "none"}`);
        return Promise.resolve();
      },
      reopenLog() {
        edgeEvents.push("log reopened");
        return Promise.resolve();
      },
      async drain(deadlineMs) {
        edgeEvents.push(`drain ${deadlineMs}`);
        await Promise.race([server.stop(), Bun.sleep(deadlineMs)]);
      },
      async stop() {
        edgeEvents.push("stop");
        await server.stop(true);
      },
    },
  });
};

function throwFault(error: Error): never {
  throw error;
}
