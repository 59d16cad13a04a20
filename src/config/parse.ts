/**
 * Parses a config value: the node's own part, then site by site, then what spans sites. It is
 * written as steps so that 10,000 sites can be read between requests, and it remembers sites by
 * their text, so that an unchanged site stays the same object from one config to the next.
 */
import { checkSecrets } from "./bucket-checks.ts";
import { checkHosts, checkNode, checkPermitted, checkReserved, checkShields, checkSite } from "./checks.ts";
import type { LoadResult } from "./config-reader.ts";
import { errorAt, type Finding, findingsOf, isRecord, warningAt } from "./issues.ts";
import { resolveNodePaths, resolveSitePaths } from "./paths.ts";
import { describeValue, fileProblem, type Locate, PROBLEMS_MAX, problemAt } from "./problems.ts";
import { type Config, configSchema, type NodeConfig, nodeSchema, type SiteConfig } from "./schema.ts";
import { siteSchema } from "./site-schema.ts";
import { siteId } from "./values.ts";

/** What parsing came to, before its findings have places. */
export interface Parsed {
  /** Null when a finding is an error. */
  readonly config: Config | null;
  readonly findings: readonly Finding[];
}

/** A site as last parsed, by the text it was parsed from. */
export interface RememberedSite {
  readonly text: string;
  readonly site: SiteConfig | null;
  readonly findings: readonly Finding[];
}

/** Sites of the config before; filled by parsing, given to the next parsing. */
export type SiteMemory = Map<string, RememberedSite>;

/** More sites than this in one file are refused. */
export const SITES_MAX = 100_000;

/**
 * Parses `value` at once. Never throws. Relative paths stay as they are; `locate` finds places in
 * the text that the value was read from.
 */
export function parseConfig(value: unknown, locate?: Locate): LoadResult {
  const steps = parseSteps(value, {});
  for (;;) {
    const step = steps.next();
    if (step.done === true) return loadResult(step.value, locate);
  }
}

/** The result with every finding at its place, errors first; at most PROBLEMS_MAX of them. */
export function loadResult(parsed: Parsed, locate?: Locate): LoadResult {
  const listed = listedFindings(parsed.findings);
  const problems = listed.map((finding) =>
    problemAt(finding.path, finding.message, { severity: finding.severity, locate, part: finding.part }),
  );
  if (parsed.config !== null) return { ok: true, config: parsed.config, warnings: problems };
  const more = parsed.findings.length - listed.length;
  return {
    ok: false,
    problems: more > 0 ? [...problems, fileProblem(`and ${more} more problems`)] : problems,
  };
}

/** The findings that are told, errors first. */
export function listedFindings(findings: readonly Finding[]): Finding[] {
  const errors = findings.filter((finding) => finding.severity === "error");
  const warnings = findings.filter((finding) => finding.severity === "warning");
  return [...errors, ...warnings].slice(0, PROBLEMS_MAX);
}

/**
 * The steps of parsing: whoever runs them may do other work between two. `folder` makes relative
 * paths absolute; `memory` holds the sites of the config before, and those of this one afterwards. `forFleet`:
 * the sites are not for the node of this file; each node of the fleet holds them against its own part.
 */
export function* parseSteps(
  value: unknown,
  options: { folder?: string; memory?: SiteMemory; forFleet?: boolean },
): Generator<void, Parsed> {
  if (!isRecord(value)) {
    return refused([errorAt([], `the config must be an object with "sites"; got ${describeValue(value)}`)]);
  }
  const findings: Finding[] = [];
  const node = parseNode(value, options.folder, findings);
  const sites: Record<string, SiteConfig> = {};
  const remembered: SiteMemory = new Map();
  const rawSites = Object.hasOwn(value, "sites") && isRecord(value.sites) ? value.sites : {};
  const ids = Object.keys(rawSites);
  if (ids.length > SITES_MAX) {
    return refused([errorAt(["sites"], `holds ${ids.length} sites; at most ${SITES_MAX} are allowed`)]);
  }
  if (node?.join !== undefined && ids.length > 0) {
    findings.push(errorAt(["sites"], "must be empty: with join, sites come from the control plane"));
  }
  if (ids.length === 0 && findings.length === 0 && node?.join === undefined) {
    findings.push(warningAt(["sites"], "is empty: every request is answered 404"));
  }
  for (const id of ids) {
    yield;
    const one = parseSite(id, rawSites[id], options.folder, options.memory?.get(id));
    if (one.text !== "") remembered.set(id, one);
    if (one.site !== null) sites[id] = one.site;
    for (const finding of one.findings) findings.push({ ...finding, path: ["sites", id, ...finding.path] });
  }
  yield;
  findings.push(...checkHosts(sites));
  if (options.memory !== undefined) {
    options.memory.clear();
    for (const [id, one] of remembered) options.memory.set(id, one);
  }
  if (node === null) return refused(findings);
  findings.push(...checkNode(node), ...(options.forFleet === true ? [] : checkOnNode(node, sites)));
  if (findings.some((finding) => finding.severity === "error")) return refused(findings);
  return { config: { ...node, sites }, findings };
}

/** What is wrong with sites on this node, though each may be right by itself. */
export function checkOnNode(node: NodeConfig, sites: Config["sites"]): Finding[] {
  return [
    ...checkPermitted(node, sites),
    ...checkReserved(node, sites),
    ...checkShields(node, sites),
    ...checkSecrets(node, sites),
  ];
}

function refused(findings: readonly Finding[]): Parsed {
  return { config: null, findings };
}

function parseNode(
  value: Record<string, unknown>,
  folder: string | undefined,
  findings: Finding[],
): NodeConfig | null {
  const result = nodeSchema.safeParse(value);
  if (!result.success) {
    findings.push(...findingsOf(result.error.issues, configSchema, value, []));
    return null;
  }
  const { sites: _sites, $schema: _schema, ...node } = result.data;
  // An object larger than the whole cache can never be kept.
  const cache = { ...node.cache, objectMax: Math.min(node.cache.objectMax, node.cache.memory) };
  const whole: NodeConfig = { ...node, cache };
  return folder === undefined ? whole : resolveNodePaths(whole, folder);
}

/**
 * Parses one site by itself; paths of its findings begin at the site. `before` is what it was parsed to last:
 * the same text is the same object.
 */
export function parseSite(
  id: string,
  raw: unknown,
  folder: string | undefined,
  before: RememberedSite | undefined,
): RememberedSite {
  const text = textOf(raw);
  if (before !== undefined && text !== "" && before.text === text) return before;
  const key = siteId.safeParse(id);
  if (!key.success) {
    const findings = findingsOf(
      [{ code: "invalid_key", origin: "record", issues: [], path: ["sites", id], message: "", input: raw }],
      configSchema,
      {},
      [],
    );
    return { text, site: null, findings: findings.map((finding) => ({ ...finding, path: [] })) };
  }
  const result = siteSchema.safeParse(raw);
  if (!result.success) {
    return { text, site: null, findings: findingsOf(result.error.issues, siteSchema, raw, []) };
  }
  const site: SiteConfig = folder === undefined ? result.data : resolveSitePaths(result.data, folder);
  return { text, site, findings: checkSite(site) };
}

/** What an unchanged site is known by; empty for values that no file can hold (cycles, big integers). */
function textOf(raw: unknown): string {
  try {
    return JSON.stringify(raw) ?? "";
  } catch {
    return "";
  }
}
