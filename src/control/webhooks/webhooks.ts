/**
 * Webhooks: somebody outside is told of what happens. An event becomes a delivery for each webhook that wants
 * it in the transaction of what it tells of, so none is lost; it is tried for a day, then given up, and can
 * be seen and sent again. A delivery may arrive twice, with the same id.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import type { Sealer } from "../../service/sealer.ts";
import { newWebhookSecret } from "../../service/webhook-signature.ts";
import type { ControlDatabase } from "../database.ts";
import type { EventType, FleetEvent } from "../events.ts";
import { DELIVERIES_KEPT_MAX, DELIVERIES_WAITING_MAX, WEBHOOKS_MAX } from "../limits.ts";
import { Refused } from "../refusal.ts";

/** A webhook without its secret; its URL may be one too. */
export interface WebhookView {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly events: readonly EventType[];
  /** Sites whose events it gets; null for all, and for those of the fleet. */
  readonly sites: readonly string[] | null;
  readonly waiting: number;
  readonly dead: number;
  readonly createdAt: string;
  readonly createdBy: string;
}

/** What a webhook is to be. */
export interface WebhookRequest {
  readonly name: string;
  readonly url: string;
  readonly events: readonly EventType[];
  readonly sites?: readonly string[] | null | undefined;
}

/** States of a delivery. */
export const DELIVERY_STATES = ["waiting", "delivered", "dead"] as const;
/** One of them. */
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** A message to one webhook. */
export interface DeliveryView {
  readonly id: string;
  readonly type: string;
  readonly state: DeliveryState;
  readonly createdAt: string;
  readonly attempts: number;
  readonly nextAttemptAt: string | null;
  readonly endedAt: string | null;
  /** Why the last attempt failed. */
  readonly problem: string | null;
}

/** A delivery that is due, with where it goes. */
export interface DueDelivery {
  readonly id: string;
  readonly webhook: string;
  readonly body: string;
  readonly attempts: number;
  /** Since when it is due. */
  readonly next_ms: number;
}

/** Where a webhook's messages go, and what signs them. */
export interface Target {
  readonly url: string;
  readonly secret: string;
}

interface Row {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly target: Uint8Array;
  readonly events: string;
  readonly sites: string | null;
  readonly created_ms: number;
  readonly created_by: string;
}

interface DeliveryRow {
  readonly id: string;
  readonly type: string;
  readonly state: DeliveryState;
  readonly created_ms: number;
  readonly attempts: number;
  readonly next_ms: number;
  readonly ended_ms: number | null;
  readonly problem: string | null;
}

/** The webhooks and what is to be delivered to them. Changes belong into the caller's transaction. */
export class Webhooks {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;
  readonly #sealer: Sealer;
  /** Called when there is something new to deliver. */
  onDue: () => void = () => {};

  constructor(database: ControlDatabase, clock: Clock, sealer: Sealer) {
    this.#database = database;
    this.#clock = clock;
    this.#sealer = sealer;
  }

