/**
 * A node: one process's data directory, data plane, control listener and config source, started in
 * that order and given back in reverse. A config that can not be applied never takes the last good
 * snapshot out of force.
 */
import { readFile } from "node:fs/promises";
import type { Clock, MovableClock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import { type ListenAddress, parseListenAddress } from "../config/address.ts";
import type { Config } from "../config/schema.ts";
import { probeTcp } from "../edge/listener/ports.ts";
import type { EdgePurgeOrder, EdgePurgeOutcome } from "../edge/phases/purge.ts";
import { isLoopback } from "../service/control-guard.ts";
import { type DataDir, openDataDir } from "../service/data-dir.ts";
import type { NodeLog } from "../service/log.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";
import { Alerts } from "./alerts/alerts.ts";
import { type ControlListener, type SnapshotView, startControlListener } from "./control-listener.ts";
import { DrillService } from "./drill-service.ts";
import type { Edge, EdgeAddresses } from "./edge-handle.ts";
import { openEdgePurges } from "./edge-purges.ts";
import { readBusAccess } from "./fleet/bus-access.ts";
import { Filler } from "./fleet/filler.ts";
import type { Fleet } from "./fleet/fleet.ts";
import { joinedConfig } from "./fleet/joined-config.ts";
import { InvalidationLog } from "./invalidation-log.ts";
import { OriginAlerts } from "./origin-alerts.ts";
import { OriginBoard } from "./origin-board.ts";
import { PurgeHistory } from "./purge-history.ts";
import { PurgeLog } from "./purge-log.ts";
import { PurgeService } from "./purge-service.ts";

/** What an edge is made of. */
export interface EdgeSetup {
  /** The first config; the edge binds its listeners and puts its sites in force. */
  readonly config: Config;
  readonly dataDir: DataDir;
  readonly version: string;
  readonly clock: Clock;
  readonly log: NodeLog;
  /** What a disk cache has to be held against before it is used. */
  readonly history: PurgeHistory;
  /** Port of the control listener once it stands: no origin may lead there. */
  controlPort(): number | null;
  /** Does a purge that came to the viewers' ports; left out where these are methods like any other. */
  purge?(order: EdgePurgeOrder): Promise<EdgePurgeOutcome>;
  /** Told of what becomes known of an origin. */
  onOriginEvent?(event: OriginEvent): void;
}

/** Makes a listening edge with `setup.config` in force as its first snapshot; gives everything back when it rejects. */
export type CreateEdge = (setup: EdgeSetup) => Promise<{
  readonly edge: Edge;
  readonly snapshot: number;
  /** PEM file of the local CA that viewers have to trust; null when certificates are given. */
  readonly caFile: string | null;
}>;

/** Where newer configs come from: a watched file. */
export interface ConfigSource {
  /**
   * Begins to watch. One of the two is called for each change, never again before the promise is settled; it gives
   * true when the config is in force.
   */
  start(onConfig: (config: Config) => Promise<boolean>, onProblem: (message: string) => void): void;
  /** Looks for a change now; resolves when it has been handed over. */
  reload(): Promise<void>;
  stop(): void;
}

/** How a node is started. */
export interface NodeOptions {
  readonly config: Config;
  readonly source: ConfigSource | null;
  readonly createEdge: CreateEdge;
  readonly control: {
    readonly token: string | null;
    readonly tls: { readonly cert: string; readonly key: string } | null;
  };
  /** For the first start in a fleet. */
  readonly joinToken?: string | null;
  readonly version: string;
  /** The command line as a person typed it: what a second start on the data directory is told. */
  readonly command: string;
  readonly clock: Clock;
  /** The same clock where the node takes its time from its fleet: the local CI mode. Nothing else lets a control plane move it. */
  readonly movableClock?: MovableClock;
  readonly log: NodeLog;
}

/** A started node. */
export interface RunningNode {
  readonly addresses: EdgeAddresses & { readonly control: string; readonly controlScheme: "http" | "https" };
  readonly dataDir: string;
  readonly caFile: string | null;
  snapshot(): SnapshotView;
  /** Reads the config again; without a config file it does nothing. */
  reload(): Promise<void>;
  reopenLog(): Promise<void>;
  /** Drains and ends the node: accepted requests end within the config's drainSeconds. */
  stop(): Promise<void>;
}

/** Starts a node. Rejects with a ProximaError; nothing is left behind then. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { clock, log, version } = options;
  const given = options.config.join === undefined ? options.config : joinedConfig(options.config);
  const undo: (() => void | Promise<void>)[] = [];
  try {
    let controlAddress = listenAddressOf(given.listen.control);
    // Known before anything asks an origin, in this process or another: no origin may lead there.
    const { token, tls } = options.control;
    const isAllowed = isLoopback(controlAddress.hostname) || (token !== null && tls !== null);
    if (controlAddress.port === 0 && isAllowed)
      controlAddress = { ...controlAddress, port: pickPort(controlAddress) };
    const controlPort = controlAddress.port === 0 ? null : controlAddress.port;
    const dataDir = openDataDir(given.dataDir, options.command);
    undo.push(() => dataDir.release());

    const isJoined = options.config.join !== undefined;
    const purgeLog = new PurgeLog(dataDir.file("purges.db"), !isJoined);
    undo.push(() => purgeLog.close());
    const fleet = isJoined ? await openFleet(options, dataDir, purgeLog) : null;
    undo.push(() => fleet?.close());
    const config = fleet === null ? given : { ...given, sites: await fleet.start() };
    const invalidations =
      config.cache.disk === undefined ? null : new InvalidationLog(dataDir.file("invalidations.db"));
    undo.push(() => invalidations?.close());
    const alerts = new Alerts({ config: config.alerts, clock: clock.steady, log });
    undo.push(() => alerts.stop());
    const board = new OriginBoard(log);
    const originAlerts = new OriginAlerts((event) => alerts.event(event), config.sites);
    board.watch((event) => originAlerts.take(event));
    const edgePurges = await openEdgePurges(config, fleet?.client ?? null, log);
    const { edge, snapshot, caFile } = await options.createEdge({
      config,
      dataDir,
      version,
      clock,
      log,
      history: new PurgeHistory(purgeLog, invalidations, (message) => log("error", message)),
      controlPort: () => controlPort,
      purge: (order) => edgePurges.take(order),
      onOriginEvent: (event) => board.take(event),
    });
    undo.push(() => edge.stop());

    const purges = new PurgeService(purgeLog, edge, clock);
    edgePurges.begin(purges);

    const applied = (newer: Config, before: Config) => {
      if (!Bun.deepEquals(before.alerts, newer.alerts)) alerts.configure(newer.alerts);
      originAlerts.retain(newer.sites);
    };
    const configs = new ConfigState(edge, applied, config, snapshot, clock, log);
    const control = await startControlListener({
      address: controlAddress,
      tls: options.control.tls,
      token: options.control.token,
      node: {
        version,
        ready: () => fleet?.ready(edge.ready()) ?? edge.ready(),
        stats: () => edge.stats(),
        metrics: () => edge.metrics(),
        explain: (url, how) => edge.explain(url, how),
        snapshot: () => ({ ...configs.view(), ...(fleet === null ? {} : { fleet: fleet.view() }) }),
        purges,
        control: fleet?.control ?? null,
        alerts,
        drills: new DrillService(
          {
            sites: () => configs.current.sites,
            stats: () => edge.stats(),
            setFault: (...setting) => edge.setFault(...setting),
          },
          board,
          clock.steady,
        ),
      },
      onError: (message) => log("error", message),
    });
    undo.push(() => control.stop());

    purges.onCounted = (sequence, objects) => fleet?.counted(sequence, objects);
    const filler = new Filler({ addresses: () => edge.addresses, version, log });
    fleet?.run({
      fill: (urls) => filler.add(urls),
      stopFilling: () => filler.close(),
      applySites: (sites) => configs.apply((current) => ({ ...current, sites })),
      takePurges: (entries, position) => purges.take(entries, position),
      setFleet: (standing) => edge.setFleet(standing),
      ready: () => edge.ready(),
      stats: () => edge.stats(),
      orphans: (site, config) => edge.orphans(site, config),
      originsOut: (max) => originAlerts.out(max),
    });
    options.source?.start(
      async (newer) => {
        // In a fleet the file is the node's own part alone.
        const problem = await configs.apply((current) =>
          fleet === null ? newer : { ...joinedConfig(newer), sites: current.sites },
        );
        return problem === null;
      },
      (problem) => configs.reject(problem),
    );
    alerts.start(edge);
    return running(options, edge, control, configs, dataDir, caFile, alerts, fleet, () => {
      purgeLog.close();
      invalidations?.close();
    });
  } catch (error) {
    for (const step of undo.reverse()) {
      try {
        await step();
      } catch (second) {
        log("error", `while giving up: ${messageOf(second)}`);
      }
    }
    throw error;
  }
}

/** The fleet that the config names; it has not been asked for anything yet. */
async function openFleet(options: NodeOptions, dataDir: DataDir, purgeLog: PurgeLog): Promise<Fleet> {
  const { config, clock, log, version } = options;
  const caFile = config.join?.caFile;
  let ca: string | null = null;
  try {
    ca = caFile === undefined ? null : await readFile(caFile, "utf8");
  } catch (cause) {
    throw new ProximaError("certificate_unreadable", `file ${caFile} can not be read`, {
      source: "node",
      cause,
    });
  }
  const fileOf = (name: string) => dataDir.file(name);
  const joinToken = options.joinToken ?? null;
  const bus = await readBusAccess(config);
  const { movableClock } = options;
  // A node of its own has no need of what follows a fleet.
  const { Fleet } = await import("./fleet/fleet.ts");
  return new Fleet(
    {
      config: joinedConfig(config),
      joinToken,
      fileOf,
      purgeLog,
      version,
      clock: clock.steady,
      setClock: movableClock === undefined ? null : (setting) => movableClock.set(setting),
      log,
      bus,
    },
    ca,
  );
}

function running(
  options: NodeOptions,
  edge: Edge,
  control: ControlListener,
  configs: ConfigState,
  dataDir: DataDir,
  caFile: string | null,
  alerts: Alerts,
  fleet: Fleet | null,
  closeLogs: () => void,
): RunningNode {
  let stopping: Promise<void> | null = null;
  const stop = async () => {
    options.source?.stop();
    fleet?.close();
    try {
      await configs.settled();
      await edge.drain(configs.current.limits.drainSeconds * 1_000);
    } finally {
      await alerts.stop();
      // The control listener answers as long as anything drains: that is when one wants to look.
      await control.stop();
      await edge.stop();
      closeLogs();
      dataDir.release();
    }
  };
  return {
    addresses: { ...edge.addresses, control: control.address, controlScheme: control.scheme },
    dataDir: dataDir.path,
    caFile,
    snapshot: () => configs.view(),
    reload: async () => options.source?.reload(),
    reopenLog: () => edge.reopenLog(),
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

/** The config in force and what became of newer ones. */
class ConfigState {
  current: Config;
  readonly #edge: Edge;
  readonly #applied: (newer: Config, before: Config) => void;
  readonly #clock: Clock;
  readonly #log: NodeLog;
  #number: number;
  #loadedAtMs: number;
  #lastProblem: string | null = null;
  #applying: Promise<void> = Promise.resolve();

  /** `applied` is told of each config that was put in force. */
  constructor(
    edge: Edge,
    applied: (newer: Config, before: Config) => void,
    config: Config,
    snapshot: number,
    clock: Clock,
    log: NodeLog,
  ) {
    this.#edge = edge;
    this.#applied = applied;
    this.current = config;
    this.#number = snapshot;
    this.#clock = clock;
    this.#loadedAtMs = clock.now();
    this.#log = log;
  }

  view(): SnapshotView {
    return {
      number: this.#number,
      sites: Object.keys(this.current.sites).length,
      loadedAt: new Date(this.#loadedAtMs).toISOString(),
      lastProblem: this.#lastProblem,
    };
  }

  /**
   * Puts a newer valid config in force, made from the one that is when its turn comes. Never rejects: resolves
   * with why the edge refuses it, or null.
   */
  apply(change: (current: Config) => Config): Promise<string | null> {
    const applied = this.#applying.then(() => this.#apply(change(this.current)));
    this.#applying = applied.then(() => undefined);
    return applied;
  }

  /** Takes the news that the newest config is not valid. */
  reject(problem: string): void {
    this.#lastProblem = problem;
    this.#log("error", `the config was not changed, snapshot ${this.#number} stays in force: ${problem}`);
  }

  /** Resolves when nothing is being applied. */
  settled(): Promise<void> {
    return this.#applying;
  }

  async #apply(config: Config): Promise<string | null> {
    try {
      const { snapshot } = await this.#edge.apply(config);
      this.#applied(config, this.current);
      const fixed = changedAtStartOnly(this.current, config);
      this.current = config;
      this.#number = snapshot;
      this.#loadedAtMs = this.#clock.now();
      this.#lastProblem = null;
      const sites = Object.keys(config.sites).length;
      this.#log("info", `snapshot ${snapshot} is in force: ${sites} site${sites === 1 ? "" : "s"}`);
      if (fixed.length > 0) {
        this.#log("warning", `changes of ${fixed.join(", ")} take effect at the next start`);
      }
      return null;
    } catch (error) {
      this.reject(messageOf(error));
      return messageOf(error);
    }
  }
}

/** The parts of the node's own config that differ; they are read at the start only. */
function changedAtStartOnly(before: Config, after: Config): string[] {
  const parts = [
    "listen",
    "cache",
    "workers",
    "dataDir",
    "trustedProxies",
    "accessLog",
    "permitted",
    "join",
    "name",
    "tiers",
    "purges",
    "limits",
  ] as const;
  // Certificates and the TLS version follow the config at once.
  const fixed = (config: Config) => ({ ...config, listen: { ...config.listen, tls: null } });
  return parts.filter((part) => !Bun.deepEquals(fixed(before)[part], fixed(after)[part]));
}

/** A free port of an address; 0 when there is none, which binding it for good will tell of. */
function pickPort(address: ListenAddress): number {
  try {
    return probeTcp(address);
  } catch {
    return 0;
  }
}

function listenAddressOf(text: string): ListenAddress {
  const address = parseListenAddress(text);
  if (address === null) {
    throw new ProximaError("address_invalid", `control address ${text} is not an address`, {
      source: "node",
    });
  }
  return address;
}
