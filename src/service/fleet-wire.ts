/**
 * What passes between the control plane and its nodes, and nothing else does: the fleet's log, snapshots,
 * reports. Both ends read it with these schemas; members that a newer end adds are let pass, so that
 * versions N and N-1 work together.
 */
import * as z from "zod";

/** Headers of a token of each kind: what it is can be seen, and secret scanners can find it. */
export const TOKEN_KINDS = { api: "pxa", node: "pxn", join: "pxj" } as const;

/** Longest wait for changes in one request, in seconds. */
export const POLL_SECONDS_MAX = 25;
/** How often a node reports when nothing happens, in milliseconds. */
export const HEARTBEAT_MS = 5_000;
/** A node that was not heard of for so long is unreachable, in milliseconds. */
export const UNREACHABLE_MS = 15_000;
/** Entries in one answer. */
export const CHANGES_MAX = 1_000;
/** Targets in one answer: the entry that passes the limit is the last one. */
export const CHANGE_TARGETS_MAX = 100_000;
/** Purges in one report. */
export const REPORTED_PURGES_MAX = 1_000;

/** How far a fleet's clock can be from the machine's, in milliseconds: a hundred years. */
export const CLOCK_OFFSET_MS_MAX = 100 * 366 * 86_400_000;

const sequence = z.int().min(0);
const shortText = z.string().max(500);

/** The entry's own part of each kind. */
const snapshotChange = z.object({ kind: z.literal("snapshot"), snapshot: z.int().min(1) });
const purgeChange = z.object({
  kind: z.literal("purge"),
  id: z.string().max(100),
  site: z.string().max(100),
  scope: z.enum(["url", "prefix", "wildcard", "host", "tag", "everything"]),
  /** URLs are absolute here: each node finds their keys by the snapshot that it has in force. */
  targets: z.array(z.string()),
  mode: z.enum(["hard", "soft"]),
});
/** The control plane started: numbers after it are above all that were given before, in whatever copy of the log. */
const startChange = z.object({ kind: z.literal("start") });

/** How the fleet's clock differs from the machines': only nodes of the local CI mode follow it. */
const clockSetting = z.object({
  offsetMs: z.number().min(-CLOCK_OFFSET_MS_MAX).max(CLOCK_OFFSET_MS_MAX),
  /** The time at which it stands, in milliseconds since the epoch; null while it runs. */
  frozenAtMs: z.number().min(0).nullable(),
});
const clockChange = clockSetting.extend({ kind: z.literal("clock") });

/** What an entry says. */
export const changeBody = z.discriminatedUnion("kind", [
  snapshotChange,
  purgeChange,
  startChange,
  clockChange,
]);
/** What an entry says. */
export type ChangeBody = z.infer<typeof changeBody>;

/** An entry of the fleet's log, of a kind that may be newer than the reader. */
const changeEnvelope = z.object({
  sequence,
  /** When it was accepted, in milliseconds since the epoch. */
  acceptedMs: z.number(),
  /** Of the log up to and with this entry. */
  digest: z.string().max(100),
  body: z.looseObject({ kind: z.string().max(50) }),
});

/** An entry of the fleet's log. */
export interface Change {
  readonly sequence: number;
  readonly acceptedMs: number;
  readonly digest: string;
  readonly body: ChangeBody;
}

/** Answer of `GET /v1/changes`. */
export const changesAnswer = z.object({
  log: z.string().max(100),
  /** The newest entry. */
  head: sequence,
  changes: z.array(changeEnvelope).max(CHANGES_MAX),
  /** True while an operator wants no viewers sent to this node. */
  drained: z.boolean(),
});

/** Answer to a place that the log does not have: where to go on, after forgetting everything. */
export const headAnswer = z.object({
  log: z.string().max(100),
  head: sequence,
  digest: z.string().max(100),
  /** The newest snapshot; null when there is none. */
  snapshot: z.int().nullable(),
  /** The fleet's clock, where it can be moved. */
  clock: clockSetting.optional(),
});

/** Answer of `GET /v1/snapshots/N`. Sites are as their authors wrote them. */
export const snapshotAnswer = z.object({
  number: z.int().min(1),
  /** Of the sites. */
  hash: z.string().max(100),
  sites: z.record(z.string(), z.unknown()),
});
/** A snapshot on its way to a node. */
export type SnapshotAnswer = z.infer<typeof snapshotAnswer>;

/** Name of a node: for people, and in paths. */
const nodeName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "expected 1 to 63 lower-case letters, digits, - and .");

/** Body of `POST /v1/join`. */
export const joinRequest = z.strictObject({ name: nodeName, version: shortText });

/** Answer to it. */
export const joinAnswer = z.object({ node: z.string().max(100), credential: z.string().max(200) });

/** Body of `POST /v1/nodes/self/report`. */
export const nodeReport = z.object({
  version: shortText,
  snapshot: z.object({ number: z.int().min(0), problem: z.string().max(5_000).nullable() }),
  /** The newest entry of the log that is applied. */
  applied: sequence,
  ready: z.object({ ready: z.boolean(), reasons: z.array(shortText).max(100) }),
  load: z.object({
    requests: z.number().min(0),
    requestsInFlight: z.number().min(0),
    hitRatio: z.number().min(0).max(1).nullable(),
    storeBytes: z.number().min(0),
    memoryBytes: z.number().min(0),
    uptimeSeconds: z.number().min(0),
  }),
  /** Objects that purges hit, where their sweep has ended since the last report. */
  counted: z.array(z.object({ sequence, objects: z.int().min(0) })).max(REPORTED_PURGES_MAX),
});
/** What a node says of itself. */
export type NodeReport = z.infer<typeof nodeReport>;
