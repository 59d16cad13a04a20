/**
 * Writes one request to a connection: the head, then the body by its length or chunked, a piece at a
 * time. The next piece is asked for only when the socket has taken the last one, so a slow origin
 * slows the viewer down instead of filling memory.
 */
import type { BodyReader } from "../../http/body.ts";
import { UpstreamError } from "../next-hop.ts";

/** A socket that may take only a part of what it is given. */
export interface PartialWriter {
  /** Bytes taken: fewer than given when it is full (onDrain follows), -1 when it is closed. */
  write(bytes: Uint8Array): number;
}

/** What the writer tells the exchange. */
export interface WriterOwner {
  /** Bytes were taken by the socket; `waiting` says whose turn it is now. */
  onSent(waiting: "origin" | "body"): void;
  /** The whole request was taken. */
  onSentAll(): void;
  /** The request's body failed, or was not as long as announced: the connection is of no more use. */
  onBodyFailed(error: UpstreamError): void;
}

const LAST_CHUNK = Buffer.from("0\r\n\r\n", "latin1");
const CRLF = Buffer.from("\r\n", "latin1");
/** A chunk up to this size is sent as one buffer; a copy of it costs less than a system call more. */
const CHUNK_JOINED_BYTES_MAX = 64 * 1024;

/** A writer for one request. */
export class RequestWriter {
  readonly #socket: PartialWriter;
  readonly #owner: WriterOwner;
  readonly #body: BodyReader | null;
  readonly #bodyLength: number | null;
  #sentBodyBytes = 0;
  /** What the socket has not taken yet, in order. */
  #unsent: Uint8Array[] = [];
  #atEnd = false;
  #stopped = false;
  #done = false;

  constructor(
    socket: PartialWriter,
    owner: WriterOwner,
    request: { readonly body: BodyReader | null; readonly bodyLength: number | null },
  ) {
    this.#socket = socket;
    this.#owner = owner;
    this.#body = request.body;
    this.#bodyLength = request.bodyLength;
  }

  /** True when the whole request was taken by the socket. */
  get done(): boolean {
    return this.#done;
  }

  /** Sends the head, then asks for the body. */
  start(head: Uint8Array): void {
    this.#unsent.push(head);
    if (this.#body === null) this.#atEnd = true;
    this.#flush();
  }

  /** The socket can take bytes again. */
  onDrain(): void {
    if (this.#unsent.length > 0) this.#flush();
  }

  /** Stops sending and gives up the body. */
  stop(): void {
    if (this.#stopped || this.#done) return;
    this.#stopped = true;
    this.#unsent = [];
    this.#body?.cancel();
  }

  #flush(): void {
    while (!this.#stopped) {
      const piece = this.#unsent[0];
      if (piece === undefined) break;
      const count = this.#socket.write(piece);
      if (count < piece.byteLength) {
        // A closed socket (-1) is told of by its own event, which ends the exchange.
        if (count > 0) this.#unsent[0] = piece.subarray(count);
        this.#owner.onSent("origin");
        return;
      }
      this.#unsent.shift();
    }
    if (this.#stopped) return;
    if (this.#atEnd) {
      this.#done = true;
      this.#owner.onSentAll();
      return;
    }
    this.#owner.onSent("body");
    void this.#next();
  }

  async #next(): Promise<void> {
    let piece: Uint8Array | null;
    try {
      piece = (await this.#body?.read()) ?? null;
    } catch (cause) {
      if (!this.#stopped) {
        this.#fail(new UpstreamError("http_request_error", "the request's body ended early", { cause }));
      }
      return;
    }
    if (this.#stopped) return;
    const length = this.#bodyLength;
    if (piece !== null) this.#sentBodyBytes += piece.byteLength;
    if (length !== null && (piece === null ? this.#sentBodyBytes !== length : this.#sentBodyBytes > length)) {
      this.#fail(
        new UpstreamError(
          "http_request_error",
          `the request's body is ${piece === null ? "shorter" : "longer"} than its length of ${length} bytes`,
        ),
      );
      return;
    }
    if (piece === null) {
      this.#atEnd = true;
      if (length === null) this.#unsent.push(LAST_CHUNK);
    } else if (length === null) {
      this.#pushChunk(piece);
    } else {
      this.#unsent.push(piece);
    }
    this.#flush();
  }

  /** An empty piece is no chunk: a size of zero would end the body (RFC 9112 section 7.1). */
  #pushChunk(piece: Uint8Array): void {
    if (piece.byteLength === 0) return;
    const size = Buffer.from(`${piece.byteLength.toString(16)}\r\n`, "latin1");
    if (piece.byteLength <= CHUNK_JOINED_BYTES_MAX) this.#unsent.push(Buffer.concat([size, piece, CRLF]));
    else this.#unsent.push(size, piece, CRLF);
  }

  #fail(error: UpstreamError): void {
    this.#stopped = true;
    this.#unsent = [];
    this.#body?.cancel();
    this.#owner.onBodyFailed(error);
  }
}
