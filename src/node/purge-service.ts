/**
 * Purges of a node without a fleet: a request is checked, logged durably, applied everywhere on the node,
 * and only then acknowledged; the sweep behind it counts what it hit.
 */
import * as z from "zod";
import type { Clock } from "../base/clock.ts";
import { ProximaError } from "../base/errors.ts";
import { PURGE_MARKS_MAX, PURGE_PATTERNS_MAX, type Purge } from "../cache/purge-table.ts";
import { TAG_CHARS_MAX } from "../cache/tags.ts";
import { normalPathPart } from "../http/target.ts";
import type { LoggedPurge, PurgeLog } from "./purge-log.ts";

/** Targets of one purge. */
export const PURGE_TARGETS_MAX = 10_000;
const URL_CHARS_MAX = 8_192;
/** Prefixes and patterns are held against every object that is looked at: they may cost no more than this. */
const PATTERN_CHARS_MAX = 1_024;
const LIST_MAX = 1_000;

/** What has not been swept everywhere yet: targets of all sites, and patterns of one. */
export interface PurgesInForce {
  readonly marks: number;
  readonly patterns: number;
}

/** What the service needs of the data plane. */
export interface PurgeTarget {
  /** Ids of the sites in force. */
  sites(): readonly string[];
  /** What a URL is purged by on a site: its key without the scheme; null when the site does not serve it. */
  urlTarget(site: string, url: string): string | null;
  /** Applies an entry: `applied` when nothing older is served any more, `counted` with the objects it hit. */
  purge(purge: Purge): { readonly applied: Promise<void>; readonly counted: Promise<number> };
  /** The most that any part of the data plane still holds objects against. */
  purgesInForce(site: string): PurgesInForce | Promise<PurgesInForce>;
  /** Objects that an entry from before the start hit, once the sweep has passed; 0 when nothing outlived the start. */
  counted(sequence: number): Promise<number>;
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

const requestSchema = z
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
export type PurgeRequest = z.input<typeof requestSchema>;

/** Which member holds the targets of a scope. */
const TARGETS_OF = {
  url: "urls",
  prefix: "prefixes",
  wildcard: "patterns",
  host: "hosts",
  tag: "tags",
} as const;

/** A purge as one asks for it. */
export interface PurgeReport {
  readonly id: string;
  readonly sequence: number;
  readonly site: string;
  readonly scope: Purge["scope"];
  readonly mode: Purge["mode"];
  /** The first targets, and how many there are. */
  readonly targets: readonly string[];
  readonly targetCount: number;
  readonly acceptedAt: string;
  readonly state: "applied" | "counted";
  /** Objects it hit; null until the sweep has ended. */
  readonly counted: number | null;
}

const TARGETS_SHOWN_MAX = 20;

/** Takes purges, and tells of them. */
export class PurgeService {
  readonly #log: PurgeLog;
  readonly #target: PurgeTarget;
  readonly #clock: Clock;
  /** Purges are applied in the order of the log. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #counting = new Map<number, Promise<void>>();

  /** What was not counted before the last end is counted now: the edge has applied it again to what outlived the start. */
  constructor(log: PurgeLog, target: PurgeTarget, clock: Clock) {
    this.#log = log;
    this.#target = target;
    this.#clock = clock;
    for (const { sequence } of [...log.unswept()]) this.#count(sequence, target.counted(sequence));
  }

