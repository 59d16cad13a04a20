/**
 * What stands in front of an origin's own hop: faults of a drill, the limit of requests at once, the
 * watch over its health. And how groups are put together from such origins.
 */

import type { Clock } from "../base/clock.ts";
import { memberName } from "../config/origins.ts";
import type { SitePlan } from "../config/plan.ts";
import type { OriginConfig, OriginGroupConfig } from "../config/schema.ts";
import { type Faults, FaultyHop } from "../upstream/faults.ts";
import { GatedHop } from "../upstream/gated-hop.ts";
import { OriginGroup } from "../upstream/group/origin-group.ts";
import type { CheckPolicy } from "../upstream/health/checker.ts";
import { type HopFinding, WatchedHop } from "../upstream/health/watched-hop.ts";
import type { NextHop, UpstreamTimeouts } from "../upstream/next-hop.ts";
import { hostFor } from "./phases/origin-request.ts";

/** What is known of an origin that has no settings of its own for it. */
const USUAL_EJECTION = { failures: 5, forMs: 10_000, slowMs: undefined };
const USUAL_FAILING: readonly number[] = [500, 502, 503, 504];

/** An origin with what stands in front of it. */
export interface GuardedOrigin {
  readonly hop: WatchedHop;
  /** Null where the requests at once have no limit of their own. */
  readonly gate: GatedHop | null;
}

/** The parts that guarding needs. */
export interface Guards {
  readonly clock: Clock;
  readonly faults: Faults;
  /** Workers of the node, which share its limits. */
  readonly workers: number;
  onFinding(finding: HopFinding): void;
}

/** Names an origin within the node. */
export function originKey(site: string, origin: string): string {
  return `${site} ${origin}`;
}

/** Statuses that count as failures of an origin: those for which its groups move on. */
export function failingStatuses(site: SitePlan, name: string): readonly number[] {
  const statuses = new Set<number>();
  let isMember = false;
  for (const group of site.originGroups.values()) {
    if (!group.members.some((member) => memberName(member) === name)) continue;
    isMember = true;
    for (const criterion of group.failoverOn) if (typeof criterion === "number") statuses.add(criterion);
  }
  return isMember ? [...statuses].sort() : USUAL_FAILING;
}

/** Puts the guards in front of an origin's own hop. */
export function guarded(site: SitePlan, config: OriginConfig, hop: NextHop, guards: Guards): GuardedOrigin {
  const { clock, faults, workers } = guards;
  const ejection = "ejection" in config ? config.ejection : USUAL_EJECTION;
  const limits = "concurrency" in config ? config.concurrency : undefined;
  const faulty = new FaultyHop(hop, originKey(site.id, hop.name), faults, clock);
  const gate =
    limits === undefined
      ? null
      : new GatedHop(
          faulty,
          {
            atOnce: shareOf(limits.max, workers),
            queue: limits.queueMax === 0 ? 0 : shareOf(limits.queueMax, workers),
            waitMs: limits.waitMs,
          },
          clock,
        );
  const watched = new WatchedHop({
    hop: gate ?? faulty,
    clock,
    policy: { failures: ejection.failures, holdMs: ejection.forMs },
    failingStatuses: new Set(failingStatuses(site, hop.name)),
    slowMs: ejection.slowMs ?? null,
    onFinding: (finding) => guards.onFinding(finding),
  });
  return { hop: watched, gate };
}

/** A worker's share of the node's limit: at least one. */
function shareOf(limit: number, workers: number): number {
  return Math.max(1, Math.floor(limit / workers));
}

/** A member of a group as its site has it. */
export interface MemberOrigin {
  readonly hop: WatchedHop;
  readonly config: OriginConfig;
  readonly timeouts: UpstreamTimeouts;
  readonly headMsMax: number;
}

/** Makes a group; `member` gives the origin of a name. */
export function makeGroup(
  name: string,
  config: OriginGroupConfig,
  member: (name: string) => MemberOrigin,
  clock: Clock,
): { readonly hop: OriginGroup; readonly timeouts: UpstreamTimeouts; readonly headMsMax: number } {
  let headMsMax = 0;
  const members = config.members.map((one) => {
    const origin = member(memberName(one));
    headMsMax = Math.max(headMsMax, origin.headMsMax);
    return {
      hop: origin.hop,
      weight: typeof one === "string" ? 1 : one.weight,
      timeouts: origin.timeouts,
      hostFor: (authority: string) => hostFor(origin.config, authority),
    };
  });
  const hop = new OriginGroup({
    name,
    members,
    balance: config.balance,
    criteria: {
      statuses: new Set(config.failoverOn.filter((one) => typeof one === "number")),
      connect: config.failoverOn.includes("connect"),
      timeout: config.failoverOn.includes("timeout"),
    },
    attemptMs: config.attemptTimeoutMs,
    attemptsMax: config.attemptsMax,
    budget: config.retryBudget,
    clock,
  });
  const most = (of: keyof UpstreamTimeouts) => Math.max(...members.map(({ timeouts }) => timeouts[of]));
  return {
    hop,
    timeouts: {
      connectMs: most("connectMs"),
      firstByteMs: most("firstByteMs"),
      betweenBytesMs: most("betweenBytesMs"),
    },
    headMsMax: headMsMax * Math.min(config.attemptsMax, members.length),
  };
}

/** A config's health checks as the checker takes them. */
export function checkPolicy(config: OriginConfig): CheckPolicy | null {
  const health = "url" in config ? config.health : undefined;
  if (health === undefined) return null;
  const { path, intervalMs, timeoutMs, unhealthyAfter, healthyAfter } = health;
  const expected = new Set<number | string>(health.statuses);
  return {
    path,
    intervalMs,
    timeoutMs,
    unhealthyAfter,
    healthyAfter,
    expects: (status) => expected.has(status) || expected.has(`${Math.floor(status / 100)}xx`),
    expected: health.statuses.join(", "),
  };
}

/** The Host of a health check: as for a viewer who asks for the site's first exact host. */
export function checkAuthority(site: SitePlan, config: OriginConfig): string {
  const named = site.config.hosts.find((host) => !host.includes("*"));
  const own = "url" in config ? new URL(config.url).host : "localhost";
  return hostFor(config, named ?? own);
}
