/** Routes of hooks, by which content systems purge. */

import { hookConfig } from "../hooks/mapping.ts";
import { HOOK_BODY_BYTES_MAX } from "../limits.ts";
import { Refused } from "../refusal.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Call, RawBody, Route } from "./route.ts";
import * as s from "./schemas.ts";
import * as h from "./schemas-hooks.ts";

/** The routes. */
export const hookRoutes: readonly Route[] = [
  define({
    method: "GET",
    path: "/v1/hooks",
    group: "Hooks",
    summary: "Lists hooks by name, without their secrets.",
    access: ["read"],
    query: s.afterQuery,
    answer: s.pageOf(h.hook),
    run: ({ parts, caller, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const items = parts.hooks.list(limit, query.after ?? "", caller.sites);
      return { value: page("/v1/hooks", items, limit, ({ name }) => ({ after: name })) };
    },
  }),
  define({
    method: "GET",
    path: "/v1/hooks/{name}",
    group: "Hooks",
    summary: "Shows a hook, without its secret.",
    access: ["read"],
    answer: h.hook,
    run: (call) => ({ value: call.parts.hooks.get(nameOf(call)) }),
  }),
  define({
    method: "PUT",
    path: "/v1/hooks/{name}",
    group: "Hooks",
    summary: "Makes a hook, whose secret is shown this once, or gives one other rules.",
    access: ["deploy"],
    action: "hook.put",
    body: hookConfig,
    answer: h.hookAnswer,
    run: (call) => {
      const { parts, caller, body } = call;
      caller.mustReach(body.site);
      const name = nameOf(call);
      const made = parts.hooks.put(name, body, caller.actor.id);
      return {
        status: made.secret === null ? 200 : 201,
        value: made,
        audit: { target: body.site, detail: `hook ${name}: ${body.rules.length} rules` },
      };
    },
  }),
  define({
    method: "DELETE",
    path: "/v1/hooks/{name}",
    group: "Hooks",
    summary: "Ends a hook.",
    access: ["deploy"],
    action: "hook.delete",
    status: 204,
    run: (call) => {
      const name = nameOf(call);
      const { site } = call.parts.hooks.get(name);
      call.parts.hooks.delete(name);
      return { audit: { target: site, detail: `hook ${name}` } };
    },
  }),
  define({
    method: "POST",
    path: "/v1/hooks/{name}/rotate",
    group: "Hooks",
    summary: "Makes another secret.",
    access: ["deploy"],
    action: "hook.rotate",
    secret: true,
    body: s.rotateRequest,
    answer: h.hookAnswer,
    run: (call) => {
      const made = call.parts.hooks.rotate(nameOf(call), call.body.overlapSeconds);
      return { value: made, audit: { target: made.hook.site, detail: `hook ${made.hook.name}` } };
    },
  }),
  define({
    method: "POST",
    path: "/v1/hooks/{name}/test",
    group: "Hooks",
    summary: "Says what a message would purge. The body is the message, and need not be signed.",
    access: ["deploy", "purge"],
    raw: true,
    bodyBytesMax: HOOK_BODY_BYTES_MAX,
    answer: h.hookMessageAnswer,
    run: (call) => ({ value: call.parts.hooks.test(nameOf(call), rawBody(call).value) }),
  }),
  define({
    method: "POST",
    path: "/v1/hooks/{name}",
    group: "Hooks",
    summary: "Takes a message, signed with the hook's secret in place of a token.",
    access: [],
    action: "hook.message",
    raw: true,
    bodyBytesMax: HOOK_BODY_BYTES_MAX,
    query: h.hookMessageQuery,
    answer: h.hookMessageAnswer,
    run: (call) => {
      const { parts, params, query, fields } = call;
      const name = params.name ?? "";
      const answer = parts.hooks.receive(name, { fields, ...rawBody(call) }, query.dryRun === "1");
      const what = answer.purges.map(({ scope, targetCount }) => `${targetCount} ${scope}`).join(", ");
      const how = answer.repeated ? "repeated" : answer.dryRun ? "tried" : what === "" ? "nothing" : what;
      return {
        value: answer,
        audit: { actor: `hook:${name}`, target: parts.hooks.get(name).site, detail: `hook ${name}: ${how}` },
      };
    },
  }),
];

/** The hook of the path, if the caller has a say over its site. */
function nameOf(call: Call<unknown, unknown>): string {
  const name = call.params.name ?? "";
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name))
    throw new Refused(
      400,
      "a hook's name has 1 to 63 lower-case letters, digits and -, and begins with no -",
    );
  const site = call.parts.hooks.siteOf(name);
  if (site !== null) call.caller.mustReach(site);
  return name;
}

function rawBody(call: Call<unknown, unknown>): RawBody {
  // A raw route always has it.
  return call.body as RawBody;
}
