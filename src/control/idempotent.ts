/**
 * Answers of requests with an idempotency key: who sends the same again gets the same answer and nothing is
 * done twice; who sends something else under the key is told. Kept for a day, as many as the limit says.
 */
import type { Clock } from "../base/clock.ts";
import type { ControlDatabase } from "./database.ts";
import { IDEMPOTENT_KEPT_MAX, IDEMPOTENT_KEPT_MS } from "./limits.ts";
import { Refused } from "./refusal.ts";

/** Longest key, in characters. */
export const IDEMPOTENCY_KEY_CHARS_MAX = 200;

/** The answers that are kept. */
export class Idempotent {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;

  constructor(database: ControlDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** The answer of this caller's key, as JSON; null when there is none. Throws a Refused 409 when `request` was another. */
  find(caller: string, key: string, request: string): string | null {
    const row = this.#database.get<{ request: string; answer: string; at_ms: number }>(
      "SELECT * FROM idempotent WHERE caller = ? AND key = ?",
      caller,
      key,
    );
    if (row === null || row.at_ms <= this.#clock.now() - IDEMPOTENT_KEPT_MS) return null;
    if (row.request !== request)
      throw new Refused(409, `the idempotency key "${key}" was used for another request`);
    return row.answer;
  }

  /** Keeps an answer, within the transaction that it speaks of. */
  keep(caller: string, key: string, request: string, answer: string): void {
    const nowMs = Math.floor(this.#clock.now());
    this.#database.run("DELETE FROM idempotent WHERE at_ms <= ?", nowMs - IDEMPOTENT_KEPT_MS);
    this.#database.run(
      "DELETE FROM idempotent WHERE rowid IN (SELECT rowid FROM idempotent ORDER BY at_ms DESC LIMIT -1 OFFSET ?)",
      IDEMPOTENT_KEPT_MAX - 1,
    );
    this.#database.run(
      "INSERT OR REPLACE INTO idempotent (caller, key, request, answer, at_ms) VALUES (?, ?, ?, ?, ?)",
      caller,
      key,
      request,
      answer,
      nowMs,
    );
  }
}
