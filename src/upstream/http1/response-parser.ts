/**
 * An incremental reader of one HTTP/1.1 response (RFC 9112): bytes are pushed as they come, a sink is
 * told the head, pieces of the body and the end. It ends in one of two states only: complete, or
 * failed by a thrown UpstreamError. Bytes after a complete response are surplus: the connection they
 * came on must not be used again.
 *
 * The parser owns what is pushed: pieces are views of it, and chunked data is moved inside it.
 */
import { unreachable } from "../../base/assert.ts";
import { ChunkedDecoder } from "../../http/chunked-decoder.ts";
import { UpstreamError } from "../next-hop.ts";
import { INTERIM_RESPONSES_MAX, RESPONSE_HEAD_BYTES_MAX } from "./limits.ts";
import type { Respondent } from "./respondent.ts";
import { parseResponseHead, type ResponseHead } from "./response-head.ts";

/** Where a parser puts what it finds. Pieces may be kept. */
export interface ResponseSink {
  onHead(head: ResponseHead): void;
  onBody(piece: Uint8Array): void;
  onComplete(): void;
}

type State = "head" | "length" | "chunked" | "close" | "complete" | "failed";

const HEAD_END = Buffer.from("\r\n\r\n");
const VERSION = Buffer.from("HTTP/1.");
const CR = 0x0d;
const LF = 0x0a;

/** A parser for one response to one request. */
export class ResponseParser {
  readonly #sink: ResponseSink;
  readonly #method: string;
  readonly #respondent: Respondent;
  #state: State = "head";
  /** A head that did not come in one piece: a growing buffer and how much of it is filled. */
  #partial: Buffer | null = null;
  #filled = 0;
  #interims = 0;
  #rest = 0;
  #decoder: ChunkedDecoder | null = null;
  #started = false;
  #surplus = false;

  /** `method` is the request's. */
  constructor(sink: ResponseSink, method: string, respondent: Respondent) {
    this.#sink = sink;
    this.#method = method;
    this.#respondent = respondent;
  }

  /** True when any byte came. */
  get started(): boolean {
    return this.#started;
  }

  /** True when the whole response was read. */
  get complete(): boolean {
    return this.#state === "complete";
  }

  /** True when bytes came after the response's end: a split or poisoned connection. */
  get surplus(): boolean {
    return this.#surplus;
  }

  /** Reads on. Throws an UpstreamError when the response is malformed; the parser is then of no more use. */
  push(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#started = true;
    try {
      this.#push(bytes);
    } catch (error) {
      this.#state = "failed";
      throw error;
    }
  }

