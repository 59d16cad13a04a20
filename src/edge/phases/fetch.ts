/** fetch: asks the behaviour's origin, and counts what it did. */
import { ProximaError } from "../../base/errors.ts";
import type { BodyReader } from "../../http/body.ts";
import type { Stats } from "../../telemetry/stats.ts";
import type { UpstreamErrorCode, UpstreamResponse } from "../../upstream/next-hop.ts";
import { UpstreamError } from "../../upstream/next-hop.ts";
import type { EdgeContext } from "../context.ts";
import { inEdgeTime } from "../edge-time.ts";
import type { Exchange, RoutedExchange } from "../exchange.ts";
import type { ViewerResponse } from "../message.ts";
import { madeAnswer } from "./answer.ts";
import type { OriginRequestOptions } from "./origin-request.ts";
import { originRequest } from "./origin-request.ts";
import { askShields } from "./shield.ts";

/** Sends the request on. Rejects with an UpstreamError, or with the viewer's own error while its body was read. */
export async function askOrigin(
  x: RoutedExchange,
  context: EdgeContext,
  options: OriginRequestOptions,
): Promise<UpstreamResponse> {
  const shielded = context.shields === null ? null : await askShields(x, context, options);
  if (shielded !== null) return shielded;
  const origin = context.origins.get(x.site, x.origin);
  const request = originRequest(x, origin.config, context.settings, options);
  const startMs = context.clock.now();
  context.stats.recordOriginRequest();
  try {
    const response = inEdgeTime(await origin.hop.fetch(request, origin.timeouts), context.clock, true);
    const durationMs = context.clock.now() - startMs;
    x.upstream = {
      name: response.answeredBy ?? origin.hop.name,
      status: response.status,
      durationMs,
      reused: response.reused,
      error: null,
    };
    if (response.body === null) return response;
    return { ...response, body: new CountedBody(response.body, context.stats) };
  } catch (error) {
    const failure = error instanceof UpstreamError ? error : null;
    if (failure !== null) context.stats.recordOriginError(failure.code);
    const told = failure === null ? null : `${failure.code}: ${failure.message}`;
    x.upstream = {
      name: origin.hop.name,
      status: null,
      durationMs: context.clock.now() - startMs,
      reused: false,
      error: told,
    };
    throw error;
  }
}

/** An origin's body, its bytes counted as they are read. */
class CountedBody implements BodyReader {
  readonly #body: BodyReader;
  readonly #stats: Stats;

  constructor(body: BodyReader, stats: Stats) {
    this.#body = body;
    this.#stats = stats;
  }

  async read(): Promise<Uint8Array | null> {
    const piece = await this.#body.read();
    if (piece !== null) this.#stats.recordOriginBytes(piece.byteLength);
    return piece;
  }

  readNow(): Uint8Array | null | undefined {
    const piece = this.#body.readNow?.();
    if (piece != null) this.#stats.recordOriginBytes(piece.byteLength);
    return piece;
  }

  cancel(): void {
    this.#body.cancel();
  }
}

/** Statuses of failures to reach an origin (RFC 9209 section 2.3). */
const STATUS_OF: Readonly<Partial<Record<UpstreamErrorCode, number>>> = {
  connection_timeout: 504,
  http_response_timeout: 504,
  proxy_internal_error: 500,
  http_request_error: 503,
  connection_limit_reached: 503,
};

/** The answer for a viewer whose request could not be answered. */
export function errorAnswer(x: Exchange, context: EdgeContext, thrown: unknown): ViewerResponse {
  // A viewer's body that failed made the request to the origin fail: the viewer is to blame, not the origin.
  const cause = thrown instanceof UpstreamError ? thrown.cause : null;
  const error = cause instanceof ProximaError && cause.source === "viewer" ? cause : thrown;
  if (error instanceof UpstreamError) {
    // An answer that came and could not be used: the log says why, too.
    if (x.upstream !== null && x.upstream.error === null)
      x.upstream = { ...x.upstream, error: `${error.code}: ${error.message}` };
    x.end(x.result === "bypass" ? "bypass" : "miss", "origin-error");
    const status = STATUS_OF[error.code] ?? 502;
    const nextHop = x.behavior?.origin ?? "origin";
    const message =
      status === 504
        ? "The origin did not answer in time."
        : status === 503
          ? "The origin takes no more requests just now."
          : "The origin could not be reached or its answer could not be used.";
    return madeAnswer(x, context.settings, { status, message, proxyError: { code: error.code, nextHop } });
  }
  if (error instanceof ProximaError && error.source === "viewer") {
    x.end("bypass", "bad-request");
    if (error.code === "body_too_large")
      return madeAnswer(x, context.settings, { status: 413, message: error.message });
    if (error.code === "viewer_too_slow")
      return madeAnswer(x, context.settings, { status: 408, message: error.message });
    return madeAnswer(x, context.settings, { status: 400, message: error.message });
  }
  x.end("bypass", "origin-error");
  return madeAnswer(x, context.settings, { status: 500, message: "The edge failed to answer this request." });
}
