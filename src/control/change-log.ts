/**
 * The fleet's log: what every node has to do, in one order. Its numbers grow, also over a start of the
 * control plane and over a copy that was put back (a start begins above the time in milliseconds), and the
 * digest of each entry holds that of the one before: a node that is beyond this log, or on another branch of
 * it, is found by its place alone.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { CHANGE_TARGETS_MAX, CHANGES_MAX, type Change, type ChangeBody } from "../service/fleet-wire.ts";
import { entryDigest } from "../service/log-digest.ts";
import type { ControlDatabase } from "./database.ts";
import { CHANGE_TARGETS_KEPT_MAX, CHANGES_KEPT_MAX, TRIM_EVERY } from "./limits.ts";
import { News } from "./news.ts";

/** A place in the log. */
export interface LogPlace {
  readonly sequence: number;
  readonly digest: string;
}

/** What the control plane needs of a log: in one file, or on a bus. */
export interface ChangeLog {
  /** Identity of the log. */
  readonly id: string;
  /** The newest entry. */
  head(): LogPlace;
  /** Appends an entry, within the caller's transaction. */
  append(body: ChangeBody, targets?: number): Change;
  /** Entries behind a place, in order, as many as one answer holds; null when the log does not have the place (any more). */
  since(place: LogPlace): readonly Change[] | null;
  /** The newest place that is not after `sequence`, 0 for before the first entry; the oldest that is kept when all are after it. */
  placeAt(sequence: number): LogPlace;
  /** Resolves when there may be entries after `sequence`, when `ms` have passed, or when the signal says so. */
  changed(sequence: number, ms: number, signal: AbortSignal): Promise<void>;
  /** Wakes who waits, though there is no new entry: something else has changed. */
  wakeAll(): void;
  /** Entries after `sequence`. */
  behind(sequence: number): number;
  /** How many wait now. */
  readonly waiting: number;
  /** Ends every wait. */
  close(): void;
}

interface Row {
  readonly sequence: number;
  readonly accepted_ms: number;
  readonly digest: string;
  readonly targets: number;
  readonly body: string;
}

/** Entries of an answer that is remembered. */
const REMEMBERED_MAX = 20;

/** The log in the control plane's database. */
export class LocalChangeLog implements ChangeLog {
  readonly id: string;
  readonly #database: ControlDatabase;
  readonly #clock: Clock;
  readonly #news: News;
  #untrimmed = 0;
  /** The newest answer of `since`, as long as nothing is written. */
  #last: (LogPlace & { readonly changes: readonly Change[] }) | null = null;
  #closed = false;

  /** Opens the log and notes the start. */
  constructor(database: ControlDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
    this.#news = new News(clock);
    this.id = database.transaction(() => {
      const known = database.get<{ value: string }>("SELECT value FROM meta WHERE name = 'log'");
      const id = known?.value ?? randomUUID();
      if (known === null) database.run("INSERT INTO meta (name, value) VALUES ('log', ?)", id);
      const sequence = Math.max(this.head().sequence + 1, Math.floor(clock.now()));
      this.#insert(sequence, { kind: "start" }, 0);
      return id;
    });
  }

