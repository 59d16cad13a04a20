/** What is told of an origin and of a group, from what their hops know. */
import type { SitePlan } from "../config/plan.ts";
import type { GroupReport, OriginReport } from "../telemetry/origin-report.ts";
import type { OriginGroup } from "../upstream/group/origin-group.ts";
import type { CheckResult } from "../upstream/health/checker.ts";
import type { GuardedOrigin } from "./origin-hops.ts";

/** Of one origin, as this process sees it. */
export function reportOrigin(
  site: string,
  { hop, gate }: GuardedOrigin,
  check: CheckResult | null,
  nowMs: number,
): OriginReport {
  const { health, degradation } = hop;
  const state = health.state(nowMs);
  const { requests, failures, inFlight } = hop.counts();
  const { waiting, refused } = gate?.counts() ?? { waiting: 0, refused: 0 };
  return {
    site,
    name: hop.name,
    state,
    since: new Date(health.sinceMs).toISOString(),
    reason: health.reason,
    workers: { up: 0, trial: 0, down: 0, [state]: 1 },
    degraded: degradation.is(nowMs),
    requests,
    failures,
    ejections: health.ejections,
    inFlight,
    waiting,
    refused,
    check:
      check === null
        ? null
        : {
            ok: check.ok,
            at: new Date(check.atMs).toISOString(),
            durationMs: check.durationMs,
            said: check.said,
          },
  };
}

/** Of one group. */
export function reportGroup(site: SitePlan, group: OriginGroup): GroupReport {
  return {
    site: site.id,
    name: group.name,
    balance: site.originGroups.get(group.name)?.balance ?? "failover",
    members: group.members.map(({ hop }) => hop.name),
    ...group.counts(),
  };
}
