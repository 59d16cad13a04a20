/** Alerts to a chat, as Slack's incoming webhooks take them; Mattermost, Rocket.Chat and others take the same. */
import type { SlackChannelConfig } from "../../config/schema.ts";
import type { Channel } from "./delivery.ts";
import { linesOf, type Notification, subjectOf } from "./message.ts";
import { post } from "./post.ts";
import { type Environment, secretOf } from "./secret.ts";

/** A chat. */
export class SlackChannel implements Channel {
  readonly kind = "slack";
  readonly #config: SlackChannelConfig;
  readonly #env: Environment;

  constructor(config: SlackChannelConfig, env: Environment) {
    this.#config = config;
    this.#env = env;
  }

  async ready(): Promise<void> {
    await secretOf(this.#config.slack, this.#env);
  }

  async send(notification: Notification): Promise<void> {
    const url = await secretOf(this.#config.slack, this.#env);
    const lines = [`*${escaped(subjectOf(notification))}*`, ...linesOf(notification).map(escaped)];
    await post(url, JSON.stringify({ text: lines.join("\n") }));
  }
}

/** The three characters that make links and mentions ("Escaping text", Slack's reference). */
function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
