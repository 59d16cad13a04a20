/** A body that is read piece by piece: what flows from an origin, or from a viewer, through the edge. */

/** A source of body bytes with back-pressure: nothing is fetched before it is asked for. */
export interface BodyReader {
  /**
   * The next piece, or null after the last one of a complete body. Rejects with a ProximaError when
   * the body is cut short or malformed: a null always means that the body is whole.
   */
  read(): Promise<Uint8Array | null>;
  /**
   * What `read` would give, where it is here already; undefined where it has to be waited for, or failed. A
   * source that can not tell leaves it out.
   */
  readNow?(): Uint8Array | null | undefined;
  /** Gives up the rest. Safe to call at any time and more than once. */
  cancel(): void;
}

/** A body that calls `close` once, when it has ended in whatever way. */
export function closing(body: BodyReader, close: () => void): BodyReader {
  let open = true;
  const end = (): void => {
    if (open) close();
    open = false;
  };
  return {
    async read() {
      try {
        const piece = await body.read();
        if (piece === null) end();
        return piece;
      } catch (error) {
        end();
        throw error;
      }
    },
    cancel() {
      body.cancel();
      end();
    },
  };
}

/** Pieces as one array of its own; a single piece is given back as it is. */
export function joinBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  let length = 0;
  for (const piece of pieces) length += piece.byteLength;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

/** A body of one piece. */
export function bodyOf(bytes: Uint8Array): BodyReader {
  let rest: Uint8Array | null = bytes.byteLength > 0 ? bytes : null;
  return {
    read() {
      const piece = rest;
      rest = null;
      return Promise.resolve(piece);
    },
    readNow() {
      const piece = rest;
      rest = null;
      return piece;
    },
    cancel() {
      rest = null;
    },
  };
}

/** Bytes that are copied at a time out of a Blob in memory: what a slow viewer holds of it. */
const BLOB_PIECE_BYTES = 256 * 1024;

/** True for a Blob that stands for a part of a file. */
export function isFile(blob: Blob): boolean {
  return "name" in blob && typeof blob.name === "string";
}

/** A Blob's bytes, read piece by piece. */
export function blobReader(blob: Blob): BodyReader {
  return isFile(blob) ? streamReader(blob) : memoryReader(blob);
}

/** The runtime's own stream of a Blob in memory gives 2 MiB at a time, which costs more memory and more time. */
function memoryReader(blob: Blob): BodyReader {
  let at = 0;
  return {
    async read() {
      if (at >= blob.size) return null;
      const piece = blob.slice(at, at + BLOB_PIECE_BYTES);
      at += piece.size;
      return await piece.bytes();
    },
    cancel() {
      at = blob.size;
    },
  };
}

function streamReader(blob: Blob): BodyReader {
  const reader = blob.stream().getReader();
  return {
    async read() {
      const { done, value } = await reader.read();
      return done ? null : value;
    },
    cancel() {
      // What is left of a file is of no interest to anyone, and neither is its failure.
      reader.cancel().catch(() => {});
    },
  };
}

/** The bytes from `start` to `end` (inclusive) of a body that is read from its beginning. */
export function sliceReader(source: BodyReader, start: number, end: number): BodyReader {
  let position = 0;
  return {
    async read() {
      for (;;) {
        if (position > end) {
          source.cancel();
          return null;
        }
        const piece = await source.read();
        if (piece === null) return null;
        const from = Math.max(0, start - position);
        const to = Math.min(piece.byteLength, end + 1 - position);
        position += piece.byteLength;
        if (from < to) return piece.subarray(from, to);
      }
    },
    cancel: () => source.cancel(),
  };
}
