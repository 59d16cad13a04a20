/** What the API takes and answers: these check requests, and the OpenAPI document is made of them. */
import * as z from "zod";
import { purgeRequestSchema } from "../../cache/purge-request.ts";
import { hostPattern, siteId } from "../../config/values.ts";
import { nodeReport } from "../../service/fleet-wire.ts";
import {
  APPLY_SECONDS_DEFAULT,
  APPLY_SECONDS_MAX,
  ERROR_INCREASE_DEFAULT,
  ERROR_RATE_DEFAULT,
  HOLD_SECONDS_DEFAULT,
  HOLD_SECONDS_MAX,
  JOIN_SECONDS_DEFAULT,
  JOIN_SECONDS_MAX,
  PAGE_DEFAULT,
  PAGE_MAX,
  PURGE_WAIT_SECONDS_MAX,
  ROLLOUT_NODES_MAX,
  ROLLOUT_REQUESTS_MIN_DEFAULT,
  ROLLOUT_STAGES_MAX,
  ROTATE_OVERLAP_SECONDS_MAX,
  SURVEY_SECONDS_MAX,
  SURVEYED_SITES_MAX,
} from "../limits.ts";
import { ROLLOUT_STATES } from "../rollouts/rollouts.ts";
import { SCOPES } from "../tokens.ts";

/** A text without control characters, at most so long. */
export const text = (chars: number) =>
  z
    .string()
    .max(chars)
    .refine((value) => !/\p{Cc}/u.test(value) && value.isWellFormed(), {
      error: "has a control character or half a character",
    });
export const name = text(100).min(1);
const note = text(500).describe("Why, for people.");
export const time = z.iso.datetime();
export const whole = z.int().min(0);
/** A number in a query or a path. */
const numberText = z
  .string()
  .regex(/^\d{1,15}$/, "expected a whole number")
  .transform(Number);

/** Bodies of sites are checked by the config's own checks, which tell of every problem; here anything goes. */
export const anySite = z.unknown().meta({ id: "SiteConfig", description: "A site's config." });

export const problemDocument = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    problems: z
      .array(z.object({ path: z.string(), message: z.string(), severity: z.enum(["error", "warning"]) }))
      .optional(),
  })
  .meta({ id: "Problem", description: "An error (RFC 9457)." });

const configProblem = z
  .object({ path: z.string(), message: z.string(), severity: z.enum(["error", "warning"]) })
  .meta({ id: "ConfigProblem", description: "Something wrong or doubtful in a config." });

// ---- sites ----

export const site = z
  .object({
    id: siteId,
    createdAt: time,
    createdBy: z.string(),
    revision: whole.describe("Changes with every change of the site; the ETag is made of it."),
    activeVersion: whole.nullable(),
    newestVersion: whole.nullable(),
    hosts: z.array(z.string()),
    draft: z.object({ updatedAt: time }).nullable(),
  })
  .meta({ id: "Site" });
export const version = z
  .object({
    site: z.string(),
    number: whole,
    hash: z.string(),
    hosts: z.array(z.string()),
    note: z.string(),
    createdAt: time,
    createdBy: z.string(),
    active: z.boolean(),
  })
  .meta({ id: "Version" });
export const snapshot = z
  .object({
    number: whole,
    hash: z.string(),
    active: z.record(z.string(), whole).describe("The active version of each site."),
    staged: z
      .array(
        z.object({
          rollout: z.string(),
          nodes: z.array(z.string()).nullable().describe("Null: all."),
          sites: z.record(z.string(), whole),
        }),
      )
      .describe("What roll-outs put in their place on some nodes."),
    createdAt: time,
    createdBy: z.string(),
  })
  .meta({ id: "Snapshot" });
export const difference = z
  .object({
    path: z.string(),
    kind: z.enum(["added", "removed", "changed"]),
    before: z.unknown().optional(),
    after: z.unknown().optional(),
  })
  .meta({ id: "Difference" });

