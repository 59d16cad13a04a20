/**
 * A body in AWS's chunks (`aws-chunked`; "Signature Calculations for the Authorization Header: Transferring
 * Payload in Multiple Chunks", with and without trailing headers, Amazon S3 API Reference):
 *
 *     size-in-hex[;chunk-signature=...]CRLF bytes CRLF ... 0[;chunk-signature=...]CRLF [trailers] CRLF
 *
 * Each chunk's signature hangs on the one before, so that none can be left out or moved. The decoder gives
 * bytes out before their chunk's signature was checked: whoever takes them must drop them when it rejects.
 */
import { createHash, type Hash } from "node:crypto";
import type { BodyReader } from "../../http/body.ts";
import { chunkSignature, trailerSignature, type VerifiedSignature } from "../../http/sigv4/verify.ts";
import { CHUNK_LINE_BYTES_MAX, CHUNK_TRAILER_BYTES_MAX } from "../limits.ts";
import { StorageError } from "../storage-error.ts";

/** How the chunks are protected. */
export interface ChunkRules {
  /** Null where chunks are not signed. */
  readonly seed: VerifiedSignature["seed"] | null;
  /** May trailers follow the last chunk? */
  readonly trailers: boolean;
}

type State = "line" | "bytes" | "end-of-chunk" | "trailers" | "whole";

const CR_LF = Buffer.from("\r\n");

/** Reads chunks from a body. Rejects with a StorageError. */
export class AwsChunkedBody implements BodyReader {
  readonly #source: BodyReader;
  readonly #rules: ChunkRules;
  readonly #trailers = new Map<string, string>();
  #state: State = "line";
  #waiting: Buffer = Buffer.alloc(0);
  #left = 0;
  #isLast = false;
  #signature = "";
  #previous: string;
  #hash: Hash = createHash("sha256");

  constructor(source: BodyReader, rules: ChunkRules) {
    this.#source = source;
    this.#rules = rules;
    this.#previous = rules.seed?.signature ?? "";
  }

  /** Trailers by name in lower case; complete once the body has been read to its end. */
  get trailers(): ReadonlyMap<string, string> {
    return this.#trailers;
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const piece = this.#next();
      if (piece !== "more") return piece;
      const bytes = await this.#source.read();
      if (bytes === null) {
        if (this.#state === "whole") return null;
        throw bad("the chunks end before the last one");
      }
      if (this.#state === "whole") throw bad("there are bytes behind the last chunk");
      this.#waiting =
        this.#waiting.byteLength === 0 ? Buffer.from(bytes) : Buffer.concat([this.#waiting, bytes]);
    }
  }

  cancel(): void {
    this.#source.cancel();
  }

  /** A piece, null at the end, or "more" when bytes are missing. */
  #next(): Uint8Array | null | "more" {
    for (;;) {
      switch (this.#state) {
        case "line": {
          const line = this.#line(CHUNK_LINE_BYTES_MAX);
          if (line === null) return "more";
          this.#begin(line);
          break;
        }
        case "bytes": {
          if (this.#waiting.byteLength === 0) return "more";
          const piece = this.#waiting.subarray(0, this.#left);
          this.#waiting = this.#waiting.subarray(piece.byteLength);
          this.#left -= piece.byteLength;
          if (this.#rules.seed !== null) this.#hash.update(piece);
          if (this.#left === 0) this.#state = "end-of-chunk";
          return piece;
        }
        case "end-of-chunk":
          if (this.#waiting.byteLength < 2) return "more";
          if (!this.#waiting.subarray(0, 2).equals(CR_LF)) throw bad("a chunk is longer than it says");
          this.#waiting = this.#waiting.subarray(2);
          this.#check();
          this.#state = "line";
          break;
        case "trailers": {
          const line = this.#line(CHUNK_TRAILER_BYTES_MAX);
          if (line === null) return "more";
          if (line === "") {
            this.#checkTrailers();
            this.#state = "whole";
          } else this.#trailer(line);
          break;
        }
        case "whole":
          if (this.#waiting.byteLength > 0) throw bad("there are bytes behind the last chunk");
          // The source's own end is asked for: only then is the body whole.
          return "more";
      }
    }
  }

  #begin(line: string): void {
    const match = /^([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(line);
    if (match === null) throw bad("a chunk does not begin with its size");
    const [, size = "", signature] = match;
    if (this.#rules.seed !== null && signature === undefined) throw bad("a chunk is not signed");
    this.#left = Number.parseInt(size, 16);
    this.#signature = signature ?? "";
    this.#hash = createHash("sha256");
    if (this.#left > 0) {
      this.#state = "bytes";
      return;
    }
    this.#isLast = true;
    this.#check();
    this.#state = "trailers";
  }

  #check(): void {
    const { seed } = this.#rules;
    if (seed === null) return;
    if (chunkSignature(seed, this.#previous, this.#hash.digest("hex")) !== this.#signature)
      throw new StorageError("bad_signature", "the signature of a chunk is not right");
    this.#previous = this.#signature;
  }

  #trailer(line: string): void {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon)).trim().toLowerCase();
    if (!this.#rules.trailers || !/^[a-z0-9-]+$/.test(name))
      throw bad("a trailer is not expected, or is none");
    if (this.#trailers.has(name) || this.#trailers.size >= 16) throw bad("there are too many trailers");
    this.#trailers.set(name, line.slice(colon + 1).trim());
  }

  #checkTrailers(): void {
    const { seed, trailers } = this.#rules;
    if (seed === null || !trailers) return;
    const signature = this.#trailers.get("x-amz-trailer-signature");
    const lines = [...this.#trailers]
      .filter(([name]) => name !== "x-amz-trailer-signature")
      .map(([name, value]) => `${name}:${value}\n`)
      .join("");
    if (signature === undefined || trailerSignature(seed, this.#previous, lines) !== signature)
      throw new StorageError("bad_signature", "the signature of the trailers is not right");
  }

  /** A line without its end; null when it has not come whole. */
  #line(bytesMax: number): string | null {
    const end = this.#waiting.indexOf("\r\n");
    if ((end < 0 ? this.#waiting.byteLength : end) > bytesMax) throw bad("a line between chunks is too long");
    if (end < 0) return null;
    const line = this.#waiting.subarray(0, end).toString("latin1");
    this.#waiting = this.#waiting.subarray(end + 2);
    return line;
  }

  /** True once the last chunk has begun: nothing but trailers can follow. */
  get ended(): boolean {
    return this.#isLast;
  }
}

function bad(message: string): StorageError {
  return new StorageError("bad_request", message);
}