  head(): LogPlace {
    return (
      this.#database.get<LogPlace>("SELECT sequence, digest FROM changes ORDER BY sequence DESC LIMIT 1") ?? {
        sequence: 0,
        digest: "",
      }
    );
  }

  append(body: ChangeBody, targets = 0): Change {
    const change = this.#insert(this.head().sequence + 1, body, targets);
    if (++this.#untrimmed >= TRIM_EVERY) this.#trim();
    // After the transaction that this is part of: who is woken reads what was committed.
    setImmediate(() => this.#wake());
    return change;
  }

  since(place: LogPlace): readonly Change[] | null {
    // All nodes that are in step ask for the same.
    const last = this.#last;
    if (last?.sequence === place.sequence && last.digest === place.digest) return last.changes;
    const changes = this.#read(place);
    this.#last = changes !== null && changes.length <= REMEMBERED_MAX ? { ...place, changes } : null;
    return changes;
  }

  #read(place: LogPlace): readonly Change[] | null {
    const here = this.#database.get<{ digest: string }>(
      "SELECT digest FROM changes WHERE sequence = ?",
      place.sequence,
    );
    const isThere =
      place.sequence === 0 ? place.digest === "" && this.#isWhole() : here?.digest === place.digest;
    if (!isThere) return null;
    const changes: Change[] = [];
    let targets = 0;
    // One at a time: a purge may have 10,000 targets, and an answer has a limit.
    let after = place.sequence;
    while (changes.length < CHANGES_MAX && targets < CHANGE_TARGETS_MAX) {
      const rows = this.#database.all<Row>(
        "SELECT * FROM changes WHERE sequence > ? ORDER BY sequence LIMIT 20",
        after,
      );
      for (const row of rows) {
        changes.push(changeOf(row));
        targets += row.targets;
        after = row.sequence;
        if (targets >= CHANGE_TARGETS_MAX || changes.length >= CHANGES_MAX) break;
      }
      if (rows.length < 20) break;
    }
    return changes;
  }

  placeAt(sequence: number): LogPlace {
    if (sequence === 0 && this.#isWhole()) return { sequence: 0, digest: "" };
    return (
      this.#database.get<LogPlace>(
        "SELECT sequence, digest FROM changes WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1",
        sequence,
      ) ??
      this.#database.get<LogPlace>("SELECT sequence, digest FROM changes ORDER BY sequence LIMIT 1") ??
      this.head()
    );
  }

  changed(sequence: number, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#closed || signal.aborted || this.head().sequence > sequence) return Promise.resolve();
    return this.#news.next(ms, signal);
  }

  behind(sequence: number): number {
    return (
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM changes WHERE sequence > ?", sequence)
        ?.n ?? 0
    );
  }

  get waiting(): number {
    return this.#news.waiting;
  }

  wakeAll(): void {
    this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    this.#news.tell();
  }

  /** Is the log's very first entry still there? */
  #isWhole(): boolean {
    const first = this.#database.get<Row>("SELECT * FROM changes ORDER BY sequence LIMIT 1");
    return first !== null && entryDigest("", first.sequence, first.accepted_ms, first.body) === first.digest;
  }

  #insert(sequence: number, body: ChangeBody, targets: number): Change {
    this.#last = null;
    const text = JSON.stringify(body);
    const acceptedMs = Math.floor(this.#clock.now());
    const digest = entryDigest(this.head().digest, sequence, acceptedMs, text);
    this.#database.run(
      "INSERT INTO changes (sequence, accepted_ms, digest, targets, body) VALUES (?, ?, ?, ?, ?)",
      sequence,
      acceptedMs,
      digest,
      targets,
      text,
    );
    return { sequence, acceptedMs, digest, body };
  }

  /** A node that is further behind than what is kept forgets everything and goes on from the newest entry. */
  #trim(): void {
    this.#untrimmed = 0;
    this.#last = null;
    const last = this.#database.get<{ sequence: number }>(
      `SELECT max(sequence) AS sequence FROM (
         SELECT sequence, row_number() OVER newest AS place, sum(targets) OVER newest AS total FROM changes
         WINDOW newest AS (ORDER BY sequence DESC))
       WHERE place > ? OR (place > 1 AND total > ?)`,
      CHANGES_KEPT_MAX,
      CHANGE_TARGETS_KEPT_MAX,
    );
    if (last !== null) this.#database.run("DELETE FROM changes WHERE sequence <= ?", last.sequence);
  }
}

function changeOf(row: Row): Change {
  return {
    sequence: row.sequence,
    acceptedMs: row.accepted_ms,
    digest: row.digest,
    // Written by `#insert` alone.
    body: JSON.parse(row.body) as ChangeBody,
  };
}
