/** A WebSocket handshake (RFC 6455 section 4): passed on to the behaviour's origin, never cached. */
import { ProximaError } from "../../base/errors.ts";
import { UpstreamError } from "../../upstream/next-hop.ts";
import type { EdgeContext } from "../context.ts";
import type { RoutedExchange } from "../exchange.ts";
import type { UpgradeResponse, ViewerRequest, ViewerResponse } from "../message.ts";
import { madeAnswer } from "./answer.ts";
import { errorAnswer } from "./fetch.ts";
import { originRequest } from "./origin-request.ts";

/** Is this a handshake that asks for a WebSocket? */
export function isWebSocket(request: ViewerRequest): boolean {
  return request.method === "GET" && request.fields.get("upgrade")?.toLowerCase() === "websocket";
}

/** What the listener has to do to pass the connection on. */
export function upgrade(x: RoutedExchange, context: EdgeContext): UpgradeResponse | ViewerResponse {
  const { config, timeouts, ca, allowAddress } = context.origins.concrete(
    x.site,
    x.origin,
    `${x.authority} ${x.originPath}`,
  );
  if (!("url" in config)) {
    return madeAnswer(x, context.settings, {
      status: 400,
      message: "This origin serves files: it has no WebSocket.",
    });
  }
  const request = originRequest(x, config, context.settings, {
    cacheable: false,
    revalidate: null,
    method: "GET",
    body: null,
    signal: null,
    keepRange: false,
  });
  const offered = x.request.fields.get("sec-websocket-protocol");
  const fields = request.fields;
  for (const name of [
    "sec-websocket-protocol",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "accept-encoding",
  ]) {
    fields.delete(name);
  }
  fields.set("host", request.authority);
  const prefix = new URL(config.url);
  return {
    kind: "upgrade",
    url: `${prefix.protocol === "https:" ? "wss" : "ws"}://${prefix.host}${prefix.pathname.replace(/\/$/, "")}${request.target}`,
    fields,
    protocols:
      offered === null
        ? []
        : offered
            .split(",")
            .map((name) => name.trim())
            .filter((name) => name !== ""),
    tls: {
      verify: config.tls.verify,
      ...(ca === null ? {} : { ca }),
      ...(config.tls.serverName === undefined ? {} : { serverName: config.tls.serverName }),
    },
    connectTimeoutMs: timeouts.connectMs,
    allowAddress,
    refused: (error) =>
      errorAnswer(
        x,
        context,
        error instanceof ProximaError
          ? error
          : new UpstreamError("http_upgrade_failed", "the origin refused the WebSocket handshake", {
              cause: error,
            }),
      ),
  };
}
