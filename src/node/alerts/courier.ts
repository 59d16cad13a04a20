/**
 * Brings changes to one channel. What waits is the newest change of each alert, so the queue is as long as
 * there are alerts, and a channel that was away hears how things stand, not how they once were. Changes of one
 * moment go together. A delivery that fails is tried again, later and later, as long as the node lives.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { NodeLog } from "../../service/log.ts";
import { type AlertChange, keyOf } from "./alert.ts";
import { ALERTS_MAX } from "./board.ts";
import { type Channel, DeliveryError } from "./delivery.ts";
import type { Notification } from "./message.ts";

/** Changes within this time are one message, in milliseconds. */
const GATHER_MS = 1_000;
/** Changes in one message. */
const CHANGES_MAX = 100;
const RETRY_FIRST_MS = 1_000;
const RETRY_MS_MAX = 300_000;
/** How long the end of the node waits for what is still to be told. */
const STOP_MS_MAX = 3_000;

/** What a courier needs. */
export interface CourierSetup {
  readonly name: string;
  readonly channel: Channel;
  readonly node: string;
  readonly clock: Clock;
  readonly log: NodeLog;
  /** From 0 to 1: spreads retries. */
  readonly random: () => number;
}

/** How a channel stands. */
export interface ChannelStatus {
  readonly name: string;
  readonly kind: Channel["kind"];
  /** Changes that are not delivered yet. */
  readonly waiting: number;
  readonly delivered: number;
  /** ISO 8601; null before the first delivery. */
  readonly lastDeliveredAt: string | null;
  /** When the next attempt is; null while nothing waits, or one is under way. ISO 8601. */
  readonly nextAttemptAt: string | null;
  /** Why the last delivery failed; null when it did not. */
  readonly problem: string | null;
}

/** One channel's courier. */
export class Courier {
  readonly #setup: Omit<CourierSetup, "channel" | "node">;
  #channel: Channel;
  #node: string;
  readonly #waiting = new Map<string, AlertChange>();
  /** What was last tried, so that the same content keeps its id. */
  #tried: { readonly id: string; readonly changes: readonly AlertChange[] } | null = null;
  #attempts = 0;
  #problem: string | null = null;
  #delivered = 0;
  #lastDeliveredMs: number | null = null;
  #timer: { readonly atMs: number; readonly cancel: () => void } | null = null;
  #sending: Promise<void> | null = null;
  #stopped = false;

  constructor(setup: CourierSetup) {
    this.#setup = setup;
    this.#channel = setup.channel;
    this.#node = setup.node;
    this.#checkSecrets();
  }

  /** Takes changes; the newest one of each alert is told. */
  tell(changes: readonly AlertChange[]): void {
    if (this.#stopped || changes.length === 0) return;
    for (const change of changes) {
      const key = keyOf(change.condition);
      // To the end: the order is that of what happened last.
      this.#waiting.delete(key);
      this.#waiting.set(key, change);
    }
    while (this.#waiting.size > ALERTS_MAX) {
      const over = [...this.#waiting].find(([, { state }]) => state === "resolved") ?? [...this.#waiting][0];
      if (over === undefined) break;
      this.#waiting.delete(over[0]);
      this.#setup.log("warning", `alerts: ${this.#setup.name} will not hear of ${over[0]}: too much waits`);
    }
    this.#arm(GATHER_MS);
  }

  /** Goes on with another channel: the config has changed. What waits is told there, at once. */
  replace(channel: Channel, node: string): void {
    this.#channel = channel;
    this.#node = node;
    this.#checkSecrets();
    this.#attempts = 0;
    if (this.#timer === null) return;
    this.#disarm();
    this.#arm(GATHER_MS);
  }

  /** Sends one message past the queue. Resolves with why it failed; null when it was delivered. */
  async test(change: AlertChange): Promise<string | null> {
    try {
      await this.#channel.send(this.#notification(newId(), [change]));
      return null;
    } catch (error) {
      return messageOf(error);
    }
  }

  status(): ChannelStatus {
    return {
      name: this.#setup.name,
      kind: this.#channel.kind,
      waiting: this.#waiting.size,
      delivered: this.#delivered,
      lastDeliveredAt: this.#lastDeliveredMs === null ? null : new Date(this.#lastDeliveredMs).toISOString(),
      nextAttemptAt: this.#timer === null ? null : new Date(this.#timer.atMs).toISOString(),
      problem: this.#problem,
    };
  }

  /** Tries once more what waits, for a moment, and ends. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#disarm();
    const last = async (): Promise<void> => {
      await this.#sending;
      if (this.#waiting.size > 0) await this.#attempt();
    };
    // After the first line: nothing is armed any more, but what waits may still leave.
    this.#stopped = true;
    await Promise.race([last(), Bun.sleep(STOP_MS_MAX)]);
    if (this.#waiting.size > 0)
      this.#setup.log("warning", `alerts: ${this.#waiting.size} were not delivered to ${this.#setup.name}`);
  }

  #notification(id: string, changes: readonly AlertChange[]): Notification {
    return { id, node: this.#node, changes };
  }

  /** A secret that is missing is told now, not when it is needed. */
  #checkSecrets(): void {
    const { log, name } = this.#setup;
    void this.#channel
      .ready()
      .catch((error: unknown) => log("warning", `alerts: channel ${name} ${messageOf(error)}`));
  }

  #arm(delayMs: number): void {
    if (this.#timer !== null || this.#sending !== null || this.#stopped) return;
    const { clock } = this.#setup;
    const cancel = clock.after(delayMs, () => {
      this.#timer = null;
      this.#sending = this.#attempt().finally(() => {
        this.#sending = null;
        if (this.#waiting.size > 0) this.#arm(this.#nextMs);
      });
    });
    this.#timer = { atMs: clock.now() + delayMs, cancel };
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** How long until the next attempt, after the last one. */
  #nextMs = GATHER_MS;

  async #attempt(): Promise<void> {
    const { clock, log, name, random } = this.#setup;
    const changes = [...this.#waiting.values()].slice(0, CHANGES_MAX);
    const before = this.#tried;
    const isSame =
      before?.changes.length === changes.length && changes.every((change, i) => change === before.changes[i]);
    const id = isSame ? before.id : newId();
    this.#tried = { id, changes };
    try {
      await this.#channel.send(this.#notification(id, changes));
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem) log("error", `alerts: channel ${name} ${problem}; it is tried again`);
      this.#problem = problem;
      this.#attempts++;
      const most = Math.min(RETRY_MS_MAX, RETRY_FIRST_MS * 2 ** Math.min(this.#attempts - 1, 20));
      const waitMs = error instanceof DeliveryError ? error.waitMs : 0;
      this.#nextMs = Math.max(waitMs, most / 2 + (random() * most) / 2);
      return;
    }
    if (this.#problem !== null) log("info", `alerts: channel ${name} takes alerts again`);
    this.#problem = null;
    this.#attempts = 0;
    this.#nextMs = GATHER_MS;
    this.#delivered += changes.length;
    this.#lastDeliveredMs = clock.now();
    for (const change of changes) {
      const key = keyOf(change.condition);
      // What changed meanwhile is still to be told.
      if (this.#waiting.get(key) === change) this.#waiting.delete(key);
    }
  }
}

function newId(): string {
  return `msg_${randomUUID().replaceAll("-", "")}`;
}
