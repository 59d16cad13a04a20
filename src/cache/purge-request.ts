/**
 * The request for a purge, as `POST /v1/purges` of a node and of the control plane take it: read once, here,
 * into what the purge table knows. Errors say which member is wrong and what is allowed.
 */
import * as z from "zod";
import { ProximaError } from "../base/errors.ts";
import { normalPathPart } from "../http/target.ts";
import { PURGE_PATTERNS_MAX, type Purge } from "./purge-table.ts";
import { foldedTargets, TAG_CHARS_MAX } from "./tags.ts";

/** Targets of one purge. */
const PURGE_TARGETS_MAX = 10_000;
const URL_CHARS_MAX = 8_192;
/** Prefixes and patterns are held against every object that is looked at: they may cost no more than this. */
const PATTERN_CHARS_MAX = 1_024;

/** What a request is read against. */
export interface PurgeSites {
  /** Ids of the sites in force. */
  sites(): readonly string[];
  /** What a URL is purged by on a site: on a node its key without the scheme; null when the site does not serve it. */
  urlTarget(site: string, url: string): string | null;
  /** True where capitals do not count in the tags of a site. Left out: they do. */
  foldsTags?(site: string): boolean;
}

/**
 * Text that can name something stored: no field, URL or host name has control characters, and halves of
 * characters would all be the same one in the log.
 */
const nameable = (chars: number) =>
  z
    .string()
    .min(1)
    .max(chars)
    .refine((text) => !/\p{Cc}/u.test(text) && text.isWellFormed(), {
      error: "has a control character or half a character",
    });

const list = (itemChars: number, itemsMax = PURGE_TARGETS_MAX) =>
  z.array(nameable(itemChars)).min(1).max(itemsMax);

/** A host name or address, perhaps with a port. */
const HOST = /^(\[[0-9a-f:.]+\]|[^/\s:*?#@[\]]+)(?::\d+)?$/i;
/** A host, perhaps with wildcards and a port, and what follows it. */
const HOST_AND_PATH = /^(\[[0-9a-f:.]+\]|[^/\s:#@[\]]+)(?::\d+)?(\/.*)$/i;

/** The shape of the body. */
export const purgeRequestSchema = z
  .strictObject({
    site: z.string().optional(),
    scope: z.enum(["url", "prefix", "wildcard", "host", "tag", "everything"]),
    urls: list(URL_CHARS_MAX).optional(),
    prefixes: list(PATTERN_CHARS_MAX).optional(),
    patterns: list(PATTERN_CHARS_MAX, PURGE_PATTERNS_MAX).optional(),
    hosts: list(255).optional(),
    tags: list(TAG_CHARS_MAX).optional(),
    mode: z.enum(["hard", "soft"]).prefault("hard"),
    idempotencyKey: nameable(200).optional(),
  })
  .readonly();

/** The body of `POST /v1/purges`. */
export type PurgeRequest = z.input<typeof purgeRequestSchema>;

/** Which member holds the targets of a scope. */
const TARGETS_OF = {
  url: "urls",
  prefix: "prefixes",
  wildcard: "patterns",
  host: "hosts",
  tag: "tags",
} as const;

/** A request that was read. */
export interface PurgeOrder extends Pick<Purge, "site" | "scope" | "targets" | "mode"> {
  readonly idempotencyKey: string | null;
}

/** Reads a request. Throws a ProximaError "invalid_purge" that says what is wrong with it. */
export function parsePurgeRequest(body: unknown, sites: PurgeSites): PurgeOrder {
  const parsed = purgeRequestSchema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(`${issue?.path.join(".") || "the body"}: ${issue?.message ?? "not a purge"}`);
  }
  const request = parsed.data;
  const site = siteOf(request.site, sites);
  for (const [scope, member] of Object.entries(TARGETS_OF)) {
    if (scope !== request.scope && request[member] !== undefined)
      throw invalid(`${member}: not allowed with the scope "${request.scope}"`);
  }
  const { scope, mode } = request;
  const idempotencyKey = request.idempotencyKey ?? null;
  if (scope === "everything") return { site, scope, targets: [], mode, idempotencyKey };
  const member = TARGETS_OF[scope];
  const given = request[member];
  if (given === undefined) throw invalid(`${member}: missing; the scope "${scope}" needs it`);
  const targets = given.map((target, i) => {
    if (scope === "url") return urlTarget(site, target, i, sites);
    if (scope === "tag") return target;
    const named = scope === "host" ? hostTarget(target) : pathTarget(scope, target);
    if (named !== null) return named;
    const wanted =
      scope === "host"
        ? 'not a host such as "www.example.com"'
        : 'neither a path such as "/blog/" nor a host and a path such as "www.example.com/blog/"';
    throw invalid(`${member}[${i}]: "${target.slice(0, 100)}" is ${wanted}`);
  });
  const folded = scope === "tag" && sites.foldsTags?.(site) === true ? foldedTargets(targets) : targets;
  return { site, scope, targets: [...new Set(folded)], mode, idempotencyKey };
}

function urlTarget(site: string, url: string, index: number, sites: PurgeSites): string {
  const target = URL.canParse(url) ? sites.urlTarget(site, url) : null;
  if (target === null)
    throw invalid(`urls[${index}]: "${url.slice(0, 200)}" is not an absolute URL that site ${site} serves`);
  return target;
}

function siteOf(named: string | undefined, sites: PurgeSites): string {
  const known = sites.sites();
  if (named !== undefined) {
    if (known.includes(named)) return named;
    throw invalid(`site: there is no site "${named.slice(0, 100)}"`);
  }
  if (known.length === 1) return known[0] as string;
  throw invalid(`site: missing; there are ${known.length} sites`);
}

/** A host as the table knows it: without its port, in small letters. */
function hostTarget(target: string): string | null {
  return HOST.exec(target)?.[1]?.toLowerCase() ?? null;
}

/** A prefix or pattern with its host, if it has one, as the table knows it. */
function pathTarget(scope: "prefix" | "wildcard", target: string): string | null {
  // A whole dot segment would never match: no stored path has one.
  if (/\/\.\.?\//.test(target)) return null;
  if (target.startsWith("/")) return normalPathPart(target);
  // "*Old/x" may be a path, in which capitals count. Nothing begins with a literal star.
  if (target.startsWith("*")) return scope === "wildcard" ? normalPathPart(target) : null;
  const [, host, path] = HOST_AND_PATH.exec(target) ?? [];
  const normal = path === undefined ? null : normalPathPart(path);
  return host === undefined || normal === null ? null : host.toLowerCase() + normal;
}

function invalid(message: string): ProximaError {
  return new ProximaError("invalid_purge", message, { source: "viewer" });
}