export const siteRequest = z.strictObject({ id: siteId, config: anySite.optional() });
export const draftAnswer = z.object({ site, problems: z.array(configProblem) });
export const versionRequest = z.strictObject({
  config: anySite.optional().describe("Left out: the draft."),
  note: note.optional(),
});
export const versionAnswer = z.object({ version, warnings: z.array(configProblem) });
const share = z.number().min(0).max(1);
export const rolloutRequest = z
  .strictObject({
    stages: z
      .array(z.number().gt(0).max(100))
      .min(1)
      .max(ROLLOUT_STAGES_MAX)
      .refine((stages) => stages.every((one, i) => i === 0 || one > (stages[i - 1] ?? 0)), {
        error: "must grow from one to the next",
      })
      .refine((stages) => stages.at(-1) === 100, { error: "the last one must be 100" })
      .prefault([10, 50, 100])
      .describe("Percentages of the nodes."),
    nodes: z
      .array(z.string().min(1).max(100))
      .max(ROLLOUT_NODES_MAX)
      .optional()
      .describe("Nodes that get it before any percentage, by name or id."),
    holdSeconds: z
      .int()
      .min(0)
      .max(HOLD_SECONDS_MAX)
      .prefault(HOLD_SECONDS_DEFAULT)
      .describe("How long a stage is watched before the next."),
    applySeconds: z
      .int()
      .min(1)
      .max(APPLY_SECONDS_MAX)
      .prefault(APPLY_SECONDS_DEFAULT)
      .describe("How long nodes have to put it in force."),
    maxErrorRate: share
      .prefault(ERROR_RATE_DEFAULT)
      .describe("Share of requests that may end in 5xx or break off where it is in force."),
    maxErrorIncrease: z
      .number()
      .min(1)
      .max(1_000)
      .prefault(ERROR_INCREASE_DEFAULT)
      .describe("How many times as often as on the other nodes, and as before."),
    minRequests: z
      .int()
      .min(1)
      .max(1_000_000)
      .prefault(ROLLOUT_REQUESTS_MIN_DEFAULT)
      .describe("Requests without which nothing is concluded."),
  })
  .meta({ id: "RolloutRequest", description: "Goes to some of the nodes first, and back by itself." });
const requestCounts = z.object({ requests: whole, errors: whole });
export const rollout = z
  .object({
    id: z.string(),
    sequence: whole,
    sites: z.record(z.string(), z.object({ from: whole.nullable(), to: whole })),
    state: z.enum(ROLLOUT_STATES),
    reason: z.string().nullable().describe("Why it ended."),
    stage: whole.describe("From 1."),
    stages: z.array(z.string()),
    stageAt: time,
    holdAt: time.nullable().describe("Since when it is in force on every node of the stage."),
    snapshot: whole,
    holdSeconds: whole,
    applySeconds: whole,
    maxErrorRate: share,
    maxErrorIncrease: z.number(),
    minRequests: whole,
    counts: z
      .object({ candidate: requestCounts, rest: requestCounts, before: requestCounts })
      .describe("Of the stage: with the new versions, on the other nodes, before on the same nodes."),
    nodes: z.array(
      z.object({
        node: z.string(),
        name: z.string(),
        state: z.enum(["waiting", "in force", "problem", "unreachable"]),
        problem: z.string().nullable(),
        requests: whole,
        errors: whole,
      }),
    ),
    events: z.array(z.object({ at: time, what: z.string(), detail: z.string() })),
    createdAt: time,
    createdBy: z.string(),
    endedAt: time.nullable(),
  })
  .meta({ id: "Rollout" });
