/**
 * The nodes of the fleet. A node joins with a token that is good once, gets a credential of its own, and
 * reports: which snapshot it serves, how far it has come in the log, how it is.
 */
import type { Clock } from "../base/clock.ts";
import { type NodeReport, TOKEN_KINDS, UNREACHABLE_MS } from "../service/fleet-wire.ts";
import type { ControlDatabase } from "./database.ts";
import { NODES_MAX } from "./limits.ts";
import { Refused } from "./refusal.ts";
import { isSame, newSecret, readSecretText } from "./secrets.ts";

/** A node as one asks for it. */
export interface NodeView {
  readonly id: string;
  readonly name: string;
  readonly joinedAt: string;
  readonly address: string | null;
  /** "reachable" when it was heard of within 15 seconds. */
  readonly state: "reachable" | "unreachable" | "removed";
  readonly drained: boolean;
  readonly seenAt: string | null;
  /** The newest entry of the log that it has applied. */
  readonly applied: number;
  /** What it last said of itself. */
  readonly report: NodeReport | null;
}

/** A node as others of the control plane see it. */
export interface KnownNode {
  readonly id: string;
  readonly name: string;
}

interface Row {
  readonly id: string;
  readonly name: string;
  readonly hash: Uint8Array;
  readonly joined_ms: number;
  readonly joined_sequence: number;
  readonly removed_ms: number | null;
  readonly drained: number;
  readonly seen_ms: number | null;
  readonly address: string | null;
  readonly applied: number;
  readonly report: string | null;
}

/** The registry. */
export class Nodes {
  readonly #database: ControlDatabase;
  readonly #clock: Clock;
  /** When each node was last heard of, by the machine's time: a poll is a sign of life too, and not worth a write. */
  readonly #seen = new Map<string, number>();

  constructor(database: ControlDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Makes a join token: good once, until its time is over. */
  invite(
    seconds: number,
    by: string,
  ): { readonly id: string; readonly text: string; readonly expiresAt: string } {
    const secret = newSecret(TOKEN_KINDS.join);
    const nowMs = this.#now();
    const expiresMs = nowMs + seconds * 1_000;
    this.#database.run("DELETE FROM join_tokens WHERE expires_ms < ?", nowMs - 30 * 86_400_000);
    this.#database.run(
      "INSERT INTO join_tokens (id, hash, created_ms, created_by, expires_ms) VALUES (?, ?, ?, ?, ?)",
      secret.id,
      secret.hash,
      nowMs,
      by,
      expiresMs,
    );
    return { id: secret.id, text: secret.text, expiresAt: new Date(expiresMs).toISOString() };
  }

