/**
 * What a viewer sent and nobody has read yet, cut into heads. A head that can not become a proper one any
 * more is refused before it is whole: too long, a line that ends with a bare LF, a first line that is none.
 */
import { EMPTY_LINES_MAX, REQUEST_LINE_BYTES_MAX } from "./limits.ts";
import { HeadRefusal, parseRequestHead, type RequestHead } from "./request-head.ts";

const CR = 0x0d;
const LF = 0x0a;
const LINE_END = Buffer.from("\r\n", "latin1");
const HEAD_END = Buffer.from("\r\n\r\n", "latin1");
const REQUEST_LINE = /^[^ ]+ [^ ]+ HTTP\/[0-9]\.[0-9]$/;
/** The beginning of HTTP/2 with prior knowledge (RFC 9113 section 3.4). */
const HTTP2 = "PRI * HTTP/2.0";

/** A buffer of one connection. */
export class HeadBuffer {
  readonly #fieldsBytesMax: number;
  #bytes: Buffer | null = null;
  /** Where the next head begins, and where the last one did. */
  #at = 0;
  #lastAt = 0;
  /** How much of a head that is not whole has been looked at. */
  #scanned = 0;
  #lineChecked = false;
  #emptyLines = 0;
  #heads = 0;
  #told = false;

  /** `fieldsBytesMax` is the largest header section, its request line left out. */
  constructor(fieldsBytesMax: number) {
    this.#fieldsBytesMax = fieldsBytesMax;
  }

  /** True when nothing waits. */
  get empty(): boolean {
    return this.#bytes === null;
  }

  /** Bytes that wait. */
  get length(): number {
    return this.#bytes === null ? 0 : this.#bytes.length - this.#at;
  }

  /** True once for each head of which only a part is there. */
  begun(): boolean {
    if (this.#told || this.#bytes === null) return false;
    this.#told = true;
    return true;
  }

  /** Adds bytes that nobody else changes. */
  push(bytes: Buffer): void {
    this.#bytes = this.#bytes === null ? bytes : Buffer.concat([this.#bytes.subarray(this.#at), bytes]);
    this.#at = 0;
  }

  /** The next head, a refusal, HTTP/2's beginning on a new connection, or null when more has to come. */
  next(): RequestHead | HeadRefusal | "http2" | null {
    const bytes = this.#bytes;
    if (bytes === null) return null;
    while (bytes[this.#at] === CR && bytes[this.#at + 1] === LF) {
      this.#emptyLines += 1;
      if (this.#emptyLines > EMPTY_LINES_MAX) {
        return new HeadRefusal(400, `more than ${EMPTY_LINES_MAX} empty lines stand before the request line`);
      }
      this.#at += 2;
      this.#scanned = 0;
    }
    if (this.#at === bytes.length) {
      this.#bytes = null;
      this.#at = 0;
      return null;
    }
    const end = bytes.indexOf(HEAD_END, this.#at + Math.max(0, this.#scanned - 3));
    if (end === -1) return this.#checkPart(bytes);
    const at = this.#at;
    const lineEnd = bytes.indexOf(LINE_END, at);
    const tooLong = this.#tooLong(lineEnd - at, end - lineEnd);
    if (tooLong !== null) return tooLong;
    const text = bytes.toString("latin1", at, end);
    this.#lastAt = at;
    this.#at = end + HEAD_END.length;
    this.#scanned = 0;
    this.#lineChecked = false;
    this.#emptyLines = 0;
    this.#told = false;
    this.#heads += 1;
    if (text === HTTP2 && this.#heads === 1) return "http2";
    const head = parseRequestHead(text);
    if (this.#at === bytes.length && !(head instanceof HeadRefusal || head.isWebSocket)) {
      this.#bytes = null;
      this.#at = 0;
    }
    return head;
  }

  /** Everything behind the last head, which is taken out; null when there is nothing. */
  takeAll(): Buffer | null {
    const bytes = this.#bytes;
    if (bytes === null) return null;
    this.#bytes = null;
    const rest = bytes.subarray(this.#at);
    this.#at = 0;
    return rest;
  }

  /** The same with the last head before it: for another server that reads it anew. */
  takeAllWithLast(): Buffer {
    this.#at = this.#lastAt;
    return this.takeAll() ?? Buffer.alloc(0);
  }

  #checkPart(bytes: Buffer): HeadRefusal | null {
    const part = bytes.subarray(this.#at);
    const from = this.#scanned;
    this.#scanned = part.length;
    for (let at = part.indexOf(LF, from); at !== -1; at = part.indexOf(LF, at + 1)) {
      if (part[at - 1] !== CR)
        return new HeadRefusal(400, "a line of the header section does not end with CRLF");
    }
    const first = part[0] as number;
    // No method begins so: a TLS handshake on the port for clear text, or another protocol. A CR may become an empty line.
    if ((first <= 0x20 || first >= 0x7f) && !(first === CR && part.length === 1)) {
      return new HeadRefusal(400, "this is not HTTP/1.1");
    }
    const lineEnd = part.indexOf(LINE_END);
    if (lineEnd === -1) return this.#tooLong(part.length - 1, 0);
    if (!this.#lineChecked) {
      if (lineEnd <= REQUEST_LINE_BYTES_MAX && !REQUEST_LINE.test(part.toString("latin1", 0, lineEnd))) {
        return new HeadRefusal(400, 'the request line is not "METHOD target HTTP/1.1"');
      }
      this.#lineChecked = true;
    }
    return this.#tooLong(lineEnd, part.length - lineEnd);
  }

  #tooLong(lineBytes: number, fieldsBytes: number): HeadRefusal | null {
    if (lineBytes > REQUEST_LINE_BYTES_MAX) {
      return new HeadRefusal(414, `the request line is longer than ${REQUEST_LINE_BYTES_MAX} bytes`);
    }
    // Each field is counted with its line's end, as the pipeline counts it.
    if (fieldsBytes > this.#fieldsBytesMax) {
      return new HeadRefusal(431, `the header section is longer than ${this.#fieldsBytesMax} bytes`);
    }
    return null;
  }
}
