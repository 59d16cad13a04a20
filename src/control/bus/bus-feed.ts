/**
 * Feeds a bus with the fleet's log. The database is the log; what is committed there is published after, in
 * order, from where the stream ends: a feed that ended anywhere goes on there. Each message says which one it
 * follows in the stream, so that two feeds can not mix, and a message that is sent once more is known.
 */
import { JetStreamApiCodes, JetStreamApiError, type JetStreamClient, jetstream } from "@nats-io/jetstream";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { type BusAccess, type BusConnection, connectBus, cut } from "../../service/bus/bus-connection.ts";
import {
  type BusEntry,
  claimedLog,
  readEntry,
  readOpenKey,
  readSnapshot,
  signEntry,
  signSnapshot,
} from "../../service/bus/bus-entry.ts";
import {
  INLINE_CHARS_MAX,
  LONG_ENTRIES_ON_BUS,
  REQUEST_MS_MAX,
  SNAPSHOTS_ON_BUS,
  STRANGE_MAX,
} from "../../service/bus/bus-limits.ts";
import { type BusNames, busNames } from "../../service/bus/bus-names.ts";
import type { Change } from "../../service/fleet-wire.ts";
import type { NodeLog } from "../../service/log.ts";
import { entryDigest } from "../../service/log-digest.ts";
import type { ChangeLog, LogPlace } from "../change-log.ts";
import { ensureStreams } from "./bus-streams.ts";
import type { LogKey } from "./log-key.ts";

/** Entries that are under way to the bus at the same time. */
const BATCH_MAX = 100;
/** Longest wait for a new entry before the connection is looked at, in milliseconds. */
const IDLE_MS = 5_000;
/** Waits after a failure, in milliseconds: doubled each time. */
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2_000;
/** Of a log that has never been on the bus, so much is published, for nodes that have read it elsewhere. */
const FIRST_ENTRIES_MAX = 1_000;

/** What a feed is made from. */
export interface BusFeedOptions {
  readonly access: BusAccess;
  /** Copies of each stream among the servers. */
  readonly replicas: number;
  readonly log: ChangeLog;
  readonly key: LogKey;
  readonly snapshots: {
    newest(): number | null;
    /** Null for one that is not kept any more. */
    text(number: number): string | null;
  };
  readonly clock: Clock;
  readonly tell: NodeLog;
}

/** How the feed is. */
export interface BusFeedView {
  /** The newest entry that is on the bus; null before the first connection. */
  readonly published: number | null;
  /** What keeps it from going on; null when nothing does. */
  readonly problem: string | null;
}

/** Where it goes on. */
interface Resumed {
  readonly place: LogPlace;
  /** Number of the stream's last message. */
  readonly last: number;
}

/** Raised where going on would harm: told as it is, and tried again seldom. */
class Halted extends Error {}

/** The feed. */
export class BusFeed {
  readonly #options: BusFeedOptions;
  readonly #names: BusNames;
  readonly #ending = new AbortController();
  readonly #done: Promise<void>;
  #connection: BusConnection | null = null;
  #published: number | null = null;
  #problem: string | null = null;
  /** The first resumption of this start: an older copy of the database may have been put back before it. */
  #isFirst = true;
  #cancelPause: () => void = () => {};

  constructor(options: BusFeedOptions) {
    this.#options = options;
    this.#names = busNames(options.access.name);
    this.#done = this.#run();
  }

