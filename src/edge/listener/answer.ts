/**
 * From the runtime's request to the runtime's response: the way of one request through a listener. A
 * plain hit stays synchronous. What waits for an origin is taken out of the runtime's idle limit, which
 * would end it, and gets limits of its own: the body's (request-body.ts), the viewer's (body-stream.ts)
 * and the origin's timeouts.
 */

import { unreachable } from "../../base/assert.ts";
import type { ChurnSet } from "../../base/churn-set.ts";
import { ProximaError } from "../../base/errors.ts";
import { type BodyReader, blobReader } from "../../http/body.ts";
import type { RequestHandler, UpgradeResponse, ViewerResponse } from "../message.ts";
import type { AltSvc } from "./alt-svc.ts";
import { type StreamFailure, streamOf } from "./body-stream.ts";
import type { Http3Spool } from "./http3-body.ts";
import { type RequestContext, RuntimeRequest } from "./runtime-request.ts";
import {
  cancelBody,
  completeResponse,
  hasNoContent,
  isSendable,
  mustStream,
  plainResponse,
  streamedResponse,
  unsendable,
} from "./runtime-response.ts";
import { connectTunnel, type TunnelData, type WebSocketTunnel } from "./websocket-tunnel.ts";

/** The runtime's server, with what it keeps for a WebSocket. */
export type RuntimeServer = Bun.Server<TunnelData>;

/** What one listening socket needs to answer. */
export interface AnswerContext extends RequestContext {
  readonly handler: RequestHandler;
  /** Null where HTTP/3 is never advertised: on clear text. */
  readonly altSvc: AltSvc | null;
  /** Gathers bodies for HTTP/3. */
  readonly spool: Http3Spool;
  readonly tunnels: ChurnSet<WebSocketTunnel>;
  /** WebSockets whose origin is being connected. */
  readonly connecting: { count: number };
  onError(error: unknown): void;
  /** Set when this socket is about to stop: every answer from now on ends its HTTP/1.1 connection. */
  closing: boolean;
}

type Answer = ViewerResponse | UpgradeResponse;

/** The `fetch` of a runtime server. Never throws or rejects. Undefined after an upgrade. */
export function answer(
  request: Request,
  server: RuntimeServer,
  context: AnswerContext,
): Response | undefined | Promise<Response | undefined> {
  const refused = refusal(request, server, context);
  if (refused !== null) return refused;
  const viewer = new RuntimeRequest(request, server, context);
  try {
    const answered = context.handler(viewer);
    if (!(answered instanceof Promise))
      return announced(respond(answered, request, server, context), context);
    server.timeout(request, 0);
    // Asked now: when the viewer has left, the runtime no longer knows it, but the access log wants it.
    void viewer.peerAddress;
    return answerLater(answered, request, server, context);
  } catch (error) {
    context.onError(error);
    return plainResponse(500, "Internal error.");
  }
}

async function answerLater(
  answered: Promise<Answer>,
  request: Request,
  server: RuntimeServer,
  context: AnswerContext,
): Promise<Response | undefined> {
  try {
    const response = await answered.finally(() => waitForViewer(request, server, context));
    return announced(await respond(response, request, server, context), context);
  } catch (error) {
    context.onError(error);
    return plainResponse(500, "Internal error.");
  }
}

/**
 * Tells the viewer that its connection ends, so that it does not send its next request into a closing
 * one (RFC 9112 section 9.6). The runtime keeps the field on HTTP/1.1 and leaves it out on HTTP/2.
 */
function announced<T extends Response | undefined | Promise<Response | undefined>>(
  response: T,
  context: AnswerContext,
): T {
  if (context.closing && response instanceof Response) response.headers.set("connection", "close");
  return response;
}

/** From here on the viewer is waited for again; without this the connection would never be idle. */
function waitForViewer(request: Request, server: RuntimeServer, context: AnswerContext): void {
  server.timeout(request, context.limits.idleSeconds);
}

/** Requests that the runtime lets through but that must not reach a handler. */
function refusal(request: Request, server: RuntimeServer, context: AnswerContext): Response | null {
  if (context.relayed !== null) {
    const peer = server.requestIP(request);
    if (peer === null || context.relayed.addressOf(peer.port) === null) {
      return plainResponse(403, "This port takes connections of the PROXY protocol relay only.", {
        connection: "close",
      });
    }
  }
  const { method } = request;
  if (method === "GET" || method === "HEAD") return null;
  const length = request.headers.get("content-length");
  // RFC 9112 section 6.3: a list of equal lengths comes through the runtime as "4, 4".
  if (length !== null && !/^\d{1,15}$/.test(length)) {
    return plainResponse(400, "Malformed Content-Length.", { connection: "close" });
  }
  return null;
}

