/** The schema of the node's alerts: what is watched, and who is told. Part of the one schema of the config (schema.ts). */
import * as z from "zod";
import { names } from "./site-schema.ts";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

const WEEK_SECONDS = 604_800;
const DAY_SECONDS = 86_400;
const RECIPIENTS_MAX = 50;

const webhookChannel = z
  .strictObject({
    webhook: v.hookUrl.describe("URL that alerts are posted to, as JSON."),
    secret: v.secretRef.describe(
      'Key of the signature (Standard Webhooks, HMAC-SHA256): any text, or "whsec_" and base 64.',
    ),
  })
  .register(typeNames, { name: "WebhookChannelInput" });

const slackChannel = z
  .strictObject({
    slack: v.hookUrl.describe("Incoming webhook of Slack, or of a chat that takes the same JSON."),
  })
  .register(typeNames, { name: "SlackChannelInput" });

const smtp = z
  .strictObject({
    host: v.hostName.describe("Host of the mail server."),
    port: z
      .int()
      .min(1)
      .max(65_535)
      .register(v.valueNotes, { allowed: "a port from 1 to 65535" })
      .prefault(587)
      .describe("Its port."),
    tls: z
      .enum(["starttls", "implicit", "none"])
      .prefault("starttls")
      .describe(
        "STARTTLS, which must succeed; TLS from the first byte (port 465); or none, for loopback only.",
      ),
    caFile: v.filePath.optional().describe("File of CA certificates (PEM) to trust instead of the system's."),
    user: v.shortText.optional().describe("User to log in as. Left out: no login."),
    password: v.secretRef.optional().describe("The user's password."),
  })
  .register(typeNames, { name: "SmtpInput" });

const emailChannel = z
  .strictObject({
    email: z.array(v.mailAddress).min(1).max(RECIPIENTS_MAX).describe("Addresses to write to."),
    from: v.mailAddress.describe("Address to write from."),
    smtp: smtp.describe("The mail server."),
  })
  .register(typeNames, { name: "EmailChannelInput" });

const enabled = () => z.boolean().prefault(true).describe("False: not watched.");
const to = () =>
  names(v.originName).optional().describe("Channels that are told, by name. Left out: all of them.");
const hold = (seconds: number) =>
  v
    .whole("seconds", 0, DAY_SECONDS)
    .prefault(seconds)
    .describe("So long it has to be so before it is told, and so long it has to be over.");
const share = () => z.number().min(0).max(1).register(v.valueNotes, { allowed: "a number from 0 to 1" });
const windowSeconds = () =>
  v.whole("seconds", 10, DAY_SECONDS).prefault(300).describe("The newest requests that are looked at.");
const requestsMin = (count: number) =>
  v
    .whole("requests", 1, 1_000_000_000)
    .prefault(count)
    .describe("With fewer requests in that time nothing is concluded.");

const rules = z
  .strictObject({
    failover: z
      .strictObject({ enabled: enabled(), holdSeconds: hold(0), to: to() })
      .register(typeNames, { name: "FailoverRuleInput" })
      .prefault({})
      .describe("An origin is left out of its group, and is back."),
    certificate: z
      .strictObject({
        enabled: enabled(),
        days: v.whole("days", 1, 365).prefault(14).describe("Days before its end at which it is told."),
        to: to(),
      })
      .register(typeNames, { name: "CertificateRuleInput" })
      .prefault({})
      .describe("A certificate file is near its end."),
    hitRatio: z
      .strictObject({
        enabled: enabled(),
        below: share().prefault(0).describe("Told when a site's hit ratio is below this. 0: never."),
        dropFraction: share()
          .prefault(0.5)
          .describe("Told when it has lost this share of what is usual for the site. 1: never."),
        windowSeconds: windowSeconds(),
        holdSeconds: hold(300),
        requestsMin: requestsMin(200),
        bySite: z
          .record(v.siteId, share())
          .prefault({})
          .describe("For these sites this is the limit, and what is usual does not count. 0: not watched."),
        to: to(),
      })
      .register(typeNames, { name: "HitRatioRuleInput" })
      .prefault({})
      .describe("The hit ratio of a site collapses."),
    errorRate: z
      .strictObject({
        enabled: enabled(),
        above: share()
          .prefault(0.05)
          .describe("Told when the share of a site's answers with a 5xx status is above this."),
        windowSeconds: windowSeconds(),
        holdSeconds: hold(60),
        requestsMin: requestsMin(50),
        bySite: z.record(v.siteId, share()).prefault({}).describe("Limits of single sites. 1: not watched."),
        to: to(),
      })
      .register(typeNames, { name: "ErrorRateRuleInput" })
      .prefault({})
      .describe("Viewers of a site get errors."),
  })
  .register(typeNames, { name: "AlertRulesInput" });

/** Alerts of a node. */
export const alerts = z
  .strictObject({
    node: v.shortText
      .optional()
      .describe("Name of this node in messages. Left out: the machine's host name."),
    channels: z
      .record(v.originName, z.union([webhookChannel, slackChannel, emailChannel]))
      .prefault({})
      .describe("Who is told, by a name of your choice: a webhook, a chat, or people by e-mail."),
    everySeconds: v.whole("seconds", 1, 3600).prefault(10).describe("How often the rules are looked at."),
    reminderSeconds: v
      .whole("seconds", 0, WEEK_SECONDS)
      .prefault(14_400)
      .describe("What still holds is told again after this. 0: it is not."),
    rules: rules.prefault({}).describe("What is watched."),
  })
  .register(typeNames, { name: "AlertsInput" });
