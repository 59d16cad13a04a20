/** What a channel is, and how it fails. */
import { ProximaError } from "../../base/errors.ts";
import type { Notification } from "./message.ts";

/** One way to tell people or programs. */
export interface Channel {
  readonly kind: "webhook" | "slack" | "email";
  /** Resolves when the secrets that it needs are there. Rejects with a sentence that follows its name. */
  ready(): Promise<void>;
  /** Rejects with an error whose message holds no secret and follows its name. */
  send(notification: Notification): Promise<void>;
}

/** A delivery that failed. Its message continues a sentence that begins with the channel's name. */
export class DeliveryError extends ProximaError<"alert_not_delivered"> {
  /** How long the receiver asks to be left alone, in milliseconds. */
  readonly waitMs: number;

  constructor(message: string, options: { waitMs?: number; cause?: unknown } = {}) {
    super("alert_not_delivered", message, { source: "node", cause: options.cause });
    this.name = "DeliveryError";
    this.waitMs = options.waitMs ?? 0;
  }
}
