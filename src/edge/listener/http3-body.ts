/**
 * On HTTP/3 the runtime ends a broken stream cleanly, so a viewer could take a cut body for a whole
 * one. A body that is not complete is therefore gathered first: within limits of bytes and time it is
 * sent whole, with its length. Beyond them the caller chooses (docs/decisions/0003-http3-bodies.md).
 */
import type { Clock } from "../../base/clock.ts";
import { type BodyReader, joinBytes } from "../../http/body.ts";
import { joined } from "./body-stream.ts";
import type { ListenerLimits } from "./limits.ts";

/** What gathering a body led to. */
export type Gathered =
  | { readonly kind: "complete"; readonly bytes: Uint8Array }
  /** Too large or too slow: what was read, followed by the rest. */
  | { readonly kind: "beyond"; readonly body: BodyReader }
  | { readonly kind: "broken"; readonly error: unknown };

/** Gathers bodies for the HTTP/3 listener; the bytes held at once are bounded over all requests. */
export class Http3Spool {
  readonly #limits: ListenerLimits;
  readonly #clock: Clock;
  #heldBytes = 0;

  constructor(limits: ListenerLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Bytes held by gatherings under way. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Reads the body to its end, or to the first limit. Never rejects. */
  async gather(body: BodyReader): Promise<Gathered> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    const late = Promise.withResolvers<"late">();
    const stop = this.#clock.after(this.#limits.http3SpoolMs, () => late.resolve("late"));
    try {
      for (;;) {
        const reading = body.read();
        const piece = await Promise.race([reading, late.promise]);
        if (piece === "late") return { kind: "beyond", body: joined(pieces, resumed(reading, body)) };
        if (piece === null) return { kind: "complete", bytes: joinBytes(pieces) };
        pieces.push(piece);
        bytes += piece.byteLength;
        this.#heldBytes += piece.byteLength;
        const full =
          bytes > this.#limits.http3SpoolBytesMax || this.#heldBytes > this.#limits.http3SpoolTotalBytesMax;
        if (full) return { kind: "beyond", body: joined(pieces, body) };
      }
    } catch (error) {
      return { kind: "broken", error };
    } finally {
      stop();
      this.#heldBytes -= bytes;
    }
  }
}

/** The body whose next piece has already been asked for. */
function resumed(reading: Promise<Uint8Array | null>, body: BodyReader): BodyReader {
  // Whoever takes the rest sees the rejection; one that is given up must not end the process.
  reading.catch(() => {});
  let pending: Promise<Uint8Array | null> | null = reading;
  return {
    read() {
      const first = pending;
      pending = null;
      return first ?? body.read();
    },
    cancel: () => body.cancel(),
  };
}
