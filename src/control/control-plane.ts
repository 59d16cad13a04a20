/**
 * A control plane: its data directory, its records, its API behind one listener. It always wants a token,
 * also on loopback; beyond loopback it does not start without TLS. Nothing that viewers ask for depends on it.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import type { BusAccess } from "../service/bus/bus-connection.ts";
import { type ControlIdentity, isLoopback, refuseForeign } from "../service/control-guard.ts";
import { openDataDir } from "../service/data-dir.ts";
import { formatAddress, listenError } from "../service/listen-error.ts";
import type { NodeLog } from "../service/log.ts";
import { problem } from "../service/problem.ts";
import type { BlobStore } from "../storage/blob-store.ts";
import { FILE_BYTES_MAX } from "../storage/limits.ts";
import type { StorageRequest, StorageResponse } from "../storage/message.ts";
import { StorageApi } from "../storage/storage-api.ts";
import { Api } from "./api/api.ts";
import { SYSTEM } from "./audit.ts";
import { BusFeed } from "./bus/bus-feed.ts";
import { ContentDoor } from "./content-door.ts";
import { DEPLOY_BODY_BYTES_MAX, ZONE_COLLECT_EVERY_MS } from "./limits.ts";
import { type ControlParts, openParts } from "./parts.ts";
import { Refused } from "./refusal.ts";
import { startTakeover, type Takeover, type TakeoverOptions } from "./takeover.ts";
import type { SendWebhook } from "./webhooks/courier.ts";
import { storageGuard } from "./zones/guard.ts";

/** How a control plane is started. */
export interface ControlPlaneOptions {
  readonly address: { readonly hostname: string; readonly port: number };
  readonly dataDir: string;
  /** PEM texts; null on loopback. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Host names, beside loopback's and the address's own, by which it is asked. */
  readonly names: readonly string[];
  /** The vendors' APIs under their own host names; null for none. */
  readonly takeover?: TakeoverOptions | null;
  /** Makes a further token that may do everything, for who has lost the first. */
  readonly newAdminToken: boolean;
  /** Push storage; left out: its content in the data directory, and no listener of its own. */
  readonly storage?: StorageOptions;
  /** Sends a message to a webhook: to addresses alone that this machine may be made to ask. */
  readonly sendWebhook: SendWebhook;
  /** A bus that is fed with the fleet's log; null for none. */
  readonly bus: { readonly access: BusAccess; readonly replicas: number } | null;
  /** In place of the first token, one that is no secret: the local CI mode's. On loopback only. */
  readonly knownToken?: string;
  readonly version: string;
  readonly command: string;
  readonly clock: Clock;
  readonly log: NodeLog;
}

/** How push storage is run. */
export interface StorageOptions {
  /** Where content lies; null: in the data directory. */
  readonly store: BlobStore | null;
  /** Listens for the S3 and the Bunny shape; null: does not. */
  readonly listen:
    | ((answer: (request: StorageRequest) => Promise<StorageResponse>) => StorageListener)
    | null;
}

/** A listener of storage. */
export interface StorageListener {
  readonly address: string;
  stop(): Promise<void>;
}

/** A running control plane. */
export interface ControlPlane {
  /** Host and port really bound. */
  readonly address: string;
  readonly scheme: "http" | "https";
  readonly dataDir: string;
  /** Where storage listens; null where it does not. */
  readonly storage: string | null;
  readonly takeover: Pick<Takeover, "address" | "caFile"> | null;
  /** A token that may do everything, made at this start; to be shown once and kept nowhere. Null otherwise. */
  readonly adminToken: string | null;
  reload(): Promise<void>;
  reopenLog(): Promise<void>;
  stop(): Promise<void>;
}

const IDLE_SECONDS_MAX = 90;
const STOP_WAIT_MS = 2_000;

