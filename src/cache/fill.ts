/**
 * A fill is one body on its way from a next hop, shared by every viewer who waits for it. While it
 * may be stored it is retained from the start, and a viewer can join at any time; once it grows past
 * what may be stored it becomes a window: pieces go as soon as every viewer has them, the origin is
 * not read ahead of the slowest by more than the window, and nobody joins any more.
 */
import type { Clock } from "../base/clock.ts";
import { ProximaError } from "../base/errors.ts";
import { takeOut } from "../base/take-out.ts";
import type { BodyReader } from "../http/body.ts";
import { FILL_STALL_MS_MAX, FILL_WINDOW_BYTES_MAX } from "./limits.ts";

/** How a fill stands. `failed` keeps its error for those who still read. */
export type FillState = "filling" | "complete" | "failed";

/** Memory that fills may retain together. */
export class FillBudget {
  readonly bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** True when the bytes were reserved. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }
}

/** One body being fetched. */
export class Fill {
  readonly #source: BodyReader;
  readonly #clock: Clock;
  readonly #budget: FillBudget;
  readonly #retainBytesMax: number;
  readonly #readsOn: boolean;
  /** In no order: who leaves gives its place to the last one. */
  readonly #readers: FillReader[] = [];
  /** Pieces from `#firstPiece` on; earlier ones are gone in window mode. */
  #pieces: Uint8Array[] = [];
  #firstPiece = 0;
  #bytes = 0;
  #reserved = 0;
  #retain: boolean;
  #state: FillState = "filling";
  #error: unknown = null;
  #reading = false;
  #whole: PromiseWithResolvers<boolean> | null = null;
  #stallCancel: (() => void) | null = null;

  constructor(
    source: BodyReader,
    options: {
      readonly clock: Clock;
      readonly budget: FillBudget;
      /** Largest body that is retained, in bytes; 0 retains nothing. */
      readonly retainBytesMax: number;
      /** A retained body is read to its end although every viewer left, as what is to be stored is. Default true. */
      readonly readsOn?: boolean;
    },
  ) {
    this.#source = source;
    this.#clock = options.clock;
    this.#budget = options.budget;
    this.#retainBytesMax = options.retainBytesMax;
    this.#retain = options.retainBytesMax > 0;
    this.#readsOn = options.readsOn ?? true;
  }

  get state(): FillState {
    return this.#state;
  }

  get error(): unknown {
    return this.#error;
  }

  /** True while the whole body from its first byte is here: a viewer may join, and it may be stored. */
  get retained(): boolean {
    return this.#retain;
  }

