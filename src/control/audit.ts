/**
 * The audit log: who did or tried what, when, from where. It is only appended to. Refusals are anybody's to
 * cause, so those of one address have a limit in each minute; beyond it they are counted, and the count
 * becomes one entry.
 */
import type { Clock } from "../base/clock.ts";
import type { ControlDatabase } from "./database.ts";
import { REFUSAL_ADDRESSES_MAX, REFUSAL_WINDOW_MS, REFUSALS_AUDITED_MAX } from "./limits.ts";

/** Who did something. */
export interface Actor {
  /** "token:ID", "node:ID", "system", or "nobody" for who showed nothing that is known. */
  readonly id: string;
  readonly name: string;
  /** Address it came from; empty for the control plane itself. */
  readonly address: string;
}

/** An entry of the log. */
export interface AuditEntry {
  readonly sequence: number;
  readonly at: string;
  readonly actor: string;
  readonly actorName: string;
  readonly address: string;
  /** What was done or tried: "site.activate". */
  readonly action: string;
  /** To what: a site, a token, a node. */
  readonly target: string;
  readonly outcome: "done" | "refused";
  readonly detail: string;
}

const DETAIL_CHARS_MAX = 1_000;
const TARGET_CHARS_MAX = 200;

interface Row extends Omit<AuditEntry, "at" | "actorName"> {
  readonly at_ms: number;
  readonly actor_name: string;
}

/** The control plane itself. */
export const SYSTEM: Actor = { id: "system", name: "control plane", address: "" };

/** The log. */
export class Audit {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;
  #refusals = new Map<string, number>();
  #cancelWindow: (() => void) | null = null;

  constructor(database: ControlDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Notes what was done. */
  done(actor: Actor, action: string, target: string, detail = ""): void {
    this.#append(actor, action, target, "done", detail);
  }

  /** Notes what was refused. */
  refused(actor: Actor, action: string, target: string, detail: string): void {
    const known = this.#refusals.has(actor.address) || this.#refusals.size < REFUSAL_ADDRESSES_MAX;
    const from = known ? actor.address : "others";
    const count = (this.#refusals.get(from) ?? 0) + 1;
    this.#refusals.set(from, count);
    this.#cancelWindow ??= this.#clock.after(REFUSAL_WINDOW_MS, () => this.#endWindow());
    if (count <= REFUSALS_AUDITED_MAX) this.#append(actor, action, target, "refused", detail);
  }

  /** The newest entries first, older than `before` when given. */
  list(
    limit: number,
    before = Number.MAX_SAFE_INTEGER,
    filter: { readonly actor?: string; readonly outcome?: string } = {},
  ): AuditEntry[] {
    return this.#database
      .all<Row>(
        "SELECT * FROM audit WHERE sequence < ? AND (? IS NULL OR actor = ?) AND (? IS NULL OR outcome = ?) ORDER BY sequence DESC LIMIT ?",
        before,
        filter.actor ?? null,
        filter.actor ?? null,
        filter.outcome ?? null,
        filter.outcome ?? null,
        limit,
      )
      .map(({ at_ms, actor_name, ...row }) => ({
        ...row,
        at: new Date(at_ms).toISOString(),
        actorName: actor_name,
      }));
  }

  /** Writes what was only counted. */
  close(): void {
    this.#cancelWindow?.();
    this.#endWindow();
  }

  #endWindow(): void {
    this.#cancelWindow = null;
    for (const [address, count] of this.#refusals) {
      const more = count - REFUSALS_AUDITED_MAX;
      if (more > 0)
        this.#append(
          { id: "nobody", name: "", address },
          "many",
          "",
          "refused",
          `${more} more refusals in a minute`,
        );
    }
    this.#refusals = new Map();
  }

  #append(
    actor: Actor,
    action: string,
    target: string,
    outcome: AuditEntry["outcome"],
    detail: string,
  ): void {
    this.#database.run(
      "INSERT INTO audit (at_ms, actor, actor_name, address, action, target, outcome, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      Math.floor(this.#clock.now()),
      actor.id,
      actor.name,
      actor.address,
      action,
      target.slice(0, TARGET_CHARS_MAX),
      outcome,
      detail.slice(0, DETAIL_CHARS_MAX),
    );
  }
}
