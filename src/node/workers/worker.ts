/**
 * One of several processes that serve a node's ports: a data plane, its listeners, and a socket for the
 * other workers. It does what the supervisor says and ends with it. Signals are the supervisor's: a
 * terminal or a service manager sends them to every process of the group.
 */
import { systemClock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { Purge } from "../../cache/purge-table.ts";
import { shardOwners } from "../../cache/shard.ts";
import type { SiteConfig } from "../../config/schema.ts";
import type { Edge as DataPlane } from "../../edge/edge.ts";
import { type EdgeListeners, startListeners } from "../../edge/listener/edge-listener.ts";
import { type OwnerListener, startOwnerListener } from "../../edge/listener/owner-listener.ts";
import { Peers } from "../../edge/peers.ts";
import type { EdgePurgeOrder, EdgePurgeOutcome } from "../../edge/phases/purge.ts";
import type { NotedInvalidation } from "../../edge/purges.ts";
import type { FleetStanding } from "../../edge/settings.ts";
import { installFaultHandlers } from "../../service/faults.ts";
import type { NodeLog } from "../../service/log.ts";
import type { AccessLog } from "../../telemetry/access-log.ts";
import { openDiskCache } from "../disk-cache.ts";
import { makePlane } from "../plane.ts";
import { openTiers } from "../tiers.ts";
import {
  Channel,
  packetOf,
  type SupervisorCalls,
  type WorkerCalls,
  type WorkerInit,
  type WorkerListen,
} from "./calls.ts";
import { socketPath } from "./socket-path.ts";

/** How long requests may take to end after a fault that is not safe to ignore, in milliseconds. */
const FAULT_DRAIN_MS = 2_000;

/** A worker once it was told what it is. */
interface Running {
  readonly init: WorkerInit;
  readonly plane: DataPlane;
  readonly peers: Peers;
  readonly settings: {
    httpsPort: number | null;
    fleet: FleetStanding;
    readonly trustedProxies: { has(address: string): boolean } | null;
  };
  readonly accessLog: AccessLog | null;
}

/** Runs this process as a worker until the supervisor ends it or is gone. */
export function runWorker(): void {
  if (process.send === undefined) {
    process.stderr.write("proxima: a worker is started by a running edge only\n");
    process.exit(2);
  }
  const clock = systemClock;
  const sites = new Map<string, SiteConfig>();
  let running: Running | null = null;
  let prepared: { readonly number: number; readonly commit: () => void } | null = null;
  const missed: { purges: Purge[]; invalidations: NotedInvalidation[] } = {
    purges: [],
    invalidations: [],
  };
  let owner: OwnerListener | null = null;
  let listeners: EdgeListeners | null = null;

  const channel: Channel<SupervisorCalls, WorkerCalls> = new Channel<SupervisorCalls, WorkerCalls>(
    (packet) => process.send?.(packet),
    {
      async init(init) {
        const peers = new Peers({
          slot: init.slot,
          slots: init.slots,
          clock,
          socketOf: (slot) => socketPath(init.socketFolder, slot),
          broadcast: (message) => channel.call("broadcast", message),
        });
        const { config, version, loopId, controlPort, memoryBytesMax, limits } = init;
        const shards = shardOwners(init.slots).flatMap((slot, shard) => (slot === init.slot ? [shard] : []));
        const disk = await openDiskCache({ config, shards, limits, clock, log });
        const tiers = await openTiers(config);
        running = {
          init,
          peers,
          ...makePlane({
            config,
            version,
            clock,
            log,
            tiers,
            loopId,
            controlPort: () => controlPort,
            memoryBytesMax,
            disk,
            peers,
            ...(init.takesPurges ? { purge: handOn } : {}),
            onOriginEvent: (event) => void channel.call("originEvent", event).catch(() => undefined),
          }),
        };
        return disk?.gate.floor ?? null;
      },
      sites(slice) {
        for (const [id, site] of slice) sites.set(id, site);
        return null;
      },
      async prepare({ number, ids }) {
        const named = Object.fromEntries(ids.map((id) => [id, sites.get(id) as SiteConfig]));
        prepared = { number, commit: await mustRun().plane.prepare(named, number) };
        return null;
      },
      commit({ number }) {
        if (prepared?.number !== number)
          throw new ProximaError("snapshot_unknown", `snapshot ${number} was not prepared`, {
            source: "node",
          });
        prepared.commit();
        prepared = null;
        const kept = new Set(mustRun().plane.siteIds());
        for (const id of [...sites.keys()]) if (!kept.has(id)) sites.delete(id);
        return null;
      },
      missed({ purges, invalidations }) {
        missed.purges.push(...purges);
        missed.invalidations.push(...invalidations);
        return null;
      },
      join({ floor, now }) {
        const { plane, init } = mustRun();
        plane.purges.begin(floor, missed, now);
        missed.purges = [];
        missed.invalidations = [];
        owner = startOwnerListener({
          path: socketPath(init.socketFolder, init.slot),
          clock,
          answer: (question) => plane.answerPeer(question, `${init.slot}.${init.start}.`),
          onError: (error) => log("error", messageOf(error)),
        });
        return null;
      },
      async listen(listen) {
        listeners = await listenOn(mustRun(), listen, log);
        return null;
      },
      peers(starts) {
        mustRun().peers.update(starts);
        return null;
      },
      apply: ({ message, sequence }) => mustRun().plane.applyBroadcast(message, sequence),
      counted: (sequence) => mustRun().plane.purges.countedOf(sequence),
      purgesInForce: (site) => mustRun().plane.purges.inForce(site),
      async tls(material) {
        await listeners?.replaceTls(material);
        return null;
      },
      originEvent(event) {
        mustRun().plane.origins.take(event);
        return null;
      },
      checkHealth(on) {
        mustRun().plane.origins.checkHealth(on);
        return null;
      },
      setFault({ site, origin, fault }) {
        mustRun().plane.origins.setFault(site, origin, fault);
        return null;
      },
      stats: () => mustRun().plane.stats(),
      orphans: ({ site, config }) => mustRun().plane.orphans(site, config),
      explain({ url, options }) {
        const { plane, peers, init } = mustRun();
        const explanation = plane.explain(url, options);
        const base = explanation.steps.find(({ step }) => step === "key")?.outcome;
        const slot = base === undefined ? init.slot : peers.slotOf(base);
        return { explanation, owner: slot === init.slot ? null : slot };
      },
      fleet(standing) {
        const { settings, plane } = mustRun();
        settings.fleet = standing;
        plane.purges.standAt(standing.applied);
        return null;
      },
      async reopenLog() {
        await running?.accessLog?.reopen();
        return null;
      },
      async drain(deadlineMs) {
        await listeners?.drain(deadlineMs);
        return null;
      },
      async stop() {
        listeners?.stop();
        owner?.stop();
        await running?.plane.close();
        running?.peers.close();
        await running?.accessLog?.close();
        // The answer has to leave first.
        setTimeout(() => process.exit(0), 20);
        return null;
      },
      ping: () => running?.plane.problems() ?? [],
    },
  );
  const log: NodeLog = (level, message) => {
    void channel.call("log", { level, message }).catch(() => undefined);
  };

  /** The supervisor has the purge log. */
  async function handOn(order: EdgePurgeOrder): Promise<EdgePurgeOutcome> {
    try {
      return await channel.call("purge", order);
    } catch (error) {
      return { ok: false, status: 500, message: messageOf(error) };
    }
  }

  function mustRun(): Running {
    if (running === null)
      throw new ProximaError("worker_not_ready", "the worker was not told what it is", { source: "node" });
    return running;
  }

  process.on("message", (value) => {
    const packet = packetOf(value);
    if (packet !== null) channel.receive(packet);
  });
  process.on("disconnect", () => process.exit(0));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
  installFaultHandlers({
    log,
    now: () => Date.now(),
    fatal() {
      void (listeners?.drain(FAULT_DRAIN_MS) ?? Promise.resolve()).finally(() => process.exit(1));
    },
  });
}

async function listenOn(
  { init, plane, settings }: Running,
  listen: WorkerListen,
  log: NodeLog,
): Promise<EdgeListeners> {
  const { config } = init;
  settings.httpsPort = listen.https?.port ?? null;
  return await startListeners({
    http: listen.http,
    https: listen.https,
    http3: listen.http3,
    proxyProtocol: config.listen.proxyProtocol,
    proxyPeer: (address) => settings.trustedProxies?.has(address) === true,
    tls: listen.tls,
    handler: plane.handle,
    altSvc: () => true,
    requestBodyBytesMax: config.limits.requestBody,
    requestHeaderBytesMax: config.limits.requestHeaderBytes,
    clock: systemClock,
    onError: (error) => log("error", messageOf(error)),
    onRefused: plane.refused,
    shared: { http3Port: listen.http3Port },
  });
}
