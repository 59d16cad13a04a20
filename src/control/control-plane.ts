/**
 * A control plane: its data directory, its records, its API behind one listener. It always wants a token,
 * also on loopback; beyond loopback it does not start without TLS. Nothing that viewers ask for depends on it.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf, ProximaError } from "../base/errors.ts";
import { type ControlIdentity, isLoopback, refuseForeign } from "../service/control-guard.ts";
import { openDataDir } from "../service/data-dir.ts";
import { formatAddress, listenError } from "../service/listen-error.ts";
import type { NodeLog } from "../service/log.ts";
import { problem } from "../service/problem.ts";
import { Api } from "./api/api.ts";
import { SYSTEM } from "./audit.ts";
import { DEPLOY_BODY_BYTES_MAX } from "./limits.ts";
import { type ControlParts, openParts } from "./parts.ts";
import type { SendWebhook } from "./webhooks/courier.ts";

/** How a control plane is started. */
export interface ControlPlaneOptions {
  readonly address: { readonly hostname: string; readonly port: number };
  readonly dataDir: string;
  /** PEM texts; null on loopback. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Host names, beside loopback's and the address's own, by which it is asked. */
  readonly names: readonly string[];
  /** Makes a further token that may do everything, for who has lost the first. */
  readonly newAdminToken: boolean;
  /** Sends a message to a webhook: to addresses alone that this machine may be made to ask. */
  readonly sendWebhook: SendWebhook;
  readonly version: string;
  readonly command: string;
  readonly clock: Clock;
  readonly log: NodeLog;
}

/** A running control plane. */
export interface ControlPlane {
  /** Host and port really bound. */
  readonly address: string;
  readonly scheme: "http" | "https";
  readonly dataDir: string;
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
  const dataDir = openDataDir(options.dataDir, options.command);
  let parts: ControlParts | null = null;
  try {
    parts = openParts({
      fileOf: (name) => dataDir.file(name),
      version: options.version,
      clock: options.clock,
      sendWebhook: options.sendWebhook,
      onError: (message) => log("error", message),
    });
    const adminToken = makeAdminToken(parts, options.newAdminToken);
    const api = new Api(parts, (message) => log("error", message));
    const server = listen(options, api);
    const opened = parts;
    let stopping: Promise<void> | null = null;
    const stop = async () => {
      api.close();
      opened.log.close();
      await Promise.race([server.stop(), Bun.sleep(STOP_WAIT_MS)]);
      await server.stop(true);
      opened.close();
      dataDir.release();
    };
    return {
      address: formatAddress({ hostname: address.hostname, port: server.port ?? address.port }),
      scheme: tls === null ? "http" : "https",
      dataDir: dataDir.path,
      adminToken,
      reload: () => Promise.resolve(),
      reopenLog: () => Promise.resolve(),
      stop() {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    parts?.close();
    dataDir.release();
    throw error;
  }
}

/** At the first start, and when somebody who may write to the data directory asks for it. */
function makeAdminToken(parts: ControlParts, wanted: boolean): string | null {
  const isFirst = parts.tokens.list().length === 0;
  if (!isFirst && !wanted) return null;
  return parts.database.transaction(() => {
    const { token, text } = parts.tokens.create(
      { name: isFirst ? "first" : "made at a start", scopes: ["admin"] },
      SYSTEM.id,
    );
    parts.audit.done(SYSTEM, "token.create", token.prefix, `${token.name}: admin for all sites`);
    return text;
  });
}

function listen({ address, tls, names, log }: ControlPlaneOptions, api: Api): Bun.Server<undefined> {
  let identity: ControlIdentity | null = null;
  const answer = async (request: Request, server: Bun.Server<undefined>): Promise<Response> => {
    if (identity === null) return problem(503, "Service Unavailable", "the control plane is starting");
    const incoming = { request, address: server.requestIP(request)?.address ?? "" };
    const refusal = refuseForeign(request.method, request.headers, identity);
    if (refusal !== null) return api.refuse(incoming, refusal.status, refusal.detail);
    return await api.answer(incoming);
  };
  try {
    const server = Bun.serve({
      ...(address.hostname === "" ? {} : { hostname: address.hostname }),
      port: address.port,
      reusePort: false,
      ...(tls === null ? {} : { tls: { cert: tls.cert, key: tls.key } }),
      // The runtime's own refusal has no problem document: it is for those who go on in spite of ours.
      maxRequestBodySize: DEPLOY_BODY_BYTES_MAX + 1024 * 1024,
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
