/** Routes of nodes, of the log that they read, and of purges. */

import {
  CHANGES_MAX,
  changesAnswer,
  headAnswer,
  joinAnswer,
  joinRequest,
  nodeReport,
  POLL_SECONDS_MAX,
} from "../../service/fleet-wire.ts";
import type { Batch } from "../batches.ts";
import { PURGE_BODY_BYTES_MAX } from "../limits.ts";
import { readOrder } from "../orders.ts";
import type { ControlParts } from "../parts.ts";
import { Refused } from "../refusal.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Call, Caller, Reply, Route } from "./route.ts";
import * as s from "./schemas.ts";

const WAIT_SECONDS_DEFAULT = 10;

/** Routes for people and programs. */
export const fleetRoutes: readonly Route[] = [
  define({
    method: "POST",
    path: "/v1/purges",
    group: "Purges",
    summary: "Purges on every node. Without wait it answers when the order is safe in the log.",
    access: ["purge"],
    action: "purge",
    body: s.purgeRequest,
    bodyBytesMax: PURGE_BODY_BYTES_MAX,
    query: s.purgeWaitQuery,
    answer: s.purge,
    status: 201,
    run: ({ parts, caller, body }) => {
      const order = readOrder(parts, caller, body);
      const purge = parts.purges.create(order, caller.actor.id);
      return {
        status: 201,
        value: purge,
        fields: { location: `/v1/purges/${purge.id}` },
        audit: {
          target: purge.site,
          detail: `${purge.mode} ${purge.scope}, ${purge.targetCount} targets, sequence ${purge.sequence}`,
        },
      };
    },
    finish: ({ parts, query, signal }, value) => waitForPurge(parts, idOf(value), query, signal),
  }),
  define({
    method: "GET",
    path: "/v1/purges",
    group: "Purges",
    summary: "Lists purges, the newest first.",
    access: ["read", "purge"],
    query: s.beforeQuery,
    answer: s.pageOf(s.purge),
    run: ({ parts, caller, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const items = parts.purges.list(limit, query.before ?? Number.MAX_SAFE_INTEGER, caller.sites);
      return { value: page("/v1/purges", items, limit, ({ sequence }) => ({ before: sequence })) };
    },
  }),
  define({
    method: "GET",
    path: "/v1/purges/{id}",
    group: "Purges",
    summary: "Shows a purge, node by node, by its id or the one that a vendor's API answered.",
    access: ["read", "purge"],
    query: s.purgeWaitQuery,
    answer: s.purge,
    run: ({ parts, caller, params, query, signal }) => {
      const batch = parts.batches.find(params.id ?? "");
      if (batch !== null) return showBatch(parts, batch, caller, query, signal);
      const purge = parts.purges.get(params.id ?? "");
      caller.mustReach(purge.site);
      return waitForPurge(parts, purge.id, query, signal).then((value) => ({ value }));
    },
  }),
  define({
    method: "GET",
    path: "/v1/nodes",
    group: "Nodes",
    summary: "Lists nodes by name.",
    access: ["read"],
    fleetWide: true,
    query: s.afterQuery,
    answer: s.pageOf(s.node),
    run: ({ parts, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const items = parts.nodes.list(limit, query.after ?? "");
      return { value: page("/v1/nodes", items, limit, ({ name }) => ({ after: name })) };
    },
  }),
  define({
    method: "GET",
    path: "/v1/nodes/{node}",
    group: "Nodes",
    summary: "Shows a node, by id or name.",
    access: ["read"],
    fleetWide: true,
    answer: s.node,
    run: ({ parts, params }) => ({ value: parts.nodes.get(params.node ?? "") }),
  }),
  define({
    method: "POST",
    path: "/v1/nodes/{node}/drain",
    group: "Nodes",
    summary:
      "Has a node say that it is not ready, so that no new viewers are sent to it; it goes on to serve.",
    access: ["admin"],
    fleetWide: true,
    action: "node.drain",
    body: s.emptyRequest,
    answer: s.node,
    run: (call) => setDrained(call, true),
  }),
  define({
    method: "POST",
    path: "/v1/nodes/{node}/resume",
    group: "Nodes",
    summary: "Takes that back.",
    access: ["admin"],
    fleetWide: true,
    action: "node.resume",
    body: s.emptyRequest,
    answer: s.node,
    run: (call) => setDrained(call, false),
  }),
  define({
    method: "DELETE",
    path: "/v1/nodes/{node}",
    group: "Nodes",
    summary: "Removes a node: its credential is good for nothing any more. It keeps serving what it has.",
    access: ["admin"],
    fleetWide: true,
    action: "node.remove",
    answer: s.node,
    run: ({ parts, params }) => {
      const node = parts.nodes.remove(parts.nodes.get(params.node ?? "").id);
      parts.watch.removed(node.id);
      return { value: node, audit: { target: node.name, detail: node.id } };
    },
  }),
  define({
    method: "POST",
    path: "/v1/join-tokens",
    group: "Nodes",
    summary: "Makes a token by which one node can join.",
    access: ["admin"],
    fleetWide: true,
    action: "join-token.create",
    secret: true,
    body: s.inviteRequest,
    answer: s.inviteAnswer,
    status: 201,
    run: ({ parts, caller, body }) => {
      const { id, text, expiresAt } = parts.nodes.invite(body.validSeconds, caller.actor.id);
      return { status: 201, value: { id, secret: text, expiresAt }, audit: { target: `pxj_${id}` } };
    },
  }),
];

/** Routes for nodes. */
export const nodeRoutes: readonly Route[] = [
  define({
    method: "POST",
    path: "/v1/join",
    group: "For nodes",
    summary: "Joins the fleet, with a join token as bearer token. The credential is shown this once.",
    access: [],
    action: "node.join",
    secret: true,
    body: joinRequest,
    answer: joinAnswer,
    status: 201,
    run: ({ parts, body, fields }) => {
      const bearer = /^bearer +(\S+)$/i.exec((fields.get("authorization") ?? "").slice(0, 500))?.[1] ?? "";
      const joined = parts.nodes.join(bearer, body.name, parts.log.head().sequence);
      return {
        status: 201,
        value: { ...joined, logKey: parts.logKey.open },
        audit: { target: body.name, detail: `node ${joined.node}` },
      };
    },
  }),
  define({
    method: "GET",
    path: "/v1/changes",
    group: "For nodes",
    summary: `The fleet's log behind a place, up to ${CHANGES_MAX} entries. 409: the log does not have the place.`,
    access: ["node", "read"],
    fleetWide: true,
    query: s.changesQuery,
    answer: changesAnswer,
    run: async ({ parts, caller, query, signal }) => {
      const place = { sequence: query.after, digest: query.digest };
      const seconds = Math.min(query.wait ?? 0, POLL_SECONDS_MAX);
      let changes = parts.log.since(place);
      if (caller.node !== null) {
        parts.nodes.saw(caller.node);
        // Who asks for what follows has applied what is before.
        if (changes !== null) parts.purges.acknowledged(caller.node, place.sequence);
      }
      if (changes?.length === 0 && seconds > 0) {
        await parts.log.changed(place.sequence, seconds * 1_000, signal);
        changes = parts.log.since(place);
      }
      if (changes === null)
        throw new Refused(
          409,
          "the log does not have this place: it is older than what is kept, or of another log",
        );
      if (caller.node !== null) parts.nodes.saw(caller.node);
      const drained = caller.node !== null && parts.nodes.isDrained(caller.node);
      return { value: { log: parts.log.id, head: parts.log.head().sequence, changes, drained } };
    },
  }),
  define({
    method: "GET",
    path: "/v1/changes/head",
    group: "For nodes",
    summary: "The newest place of the log, for a node that begins anew.",
    access: ["node", "read"],
    fleetWide: true,
    answer: headAnswer,
    run: ({ parts }) => {
      const { sequence, digest } = parts.log.head();
      const snapshot = parts.sites.newestSnapshot()?.number ?? null;
      const clock = parts.fleetClock?.setting;
      return {
        value: {
          log: parts.log.id,
          head: sequence,
          digest,
          snapshot,
          logKey: parts.logKey.open,
          ...(clock === undefined ? {} : { clock }),
        },
      };
    },
  }),
  define({
    method: "POST",
    path: "/v1/nodes/self/report",
    group: "For nodes",
    summary: "A node says how it is, and how far it has come.",
    access: ["node"],
    body: nodeReport,
    run: ({ parts, caller, body, address }) => {
      const { node } = caller;
      if (node === null) throw new Refused(403, "this is for nodes");
      // Who is beyond the end follows another branch of the log, of which nothing is known here: its place
      // proves nothing of this one.
      const applied = body.applied > parts.log.head().sequence ? 0 : body.applied;
      const report = { ...body, applied };
      // The next report says it again.
      parts.database.relaxed(() => {
        const before = parts.nodes.report(node, report, address);
        parts.purges.reported(node, before, report);
        parts.rollouts.reported(node, report);
        parts.watch.reported(node, report);
      });
      parts.rollouts.wake();
      parts.orphans.reported(node, report);
      const asks = parts.orphans.asksFor(node);
      return {
        value: { drained: parts.nodes.isDrained(node), ...(asks.length === 0 ? {} : { asks }) },
      };
    },
  }),
];

function idOf(value: unknown): string {
  return typeof value === "object" && value !== null && "id" in value ? String(value.id) : "";
}

interface WaitQuery {
  readonly wait?: "applied" | "counted" | undefined;
  readonly seconds?: number | undefined;
}

/** Waits for a purge as the query says. */
async function waitForPurge(parts: ControlParts, id: string, query: WaitQuery, signal: AbortSignal) {
  if (query.wait === undefined) return parts.purges.get(id);
  return await parts.purges.wait(id, query.wait, (query.seconds ?? WAIT_SECONDS_DEFAULT) * 1_000, signal);
}

/** All purges of one call of a vendor's API; each must be of a site of the caller's. */
async function showBatch(
  parts: ControlParts,
  batch: Batch,
  caller: Caller,
  query: WaitQuery,
  signal: AbortSignal,
): Promise<Reply> {
  for (const id of batch.purges) caller.mustReach(parts.purges.get(id).site);
  const ms = (query.seconds ?? WAIT_SECONDS_DEFAULT) * 1_000;
  const value =
    query.wait === undefined
      ? parts.batches.view(batch)
      : await parts.batches.wait(batch, query.wait, ms, signal);
  if (value === null) throw new Refused(404, "there is no purge with this id (any more)");
  return { value };
}

function setDrained({ parts, params }: Call<unknown, unknown>, drained: boolean) {
  const node = parts.nodes.setDrained(parts.nodes.get(params.node ?? "").id, drained);
  // A node hears of it with the answer to its poll.
  setImmediate(() => parts.log.wakeAll());
  return { value: node, audit: { target: node.name, detail: node.id } };
}