  /** Makes one. Its secret is told this once. */
  create(request: WebhookRequest, by: string): { readonly webhook: WebhookView; readonly secret: string } {
    const count = this.#database.get<{ n: number }>("SELECT count(*) AS n FROM webhooks")?.n ?? 0;
    if (count >= WEBHOOKS_MAX)
      throw new Refused(409, `there are ${count} webhooks; at most ${WEBHOOKS_MAX} are allowed`);
    const id = `wh_${randomBytes(6).toString("hex")}`;
    const secret = newWebhookSecret();
    this.#database.run(
      "INSERT INTO webhooks (id, name, host, target, events, sites, created_ms, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      id,
      request.name,
      new URL(request.url).host,
      this.#sealer.seal(JSON.stringify({ url: request.url, secret } satisfies Target), placeOf(id)),
      JSON.stringify(request.events),
      request.sites == null ? null : JSON.stringify(request.sites),
      this.#now(),
      by,
    );
    return { webhook: this.get(id), secret };
  }

  list(only: readonly string[] | null): WebhookView[] {
    return this.#database
      .all<Row>("SELECT * FROM webhooks ORDER BY created_ms, id")
      .filter((row) => only === null || isAmong(sitesOf(row), only))
      .map((row) => this.#view(row));
  }

  get(id: string): WebhookView {
    return this.#view(this.#mustGet(id));
  }

  delete(id: string): void {
    this.#mustGet(id);
    this.#database.run("DELETE FROM webhooks WHERE id = ?", id);
    this.#database.run("DELETE FROM deliveries WHERE webhook = ?", id);
  }

  /** Where it goes; null when that can not be read any more. */
  target(id: string): Target | null {
    const row = this.#database.get<Row>("SELECT * FROM webhooks WHERE id = ?", id);
    const text = row === null ? null : this.#sealer.open(row.target, placeOf(id));
    return text === null ? null : (JSON.parse(text) as Target);
  }

  /** Something happened: whoever wants to hear of it gets a delivery. */
  tell({ type, sites, data }: FleetEvent): void {
    const rows = this.#database.all<Row>("SELECT * FROM webhooks");
    for (const row of rows) {
      if (!(JSON.parse(row.events) as string[]).includes(type)) continue;
      const wanted = sitesOf(row);
      if (wanted !== null && !(sites ?? []).some((site) => wanted.includes(site))) continue;
      this.enqueue(row.id, type, data);
    }
  }

  /** A delivery to one webhook. Returns its id. */
  enqueue(webhook: string, type: string, data: Readonly<Record<string, unknown>>): string {
    const nowMs = this.#now();
    const id = `msg_${randomUUID().replaceAll("-", "")}`;
    this.#database.run(
      "INSERT INTO deliveries (id, webhook, type, body, state, created_ms, attempts, next_ms) VALUES (?, ?, ?, ?, 'waiting', ?, 0, ?)",
      id,
      webhook,
      type,
      JSON.stringify({ type, timestamp: new Date(nowMs).toISOString(), data }),
      nowMs,
      nowMs,
    );
    const waiting = this.#waiting(webhook);
    if (waiting > DELIVERIES_WAITING_MAX)
      this.#database.run(
        `UPDATE deliveries SET state = 'dead', ended_ms = ?, problem = 'too much waited for this webhook' WHERE rowid IN
           (SELECT rowid FROM deliveries WHERE webhook = ? AND state = 'waiting' ORDER BY rowid LIMIT ?)`,
        nowMs,
        webhook,
        waiting - DELIVERIES_WAITING_MAX,
      );
    setImmediate(() => this.onDue());
    return id;
  }

  /** Deliveries of a webhook, the newest first, older than the one with the id `before`. */
  deliveries(webhook: string, state: DeliveryState | null, limit: number, before: string): DeliveryView[] {
    this.#mustGet(webhook);
    return this.#database
      .all<DeliveryRow>(
        `SELECT * FROM deliveries WHERE webhook = ? AND (? IS NULL OR state = ?)
           AND rowid < coalesce((SELECT rowid FROM deliveries WHERE id = ?), ${Number.MAX_SAFE_INTEGER})
         ORDER BY rowid DESC LIMIT ?`,
        webhook,
        state,
        state,
        before,
        limit,
      )
      .map(deliveryView);
  }

  delivery(webhook: string, id: string): DeliveryView {
    const row = this.#database.get<DeliveryRow>(
      "SELECT * FROM deliveries WHERE webhook = ? AND id = ?",
      webhook,
      id,
    );
    if (row === null) throw new Refused(404, "there is no such delivery (any more)");
    return deliveryView(row);
  }

  /** Has one delivered again, or at last, from the first attempt. */
  retry(webhook: string, id: string): DeliveryView {
    this.delivery(webhook, id);
    this.#database.run(
      "UPDATE deliveries SET state = 'waiting', attempts = 0, next_ms = ?, ended_ms = NULL WHERE id = ?",
      this.#now(),
      id,
    );
    setImmediate(() => this.onDue());
    return this.delivery(webhook, id);
  }

  /** The earliest delivery that is due to each webhook that has one, the one that waits longest first. */
  due(): DueDelivery[] {
    return this.#database.all<DueDelivery>(
      `SELECT d.id, d.webhook, d.body, d.attempts, d.next_ms FROM webhooks JOIN deliveries AS d ON d.rowid =
         (SELECT rowid FROM deliveries WHERE webhook = webhooks.id AND state = 'waiting' AND next_ms <= ?
          ORDER BY next_ms, rowid LIMIT 1)
       ORDER BY d.next_ms, d.rowid`,
      this.#now(),
    );
  }

  /** An attempt has ended. `nextMs`: when to try again; null when it was delivered, or given up. */
  attempted(id: string, webhook: string, problem: string | null, nextMs: number | null): void {
    const state: DeliveryState = problem === null ? "delivered" : nextMs === null ? "dead" : "waiting";
    this.#database.run(
      "UPDATE deliveries SET state = ?, attempts = attempts + 1, problem = ?, next_ms = coalesce(?, next_ms), ended_ms = ? WHERE id = ?",
      state,
      problem,
      nextMs,
      state === "waiting" ? null : this.#now(),
      id,
    );
    if (state !== "waiting")
      this.#database.run(
        `DELETE FROM deliveries WHERE id IN
           (SELECT id FROM deliveries WHERE webhook = ? AND state <> 'waiting' ORDER BY ended_ms DESC LIMIT -1 OFFSET ?)`,
        webhook,
        DELIVERIES_KEPT_MAX,
      );
  }

  /** How many deliveries are in each state. */
  states(): Readonly<Record<DeliveryState, number>> {
    const rows = this.#database.all<{ state: string; n: number }>(
      "SELECT state, count(*) AS n FROM deliveries GROUP BY state",
    );
    const of = (state: string): number => rows.find((row) => row.state === state)?.n ?? 0;
    return { waiting: of("waiting"), delivered: of("delivered"), dead: of("dead") };
  }

  #waiting(webhook: string): number {
    return (
      this.#database.get<{ n: number }>(
        "SELECT count(*) AS n FROM deliveries WHERE webhook = ? AND state = 'waiting'",
        webhook,
      )?.n ?? 0
    );
  }

  #mustGet(id: string): Row {
    const row = this.#database.get<Row>("SELECT * FROM webhooks WHERE id = ?", id);
    if (row === null) throw new Refused(404, `there is no webhook "${id.slice(0, 100)}"`);
    return row;
  }

  #view(row: Row): WebhookView {
    const count = (state: DeliveryState): number =>
      this.#database.get<{ n: number }>(
        "SELECT count(*) AS n FROM deliveries WHERE webhook = ? AND state = ?",
        row.id,
        state,
      )?.n ?? 0;
    return {
      id: row.id,
      name: row.name,
      host: row.host,
      // Written by `create` alone.
      events: JSON.parse(row.events) as EventType[],
      sites: sitesOf(row),
      waiting: count("waiting"),
      dead: count("dead"),
      createdAt: new Date(row.created_ms).toISOString(),
      createdBy: row.created_by,
    };
  }

  /** Of the machine: deliveries are waited for, and who gets them is in the world outside. */
  #now(): number {
    return Math.floor(this.#clock.steady.now());
  }
}

function placeOf(id: string): string {
  return `webhook ${id}`;
}

function sitesOf(row: Row): string[] | null {
  return row.sites === null ? null : (JSON.parse(row.sites) as string[]);
}

function isAmong(sites: readonly string[] | null, only: readonly string[]): boolean {
  return sites?.every((site) => only.includes(site)) ?? false;
}

function deliveryView(row: DeliveryRow): DeliveryView {
  const date = (ms: number): string => new Date(ms).toISOString();
  return {
    id: row.id,
    type: row.type,
    state: row.state,
    createdAt: date(row.created_ms),
    attempts: row.attempts,
    nextAttemptAt: row.state === "waiting" ? date(row.next_ms) : null,
    endedAt: row.ended_ms === null ? null : date(row.ended_ms),
    problem: row.problem,
  };
}