const SECURITY_FIELDS: readonly (readonly [string, string])[] = [
  ["cache-control", "no-store"],
  ["content-security-policy", "default-src 'none'; frame-ancestors 'none'"],
  ["cross-origin-resource-policy", "same-origin"],
  ["referrer-policy", "no-referrer"],
  ["x-content-type-options", "nosniff"],
  ["x-frame-options", "DENY"],
];

/** Starts a control plane. Rejects with a ProximaError; nothing is left behind then. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { address, tls, log } = options;
  if (!isLoopback(address.hostname) && tls === null)
    throw new ProximaError(
      "control_not_protected",
      `address ${formatAddress(address)} can be reached from other machines and needs TLS: give --tls-cert and --tls-key, or listen on 127.0.0.1`,
      { source: "node" },
    );
  if (!isLoopback(address.hostname) && options.knownToken !== undefined)
    throw new ProximaError(
      "control_not_protected",
      `address ${formatAddress(address)} can be reached from other machines, and its token is no secret: listen on 127.0.0.1`,
      { source: "node" },
    );
  const dataDir = openDataDir(options.dataDir, options.command);
  let parts: ControlParts | null = null;
  let storage: StorageListener | null = null;
  let taken: Takeover | null = null;
  try {
    parts = openParts({
      fileOf: (name) => dataDir.file(name),
      version: options.version,
      clock: options.clock,
      store: options.storage?.store ?? null,
      sendWebhook: options.sendWebhook,
      onError: (message) => log("error", message),
    });
    const api = new Api(parts, (message) => log("error", message));
    const opened = parts;
    const storageApi = new StorageApi({
      store: parts.zones,
      guard: storageGuard(parts),
      domains: ["localhost", ...options.names],
      onError: (message) => log("error", message),
    });
    const answerStorage = (request: StorageRequest) => storageApi.answer(request);
    const listening = options.storage?.listen?.(answerStorage) ?? null;
    storage = listening;
    const takeover =
      options.takeover == null
        ? null
        : await startTakeover(options.takeover, dataDir.path, { api, storage: answerStorage });
    taken = takeover;
    const server = listen(options, api, new ContentDoor(opened));
    const feed = options.bus === null ? null : feedBus(options.bus, opened, log);
    opened.meters.bus = feed === null ? null : () => feed.view();
    // Last of what may fail: a token that nobody was shown would be the first one all the same.
    const adminToken = makeAdminToken(opened, options);
    const collecting = collectZones(opened, options);
    let stopping: Promise<void> | null = null;
    const stop = async () => {
      collecting.stop();
      api.close();
      opened.log.close();
      await feed?.close();
      await Promise.all([listening?.stop(), takeover?.stop()]);
      await Promise.race([server.stop(), Bun.sleep(STOP_WAIT_MS)]);
      await server.stop(true);
      await collecting.ended();
      opened.close();
      dataDir.release();
    };
    return {
      address: formatAddress({ hostname: address.hostname, port: server.port ?? address.port }),
      scheme: tls === null ? "http" : "https",
      dataDir: dataDir.path,
      storage: storage?.address ?? null,
      takeover,
      adminToken,
      reload: () => Promise.resolve(),
      reopenLog: () => Promise.resolve(),
      stop() {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    await Promise.all([storage?.stop(), taken?.stop()]);
    parts?.close();
    dataDir.release();
    throw error;
  }
}

/** Feeds the bus with the log from now on. */
function feedBus(
  { access, replicas }: NonNullable<ControlPlaneOptions["bus"]>,
  { log, logKey, sites, clock }: ControlParts,
  tell: NodeLog,
): BusFeed {
  return new BusFeed({
    access,
    replicas,
    log,
    key: logKey,
    snapshots: {
      newest: () => sites.newestSnapshot()?.number ?? null,
      text(number) {
        try {
          return sites.snapshotText(number);
        } catch (error) {
          if (error instanceof Refused && error.status === 404) return null;
          throw error;
        }
      },
    },
    clock,
    tell,
  });
}

