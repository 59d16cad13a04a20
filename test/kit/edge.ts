/** A whole edge for a test: data directory, sockets, certificates and all, as `proxima edge` starts it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { parseConfig } from "../../src/config/parse.ts";
import type { Config } from "../../src/config/schema.ts";
import type { BehaviorInput, ConfigInput, SiteInput } from "../../src/config/types.ts";
import { createEdge } from "../../src/node/create-edge.ts";
import { InvalidationLog } from "../../src/node/invalidation-log.ts";
import { OriginBoard } from "../../src/node/origin-board.ts";
import { PurgeHistory } from "../../src/node/purge-history.ts";
import { PurgeLog } from "../../src/node/purge-log.ts";
import { openDataDir } from "../../src/service/data-dir.ts";
import type { NodeLog } from "../../src/service/log.ts";

/** What differs from an edge with one site that takes every host and asks `origin`. */
export interface TestEdgeOptions {
  /** URL or directory of the only origin. */
  readonly origin: string;
  /** Settings of the only behaviour; `path` is "/*" when left out. */
  readonly behavior?: Partial<BehaviorInput>;
  readonly behaviors?: BehaviorInput[];
  readonly site?: Partial<SiteInput>;
  readonly config?: Partial<ConfigInput>;
  readonly clock?: Clock;
  /** Port that stands for the control listener's, which no origin may reach. */
  readonly controlPort?: number;
  /** Listen with TLS (and HTTP/3) as well. */
  readonly https?: boolean;
}

/** An edge under test. */
export interface TestEdge {
  readonly edge: Awaited<ReturnType<typeof createEdge>>["edge"];
  /** Without a slash at the end. */
  readonly url: string;
  readonly httpsUrl: string;
  readonly port: number;
  readonly httpsPort: number;
  /** PEM of the CA that signed the edge's certificate. */
  readonly ca: string;
  readonly dataDir: string;
  /** Messages of the node's log. */
  readonly messages: string[];
  /** Puts another config in force. */
  apply(options: Partial<TestEdgeOptions>): Promise<void>;
  /** Fetches over HTTP/1.1 in clear text, never following redirects nor expanding codings. */
  get(path: string, headers?: Record<string, string>, init?: RequestInit): Promise<Answer>;
  /** Stops it in good order and starts it anew on the same port and data directory. */
  restart(between?: () => void): Promise<void>;
  /** The purge log, as it is open now. */
  readonly log: PurgeLog;
  stop(): Promise<void>;
}

/** What came back, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  readonly bytes: Uint8Array;
  /** X-Cache. */
  readonly cache: string | null;
}

/** The config of a test edge. Throws with the problems when it is not valid. */
export function testConfig(options: TestEdgeOptions, dataDir: string, http = "127.0.0.1:0"): Config {
  const origin = /^https?:/.test(options.origin) ? { url: options.origin } : { directory: options.origin };
  const parsed = parseConfig({
    dataDir,
    listen: {
      http,
      control: "127.0.0.1:0",
      ...(options.https === true ? { https: "127.0.0.1:0" } : {}),
    },
    ...options.config,
    sites: options.config?.sites ?? {
      test: {
        hosts: ["*"],
        origins: { app: origin },
        behaviors: options.behaviors ?? [{ path: "/*", ...options.behavior }],
        ...options.site,
      },
    },
  });
  if (!parsed.ok)
    throw new Error(parsed.problems.map(({ path, message }) => `${path}: ${message}`).join("\n"));
  return parsed.config;
}

/** The logs of a data directory, as a node opens them. */
export function openHistory(folder: string): {
  readonly history: PurgeHistory;
  readonly log: PurgeLog;
  close(): void;
} {
  const purges = new PurgeLog(join(folder, "purges.db"));
  const invalidations = new InvalidationLog(join(folder, "invalidations.db"));
  return {
    history: new PurgeHistory(purges, invalidations),
    log: purges,
    close() {
      purges.close();
      invalidations.close();
    },
  };
}

/** Starts an edge in this process. */
export async function startTestEdge(options: TestEdgeOptions): Promise<TestEdge> {
  const folder = mkdtempSync(join(tmpdir(), "proxima-edge-"));
  const dataDir = openDataDir(folder, "test");
  const messages: string[] = [];
  const log: NodeLog = (level, message) => messages.push(`${level}: ${message}`);
  const board = new OriginBoard(log);
  let current = options;
  const start = async (http?: string) =>
    await createEdge({
      config: testConfig(current, folder, http),
      dataDir,
      version: "0.0.0-test",
      clock: options.clock ?? systemClock,
      log,
      history: history.history,
      controlPort: () => options.controlPort ?? null,
      onOriginEvent: (event) => board.take(event),
    });
  let history = openHistory(folder);
  let { edge, caFile } = await start().catch((error: unknown) => {
    dataDir.release();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  const url = `http://${edge.addresses.http}`;
  const httpsPort = Number(edge.addresses.https?.split(":").at(-1) ?? 0);
  return {
    get edge() {
      return edge;
    },
    url,
    httpsUrl: `https://localhost:${httpsPort}`,
    port: Number(url.split(":").at(-1)),
    httpsPort,
    ca: caFile === null ? "" : await Bun.file(caFile).text(),
    dataDir: folder,
    messages,
    async apply(changed) {
      current = { ...current, ...changed };
      await edge.apply(testConfig(current, folder));
    },
    get: (path, headers = {}, init = {}) => fetchWhole(url + path, { ...init, headers }),
    get log() {
      return history.log;
    },
    async restart(between) {
      await edge.stop();
      history.close();
      between?.();
      history = openHistory(folder);
      // The same port, so that the same addresses go on to work.
      ({ edge, caFile } = await start(url.slice("http://".length)));
    },
    async stop() {
      await edge.stop();
      history.close();
      dataDir.release();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One exchange, read whole. */
export async function fetchWhole(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, {
    redirect: "manual",
    decompress: false,
    keepalive: false,
    ...init,
  } as RequestInit);
  const bytes = await response.bytes();
  return {
    status: response.status,
    headers: response.headers,
    bytes,
    body: new TextDecoder().decode(bytes),
    cache: response.headers.get("x-cache"),
  };
}
