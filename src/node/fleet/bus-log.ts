/**
 * The fleet's log read from a NATS stream. No consumers: one that sits on a server that died can be silent for
 * a minute. Entries are heard as they are published, which is only a hint that saves time: what was not heard
 * is found by asking the stream once a second for what follows, and every few seconds its leader for where it
 * ends. Whatever the way, an entry counts when the control plane signed it and it names the one before it.
 *
 * A place of the log and a number of the stream are two things: the number is found by looking, and is never
 * relied on.
 */
import type { KeyObject } from "node:crypto";
import type { StoredMsg } from "@nats-io/jetstream";
import type { Msg } from "@nats-io/transport-node";
import type { Clock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import {
  type BusAccess,
  type BusConnection,
  busUnreachable,
  connectBus,
  join,
} from "../../service/bus/bus-connection.ts";
import {
  type BusEntry,
  isBody,
  type Pieces,
  readEntry,
  readOpenKey,
  readSnapshot,
} from "../../service/bus/bus-entry.ts";
import { STRANGE_MAX } from "../../service/bus/bus-limits.ts";
import { type BusNames, busNames } from "../../service/bus/bus-names.ts";
import {
  CHANGE_TARGETS_MAX,
  CHANGES_MAX,
  type SnapshotAnswer,
  snapshotAnswer,
} from "../../service/fleet-wire.ts";
import type { FleetPosition } from "../purge-log.ts";
import type { FleetLog, LogAnswer, LogHead } from "./fleet-log.ts";

/** How often the stream is asked for what follows when nothing was heard, in milliseconds. */
const POLL_MS = 1_000;
/** How often its leader is asked where it ends, in milliseconds: an election takes longer than one silence. */
const CONFIRM_MS = 4_000;
/** For how long the leader may be silent before this node says that it can not follow the log, in milliseconds. */
const SILENCE_MS_MAX = 15_000;
/** Entries that are asked for together. */
const WINDOW = 64;
/** Heard entries that wait to be taken; more are found in the stream. */
const HEARD_MAX = 1_024;
/** How often it is told of them, in milliseconds. */
const STRANGE_TOLD_MS = 60_000;

/** How a bus is read. */
export interface BusLogOptions {
  readonly access: BusAccess;
  /** The control plane's public key. */
  readonly key: string;
  readonly clock: Clock;
  /** Told of what an operator has to know. */
  readonly tell: (message: string) => void;
}

/** An entry at its place in the stream. */
interface Found {
  readonly at: number;
  /** Null for what the control plane did not sign. */
  readonly entry: BusEntry | null;
}

type Change = LogAnswer["changes"][number];

/** What looking for the entries behind a place came to. */
type Behind = { readonly kind: "entries"; readonly changes: readonly Change[] } | { readonly kind: "lost" };

/** The log on a bus. */
export class BusLog implements FleetLog {
  readonly name: string;
  readonly #options: BusLogOptions;
  readonly #key: KeyObject;
  readonly #names: BusNames;
  #connection: BusConnection | null = null;
  #opening: Promise<BusConnection> | null = null;
  /** Where in the stream a place of the log was found. */
  #cursor: { readonly log: string; readonly digest: string; readonly at: number } | null = null;
  #heard: { readonly at: number; readonly message: Uint8Array }[] = [];
  /** When the stream was asked for what follows. */
  #lookedMs = 0;
  /** The leader was asked where the stream ends, and has said so. */
  #askedMs = 0;
  #confirmedMs = 0;
  #end = 0;
  #toldMs = 0;
  /** Since when the stream is said to have more than it gives. */
  #shortSinceMs: number | null = null;
  #wake: () => void = () => {};
  #closed = false;
  /** The last message of the stream that was looked at is not the control plane's. */
  #isDoubtful = false;

  constructor(options: BusLogOptions) {
    this.#options = options;
    this.#names = busNames(options.access.name);
    this.name = `the bus at ${options.access.servers.join(", ")}`;
    try {
      this.#key = readOpenKey(options.key);
    } catch (cause) {
      throw new ProximaError(
        "fleet_file_unusable",
        `the key of the fleet's log can not be read: ${messageOf(cause)}; join again`,
        { source: "node", cause },
      );
    }
  }

  async changes(place: FleetPosition, waitSeconds: number): Promise<LogAnswer | null> {
    const { steady: clock } = this.#options.clock;
    const endMs = clock.now() + waitSeconds * 1_000;
    for (;;) {
      const bus = await this.#open();
      const behind = await this.#ask(() => this.#behind(bus, place, waitSeconds === 0));
      if (behind.kind === "lost") return null;
      if (behind.changes.length > 0) return { log: place.log, changes: behind.changes, drained: null };
      const isEnd = await this.#confirm(bus, waitSeconds === 0);
      if (!isEnd) this.#lookedMs = 0;
      const leftMs = endMs - clock.now();
      if (leftMs <= 0 && isEnd) return { log: place.log, changes: [], drained: null };
      // A server that lags says "nothing there": the next question may go to another.
      await this.#pause(isEnd ? Math.min(leftMs, POLL_MS) : POLL_MS / 10);
      if (this.#closed) throw busUnreachable(this.#options.access, "this node ends");
    }
  }

  async head(): Promise<LogHead> {
    const bus = await this.#open();
    return await this.#ask(async () => {
      const { first, last } = await this.#range(bus);
      const found = await this.#lastSigned(bus, first, last);
      if (found === null) throw new Error("the control plane has not written to it yet");
      const { log, sequence, digest } = found.entry;
      this.#cursor = { log, digest, at: found.at };
      const message = await this.#piece(bus, this.#names.newestSnapshot);
      const named = message === null ? null : readSnapshot(message, this.#key);
      return { log, sequence, digest, snapshot: named?.log === log ? named.number : null };
    });
  }

  async snapshot(number: number): Promise<SnapshotAnswer | null> {
    const bus = await this.#open();
    return await this.#ask(async () => {
      const message = await this.#piece(bus, this.#names.snapshot(number));
      const named = message === null ? null : readSnapshot(message, this.#key);
      if (named === null || named.number !== number) return null;
      const text = await this.#whole(bus, named.pieces, (piece) => this.#names.snapshotPiece(number, piece));
      // Gone while it was read: there are newer ones.
      return text === null ? null : snapshotAnswer.parse(JSON.parse(text));
    });
  }

  get isDoubtful(): boolean {
    return this.#isDoubtful;
  }

  close(): void {
    this.#closed = true;
    this.#wake();
    const connection = this.#connection;
    this.#connection = null;
    void connection?.nats.close().catch(() => undefined);
  }

  /** Entries behind a place that are heard, or found in the stream: that is asked once a second, and `now` when it has to be. */
  async #behind(bus: BusConnection, place: FleetPosition, now: boolean): Promise<Behind> {
    const isThere = this.#cursor?.log === place.log && this.#cursor.digest === place.digest;
    const at = isThere ? (this.#cursor?.at ?? null) : await this.#locate(bus, place);
    if (at === null) return { kind: "lost" };
    const taken = new Taken(place, at);
    const isWhole = await this.#takeHeard(bus, taken);
    const nowMs = this.#options.clock.steady.now();
    if (!isThere || !isWhole) this.#lookedMs = 0;
    if (taken.changes.length === 0 && (now || nowMs - this.#lookedMs >= POLL_MS)) {
      this.#lookedMs = nowMs;
      // What was heard may have been said again by anybody: only the stream's order counts.
      taken.isBroken = false;
      await this.#takeStored(bus, taken);
    }
    this.#cursor = { log: taken.log, digest: taken.digest, at: taken.at };
    if (taken.changes.length === 0 && taken.isBroken) return { kind: "lost" };
    return { kind: "entries", changes: taken.changes };
  }

  /** What was heard and follows without a gap; false when the stream has to say what is between. */
  async #takeHeard(bus: BusConnection, taken: Taken): Promise<boolean> {
    const heard = this.#heard;
    this.#heard = [];
    for (const [i, { at, message }] of heard.entries()) {
      if (at <= taken.at) continue;
      const entry = at === taken.at + 1 ? readEntry(message, this.#key) : null;
      // Something was missed, or somebody else wrote: the stream says what. What is taken already proves no
      // place: said again under a number of the sayer's choice, it would hide the entry that has that number.
      if (entry === null || entry.sequence <= taken.sequence) return false;
      if (!(await this.#take(bus, taken, { at, entry }))) return false;
      if (!taken.isFull) continue;
      this.#heard = [...heard.slice(i + 1), ...this.#heard];
      return true;
    }
    return true;
  }

  /** What the stream has. */
  async #takeStored(bus: BusConnection, taken: Taken): Promise<void> {
    for (;;) {
      const first = await this.#next(bus, taken.at + 1);
      if (first === null || !(await this.#take(bus, taken, first))) return;
      const from = taken.at + 1;
      const window = Array.from({ length: WINDOW }, (_, i) =>
        bus.direct.getMessage(this.#names.logStream, { seq: from + i }),
      );
      for (const message of await Promise.all(window)) {
        if (taken.isFull) return;
        if (message === null || message.seq !== taken.at + 1) break;
        if (!(await this.#take(bus, taken, this.#read(message)))) return;
      }
      if (taken.at === from - 1 || taken.isFull) return;
    }
  }

  /** Takes the entry that follows, or passes over what is none; false when it belongs elsewhere. */
  async #take(bus: BusConnection, taken: Taken, { at, entry }: Found): Promise<boolean> {
    if (entry === null) {
      this.#isDoubtful = true;
      this.#tellStrange(at);
    }
    // Taken before: it was heard, or somebody says it again.
    if (entry === null || (entry.log === taken.log && entry.sequence <= taken.sequence)) {
      taken.pass(at);
      return true;
    }
    if (entry.log !== taken.log || entry.before !== taken.digest) {
      taken.isBroken = true;
      return false;
    }
    const text = entry.text ?? (await this.#longText(bus, entry));
    if (text === null) {
      taken.isBroken = true;
      return false;
    }
    // Checked: what the control plane signed is what it wrote.
    taken.add(at, entry, JSON.parse(text) as Change["body"]);
    this.#isDoubtful = false;
    return true;
  }

  /** A body that lies in pieces; null when it is gone, which a node that was away for long meets. */
  async #longText(bus: BusConnection, entry: BusEntry): Promise<string | null> {
    if (entry.pieces === null) return null;
    const { sequence } = entry;
    const text = await this.#whole(bus, entry.pieces, (piece) => this.#names.entryPiece(sequence, piece));
    return text !== null && isBody(entry, text) ? text : null;
  }

  #whole(bus: BusConnection, pieces: Pieces, subjectOf: (piece: number) => string): Promise<string | null> {
    return join(pieces, (piece) => this.#piece(bus, subjectOf(piece)));
  }

  /** The newest message of a subject of the pieces; null when there is none, also at the leader. */
  async #piece(bus: BusConnection, subject: string): Promise<Uint8Array | null> {
    const { piecesStream } = this.#names;
    const query = { last_by_subj: subject };
    const near = await bus.direct.getMessage(piecesStream, query);
    if (near !== null) return near.data;
    // The server that was asked may lag.
    return (await bus.manager.streams.getMessage(piecesStream, query))?.data ?? null;
  }

  /** Number in the stream behind which the entries after a place are; null when the place is not of this log. */
  async #locate(bus: BusConnection, place: FleetPosition): Promise<number | null> {
    const { first, last } = await this.#range(bus);
    const newest = await this.#lastSigned(bus, first, last);
    if (newest !== null && newest.entry.log !== place.log) return null;
    // What was heard may not be stored yet, or the server that was asked lags: all behind what it has is looked at.
    if (newest === null || newest.entry.sequence < place.sequence)
      return newest?.at ?? Math.max(0, first - 1);
    let [low, high] = [first, newest.at];
    // The least number whose entry is not before the place.
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const found = await this.#signedFrom(bus, middle, high);
      if (found === null || found.entry.sequence >= place.sequence) high = middle;
      else low = found.at + 1;
    }
    const found = await this.#signedFrom(bus, low, newest.at);
    if (found === null) throw new Error("the server that was asked lags behind its leader");
    const { sequence, digest, before } = found.entry;
    // Servers that lag have misled the search: what is between is passed over.
    if (digest === place.digest || sequence < place.sequence) return found.at;
    return before === place.digest ? found.at - 1 : null;
  }

  /** The first entry that the control plane signed, from a number on. */
  async #signedFrom(
    bus: BusConnection,
    from: number,
    upTo: number,
  ): Promise<(Found & { readonly entry: BusEntry }) | null> {
    let at = from;
    for (let i = 0; i < STRANGE_MAX && at <= upTo; i++) {
      const found = await this.#next(bus, at);
      if (found === null || found.at > upTo) return null;
      if (found.entry !== null) return { ...found, entry: found.entry };
      at = found.at + 1;
    }
    return null;
  }

  /** The last one. */
  async #lastSigned(
    bus: BusConnection,
    first: number,
    last: number,
  ): Promise<(Found & { readonly entry: BusEntry }) | null> {
    for (let at = last, i = 0; at >= Math.max(1, first) && i < STRANGE_MAX; at--, i++) {
      const message = await bus.direct.getMessage(this.#names.logStream, { seq: at });
      const found = message === null ? null : this.#read(message);
      if (found !== null && found.entry !== null) return { ...found, entry: found.entry };
    }
    return null;
  }

  /** The first message from a number on; null when this server has none (yet). */
  async #next(bus: BusConnection, from: number): Promise<Found | null> {
    const { logStream, logSubject } = this.#names;
    const query = { seq: Math.max(1, from), next_by_subj: logSubject };
    const message = await bus.direct.getMessage(logStream, query);
    return message === null ? null : this.#read(message);
  }

  #read(message: StoredMsg): Found {
    return { at: message.seq, entry: readEntry(message.data, this.#key) };
  }

  /** Where the stream begins and ends, by its leader. */
  async #range(bus: BusConnection): Promise<{ readonly first: number; readonly last: number }> {
    const { state } = await bus.manager.streams.info(this.#names.logStream);
    this.#confirmedMs = this.#options.clock.steady.now();
    this.#end = state.last_seq;
    return { first: state.first_seq, last: state.last_seq };
  }

  /**
   * Is the cursor at the stream's end, by the word of its leader? Asked when that is some time ago, or now.
   * Rejects when the leader is silent for too long.
   */
  async #confirm(bus: BusConnection, now: boolean): Promise<boolean> {
    const { access } = this.#options;
    const { steady: clock } = this.#options.clock;
    const nowMs = clock.now();
    if (now || nowMs - this.#askedMs >= CONFIRM_MS) {
      this.#askedMs = nowMs;
      try {
        await this.#range(bus);
      } catch (error) {
        // An election goes on; the next question is asked soon.
        this.#askedMs = nowMs - CONFIRM_MS + POLL_MS;
        if (clock.now() - this.#confirmedMs > SILENCE_MS_MAX)
          throw busUnreachable(access, `its leader is silent: ${messageOf(error)}`, error);
      }
    }
    const at = this.#cursor?.at ?? 0;
    if (this.#askedMs === nowMs && this.#end < at) {
      // Heard and not stored yet; or the stream was made anew, and numbers of the old one mean nothing.
      this.#cursor = null;
    }
    if (this.#end <= at) {
      this.#shortSinceMs = null;
      return true;
    }
    this.#shortSinceMs ??= nowMs;
    if (nowMs - this.#shortSinceMs > SILENCE_MS_MAX) {
      this.#cursor = null;
      this.#shortSinceMs = null;
      throw busUnreachable(access, `it ends at message ${this.#end}, and gives none after ${at}`);
    }
    return false;
  }

  /** A request to the servers, its failure as one of the log. */
  async #ask<T>(request: () => Promise<T>): Promise<T> {
    try {
      return await request();
    } catch (error) {
      if (error instanceof ProximaError) throw error;
      this.#cursor = null;
      throw busUnreachable(this.#options.access, messageOf(error), error);
    }
  }

  async #open(): Promise<BusConnection> {
    if (this.#closed) throw busUnreachable(this.#options.access, "this node ends");
    if (this.#connection !== null && !this.#connection.nats.isClosed()) return this.#connection;
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = null;
    });
    return await this.#opening;
  }

  async #connect(): Promise<BusConnection> {
    const connection = await connectBus(this.#options.access, "proxima node");
    if (this.#closed) {
      await connection.nats.close();
      throw busUnreachable(this.#options.access, "this node ends");
    }
    this.#heard = [];
    this.#confirmedMs = this.#options.clock.steady.now();
    connection.nats.subscribe(this.#names.logSubject, {
      callback: (error, message) => {
        if (error === null) this.#hear(message);
      },
    });
    this.#connection = connection;
    return connection;
  }

  #hear(message: Msg): void {
    const last = Number(message.headers?.get("Nats-Expected-Last-Sequence") ?? Number.NaN);
    if (this.#heard.length < HEARD_MAX && Number.isSafeInteger(last))
      this.#heard.push({ at: last + 1, message: message.data });
    this.#wake();
  }

  #tellStrange(at: number): void {
    const nowMs = this.#options.clock.steady.now();
    if (nowMs - this.#toldMs < STRANGE_TOLD_MS) return;
    this.#toldMs = nowMs;
    this.#options.tell(
      `${this.name} holds what the control plane has not signed (message ${at} of ${this.#names.logStream}), which is passed over: somebody else may write there, or this node has to join again`,
    );
  }

  #pause(ms: number): Promise<void> {
    if (this.#heard.length > 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#options.clock.steady.after(Math.max(0, ms), resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
      if (this.#closed) this.#wake();
    });
  }
}

/** Entries that follow a place, as they are found. */
class Taken {
  readonly changes: Change[] = [];
  readonly log: string;
  sequence: number;
  digest: string;
  /** Number in the stream of the last message that was looked at. */
  at: number;
  /** What follows is not what follows the place. */
  isBroken = false;
  #targets = 0;

  constructor({ log, sequence, digest }: FleetPosition, at: number) {
    this.log = log;
    this.sequence = sequence;
    this.digest = digest;
    this.at = at;
  }

  /** As many as one answer holds. */
  get isFull(): boolean {
    return this.changes.length >= CHANGES_MAX || this.#targets >= CHANGE_TARGETS_MAX;
  }

  add(at: number, { sequence, acceptedMs, digest }: BusEntry, body: Change["body"]): void {
    this.changes.push({ sequence, acceptedMs, digest, body });
    if ("targets" in body && Array.isArray(body.targets)) this.#targets += body.targets.length;
    this.sequence = sequence;
    this.digest = digest;
    this.at = at;
  }

  pass(at: number): void {
    this.at = at;
  }
}
