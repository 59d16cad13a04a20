/**
 * The body of a large stored response: one version of it on disk, of which bytes may be missing. Viewers
 * read where they like; what is missing is fetched in spans of the same version, each byte once for all who
 * wait for it. Nobody waits for the slowest: what came is on disk, and each reader has a place of its own.
 *
 * A disk that takes nothing more does not end this: what came last is then held in memory until those who
 * read have it (a window with a limit), and the next hop is read no faster than they do.
 */
import { ChurnSet } from "../base/churn-set.ts";
import type { Clock } from "../base/clock.ts";
import { ProximaError } from "../base/errors.ts";
import type { BodyReader } from "../http/body.ts";
import type { Validator } from "../http/validator.ts";
import {
  FILL_STALL_MS_MAX,
  LARGE_AHEAD_BYTES,
  LARGE_HELD_BLOCKS_MAX,
  LARGE_READ_BYTES_MAX,
  LARGE_SPAN_BYTES,
  LARGE_SPAN_TRIES_MAX,
} from "./limits.ts";
import { SpanFill } from "./span-fill.ts";
import type { DiskStore } from "./store/disk/disk-store.ts";
import type { SparseObject } from "./store/disk/sparse-object.ts";
import type { DiskVariant } from "./store/disk/variant.ts";

/**
 * Fetches bytes `start` to `end` (exclusive) of this version from the next hop; null when the next hop has
 * another version now. Rejects with an UpstreamError.
 */
export type FetchSpan = (start: number, end: number) => Promise<BodyReader | null>;

/** One version of a large body. */
export class LargeBody {
  readonly length: number;
  /** Its row, as it was when this began. */
  readonly variant: DiskVariant;
  /** Null: what is missing can not be fetched, because nothing tells the versions apart (RFC 9110 section 15.3.7.3). */
  readonly validator: Validator | null;
  readonly #disk: DiskStore;
  readonly #clock: Clock;
  readonly #fills = new ChurnSet<SpanFill>();
  readonly #readers = new ChurnSet<LargeReader>();
  /** Blocks that the disk did not take, for those who read now. */
  readonly #held = new Map<number, Uint8Array>();
  #sparse: SparseObject | null;
  #waiting: (() => void)[] = [];
  /** Blocks that the disk did not take, and for which no room is in memory. */
  readonly #waitingForRoom: (() => void)[] = [];
  #holds = 0;
  #superseded = false;
  /** Called once, when the version turns out to be gone: replaced at the next hop, or lost here. */
  onGone: () => void = () => undefined;

  /** `sparse` is the handle of an object that was just begun; it is looked up when it is left out. */
  constructor(options: {
    readonly disk: DiskStore;
    readonly variant: DiskVariant;
    readonly validator: Validator | null;
    readonly clock: Clock;
    readonly sparse?: SparseObject;
  }) {
    this.length = options.variant.length;
    this.validator = options.validator;
    this.#disk = options.disk;
    this.variant = options.variant;
    this.#clock = options.clock;
    this.#sparse = options.sparse ?? null;
  }

  /** True when every byte from `start` to `end` (exclusive) is there. */
  has(start: number, end: number): boolean {
    return this.#use((sparse) => sparse.has(start, end)) ?? false;
  }

