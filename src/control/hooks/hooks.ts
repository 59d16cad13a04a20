/**
 * Hooks: content systems tell of a change by a signed message, and rules make purges of it. A message and its
 * purges are one transaction with the memory of the message, so one that is sent again, by the sender who
 * heard no answer or by somebody who recorded it, gets the same answer and purges nothing.
 */
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import { parsePurgeRequest } from "../../cache/purge-request.ts";
import type { Sealer } from "../../service/sealer.ts";
import { checkSignature, newWebhookSecret } from "../../service/webhook-signature.ts";
import { absoluteUrl } from "../absolute-url.ts";
import type { ControlDatabase } from "../database.ts";
import {
  HOOK_BURST,
  HOOK_MESSAGES_KEPT_MAX,
  HOOK_MESSAGES_KEPT_MS,
  HOOK_PER_SECOND,
  HOOKS_MAX,
} from "../limits.ts";
import type { FleetPurges } from "../purges.ts";
import { Rates } from "../rates.ts";
import { Refused } from "../refusal.ts";
import type { Sites } from "../sites.ts";
import { HOOK_TARGETS_MAX, type HookConfig, type Mapped, type MappedPurge, mapMessage } from "./mapping.ts";

/** A hook without its secret. */
export interface HookView extends HookConfig {
  readonly name: string;
  readonly createdAt: string;
  readonly createdBy: string;
  /** When the last good message came. */
  readonly usedAt: string | null;
}

/** A purge of a message as its sender hears of it. */
interface ToldPurge extends MappedPurge {
  readonly targetCount: number;
}

/** What a message has come to. */
export interface HookAnswer extends Mapped {
  /** With the first of their targets; with all of them when it was only tried. */
  readonly purges: readonly ToldPurge[];
  /** Ids of the purges, in the order of `purges`; none when it was only tried. */
  readonly ids: readonly string[];
  readonly dryRun: boolean;
  /** It came before: nothing was done now. */
  readonly repeated: boolean;
}

/** A message as it came. */
export interface HookMessage {
  readonly fields: Headers;
  readonly bytes: Uint8Array;
  readonly value: unknown;
}

const TARGETS_TOLD_MAX = 20;

interface Row {
  readonly name: string;
  readonly site: string;
  readonly config: string;
  readonly secret: Uint8Array;
  readonly old_secret: Uint8Array | null;
  readonly old_until_ms: number | null;
  readonly created_ms: number;
  readonly created_by: string;
  readonly used_ms: number | null;
}

/** What hooks act on. */
export interface HookParts {
  readonly database: ControlDatabase;
  readonly clock: Clock;
  readonly sealer: Sealer;
  readonly sites: Sites;
  readonly purges: FleetPurges;
}

/** The hooks. Changes belong into the caller's transaction. */
export class Hooks {
  readonly #parts: HookParts;
  readonly #rates: Rates;

  constructor(parts: HookParts) {
    this.#parts = parts;
    this.#rates = new Rates(parts.clock, HOOK_PER_SECOND, HOOK_BURST);
  }

  /** Hooks by name, those after `after`. */
  list(limit: number, after: string, only: readonly string[] | null): HookView[] {
    const among = only === null ? "" : `AND site IN (${only.map(() => "?").join(", ")})`;
    return this.#parts.database
      .all<Row>(
        `SELECT * FROM hooks WHERE name > ? ${among} ORDER BY name LIMIT ?`,
        after,
        ...(only ?? []),
        limit,
      )
      .map(viewOf);
  }

  get(name: string): HookView {
    return viewOf(this.#mustGet(name));
  }

  /** The site of a hook; null when there is no such hook. */
  siteOf(name: string): string | null {
    return this.#find(name)?.site ?? null;
  }

  /** Makes a hook, with a secret, or gives one another config; the secret stays then and is not told again. */
  put(
    name: string,
    config: HookConfig,
    by: string,
  ): { readonly hook: HookView; readonly secret: string | null } {
    const { database } = this.#parts;
    this.#parts.sites.get(config.site);
    const text = JSON.stringify(config);
    if (this.#find(name) !== null) {
      database.run("UPDATE hooks SET site = ?, config = ? WHERE name = ?", config.site, text, name);
      return { hook: this.get(name), secret: null };
    }
    const count = database.get<{ n: number }>("SELECT count(*) AS n FROM hooks")?.n ?? 0;
    if (count >= HOOKS_MAX)
      throw new Refused(409, `there are ${count} hooks; at most ${HOOKS_MAX} are allowed`);
    const secret = newWebhookSecret();
    database.run(
      "INSERT INTO hooks (name, site, config, secret, created_ms, created_by) VALUES (?, ?, ?, ?, ?, ?)",
      name,
      config.site,
      text,
      this.#parts.sealer.seal(secret, placeOf(name)),
      this.#now(),
      by,
    );
    return { hook: this.get(name), secret };
  }

  /** Makes another secret; the old one stays good for `overlapSeconds`. */
  rotate(name: string, overlapSeconds: number): { readonly hook: HookView; readonly secret: string } {
    const { secret: old } = this.#mustGet(name);
    const secret = newWebhookSecret();
    this.#parts.database.run(
      "UPDATE hooks SET secret = ?, old_secret = ?, old_until_ms = ? WHERE name = ?",
      this.#parts.sealer.seal(secret, placeOf(name)),
      overlapSeconds > 0 ? old : null,
      overlapSeconds > 0 ? this.#now() + overlapSeconds * 1_000 : null,
      name,
    );
    return { hook: this.get(name), secret };
  }

  delete(name: string): void {
    this.#mustGet(name);
    this.#parts.database.run("DELETE FROM hooks WHERE name = ?", name);
    this.#parts.database.run("DELETE FROM hook_messages WHERE hook = ?", name);
  }