/** At the first start, and when somebody who may write to the data directory asks for it. */
function makeAdminToken(
  parts: ControlParts,
  { newAdminToken: wanted, knownToken }: ControlPlaneOptions,
): string | null {
  const isFirst = parts.tokens.list().length === 0;
  if (!isFirst && !wanted) return null;
  return parts.database.transaction(() => {
    const { token, text } = parts.tokens.create(
      // One that is no secret may sign, too: there is nothing to seal.
      {
        name: isFirst ? "first" : "made at a start",
        scopes: ["admin"],
        accessKey: knownToken !== undefined,
      },
      SYSTEM.id,
      knownToken,
    );
    parts.audit.done(SYSTEM, "token.create", token.prefix, `${token.name}: admin for all sites`);
    return text;
  });
}

/** Drops content of zones that nothing needs, from time to time. */
function collectZones({ zones }: ControlParts, { clock, log }: ControlPlaneOptions) {
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  let cancel = () => {};
  const again = () => {
    cancel = clock.after(ZONE_COLLECT_EVERY_MS, () => {
      running = zones
        .collect()
        .then(({ blobs, bytes }) => {
          if (blobs > 0)
            log("info", `push zones: ${blobs} files of ${bytes} bytes that nothing needs are dropped`);
        })
        .catch((error) =>
          log("warning", `push zones: what is not needed can not be dropped: ${messageOf(error)}`),
        )
        .then(() => {
          if (!stopped) again();
        });
    });
  };
  again();
  return {
    stop() {
      stopped = true;
      cancel();
    },
    ended: () => running,
  };
}

function listen(
  { address, tls, names, log }: ControlPlaneOptions,
  api: Api,
  door: ContentDoor,
): Bun.Server<undefined> {
  let identity: ControlIdentity | null = null;
  const answer = async (request: Request, server: Bun.Server<undefined>): Promise<Response> => {
    if (identity === null) return problem(503, "Service Unavailable", "the control plane is starting");
    const incoming = { request, address: server.requestIP(request)?.address ?? "" };
    const vendor = api.vendors.of(request);
    const isContent = vendor === null && door.takes(request);
    // Content is no JSON; what else keeps foreign pages out is asked of it as well.
    const refusal = refuseForeign(request.method, request.headers, identity, vendor === null && !isContent);
    if (refusal !== null) return api.refuse(incoming, refusal.status, refusal.detail);
    if (isContent) return await door.answer(request, incoming.address);
    return await (vendor === null ? api.answer(incoming) : api.vendors.answer(vendor, incoming));
  };
  try {
    const server = Bun.serve({
      ...(address.hostname === "" ? {} : { hostname: address.hostname }),
      port: address.port,
      reusePort: false,
      ...(tls === null ? {} : { tls: { cert: tls.cert, key: tls.key } }),
      // The runtime's own refusal has no problem document: it is for those who go on in spite of ours.
      maxRequestBodySize: Math.max(DEPLOY_BODY_BYTES_MAX, FILE_BYTES_MAX) + 1024 * 1024,
      // Longer than the longest wait for changes or a purge.
      idleTimeout: IDLE_SECONDS_MAX,
      async fetch(request, bunServer) {
        const response = await answer(request, bunServer);
        for (const [name, value] of SECURITY_FIELDS)
          if (!response.headers.has(name)) response.headers.set(name, value);
        return response;
      },
      error(error) {
        log("error", `control plane: ${messageOf(error)}`);
        return problem(500, "Internal Server Error", "the control plane failed to answer; its log says why");
      },
    });
    identity = {
      scheme: tls === null ? "http" : "https",
      hostname: address.hostname,
      port: server.port ?? address.port,
      names,
      tokenHash: null,
    };
    return server;
  } catch (cause) {
    throw listenError("control plane", "--listen", address, cause);
  }
}
