/** Routes of tokens and of the audit log. */
import { PROMETHEUS_CONTENT_TYPE } from "../../telemetry/prometheus.ts";
import { PAGE_MAX } from "../limits.ts";
import { controlMetrics } from "../metrics-page.ts";
import type { MadeToken } from "../tokens.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Route } from "./route.ts";
import * as s from "./schemas.ts";

/** The routes. */
export const adminRoutes: readonly Route[] = [
  define({
    method: "GET",
    path: "/v1/tokens",
    group: "Tokens",
    summary: "Lists tokens, without their secrets.",
    access: ["admin"],
    fleetWide: true,
    query: s.afterQuery,
    answer: s.pageOf(s.token),
    run: ({ parts, query }) => {
      const limit = query.limit ?? PAGE_MAX;
      const items = parts.tokens.page(limit, query.after ?? "");
      return { value: page("/v1/tokens", items, limit, ({ id }) => ({ after: id })) };
    },
  }),
  define({
    method: "POST",
    path: "/v1/tokens",
    group: "Tokens",
    summary: "Makes a token. Its secret is shown this once.",
    access: ["admin"],
    fleetWide: true,
    action: "token.create",
    secret: true,
    body: s.tokenRequest,
    answer: s.tokenAnswer,
    status: 201,
    run: ({ parts, caller, body }) => {
      const made = parts.tokens.create(body, caller.actor.id);
      const { token } = made;
      return {
        status: 201,
        value: shownOnce(made),
        fields: { location: `/v1/tokens/${token.id}` },
        audit: {
          target: token.prefix,
          detail: `${token.accessKeyId === null ? "" : `access key ${token.accessKeyId}, `}${token.name}: ${token.scopes.join(", ")} for ${token.sites?.join(", ") ?? "all sites"}`,
        },
      };
    },
  }),
  define({
    method: "POST",
    path: "/v1/tokens/{id}/rotate",
    group: "Tokens",
    summary: "Makes a token in place of another.",
    access: ["admin"],
    fleetWide: true,
    action: "token.rotate",
    secret: true,
    body: s.rotateRequest,
    answer: s.tokenAnswer,
    status: 201,
    run: ({ parts, caller, params, body }) => {
      const made = parts.tokens.rotate(params.id ?? "", body.overlapSeconds, caller.actor.id);
      return {
        status: 201,
        value: shownOnce(made),
        audit: { target: `pxa_${params.id ?? ""}`, detail: `now ${made.token.prefix}` },
      };
    },
  }),
  define({
    method: "DELETE",
    path: "/v1/tokens/{id}",
    group: "Tokens",
    summary: "Revokes a token, at once.",
    access: ["admin"],
    fleetWide: true,
    action: "token.revoke",
    answer: s.token,
    run: ({ parts, params }) => {
      const token = parts.tokens.revoke(params.id ?? "");
      return { value: token, audit: { target: token.prefix, detail: token.name } };
    },
  }),
  define({
    method: "GET",
    path: "/metrics",
    group: "Metrics",
    summary: "The metrics page, as Prometheus reads it.",
    access: ["read", "metrics"],
    fleetWide: true,
    run: ({ parts }) => ({
      text: controlMetrics(parts),
      fields: { "content-type": PROMETHEUS_CONTENT_TYPE },
    }),
  }),
  define({
    method: "GET",
    path: "/v1/audit",
    group: "Audit",
    summary: "Who did or tried what, when, from where; the newest first.",
    access: ["admin"],
    fleetWide: true,
    query: s.auditQuery,
    answer: s.pageOf(s.auditEntry),
    run: ({ parts, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const { actor, outcome } = query;
      const filter = {
        ...(actor === undefined ? {} : { actor }),
        ...(outcome === undefined ? {} : { outcome }),
      };
      const items = parts.audit.list(limit, query.before, filter);
      return { value: page("/v1/audit", items, limit, ({ sequence }) => ({ before: sequence, ...filter })) };
    },
  }),
];

function shownOnce({ token, text, secretAccessKey }: MadeToken): Record<string, unknown> {
  return { token, secret: text, ...(secretAccessKey === null ? {} : { secretAccessKey }) };
}
