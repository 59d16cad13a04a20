/** Config as code: a set of sites is compared with what is active, and made so, all of it or nothing. */
import { type Difference, differencesOf } from "./diff.ts";
import { Refused } from "./refusal.ts";
import { checkSiteConfig, type SiteProblem } from "./site-check.ts";
import type { Sites, SnapshotView } from "./sites.ts";

/** A set of sites, as a file has it. */
export interface DeploymentRequest {
  /** Configs as their author wrote them, by site. */
  readonly sites: Readonly<Record<string, unknown>>;
  /** Sites that are active and not in the set are ended. */
  readonly prune?: boolean | undefined;
  /** The snapshot that the author saw; when another one is in force, nothing is done. */
  readonly expectedSnapshot?: number | undefined;
  readonly note?: string | undefined;
}

/** What becomes of a site. */
export interface PlannedChange {
  readonly site: string;
  readonly action: "create" | "update" | "delete" | "none";
  /** The version that is active now. */
  readonly from: number | null;
  readonly differences: readonly Difference[];
  /** Differences beyond those listed. */
  readonly moreDifferences: number;
  readonly warnings: readonly SiteProblem[];
}

/** What an application would do. */
export interface Plan {
  /** The snapshot that it was compared with; 0 before the first. */
  readonly snapshot: number;
  readonly changes: readonly PlannedChange[];
}

/**
 * Compares. `mayTouch` throws for a site that the caller has no say over. Throws a Refused 422 with the
 * problems of every site.
 */
export function planDeployment(
  sites: Sites,
  request: DeploymentRequest,
  mayTouch: (site: string) => void,
): Plan {
  const newest = sites.newestSnapshot();
  const active = newest?.active ?? {};
  const changes: PlannedChange[] = [];
  const problems: SiteProblem[] = [];
  for (const [id, config] of Object.entries(request.sites)) {
    mayTouch(id);
    const check = checkSiteConfig(id, config);
    if (!check.ok) {
      for (const problem of check.problems)
        problems.push({ ...problem, path: `sites.${id}${problem.path === "" ? "" : `.${problem.path}`}` });
      continue;
    }
    const from = Object.hasOwn(active, id) ? (active[id] as number) : null;
    const { differences, more } = differencesOf(
      from === null ? {} : sites.config(id, from),
      JSON.parse(check.text),
    );
    const action = from === null ? "create" : differences.length > 0 ? "update" : "none";
    changes.push({
      site: id,
      action,
      from,
      differences: action === "create" ? [] : differences,
      moreDifferences: action === "create" ? 0 : more,
      warnings: check.warnings,
    });
  }
  if (problems.length > 0)
    throw new Refused(
      422,
      `${problems[0]?.path}: ${problems[0]?.message}${problems.length > 1 ? ` (and ${problems.length - 1} more problems)` : ""}`,
      {
        members: { problems: problems.slice(0, 100) },
      },
    );
  if (request.prune === true)
    for (const [id, from] of Object.entries(active)) {
      if (Object.hasOwn(request.sites, id)) continue;
      mayTouch(id);
      changes.push({ site: id, action: "delete", from, differences: [], moreDifferences: 0, warnings: [] });
    }
  return { snapshot: newest?.number ?? 0, changes };
}

/** Makes it so. The snapshot is null when there was nothing to do. */
export function applyDeployment(
  sites: Sites,
  request: DeploymentRequest,
  mayTouch: (site: string) => void,
  by: string,
): { readonly plan: Plan; readonly snapshot: SnapshotView | null } {
  const plan = planDeployment(sites, request, mayTouch);
  if (request.expectedSnapshot !== undefined && request.expectedSnapshot !== plan.snapshot)
    throw new Refused(
      409,
      `snapshot ${plan.snapshot} is in force, not ${request.expectedSnapshot}: somebody changed it meanwhile; plan again`,
    );
  const targets = new Map<string, number | null>();
  for (const { site, action } of plan.changes) {
    if (action === "none") continue;
    if (action === "delete") {
      targets.set(site, null);
      continue;
    }
    if (action === "create" && !exists(sites, site)) sites.create(site, by);
    targets.set(site, sites.createVersion(site, request.sites[site], request.note ?? "", by).version.number);
  }
  const snapshot = sites.activate(targets, by);
  for (const [site, version] of targets) if (version === null) sites.delete(site, by);
  return { plan, snapshot };
}

function exists(sites: Sites, id: string): boolean {
  try {
    sites.get(id);
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return false;
    throw error;
  }
}
