/** What the API takes and answers of hooks and webhooks. */
import * as z from "zod";
import { siteId } from "../../config/values.ts";
import { EVENT_TYPES } from "../events.ts";
import { hookConfig } from "../hooks/mapping.ts";
import { DELIVERY_STATES } from "../webhooks/webhooks.ts";
import { limit, name, text, time, whole } from "./schemas.ts";

export const hook = hookConfig
  .extend({ name: z.string(), createdAt: time, createdBy: z.string(), usedAt: time.nullable() })
  .meta({ id: "Hook" });
export const hookAnswer = z.object({ hook, secret: z.string().nullable().describe("Shown this once.") });
export const hookMessageQuery = z.strictObject({
  dryRun: z.enum(["0", "1"]).optional().describe("1: says what would be purged, and purges nothing."),
});
export const hookMessageAnswer = z
  .object({
    matched: whole.describe("Rules that fit."),
    purges: z.array(
      z.object({
        site: z.string(),
        scope: z.enum(["url", "prefix", "tag", "everything"]),
        mode: z.enum(["hard", "soft"]),
        targets: z.array(z.string()).describe("The first of them; all of them when it was only tried."),
        targetCount: whole,
      }),
    ),
    ids: z.array(z.string()).describe("Of the purges, in their order."),
    skipped: z.array(z.string()).describe("Why templates made nothing."),
    dryRun: z.boolean(),
    repeated: z.boolean().describe("It came before: nothing was done now."),
  })
  .meta({ id: "HookAnswer" });

export const webhook = z
  .object({
    id: z.string(),
    name: z.string(),
    host: z.string().describe("Of its URL, which may be a secret."),
    events: z.array(z.enum(EVENT_TYPES)),
    sites: z.array(z.string()).nullable(),
    waiting: whole,
    dead: whole,
    createdAt: time,
    createdBy: z.string(),
  })
  .meta({ id: "Webhook" });
export const webhookRequest = z.strictObject({
  name,
  url: text(2_000).refine(
    (value) => {
      const url = URL.parse(value);
      return url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "";
    },
    { error: "expected an http(s) URL without user and password" },
  ),
  events: z
    .array(z.enum(EVENT_TYPES))
    .min(1)
    .max(EVENT_TYPES.length)
    .prefault([...EVENT_TYPES]),
  sites: z
    .array(siteId)
    .min(1)
    .max(1_000)
    .nullable()
    .optional()
    .describe("Only events of these. Left out: all, and those of the fleet."),
});
export const webhookAnswer = z.object({ webhook, secret: z.string().describe("Shown this once.") });
export const delivery = z
  .object({
    id: z.string(),
    type: z.string(),
    state: z.enum(DELIVERY_STATES),
    createdAt: time,
    attempts: whole,
    nextAttemptAt: time.nullable(),
    endedAt: time.nullable(),
    problem: z.string().nullable(),
  })
  .meta({ id: "Delivery" });
export const deliveriesQuery = z.strictObject({
  limit,
  before: z.string().max(100).optional().describe("The last one of the page before."),
  state: z.enum(DELIVERY_STATES).optional(),
});
