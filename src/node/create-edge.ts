/**
 * A listening edge: the data plane, its sockets, its certificates and its access log, put together
 * from a node's config. Certificates follow the config in force and the files it names.
 */
import { messageOf } from "../base/errors.ts";
import type { Purge } from "../cache/purge-table.ts";
import { allShards } from "../cache/shard.ts";
import type { Config, SiteConfig } from "../config/schema.ts";
import type { Edge as DataPlane } from "../edge/edge.ts";
import { type EdgeListeners, startListeners } from "../edge/listener/edge-listener.ts";
import type { OrphanCount } from "../edge/orphans.ts";
import type { FleetStanding } from "../edge/settings.ts";
import { ensureLocalCa, type LocalCa } from "../edge/tls/local-ca.ts";
import { formatAddress } from "../service/listen-error.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import { renderMetrics } from "../telemetry/prometheus.ts";
import type { StatsSnapshot } from "../telemetry/stats.ts";
import { Certificates } from "./certificates.ts";
import { openDiskCache } from "./disk-cache.ts";
import type { Edge } from "./edge-handle.ts";
import { listenAddress } from "./listen-address.ts";
import { loopId } from "./loop-id.ts";
import type { CreateEdge } from "./node.ts";
import { makePlane } from "./plane.ts";
import { openTiers } from "./tiers.ts";

/** Makes an edge that listens, with its first snapshot in force. */
export const createEdge = (async (setup) => {
  const { config, dataDir, clock, log, version } = setup;
  const { listen } = config;
  const https = listen.https === undefined ? null : listenAddress(listen.https);
  const localCa = https === null ? null : await ensureLocalCa(dataDir.path, clock.steady);
  const { history } = setup;
  const disk = await openDiskCache({ config, shards: allShards, limits: history.limits(), clock, log });
  const { plane, settings, accessLog } = makePlane({
    config,
    version,
    clock,
    log,
    tiers: await openTiers(config),
    loopId: loopId(dataDir),
    controlPort: () => setup.controlPort(),
    memoryBytesMax: config.cache.memory,
    disk,
    remember: (invalidation) => history.remember(invalidation),
    peers: null,
    ...(setup.purge === undefined ? {} : { purge: setup.purge }),
    onOriginEvent: (event) => setup.onOriginEvent?.(event),
  });
  const now = history.limits().newest;
  const floor = disk?.gate.floor ?? now;
  plane.purges.begin(floor, history.since(floor), now);
  // Redirects to https name the port that was really bound, which is known after the sockets stand.
  settings.httpsPort = https?.port ?? null;
  try {
    const { snapshot } = await plane.apply(config);
    plane.origins.checkHealth(true);
    const certificates =
      https === null ? null : new Certificates({ ...setup, clock: clock.steady }, localCa as LocalCa);
    const tls = certificates === null ? null : await certificates.first();
    const listeners = await startListeners({
      http: listen.http === undefined ? null : listenAddress(listen.http),
      https,
      http3: listen.http3 && https !== null && !listen.proxyProtocol,
      proxyProtocol: listen.proxyProtocol,
      proxyPeer: (address) => settings.trustedProxies?.has(address) === true,
      tls,
      handler: plane.handle,
      altSvc: () => true,
      requestBodyBytesMax: config.limits.requestBody,
      requestHeaderBytesMax: config.limits.requestHeaderBytes,
      clock: clock.steady,
      onError: (error) => log("error", messageOf(error)),
      onRefused: plane.refused,
    });
    settings.httpsPort = listeners.httpsAddress?.port ?? null;
    certificates?.watch(listeners);
    const edge = new ListeningEdge(plane, settings, listeners, accessLog, certificates);
    return {
      edge,
      snapshot,
      caFile: config.listen.tls.certificates.length > 0 ? null : (localCa?.certFile ?? null),
    };
  } catch (error) {
    await plane.close();
    await accessLog?.close();
    throw error;
  }
}) satisfies CreateEdge;

/** The edge as its node sees it. */
class ListeningEdge implements Edge {
  readonly addresses: Edge["addresses"];
  readonly #plane: DataPlane;
  readonly #settings: { fleet: FleetStanding };
  readonly #listeners: EdgeListeners;
  readonly #log: AccessLog | null;
  readonly #certificates: Certificates | null;
  #draining = false;

  constructor(
    plane: DataPlane,
    settings: { fleet: FleetStanding },
    listeners: EdgeListeners,
    log: AccessLog | null,
    certificates: Certificates | null,
  ) {
    this.#plane = plane;
    this.#settings = settings;
    this.#listeners = listeners;
    this.#log = log;
    this.#certificates = certificates;
    const { httpAddress, httpsAddress, http3Active } = listeners;
    const https = httpsAddress === null ? null : formatAddress(httpsAddress);
    this.addresses = {
      http: httpAddress === null ? null : formatAddress(httpAddress),
      https,
      http3: http3Active ? https : null,
    };
  }

  async apply(config: Config): Promise<{ readonly snapshot: number }> {
    // Certificates that can not be used make the whole config one that is not put in force.
    const change = await this.#certificates?.prepare(config);
    const applied = await this.#plane.apply(config);
    await change?.();
    return applied;
  }

  stats(): StatsSnapshot {
    return this.#plane.stats();
  }

  orphans(site: string, config: SiteConfig): Promise<OrphanCount[]> {
    return this.#plane.orphans(site, config);
  }

  metrics(): string {
    return renderMetrics(this.#plane.stats());
  }

  sites(): readonly string[] {
    return this.#plane.siteIds();
  }

  urlTarget(site: string, url: string): string | null {
    return this.#plane.urlTarget(site, url);
  }

  foldsTags(site: string): boolean {
    return this.#plane.foldsTags(site);
  }

  purge(purge: Purge): ReturnType<Edge["purge"]> {
    // Applied in this very call: what is looked up from now on is held against it.
    this.#plane.purges.apply(purge);
    return { applied: Promise.resolve(), counted: this.counted(purge.sequence) };
  }

  purgesInForce(site: string): ReturnType<Edge["purgesInForce"]> {
    return this.#plane.purges.inForce(site);
  }

  counted(sequence: number): Promise<number> {
    return this.#plane.purges.countedOf(sequence);
  }

  async setFault(...setting: Parameters<Edge["setFault"]>): Promise<void> {
    this.#plane.origins.setFault(...setting);
  }

  explain(...args: Parameters<Edge["explain"]>): ReturnType<Edge["explain"]> {
    return this.#plane.explain(...args);
  }

  ready(): ReturnType<Edge["ready"]> {
    return this.#draining
      ? { ready: false, reasons: ["the edge is draining"] }
      : { ready: true, reasons: this.#plane.problems() };
  }

  setFleet(standing: FleetStanding): void {
    this.#settings.fleet = standing;
    this.#plane.purges.standAt(standing.applied);
  }

  certificates(): ReturnType<Edge["certificates"]> {
    return this.#certificates?.ends ?? [];
  }

  async reopenLog(): Promise<void> {
    await this.#log?.reopen();
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    await this.#listeners.drain(deadlineMs);
  }

  async stop(): Promise<void> {
    this.#certificates?.close();
    this.#listeners.stop();
    await this.#plane.close();
    await this.#log?.close();
  }
}