  /**
   * Takes a message. Throws a Refused 401 for one that is not signed well, or whose hook is not there: who can
   * not sign learns nothing of which there are.
   */
  receive(name: string, message: HookMessage, dryRun: boolean): HookAnswer {
    const row = this.#find(name);
    const config = row === null ? null : configOf(row);
    const check = checkSignature(
      message.fields,
      message.bytes,
      row === null ? [newWebhookSecret()] : this.#secretsOf(row),
      this.#now(),
      config?.signatures ?? ["standard", "proxima"],
    );
    if (row === null || config === null || !check.ok)
      throw new Refused(
        401,
        "the message is not signed with this hook's secret, or not in time, or there is no such hook",
        {
          members: {
            secretly: `hook ${name.slice(0, 100)}: ${row === null ? "is not there" : check.ok ? "" : check.reason}`,
          },
        },
      );
    const waitSeconds = this.#rates.take(name);
    if (waitSeconds > 0)
      throw new Refused(429, `too many messages to this hook; try again in ${waitSeconds} s`, {
        fields: { "retry-after": String(waitSeconds) },
      });
    if (dryRun) return tried(mapMessage(config, message.value));
    const { database } = this.#parts;
    const known =
      check.message === null
        ? null
        : database.get<{ answer: string }>(
            "SELECT answer FROM hook_messages WHERE hook = ? AND message = ?",
            name,
            check.message,
          );
    // Written below.
    if (known !== null) return { ...(JSON.parse(known.answer) as HookAnswer), repeated: true };
    const mapped = mapMessage(config, message.value);
    const ids = mapped.purges.map((purge) => this.#purge(purge, `hook:${name}`));
    const purges = mapped.purges.map((one) => told(one, TARGETS_TOLD_MAX));
    const answer: HookAnswer = { ...mapped, purges, ids, dryRun: false, repeated: false };
    if (check.message !== null) this.#remember(name, check.message, answer);
    database.run("UPDATE hooks SET used_ms = ? WHERE name = ?", this.#now(), name);
    return answer;
  }

  /** Says what a message would do, for who may purge the site. */
  test(name: string, value: unknown): HookAnswer {
    return tried(mapMessage(configOf(this.#mustGet(name)), value));
  }

  #purge({ site, scope, mode, targets }: MappedPurge, by: string): string {
    const member = { url: "urls", prefix: "prefixes", tag: "tags", everything: null }[scope];
    const body = { site, scope, mode, ...(member === null ? {} : { [member]: targets }) };
    try {
      const order = parsePurgeRequest(body, {
        sites: () => this.#parts.sites.activeIds(),
        urlTarget: (_site, url) => absoluteUrl(url),
      });
      return this.#parts.purges.create(order, by).id;
    } catch (error) {
      if (error instanceof ProximaError && error.source === "viewer") throw new Refused(422, error.message);
      throw error;
    }
  }

  #remember(name: string, message: string, answer: HookAnswer): void {
    const { database } = this.#parts;
    database.run("DELETE FROM hook_messages WHERE at_ms <= ?", this.#now() - HOOK_MESSAGES_KEPT_MS);
    const count = database.get<{ n: number }>("SELECT count(*) AS n FROM hook_messages")?.n ?? 0;
    if (count >= HOOK_MESSAGES_KEPT_MAX)
      database.run(
        "DELETE FROM hook_messages WHERE (hook, message) IN (SELECT hook, message FROM hook_messages ORDER BY at_ms LIMIT ?)",
        count - HOOK_MESSAGES_KEPT_MAX + 1,
      );
    database.run(
      "INSERT INTO hook_messages (hook, message, at_ms, answer) VALUES (?, ?, ?, ?)",
      name,
      message,
      this.#now(),
      JSON.stringify(answer),
    );
  }

  #secretsOf(row: Row): string[] {
    const isOldGood = row.old_secret !== null && (row.old_until_ms ?? 0) > this.#now();
    const sealed = isOldGood && row.old_secret !== null ? [row.secret, row.old_secret] : [row.secret];
    const opened = sealed.flatMap((one) => this.#parts.sealer.open(one, placeOf(row.name)) ?? []);
    if (opened.length === 0)
      throw new Refused(
        503,
        `the secret of hook "${row.name}" can not be opened: seal.key is not the one that it was sealed with; rotate it`,
      );
    return opened;
  }

  #find(name: string): Row | null {
    return this.#parts.database.get<Row>("SELECT * FROM hooks WHERE name = ?", name);
  }

  #mustGet(name: string): Row {
    const row = this.#find(name);
    if (row === null) throw new Refused(404, `there is no hook "${name.slice(0, 100)}"`);
    return row;
  }

  #now(): number {
    return Math.floor(this.#parts.clock.now());
  }
}

function tried(mapped: Mapped): HookAnswer {
  const purges = mapped.purges.map((one) => told(one, HOOK_TARGETS_MAX));
  return { ...mapped, purges, ids: [], dryRun: true, repeated: false };
}

function told(purge: MappedPurge, max: number): ToldPurge {
  return { ...purge, targets: purge.targets.slice(0, max), targetCount: purge.targets.length };
}

function placeOf(name: string): string {
  return `hook ${name}`;
}

function configOf(row: Row): HookConfig {
  // Written by `put` alone.
  return JSON.parse(row.config) as HookConfig;
}

function viewOf(row: Row): HookView {
  return {
    ...configOf(row),
    name: row.name,
    createdAt: new Date(row.created_ms).toISOString(),
    createdBy: row.created_by,
    usedAt: row.used_ms === null ? null : new Date(row.used_ms).toISOString(),
  };
}