  /** Bytes that are not there. */
  get missingBytes(): number {
    const gaps = this.#use((sparse) => sparse.missing(0, this.length)) ?? [];
    return gaps.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** A slice of the file when it is there and verified: what costs least to send. */
  slice(start: number, end: number): Blob | null {
    return this.#disk.sliceNow(this.variant, start, end);
  }

  /** Another version has come to stand for this one, or it was lost. */
  get superseded(): boolean {
    return this.#superseded;
  }

  /** Readers and fills that are under way, for tests and metrics. */
  get users(): number {
    return this.#readers.size + this.#fills.size;
  }

  /**
   * Takes in a body that begins at byte `start`, a multiple of the block size, and ends before `end`. It is
   * read on although nobody waits, unless what is missing then can be fetched again. Resolves true when all
   * of it was stored or passed on; never rejects.
   */
  fill(source: BodyReader, start: number, end: number): Promise<boolean> {
    const sparse = this.#acquire();
    if (sparse === null) {
      source.cancel();
      return Promise.resolve(false);
    }
    const fill = new SpanFill(source, start, end, {
      blockBytes: sparse.blockBytes,
      length: this.length,
      store: async (block, bytes) => await this.#store(block, bytes),
      arrived: () => this.#wake(),
    });
    this.#fills.add(fill);
    return fill.run().then((whole) => {
      this.#fills.delete(fill);
      if (!whole && this.validator === null) this.#end();
      this.#wake();
      this.#release();
      return whole;
    });
  }

  /**
   * Opens bytes `start` to `end` (exclusive) and waits for the first of them, so that what is wrong is known
   * before an answer begins. Resolves null when this version is gone; rejects with the UpstreamError of a
   * failed fetch. A later read rejects with a ProximaError "version_gone" when the rest can not be had.
   */
  async open(start: number, end: number, fetch: FetchSpan): Promise<BodyReader | null> {
    const reader = this.#reader(start, end, fetch);
    if (start === end || this.has(start, start + 1)) return reader;
    try {
      if ((await reader.block()) !== null) return reader;
    } catch (error) {
      reader.cancel();
      throw error;
    }
    reader.cancel();
    return null;
  }

  /** The same without waiting: what is wrong is known when it is read. */
  reader(start: number, end: number, fetch: FetchSpan): BodyReader {
    return this.#reader(start, end, fetch);
  }

  #reader(start: number, end: number, fetch: FetchSpan): LargeReader {
    const reader = new LargeReader(this, start, end, fetch);
    this.#readers.add(reader);
    return reader;
  }