  /** Bytes that are here now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Nobody wants the body: the source is given up. */
  abandon(): void {
    if (this.#state !== "filling") return;
    this.#fail(new ProximaError("viewer_gone", "no viewer is left for this response", { source: "viewer" }));
    this.#source.cancel();
  }

  /** One who could have read it does not: the source is given up unless somebody else does. */
  letGo(): void {
    if (this.#state !== "filling" || this.#readers.length > 0 || (this.#retain && this.#readsOn)) return;
    if (!this.#retain) {
      this.abandon();
      return;
    }
    // Those who waited for the same answer join in this very turn.
    setImmediate(abandonUnread, this);
  }

  /** Gives the source up unless somebody reads. */
  abandonUnread(): void {
    if (this.#readers.length === 0) this.abandon();
  }

  /** Starts reading. A retained fill reads on without viewers; a window waits for them. */
  start(): void {
    this.#pump();
  }

  /** Resolves true when the body is complete and retained, false when it will not be. Never rejects. */
  whole(): Promise<boolean> {
    if (this.#state === "complete") return Promise.resolve(this.#retain);
    if (this.#state === "failed" || !this.#retain) return Promise.resolve(false);
    this.#whole ??= Promise.withResolvers<boolean>();
    return this.#whole.promise;
  }

  /** The retained, complete body as its pieces; the fill gives up its own hold on their memory. */
  takePieces(): Uint8Array[] {
    return this.#pieces;
  }

  /** Joins at the first byte. Only while retained or before the first piece was dropped. */
  join(): BodyReader {
    const reader = new FillReader(this);
    reader.place = this.#readers.push(reader) - 1;
    this.#pump();
    return reader;
  }

  /** Piece number `index` if it is here; null at the end; "wait" when it has not come yet. */
  pieceAt(index: number): Uint8Array | null | "wait" {
    const piece = this.#pieces[index - this.#firstPiece];
    if (piece !== undefined) return piece;
    if (this.#state === "failed") throw this.#error;
    return this.#state === "complete" ? null : "wait";
  }

  /** A reader moved on: drop what nobody needs, and read further. */
  moved(): void {
    if (!this.#retain) this.#dropConsumed();
    if (this.#state === "filling") this.#pump();
  }

  leave(reader: FillReader): void {
    const moved = takeOut(this.#readers, reader.place);
    if (moved !== null) moved.place = reader.place;
    this.letGo();
    this.moved();
  }

  /** Reads from the source until it ends, or the window is full. What is here already is taken without a promise. */
  #pump(): void {
    if (this.#reading) return;
    while (this.#state === "filling" && this.#mayRead()) {
      const piece = this.#source.readNow?.();
      if (piece === undefined) {
        void this.#pumpLater();
        return;
      }
      this.#take(piece);
    }
  }

  async #pumpLater(): Promise<void> {
    this.#reading = true;
    try {
      while (this.#state === "filling" && this.#mayRead()) {
        const piece = await this.#source.read();
        if (this.#state !== "filling") return;
        this.#take(piece);
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#reading = false;
    }
  }

  #take(piece: Uint8Array | null): void {
    if (piece === null) this.#complete();
    else this.#push(piece);
  }

  #mayRead(): boolean {
    if (this.#retain) return true;
    const room = this.#bytes < FILL_WINDOW_BYTES_MAX;
    if (room) this.#cancelStall();
    else this.#armStall();
    return room && this.#readers.length > 0;
  }

  #push(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#bytes += piece.byteLength;
    if (this.#retain) {
      const fits = this.#bytes <= this.#retainBytesMax && this.#budget.take(piece.byteLength);
      if (fits) this.#reserved += piece.byteLength;
      else this.#stopRetaining();
    }
    for (const reader of this.#readers) reader.wake();
  }

  #stopRetaining(): void {
    this.#retain = false;
    this.#release();
    this.#whole?.resolve(false);
    this.#dropConsumed();
    if (this.#readers.length === 0 && this.#state === "filling") {
      this.#fail(
        new ProximaError("too_large", "the response is larger than may be stored", { source: "origin" }),
      );
      this.#source.cancel();
    }
  }

  #dropConsumed(): void {
    let least = Number.POSITIVE_INFINITY;
    for (const reader of this.#readers) least = Math.min(least, reader.index);
    const count = Math.min(least - this.#firstPiece, this.#pieces.length);
    if (count <= 0) return;
    for (let i = 0; i < count; i++) this.#bytes -= (this.#pieces[i] as Uint8Array).byteLength;
    this.#pieces.splice(0, count);
    this.#firstPiece += count;
  }

  #complete(): void {
    this.#state = "complete";
    this.#cancelStall();
    this.#release();
    this.#whole?.resolve(this.#retain);
    for (const reader of this.#readers) reader.wake();
  }

  #fail(error: unknown): void {
    this.#state = "failed";
    this.#error = error;
    this.#cancelStall();
    this.#release();
    this.#whole?.resolve(false);
    for (const reader of this.#readers) reader.wake();
  }

  #release(): void {
    this.#budget.give(this.#reserved);
    this.#reserved = 0;
  }

  /** While the window is full, the slowest viewer has a limited time to take something. */
  #armStall(): void {
    if (this.#stallCancel !== null) return;
    const indexBefore = this.#firstPiece;
    this.#stallCancel = this.#clock.after(FILL_STALL_MS_MAX, () => {
      this.#stallCancel = null;
      if (this.#state !== "filling" || this.#readers.length < 2 || this.#firstPiece !== indexBefore) {
        if (this.#state === "filling" && this.#bytes >= FILL_WINDOW_BYTES_MAX) this.#armStall();
        return;
      }
      for (const reader of [...this.#readers]) {
        if (reader.index === this.#firstPiece) {
          reader.fail(
            new ProximaError("viewer_too_slow", "the viewer took nothing while others waited", {
              source: "viewer",
            }),
          );
        }
      }
    });
  }

  #cancelStall(): void {
    this.#stallCancel?.();
    this.#stallCancel = null;
  }
}

function abandonUnread(fill: Fill): void {
  fill.abandonUnread();
}

/** One viewer's place in a fill. */
class FillReader implements BodyReader {
  index = 0;
  /** Among the readers of its fill. */
  place = 0;
  readonly #fill: Fill;
  #waiting: PromiseWithResolvers<void> | null = null;
  #ended = false;
  #cancelled = false;
  #error: unknown = null;

  constructor(fill: Fill) {
    this.#fill = fill;
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#error !== null) throw this.#error;
      if (this.#cancelled) throw givenUp();
      const piece = this.#fill.pieceAt(this.index);
      if (piece === "wait") {
        this.#waiting = Promise.withResolvers<void>();
        await this.#waiting.promise;
        continue;
      }
      if (piece === null) {
        this.#end();
        return null;
      }
      this.index++;
      this.#fill.moved();
      return piece;
    }
  }

  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve();
  }

  fail(error: unknown): void {
    this.#error = error;
    this.#end();
  }

  cancel(): void {
    if (this.#ended) return;
    // Nearly nobody reads after that: the error, which is dear, is made for who does.
    this.#cancelled = true;
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.wake();
    this.#fill.leave(this);
  }
}

function givenUp(): ProximaError {
  return new ProximaError("viewer_gone", "the viewer gave up the response", { source: "viewer" });
}
