/**
 * An edge of several workers, each a process, behind one set of ports. This process, the supervisor, holds
 * the data directory, the certificates and the config; it serves no viewer. A worker that ends is replaced.
 *
 * A slot's worker is starting -> joined (gets broadcasts) -> up (listens) -> gone; then it starts again, at
 * once at first, later and later while it keeps ending.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { keyParts, type Purge } from "../../cache/purge-table.ts";
import { compileSite } from "../../config/compile.ts";
import type { Config, SiteConfig } from "../../config/schema.ts";
import { freePort, type ListenAddress } from "../../edge/listener/ports.ts";
import { type OrphanCount, sumOrphans } from "../../edge/orphans.ts";
import type { Broadcast } from "../../edge/peers.ts";
import { type FleetStanding, NO_FLEET } from "../../edge/settings.ts";
import { ensureLocalCa } from "../../edge/tls/local-ca.ts";
import type { TlsMaterial } from "../../edge/tls/material.ts";
import { urlKey } from "../../edge/url-key.ts";
import { formatAddress } from "../../service/listen-error.ts";
import { LogSink } from "../../telemetry/log-sink.ts";
import { renderMetrics } from "../../telemetry/prometheus.ts";
import { Stats, type StatsSnapshot } from "../../telemetry/stats.ts";
import { mergeStats, withoutGauges } from "../../telemetry/stats-merge.ts";
import type { Fault } from "../../upstream/faults.ts";
import type { OriginEvent } from "../../upstream/health/origin-event.ts";
import { Certificates } from "../certificates.ts";
import type { Edge } from "../edge-handle.ts";
import { listenAddress } from "../listen-address.ts";
import { loopId } from "../loop-id.ts";
import type { CreateEdge, EdgeSetup } from "../node.ts";
import { type PurgeHistory, slicesOf } from "../purge-history.ts";
import type { PurgesInForce } from "../purge-service.ts";
import type { WorkerListen } from "./calls.ts";
import { OriginMemory } from "./origin-memory.ts";
import { RestartPolicy } from "./restart-policy.ts";
import { socketPath } from "./socket-path.ts";
import { WorkerProcess } from "./worker-process.ts";

/** A worker that has not applied a broadcast by then is ended: it might serve what is invalid. */
const BROADCAST_MS_MAX = 3_000;
/** Starting, and everything else that has to do with a config. */
const CONFIG_MS_MAX = 60_000;
/** New certificates: HTTP/3 is drained before its port is bound again. */
const TLS_MS_MAX = 60_000;
/** A sweep over a large disk takes its time. */
const COUNT_MS_MAX = 3_600_000;
/** Looking at everything that is stored takes its time. */
const ORPHANS_MS_MAX = 30_000;
const ASK_MS_MAX = 5_000;
const STOP_MS_MAX = 5_000;
/** Beside the drain's own deadline. */
const DRAIN_MARGIN_MS = 5_000;
/** How often each worker is asked whether it still runs, and how long it may take to say so. */
const PING_EVERY_MS = 2_000;
const PING_MS_MAX = 15_000;
/** A unix socket's path is at most 107 bytes (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** Makes edges of `slots` workers, `workerCommand` each. */
export function createCluster(workerCommand: readonly string[], slots: number): CreateEdge {
  return async (setup) => {
    assert(setup.clock.steady === setup.clock, "workers have their machine's clock");
    const cluster = await Cluster.start(setup, slots, workerCommand);
    return { edge: cluster, snapshot: 1, caFile: cluster.caFile };
  };
}

/** What a slot holds now. */
interface Slot {
  readonly index: number;
  readonly policy: RestartPolicy;
  /** Null between two processes. */
  worker: WorkerProcess | null;
  up: boolean;
  starts: number;
  /** Why it is not up, for a person. */
  reason: string;
}

class Cluster implements Edge {
  readonly addresses: Edge["addresses"];
  readonly caFile: string | null;
  readonly #setup: EdgeSetup;
  readonly #command: readonly string[];
  readonly #slots: readonly Slot[];
  readonly #history: PurgeHistory;
  readonly #listen: Omit<WorkerListen, "tls" | "http3">;
  readonly #certificates: Certificates | null;
  readonly #socketFolder: string;
  readonly #loopId: string;
  readonly #own: Stats;
  readonly #origins = new OriginMemory();
  readonly #output: { readonly sink: LogSink; last: Promise<void> } | null;
  #tls: TlsMaterial | null;
  #standing = NO_FLEET;
  #config: Config;
  #snapshot = 1;
  /** Place of the newest broadcast. */
  #sequence: number;
  /** Counters of workers that have ended. */
  #past: StatsSnapshot[] = [];
  /** Config changes and starts happen one after another. */
  #serial: Promise<unknown> = Promise.resolve();
  #state: "starting" | "open" | "draining" | "stopped" = "starting";
  #cancelPing: () => void = () => {};

