/** Alerts as JSON to a program, signed; the id stays the same over attempts at the same content. */
import type { Clock } from "../../base/clock.ts";
import type { WebhookChannelConfig } from "../../config/schema.ts";
import { signedFields, WEBHOOK_KEY_BYTES_MIN, webhookKey } from "../../service/webhook-signature.ts";
import { type AlertChange, keyOf } from "./alert.ts";
import { type Channel, DeliveryError } from "./delivery.ts";
import type { Notification } from "./message.ts";
import { post } from "./post.ts";
import { type Environment, secretOf } from "./secret.ts";

/** A signed webhook. */
export class WebhookChannel implements Channel {
  readonly kind = "webhook";
  readonly #config: WebhookChannelConfig;
  readonly #clock: Clock;
  readonly #env: Environment;

  constructor(config: WebhookChannelConfig, clock: Clock, env: Environment) {
    this.#config = config;
    this.#clock = clock;
    this.#env = env;
  }

  async ready(): Promise<void> {
    await secretOf(this.#config.webhook, this.#env);
    keyBytes(await secretOf(this.#config.secret, this.#env));
  }

  async send(notification: Notification): Promise<void> {
    const url = await secretOf(this.#config.webhook, this.#env);
    const key = keyBytes(await secretOf(this.#config.secret, this.#env));
    const { id, node, changes } = notification;
    const body = JSON.stringify({
      type: "proxima.alerts",
      timestamp: new Date(this.#clock.now()).toISOString(),
      data: { node, alerts: changes.map(shown) },
    });
    await post(url, body, signedFields(key, id, this.#clock.now(), body));
  }
}

/** Throws a DeliveryError for a key that is too short. */
function keyBytes(secret: string): Buffer {
  const key = webhookKey(secret);
  if (key.byteLength < WEBHOOK_KEY_BYTES_MIN)
    throw new DeliveryError(
      `has a secret of ${key.byteLength} bytes; at least ${WEBHOOK_KEY_BYTES_MIN} are needed`,
    );
  return key;
}

function shown(change: AlertChange) {
  const { state, condition, sinceMs, atMs } = change;
  const { kind, subject, severity, summary, details } = condition;
  return {
    key: keyOf(condition),
    state,
    kind,
    subject,
    severity,
    summary,
    since: new Date(sinceMs).toISOString(),
    at: new Date(atMs).toISOString(),
    details,
  };
}