  /** The connection ended in order. Throws when the response is not whole (RFC 9112 section 8). */
  end(): void {
    switch (this.#state) {
      case "complete":
      case "failed":
        return;
      case "close":
        this.#complete();
        return;
      case "head": {
        this.#state = "failed";
        const cut = this.#started;
        throw new UpstreamError(
          cut ? "http_response_incomplete" : "connection_terminated",
          cut
            ? `${this.#respondent.who} closed the connection in the middle of a header section`
            : `${this.#respondent.who} closed the connection without an answer`,
        );
      }
      case "length":
      case "chunked": {
        const missing = this.#state === "length" ? `${this.#rest} bytes` : "the last chunk";
        this.#state = "failed";
        throw new UpstreamError(
          "http_response_incomplete",
          `${this.#respondent.who} closed the connection before the end of the body: ${missing} did not come`,
        );
      }
      default:
        unreachable(this.#state);
    }
  }

  #push(bytes: Buffer): void {
    let rest: Buffer | null = bytes;
    // Each turn ends a head (at most INTERIM_RESPONSES_MAX and one) or takes all that is left.
    while (rest !== null && rest.length > 0) {
      switch (this.#state) {
        case "head":
          rest = this.#pushHead(rest);
          break;
        case "length":
          rest = this.#pushLength(rest);
          break;
        case "chunked":
          rest = this.#pushChunked(rest);
          break;
        case "close":
          this.#sink.onBody(rest);
          rest = null;
          break;
        case "complete":
          this.#surplus = true;
          rest = null;
          break;
        case "failed":
          rest = null;
          break;
        default:
          unreachable(this.#state);
      }
    }
  }

  /** Looks for the end of the head; returns what follows it, or null when it has not come. */
  #pushHead(bytes: Buffer): Buffer | null {
    let data = bytes;
    let from = 0;
    if (this.#partial !== null) {
      from = Math.max(0, this.#filled - (HEAD_END.length - 1));
      data = this.#join(bytes);
    }
    const end = data.indexOf(HEAD_END, from);
    if ((end === -1 ? data.length : end + HEAD_END.length) > RESPONSE_HEAD_BYTES_MAX) {
      throw new UpstreamError(
        "http_response_header_section_size",
        `${this.#respondent.who} sent a header section longer than ${RESPONSE_HEAD_BYTES_MAX} bytes`,
      );
    }
    if (end === -1) {
      this.#checkPartial(data, from);
      if (this.#partial === null) {
        this.#partial = Buffer.from(data);
        this.#filled = data.length;
      }
      return null;
    }
    this.#partial = null;
    this.#filled = 0;
    const head = parseResponseHead(data.toString("latin1", 0, end), this.#method, this.#respondent.fault);
    const rest = data.subarray(end + HEAD_END.length);
    if ("interim" in head) {
      this.#interims++;
      if (this.#interims > INTERIM_RESPONSES_MAX) {
        throw this.#respondent.fault(
          `more than ${INTERIM_RESPONSES_MAX} interim responses came before the final one`,
        );
      }
      return rest;
    }
    this.#startBody(head);
    return rest;
  }

  /**
   * A head that ends its lines with bare LF would never come to an end, and what does not speak HTTP
   * at all would be waited for: both are told from the first bytes.
   */
  #checkPartial(data: Buffer, from: number): void {
    const length = Math.min(VERSION.length, data.length);
    if (data.compare(VERSION, 0, length, 0, length) !== 0) {
      throw this.#respondent.fault('it does not begin with "HTTP/1."');
    }
    for (let at = data.indexOf(LF, from); at !== -1; at = data.indexOf(LF, at + 1)) {
      if (data[at - 1] !== CR) throw this.#respondent.fault("a line of the head does not end with CRLF");
    }
  }

  #join(bytes: Buffer): Buffer {
    const needed = this.#filled + bytes.length;
    let partial = this.#partial as Buffer;
    if (partial.length < needed) {
      partial = Buffer.alloc(Math.max(needed, partial.length * 2));
      (this.#partial as Buffer).copy(partial, 0, 0, this.#filled);
      this.#partial = partial;
    }
    bytes.copy(partial, this.#filled);
    this.#filled = needed;
    return partial.subarray(0, needed);
  }

  #startBody(head: ResponseHead): void {
    switch (head.framing) {
      case "none":
        this.#sink.onHead(head);
        this.#complete();
        return;
      case "length":
        this.#rest = head.bodyLength ?? 0;
        this.#state = "length";
        this.#sink.onHead(head);
        if (this.#rest === 0) this.#complete();
        return;
      case "chunked":
        this.#decoder = new ChunkedDecoder(this.#respondent.fault);
        this.#state = "chunked";
        this.#sink.onHead(head);
        return;
      case "close":
        this.#state = "close";
        this.#sink.onHead(head);
        return;
      default:
        unreachable(head.framing);
    }
  }

  #pushLength(bytes: Buffer): Buffer | null {
    const piece = bytes.length <= this.#rest ? bytes : bytes.subarray(0, this.#rest);
    this.#rest -= piece.length;
    this.#sink.onBody(piece);
    if (this.#rest > 0) return null;
    this.#complete();
    return piece === bytes ? null : bytes.subarray(piece.length);
  }

  #pushChunked(bytes: Buffer): Buffer | null {
    const decoder = this.#decoder as ChunkedDecoder;
    const { piece, used } = decoder.push(bytes);
    if (piece !== null) this.#sink.onBody(piece);
    if (!decoder.done) return null;
    this.#complete();
    return bytes.subarray(used);
  }

  #complete(): void {
    this.#state = "complete";
    this.#sink.onComplete();
  }
}
