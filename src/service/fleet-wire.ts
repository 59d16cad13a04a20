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
/** Roll-outs, and origins that are out, in one report. */
export const REPORTED_ROLLOUTS_MAX = 100;
export const REPORTED_ORIGINS_MAX = 200;
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

/** New content that every node asks for ahead of viewers: host and path, without a scheme. */
const fillChange = z.object({
  kind: z.literal("fill"),
  site: z.string().max(100),
  urls: z.array(z.string()),
});

/** What an entry says. */
export const changeBody = z.discriminatedUnion("kind", [
  snapshotChange,
  purgeChange,
  startChange,
  clockChange,
  fillChange,
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
  /** Public key by which entries on the bus are checked (SPKI, DER, base64); left out without a bus. */
  logKey: z.string().max(200).optional(),
  /** The fleet's clock, where it can be moved. */
  clock: clockSetting.optional(),
});

/**
 * What a roll-out puts in place of sites on some of the nodes. A node of a version that knows nothing of it
 * stays with the sites, which is the safe side.
 */
const stagedSites = z.object({
  rollout: z.string().max(100),
  /** Ids of the nodes that take it; null for all. */
  nodes: z.array(z.string().max(100)).nullable(),
  sites: z.record(z.string(), z.unknown()),
});
/** Sites of a roll-out, for some of the nodes. */
export type StagedSites = z.infer<typeof stagedSites>;

/** Answer of `GET /v1/snapshots/N`. Sites are as their authors wrote them. */
export const snapshotAnswer = z.object({
  number: z.int().min(1),
  /** Of the sites. */
  hash: z.string().max(100),
  sites: z.record(z.string(), z.unknown()),
  staged: z.array(stagedSites).optional(),
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
export const joinAnswer = z.object({
  node: z.string().max(100),
  credential: z.string().max(200),
  /** Public key by which entries on the bus are checked (SPKI, DER, base64). */
  logKey: z.string().max(200).optional(),
});

/** Answer to a report. */
export const reportAnswer = z.object({
  drained: z.boolean(),
  /** What would be lost of what is stored if a site had this config? To be answered with a later report. */
  asks: z
    .array(z.object({ id: z.string().max(100), site: z.string().max(100), config: z.unknown() }))
    .optional(),
});
/** A question about what is stored. */
export type OrphanAsk = NonNullable<z.infer<typeof reportAnswer>["asks"]>[number];

/** Requests of viewers and what became of them. */
const requestCounts = z.object({
  requests: z.int().min(0),
  /** Answered with 5xx, whoever made it, or broken off. */
  errors: z.int().min(0),
});
/** Requests of viewers and what became of them. */
export type RequestCounts = z.infer<typeof requestCounts>;

/** What a node tells of a roll-out that its snapshot names. */
const rolloutReport = z.object({
  rollout: z.string().max(100),
  /** "candidate": this node serves the new versions. */
  arm: z.enum(["candidate", "base"]),
  /** Why the new versions are not in force here; null when they are, or are not for this node. */
  problem: z.string().max(1_000).nullable(),
  /** When this arm began here, in milliseconds since the epoch; another value: the counts began anew. */
  sinceMs: z.number().min(0),
  /** Since then, of the roll-out's sites. */
  counts: requestCounts,
  /** Of the same sites in the minutes before. */
  before: requestCounts,
});
/** What a node tells of a roll-out. */
export type RolloutReport = z.infer<typeof rolloutReport>;

/** Body of `POST /v1/nodes/self/report`. */
export const nodeReport = z.object({
  version: shortText,
  snapshot: z.object({
    number: z.int().min(0),
    problem: z.string().max(5_000).nullable(),
    /** The newer snapshot that could not be put in force; null when there is none. */
    refused: z.int().min(1).nullable().optional(),
  }),
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
  /** Left out by versions that know no roll-outs: they are never among the first to get one. */
  rollouts: z.array(rolloutReport).max(REPORTED_ROLLOUTS_MAX).optional(),
  /** Answers to what was asked with the answer to a report. */
  orphans: z
    .array(
      z.object({
        id: z.string().max(100),
        behaviors: z
          .array(z.object({ path: z.string().max(2_000), stored: z.int().min(0), orphaned: z.int().min(0) }))
          .max(1_000),
      }),
    )
    .max(REPORTED_ROLLOUTS_MAX)
    .optional(),
  /** Origins of groups that are left out now. */
  originsOut: z
    .array(z.object({ site: z.string().max(100), origin: z.string().max(100), reason: shortText }))
    .max(REPORTED_ORIGINS_MAX)
    .optional(),
});
/** What a node says of itself. */
export type NodeReport = z.infer<typeof nodeReport>;