  static async start(setup: EdgeSetup, slots: number, command: readonly string[]): Promise<Cluster> {
    const { config, dataDir, clock } = setup;
    const { listen } = config;
    const http = await bound(listen.http, false);
    const withHttp3 = listen.http3 && !listen.proxyProtocol;
    const https = await bound(listen.https, withHttp3);
    const localCa = https === null ? null : await ensureLocalCa(dataDir.path, clock);
    const certificates = localCa === null ? null : new Certificates(setup, localCa);
    const tls = (await certificates?.first()) ?? null;
    const cluster = new Cluster(setup, slots, command, {
      listen: { http, https, http3Port: https !== null && withHttp3 ? https.port : null },
      certificates,
      tls,
      caFile: listen.tls.certificates.length > 0 ? null : (localCa?.certFile ?? null),
    });
    try {
      await cluster.#startAll();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  constructor(
    setup: EdgeSetup,
    slots: number,
    command: readonly string[],
    made: {
      readonly listen: Omit<WorkerListen, "tls" | "http3">;
      readonly certificates: Certificates | null;
      readonly tls: TlsMaterial | null;
      readonly caFile: string | null;
    },
  ) {
    this.#setup = setup;
    this.#command = command;
    this.#config = setup.config;
    this.#history = setup.history;
    this.#sequence = setup.history.base;
    this.#listen = made.listen;
    this.#certificates = made.certificates;
    this.#tls = made.tls;
    this.caFile = made.caFile;
    this.#loopId = loopId(setup.dataDir);
    this.#own = new Stats(setup.clock);
    this.#socketFolder = makeSocketFolder(setup.dataDir.file("run"), slots);
    this.#output =
      setup.config.accessLog?.file === "-" ? { sink: new LogSink("-"), last: Promise.resolve() } : null;
    this.#slots = Array.from({ length: slots }, (_, index) => ({
      index,
      policy: new RestartPolicy(),
      worker: null,
      up: false,
      starts: 0,
      reason: "is starting",
    }));
    const { http, https, http3Port } = made.listen;
    const shown = https === null ? null : formatAddress(https);
    this.addresses = {
      http: http === null ? null : formatAddress(http),
      https: shown,
      http3: http3Port === null ? null : shown,
    };
  }

  async #startAll(): Promise<void> {
    const workers = await Promise.all(this.#slots.map((slot) => this.#spawn(slot)));
    // All answer each other before the first viewer comes.
    await Promise.all(workers.map((worker) => this.#join(worker)));
    for (const slot of this.#slots) slot.up = true;
    await this.#tellPeers();
    await Promise.all(workers.map((worker) => this.#listenOn(worker)));
    this.#certificates?.watch({ replaceTls: (tls) => this.#replaceTls(tls) });
    this.#state = "open";
    this.#armPing();
  }

  /** Starts a slot's process and gives it the config in force. */
  async #spawn(slot: Slot): Promise<WorkerProcess> {
    const { log } = this.#setup;
    slot.starts++;
    slot.reason = "is starting";
    const output = this.#output;
    const worker: WorkerProcess = new WorkerProcess({
      slot: slot.index,
      command: this.#command,
      log,
      onOutput:
        output === null
          ? null
          : (bytes) => {
              const text = new TextDecoder().decode(bytes);
              output.last = output.last
                .then(() => output.sink.write(text))
                .catch((error: unknown) => log("error", `access log: ${messageOf(error)}`));
              return output.last;
            },
      broadcast: (message) => this.broadcast(message),
      onOriginEvent: (event) => this.#originEvent(worker, event),
      purge: async (order) =>
        (await this.#setup.purge?.(order)) ?? { ok: false, status: 500, message: "the node takes no purges" },
    });
    slot.worker = worker;
    void worker.ended.then((how) => this.#ended(slot, worker, how));
    const { sites: _, ...node } = this.#config;
    worker.floor = await worker.call(
      "init",
      {
        slot: slot.index,
        slots: this.#slots.length,
        start: slot.starts,
        version: this.#setup.version,
        config: node,
        loopId: this.#loopId,
        controlPort: this.#setup.controlPort(),
        memoryBytesMax: Math.floor(node.cache.memory / this.#slots.length),
        socketFolder: this.#socketFolder,
        limits: this.#history.limits(this.#sequence),
        takesPurges: this.#setup.purge !== undefined,
      },
      CONFIG_MS_MAX,
    );
    await worker.prepare(this.#config, this.#snapshot, CONFIG_MS_MAX);
    await worker.commit(this.#config, this.#snapshot, CONFIG_MS_MAX);
    return worker;
  }

  /**
   * Brings a worker to where the purges stand now. Everything is sent in this very turn: from then on every
   * broadcast follows it on the same channel.
   */
  async #join(worker: WorkerProcess): Promise<void> {
    const now = this.#history.limits(this.#sequence).newest;
    const floor = worker.floor ?? now;
    const calls = slicesOf(this.#history.since(floor)).map((slice) =>
      worker.call("missed", slice, CONFIG_MS_MAX),
    );
    worker.joined = true;
    const nowMs = this.#setup.clock.now();
    await Promise.all([
      ...calls,
      worker.call("join", { floor, now }, CONFIG_MS_MAX),
      worker.call("fleet", this.#standing, CONFIG_MS_MAX),
      ...this.#origins.events(nowMs).map((event) => worker.call("originEvent", event, CONFIG_MS_MAX)),
      ...this.#origins.faults(nowMs).map((setting) => worker.call("setFault", setting, CONFIG_MS_MAX)),
    ]);
  }

  async #listenOn(worker: WorkerProcess): Promise<void> {
    // Live HTTP/3 connections would move and hang if a second process bound the UDP port.
    const http3 = worker.slot === 0 && this.#listen.http3Port !== null;
    await worker.call("listen", { ...this.#listen, http3, tls: this.#tls }, CONFIG_MS_MAX);
  }

  #ended(slot: Slot, worker: WorkerProcess, how: string): void {
    if (slot.worker !== worker) return;
    slot.worker = null;
    slot.up = false;
    if (worker.stats !== null) this.#past = [mergeStats([...this.#past, withoutGauges(worker.stats)])];
    if (this.#state !== "open") return;
    const ranMs = performance.now() - worker.startedMs;
    const { delayMs, inARow } = slot.policy.ended(ranMs);
    slot.reason = `${how}${inARow > 1 ? `, ${inARow} times in a row` : ""}${delayMs > 0 ? `; it starts again ${delayMs / 1000} s later` : ""}`;
    this.#setup.log(
      "error",
      `worker ${slot.index} (process ${worker.pid}) ${slot.reason}${delayMs > 0 ? "" : "; it starts again"}`,
    );
    void this.#tellPeers();
    setTimeout(() => void this.#restart(slot), delayMs);
  }

  #restart(slot: Slot): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#state !== "open") return;
      try {
        const worker = await this.#spawn(slot);
        await this.#join(worker);
        slot.up = true;
        await this.#tellPeers();
        await this.#listenOn(worker);
        this.#setup.log("info", `worker ${slot.index} serves again (process ${worker.pid})`);
      } catch (error) {
        this.#setup.log("error", `worker ${slot.index} can not start: ${messageOf(error)}`);
        // Its end starts the next attempt.
        await slot.worker?.kill();
      }
    });
  }

  /** Tells every worker which of them are there to be asked. */
  async #tellPeers(): Promise<void> {
    const starts = this.#slots.map((slot) => (slot.up ? slot.starts : 0));
    await this.#each((worker) => worker.call("peers", starts, ASK_MS_MAX));
    // One of them checks the health of origins for all: the first that is up.
    const checker = this.#slots.find(({ up }) => up)?.worker ?? null;
    await this.#each((worker) => worker.call("checkHealth", worker === checker, ASK_MS_MAX));
  }

  /** What one worker found out about an origin, the others know at once. */
  #originEvent(from: WorkerProcess, event: OriginEvent): void {
    this.#origins.take(event);
    this.#setup.onOriginEvent?.(event);
    void this.#each(async (worker) => {
      if (worker !== from) await worker.call("originEvent", event, ASK_MS_MAX);
    });
  }

  /** Calls every worker that has joined; one that fails is left out. */
  async #each<T>(ask: (worker: WorkerProcess) => Promise<T>): Promise<T[]> {
    const workers = this.#slots.flatMap(({ worker }) => (worker?.joined === true ? [worker] : []));
    const answers = await Promise.allSettled(workers.map(ask));
    return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#serial.then(run);
    this.#serial = done.catch(() => undefined);
    return done;
  }

  /**
   * Has every worker apply a message, in one order for all; resolves when they have, with the number of
   * stored responses that went at once. A worker that does not do so in time is ended: it must not serve
   * what the others have forgotten.
   */
  async broadcast(message: Broadcast): Promise<number> {
    const sequence = ++this.#sequence;
    if (message.kind === "invalidate") {
      const whole = this.#slots.every(({ worker }) => worker?.joined === true);
      if (!whole) this.#note(message, sequence);
      else if (message.tags.length > 0) this.#note({ ...message, keys: [] }, sequence);
    }
    const counts = await this.#each(async (worker) => {
      try {
        return await worker.call("apply", { message, sequence }, BROADCAST_MS_MAX);
      } catch (error) {
        this.#setup.log("error", `${messageOf(error)}; it is ended, for it might serve what is invalid`);
        // What it owns is still on its disk, and its successor has to be told.
        if (message.kind === "invalidate") this.#note(message, sequence);
        await worker.kill();
        return 0;
      }
    });
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Notes an invalidation for the workers that start after it; by URL only when the URL's owner may not have applied it. */
  #note({ keys, site, tags }: Extract<Broadcast, { kind: "invalidate" }>, sequence: number): void {
    this.#history.remember({ sequence, site, tags, urls: keys.map((key) => keyParts(key).url) });
  }

  apply(config: Config): Promise<{ readonly snapshot: number }> {
    return this.#inTurn(async () => {
      // Certificates that can not be used make the whole config one that is not put in force.
      const change = await this.#certificates?.prepare(config);
      const number = this.#snapshot + 1;
      const refused: unknown[] = [];
      await this.#each(async (worker) => {
        try {
          await worker.prepare(config, number, CONFIG_MS_MAX);
        } catch (error) {
          if (isAbout(error, "worker_gone")) return;
          refused.push(error);
        }
      });
      if (refused.length > 0) throw refused[0];
      this.#config = config;
      this.#snapshot = number;
      await this.#each(async (worker) => {
        try {
          await worker.commit(config, number, CONFIG_MS_MAX);
        } catch {
          // It has another snapshot than the others: its successor will not.
          await worker.kill();
        }
      });
      await change?.();
      this.#origins.retain(config.sites);
      return { snapshot: number };
    });
  }

  async #replaceTls(tls: TlsMaterial): Promise<void> {
    this.#tls = tls;
    await this.#each((worker) => worker.call("tls", tls, TLS_MS_MAX));
  }

  async orphans(site: string, config: SiteConfig): Promise<OrphanCount[]> {
    const counts: OrphanCount[][] = [];
    await this.#each(async (worker) => {
      counts.push(await worker.call("orphans", { site, config }, ORPHANS_MS_MAX));
    });
    return sumOrphans(counts);
  }

  async stats(): Promise<StatsSnapshot> {
    await this.#each(async (worker) => {
      worker.stats = await worker.call("stats", null, ASK_MS_MAX);
    });
    const present = this.#slots.flatMap(({ worker }) => (worker?.stats == null ? [] : [worker.stats]));
    const own = this.#own.snapshot({
      version: this.#setup.version,
      snapshotNumber: this.#snapshot,
      sites: Object.keys(this.#config.sites).length,
      store: { objects: 0, bytes: 0, bytesMax: 0, evictions: 0 },
      disk: null,
      siteStores: {},
      workers: { up: 0, down: 0 },
      accessLog: { written: 0, dropped: 0 },
      requestsInFlight: 0,
    });
    const up = this.#slots.filter((slot) => slot.up).length;
    const workers = { up, down: this.#slots.length - up };
    return { ...mergeStats([own, ...this.#past, ...present]), workers };
  }

  async metrics(): Promise<string> {
    return renderMetrics(await this.stats());
  }

  async explain(
    ...[url, options]: Parameters<Edge["explain"]>
  ): Promise<Awaited<ReturnType<Edge["explain"]>>> {
    const first = this.#slots.find(({ up }) => up)?.worker;
    if (first == null) throw new ProximaError("no_worker", "no worker is up", { source: "node" });
    const { explanation, owner } = await first.call("explain", { url, options }, ASK_MS_MAX);
    const other = owner === null ? null : (this.#slots[owner]?.worker ?? null);
    // What is stored, and what is under way, the owner of the key knows.
    return other === null
      ? explanation
      : (await other.call("explain", { url, options }, ASK_MS_MAX)).explanation;
  }

  ready(): ReturnType<Edge["ready"]> {
    if (this.#state === "draining") return { ready: false, reasons: ["the edge is draining"] };
    const reasons = this.#slots.flatMap(({ index, up, reason }) => (up ? [] : [`worker ${index} ${reason}`]));
    const problems = this.#slots.flatMap(({ worker }) => worker?.problems ?? []);
    reasons.push(...new Set(problems));
    return { ready: this.#slots.some(({ up }) => up), reasons };
  }

  certificates(): ReturnType<Edge["certificates"]> {
    return this.#certificates?.ends ?? [];
  }

  sites(): readonly string[] {
    return Object.keys(this.#config.sites);
  }

  urlTarget(site: string, url: string): string | null {
    const config = Object.hasOwn(this.#config.sites, site) ? this.#config.sites[site] : undefined;
    const key = config === undefined ? null : urlKey(compileSite(site, config, ""), new URL(url));
    return key === null ? null : keyParts(key).url;
  }

  foldsTags(site: string): boolean {
    return Object.hasOwn(this.#config.sites, site) && this.#config.sites[site]?.tagCase === "insensitive";
  }

  purge(purge: Purge): ReturnType<Edge["purge"]> {
    const applied = this.broadcast({ kind: "purge", purge }).then(() => undefined);
    return { applied, counted: applied.then(() => this.counted(purge.sequence)) };
  }

  async purgesInForce(site: string): Promise<PurgesInForce> {
    const all = await this.#each((worker) => worker.call("purgesInForce", site, ASK_MS_MAX));
    return {
      marks: Math.max(0, ...all.map(({ marks }) => marks)),
      patterns: Math.max(0, ...all.map(({ patterns }) => patterns)),
    };
  }

  async counted(sequence: number): Promise<number> {
    const counts = await this.#each((worker) => worker.call("counted", sequence, COUNT_MS_MAX));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  setFleet(standing: FleetStanding): void {
    this.#standing = standing;
    void this.#each((worker) => worker.call("fleet", standing, ASK_MS_MAX));
  }

  async setFault(site: string, origin: string, fault: Fault | null): Promise<void> {
    this.#origins.setFault({ site, origin, fault });
    await this.#each((worker) => worker.call("setFault", { site, origin, fault }, ASK_MS_MAX));
  }

  async reopenLog(): Promise<void> {
    await this.#each((worker) => worker.call("reopenLog", null, ASK_MS_MAX));
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#state = "draining";
    // Nothing starts any more; what was starting is there to be drained.
    await this.#serial;
    await this.#each((worker) => worker.call("drain", deadlineMs, deadlineMs + DRAIN_MARGIN_MS));
  }

  async stop(): Promise<void> {
    this.#state = "stopped";
    this.#cancelPing();
    this.#certificates?.close();
    await Promise.all(
      this.#slots.map(async ({ worker }) => {
        if (worker === null) return;
        const gone = worker
          .call("stop", null, STOP_MS_MAX)
          .then(() => Promise.race([worker.ended, Bun.sleep(STOP_MS_MAX)]));
        await gone.catch(() => undefined);
        await worker.kill();
      }),
    );
    rmSync(this.#socketFolder, { recursive: true, force: true });
  }

  #armPing(): void {
    this.#cancelPing = (this.#setup.clock satisfies Clock).after(PING_EVERY_MS, () => {
      void this.#each(async (worker) => {
        try {
          worker.problems = await worker.call("ping", null, PING_MS_MAX);
        } catch (error) {
          if (!isAbout(error, "worker_silent") || this.#state !== "open") return;
          this.#setup.log("error", `${messageOf(error)}; it hangs and is ended`);
          await worker.kill();
        }
      }).finally(() => {
        if (this.#state === "open") this.#armPing();
      });
    });
  }
}

/** The address that workers share, with its port found free of others; null when there is none. */
async function bound(text: string | undefined, udp: boolean): Promise<ListenAddress | null> {
  if (text === undefined) return null;
  const address = listenAddress(text);
  return { hostname: address.hostname, port: await freePort(address, udp) };
}

function isAbout(error: unknown, code: string): boolean {
  return error instanceof ProximaError && error.code === code;
}

/** A folder that only this user may enter: in the data directory, unless paths in it are too long for sockets. */
function makeSocketFolder(wanted: string, slots: number): string {
  if (Buffer.byteLength(socketPath(wanted, slots)) > SOCKET_PATH_BYTES_MAX)
    return mkdtempSync(join(tmpdir(), "proxima-run-"));
  // What a killed supervisor left; its data directory's lock is ours.
  rmSync(wanted, { recursive: true, force: true });
  mkdirSync(wanted, { recursive: true, mode: 0o700 });
  return wanted;
}