  view(): BusFeedView {
    return { published: this.#published, problem: this.#problem };
  }

  /** Ends it; what is not published is so after the next start. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#cancelPause();
    await this.#connection?.nats.close().catch(() => undefined);
    await this.#done;
  }

  async #run(): Promise<void> {
    const { tell, access } = this.#options;
    let retryMs = RETRY_MS_MIN;
    while (!this.#ending.signal.aborted) {
      try {
        const bus = await this.#open();
        const js = jetstream(bus.nats, { timeout: REQUEST_MS_MAX });
        await ensureStreams(bus.manager, this.#names, this.#options.replicas);
        let at = await this.#resume(bus);
        this.#isFirst = false;
        await this.#publishNewest(bus, js);
        for (;;) {
          this.#published = at.place.sequence;
          if (this.#problem !== null) tell("info", `the bus at ${access.servers.join(", ")} is fed again`);
          this.#problem = null;
          retryMs = RETRY_MS_MIN;
          at = await this.#publishNext(bus, js, at);
          if (this.#ending.signal.aborted) return;
        }
      } catch (error) {
        if (this.#ending.signal.aborted) return;
        const problem = `the bus at ${access.servers.join(", ")} is not fed: ${messageOf(error)}`;
        if (this.#problem !== problem) tell("warning", problem);
        this.#problem = problem;
        await this.#pause(error instanceof Halted ? RETRY_MS_MAX : retryMs);
        retryMs = Math.min(RETRY_MS_MAX, retryMs * 2);
      }
    }
  }

  async #open(): Promise<BusConnection> {
    if (this.#connection !== null && !this.#connection.nats.isClosed()) return this.#connection;
    const connection = await connectBus(this.#options.access, "proxima control");
    if (this.#ending.signal.aborted) {
      await connection.nats.close();
      throw new Error("the control plane ends");
    }
    this.#connection = connection;
    return connection;
  }

  /** Finds where the stream ends, and which entry of the log that is. */
  async #resume(bus: BusConnection): Promise<Resumed> {
    const { log, key } = this.#options;
    const { state } = await bus.manager.streams.info(this.#names.logStream);
    const open = readOpenKey(key.open);
    const last = state.last_seq;
    let other: string | null = null;
    for (let at = last, i = 0; at >= state.first_seq && at > 0 && i < STRANGE_MAX; at--, i++) {
      // Of the leader: another server may lag.
      const message = await bus.manager.streams
        .getMessage(this.#names.logStream, { seq: at })
        .catch(nothingThere);
      if (message === null) continue;
      const entry = readEntry(message.data, open);
      if (entry === null) {
        other ??= claimedLog(message.data);
        continue;
      }
      return { place: this.#placeOf(entry), last };
    }
    // Nothing of this one, and something of another control plane: they must not mix.
    if (other !== null)
      throw new Halted(
        `the stream ${this.#names.logStream} holds the log ${other.slice(0, 100)} of another control plane, and this is ${log.id}; choose another name with --nats-stream, or delete the stream`,
      );
    const place = log.placeAt(log.head().sequence - 1);
    const kept = log.placeAt(0);
    // Nodes that read the log from the control plane until now find their place.
    const recent = log.since(kept)?.length ?? 0;
    return { place: recent > 0 && recent < FIRST_ENTRIES_MAX ? kept : place, last };
  }

  /** The place in this log from which on it has to be published. */
  #placeOf({ sequence, digest }: BusEntry): LogPlace {
    const { log } = this.#options;
    const place = { sequence, digest };
    if (log.since(place) !== null) return place;
    const head = log.head();
    if (!this.#isFirst)
      throw new Halted("another control plane with this log writes there: only one of them may run");
    if (head.sequence <= sequence)
      throw new Halted(
        `the stream ends at ${sequence}, this log at ${head.sequence}: an older copy of it was put back, and its clock is set back`,
      );
    // An older copy was put back, or the bus was away for longer than the log is kept. Nodes see that their
    // place is none of what follows, and begin anew.
    return log.placeAt(sequence);
  }

  /** Waits for entries behind the place and publishes them; resolves with where it is then. */
  async #publishNext(bus: BusConnection, js: JetStreamClient, { place, last }: Resumed): Promise<Resumed> {
    const { log } = this.#options;
    const changes = log.since(place);
    if (changes === null) throw new Error("the log does not have its place any more");
    if (changes.length === 0) {
      await log.changed(place.sequence, IDLE_MS, this.#ending.signal);
      if (bus.nats.isClosed()) throw new Error("the connection is closed");
      return { place, last };
    }
    const batch: Promise<{ readonly seq: number }>[] = [];
    let [before, at] = [place, last];
    for (const change of changes.slice(0, BATCH_MAX)) {
      const message = await this.#messageOf(js, change, before.digest);
      const expected = at;
      batch.push(
        js.publish(this.#names.logSubject, message, {
          msgID: `${log.id}:${change.sequence}:${change.digest}`,
          expect: { lastSequence: expected },
        }),
      );
      before = change;
      at++;
    }
    const acks = await Promise.allSettled(batch);
    for (const [i, ack] of acks.entries()) {
      if (ack.status === "rejected") throw ack.reason;
      if (ack.value.seq !== last + 1 + i) throw new Error(`entry ${last + 1 + i} was there already`);
    }
    return { place: { sequence: before.sequence, digest: before.digest }, last: at };
  }

  /** The message of an entry; what it speaks of is on the bus before it is. */
  async #messageOf(js: JetStreamClient, change: Change, before: string): Promise<Uint8Array> {
    const { log, key } = this.#options;
    const { sequence, acceptedMs, digest, body } = change;
    const text = JSON.stringify(body);
    // The chain is over the text as it was written.
    if (entryDigest(before, sequence, acceptedMs, text) !== digest)
      throw new Halted(`entry ${sequence} of the log is not what its digest says: the database is damaged`);
    if (body.kind === "snapshot") await this.#publishSnapshot(js, body.snapshot);
    const entry = { log: log.id, sequence, acceptedMs, before, digest };
    if (text.length <= INLINE_CHARS_MAX) return signEntry({ ...entry, text, pieces: null }, key.secret);
    const whole = await cut(text);
    if (whole === null) throw new Halted(`entry ${sequence} is too long for the bus`);
    for (const [i, part] of whole.parts.entries())
      await js.publish(this.#names.entryPiece(sequence, i), part);
    await this.#forgetEntries(sequence);
    return signEntry({ ...entry, text: null, pieces: whole.pieces }, key.secret);
  }

  /** Puts a snapshot on the bus, unless newer ones follow: nodes pass over one that is not there. */
  async #publishSnapshot(js: JetStreamClient, number: number): Promise<void> {
    const { snapshots, key, log } = this.#options;
    if (snapshots.newest() !== number) return;
    const text = snapshots.text(number);
    const whole = text === null ? null : await cut(text);
    if (text === null) return;
    if (whole === null) throw new Halted(`snapshot ${number} is too large for the bus`);
    for (const [i, part] of whole.parts.entries())
      await js.publish(this.#names.snapshotPiece(number, i), part);
    const message = signSnapshot({ log: log.id, number, pieces: whole.pieces }, key.secret);
    await js.publish(this.#names.snapshot(number), message);
    await js.publish(this.#names.newestSnapshot, message);
    await this.#forgetSnapshots();
  }

  /** The newest snapshot is there, though the entry that speaks of it is not published (any more). */
  async #publishNewest(bus: BusConnection, js: JetStreamClient): Promise<void> {
    const { snapshots, key, log } = this.#options;
    const number = snapshots.newest();
    if (number === null) return;
    const query = { last_by_subj: this.#names.newestSnapshot };
    const message = await bus.manager.streams.getMessage(this.#names.piecesStream, query).catch(nothingThere);
    const known = message === null ? null : readSnapshot(message.data, readOpenKey(key.open));
    if (known?.log !== log.id || known.number !== number) await this.#publishSnapshot(js, number);
  }

  async #forgetSnapshots(): Promise<void> {
    const numbers = await this.#numbersOn("snapshot");
    for (const number of numbers.slice(0, -SNAPSHOTS_ON_BUS)) {
      await this.#purge(`${this.#names.snapshot(number)}.*`);
      await this.#purge(this.#names.snapshot(number));
    }
  }

  async #forgetEntries(newest: number): Promise<void> {
    const numbers = (await this.#numbersOn("entry")).filter((one) => one <= newest);
    for (const number of numbers.slice(0, -LONG_ENTRIES_ON_BUS))
      await this.#purge(this.#names.entryPiece(number, 0).replace(/0$/, "*"));
  }

  /** Which snapshots or entries have pieces there, in order. */
  async #numbersOn(kind: "snapshot" | "entry"): Promise<number[]> {
    const { piecesStream, piecesSubjects } = this.#names;
    const filter = piecesSubjects.replace(/>$/, `${kind}.>`);
    const info = await this.#connection?.manager.streams.info(piecesStream, { subjects_filter: filter });
    const level = filter.split(".").length - 1;
    const numbers = new Set(
      Object.keys(info?.state.subjects ?? {}).map((one) => Number(one.split(".")[level])),
    );
    return [...numbers].filter(Number.isSafeInteger).sort((a, b) => a - b);
  }

  async #purge(filter: string): Promise<void> {
    await this.#connection?.manager.streams.purge(this.#names.piecesStream, { filter });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.steady.after(ms, resolve);
      this.#cancelPause = () => {
        cancel();
        resolve();
      };
      if (this.#ending.signal.aborted) this.#cancelPause();
    });
  }
}

/** The server's "no message found" (error 10037). */
function nothingThere(error: unknown): null {
  if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.NoMessageFound) return null;
  throw error;
}
