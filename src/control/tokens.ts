/** API tokens: what each may do, on which sites, and until when. The secret is shown once and never kept. */
import type { Clock } from "../base/clock.ts";
import { TOKEN_KINDS } from "../service/fleet-wire.ts";
import type { ControlDatabase } from "./database.ts";
import { TOKENS_MAX } from "./limits.ts";
import { Refused } from "./refusal.ts";
import { isSame, newSecret, readSecretText } from "./secrets.ts";

/** What a token may do: admin may do everything; deploy may also read; metrics reads the metrics page alone. */
export const SCOPES = ["read", "purge", "deploy", "admin", "metrics"] as const;
/** One of them. */
export type Scope = (typeof SCOPES)[number];

/** A token without its secret. */
export interface Token {
  readonly id: string;
  /** How it begins, by which it can be told from others. */
  readonly prefix: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Sites it is for; null for all. */
  readonly sites: readonly string[] | null;
  /** Host patterns that it may give to sites; null: see `forbiddenHost`. */
  readonly hosts: readonly string[] | null;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly usedAt: string | null;
}

/** What a new token is to be. */
export interface TokenRequest {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly sites?: readonly string[] | null | undefined;
  readonly hosts?: readonly string[] | null | undefined;
  readonly expiresInSeconds?: number | undefined;
}

interface Row {
  readonly id: string;
  readonly name: string;
  readonly hash: Uint8Array;
  readonly scopes: string;
  readonly sites: string | null;
  readonly hosts: string | null;
  readonly created_ms: number;
  readonly created_by: string;
  readonly expires_ms: number | null;
  readonly revoked_ms: number | null;
  readonly used_ms: number | null;
}

/** Between two notes of when a token was used. */
const USED_EVERY_MS = 60_000;

/** The tokens. */
export class Tokens {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;

  constructor(database: ControlDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** True when there is a token that may do everything and is good. */
  get hasAdmin(): boolean {
    return this.list().some(
      (token) => token.scopes.includes("admin") && token.sites === null && this.#isGood(token),
    );
  }

  /** Makes a token. Its text is not known to anybody afterwards. */
  create(request: TokenRequest, by: string): { readonly token: Token; readonly text: string } {
    const count =
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM tokens WHERE revoked_ms IS NULL")?.n ?? 0;
    if (count >= TOKENS_MAX)
      throw new Refused(409, `there are ${count} tokens; at most ${TOKENS_MAX} are allowed: revoke some`);
    const secret = newSecret(TOKEN_KINDS.api);
    const nowMs = Math.floor(this.#clock.now());
    const expiresMs =
      request.expiresInSeconds === undefined ? null : Math.floor(nowMs + request.expiresInSeconds * 1_000);
    this.#database.run(
      "INSERT INTO tokens (id, name, hash, scopes, sites, hosts, created_ms, created_by, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      secret.id,
      request.name,
      secret.hash,
      JSON.stringify(request.scopes),
      request.sites == null ? null : JSON.stringify(request.sites),
      request.hosts == null ? null : JSON.stringify(request.hosts),
      nowMs,
      by,
      expiresMs,
    );
    return { token: this.#mustGet(secret.id), text: secret.text };
  }

  /** The token that a text is of, when it is good; null otherwise, whatever the reason. */
  verify(text: string): Token | null {
    const given = readSecretText(text);
    if (given === null || given.kind !== TOKEN_KINDS.api) return null;
    const row = this.#database.get<Row>("SELECT * FROM tokens WHERE id = ?", given.id);
    if (!isSame(given.hash, row?.hash ?? null) || row === null) return null;
    const token = tokenOf(row);
    if (!this.#isGood(token)) return null;
    const nowMs = Math.floor(this.#clock.now());
    if (nowMs - (row.used_ms ?? 0) > USED_EVERY_MS)
      this.#database.run("UPDATE tokens SET used_ms = ? WHERE id = ?", nowMs, row.id);
    return token;
  }

  /** Why a token of this text is not good, for the audit log: never for who sent it. */
  describe(text: string): string {
    const given = readSecretText(text);
    if (given === null) return "a token that is none";
    const row =
      given.kind === TOKEN_KINDS.api
        ? this.#database.get<Row>("SELECT * FROM tokens WHERE id = ?", given.id)
        : null;
    if (row === null) return `the unknown token ${given.kind}_${given.id}`;
    if (!isSame(given.hash, row.hash)) return `token ${prefixOf(row.id)} with a wrong secret`;
    return row.revoked_ms === null
      ? `the expired token ${prefixOf(row.id)}`
      : `the revoked token ${prefixOf(row.id)}`;
  }

  list(): Token[] {
    return this.#database.all<Row>("SELECT * FROM tokens ORDER BY created_ms, id").map(tokenOf);
  }

  get(id: string): Token | null {
    const row = this.#database.get<Row>("SELECT * FROM tokens WHERE id = ?", id);
    return row === null ? null : tokenOf(row);
  }

  /** Makes a token in place of another, which stays good for `overlapSeconds`. */
  rotate(id: string, overlapSeconds: number, by: string): { readonly token: Token; readonly text: string } {
    const old = this.#mustGet(id);
    if (!this.#isGood(old))
      throw new Refused(409, `token ${old.prefix} is not good any more: make a new one`);
    const nowMs = Math.floor(this.#clock.now());
    const leftSeconds = old.expiresAt === null ? undefined : (Date.parse(old.expiresAt) - nowMs) / 1_000;
    const made = this.create({ ...old, expiresInSeconds: leftSeconds }, by);
    const endMs = Math.min(
      nowMs + overlapSeconds * 1_000,
      old.expiresAt === null ? Number.MAX_SAFE_INTEGER : Date.parse(old.expiresAt),
    );
    this.#database.run("UPDATE tokens SET expires_ms = ? WHERE id = ?", endMs, id);
    return made;
  }

  /** Ends a token at once. */
  revoke(id: string): Token {
    const token = this.#mustGet(id);
    this.#database.run(
      "UPDATE tokens SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL",
      this.#clock.now(),
      id,
    );
    if (!this.hasAdmin && token.scopes.includes("admin"))
      throw new Refused(
        409,
        `token ${token.prefix} is the last one that may do everything; make another first`,
      );
    return this.#mustGet(id);
  }

  #mustGet(id: string): Token {
    const token = this.get(id);
    if (token === null) throw new Refused(404, "there is no token with this id");
    return token;
  }

  #isGood(token: Token): boolean {
    const expired = token.expiresAt !== null && Date.parse(token.expiresAt) <= this.#clock.now();
    return token.revokedAt === null && !expired;
  }
}

/** May who holds these scopes do what asks for `needed`? */
export function allows(scopes: readonly Scope[], needed: Scope): boolean {
  return (
    scopes.includes("admin") || scopes.includes(needed) || (needed === "read" && scopes.includes("deploy"))
  );
}

function prefixOf(id: string): string {
  return `${TOKEN_KINDS.api}_${id}`;
}

function tokenOf(row: Row): Token {
  const date = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    id: row.id,
    prefix: prefixOf(row.id),
    name: row.name,
    // Written by `create` alone.
    scopes: JSON.parse(row.scopes) as Scope[],
    sites: row.sites === null ? null : (JSON.parse(row.sites) as string[]),
    hosts: row.hosts === null ? null : (JSON.parse(row.hosts) as string[]),
    createdAt: new Date(row.created_ms).toISOString(),
    createdBy: row.created_by,
    expiresAt: date(row.expires_ms),
    revokedAt: date(row.revoked_ms),
    usedAt: date(row.used_ms),
  };
}
