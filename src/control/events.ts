/** What happens in a fleet that somebody outside may want to hear of. */

/** Kinds of events. */
export const EVENT_TYPES = [
  "purge.applied",
  "version.active",
  "rollout.started",
  "rollout.completed",
  "rollout.rolledBack",
  "rollout.aborted",
  "origin.failover",
  "origin.recovery",
  "node.unreachable",
  "node.reachable",
] as const;
/** One of them. */
export type EventType = (typeof EVENT_TYPES)[number];

/** Something that happened. */
export interface FleetEvent {
  readonly type: EventType;
  /** Sites that it is about; null for the fleet. */
  readonly sites: readonly string[] | null;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Takes an event, within the transaction of what it tells of. */
export type Tell = (event: FleetEvent) => void;
