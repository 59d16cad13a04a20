/**
 * What is to become of a stage: pure. A stage is first put in force on its nodes, then held: watched for a
 * time. It fails when a node can not put it in force, or does not in time; when nodes go silent; when
 * requests fail too often where it is in force.
 */
import type { RequestCounts } from "../../service/fleet-wire.ts";
import { ERROR_MARGIN, ERRORS_MIN, LOST_NODES_SHARE } from "../limits.ts";

/** When a roll-out fails, and how fast it goes. */
export interface RolloutLimits {
  readonly holdSeconds: number;
  readonly applySeconds: number;
  /** Share of requests, 0 to 1. */
  readonly maxErrorRate: number;
  /** How many times as often as without the new version. */
  readonly maxErrorIncrease: number;
  readonly minRequests: number;
}

/** A node of the stage. */
export interface StageNode {
  readonly name: string;
  readonly isReachable: boolean;
  /** It serves a snapshot that has the stage. */
  readonly isInForce: boolean;
  /** Why it does not, or serves an older version in spite of it; null when there is no reason. */
  readonly problem: string | null;
  /** It has reported since the hold began, and lately. */
  readonly isHeard: boolean;
}

/** Counts of the stage so far. */
export interface StageCounts {
  /** Where the new version is in force, since the stage began. */
  readonly candidate: RequestCounts;
  /** On the other nodes, in the same time. */
  readonly rest: RequestCounts;
  /** On the nodes of the stage, before they had it. */
  readonly before: RequestCounts;
}

/** A stage as it stands. */
export interface StageView {
  readonly limits: RolloutLimits;
  readonly nodes: readonly StageNode[];
  readonly counts: StageCounts;
  readonly stageMs: number;
  /** Since when it is in force on all of its nodes; null before. */
  readonly holdMs: number | null;
  readonly isPaused: boolean;
  /** The control plane has heard of the nodes since its start, or had the time to: their silence means something. */
  readonly isSettled: boolean;
}

/** What to do. */
export type Verdict =
  | { readonly kind: "wait" }
  /** It is in force: the hold begins. */
  | { readonly kind: "hold" }
  /** The hold is over and nothing is wrong. */
  | { readonly kind: "advance" }
  | { readonly kind: "rollBack"; readonly reason: string };

const NAMES_SHOWN_MAX = 5;

/** Looks at a stage at one moment. */
export function judge(stage: StageView, nowMs: number): Verdict {
  const { nodes, limits, isSettled } = stage;
  if (nodes.length === 0) return { kind: "rollBack", reason: "no node of its stage is left" };
  const unable = nodes.find(({ problem }) => problem !== null);
  if (unable !== undefined)
    return { kind: "rollBack", reason: `${unable.name} can not put it in force: ${unable.problem}` };
  const failing = tooManyErrors(stage.counts, limits);
  if (failing !== null) return { kind: "rollBack", reason: failing };
  const silent = nodes.filter(({ isReachable }) => !isReachable);
  if (isSettled && silent.length > Math.floor(nodes.length * LOST_NODES_SHARE))
    return { kind: "rollBack", reason: `not heard of any more since it was given out: ${listed(silent)}` };
  const late = nodes.filter(({ isInForce, isReachable }) => isReachable && !isInForce);
  if (stage.holdMs === null) {
    if (late.length === 0 && (isSettled || silent.length === 0)) return { kind: "hold" };
    if (late.length > 0 && isSettled && nowMs - stage.stageMs >= limits.applySeconds * 1_000)
      return {
        kind: "rollBack",
        reason: `not in force within ${limits.applySeconds} s on ${listed(late)}`,
      };
    return { kind: "wait" };
  }
  const isOver = nowMs - stage.holdMs >= limits.holdSeconds * 1_000;
  const isHeard = nodes.every((node) => node.isHeard || !node.isReachable);
  return isOver && isHeard && isSettled && !stage.isPaused ? { kind: "advance" } : { kind: "wait" };
}

/** Why the requests condemn the new version; null when they do not, or are too few. */
export function tooManyErrors(counts: StageCounts, limits: RolloutLimits): string | null {
  const { candidate, rest, before } = counts;
  if (candidate.requests < limits.minRequests || candidate.errors < ERRORS_MIN) return null;
  const rate = candidate.errors / candidate.requests;
  const what = `${candidate.errors} of ${candidate.requests} requests failed (${percent(rate)})`;
  if (rate > limits.maxErrorRate) return `${what}; ${percent(limits.maxErrorRate)} are allowed`;
  // The worse of the two: an origin that fails everywhere, or failed before, is not the version's fault.
  const known = [rest, before].filter(({ requests }) => requests >= limits.minRequests);
  if (known.length === 0) return null;
  const usual = Math.max(...known.map(({ requests, errors }) => errors / requests));
  if (rate <= usual * limits.maxErrorIncrease || rate - usual <= ERROR_MARGIN) return null;
  return `${what}, without it ${percent(usual)}: more than ${limits.maxErrorIncrease} times as often`;
}

/** A share for a person. */
export function percent(share: number): string {
  const value = share * 100;
  return `${Number(value.toFixed(value < 10 ? 2 : 1))} %`;
}

function listed(nodes: readonly StageNode[]): string {
  const shown = nodes.slice(0, NAMES_SHOWN_MAX).map(({ name }) => name);
  const more = nodes.length - shown.length;
  return more > 0 ? `${shown.join(", ")} and ${more} more` : shown.join(", ");
}
