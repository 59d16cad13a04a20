/**
 * The sending half of a viewer's connection. Small parts are gathered and leave in one write; what the
 * socket does not take waits, by reference, until it drains, and nothing more of a stream is read
 * before that: a slow viewer slows its origin down instead of filling memory.
 */
import type { BodyReader } from "../../../http/body.ts";
import { FILL_UP_BYTES, OUTBOX_BYTES } from "./limits.ts";
import type { BodyEnd } from "./response-head.ts";

/** The part of a socket that a sender needs. */
export interface SendingSocket {
  /** Bytes taken: fewer than given when it is full (a drain follows), -1 when it is closed. */
  write(bytes: Uint8Array, byteOffset?: number, byteLength?: number): number;
}

/** Gathers bytes for one socket at a time; shared by all connections of a listener, and empty between callbacks. */
export class Outbox {
  readonly bytes = Buffer.allocUnsafeSlow(OUTBOX_BYTES);
  filled = 0;
  /** Whose bytes these are. */
  owner: Sender | null = null;
}

/** What a sender tells the connection. */
export interface SenderOwner {
  /** The viewer took bytes. */
  onProgress(): void;
  /** The streamed body is over, and everything was taken by the socket. */
  onStreamed(): void;
  /** The body broke, or was not as long as its head said: the viewer must see that. */
  onBroken(error: unknown): void;
}

const CRLF = Buffer.from("\r\n", "latin1");
const LAST_CHUNK = Buffer.from("0\r\n\r\n", "latin1");

/** A sender for one connection. */
export class Sender {
  readonly #socket: SendingSocket;
  readonly #outbox: Outbox;
  readonly #owner: SenderOwner;
  /** What the socket has not taken yet, in order. Null: nothing. */
  #waiting: Uint8Array[] | null = null;
  #reader: BodyReader | null = null;
  #drained: (() => void) | null = null;
  #stopped = false;

  constructor(socket: SendingSocket, outbox: Outbox, owner: SenderOwner) {
    this.#socket = socket;
    this.#outbox = outbox;
    this.#owner = owner;
  }

  /** True while the viewer has to take something before more may be sent. */
  get blocked(): boolean {
    return this.#waiting !== null;
  }

  /** Sends bytes that nobody changes any more. They may leave with the next `flush` only. */
  send(bytes: Uint8Array): void {
    if (this.#waiting !== null) {
      this.#waiting.push(bytes);
      return;
    }
    const outbox = this.#outbox;
    if (outbox.owner !== this) {
      // What another one left there would go to the wrong viewer.
      outbox.owner?.flush();
      outbox.owner = this;
    }
    if (outbox.filled + bytes.byteLength > outbox.bytes.length) {
      // What was gathered leaves with the beginning of it: a packet of its own would cost more than the copy.
      const ahead = outbox.filled === 0 ? 0 : Math.min(FILL_UP_BYTES, outbox.bytes.length - outbox.filled);
      outbox.bytes.set(bytes.subarray(0, ahead), outbox.filled);
      outbox.filled += ahead;
      this.flush();
      this.#write(ahead === 0 ? bytes : bytes.subarray(ahead));
      return;
    }
    outbox.bytes.set(bytes, outbox.filled);
    outbox.filled += bytes.byteLength;
  }

  /** Hands what was gathered to the socket. To be called before another connection has its turn. */
  flush(): void {
    const outbox = this.#outbox;
    const { filled } = outbox;
    if (filled === 0 || outbox.owner !== this) return;
    outbox.filled = 0;
    if (this.#stopped) return;
    const count = Math.max(0, this.#socket.write(outbox.bytes, 0, filled));
    if (count < filled) this.#waiting = [Buffer.from(outbox.bytes.subarray(count, filled))];
  }

  /** Sends a body piece by piece behind `head`, which leaves with the first piece where that `comesSoon`, else at once. */
  stream(head: readonly Uint8Array[], reader: BodyReader, end: BodyEnd, comesSoon: boolean): void {
    this.#reader = reader;
    if (comesSoon) {
      void this.#pump(head, reader, end);
      return;
    }
    for (const part of head) this.send(part);
    this.flush();
    void this.#pump([], reader, end);
  }

  /** The socket takes bytes again. */
  onDrain(): void {
    const waiting = this.#waiting;
    if (waiting === null) return;
    let next = 0;
    let part = waiting[next];
    while (part !== undefined) {
      const count = Math.max(0, this.#socket.write(part));
      if (count < part.byteLength) {
        this.#waiting = [part.subarray(count), ...waiting.slice(next + 1)];
        if (next > 0 || count > 0) this.#owner.onProgress();
        return;
      }
      next += 1;
      part = waiting[next];
    }
    this.#waiting = null;
    this.#owner.onProgress();
    this.#drained?.();
    this.#drained = null;
  }

  /** Sends nothing more, and gives up the body. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#waiting = null;
    if (this.#outbox.owner === this) this.#outbox.filled = 0;
    this.#reader?.cancel();
    this.#reader = null;
    this.#drained?.();
    this.#drained = null;
  }

  #write(bytes: Uint8Array): void {
    if (bytes.byteLength === 0 || this.#stopped) return;
    if (this.#waiting !== null) {
      this.#waiting.push(bytes);
      return;
    }
    const count = Math.max(0, this.#socket.write(bytes));
    if (count < bytes.byteLength) this.#waiting = [bytes.subarray(count)];
  }

  async #pump(head: readonly Uint8Array[], reader: BodyReader, end: BodyEnd): Promise<void> {
    try {
      let left = end.kind === "length" ? end.bytes : Number.POSITIVE_INFINITY;
      let before = head;
      for (;;) {
        const piece = await reader.read();
        if (this.#stopped) return;
        for (const part of before) this.send(part);
        before = [];
        if (piece === null) break;
        left -= piece.byteLength;
        if (left < 0) throw new Error("the body is longer than its Content-Length");
        this.#piece(piece, end);
        this.flush();
        this.#owner.onProgress();
        if (this.#waiting !== null) await this.#untilDrained();
        if (this.#stopped) return;
      }
      if (end.kind === "length" && left > 0) throw new Error("the body is shorter than its Content-Length");
      if (end.kind === "chunked") this.send(LAST_CHUNK);
      this.flush();
      this.#reader = null;
      if (this.#waiting !== null) await this.#untilDrained();
      if (!this.#stopped) this.#owner.onStreamed();
    } catch (error) {
      if (!this.#stopped) this.#owner.onBroken(error);
    }
  }

  /** An empty piece is no chunk: a size of zero would end the body (RFC 9112 section 7.1). */
  #piece(piece: Uint8Array, end: BodyEnd): void {
    if (piece.byteLength === 0) return;
    if (end.kind !== "chunked") {
      this.send(piece);
      return;
    }
    this.send(Buffer.from(`${piece.byteLength.toString(16)}\r\n`, "latin1"));
    this.send(piece);
    this.send(CRLF);
  }

  #untilDrained(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }
}