  /** Takes a node in. Throws a Refused 401 for a token that is not good, 409 for a name that is taken. */
  join(
    token: string,
    name: string,
    sequence: number,
  ): { readonly node: string; readonly credential: string } {
    const given = readSecretText(token);
    const row =
      given === null
        ? null
        : this.#database.get<{
            hash: Uint8Array;
            expires_ms: number;
            used_ms: number | null;
            used_by: string | null;
          }>("SELECT * FROM join_tokens WHERE id = ?", given.id);
    if (
      given === null ||
      given.kind !== TOKEN_KINDS.join ||
      !isSame(given.hash, row?.hash ?? null) ||
      row === null
    )
      throw new Refused(401, "the join token is not known");
    if (row.used_ms !== null)
      throw new Refused(401, "the join token was used already: it is good once; make another");
    if (row.expires_ms <= this.#now()) throw new Refused(401, "the join token has expired; make another");
    if (this.#byName(name) !== null)
      throw new Refused(409, `there is a node "${name}" already; remove it first, or join by another name`);
    const count = this.count();
    if (count >= NODES_MAX)
      throw new Refused(409, `there are ${count} nodes; at most ${NODES_MAX} are allowed`);
    const secret = newSecret(TOKEN_KINDS.node);
    this.#database.run(
      "UPDATE join_tokens SET used_ms = ?, used_by = ? WHERE id = ?",
      this.#now(),
      secret.id,
      given.id,
    );
    this.#database.run(
      "INSERT INTO nodes (id, name, hash, joined_ms, joined_sequence, applied) VALUES (?, ?, ?, ?, ?, ?)",
      secret.id,
      name,
      secret.hash,
      this.#now(),
      sequence,
      sequence,
    );
    return { node: secret.id, credential: secret.text };
  }

  /** The node that a credential is of; null when it is none, "removed" when it was one. */
  verify(text: string): KnownNode | "removed" | null {
    const given = readSecretText(text);
    if (given === null || given.kind !== TOKEN_KINDS.node) return null;
    const row = this.#database.get<Row>("SELECT * FROM nodes WHERE id = ?", given.id);
    if (!isSame(given.hash, row?.hash ?? null) || row === null) return null;
    return row.removed_ms === null ? { id: row.id, name: row.name } : "removed";
  }

  /** A node was heard of. */
  saw(id: string): void {
    this.#seen.set(id, this.#machineNow());
  }

  /** Takes a report. Returns how far the node had come before. */
  report(id: string, report: NodeReport, address: string): number {
    this.saw(id);
    const before = this.#mustGet(id).applied;
    this.#database.run(
      "UPDATE nodes SET seen_ms = ?, address = ?, applied = max(applied, ?), report = ? WHERE id = ?",
      this.#machineNow(),
      address,
      report.applied,
      JSON.stringify({ ...report, counted: [], orphans: undefined }),
      id,
    );
    return before;
  }

  /** A node has applied the log up to an entry. Returns how far it had come before; null when that is no news. */
  applied(id: string, sequence: number): number | null {
    const before = this.#database.get<{ applied: number }>(
      "SELECT applied FROM nodes WHERE id = ? AND removed_ms IS NULL",
      id,
    )?.applied;
    if (before === undefined || before >= sequence) return null;
    this.#database.run("UPDATE nodes SET applied = ? WHERE id = ?", sequence, id);
    return before;
  }

  /** Nodes that have gone silent, and those that were heard of again, since that was noted last. */
  comings(): { readonly lost: readonly KnownNode[]; readonly back: readonly KnownNode[] } {
    const [lost, back]: [KnownNode[], KnownNode[]] = [[], []];
    for (const { id, name, seen_ms, lost_ms } of this.#database.all<
      Pick<Row, "id" | "name" | "seen_ms"> & { readonly lost_ms: number | null }
    >("SELECT id, name, seen_ms, lost_ms FROM nodes WHERE removed_ms IS NULL")) {
      const isSilent = this.#now() - Math.max(seen_ms ?? 0, this.#seen.get(id) ?? 0) >= UNREACHABLE_MS;
      if (isSilent && lost_ms === null) lost.push({ id, name });
      if (!isSilent && lost_ms !== null) back.push({ id, name });
    }
    return { lost, back };
  }

  /** Notes that a node has gone silent, or was heard of again. */
  setLost(id: string, isLost: boolean): void {
    this.#database.run("UPDATE nodes SET lost_ms = ? WHERE id = ?", isLost ? this.#now() : null, id);
  }

  /** The newest entry of the log that every node has applied; null without nodes. */
  appliedByAll(): number | null {
    return (
      this.#database.get<{ applied: number | null }>(
        "SELECT min(applied) AS applied FROM nodes WHERE removed_ms IS NULL",
      )?.applied ?? null
    );
  }

  /** Was it heard of since the control plane's start? */
  isHeard(id: string): boolean {
    return this.#seen.has(id);
  }

  isDrained(id: string): boolean {
    return (
      this.#database.get<{ drained: number }>("SELECT drained FROM nodes WHERE id = ?", id)?.drained === 1
    );
  }

  /** Says whether viewers should be sent to a node. */
  setDrained(id: string, drained: boolean): NodeView {
    this.#mustGet(id);
    this.#database.run("UPDATE nodes SET drained = ? WHERE id = ?", drained ? 1 : 0, id);
    return this.get(id);
  }

  /** Ends a node's membership: its credential is good for nothing any more. */
  remove(id: string): NodeView {
    const node = this.get(id);
    this.#database.run("UPDATE nodes SET removed_ms = ? WHERE id = ?", this.#now(), node.id);
    this.#seen.delete(node.id);
    return { ...node, state: "removed" };
  }

  list(limit: number, after: string): NodeView[] {
    return this.#database
      .all<Row>(
        "SELECT * FROM nodes WHERE removed_ms IS NULL AND name > ? ORDER BY name LIMIT ?",
        after,
        limit,
      )
      .map((row) => this.#view(row));
  }

  /** How many there are. */
  count(): number {
    return (
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM nodes WHERE removed_ms IS NULL")?.n ?? 0
    );
  }

  /** Every node. */
  all(): NodeView[] {
    return this.#database
      .all<Row>("SELECT * FROM nodes WHERE removed_ms IS NULL ORDER BY name")
      .map((row) => this.#view(row));
  }

  /** Nodes that a log entry concerns: who had joined before it. */
  concernedBy(sequence: number): NodeView[] {
    return this.#database
      .all<Row>(
        "SELECT * FROM nodes WHERE removed_ms IS NULL AND joined_sequence < ? ORDER BY name",
        sequence,
      )
      .map((row) => this.#view(row));
  }

  /** A node by its id or its name. */
  get(idOrName: string): NodeView {
    return this.#view(this.#mustGet(idOrName));
  }

  #mustGet(idOrName: string): Row {
    const row =
      this.#database.get<Row>("SELECT * FROM nodes WHERE id = ? AND removed_ms IS NULL", idOrName) ??
      this.#byName(idOrName);
    if (row === null) throw new Refused(404, `there is no node "${idOrName.slice(0, 100)}"`);
    return row;
  }

  #byName(name: string): Row | null {
    return this.#database.get<Row>("SELECT * FROM nodes WHERE name = ? AND removed_ms IS NULL", name);
  }

  #view(row: Row): NodeView {
    const seenMs = Math.max(row.seen_ms ?? 0, this.#seen.get(row.id) ?? 0);
    return {
      id: row.id,
      name: row.name,
      joinedAt: new Date(row.joined_ms).toISOString(),
      address: row.address,
      state: this.#machineNow() - seenMs < UNREACHABLE_MS ? "reachable" : "unreachable",
      drained: row.drained === 1,
      seenAt: seenMs === 0 ? null : new Date(seenMs - this.#machineNow() + this.#now()).toISOString(),
      applied: row.applied,
      // Written by `report` alone.
      report: row.report === null ? null : (JSON.parse(row.report) as NodeReport),
    };
  }

  #now(): number {
    return Math.floor(this.#clock.now());
  }

  /** Whether a node lives is the machine's matter: a clock that is set ahead makes none unreachable. */
  #machineNow(): number {
    return Math.floor(this.#clock.steady.now());
  }
}