  /** Keeps this version for one who reads it again and again, as a reader does while he reads: until the function given back is called. */
  hold(): () => void {
    this.#acquire();
    this.#holds++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holds--;
      this.rest();
    };
  }

  /** Nobody may come to read: fetches that can be done again later end. */
  rest(): void {
    if (this.#readers.size > 0 || this.#holds > 0) return;
    for (const fill of this.#fills.list())
      if (this.validator !== null && fill.end - fill.position > LARGE_SPAN_BYTES) fill.stop();
    this.#held.clear();
    this.#release();
  }

  // For readers.

  /** Up to LARGE_READ_BYTES_MAX bytes at `position`, as far as they are there and before `end`; null when the first is missing. */
  async bytesAt(position: number, end: number): Promise<Uint8Array | null> {
    const sparse = this.#acquire();
    if (sparse === null) return null;
    const { blockBytes } = sparse;
    const first = Math.floor(position / blockBytes);
    const held = this.#held.get(first);
    if (held !== undefined) return held.subarray(position - first * blockBytes, end - first * blockBytes);
    let to = Math.min(end, (first + 1) * blockBytes);
    if (!sparse.has(position, to)) return null;
    while (to < end && to - position < LARGE_READ_BYTES_MAX) {
      const next = Math.min(end, to + blockBytes);
      if (!sparse.has(to, next)) break;
      to = next;
    }
    return await sparse.read(position, to);
  }

  /** True when the block of this byte is on its way and comes before long; with `anyhow` also when it comes late. */
  isComing(position: number, anyhow: boolean): boolean {
    for (const fill of this.#fills.list()) {
      if (fill.ended || position < fill.start || position >= fill.end) continue;
      const aheadBytes = position - fill.position;
      // What is behind it has come already, and was lost since.
      if (aheadBytes < 0) continue;
      if (anyhow || aheadBytes <= LARGE_SPAN_BYTES) return true;
    }
    return false;
  }

  /** Starts fetching what is missing at `position`, up to a span's length and not beyond `end`. */
  fetchAt(position: number, end: number, fetch: FetchSpan, failed: (error: unknown) => void): void {
    const sparse = this.#acquire();
    if (sparse === null) return;
    const [gap] = sparse.missing(position, Math.min(end, position + LARGE_SPAN_BYTES));
    if (gap === undefined) return;
    const cut = Math.min(
      gap.end,
      ...this.#fills.list().map(({ start }) => (start > gap.start ? start : gap.end)),
    );
    const fill = new SpanFill(
      null,
      gap.start,
      Math.max(cut, gap.start + sparse.blockLength(gap.start / sparse.blockBytes)),
      {
        blockBytes: sparse.blockBytes,
        length: this.length,
        store: async (block, bytes) => await this.#store(block, bytes),
        arrived: () => this.#wake(),
      },
    );
    this.#fills.add(fill);
    void (async () => {
      try {
        const source = await fetch(fill.start, fill.end);
        if (source === null) {
          this.#end();
          return;
        }
        if (!(await fill.run(source)) && fill.error !== null) failed(fill.error);
      } catch (error) {
        failed(error);
      } finally {
        fill.ended = true;
        this.#fills.delete(fill);
        this.#wake();
        this.#release();
      }
    })();
  }

  /** The reader gets near the end of what is there: the next span starts before it has to wait. */
  lookAhead(position: number, end: number, fetch: FetchSpan, failed: (error: unknown) => void): void {
    const sparse = this.#sparse;
    if (sparse === null || this.validator === null) return;
    const until = Math.min(end, position + LARGE_AHEAD_BYTES);
    const [gap] = sparse.missing(position, until);
    if (gap === undefined || this.isComing(gap.start, false)) return;
    this.fetchAt(gap.start, end, fetch, failed);
  }

  /** Resolves when something has come, or ended. */
  changed(): Promise<void> {
    this.#makeRoom();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    return promise;
  }

  /** A reader went on: what was held for it may go. */
  moved(): void {
    if (this.#held.size === 0) return;
    this.#dropHeld();
    this.#wake();
    this.#makeRoom();
  }

  /** What waits for room looks again. */
  #makeRoom(): void {
    for (const look of this.#waitingForRoom.splice(0)) look();
  }

  leave(reader: LargeReader): void {
    this.#readers.delete(reader);
    this.moved();
    this.rest();
  }

  /** Stores one block; holds it in memory while somebody waits for it when the disk does not take it. */
  async #store(block: number, bytes: Uint8Array): Promise<void> {
    const sparse = this.#acquire();
    if (sparse !== null && (await sparse.write(block, bytes))) return;
    for (;;) {
      this.#dropHeld();
      const ahead = this.#readersBehind(block);
      if (ahead === null) return;
      if (this.#held.size < LARGE_HELD_BLOCKS_MAX) break;
      // Who stands before it goes on at once, or several readers and fetches would wait for each other's blocks.
      if (ahead === 0 && this.validator !== null && this.#dropFurthest()) break;
      const [oldest] = this.#held.keys();
      const late = await this.#movedWithin(FILL_STALL_MS_MAX);
      // The slowest has had its time: the others are waiting. It fetches anew what it missed, if it can.
      if (late && oldest !== undefined) this.#held.delete(oldest);
    }
    this.#held.set(block, bytes);
  }

  /** How many blocks the next reader who wants this one is behind it, 0 when one stands in it; null when none wants it. */
  #readersBehind(block: number): number | null {
    const blockBytes = this.#sparse?.blockBytes ?? 1;
    let least: number | null = null;
    for (const { position, end } of this.#readers.list()) {
      const behind = block - Math.floor(position / blockBytes);
      if (behind >= 0 && end > block * blockBytes) least = Math.min(least ?? behind, behind);
    }
    return least;
  }

  /** Drops the held block that is wanted last, and can be fetched again; false when each has a reader in it. */
  #dropFurthest(): boolean {
    let furthest = 0;
    let victim: number | null = null;
    for (const block of this.#held.keys()) {
      const behind = this.#readersBehind(block) ?? Number.POSITIVE_INFINITY;
      if (behind <= furthest) continue;
      furthest = behind;
      victim = block;
    }
    return victim !== null && this.#held.delete(victim);
  }

  /** Waits for a reader to move, or to come to where nothing is; true when none did in time. */
  async #movedWithin(waitMs: number): Promise<boolean> {
    let late = false;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(waitMs, () => {
      late = true;
      resolve();
    });
    this.#waitingForRoom.push(resolve);
    await promise;
    cancel();
    return late;
  }

  /** Drops what nobody has still to read. */
  #dropHeld(): void {
    for (const block of this.#held.keys()) if (this.#readersBehind(block) === null) this.#held.delete(block);
  }

  /** This version is not served any more; those who read it get what is there. */
  #end(): void {
    if (this.#superseded) return;
    this.#superseded = true;
    this.onGone();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Gives the disk's handle back when nobody needs it. */
  #release(): void {
    if (this.#readers.size > 0 || this.#fills.size > 0 || this.#holds > 0) return;
    this.#sparse?.release();
    this.#sparse = null;
  }

  #acquire(): SparseObject | null {
    if (this.#sparse === null) {
      this.#sparse = this.#disk.sparse(this.variant);
      if (this.#sparse === null) this.#end();
    }
    return this.#sparse;
  }

  /** Looks at the object for a moment. */
  #use<T>(look: (sparse: SparseObject) => T): T | null {
    const sparse = this.#acquire();
    if (sparse === null) return null;
    const answer = look(sparse);
    this.#release();
    return answer;
  }
}

