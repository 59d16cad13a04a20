/** Config as code: a set of sites is compared with what is active, and made so, all of it or nothing. */
import { type Difference, differencesOf } from "./diff.ts";
import { Refused } from "./refusal.ts";
import type { RolloutRequest, Rollouts, RolloutView } from "./rollouts/rollouts.ts";
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
  /** To some of the nodes first; left out, to all at once. */
  readonly rollout?: RolloutRequest | undefined;
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

/** What the caller has a say over: each throws for what he has not. */
export interface DeployRights {
  touch(site: string): void;
  /** May the site have these hosts? */
  claim(site: string, hosts: readonly string[]): void;
}

/** Compares. Throws a Refused 422 with the problems of every site, and what `may` throws. */
export function planDeployment(sites: Sites, request: DeploymentRequest, may: DeployRights): Plan {
  const newest = sites.newestSnapshot();
  const active = newest?.active ?? {};
  const changes: PlannedChange[] = [];
  const problems: SiteProblem[] = [];
  for (const [id, config] of Object.entries(request.sites)) {
    may.touch(id);
    const check = checkSiteConfig(id, config);
    if (!check.ok) {
      for (const problem of check.problems)
        problems.push({ ...problem, path: `sites.${id}${problem.path === "" ? "" : `.${problem.path}`}` });
      continue;
    }
    may.claim(id, check.hosts);
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
      may.touch(id);
      changes.push({ site: id, action: "delete", from, differences: [], moreDifferences: 0, warnings: [] });
    }
  return { snapshot: newest?.number ?? 0, changes };
}

/** What an application has done. */
export interface Deployed {
  readonly plan: Plan;
  /** Null when there was nothing to do, and with a roll-out. */
  readonly snapshot: SnapshotView | null;
  readonly rollout: RolloutView | null;
}

/** Makes it so, or begins to. */
export function applyDeployment(
  { sites, rollouts }: { readonly sites: Sites; readonly rollouts: Rollouts },
  request: DeploymentRequest,
  may: DeployRights,
  by: string,
): Deployed {
  const plan = planDeployment(sites, request, may);
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
  if (request.rollout !== undefined && targets.size > 0) {
    const staged = new Map<string, number>();
    for (const [site, version] of targets) {
      if (version === null)
        throw new Refused(
          409,
          `site "${site}" would be ended, which has no stages: leave prune out, and prune when the roll-out is over`,
        );
      staged.set(site, version);
    }
    return { plan, snapshot: null, rollout: rollouts.start(staged, request.rollout, by) };
  }
  const snapshot = sites.activate(targets, by);
  for (const [site, version] of targets) if (version === null) sites.delete(site, by);
  return { plan, snapshot, rollout: null };
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
