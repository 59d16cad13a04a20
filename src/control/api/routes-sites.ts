/** Routes of sites, versions and snapshots; config as code. */
import { applyDeployment, type DeployRights, type PlannedChange, planDeployment } from "../deployment.ts";
import { differencesOf } from "../diff.ts";
import { DEPLOY_BODY_BYTES_MAX, SURVEY_SECONDS_MAX, SURVEYED_SITES_MAX } from "../limits.ts";
import { Refused } from "../refusal.ts";
import type { Sites, SiteView } from "../sites.ts";
import { define, PAGE_LIMIT, page } from "./define.ts";
import type { Call, Caller, Route } from "./route.ts";
import * as s from "./schemas.ts";

/** The routes. */
export const siteRoutes: readonly Route[] = [
  define({
    method: "GET",
    path: "/v1/sites",
    group: "Sites",
    summary: "Lists sites by id.",
    access: ["read"],
    query: s.afterQuery,
    answer: s.pageOf(s.site),
    run: ({ parts, caller, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const items = parts.sites.list(limit, query.after ?? "", caller.sites);
      return { value: page("/v1/sites", items, limit, ({ id }) => ({ after: id })) };
    },
  }),
  define({
    method: "POST",
    path: "/v1/sites",
    group: "Sites",
    summary: "Makes a site; a config that comes with it is its draft.",
    access: ["deploy"],
    action: "site.create",
    body: s.siteRequest,
    answer: s.draftAnswer,
    status: 201,
    run: ({ parts, caller, body }) => {
      caller.mustReach(body.id);
      const made = parts.sites.create(body.id, caller.actor.id);
      const { site, problems } =
        body.config === undefined ? { site: made, problems: [] } : parts.sites.setDraft(body.id, body.config);
      return siteReply(site, { site, problems }, { location: `/v1/sites/${body.id}` });
    },
  }),
  define({
    method: "GET",
    path: "/v1/sites/{site}",
    group: "Sites",
    summary: "Shows a site.",
    access: ["read"],
    answer: s.site,
    run: (call) => {
      const site = call.parts.sites.get(siteOf(call));
      return siteReply(site, site);
    },
  }),
  define({
    method: "DELETE",
    path: "/v1/sites/{site}",
    group: "Sites",
    summary: "Ends a site. Its id is never used again. If-Match makes it conditional.",
    access: ["deploy"],
    action: "site.delete",
    status: 204,
    run: (call) => {
      const id = siteOf(call);
      mustMatch(call, call.parts.sites);
      call.parts.sites.delete(id, call.caller.actor.id);
      return { audit: { target: id } };
    },
  }),
  define({
    method: "GET",
    path: "/v1/sites/{site}/draft",
    group: "Sites",
    summary: "Shows the draft.",
    access: ["read"],
    run: (call) => ({ value: call.parts.sites.draft(siteOf(call)) }),
  }),
  define({
    method: "PUT",
    path: "/v1/sites/{site}/draft",
    group: "Sites",
    summary:
      "Takes a draft, which may be anything, and says what is wrong with it. If-Match makes it conditional.",
    access: ["deploy"],
    action: "site.draft",
    body: s.anySite,
    answer: s.draftAnswer,
    run: (call) => {
      const id = siteOf(call);
      mustMatch(call, call.parts.sites);
      const { site, problems } = call.parts.sites.setDraft(id, call.body);
      return siteReply(site, { site, problems });
    },
  }),
  define({
    method: "GET",
    path: "/v1/sites/{site}/versions",
    group: "Sites",
    summary: "Lists versions, the newest first.",
    access: ["read"],
    query: s.beforeQuery,
    answer: s.pageOf(s.version),
    run: (call) => {
      const id = siteOf(call);
      const limit = call.query.limit ?? PAGE_LIMIT;
      const items = call.parts.sites.versions(id, limit, call.query.before ?? Number.MAX_SAFE_INTEGER);
      return { value: page(`/v1/sites/${id}/versions`, items, limit, ({ number }) => ({ before: number })) };
    },
  }),
  define({
    method: "POST",
    path: "/v1/sites/{site}/versions",
    group: "Sites",
    summary: "Makes a version of the draft or of the config given. It must be valid, and never changes.",
    access: ["deploy"],
    action: "version.create",
    body: s.versionRequest,
    answer: s.versionAnswer,
    status: 201,
    run: (call) => {
      const id = siteOf(call);
      mustMatch(call, call.parts.sites);
      const { config, note } = call.body;
      const { version, warnings, isNew } = call.parts.sites.createVersion(
        id,
        config,
        note ?? "",
        call.caller.actor.id,
      );
      return {
        status: isNew ? 201 : 200,
        value: { version, warnings },
        fields: { location: `/v1/sites/${id}/versions/${version.number}` },
        audit: { target: id, detail: `version ${version.number}` },
      };
    },
  }),
  define({
    method: "GET",
    path: "/v1/sites/{site}/versions/{version}",
    group: "Sites",
    summary: "Shows a version with its config.",
    access: ["read"],
    run: (call) => {
      const id = siteOf(call);
      const number = versionOf(call.params.version ?? "");
      const version = call.parts.sites.version(id, number);
      return {
        value: { ...version, config: call.parts.sites.config(id, number) },
        fields: { etag: `"${version.hash}"` },
      };
    },
  }),
  define({
    method: "GET",
    path: "/v1/sites/{site}/diff",
    group: "Sites",
    summary: "Compares two versions; left out, the active one with the draft.",
    access: ["read"],
    query: s.diffQuery,
    answer: s.diffAnswer,
    run: (call) => {
      const id = siteOf(call);
      const { from = "active", to = "draft" } = call.query;
      const { differences, more } = differencesOf(
        configOf(call.parts.sites, id, from),
        configOf(call.parts.sites, id, to),
      );
      return { value: { from, to, differences, more } };
    },
  }),
  define({
    method: "POST",
    path: "/v1/sites/{site}/activate",
    group: "Sites",
    summary: "Puts a version in force on every node, as a new snapshot. If-Match makes it conditional.",
    access: ["deploy"],
    action: "site.activate",
    body: s.activateRequest,
    answer: s.activateAnswer,
    run: (call) => {
      const id = siteOf(call);
      mustMatch(call, call.parts.sites);
      const { version, rollout } = call.body;
      const { sites, rollouts } = call.parts;
      call.caller.mustClaim(id, sites.hosts(id, version), sites.get(id).hosts);
      if (rollout === undefined) return activated(call, version);
      const made = rollouts.start(new Map([[id, version]]), rollout, call.caller.actor.id);
      const site = sites.get(id);
      return {
        ...siteReply(site, { site, snapshot: null, rollout: made }, { location: `/v1/rollouts/${made.id}` }),
        audit: { target: id, detail: `version ${version}, ${made.id} (${made.stages.join(", ")})` },
      };
    },
  }),
  define({
    method: "POST",
    path: "/v1/sites/{site}/rollback",
    group: "Sites",
    summary: "Puts the version in force that was before. If-Match makes it conditional.",
    access: ["deploy"],
    action: "site.rollback",
    body: s.emptyRequest,
    answer: s.activateAnswer,
    run: (call) => {
      const id = siteOf(call);
      mustMatch(call, call.parts.sites);
      return activated(call, call.parts.sites.previousVersion(id));
    },
  }),
  define({
    method: "POST",
    path: "/v1/plan",
    group: "Config as code",
    summary: "Says what an application would do, and does nothing.",
    access: ["read", "deploy"],
    body: s.planRequest,
    bodyBytesMax: DEPLOY_BODY_BYTES_MAX,
    answer: s.plan,
    run: async ({ parts, caller, body, signal }) => {
      mustBeAllForPrune(caller.sites, body.prune);
      const plan = planDeployment(parts.sites, body, rightsOf(caller, parts.sites));
      if (body.orphans !== true) return { value: plan };
      const changed = plan.changes.filter(mayLoseKeys).slice(0, SURVEYED_SITES_MAX);
      const configs = new Map(changed.map(({ site }) => [site, body.sites[site]]));
      const orphans = await parts.orphans.survey(configs, SURVEY_SECONDS_MAX * 1_000, signal);
      return { value: { ...plan, orphans } };
    },
  }),
  define({
    method: "POST",
    path: "/v1/apply",
    group: "Config as code",
    summary: "Makes versions of what is different and puts all of them in force in one snapshot, or nothing.",
    access: ["deploy"],
    action: "apply",
    body: s.deployRequest,
    bodyBytesMax: DEPLOY_BODY_BYTES_MAX,
    answer: s.applyAnswer,
    run: ({ parts, caller, body }) => {
      mustBeAllForPrune(caller.sites, body.prune);
      const done = applyDeployment(parts, body, rightsOf(caller, parts.sites), caller.actor.id);
      const changed = done.plan.changes.filter(({ action }) => action !== "none");
      return {
        value: done,
        audit: {
          target: changed.map(({ site }) => site).join(" "),
          detail: `${done.rollout === null ? `snapshot ${done.snapshot?.number ?? "unchanged"}` : done.rollout.id}: ${changed.map(({ site, action }) => `${action} ${site}`).join(", ")}`,
        },
      };
    },
  }),
  define({
    method: "GET",
    path: "/v1/snapshots",
    group: "Snapshots",
    summary: "Lists snapshots, the newest first.",
    access: ["read"],
    fleetWide: true,
    query: s.beforeQuery,
    answer: s.pageOf(s.snapshot),
    run: ({ parts, query }) => {
      const limit = query.limit ?? PAGE_LIMIT;
      const items = parts.sites.snapshots(limit, query.before ?? Number.MAX_SAFE_INTEGER);
      return { value: page("/v1/snapshots", items, limit, ({ number }) => ({ before: number })) };
    },
  }),
  define({
    method: "GET",
    path: "/v1/snapshots/{number}",
    group: "Snapshots",
    summary: "A snapshot with the configs of its sites: what nodes get.",
    access: ["read", "node"],
    fleetWide: true,
    run: ({ parts, params, fields }) => {
      const number = versionOf(params.number ?? "");
      const etag = `"${number}-${parts.sites.snapshot(number).hash}"`;
      if (fields.get("if-none-match") === etag) return { status: 304, fields: { etag } };
      return { text: parts.sites.snapshotText(number), fields: { etag } };
    },
  }),
];

/** The site of the path, if the caller has a say over it. */
function siteOf(call: Call<unknown, unknown>): string {
  const site = call.params.site ?? "";
  call.caller.mustReach(site);
  return site;
}

function versionOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new Refused(404, "a version is a whole number");
  return Number(text);
}

