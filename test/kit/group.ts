/** A group of origins for tests of what it does with its members, without a config. */
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { type GroupOptions, OriginGroup } from "../../src/upstream/group/origin-group.ts";
import { type HopFinding, WatchedHop } from "../../src/upstream/health/watched-hop.ts";
import type { NextHop, UpstreamTimeouts } from "../../src/upstream/next-hop.ts";
import { HttpOrigin } from "../../src/upstream/origin.ts";
import { TIMEOUTS } from "./upstream-request.ts";

/** What differs from a group of healthy members in order, with plain defaults. */
export interface TestGroupOptions extends Partial<Omit<GroupOptions, "members" | "clock">> {
  readonly clock?: Clock;
  readonly failures?: number;
  readonly holdMs?: number;
  readonly timeouts?: UpstreamTimeouts;
  /** What the Host field says to a member; left out: the viewer's. */
  readonly hostFor?: (name: string, authority: string) => string;
}

/** A group, its members by name, and what they found out, as "name kind". */
export interface TestGroup {
  readonly group: OriginGroup;
  readonly hops: readonly WatchedHop[];
  readonly findings: string[];
  close(): void;
}

/** Makes a group of origins by URL, or of hops. */
export function testGroup(members: readonly (string | NextHop)[], options: TestGroupOptions = {}): TestGroup {
  const {
    clock = systemClock,
    failures = 5,
    holdMs = 10_000,
    timeouts = TIMEOUTS,
    hostFor,
    ...rest
  } = options;
  const findings: string[] = [];
  const hops = members.map((member, i) => {
    const hop = typeof member === "string" ? new HttpOrigin({ name: `m${i}`, url: member, clock }) : member;
    return new WatchedHop({
      hop,
      clock,
      policy: { failures, holdMs },
      failingStatuses: new Set([500, 502, 503, 504]),
      slowMs: null,
      onFinding: (finding: HopFinding) => findings.push(`${hop.name} ${finding.kind}`),
    });
  });
  const group = new OriginGroup({
    name: "both",
    members: hops.map((hop) => ({
      hop,
      weight: 1,
      timeouts,
      hostFor: (authority) => hostFor?.(hop.name, authority) ?? authority,
    })),
    balance: "failover",
    criteria: { statuses: new Set([500, 502, 503, 504]), connect: true, timeout: true },
    attemptMs: 10_000,
    attemptsMax: 3,
    budget: { fraction: 0.2, perSecondMin: 10 },
    clock,
    ...rest,
  });
  return {
    group,
    hops,
    findings,
    close() {
      for (const hop of hops) hop.close();
    },
  };
}
