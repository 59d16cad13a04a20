/**
 * The chunked transfer coding (RFC 9112 section 7.1), decoded byte by byte with any split. Data is
 * moved together inside the pushed buffer, so that a read full of tiny chunks becomes one piece and
 * not a hundred thousand.
 */
import { unreachable } from "../base/assert.ts";
import { type Fault, parseFieldLine } from "./field-line.ts";

/** Hexadecimal digits of a chunk's size: 52 bits, what stays an exact integer. */
export const CHUNK_SIZE_DIGITS_MAX = 13;

/**
 * Bytes of chunk extensions that may run ahead of the data. Each byte of data gives one byte back, so
 * that a long body with an extension on each chunk passes and one made of extensions does not.
 */
export const CHUNK_EXTENSION_BYTES_MAX = 16 * 1024;

/** Bytes of a trailer section. It is checked and dropped. */
export const TRAILER_BYTES_MAX = 16 * 1024;

type State =
  | "size"
  | "blank"
  | "extension"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailer"
  | "trailer-lf"
  | "done";

/** What one push decoded. */
export interface Decoded {
  /** Bytes of data, a view of the pushed buffer; null when there were none. */
  readonly piece: Buffer | null;
  /** How many of the pushed bytes belong to this message: fewer than all only when it is done. */
  readonly used: number;
}

const CR = 0x0d;
const LF = 0x0a;

/** A decoder for one chunked body. */
export class ChunkedDecoder {
  readonly #fault: Fault;
  readonly #refusedTrailers: ReadonlySet<string>;
  #state: State = "size";
  #digits = 0;
  /** Size while it is read, then the bytes of the chunk that are still to come. */
  #rest = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;
  #trailerLine = "";

  /** A trailer section with one of the `refusedTrailers` (names in lower case) is malformed. */
  constructor(fault: Fault, refusedTrailers: ReadonlySet<string> = NONE) {
    this.#fault = fault;
    this.#refusedTrailers = refusedTrailers;
  }

  /** True when the last chunk and the trailer section have been read. */
  get done(): boolean {
    return this.#state === "done";
  }

  /** Decodes `bytes`, which it may overwrite. Throws what `fault` makes when they are malformed. */
  push(bytes: Buffer): Decoded {
    let from = -1;
    let to = -1;
    let at = 0;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "data") {
        const count = Math.min(this.#rest, bytes.length - at);
        if (from === -1) {
          from = at;
          to = at + count;
        } else {
          bytes.copyWithin(to, at, at + count);
          to += count;
        }
        at += count;
        this.#rest -= count;
        if (this.#rest === 0) this.#state = "data-cr";
      } else {
        this.#state = this.#step(this.#state, bytes[at] as number);
        at++;
      }
    }
    return { piece: from === -1 ? null : bytes.subarray(from, to), used: at };
  }

  #step(state: Exclude<State, "data" | "done">, byte: number): State {
    switch (state) {
      case "size": {
        const digit = hexDigit(byte);
        if (digit !== -1) {
          this.#digits++;
          if (this.#digits > CHUNK_SIZE_DIGITS_MAX) {
            throw this.#fault(`a chunk size has more than ${CHUNK_SIZE_DIGITS_MAX} digits`);
          }
          this.#rest = this.#rest * 16 + digit;
          return "size";
        }
        if (this.#digits === 0) throw this.#fault("a chunk size is missing or not hexadecimal");
        return this.#afterSize(byte);
      }
      case "blank":
        if (byte === CR) throw this.#fault("a chunk size is followed by white space");
        return this.#afterSize(byte);
      case "extension":
        return this.#extension(byte);
      case "size-lf":
        if (byte !== LF) throw this.#fault("a chunk size line does not end with CRLF");
        return this.#startChunk();
      case "data-cr":
        if (byte !== CR) throw this.#fault("a chunk is longer than its size, or not followed by CRLF");
        return "data-lf";
      case "data-lf":
        if (byte !== LF) throw this.#fault("a chunk is not followed by CRLF");
        return "size";
      case "trailer":
        return this.#trailer(byte);
      case "trailer-lf":
        if (byte !== LF) throw this.#fault("a trailer line does not end with CRLF");
        if (this.#trailerLine === "") return "done";
        // Trailers are checked and dropped: no field of theirs may change a stored response.
        this.#checkTrailer(this.#trailerLine);
        this.#trailerLine = "";
        return "trailer";
      default:
        return unreachable(state);
    }
  }

  /** After the size: the end of the line, an extension, or white space before one (BWS). */
  #afterSize(byte: number): State {
    if (byte === CR) return "size-lf";
    if (byte === 0x3b) return "extension";
    if (byte === 0x20 || byte === 0x09) {
      this.#countExtension();
      return "blank";
    }
    throw this.#fault("a chunk size is not hexadecimal");
  }

  #extension(byte: number): State {
    if (byte === CR) return "size-lf";
    if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) {
      throw this.#fault("a chunk extension has a control character");
    }
    this.#countExtension();
    return "extension";
  }

  #countExtension(): void {
    this.#extensionBytes++;
    if (this.#extensionBytes > CHUNK_EXTENSION_BYTES_MAX) {
      throw this.#fault(`its chunk extensions are longer than ${CHUNK_EXTENSION_BYTES_MAX} bytes`);
    }
  }

  #startChunk(): State {
    this.#digits = 0;
    if (this.#rest === 0) return "trailer";
    this.#extensionBytes = Math.max(0, this.#extensionBytes - this.#rest);
    return "data";
  }

  #checkTrailer(line: string): void {
    const [name] = parseFieldLine(line, this.#fault);
    if (this.#refusedTrailers.has(name)) throw this.#fault(`its trailer section has ${name}`);
  }

  #trailer(byte: number): State {
    if (byte === CR) return "trailer-lf";
    if (byte === LF) throw this.#fault("a trailer line does not end with CRLF");
    this.#trailerBytes++;
    if (this.#trailerBytes > TRAILER_BYTES_MAX) {
      throw this.#fault(`its trailer section is longer than ${TRAILER_BYTES_MAX} bytes`);
    }
    this.#trailerLine += String.fromCharCode(byte);
    return "trailer";
  }
}

const NONE: ReadonlySet<string> = new Set();

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
