/** A purge that came to the viewers' ports: from whom it is taken, what it means, and what is answered. */
import { formatHttpDate } from "../../http/date.ts";
import { Fields } from "../../http/fields.ts";
import type { EdgeContext } from "../context.ts";
import type { Exchange } from "../exchange.ts";
import type { ViewerResponse } from "../message.ts";
import { type DialectOrder, isPurgeMethod, readDialect } from "../purge-dialects/read.ts";

/** What a node makes of purges at its viewers' ports. */
export interface EdgePurger {
  /** Are they taken from this address? */
  allows(address: string): boolean;
  /** Does what is ordered, everywhere that it has to be done. Never rejects. */
  purge(order: EdgePurgeOrder): Promise<EdgePurgeOutcome>;
}

/** An order, with where it came from. */
export interface EdgePurgeOrder extends DialectOrder {
  readonly site: string;
  readonly method: string;
  readonly address: string;
}

/** What became of it. */
export type EdgePurgeOutcome =
  | { readonly ok: true; readonly id: string }
  | {
      readonly ok: false;
      readonly status: 400 | 403 | 409 | 429 | 500 | 502 | 503;
      readonly message: string;
      readonly retryAfterSeconds?: number;
    };

/** Is this request one? Edges do not send them to each other. */
export function isPurge(x: Exchange, { purger }: EdgeContext): boolean {
  return purger !== null && !x.fromEdge && isPurgeMethod(x.method);
}

/** Answers one. */
export async function answerPurge(x: Exchange, context: EdgeContext): Promise<ViewerResponse> {
  const { purger, snapshot } = context;
  const { fields } = x.request;
  if (purger === null || !purger.allows(x.client))
    return answer(
      x,
      context,
      403,
      "purges are taken here from the addresses in purges.from alone, and yours is not among them; or send them to the control API",
    );
  // A page in the browser of somebody who may: scripts and caches' clients have no such fields.
  if (fields.get("origin") !== null || fields.get("sec-fetch-site") !== null)
    return answer(x, context, 403, "purges are not taken from web pages");
  const site = snapshot.hosts.find(x.hostname);
  if (site === null)
    return answer(x, context, 404, `no site here has the host ${x.hostname}: Host says of which site it is`);
  x.site = site;
  const read = readDialect({
    method: x.method,
    scheme: x.scheme,
    authority: x.authority,
    path: x.path,
    query: x.query,
    fields,
  });
  if ("refused" in read) return answer(x, context, read.refused.status, read.refused.message);
  const outcome = await purger.purge({ ...read.order, site: site.id, method: x.method, address: x.client });
  if (outcome.ok) return answer(x, context, 200, null, outcome.id);
  const refused = answer(x, context, outcome.status, outcome.message);
  if (outcome.retryAfterSeconds !== undefined)
    refused.fields.set("retry-after", String(outcome.retryAfterSeconds));
  return refused;
}

/** As Fastly answers, which those who only look at the status do not mind. */
function answer(
  x: Exchange,
  { settings }: EdgeContext,
  status: number,
  message: string | null,
  id?: string,
): ViewerResponse {
  const value = message === null ? { status: "ok", id } : { status: "refused", msg: message };
  const body = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  const fields = Fields.from([
    ["date", formatHttpDate(x.startMs)],
    ["content-type", "application/json"],
    ["content-length", String(body.byteLength)],
    ["cache-control", "no-store"],
    ["via", `1.1 ${settings.name}`],
  ]);
  return { status, fields, body };
}