export const promoteRequest = z.strictObject({
  all: z.boolean().optional().describe("To the end at once, not to the next stage."),
});
export const activateRequest = z.strictObject({
  version: z.int().min(1),
  rollout: rolloutRequest.optional().describe("Left out: on every node at once."),
});
export const emptyRequest = z.strictObject({});
export const activateAnswer = z.object({
  site,
  snapshot: snapshot.nullable().describe("Null when it was active already, and with a roll-out."),
  rollout: rollout.nullable(),
});
export const diffQuery = z.strictObject({
  from: z
    .string()
    .regex(/^(?:\d{1,15}|active|none)$/, "expected a version, active or none")
    .optional(),
  to: z
    .string()
    .regex(/^(?:\d{1,15}|active|draft)$/, "expected a version, active or draft")
    .optional(),
});
export const diffAnswer = z.object({
  from: z.string(),
  to: z.string(),
  differences: z.array(difference),
  more: whole,
});
export const deployRequest = z.strictObject({
  sites: z.record(siteId, anySite),
  prune: z.boolean().optional().describe("Ends sites that are active and not named."),
  expectedSnapshot: whole.optional().describe("Nothing is done when another one is in force."),
  rollout: rolloutRequest.optional().describe("Left out: on every node at once."),
  note: note.optional(),
});
export const planRequest = deployRequest.extend({
  orphans: z
    .boolean()
    .optional()
    .describe(
      `Asks the nodes how much of what they have stored the changed sites would never find again (up to ${SURVEYED_SITES_MAX} sites, ${SURVEY_SECONDS_MAX} seconds).`,
    ),
});
export const plan = z
  .object({
    snapshot: whole,
    changes: z.array(
      z.object({
        site: z.string(),
        action: z.enum(["create", "update", "delete", "none"]),
        from: whole.nullable(),
        differences: z.array(difference),
        moreDifferences: whole,
        warnings: z.array(configProblem),
      }),
    ),
    orphans: z
      .array(
        z.object({
          site: z.string(),
          behaviors: z.array(
            z.object({ path: z.string(), stored: whole, orphaned: whole }).describe("As it is now."),
          ),
          answered: whole.describe("Nodes that have answered."),
          asked: whole,
        }),
      )
      .optional()
      .describe("Every stored response was looked at, on the nodes that have answered."),
  })
  .meta({ id: "Plan" });
export const applyAnswer = z.object({
  plan,
  snapshot: snapshot.nullable().describe("Null when there was nothing to do, and with a roll-out."),
  rollout: rollout.nullable(),
});

// ---- tokens ----

export const token = z
  .object({
    id: z.string(),
    prefix: z.string(),
    name: z.string(),
    scopes: z.array(z.enum(SCOPES)),
    sites: z.array(z.string()).nullable(),
    hosts: z.array(z.string()).nullable(),
    createdAt: time,
    createdBy: z.string(),
    expiresAt: time.nullable(),
    revokedAt: time.nullable(),
    usedAt: time.nullable(),
    accessKeyId: z
      .string()
      .nullable()
      .describe("Of an access key: the id to sign requests with (AWS SigV4)."),
  })
  .meta({ id: "Token" });
export const tokenRequest = z.strictObject({
  name,
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
  sites: z.array(siteId).min(1).max(1_000).nullable().optional().describe("Left out: all sites."),
  hosts: z
    .array(hostPattern)
    .min(1)
    .max(1_000)
    .nullable()
    .optional()
    .describe(
      'Hosts that it may give to sites, such as "*.shop.example". Left out: for some sites, what they have already; for all sites, any but "*", and any at all with the scope admin.',
    ),
  expiresInSeconds: z
    .int()
    .min(1)
    .max(10 * 365 * 86_400)
    .optional()
    .describe("Left out: it does not expire."),
  accessKey: z
    .boolean()
    .optional()
    .describe("An access key: its secret also signs requests (AWS SigV4), and is kept, sealed, for that."),
});
export const rotateRequest = z.strictObject({
  overlapSeconds: z
    .int()
    .min(0)
    .max(ROTATE_OVERLAP_SECONDS_MAX)
    .prefault(0)
    .describe("How long the old one stays good."),
});
export const tokenAnswer = z.object({
  token,
  secret: z.string().describe("Shown this once."),
  secretAccessKey: z
    .string()
    .optional()
    .describe("Of an access key: what to sign with, beside token.accessKeyId. Shown this once."),
});

