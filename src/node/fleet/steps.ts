/** An answer of the fleet's log as what a node does with it, in order. */
import type { ClockSetting } from "../../base/clock.ts";
import type { Purge } from "../../cache/purge-table.ts";
import { type ChangeBody, changeBody } from "../../service/fleet-wire.ts";
import type { FleetPosition } from "../purge-log.ts";
import type { LogAnswer } from "./fleet-log.ts";

/** An entry of the purge log as the control plane made it. */
export type LoggedPurge = Purge & { readonly id: string };

/** What the configs in force make of targets. */
export interface TargetsInForce {
  keysOf(site: string, urls: readonly string[]): readonly string[];
  tagsOf(site: string, tags: readonly string[]): readonly string[];
}

/** A snapshot to be put in force, then the clock to be set, then purges to be applied, and the place behind them. */
export interface Step {
  readonly snapshot: number | null;
  readonly clock: ClockSetting | null;
  /** Read when the snapshot before it is known: URLs become keys here, and tags are folded. */
  readonly purges: (targets: TargetsInForce) => LoggedPurge[];
  /** Host and path of new content, to be asked for when the purges are applied. */
  readonly fills: readonly string[];
  readonly position: FleetPosition;
}

/**
 * The steps of an answer. Snapshots that newer ones follow at once are left out; entries of a kind that this
 * version does not know are told to `unknown` and passed over.
 */
export function stepsOf(
  answer: Pick<LogAnswer, "log" | "changes">,
  unknown: (sequence: number, kind: string) => void,
): Step[] {
  const steps: Step[] = [];
  let snapshot: number | null = null;
  let clock: ClockSetting | null = null;
  let purges: { readonly sequence: number; readonly acceptedMs: number; readonly body: ChangeBody }[] = [];
  let fills: string[] = [];
  let position: FleetPosition | null = null;
  const end = (): void => {
    if (position === null) return;
    const taken = purges;
    steps.push({
      snapshot,
      clock,
      purges: (targets) => taken.flatMap((one) => purgeOf(one, targets)),
      fills,
      position,
    });
    snapshot = null;
    clock = null;
    purges = [];
    fills = [];
  };
  for (const { sequence, acceptedMs, digest, body } of answer.changes) {
    const parsed = changeBody.safeParse(body);
    if (!parsed.success) unknown(sequence, body.kind);
    else if (parsed.data.kind === "snapshot") {
      // What was purged before it was purged by the snapshot before it.
      if (purges.length > 0) end();
      snapshot = parsed.data.snapshot;
    } else if (parsed.data.kind === "clock") {
      // What was purged before was purged at the time before.
      if (purges.length > 0) end();
      clock = parsed.data;
    } else if (parsed.data.kind === "purge") purges.push({ sequence, acceptedMs, body: parsed.data });
    else if (parsed.data.kind === "fill") fills.push(...parsed.data.urls);
    position = { log: answer.log, sequence, digest };
  }
  end();
  return steps;
}

function purgeOf(
  {
    sequence,
    acceptedMs,
    body,
  }: { readonly sequence: number; readonly acceptedMs: number; readonly body: ChangeBody },
  inForce: TargetsInForce,
): LoggedPurge[] {
  if (body.kind !== "purge") return [];
  const { id, site, scope, mode } = body;
  const targets =
    scope === "url"
      ? inForce.keysOf(site, body.targets)
      : scope === "tag"
        ? inForce.tagsOf(site, body.targets)
        : body.targets;
  return [{ id, sequence, site, scope, mode, targets, acceptedMs }];
}
