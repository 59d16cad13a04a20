/** From a config to a way of telling. */
import type { Clock } from "../../base/clock.ts";
import type { AlertChannelConfig } from "../../config/schema.ts";
import type { Channel } from "./delivery.ts";
import { EmailChannel } from "./email.ts";
import type { Environment } from "./secret.ts";
import { SlackChannel } from "./slack.ts";
import { WebhookChannel } from "./webhook.ts";

/** The channel that a config describes. */
export function channelOf(config: AlertChannelConfig, clock: Clock, env: Environment): Channel {
  if ("webhook" in config) return new WebhookChannel(config, clock, env);
  return "slack" in config ? new SlackChannel(config, env) : new EmailChannel(config, env);
}
