/** Answers that the edge makes itself: refusals, redirects and errors, each with a short page. */
import { formatHttpDate } from "../../http/date.ts";
import { Fields } from "../../http/fields.ts";
import { formatProxyStatus } from "../../http/proxy-status.ts";
import type { UpstreamErrorCode } from "../../upstream/next-hop.ts";
import { formatMark, type Refusal, TIER_FIELD } from "../../upstream/shield/tier-field.ts";
import type { Exchange } from "../exchange.ts";
import type { ViewerResponse } from "../message.ts";
import type { EdgeSettings } from "../settings.ts";
import { applyResponseRules, statusFields } from "./viewer-fields.ts";

/** What a made answer says. */
export interface MadeAnswer {
  readonly status: number;
  readonly message: string;
  readonly location?: string;
  readonly allow?: string;
  /** Set when a next hop is to blame (RFC 9209). No details: they name the addresses of origins, which viewers must not learn. */
  readonly proxyError?: { readonly code: UpstreamErrorCode; readonly nextHop: string };
}

const TITLES: Readonly<Record<number, string>> = {
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  414: "URI Too Long",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  508: "Loop Detected",
};

const encoder = new TextEncoder();

/** Builds the answer; never stored, and marked so that nobody downstream stores it either. */
export function madeAnswer(x: Exchange, settings: EdgeSettings, answer: MadeAnswer): ViewerResponse {
  const body = encoder.encode(page(answer));
  const fields = Fields.from([
    ["date", formatHttpDate(x.startMs)],
    ["content-type", "text/html; charset=utf-8"],
    ["content-length", String(body.byteLength)],
    ["cache-control", answer.status === 301 || answer.status === 308 ? "private, max-age=60" : "no-store"],
    ["x-content-type-options", "nosniff"],
  ]);
  if (answer.location !== undefined) fields.set("location", answer.location);
  if (answer.allow !== undefined) fields.set("allow", answer.allow);
  if (answer.proxyError !== undefined) {
    const { code, nextHop } = answer.proxyError;
    fields.set("proxy-status", formatProxyStatus({ proxy: settings.name, error: code, nextHop }));
  }
  statusFields(fields, x, settings, { freshMs: null });
  // Strict-Transport-Security on a redirect to https is what such rules are for.
  if (x.fromEdge) {
    const error = answer.proxyError?.code ?? null;
    // What is not the origin's failure is this node's alone: the edge asks elsewhere.
    fields.set(TIER_FIELD, formatMark(error === null ? { refused: "request" } : { error }));
  }
  applyResponseRules(fields, x);
  return { status: answer.status, fields, body: x.method === "HEAD" ? null : body };
}

/** Answers an edge that asks as if this were its shield, and is not given what it asks for. */
export function refusedEdge(x: Exchange, settings: EdgeSettings, refusal: Refusal): ViewerResponse {
  x.end("bypass", "bad-request");
  const status = refusal === "loop" ? 508 : 403;
  const message =
    refusal === "loop" ? "This request has been at this shield before." : "This node is not your shield.";
  const answer = madeAnswer(x, settings, { status, message });
  answer.fields.set(TIER_FIELD, formatMark({ refused: refusal }));
  return answer;
}

function page({ status, message }: MadeAnswer): string {
  const title = `${status} ${TITLES[status] ?? ""}`.trim();
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#222;background:#fff}p{color:#555}@media(prefers-color-scheme:dark){body{color:#eee;background:#111}p{color:#aaa}}</style><h1>${title}</h1><p>${escapeHtml(message)}</p></html>\n`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
