/** fetch, by way of a shield: sends the request to the site's shields, and takes what comes as if it were the origin's. */
import type { UpstreamResponse } from "../../upstream/next-hop.ts";
import { UpstreamError } from "../../upstream/next-hop.ts";
import type { EdgeContext } from "../context.ts";
import { inEdgeTime } from "../edge-time.ts";
import type { RoutedExchange } from "../exchange.ts";
import { type OriginRequestOptions, shieldRequest } from "./origin-request.ts";

/** Does this request go to a shield? A tier only moves down: what an edge asks of this node does not. */
export function isShielded(x: RoutedExchange, { shields, origins }: EdgeContext): boolean {
  if (shields === null || x.fromEdge || x.site.config.shields.length === 0) return false;
  return shields.knows(x.site.config.shields) && !origins.isLocal(x.site, x.origin);
}

/**
 * Asks the shields. Null when the origin is to be asked: the site has none, or none can answer. Rejects as
 * askOrigin does.
 */
export async function askShields(
  x: RoutedExchange,
  context: EdgeContext,
  options: OriginRequestOptions,
): Promise<UpstreamResponse | null> {
  const { shields, clock, settings, origins, stats, purges } = context;
  if (shields === null || !isShielded(x, context)) return null;
  const request = shieldRequest(x, settings, options);
  const { timeouts, headMsMax } = origins.get(x.site, x.origin);
  const startMs = clock.now();
  const trace = { name: "shield", durationMs: 0, reused: false, status: null, error: null };
  try {
    const answer = await shields.fetch(
      {
        ...request,
        client: x.client,
        asked: settings.fleet.log === null ? null : { log: settings.fleet.log, sequence: purges.sequence },
        shields: x.site.config.shields,
        key: `${request.authority} ${x.path}`,
      },
      { headMsMax, betweenBytesMs: timeouts.betweenBytesMs },
    );
    stats.recordShieldRequest(answer !== null);
    if (answer === null) return null;
    const { response, by } = answer;
    const cacheStatus = response.fields.get("cache-status");
    response.fields.delete("cache-status");
    x.upstream = {
      ...trace,
      name: by,
      status: response.status,
      durationMs: clock.now() - startMs,
      reused: response.reused,
      ...(cacheStatus === null ? {} : { cacheStatus }),
    };
    const { freshMs, valid } = response.mark;
    const timed = inEdgeTime(response, clock, false);
    return { ...timed, freshMs, ...(valid === null ? {} : { validSequence: valid }) };
  } catch (error) {
    stats.recordShieldRequest(true);
    const told = error instanceof UpstreamError ? `${error.code}: ${error.message}` : null;
    x.upstream = { ...trace, durationMs: clock.now() - startMs, error: told };
    throw error;
  }
}