// ---- nodes ----

export const node = z
  .object({
    id: z.string(),
    name: z.string(),
    joinedAt: time,
    address: z.string().nullable(),
    state: z.enum(["reachable", "unreachable", "removed"]),
    drained: z.boolean(),
    seenAt: time.nullable(),
    applied: whole.describe("The newest entry of the log that it has applied."),
    report: nodeReport.nullable(),
  })
  .meta({ id: "Node" });
export const inviteRequest = z.strictObject({
  validSeconds: z.int().min(60).max(JOIN_SECONDS_MAX).prefault(JOIN_SECONDS_DEFAULT),
});
export const inviteAnswer = z.object({
  id: z.string(),
  secret: z.string().describe("Shown this once, good once."),
  expiresAt: time,
});

// ---- purges ----

export const purgeRequest = purgeRequestSchema;
export const purge = z
  .object({
    id: z.string(),
    sequence: whole,
    site: z.string(),
    scope: z.string(),
    mode: z.string(),
    targets: z.array(z.string()).describe("The first of them."),
    targetCount: whole,
    acceptedAt: time,
    by: z.string(),
    state: z.enum(["accepted", "applied", "counted"]),
    appliedAfterMs: whole.nullable().describe("From the order to the news of the last node."),
    objects: whole.nullable(),
    nodes: z.array(
      z.object({
        node: z.string(),
        name: z.string(),
        state: z.enum(["accepted", "unreachable", "applied", "counted"]),
        appliedAt: time.nullable(),
        appliedAfterMs: whole.nullable(),
        objects: whole.nullable(),
        countedAt: time.nullable(),
      }),
    ),
  })
  .meta({ id: "Purge" });
export const purgeWaitQuery = z.strictObject({
  wait: z
    .enum(["applied", "counted"])
    .optional()
    .describe("Answers when every node that can be reached has."),
  seconds: numberText
    .refine((value) => value >= 1 && value <= PURGE_WAIT_SECONDS_MAX, {
      error: `expected 1 to ${PURGE_WAIT_SECONDS_MAX}`,
    })
    .optional()
    .describe("Longest wait; 10 when left out."),
});

// ---- lists, audit, log ----

export const limit = numberText
  .refine((value) => value >= 1 && value <= PAGE_MAX, { error: `expected 1 to ${PAGE_MAX}` })
  .optional()
  .describe(`How many; ${PAGE_DEFAULT} when left out, ${PAGE_MAX} at most.`);
export const afterQuery = z.strictObject({
  limit,
  after: z.string().max(100).optional().describe("The last one of the page before."),
});
export const beforeQuery = z.strictObject({
  limit,
  before: numberText.optional().describe("The last one of the page before."),
});
export const auditQuery = z.strictObject({
  limit,
  before: numberText.optional(),
  actor: z.string().max(100).optional(),
  outcome: z.enum(["done", "refused"]).optional(),
});
/** A page of a list; `next` is the path of the one behind it. */
export const pageOf = (item: z.ZodType) => z.object({ items: z.array(item), next: z.string().nullable() });
export const auditEntry = z
  .object({
    sequence: whole,
    at: time,
    actor: z.string(),
    actorName: z.string(),
    address: z.string(),
    action: z.string(),
    target: z.string(),
    outcome: z.enum(["done", "refused"]),
    detail: z.string(),
  })
  .meta({ id: "AuditEntry" });
export const changesQuery = z.strictObject({
  after: numberText,
  digest: z.string().max(100).describe("Of the log up to there."),
  wait: numberText.optional().describe("Longest wait for an entry, in seconds."),
});
