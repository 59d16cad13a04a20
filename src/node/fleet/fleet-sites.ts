/**
 * Sites of a snapshot on this node: parsed by the same schema as a file's, held against what the node
 * permits. A site that this node may not run is left out, and told of: it must not keep the others from
 * changing.
 */

import { messageOf } from "../../base/errors.ts";
import { isBucket } from "../../config/origins.ts";
import { checkOnNode, parseSite, type SiteMemory } from "../../config/parse.ts";
import { type ConfigPath, pathText } from "../../config/problems.ts";
import type { Config, NodeConfig, SiteConfig } from "../../config/schema.ts";
import type { SnapshotAnswer } from "../../service/fleet-wire.ts";
import { permissionsOf } from "../plane.ts";
import { isFor } from "./rollout-watch.ts";

/** Longest time that parsing may hold the event loop in one go, in milliseconds. */
const SLICE_MS_MAX = 2;
/** Problems that are told of one snapshot. */
const PROBLEMS_MAX = 20;

/** What a snapshot comes to on this node. */
export interface FleetSites {
  readonly sites: Config["sites"];
  /** Why sites were left out; null when none was. */
  readonly problem: string | null;
  /** Why new versions that are rolled out to this node are not among them, by roll-out: their older ones are. */
  readonly rolloutProblems: ReadonlyMap<string, string>;
}

/**
 * Parses a snapshot's sites as they are for the node with the id `self`; sites that did not change since the
 * last call with `memory` stay the same objects.
 */
export async function fleetSites(
  snapshot: SnapshotAnswer,
  self: string,
  node: NodeConfig,
  memory: SiteMemory,
): Promise<FleetSites> {
  const problems: string[] = [];
  const rolloutProblems = new Map<string, string>();
  const candidates = new Map<string, { readonly rollout: string; readonly raw: unknown }>();
  for (const staged of snapshot.staged ?? [])
    if (isFor(staged, self))
      for (const [id, raw] of Object.entries(staged.sites))
        candidates.set(id, { rollout: staged.rollout, raw });
  const sites: Record<string, SiteConfig> = {};
  /** Those that reserve memory, which is one sum. */
  const reserving: Record<string, SiteConfig> = {};
  // One by one: what is wrong with one is its own matter.
  let sliceStart = performance.now();
  const ids = [...new Set([...Object.keys(snapshot.sites), ...candidates.keys()])].sort();
  for (const id of ids) {
    const candidate = candidates.get(id);
    const raw = Object.hasOwn(snapshot.sites, id) ? snapshot.sites[id] : undefined;
    let site = await parseOne(id, candidate === undefined ? raw : candidate.raw, { node, memory, reserving });
    if (candidate !== undefined && typeof site === "string") {
      // A new version that can not run here costs the site nothing: the older one goes on.
      rolloutProblems.set(candidate.rollout, site);
      if (raw === undefined) continue;
      site = await parseOne(id, raw, { node, memory, reserving });
    }
    if (typeof site === "string") problems.push(site);
    else sites[id] = site;
    if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
    await new Promise<void>((resume) => setImmediate(resume));
    sliceStart = performance.now();
  }
  const known = new Set(ids);
  for (const id of memory.keys()) if (!known.has(id)) memory.delete(id);
  const shown = problems.slice(0, PROBLEMS_MAX).join("; ");
  const more = problems.length > PROBLEMS_MAX ? `; and ${problems.length - PROBLEMS_MAX} more` : "";
  return { sites, rolloutProblems, problem: problems.length === 0 ? null : `left out: ${shown}${more}` };
}

/** The site, or why it can not run here. */
async function parseOne(
  id: string,
  raw: unknown,
  {
    node,
    memory,
    reserving,
  }: {
    readonly node: NodeConfig;
    readonly memory: SiteMemory;
    readonly reserving: Record<string, SiteConfig>;
  },
): Promise<SiteConfig | string> {
  const parsed = parseSite(id, raw, undefined, memory.get(id));
  if (parsed.text !== "") memory.set(id, parsed);
  const { site, findings } = parsed;
  const at = (path: ConfigPath): string => pathText(["sites", id, ...path]);
  const wrong = findings.find(({ severity }) => severity === "error");
  if (site === null || wrong !== undefined)
    return `${at(wrong?.path ?? [])}: ${wrong?.message ?? "is not a site"}`;
  const forbidden = checkOnNode(node, { ...reserving, [id]: site }).find(
    ({ severity }) => severity === "error",
  );
  if (forbidden !== undefined) return `${pathText(forbidden.path)}: ${forbidden.message}`;
  const problem = await unreadable(id, site, node);
  if (problem === null && site.cache.memoryReserved !== undefined) reserving[id] = site;
  return problem ?? site;
}

/** Files and secrets that can not be read would keep the whole snapshot from being put in force. */
async function unreadable(id: string, site: SiteConfig, node: NodeConfig): Promise<string | null> {
  const permissions = permissionsOf(node, () => null);
  for (const [name, origin] of Object.entries(site.origins)) {
    if ("directory" in origin || "zone" in origin) continue;
    const place = `sites.${id}.origins.${name}`;
    const { caFile } = origin.tls;
    if (caFile !== undefined) {
      try {
        await permissions.readFile(caFile);
      } catch (error) {
        return `${place}.tls.caFile: ${messageOf(error)}`;
      }
    }
    if (!isBucket(origin)) continue;
    const { credentials } = "s3" in origin ? origin.s3 : "gcs" in origin ? origin.gcs : origin.azure;
    for (const ref of Object.values(credentials ?? {})) {
      if (typeof ref !== "object" || ref === null || !("env" in ref || "file" in ref)) continue;
      try {
        if ((await permissions.readSecret(ref)) === null) return `${place}: a secret of it is not there`;
      } catch (error) {
        return `${place}: ${messageOf(error)}`;
      }
    }
  }
  return null;
}
