/**
 * The schema of what keeps a site up when its origins are not: groups of origins, how their health is
 * told, and what protects them. Part of the schema of a site (site-schema.ts).
 */
import * as z from "zod";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

const MEMBERS_MAX = 50;
const STATUSES_MAX = 100;
const HOUR_MS = 3_600_000;
const DAY_SECONDS = 86_400;

const milliseconds = () => v.whole("milliseconds", 1, HOUR_MS);
const statusOrClass = z.union([v.whole("status", 100, 599), z.enum(["2xx", "3xx", "4xx", "5xx"])]);

/** Health checks of an origin server. */
export const health = z
  .strictObject({
    path: v.sitePath.describe("Path that is asked for, below the path of the origin's URL."),
    intervalMs: v
      .whole("milliseconds", 100, HOUR_MS)
      .prefault(10_000)
      .describe("From one check to the next. One process of the node checks for all."),
    timeoutMs: milliseconds().prefault(5_000).describe("How long a check may take, its body included."),
    statuses: z
      .array(statusOrClass)
      .min(1)
      .max(STATUSES_MAX)
      .prefault(["2xx"])
      .describe("Statuses that say that the origin is well."),
    unhealthyAfter: v
      .whole("checks", 1, 100)
      .prefault(4)
      .describe("Failed checks in a row that make it down."),
    healthyAfter: v.whole("checks", 1, 100).prefault(2).describe("Good checks in a row that make it up."),
  })
  .register(typeNames, { name: "HealthInput" });

/** What an origin is left out for, without any check. */
export const ejection = z
  .strictObject({
    failures: v
      .whole("requests", 1, 1_000_000)
      .prefault(5)
      .describe("Requests that fail in a row: no answer, an answer cut short, or a failing status."),
    slowMs: milliseconds()
      .optional()
      .describe("An answer that takes longer to begin counts as failed. Left out: none does."),
    forMs: milliseconds()
      .prefault(10_000)
      .describe(
        "How long it is left out, the first time; twice as long each further time, up to 5 minutes. Then it is tried with one request at a time.",
      ),
  })
  .register(typeNames, { name: "EjectionInput" });

/** How much an origin is asked at once. */
export const concurrency = z
  .strictObject({
    max: v
      .whole("requests", 1, 65_535)
      .describe("Most requests under way at once, of all processes of the node together."),
    queueMax: v
      .whole("requests", 0, 100_000)
      .prefault(1000)
      .describe("Requests that may wait; further ones are answered 503, or asked of the next of the group."),
    waitMs: milliseconds().prefault(1000).describe("How long a request may wait."),
  })
  .register(typeNames, { name: "ConcurrencyInput" });

/** How far an origin that says that it suffers is spared. */
export const degraded = z
  .strictObject({
    freshSeconds: v
      .whole("seconds", 0, DAY_SECONDS)
      .prefault(60)
      .describe("How long past its freshness an answer is used without asking."),
    staleSeconds: v
      .whole("seconds", 0, DAY_SECONDS)
      .prefault(3600)
      .describe("How long after that it is used while it is fetched anew, and instead of an error."),
  })
  .register(typeNames, { name: "DegradedInput" });

const groupMember = z.union([
  v.originName,
  z
    .strictObject({
      origin: v.originName.describe("Name of the origin."),
      weight: v.whole("shares", 1, 1000).prefault(1).describe("Its share, where requests are divided."),
    })
    .register(typeNames, { name: "GroupMemberInput" }),
]);

/** Origins that stand for one another. */
export const originGroup = z
  .strictObject({
    members: z
      .array(groupMember)
      .min(1)
      .max(MEMBERS_MAX)
      .describe("Names of origins, or {origin, weight}; with failover the first that is well is asked."),
    balance: z
      .enum(["failover", "weighted", "least-connections", "hash"])
      .prefault("failover")
      .describe(
        "Who is asked: the first that is well, each in turn by weight, the one with the fewest requests under way, or always the same one for a URL.",
      ),
    failoverOn: z
      .array(z.union([v.whole("status", 400, 599), z.enum(["connect", "timeout"])]))
      .max(STATUSES_MAX)
      .prefault([500, 502, 503, 504, "connect", "timeout"])
      .describe(
        'What makes the next one be asked: statuses, "connect" (no connection, or no usable answer) and "timeout".',
      ),
    attemptTimeoutMs: milliseconds()
      .prefault(10_000)
      .describe("How long one may take until its answer begins while another one is well."),
    attemptsMax: v.whole("origins", 1, MEMBERS_MAX).prefault(3).describe("Most origins asked for a request."),
    retryBudget: z
      .strictObject({
        fraction: z
          .number()
          .min(0)
          .max(1)
          .register(v.valueNotes, { allowed: "a number from 0 to 1" })
          .prefault(0.2)
          .describe("Share of the requests that may be sent a second time."),
        perSecondMin: v
          .whole("requests", 0, 10_000)
          .prefault(10)
          .describe("Requests a second that may be in any case, for each process of the node."),
      })
      .register(typeNames, { name: "RetryBudgetInput" })
      .prefault({})
      .describe("Keeps retries from multiplying the load. To leave an origin that is down costs nothing."),
  })
  .register(typeNames, { name: "OriginGroupInput" });
