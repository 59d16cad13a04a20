/**
 * The node's own HTTP API: health, metrics, counters, explanations, purges and drills. On loopback it
 * needs no token; beyond loopback it does not start without TLS and a token. Errors are problem
 * documents (RFC 9457).
 */
import { Hono } from "hono";
import { messageOf, ProximaError } from "../base/errors.ts";
import type { Explanation } from "../edge/explanation.ts";
import {
  type ControlIdentity,
  hashToken,
  isLoopback,
  type Refusal,
  refuseForeign,
  refuseToken,
} from "../service/control-guard.ts";
import { formatAddress, listenError } from "../service/listen-error.ts";
import { json, problem } from "../service/problem.ts";
import { PROMETHEUS_CONTENT_TYPE } from "../telemetry/prometheus.ts";
import type { StatsSnapshot } from "../telemetry/stats.ts";
import { addAlertRoutes } from "./alert-routes.ts";
import type { Alerts } from "./alerts/alerts.ts";
import { addDrillRoutes } from "./drill-routes.ts";
import type { DrillService } from "./drill-service.ts";
import type { ExplainOptions, Readiness } from "./edge-handle.ts";
import type { FleetView } from "./fleet/fleet.ts";
import { addPurgeRoutes, bodyTooLarge, PURGE_BODY_BYTES_MAX } from "./purge-routes.ts";
import type { PurgeService } from "./purge-service.ts";

/** What the control listener shows. */
export interface NodeView {
  readonly version: string;
  ready(): Readiness;
  stats(): StatsSnapshot | Promise<StatsSnapshot>;
  /** The metrics page (Prometheus text format). */
  metrics(): string | Promise<string>;
  explain(url: string, options: ExplainOptions): Explanation | Promise<Explanation>;
  snapshot(): SnapshotView;
  readonly purges: PurgeService;
  /** URL of the fleet's control plane, which alone takes purges then; null or left out without a fleet. */
  readonly control?: string | null;
  readonly alerts: Pick<Alerts, "status" | "test">;
  readonly drills: DrillService;
}

/** The config snapshot in force. */
export interface SnapshotView {
  readonly number: number;
  readonly sites: number;
  /** ISO 8601. */
  readonly loadedAt: string;
  /** Why the newest config is not in force; null when it is. */
  readonly lastProblem: string | null;
  /** In a fleet. */
  readonly fleet?: FleetView;
}

/** How a control listener is set up. */
export interface ControlListenerOptions {
  readonly address: { readonly hostname: string; readonly port: number };
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string } | null;
  readonly token?: string | null;
  /** Host names, beside loopback's and the address's own, by which operators reach the listener. */
  readonly names?: readonly string[];
  readonly node: NodeView;
  /** Hears of errors that are ours. */
  readonly onError?: (message: string) => void;
}

/** A running control listener. */
export interface ControlListener {
  /** Host and port really bound. */
  readonly address: string;
  readonly scheme: "http" | "https";
  stop(): Promise<void>;
}

const TOKEN_LENGTH_MIN = 16;
const URL_LENGTH_MAX = 8_192;
const EXPLAIN_FIELDS_MAX = 50;
const IDLE_SECONDS_MAX = 30;
const STOP_WAIT_MS = 1_000;

const SECURITY_FIELDS: readonly (readonly [string, string])[] = [
  ["cache-control", "no-store"],
  ["content-security-policy", "default-src 'none'; frame-ancestors 'none'"],
  ["cross-origin-resource-policy", "same-origin"],
  ["referrer-policy", "no-referrer"],
  ["x-content-type-options", "nosniff"],
  ["x-frame-options", "DENY"],
];

/** Starts the listener. Rejects with a ProximaError when the address can not be used, or not safely. */
export async function startControlListener(options: ControlListenerOptions): Promise<ControlListener> {
  const { address, node } = options;
  const tls = options.tls ?? null;
  const token = options.token ?? null;
  if (!isLoopback(address.hostname) && (tls === null || token === null)) {
    throw new ProximaError(
      "control_not_protected",
      `control address ${formatAddress(address)} can be reached from other machines and needs TLS and a token; listen on 127.0.0.1, or give both`,
      { source: "node" },
    );
  }
  if (token !== null && (token.length < TOKEN_LENGTH_MIN || !/^[\x21-\x7e]+$/.test(token))) {
    throw new ProximaError(
      "control_token_weak",
      `the control token must have at least ${TOKEN_LENGTH_MIN} visible ASCII characters`,
      { source: "node" },
    );
  }
  const onError = options.onError ?? (() => {});
  let identity: ControlIdentity | null = null;
  const app = routes(node, (fields) => identity !== null && refuseToken(fields, identity) === null, onError);
  let server: Bun.Server<undefined>;
  try {
    server = Bun.serve({
      ...(address.hostname === "" ? {} : { hostname: address.hostname }),
      port: address.port,
      // Without reusePort a second listener on the port is refused (measured), not shared.
      reusePort: false,
      ...(tls === null ? {} : { tls: { cert: tls.cert, key: tls.key } }),
      // The runtime's own refusal has no problem document: it is for those who go on in spite of ours.
      maxRequestBodySize: 2 * PURGE_BODY_BYTES_MAX,
      idleTimeout: IDLE_SECONDS_MAX,
      async fetch(request) {
        const response = await answer(request);
        for (const [name, value] of SECURITY_FIELDS) response.headers.set(name, value);
        return response;
      },
      error(error) {
        onError(`control listener: ${messageOf(error)}`);
        return problem(500, "Internal Server Error", "the node failed to answer; its log says why");
      },
    });
  } catch (cause) {
    throw listenError("control", "--control", address, cause);
  }
  const scheme = tls === null ? "http" : "https";
  const bound = { hostname: address.hostname, port: server.port ?? address.port };
  identity = {
    scheme,
    hostname: address.hostname,
    port: bound.port,
    names: options.names ?? [],
    tokenHash: token === null ? null : hashToken(token),
  };

  async function answer(request: Request): Promise<Response> {
    if (identity === null) return problem(503, "Service Unavailable", "the node is starting");
    const refusal = refuseForeign(request.method, request.headers, identity);
    if (refusal !== null) return refused(refusal);
    const path = pathOf(request.url);
    // Health carries nothing secret, and probes carry no tokens.
    if (path !== "/healthz" && path !== "/readyz") {
      const wrongToken = refuseToken(request.headers, identity);
      if (wrongToken !== null) return refused(wrongToken);
    }
    if (Number(request.headers.get("content-length") ?? 0) > PURGE_BODY_BYTES_MAX) return bodyTooLarge();
    return await app.fetch(request);
  }

  return {
    address: formatAddress(bound),
    scheme,
    async stop() {
      await Promise.race([server.stop(), Bun.sleep(STOP_WAIT_MS)]);
      await server.stop(true);
    },
  };
}

