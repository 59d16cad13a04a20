/**
 * The network and what lies behind it live in the machine's time; the edge may live in another, in the local
 * CI mode. What comes from a next hop is brought into the edge's time here, at one place: an origin that
 * answers now has not answered an hour ago because the edge's clock was set ahead by an hour.
 */
import type { Clock } from "../base/clock.ts";
import { formatHttpDate, parseHttpDate } from "../http/date.ts";
import type { Fields } from "../http/fields.ts";
import type { UpstreamResponse } from "../upstream/next-hop.ts";

/** The last date that an HTTP date can tell, in milliseconds since the epoch. */
const DATE_MS_MAX = Date.UTC(9999, 11, 31, 23, 59, 59);

/**
 * A response of a next hop in the time of `clock`. `dates` says whether its Date and Expires are of the
 * machine's time: an origin's are, a shield's have been moved already. Last-Modified is a validator, which the
 * origin has to know again: it stays. With a clock that was not moved, the response as it came.
 */
export function inEdgeTime<R extends UpstreamResponse>(response: R, clock: Clock, dates: boolean): R {
  if (clock.steady === clock) return response;
  const shiftMs = clock.now() - clock.steady.now();
  if (dates) for (const name of ["date", "expires"]) shift(response.fields, name, shiftMs);
  return {
    ...response,
    requestTimeMs: response.requestTimeMs + shiftMs,
    responseTimeMs: response.responseTimeMs + shiftMs,
  };
}

/** Dates have whole seconds: rounded up, so that nothing is a second old when it comes. */
function shift(fields: Fields, name: string, shiftMs: number): void {
  const dateMs = parseHttpDate(fields.get(name));
  if (dateMs !== null)
    fields.set(name, formatHttpDate(Math.min(DATE_MS_MAX, dateMs + Math.ceil(shiftMs / 1_000) * 1_000)));
}
