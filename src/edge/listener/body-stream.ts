/**
 * A BodyReader as the runtime's ReadableStream. The next piece is read only when the runtime asks,
 * which it does when the viewer has taken the one before: back-pressure reaches the origin.
 *
 * A body that breaks must never look whole. On TCP an errored stream resets the connection (HTTP/1.1)
 * or the stream (HTTP/2). On HTTP/3 the runtime ends an errored stream cleanly, so there a broken body
 * is held open, unfinished, until the viewer or the idle limit ends it (docs/decisions/0003).
 */
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import type { BodyReader } from "../../http/body.ts";

/** How a stream says that its body broke. */
export type StreamFailure = "reset" | "hold";

/** What a stream needs besides its reader. */
export interface BodyStreamOptions {
  readonly clock: Clock;
  /** How long a piece may wait for the viewer, in milliseconds. */
  readonly stallMs: number;
  readonly failure: StreamFailure;
  /** Called once when the body broke or the viewer stalled. */
  onBroken(error: unknown): void;
  /** Called when the last piece was handed over. */
  onEnd(): void;
}

/** Makes the stream. The reader is cancelled when the viewer goes away. */
export function streamOf(reader: BodyReader, options: BodyStreamOptions): ReadableStream<Uint8Array> {
  let stopStall: (() => void) | null = null;
  let over = false;
  const end = () => {
    over = true;
    stopStall?.();
    stopStall = null;
  };
  const stalled = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    end();
    reader.cancel();
    const error = new ProximaError("viewer_too_slow", `the viewer took no bytes for ${options.stallMs} ms`, {
      source: "viewer",
    });
    options.onBroken(error);
    if (options.failure === "reset") controller.error(error);
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        stopStall?.();
        stopStall = null;
        let piece: Uint8Array | null;
        try {
          do piece = await reader.read();
          while (piece !== null && piece.byteLength === 0);
        } catch (error) {
          if (over) return;
          end();
          options.onBroken(error);
          if (options.failure === "hold") return held();
          throw error;
        }
        if (over) return;
        if (piece === null) {
          end();
          options.onEnd();
          controller.close();
          return;
        }
        controller.enqueue(piece);
        stopStall = options.clock.after(options.stallMs, () => stalled(controller));
      },
      cancel() {
        end();
        reader.cancel();
      },
    },
    // Nothing is read ahead of the viewer.
    { highWaterMark: 0 },
  );
}

/** A pull that never ends: the stream stays open. Nothing refers to it once the viewer is gone. */
function held(): Promise<never> {
  return new Promise<never>(() => {});
}

/** A body of pieces already read, followed by the rest. */
export function joined(pieces: readonly Uint8Array[], rest: BodyReader): BodyReader {
  let next = 0;
  return {
    read() {
      const piece = pieces[next];
      if (piece === undefined) return rest.read();
      next += 1;
      return Promise.resolve(piece);
    },
    cancel() {
      next = pieces.length;
      rest.cancel();
    },
  };
}