/** The routes, without the guard. `authorized` tells whether a request carries the token. */
function routes(
  node: NodeView,
  authorized: (fields: Headers) => boolean,
  onError: (message: string) => void,
): Hono {
  const app = new Hono();
  const get = (path: string, handler: (request: Request) => Response | Promise<Response>) => {
    // Hono answers HEAD by the GET handler and leaves the body out.
    app.get(path, (context) => handler(context.req.raw));
    app.all(path, () =>
      problem(405, "Method Not Allowed", "this resource is only read: use GET or HEAD", {
        allow: "GET, HEAD",
      }),
    );
  };
  get("/healthz", () => plain("ok\n"));
  get("/readyz", (request) => {
    const { ready, reasons } = node.ready();
    const shown = authorized(request.headers) ? { ready, reasons } : { ready };
    return json(shown, ready ? 200 : 503);
  });
  get("/metrics", async () => plain(await node.metrics(), PROMETHEUS_CONTENT_TYPE));
  get("/v1/stats", async () => json(await node.stats()));
  get("/v1/origins", async () => json((await node.stats()).upstream));
  get("/v1/snapshot", () => json({ version: node.version, ...node.snapshot() }));
  get("/v1/explain", (request) => explain(request, node));
  addPurgeRoutes(app, node.purges, node.control ?? null);
  addAlertRoutes(app, node.alerts);
  addDrillRoutes(app, node.drills);
  app.notFound(() => problem(404, "Not Found", "there is no such resource on the control listener"));
  app.onError((error) => {
    if (error instanceof ProximaError && error.source === "viewer") {
      return problem(400, "Bad Request", error.message);
    }
    onError(`control listener: ${messageOf(error)}`);
    return problem(500, "Internal Server Error", "the node failed to answer; its log says why");
  });
  return app;
}

async function explain(request: Request, node: NodeView): Promise<Response> {
  const query = new URL(request.url).searchParams;
  const url = query.get("url");
  if (url === null || url === "") {
    return problem(400, "Bad Request", "url is missing: /v1/explain?url=https://host/path");
  }
  if (url.length > URL_LENGTH_MAX) {
    return problem(400, "Bad Request", `url is longer than ${URL_LENGTH_MAX} characters`);
  }
  const parsed = URL.parse(url);
  if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    return problem(400, "Bad Request", "url must be an absolute http or https URL");
  }
  const method = query.get("method");
  if (method !== null && !/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/.test(method)) {
    return problem(400, "Bad Request", "method must be a token of at most 32 characters");
  }
  const lines = query.getAll("header");
  if (lines.length > EXPLAIN_FIELDS_MAX) {
    return problem(400, "Bad Request", `more than ${EXPLAIN_FIELDS_MAX} header fields`);
  }
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([^\r\n\0]{0,8192})$/.exec(line);
    if (match === null) return problem(400, "Bad Request", "header must be written as Name:Value");
    const name = (match[1] as string).toLowerCase();
    const value = (match[2] as string).trimEnd();
    const before = headers[name];
    headers[name] = before === undefined ? value : `${before}${name === "cookie" ? "; " : ", "}${value}`;
  }
  return json(await node.explain(url, { ...(method === null ? {} : { method }), headers }));
}

function pathOf(url: string): string {
  return URL.parse(url)?.pathname ?? "";
}

function plain(text: string, contentType = "text/plain; charset=utf-8"): Response {
  return new Response(text, { headers: { "content-type": contentType } });
}

function refused({ status, title, detail }: Refusal): Response {
  return problem(
    status,
    title,
    detail,
    status === 401 ? { "www-authenticate": 'Bearer realm="proxima"' } : {},
  );
}