function respond(
  answered: Answer,
  request: Request,
  server: RuntimeServer,
  context: AnswerContext,
): Response | undefined | Promise<Response | undefined> {
  if ("kind" in answered) return upgrade(answered, request, server, context);
  if (!isSendable(answered.status)) {
    cancelBody(answered);
    context.onError(unsendable(`status ${answered.status}`));
    return plainResponse(502, "The origin's answer can not be passed on.");
  }
  const isHead = request.method === "HEAD";
  const altSvc = context.altSvc === null ? null : context.altSvc.value();
  const { body } = answered;
  try {
    if (body instanceof Blob && !isHead && mustStream(answered, body, request)) {
      const failure = context.http3 ? "hold" : "reset";
      return stream(answered, blobReader(body), failure, request, server, context, altSvc);
    }
    if (body === null || body instanceof Uint8Array || body instanceof Blob) {
      return completeResponse(answered, body, altSvc, isHead, context.clock);
    }
    if (isHead || hasNoContent(answered.status)) {
      body.cancel();
      return completeResponse(answered, null, altSvc, isHead, context.clock);
    }
    if (!context.http3) return stream(answered, body, "reset", request, server, context, altSvc);
    // An event stream has no end of its own: whoever reads it comes back when it ends.
    if (isEventStream(answered)) return stream(answered, body, "reset", request, server, context, altSvc);
    return respondHttp3(answered, body, request, server, context, altSvc);
  } catch (error) {
    cancelBody(answered);
    context.onError(unsendable(error instanceof Error ? error.message : String(error)));
    return plainResponse(502, "The origin's answer can not be passed on.");
  }
}

/** HTTP/3: whole if it fits; else a safe request is sent to TCP, and an unsafe one never looks whole too early. */
async function respondHttp3(
  response: ViewerResponse,
  body: BodyReader,
  request: Request,
  server: RuntimeServer,
  context: AnswerContext,
  altSvc: string | null,
): Promise<Response> {
  const isSafe = request.method === "GET";
  const declared = response.fields.get("content-length");
  if (isSafe && declared !== null && Number(declared) > context.limits.http3SpoolBytesMax) {
    body.cancel();
    return useTcp();
  }
  const gathered = await context.spool.gather(body);
  switch (gathered.kind) {
    case "complete":
      return completeResponse(response, gathered.bytes, altSvc, false, context.clock);
    case "broken":
      context.onError(gathered.error);
      return plainResponse(502, "The origin's answer was cut short.");
    case "beyond":
      if (!isSafe) return stream(response, gathered.body, "hold", request, server, context, altSvc);
      gathered.body.cancel();
      return useTcp();
    default:
      return unreachable(gathered);
  }
}

/** RFC 9110 section 15.5.20: the browser asks again, by itself, over TCP (docs/decisions/0003-http3-bodies.md). */
function useTcp(): Response {
  return plainResponse(421, "This answer is too large or too slow for HTTP/3 here; ask again over HTTP/2.");
}

function stream(
  response: ViewerResponse,
  body: BodyReader,
  failure: StreamFailure,
  request: Request,
  server: RuntimeServer,
  context: AnswerContext,
  altSvc: string | null,
): Response {
  server.timeout(request, 0);
  const { clock, limits } = context;
  const readable = streamOf(body, {
    clock,
    stallMs: limits.responseStallMs,
    failure,
    onBroken: context.onError,
    // The last bytes may still wait for the viewer, and the connection becomes idle after them.
    onEnd: () => waitForViewer(request, server, context),
  });
  return streamedResponse(response, readable, altSvc);
}

async function upgrade(
  wanted: UpgradeResponse,
  request: Request,
  server: RuntimeServer,
  context: AnswerContext,
): Promise<Response | undefined> {
  const refuse = (error: unknown) =>
    Promise.resolve(respond(wanted.refused(error), request, server, context));
  if (context.tunnels.size + context.connecting.count >= context.limits.webSocketsMax) {
    const limit = context.limits.webSocketsMax;
    return refuse(
      new ProximaError("too_many_websockets", `${limit} WebSockets are open, which is the limit`, {
        source: "node",
      }),
    );
  }
  server.timeout(request, 0);
  context.connecting.count += 1;
  let tunnel: WebSocketTunnel;
  try {
    tunnel = await connectTunnel(wanted, {
      limits: context.limits,
      clock: context.clock,
      signal: request.signal,
      onClosed: () => context.tunnels.delete(tunnel),
    });
  } catch (error) {
    return refuse(error);
  } finally {
    context.connecting.count -= 1;
  }
  context.tunnels.add(tunnel);
  // Without this the runtime would choose the first offered subprotocol where the origin chose none.
  request.headers.delete("sec-websocket-protocol");
  const upgraded = server.upgrade(request, {
    data: { tunnel },
    headers: tunnel.protocol === "" ? {} : { "sec-websocket-protocol": tunnel.protocol },
  });
  if (upgraded) return undefined;
  tunnel.terminate();
  return refuse(
    new ProximaError("upgrade_failed", "the viewer's connection can not be turned into a WebSocket", {
      source: "viewer",
    }),
  );
}

function isEventStream(response: ViewerResponse): boolean {
  return response.fields.get("content-type")?.toLowerCase().startsWith("text/event-stream") ?? false;
}
