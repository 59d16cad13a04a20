/** Routes of roll-outs that are under way, and of those that were. */
import type { RolloutView } from "../rollouts/rollouts.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Call, Route } from "./route.ts";
import * as s from "./schemas.ts";

/** The routes. */
export const rolloutRoutes: readonly Route[] = [
  define({
    method: "GET",
    path: "/v1/rollouts",
    group: "Roll-outs",
    summary: "Lists roll-outs, the newest first.",
    access: ["read"],
    query: s.beforeQuery,
    answer: s.pageOf(s.rollout),
    run: ({ parts, caller, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const items = parts.rollouts.list(limit, query.before ?? Number.MAX_SAFE_INTEGER, caller.sites);
      return { value: page("/v1/rollouts", items, limit, ({ sequence }) => ({ before: sequence })) };
    },
  }),
  define({
    method: "GET",
    path: "/v1/rollouts/{id}",
    group: "Roll-outs",
    summary: "Shows a roll-out: its stage, its nodes, what was counted, what happened.",
    access: ["read"],
    answer: s.rollout,
    run: (call) => ({ value: call.parts.rollouts.get(idOf(call)) }),
  }),
  define({
    method: "POST",
    path: "/v1/rollouts/{id}/pause",
    group: "Roll-outs",
    summary: "Has it stay in its stage. It still goes back by itself.",
    access: ["deploy"],
    action: "rollout.pause",
    body: s.emptyRequest,
    answer: s.rollout,
    run: (call) => done(call.parts.rollouts.pause(idOf(call))),
  }),
  define({
    method: "POST",
    path: "/v1/rollouts/{id}/resume",
    group: "Roll-outs",
    summary: "Takes that back.",
    access: ["deploy"],
    action: "rollout.resume",
    body: s.emptyRequest,
    answer: s.rollout,
    run: (call) => done(call.parts.rollouts.resume(idOf(call))),
  }),
  define({
    method: "POST",
    path: "/v1/rollouts/{id}/promote",
    group: "Roll-outs",
    summary: "Goes on to the next stage now, or to the end.",
    access: ["deploy"],
    action: "rollout.promote",
    body: s.promoteRequest,
    answer: s.rollout,
    run: (call) =>
      done(call.parts.rollouts.promote(idOf(call), call.body.all === true, call.caller.actor.id)),
  }),
  define({
    method: "POST",
    path: "/v1/rollouts/{id}/abort",
    group: "Roll-outs",
    summary: "Ends it: every node goes back to the versions of before.",
    access: ["deploy"],
    action: "rollout.abort",
    body: s.emptyRequest,
    answer: s.rollout,
    run: (call) => done(call.parts.rollouts.abort(idOf(call), call.caller.actor.id)),
  }),
];

/** The roll-out of the path, if the caller has a say over every site of it. */
function idOf(call: Call<unknown, unknown>): string {
  const id = call.params.id ?? "";
  for (const site of call.parts.rollouts.sitesOf(id)) call.caller.mustReach(site);
  return id;
}

function done(rollout: RolloutView) {
  const { id, sites, state, stage, stages } = rollout;
  return {
    value: rollout,
    audit: {
      target: Object.keys(sites).join(" "),
      detail: `${id}: ${state}, stage ${stage} of ${stages.length}`,
    },
  };
}
