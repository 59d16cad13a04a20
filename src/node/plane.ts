/** The data plane of a node's config, in whatever process it runs: its access log, its settings, what its origins may reach. */
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import type { Clock } from "../base/clock.ts";
import { parseListenAddress } from "../config/address.ts";
import type { NodeConfig } from "../config/schema.ts";
import { Edge as DataPlane, type DiskBacking } from "../edge/edge.ts";
import type { OriginPermissions } from "../edge/origin-maker.ts";
import type { Peers } from "../edge/peers.ts";
import type { EdgePurger } from "../edge/phases/purge.ts";
import type { NotedInvalidation } from "../edge/purges.ts";
import { type FleetStanding, NO_FLEET } from "../edge/settings.ts";
import { addressSet, isPublicIp, parseIp } from "../http/ip.ts";
import { isLoopback } from "../service/control-guard.ts";
import type { NodeLog } from "../service/log.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";
import { fleetStorage } from "./fleet/fleet-storage.ts";
import { readSecret } from "./secrets.ts";
import type { NodeTiers } from "./tiers.ts";

/** Larger headers the runtime refuses by itself, in bytes. */
const RUNTIME_HEADER_BYTES_MAX = 16 * 1024;

/** What a data plane is made from. */
export interface PlaneSetup {
  readonly config: NodeConfig;
  readonly version: string;
  readonly clock: Clock;
  readonly log: NodeLog;
  /** The node's keys and shields; null when it has no place among tiers. */
  readonly tiers: NodeTiers | null;
  /** Token in CDN-Loop. */
  readonly loopId: string;
  controlPort(): number | null;
  /** Most memory for stored responses, in bytes: the node's, or this worker's share. */
  readonly memoryBytesMax: number;
  /** The opened disk cache; null when there is none. */
  readonly disk: DiskBacking | null;
  /** Notes an invalidation for later starts. */
  readonly remember?: (invalidation: NotedInvalidation) => void;
  readonly peers: Peers | null;
  /** Does a purge that came to the viewers' ports; left out where these are methods like any other. */
  readonly purge?: EdgePurger["purge"];
  /** Told of what becomes known of an origin in this process. */
  readonly onOriginEvent: (event: OriginEvent) => void;
}

/** Makes the data plane and its access log, nothing of it in force yet. */
export function makePlane(setup: PlaneSetup) {
  const { config, version, clock, log } = setup;
  const accessLog =
    config.accessLog === undefined
      ? null
      : new AccessLog({
          sink: config.accessLog.file,
          clock,
          onProblem: (message) => log("error", `access log: ${message}`),
        });
  const settings = {
    name: config.name,
    loopId: setup.loopId,
    tierKeys: setup.tiers?.accepted ?? null,
    trustedProxies: config.trustedProxies.length > 0 ? addressSet(config.trustedProxies) : null,
    headerCharsMax:
      config.limits.requestHeaderBytes < RUNTIME_HEADER_BYTES_MAX ? config.limits.requestHeaderBytes : null,
    requestBodyBytesMax: config.limits.requestBody,
    httpsPort: null as number | null,
    fleet: NO_FLEET as FleetStanding,
  };
  const purgers = addressSet(config.purges?.from ?? []);
  const plane = new DataPlane({
    clock,
    version,
    settings,
    permissions: permissionsOf(config, setup.controlPort),
    memoryBytesMax: setup.memoryBytesMax,
    objectBytesMax: config.cache.objectMax,
    accessLog,
    disk: setup.disk,
    shields: setup.tiers?.asks ?? null,
    ...(setup.remember === undefined ? {} : { remember: setup.remember }),
    peers: setup.peers,
    purger:
      setup.purge === undefined ? null : { allows: (address) => purgers.has(address), purge: setup.purge },
    onOriginProblem: (message) => log("warning", message),
    onOriginEvent: setup.onOriginEvent,
    onBug: (error) =>
      log(
        "error",
        `a request failed by a bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      ),
  });
  return { plane, settings, accessLog };
}

/** What this node's origins may reach: never its own control listener (design, section 6). */
export function permissionsOf(config: NodeConfig, controlPort: () => number | null): OriginPermissions {
  const { permitted } = config;
  const control = parseListenAddress(config.listen.control);
  // Sites of a control plane may be anybody's: what the node does not permit by name they can not reach.
  const isJoined = config.join !== undefined;
  const ranges = permitted?.addresses === undefined ? null : addressSet(permitted.addresses);
  const roots = permitted?.directories ?? (isJoined ? [] : undefined);
  const secrets = isJoined ? { secretVariables: [], secretDirectories: [], ...permitted } : permitted;
  return {
    allowAddress(address, port) {
      // A connection to the unspecified address ends at this machine.
      const plain = parseIp(address)?.text ?? address;
      const unspecified = plain === "0.0.0.0" || plain === "::";
      const here = unspecified || isLoopback(plain) || plain === control?.hostname || isOwnAddress(plain);
      if (here && port === controlPort()) return false;
      if (ranges !== null) return ranges.has(address);
      return !isJoined || isPublicIp(address);
    },
    allowRoot: (path) =>
      roots === undefined ||
      roots.some((root) => path === root || path.startsWith(`${root.replace(/\/$/, "")}/`)),
    readFile: async (path) =>
      isJoined ? ((await readSecret({ file: path }, secrets)) ?? "") : await readFile(path, "utf8"),
    readSecret: (ref) => readSecret(ref, secrets),
    storage: () => fleetStorage(config),
  };
}

function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some((entry) => entry.address === address));
}
