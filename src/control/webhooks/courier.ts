/**
 * Brings deliveries to their webhooks: one at a time to each, in turn, later and later when it fails. However
 * much waits for webhooks that fail or are slow, half of the places is for the others.
 */
import { type Clock, every } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { signedFields, webhookKey } from "../../service/webhook-signature.ts";
import type { ControlDatabase } from "../database.ts";
import { DELIVERIES_AT_ONCE_MAX, DELIVERY_RETRIES_MS, LOOK_EVERY_MS, WEBHOOKS_MAX } from "../limits.ts";
import type { DueDelivery, Webhooks } from "./webhooks.ts";

/** Sends one message to a URL that a tenant may have named: to permitted addresses alone, following nothing. */
export type SendWebhook = (
  url: URL,
  body: string,
  fields: Readonly<Record<string, string>>,
) => Promise<{ readonly status: number; readonly retryAfter: string | null }>;

/** Longest wait that a receiver may ask for, in milliseconds. */
const RETRY_AFTER_MS_MAX = 3_600_000;
/** An attempt that takes longer is slow, in milliseconds. */
const SLOW_MS = 2_000;
/** Waits differ by so much of them, so that what failed together is not tried together. */
const JITTER = 0.2;
const PROBLEM_CHARS_MAX = 300;

/** What it needs. */
export interface CourierParts {
  readonly webhooks: Webhooks;
  readonly database: ControlDatabase;
  readonly clock: Clock;
  readonly send: SendWebhook;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly onError: (message: string) => void;
}

/** The courier. */
export class WebhookCourier {
  readonly #parts: CourierParts;
  readonly #busy = new Set<string>();
  /** When each webhook had its last turn, and whether that failed or was slow. */
  readonly #turns = new Map<string, { readonly at: number; readonly isBad: boolean }>();
  #turn = 0;
  readonly #cancelLook: () => void;
  #closed = false;

  constructor(parts: CourierParts) {
    this.#parts = parts;
    parts.webhooks.onDue = () => this.look();
    this.#cancelLook = every(parts.clock, LOOK_EVERY_MS, () => this.look());
  }

  /** Sends what is due now. */
  look(): void {
    if (this.#closed || this.#busy.size >= DELIVERIES_AT_ONCE_MAX) return;
    const due = this.#parts.webhooks.due().filter(({ webhook }) => !this.#busy.has(webhook));
    const turnOf = ({ webhook }: DueDelivery): number => this.#turns.get(webhook)?.at ?? 0;
    due.sort((a, b) => turnOf(a) - turnOf(b) || a.next_ms - b.next_ms);
    for (const delivery of due) {
      if (this.#busy.size >= DELIVERIES_AT_ONCE_MAX) return;
      if (this.#isBad(delivery.webhook) && this.#badOnes() >= DELIVERIES_AT_ONCE_MAX / 2) continue;
      this.#busy.add(delivery.webhook);
      const startMs = this.#parts.clock.steady.now();
      void this.#attempt(delivery).then((isGood) => {
        const isBad = !isGood || this.#parts.clock.steady.now() - startMs > SLOW_MS;
        this.#noteTurn(delivery.webhook, isBad);
        this.#busy.delete(delivery.webhook);
        this.look();
      });
    }
  }

  #noteTurn(webhook: string, isBad: boolean): void {
    // Of those that were ended nothing else is forgotten.
    if (this.#turns.size >= 2 * WEBHOOKS_MAX) this.#turns.clear();
    this.#turns.set(webhook, { at: ++this.#turn, isBad });
  }

  #isBad(webhook: string): boolean {
    return this.#turns.get(webhook)?.isBad === true;
  }

  #badOnes(): number {
    return [...this.#busy].filter((webhook) => this.#isBad(webhook)).length;
  }

  /** What is under way may arrive, and is sent again after the next start. */
  close(): void {
    this.#closed = true;
    this.#cancelLook();
  }

  /** Never rejects; resolves with whether it was delivered. */
  async #attempt(delivery: DueDelivery): Promise<boolean> {
    const { webhooks, database, clock, onError } = this.#parts;
    try {
      const ended = await this.#send(delivery);
      if (this.#closed) return false;
      const waitMs = ended.isFinal ? undefined : DELIVERY_RETRIES_MS[delivery.attempts];
      const spread = waitMs === undefined ? 0 : waitMs * (1 + JITTER * (2 * this.#parts.random() - 1));
      const nextMs =
        ended.problem === null || waitMs === undefined
          ? null
          : Math.floor(clock.steady.now() + Math.max(spread, ended.waitMs));
      database.relaxed(() => webhooks.attempted(delivery.id, delivery.webhook, ended.problem, nextMs));
      return ended.problem === null;
    } catch (error) {
      onError(`webhook ${delivery.webhook}: ${messageOf(error)}`);
      return false;
    }
  }

  /** Never rejects. */
  async #send({ id, webhook, body }: DueDelivery): Promise<{
    readonly problem: string | null;
    readonly waitMs: number;
    readonly isFinal: boolean;
  }> {
    const target = this.#parts.webhooks.target(webhook);
    const failed = (problem: string, waitMs = 0, isFinal = false) => ({
      problem: problem.slice(0, PROBLEM_CHARS_MAX),
      waitMs,
      isFinal,
    });
    if (target === null) return failed("its URL can not be opened: seal.key is not the one of then", 0, true);
    try {
      const fields = signedFields(webhookKey(target.secret), id, this.#parts.clock.steady.now(), body);
      const { status, retryAfter } = await this.#parts.send(new URL(target.url), body, fields);
      if (status >= 200 && status < 300) return { problem: null, waitMs: 0, isFinal: true };
      const waitMs = /^\d{1,9}$/.test(retryAfter ?? "")
        ? Math.min(Number(retryAfter) * 1_000, RETRY_AFTER_MS_MAX)
        : 0;
      // 410: it wants no more of this (RFC 9110 section 15.5.11).
      return failed(`it answered ${status}`, waitMs, status === 410);
    } catch (error) {
      return failed(messageOf(error));
    }
  }
}