/** One viewer's place in a large body. */
class LargeReader implements BodyReader {
  position: number;
  readonly end: number;
  readonly #body: LargeBody;
  readonly #fetch: FetchSpan;
  #failures = 0;
  #error: unknown = null;
  #ended = false;

  constructor(body: LargeBody, start: number, end: number, fetch: FetchSpan) {
    this.#body = body;
    this.position = start;
    this.end = end;
    this.#fetch = fetch;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.position >= this.end) {
      this.#leave();
      return null;
    }
    try {
      const bytes = await this.block();
      if (bytes === null)
        throw new ProximaError(
          "version_gone",
          "the rest of this version of the object can not be had any more",
          {
            source: "origin",
          },
        );
      this.position += bytes.byteLength;
      this.#failures = 0;
      this.#body.moved();
      this.#body.lookAhead(this.position, this.end, this.#fetch, this.#failed);
      return bytes;
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  /** The next bytes, waited for; null when this version is gone and they are not there. */
  async block(): Promise<Uint8Array | null> {
    const body = this.#body;
    let lost = 0;
    for (;;) {
      if (this.#ended)
        throw new ProximaError("viewer_gone", "the viewer gave up the response", { source: "viewer" });
      const bytes = await body.bytesAt(this.position, this.end);
      if (bytes !== null) return bytes;
      if (body.isComing(this.position, body.validator === null)) {
        await body.changed();
        continue;
      }
      if (body.superseded || body.validator === null) return null;
      if (this.#error !== null && ++this.#failures >= LARGE_SPAN_TRIES_MAX) throw this.#error;
      this.#error = null;
      body.fetchAt(this.position, this.end, this.#fetch, this.#failed);
      if (body.isComing(this.position, false)) await body.changed();
      // It came in this very moment, or can not be kept.
      else if (++lost > LARGE_SPAN_TRIES_MAX) return null;
    }
  }

  readonly #failed = (error: unknown): void => {
    this.#error = error;
  };

  cancel(): void {
    this.#leave();
  }

  #leave(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#body.leave(this);
  }
}
