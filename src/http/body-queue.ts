/**
 * A body between the connection, which pushes, and its reader, which pulls. Pieces wait in order; above
 * its limit the queue says that it is full, and the connection is paused until
 * the reader has taken most of them. A null is given only after `finish`: never for a body that was cut.
 */
import { assert, unreachable } from "../base/assert.ts";
import { ProximaError } from "../base/errors.ts";
import type { BodyReader } from "./body.ts";

/** How much may wait in a queue, in bytes. */
export interface QueueRoom {
  /** Above this the connection is paused. */
  readonly bytesMax: number;
  /** At this, or below, it reads on. */
  readonly bytesResume: number;
}

/** What the queue asks of the connection that fills it. */
export interface BodySource {
  /** The queue was full and has room again. */
  onRoom(): void;
  /** The reader gives up a body that is not finished. */
  onCancel(): void;
}

type State = "open" | "finished" | "failed";

/** A queue of body pieces with one reader. */
export class BodyQueue implements BodyReader {
  readonly #source: BodySource;
  readonly #room: QueueRoom;
  #state: State = "open";
  #error: unknown = null;
  #pieces: Uint8Array[] = [];
  /** Place of the next piece in #pieces: shift() on a long array would move the rest. */
  #next = 0;
  #bytes = 0;
  #wasFull = false;
  #resolve: ((piece: Uint8Array | null) => void) | null = null;
  #reject: ((error: unknown) => void) | null = null;

  constructor(source: BodySource, room: QueueRoom) {
    this.#source = source;
    this.#room = room;
  }

  /** Adds a piece. False when the queue is full and the connection should pause. */
  push(piece: Uint8Array): boolean {
    if (this.#state !== "open") return true;
    const resolve = this.#resolve;
    if (resolve !== null) {
      this.#resolve = null;
      this.#reject = null;
      resolve(piece);
      return true;
    }
    this.#pieces.push(piece);
    this.#bytes += piece.byteLength;
    if (this.#bytes <= this.#room.bytesMax) return true;
    this.#wasFull = true;
    return false;
  }

  /** The body is whole. */
  finish(): void {
    if (this.#state !== "open") return;
    this.#state = "finished";
    this.#resolve?.(null);
    this.#resolve = null;
    this.#reject = null;
  }

  /** The body is cut or malformed: reads reject with `error` once the pieces that wait have been taken. */
  fail(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    this.#error = error;
    this.#reject?.(error);
    this.#resolve = null;
    this.#reject = null;
  }

  /** Nobody wants the body any more: pieces that wait are dropped, reads reject with `error`. */
  discard(error: unknown): void {
    this.#pieces = [];
    this.#next = 0;
    this.#bytes = 0;
    this.fail(error);
    if (this.#state === "finished") {
      this.#state = "failed";
      this.#error = error;
    }
  }

  read(): Promise<Uint8Array | null> {
    assert(this.#resolve === null, "a body has one read at a time");
    const piece = this.#pieces[this.#next];
    if (piece !== undefined) {
      this.#take(piece);
      return Promise.resolve(piece);
    }
    switch (this.#state) {
      case "finished":
        return Promise.resolve(null);
      case "failed":
        return Promise.reject(this.#error);
      case "open":
        return new Promise((resolve, reject) => {
          this.#resolve = resolve;
          this.#reject = reject;
        });
      default:
        return unreachable(this.#state);
    }
  }

  readNow(): Uint8Array | null | undefined {
    const piece = this.#pieces[this.#next];
    if (piece === undefined) return this.#state === "finished" ? null : undefined;
    this.#take(piece);
    return piece;
  }

  cancel(): void {
    if (this.#state === "open") this.#source.onCancel();
    else if (this.#bytes > 0) this.discard(givenUp());
  }

  #take(piece: Uint8Array): void {
    this.#pieces[this.#next] = EMPTY;
    this.#next++;
    this.#bytes -= piece.byteLength;
    if (this.#next === this.#pieces.length) {
      this.#pieces = [];
      this.#next = 0;
    }
    if (this.#wasFull && this.#bytes <= this.#room.bytesResume) {
      this.#wasFull = false;
      if (this.#state === "open") this.#source.onRoom();
    }
  }
}

function givenUp(): ProximaError {
  return new ProximaError("body_given_up", "the body was given up", { source: "node" });
}

const EMPTY = new Uint8Array(0);
