/** Routes of push zones and their releases; content itself comes by the door beside the API (content-door.ts). */
import { DEPLOY_BODY_BYTES_MAX } from "../limits.ts";
import { Refused } from "../refusal.ts";
import type { Activation } from "../zones/releases.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Call, Caller, Route } from "./route.ts";
import * as s from "./schemas.ts";
import * as z from "./schemas-zones.ts";

/** The routes. */
export const zoneRoutes: readonly Route[] = [
  define({
    method: "GET",
    path: "/v1/zones",
    group: "Push zones",
    summary: "Lists push zones.",
    access: ["read"],
    answer: s.pageOf(z.zone),
    run: ({ parts, caller }) => ({
      value: {
        items: parts.zones
          .names()
          .map((name) => parts.zones.view(name))
          .filter(({ site }) => reaches(caller, site)),
        next: null,
      },
    }),
  }),
  define({
    method: "POST",
    path: "/v1/zones",
    group: "Push zones",
    summary: "Makes a push zone.",
    access: ["deploy"],
    action: "zone.create",
    body: z.zoneRequest,
    answer: z.zone,
    status: 201,
    run: ({ parts, caller, body }) => {
      if (!reaches(caller, body.site ?? null))
        throw new Refused(
          403,
          `the token is for ${caller.sites?.join(", ")}: give the zone one of these sites`,
        );
      const made = parts.zones.create(body, caller.actor.id);
      return {
        status: 201,
        value: made,
        fields: { location: `/v1/zones/${made.name}` },
        audit: { target: made.name, detail: made.site === null ? "" : `of site ${made.site}` },
      };
    },
  }),
  define({
    method: "GET",
    path: "/v1/zones/{zone}",
    group: "Push zones",
    summary: "A push zone.",
    access: ["read"],
    answer: z.zone,
    run: (call) => ({ value: call.parts.zones.view(zoneOf(call).name) }),
  }),
  define({
    method: "DELETE",
    path: "/v1/zones/{zone}",
    group: "Push zones",
    summary: "Ends a push zone that no active site shows, with everything in it.",
    access: ["deploy"],
    action: "zone.delete",
    run: (call) => {
      const zone = zoneOf(call);
      call.parts.zones.end(zone.name, call.parts.sites.activeIds(), call.caller.actor.id);
      return { value: { name: zone.name }, audit: { target: zone.name } };
    },
    answer: z.endedZone,
  }),
  define({
    method: "POST",
    path: "/v1/zones/{zone}/missing",
    group: "Push zones",
    summary: "Of these SHA-256, those whose content has to be uploaded; the others stay for a day.",
    access: ["deploy"],
    body: z.hashesRequest,
    answer: z.hashesAnswer,
    run: (call) => {
      zoneOf(call);
      return { value: { missing: call.parts.zones.blobs.missing([...new Set(call.body.hashes)]) } };
    },
  }),
  define({
    method: "GET",
    path: "/v1/zones/{zone}/releases",
    group: "Push zones",
    summary: "Releases of a zone, the newest first.",
    access: ["read"],
    query: s.beforeQuery,
    answer: s.pageOf(z.release),
    run: (call) => {
      const limit = call.query.limit ?? PAGE_LIMIT;
      const zone = zoneOf(call);
      const items = call.parts.zones.releases.list(zone, limit, call.query.before ?? Number.MAX_SAFE_INTEGER);
      return {
        value: page(`/v1/zones/${zone.name}/releases`, items, limit, ({ number }) => ({ before: number })),
      };
    },
  }),
  define({
    method: "POST",
    path: "/v1/zones/{zone}/releases",
    group: "Push zones",
    summary:
      "Makes a release of content that was uploaded, and makes it current in one step unless told otherwise.",
    access: ["deploy"],
    action: "release.create",
    body: z.releaseRequest,
    bodyBytesMax: DEPLOY_BODY_BYTES_MAX,
    answer: z.activation,
    status: 201,
    run: (call) => {
      const zone = zoneOf(call);
      const { parts, body, caller } = call;
      const release = parts.zones.releases.create(zone, body.files, body.note, caller.actor.id);
      const audit = { target: `${zone.name} release ${release.number}`, detail: `${release.files} files` };
      if (!body.activate) return { status: 201, value: inactive(release), audit };
      return {
        status: 201,
        value: shown(parts.zones.releases.activate(zone, release.number, caller.actor.id)),
        audit,
      };
    },
  }),
  define({
    method: "POST",
    path: "/v1/zones/{zone}/releases/{number}/activate",
    group: "Push zones",
    summary: "Makes a release that is kept current, in one step.",
    access: ["deploy"],
    action: "release.activate",
    answer: z.activation,
    run: (call) => {
      const zone = zoneOf(call);
      const number = /^\d{1,9}$/.test(call.params.number ?? "") ? Number(call.params.number) : 0;
      return activated(zone.name, call.parts.zones.releases.activate(zone, number, call.caller.actor.id));
    },
  }),
  define({
    method: "POST",
    path: "/v1/zones/{zone}/rollback",
    group: "Push zones",
    summary: "Makes the older release current that was so before.",
    access: ["deploy"],
    action: "release.rollback",
    answer: z.activation,
    run: (call) => {
      const zone = zoneOf(call);
      const number = call.parts.zones.releases.previous(zone);
      return activated(zone.name, call.parts.zones.releases.activate(zone, number, call.caller.actor.id));
    },
  }),
];

/** The zone that the path names, if the caller has a say over it. Throws a Refused. */
function zoneOf({ parts, caller, params }: Call<unknown, unknown>) {
  const zone = parts.zones.mustGet(params.zone ?? "");
  if (!reaches(caller, zone.site))
    throw new Refused(403, `the token is for ${caller.sites?.join(", ")}, and zone "${zone.name}" is not`);
  return zone;
}

function reaches(caller: Caller, site: string | null): boolean {
  return caller.sites === null || (site !== null && caller.sites.includes(site));
}

function activated(zone: string, activation: Activation) {
  return {
    value: shown(activation),
    audit: {
      target: `${zone} release ${activation.release.number}`,
      detail: `${activation.changed.length} changed, ${activation.removed.length} removed`,
    },
  };
}

function shown({ release, changed, removed, change }: Activation): Record<string, unknown> {
  return {
    release,
    changedCount: changed.length,
    removedCount: removed.length,
    changed: changed.slice(0, z.PATHS_SHOWN_MAX),
    removed: removed.slice(0, z.PATHS_SHOWN_MAX),
    purges: change?.purges.map(({ id }) => id) ?? [],
  };
}

function inactive(release: Activation["release"]): Record<string, unknown> {
  return { release, changedCount: 0, removedCount: 0, changed: [], removed: [], purges: [] };
}
