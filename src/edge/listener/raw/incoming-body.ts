/**
 * A request's body as it comes: counted off by its length, or decoded from its chunks. It is kept for
 * whoever reads it, or dropped where nobody will. Bytes behind its end belong to the next request.
 */
import { ProximaError } from "../../../base/errors.ts";
import { BodyQueue } from "../../../http/body-queue.ts";
import { ChunkedDecoder } from "../../../http/chunked-decoder.ts";
import { REQUEST_BODY_ROOM } from "./limits.ts";

/** What a body asks of its connection. */
export interface IncomingOwner {
  /** What waits was read: bytes are welcome again. */
  onRoom(): void;
}

/** A body on its way in. */
export class IncomingBody {
  /** Where the pieces wait for their reader. */
  readonly queue: BodyQueue;
  readonly #decoder: ChunkedDecoder | null;
  #left: number;
  #droppedBytesMax: number;
  #state: "coming" | "whole" | "broken" = "coming";
  #wanted = true;
  #full = false;
  #started = false;

  /** `length` is null for chunks; no more than `droppedBytesMax` are read where nobody wants them. */
  constructor(owner: IncomingOwner, length: number | null, droppedBytesMax: number) {
    this.#decoder = length === null ? new ChunkedDecoder(malformed, FRAMING) : null;
    this.#left = length ?? 0;
    this.#droppedBytesMax = droppedBytesMax;
    const source = {
      onRoom: () => {
        this.#full = false;
        owner.onRoom();
      },
      onCancel: () => {
        this.drop();
        owner.onRoom();
      },
    };
    this.queue = new BodyQueue(source, REQUEST_BODY_ROOM);
  }

  /** True when the next byte of the connection belongs to the next request. */
  get whole(): boolean {
    return this.#state === "whole";
  }

  /** True when it was malformed, or more than anyone would drop: nothing behind it can be understood. */
  get broken(): boolean {
    return this.#state === "broken";
  }

  /** True when the connection should not be read now. */
  get full(): boolean {
    return this.#full && this.#wanted && this.#state === "coming";
  }

  /** True when any byte of it came. */
  get started(): boolean {
    return this.#started;
  }

  /** Bytes still to come; null when only the viewer knows. */
  get left(): number | null {
    return this.#decoder === null ? this.#left : null;
  }

  /** Takes what belongs to it, and gives back the rest; null when nothing is left. */
  push(bytes: Buffer): Buffer | null {
    if (this.#state !== "coming") return this.#state === "whole" ? bytes : null;
    this.#started = true;
    if (this.#decoder === null) {
      const piece = bytes.length <= this.#left ? bytes : bytes.subarray(0, this.#left);
      this.#left -= piece.length;
      this.#give(piece);
      if (this.#left > 0) return null;
      this.#end();
      return bytes.length === piece.length ? null : bytes.subarray(piece.length);
    }
    try {
      const { piece, used } = this.#decoder.push(bytes);
      if (piece !== null) this.#give(piece);
      if (!this.#decoder.done || this.#state !== "coming") return null;
      this.#end();
      return used === bytes.length ? null : bytes.subarray(used);
    } catch (error) {
      this.fail(error);
      return null;
    }
  }

  /** Nobody wants it any more: what comes is dropped. */
  drop(): void {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.queue.discard(broken("given up"));
  }

  /** It will never be whole. */
  fail(error: unknown): void {
    if (this.#state !== "coming") return;
    this.#state = "broken";
    this.queue.fail(error);
  }

  #give(piece: Buffer): void {
    if (this.#wanted) {
      if (!this.queue.push(piece)) this.#full = true;
      return;
    }
    this.#droppedBytesMax -= piece.length;
    if (this.#droppedBytesMax < 0) this.#state = "broken";
  }

  #end(): void {
    if (this.#state !== "coming") return;
    this.#state = "whole";
    this.queue.finish();
  }
}

/** Fields that frame or route a message: in a trailer section, some reader takes them for a header's (RFC 9110 section 6.5.1). */
const FRAMING: ReadonlySet<string> = new Set(["connection", "content-length", "host", "transfer-encoding"]);

function malformed(what: string): ProximaError {
  return broken(`malformed: ${what}`);
}

function broken(what: string): ProximaError {
  return new ProximaError("viewer_gone", `the request's body is ${what}`, { source: "viewer" });
}
