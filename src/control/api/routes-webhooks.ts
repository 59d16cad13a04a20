/** Routes of webhooks, by which others are told of what happens. */
import { Refused } from "../refusal.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Call, Route } from "./route.ts";
import * as s from "./schemas.ts";
import * as h from "./schemas-hooks.ts";

/** The routes. */
export const webhookRoutes: readonly Route[] = [
  define({
    method: "GET",
    path: "/v1/webhooks",
    group: "Webhooks",
    summary: "Lists webhooks, without their secrets.",
    access: ["read"],
    answer: s.pageOf(h.webhook),
    run: ({ parts, caller }) => ({ value: { items: parts.webhooks.list(caller.sites), next: null } }),
  }),
  define({
    method: "POST",
    path: "/v1/webhooks",
    group: "Webhooks",
    summary: "Makes a webhook. Its secret is shown this once.",
    access: ["deploy"],
    action: "webhook.create",
    secret: true,
    body: h.webhookRequest,
    answer: h.webhookAnswer,
    status: 201,
    run: ({ parts, caller, body }) => {
      if (caller.sites !== null && body.sites == null)
        throw new Refused(403, `the token is for ${caller.sites.join(", ")}: name the sites of the webhook`);
      for (const site of body.sites ?? []) caller.mustReach(site);
      const made = parts.webhooks.create(body, caller.actor.id);
      const { id, host, sites } = made.webhook;
      return {
        status: 201,
        value: made,
        fields: { location: `/v1/webhooks/${id}` },
        audit: { target: sites?.join(" ") ?? "", detail: `${id}: ${host}` },
      };
    },
  }),
  define({
    method: "GET",
    path: "/v1/webhooks/{id}",
    group: "Webhooks",
    summary: "Shows a webhook, without its secret.",
    access: ["read"],
    answer: h.webhook,
    run: (call) => ({ value: call.parts.webhooks.get(idOf(call)) }),
  }),
  define({
    method: "DELETE",
    path: "/v1/webhooks/{id}",
    group: "Webhooks",
    summary: "Ends a webhook, with what waits for it.",
    access: ["deploy"],
    action: "webhook.delete",
    status: 204,
    run: (call) => {
      const id = idOf(call);
      const { host, sites } = call.parts.webhooks.get(id);
      call.parts.webhooks.delete(id);
      return { audit: { target: sites?.join(" ") ?? "", detail: `${id}: ${host}` } };
    },
  }),
  define({
    method: "POST",
    path: "/v1/webhooks/{id}/test",
    group: "Webhooks",
    summary: "Has a test delivered: the delivery's state says how that went.",
    access: ["deploy"],
    action: "webhook.test",
    body: s.emptyRequest,
    answer: h.delivery,
    status: 202,
    run: (call) => {
      const id = idOf(call);
      const { webhooks } = call.parts;
      const made = webhooks.enqueue(id, "test", { webhook: id, message: "this is a test: nothing happened" });
      return { status: 202, value: webhooks.delivery(id, made), audit: { target: id, detail: made } };
    },
  }),
  define({
    method: "GET",
    path: "/v1/webhooks/{id}/deliveries",
    group: "Webhooks",
    summary: "Lists deliveries, the newest first; state=dead: those that were given up.",
    access: ["read"],
    query: h.deliveriesQuery,
    answer: s.pageOf(h.delivery),
    run: (call) => {
      const { limit = PAGE_LIMIT, state = null } = call.query;
      const webhook = idOf(call);
      const items = call.parts.webhooks.deliveries(webhook, state, limit, call.query.before ?? "");
      const filter = state === null ? {} : { state };
      return {
        value: page(`/v1/webhooks/${webhook}/deliveries`, items, limit, ({ id }) => ({
          before: id,
          ...filter,
        })),
      };
    },
  }),
  define({
    method: "POST",
    path: "/v1/webhooks/{id}/deliveries/{delivery}/retry",
    group: "Webhooks",
    summary: "Has a delivery sent again.",
    access: ["deploy"],
    action: "webhook.retry",
    body: s.emptyRequest,
    answer: h.delivery,
    run: (call) => {
      const id = idOf(call);
      const made = call.parts.webhooks.retry(id, call.params.delivery ?? "");
      return { value: made, audit: { target: id, detail: made.id } };
    },
  }),
];

/** The webhook of the path, if the caller has a say over every site of it. */
function idOf(call: Call<unknown, unknown>): string {
  const id = call.params.id ?? "";
  const { sites } = call.parts.webhooks.get(id);
  if (call.caller.sites !== null && sites === null)
    throw new Refused(403, "this webhook is of the whole fleet, and the token is for some sites");
  for (const site of sites ?? []) call.caller.mustReach(site);
  return id;
}