  /**
   * Logs and applies a purge. Rejects with a ProximaError (source viewer) that says what is wrong with the
   * request, or with "purges_full": nothing was done then, and it may be tried again soon.
   */
  async create(body: unknown): Promise<{ readonly report: PurgeReport; readonly isNew: boolean }> {
    const request = this.#parse(body);
    const applied = this.#last.then(async () => {
      if (request.idempotencyKey === null || !this.#log.hasKey(request.idempotencyKey))
        await this.#needRoom(request);
      const { entry, isNew } = this.#log.append(
        {
          site: request.site,
          scope: request.scope,
          targets: request.targets,
          mode: request.mode,
          acceptedMs: this.#clock.now(),
        },
        request.idempotencyKey,
      );
      if (isNew) await this.#apply(entry);
      return { report: reportOf(entry), isNew };
    });
    this.#last = applied.catch(() => undefined);
    return await applied;
  }

  get(id: string): PurgeReport | null {
    const entry = this.#log.get(id);
    return entry === null ? null : reportOf(entry);
  }

  /** Resolves with the report when the sweep has counted; null for an id that is not known. */
  async counted(id: string): Promise<PurgeReport | null> {
    const entry = this.#log.get(id);
    if (entry === null) return null;
    await this.#counting.get(entry.sequence);
    return this.get(id);
  }

  /** The newest purges first; `before` is a sequence. */
  list(limit: number, before?: number): PurgeReport[] {
    return this.#log.list(Math.min(limit, LIST_MAX), before).map(reportOf);
  }

  /**
   * The tables have limits, beyond which a purge would take everything of its site: it is better refused
   * than an origin asked for all of it.
   */
  async #needRoom({ site, scope, targets }: Pick<Purge, "site" | "scope" | "targets">): Promise<void> {
    if (targets.length === 0) return;
    const { marks, patterns } = await this.#target.purgesInForce(site);
    const full = (what: string, inForce: number, allowed: number): ProximaError =>
      new ProximaError(
        "purges_full",
        `${inForce} ${what} are in force and ${targets.length} more would be too many, allowed are ${allowed}; try again when they have been swept, or purge everything`,
        { source: "node" },
      );
    if (scope === "wildcard" && patterns + targets.length > PURGE_PATTERNS_MAX)
      throw full(`patterns of site ${site}`, patterns, PURGE_PATTERNS_MAX);
    if (marks + targets.length > PURGE_MARKS_MAX) throw full("targets", marks, PURGE_MARKS_MAX);
  }

  async #apply(entry: LoggedPurge): Promise<void> {
    const { applied, counted } = this.#target.purge(entry);
    this.#count(entry.sequence, counted);
    await applied;
  }

  #count(sequence: number, counted: Promise<number>): void {
    const counting = counted
      .then((objects) => this.#log.setCounted(sequence, objects))
      .catch(() => undefined)
      .finally(() => this.#counting.delete(sequence));
    this.#counting.set(sequence, counting);
  }

  #parse(body: unknown): {
    site: string;
    scope: Purge["scope"];
    targets: string[];
    mode: Purge["mode"];
    idempotencyKey: string | null;
  } {
    const parsed = requestSchema.safeParse(body);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw invalid(`${issue?.path.join(".") || "the body"}: ${issue?.message ?? "not a purge"}`);
    }
    const request = parsed.data;
    const site = this.#siteOf(request.site);
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
      if (scope === "url") return this.#urlTarget(site, target, i);
      if (scope === "tag") return target;
      const named = scope === "host" ? hostTarget(target) : pathTarget(scope, target);
      if (named !== null) return named;
      const wanted =
        scope === "host"
          ? 'not a host such as "www.example.com"'
          : 'neither a path such as "/blog/" nor a host and a path such as "www.example.com/blog/"';
      throw invalid(`${member}[${i}]: "${target.slice(0, 100)}" is ${wanted}`);
    });
    return { site, scope, targets: [...new Set(targets)], mode, idempotencyKey };
  }

  #urlTarget(site: string, url: string, index: number): string {
    const target = URL.canParse(url) ? this.#target.urlTarget(site, url) : null;
    if (target === null)
      throw invalid(`urls[${index}]: "${url.slice(0, 200)}" is not an absolute URL that site ${site} serves`);
    return target;
  }

  #siteOf(named: string | undefined): string {
    const sites = this.#target.sites();
    if (named !== undefined) {
      if (sites.includes(named)) return named;
      throw invalid(`site: there is no site "${named.slice(0, 100)}"`);
    }
    if (sites.length === 1) return sites[0] as string;
    throw invalid(`site: missing; this node has ${sites.length} sites`);
  }
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

function reportOf(entry: LoggedPurge): PurgeReport {
  return {
    id: entry.id,
    sequence: entry.sequence,
    site: entry.site,
    scope: entry.scope,
    mode: entry.mode,
    targets: entry.targets.slice(0, TARGETS_SHOWN_MAX),
    targetCount: entry.targets.length,
    acceptedAt: new Date(entry.acceptedMs).toISOString(),
    state: entry.counted === null ? "applied" : "counted",
    counted: entry.counted,
  };
}

function invalid(message: string): ProximaError {
  return new ProximaError("invalid_purge", message, { source: "viewer" });
}