function configOf(sites: Sites, id: string, which: string): unknown {
  if (which === "draft") return sites.draft(id);
  if (which === "none") return {};
  if (which !== "active") return sites.config(id, versionOf(which));
  const { activeVersion } = sites.get(id);
  return activeVersion === null ? {} : sites.config(id, activeVersion);
}

function etagOf(site: SiteView): string {
  return `"${site.revision}"`;
}

function siteReply(site: SiteView, value: unknown, fields: Record<string, string> = {}) {
  return { value, fields: { etag: etagOf(site), ...fields }, audit: { target: site.id } };
}

/** If-Match (RFC 9110 section 13.1.1): the change is of the site as its author saw it, or it is not made. */
function mustMatch(call: Call<unknown, unknown>, sites: Sites): void {
  const wanted = call.fields.get("if-match");
  if (wanted === null || wanted.trim() === "*") return;
  const etag = etagOf(sites.get(call.params.site ?? ""));
  if (!wanted.split(",").some((one) => one.trim() === etag))
    throw new Refused(
      412,
      `the site is at ${etag}, not at ${wanted.slice(0, 100)}: somebody changed it meanwhile`,
    );
}

function activated(call: Call<unknown, unknown>, version: number) {
  const id = call.params.site ?? "";
  const { sites } = call.parts;
  const snapshot = sites.activate(new Map([[id, version]]), call.caller.actor.id);
  const site = sites.get(id);
  const reply = siteReply(site, { site, snapshot, rollout: null });
  const detail = `version ${version}, snapshot ${snapshot?.number ?? "unchanged"}`;
  return { ...reply, audit: { target: id, detail } };
}

/** Can a change make keys that are stored ones that nobody asks for? */
function mayLoseKeys({ action, differences, moreDifferences }: PlannedChange): boolean {
  const touched = differences.some(({ path }) => /^(?:behaviors|hosts|defaultDocument)\b/.test(path));
  return action === "update" && (touched || moreDifferences > 0);
}

function rightsOf(caller: Caller, sites: Sites): DeployRights {
  return {
    touch: (site) => caller.mustReach(site),
    claim: (site, hosts) => caller.mustClaim(site, hosts, sites.hostsOf(site)),
  };
}

function mustBeAllForPrune(sites: readonly string[] | null, prune: boolean | undefined): void {
  if (prune === true && sites !== null)
    throw new Refused(403, "prune is about all sites, and the token is for some");
}
