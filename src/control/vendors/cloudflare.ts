/**
 * Cloudflare's API v4: purge_cache, invalidate_cache (soft), both of an environment too, and what clients ask
 * before: zones and the token. A zone is a site; its id is 32 hex digits made of the site's.
 */
import * as z from "zod";
import { Refused } from "../refusal.ts";
import { siteIds } from "./site-ids.ts";
import {
  jsonAnswer,
  type KnownSite,
  type Operation,
  SECRET_CHARS_MAX,
  stepsOf,
  type Target,
  type Vendor,
  type VendorAnswer,
  type VendorRequest,
} from "./vendor.ts";

const BASE = "/client/v4";
/** Targets of one request; Cloudflare takes 100, of an enterprise 500. */
const ITEMS_MAX = 10_000;
const BODY_BYTES_MAX = 8 * 1024 * 1024;
/** Zones in a page: unless asked for otherwise, and at most. */
const PAGE_DEFAULT = 20;
const PAGE_MAX = 50;

/** Codes of errors: those of Cloudflare where it has one for the matter. */
const CODES: Readonly<Record<number, number>> = {
  400: 1012,
  401: 10_000,
  403: 10_000,
  404: 7003,
  405: 10_405,
  409: 1_409,
  413: 10_413,
  429: 10_429,
};

// An empty text is a variable that nobody has set; as a prefix it would be everything.
const texts = z.array(z.string().min(1)).min(1).max(ITEMS_MAX);
const purgeBody = z.strictObject({
  files: z
    .array(
      z.union([
        z.string(),
        // Which variant is meant is said by fields; every variant of the URL goes.
        z.object({ url: z.string(), headers: z.record(z.string(), z.string()).optional() }),
      ]),
    )
    .min(1)
    .max(ITEMS_MAX)
    .optional(),
  tags: texts.optional(),
  hosts: texts.optional(),
  prefixes: texts.optional(),
  purge_everything: z.literal(true).optional(),
});

/** Cloudflare. */
export const cloudflare: Vendor = {
  name: "cloudflare",
  hosts: ["api.cloudflare.com"],
  bodyBytesMax: BODY_BYTES_MAX,
  bodyKind: "json",
  owns: (path) => path === BASE || path.startsWith(`${BASE}/`),
  credential: {
    kind: "secret",
    where: "Authorization: Bearer, or X-Auth-Email and X-Auth-Key",
    read(fields) {
      const bearer = /^bearer +(\S+)$/i.exec(
        (fields.get("authorization") ?? "").slice(0, SECRET_CHARS_MAX),
      )?.[1];
      if (bearer !== undefined) return bearer;
      const key = fields.get("x-auth-key");
      return key === null || fields.get("x-auth-email") === null ? null : key.slice(0, SECRET_CHARS_MAX);
    },
  },
  newId: (random) => random(16).toString("hex"),
  read,
  refusal({ status, message, fields }): VendorAnswer {
    // Cloudflare has no 401: a token that is not good is 403 (clients look for the code).
    const shown = status === 401 ? 403 : status;
    const { "www-authenticate": _, ...others } = fields;
    return jsonAnswer(
      shown,
      { success: false, errors: [{ code: CODES[status] ?? 10_001, message }], messages: [], result: null },
      others,
    );
  },
};

function read(request: VendorRequest): Operation | null {
  const steps = stepsOf(request.path.slice(BASE.length));
  if (steps === null) return null;
  const { method } = request;
  if (steps[0] === "zones") {
    const [, zone, ...rest] = steps;
    if (zone === undefined || zone === "") return method === "GET" ? readList(request) : null;
    if (rest.length === 0 && method === "GET")
      return { kind: "site-show", id: zone, answer: (site) => ok(zoneOf(site)) };
    if (method !== "POST") return null;
    const [what] = rest[0] === "environments" && rest[1] ? rest.slice(2) : rest;
    const isLast = rest.length === (rest[0] === "environments" ? 3 : 1);
    if (isLast && (what === "purge_cache" || what === "invalidate_cache"))
      return readPurge(zone, request.json, what === "invalidate_cache");
    return null;
  }
  if (steps.join("/") === "user/tokens/verify" && method === "GET")
    return {
      kind: "caller",
      answer: (id) =>
        ok({ id: siteIds(id).cloudflare, status: "active" }, [
          { code: 10_000, message: "This API Token is valid and active", type: null },
        ]),
    };
  return null;
}

function readPurge(zone: string, json: unknown, soft: boolean): Operation {
  const parsed = purgeBody.safeParse(json ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Refused(400, `${issue?.path.join(".") || "the body"}: ${issue?.message ?? "not a purge"}`);
  }
  const { files, tags, hosts, prefixes, purge_everything: everything } = parsed.data;
  const targets: Target[] = [];
  if (files !== undefined)
    targets.push({ scope: "url", urls: files.map((file) => (typeof file === "string" ? file : file.url)) });
  if (tags !== undefined) targets.push({ scope: "tag", tags });
  if (hosts !== undefined) targets.push({ scope: "host", hosts });
  if (prefixes !== undefined) targets.push({ scope: "prefix", prefixes: prefixes.map(asPrefix) });
  if (everything !== undefined) targets.push({ scope: "everything" });
  if (targets.length !== 1)
    throw new Refused(
      400,
      "the body holds exactly one of files, tags, hosts, prefixes and purge_everything (true)",
    );
  const variants = files?.some((file) => typeof file !== "string" && file.headers !== undefined) === true;
  return {
    kind: "purge",
    site: { by: "id", id: zone },
    mode: soft ? "soft" : "hard",
    targets,
    patience: "applied",
    answer: ({ id }) =>
      ok(
        { id },
        variants
          ? [{ code: 1000, message: "every variant of these URLs was purged, whatever the headers say" }]
          : [],
      ),
  };
}

/** A prefix is a host and a path; a host alone is all of it. */
function asPrefix(text: string): string {
  return text.includes("/") ? text : `${text}/`;
}

function readList({ query }: VendorRequest): Operation {
  const number = (name: string, usual: number, most: number) => {
    const text = query.get(name);
    if (text === null) return usual;
    const value = /^\d{1,6}$/.test(text) ? Number(text) : 0;
    if (value < 1 || value > most) throw new Refused(400, `${name}: a whole number from 1 to ${most}`);
    return value;
  };
  const page = number("page", 1, 100_000);
  const perPage = number("per_page", PAGE_DEFAULT, PAGE_MAX);
  const name = query.get("name")?.toLowerCase() ?? null;
  return {
    kind: "site-list",
    answer(sites) {
      const zones = sites
        .filter(({ id, hosts }) => name === null || id === name || hosts.includes(name))
        .map((site) => (name === null ? zoneOf(site) : { ...zoneOf(site), name }));
      const result = zones.slice((page - 1) * perPage, page * perPage);
      return ok(result, [], {
        result_info: {
          page,
          per_page: perPage,
          count: result.length,
          total_count: zones.length,
          total_pages: Math.ceil(zones.length / perPage),
        },
      });
    },
  };
}

function zoneOf({ id, hosts }: KnownSite) {
  return {
    id: siteIds(id).cloudflare,
    name: hosts.find((host) => !host.includes("*")) ?? id,
    status: "active",
    paused: false,
    type: "full",
    development_mode: 0,
  };
}

function ok(
  result: unknown,
  messages: readonly unknown[] = [],
  more: Readonly<Record<string, unknown>> = {},
): VendorAnswer {
  return jsonAnswer(200, { success: true, errors: [], messages, result, ...more });
}
