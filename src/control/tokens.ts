/**
 * API tokens: what each may do, on which sites, and until when. The secret is shown once and never kept; but
 * that of an access key is, sealed, since a signature (AWS SigV4) can only be checked by who knows the secret.
 */
import type { Clock } from "../base/clock.ts";
import { TOKEN_KINDS } from "../service/fleet-wire.ts";
import type { Sealer } from "../service/sealer.ts";
import type { ControlDatabase } from "./database.ts";
import { TOKENS_MAX } from "./limits.ts";
import { Refused } from "./refusal.ts";
import { isSame, knownSecret, newSecret, readSecretText } from "./secrets.ts";

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
  /** Where the secret signs requests, too (AWS SigV4): the id to sign with. Null for a plain token. */
  readonly accessKeyId: string | null;
}

/** What a new token is to be. */
export interface TokenRequest {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly sites?: readonly string[] | null | undefined;
  readonly hosts?: readonly string[] | null | undefined;
  readonly expiresInSeconds?: number | undefined;
  /** An access key: its secret may sign requests as well. */
  readonly accessKey?: boolean | undefined;
}

/** A token just made. */
export interface MadeToken {
  readonly token: Token;
  readonly text: string;
  /** The secret to sign with; null for a plain token. */
  readonly secretAccessKey: string | null;
}

/** What ids of access keys begin with. */
const ACCESS_KEY_PREFIX = "PXAK";

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
  readonly sealed: Uint8Array | null;
}

/** Between two notes of when a token was used. */
const USED_EVERY_MS = 60_000;

/** The tokens. */
export class Tokens {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;
  readonly #sealer: Sealer;

  constructor(database: ControlDatabase, clock: Clock, sealer: Sealer) {
    this.#database = database;
    this.#clock = clock;
    this.#sealer = sealer;
  }

  /** True when there is a token that may do everything and is good. */
  get hasAdmin(): boolean {
    return this.list().some(
      (token) => token.scopes.includes("admin") && token.sites === null && this.#isGood(token),
    );
  }

  /** Makes a token. Its text is not known to anybody afterwards, unless it is `known` before. */
  create(request: TokenRequest, by: string, known?: string): MadeToken {
    const count =
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM tokens WHERE revoked_ms IS NULL")?.n ?? 0;
    if (count >= TOKENS_MAX)
      throw new Refused(409, `there are ${count} tokens; at most ${TOKENS_MAX} are allowed: revoke some`);
    const secret = known === undefined ? newSecret(TOKEN_KINDS.api) : knownSecret(known);
    const isKey = request.accessKey === true;
    const nowMs = Math.floor(this.#clock.now());
    const expiresMs =
      request.expiresInSeconds === undefined ? null : Math.floor(nowMs + request.expiresInSeconds * 1_000);
    this.#database.run(
      "INSERT INTO tokens (id, name, hash, scopes, sites, hosts, created_ms, created_by, expires_ms, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      secret.id,
      request.name,
      secret.hash,
      JSON.stringify(request.scopes),
      request.sites == null ? null : JSON.stringify(request.sites),
      request.hosts == null ? null : JSON.stringify(request.hosts),
      nowMs,
      by,
      expiresMs,
      isKey ? this.#sealer.seal(secret.secret, sealContext(secret.id)) : null,
    );
    return {
      token: this.#mustGet(secret.id),
      text: secret.text,
      secretAccessKey: isKey ? secret.secret : null,
    };
  }

  /** The token that a text is of, when it is good; null otherwise, whatever the reason. */
  verify(text: string): Token | null {
    const given = readSecretText(text);
    if (given === null || given.kind !== TOKEN_KINDS.api) return null;
    const row = this.#database.get<Row>("SELECT * FROM tokens WHERE id = ?", given.id);
    if (!isSame(given.hash, row?.hash ?? null) || row === null) return null;
    const token = tokenOf(row);
    if (!this.#isGood(token)) return null;
    this.#used(row);
    return token;
  }

  /**
   * The secret of an access key that is good; null otherwise. Who asks has to call `used` once the signature
   * was right: before that nobody has shown that he knows the secret.
   */
  accessKey(
    accessKeyId: string,
  ): { readonly token: Token; readonly secret: string; readonly used: () => void } | null {
    const id = idOfAccessKey(accessKeyId);
    const row =
      id === null
        ? null
        : this.#database.get<Row>("SELECT * FROM tokens WHERE id = ? AND sealed IS NOT NULL", id);
    if (row === null || row.sealed === null) return null;
    const token = tokenOf(row);
    const secret = this.#isGood(token) ? this.#sealer.open(row.sealed, sealContext(row.id)) : null;
    return secret === null ? null : { token, secret, used: () => this.#used(row) };
  }

  /** What is wrong with an access key, for the audit log: never for who sent it. */
  describeAccessKey(accessKeyId: string): string {
    const id = idOfAccessKey(accessKeyId);
    const row = id === null ? null : this.#database.get<Row>("SELECT * FROM tokens WHERE id = ?", id);
    if (row === null || row.sealed === null) return "an unknown access key";
    if (row.revoked_ms !== null) return `the revoked access key ${accessKeyIdOf(row.id)}`;
    return this.#isGood(tokenOf(row))
      ? `access key ${accessKeyIdOf(row.id)} with a wrong signature`
      : `the expired access key ${accessKeyIdOf(row.id)}`;
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

  /** Tokens in the order of their making, those behind the one with the id `after`. */
  page(limit: number, after: string): Token[] {
    return this.#database
      .all<Row>(
        "SELECT * FROM tokens WHERE rowid > coalesce((SELECT rowid FROM tokens WHERE id = ?), 0) ORDER BY rowid LIMIT ?",
        after,
        limit,
      )
      .map(tokenOf);
  }

  get(id: string): Token | null {
    const row = this.#database.get<Row>("SELECT * FROM tokens WHERE id = ?", id);
    return row === null ? null : tokenOf(row);
  }

  /** Makes a token in place of another, which stays good for `overlapSeconds`. */
  rotate(id: string, overlapSeconds: number, by: string): MadeToken {
    const old = this.#mustGet(id);
    if (!this.#isGood(old))
      throw new Refused(409, `token ${old.prefix} is not good any more: make a new one`);
    const nowMs = Math.floor(this.#clock.now());
    const leftSeconds = old.expiresAt === null ? undefined : (Date.parse(old.expiresAt) - nowMs) / 1_000;
    const made = this.create(
      { ...old, expiresInSeconds: leftSeconds, accessKey: old.accessKeyId !== null },
      by,
    );
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

  #used(row: Row): void {
    const nowMs = Math.floor(this.#clock.now());
    if (nowMs - (row.used_ms ?? 0) > USED_EVERY_MS)
      this.#database.run("UPDATE tokens SET used_ms = ? WHERE id = ?", nowMs, row.id);
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

function accessKeyIdOf(id: string): string {
  return `${ACCESS_KEY_PREFIX}${id.toUpperCase()}`;
}

function idOfAccessKey(accessKeyId: string): string | null {
  const id = /^PXAK([0-9A-F]{12})$/.exec(accessKeyId)?.[1];
  return id === undefined ? null : id.toLowerCase();
}

function sealContext(id: string): string {
  return `token ${id}`;
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
    accessKeyId: row.sealed === null ? null : accessKeyIdOf(row.id),
  };
}
