/**
 * Alerts as JSON to a program, signed as Standard Webhooks says (standardwebhooks.com, specification 1.0.0):
 * HMAC-SHA256 over `id.timestamp.body`. The timestamp is that of the attempt, and receivers refuse old ones;
 * the id stays the same over attempts at the same content, and receivers take each id once. So a request that
 * somebody recorded is of no use to him.
 */
import { createHmac } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import type { WebhookChannelConfig } from "../../config/schema.ts";
import { type AlertChange, keyOf } from "./alert.ts";
import { type Channel, DeliveryError } from "./delivery.ts";
import type { Notification } from "./message.ts";
import { post } from "./post.ts";
import { type Environment, secretOf } from "./secret.ts";

/** Of a key that is to be worth its name, in bytes. */
const KEY_BYTES_MIN = 16;

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
    const timestamp = String(Math.floor(this.#clock.now() / 1_000));
    await post(url, body, {
      "webhook-id": id,
      "webhook-timestamp": timestamp,
      "webhook-signature": `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`,
    });
  }
}

/** `whsec_` and base 64, or any text as it is. Throws a DeliveryError for a key that is too short. */
function keyBytes(secret: string): Buffer {
  const key = secret.startsWith("whsec_")
    ? Buffer.from(secret.slice("whsec_".length), "base64")
    : Buffer.from(secret, "utf8");
  if (key.byteLength < KEY_BYTES_MIN)
    throw new DeliveryError(`has a secret of ${key.byteLength} bytes; at least ${KEY_BYTES_MIN} are needed`);
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
