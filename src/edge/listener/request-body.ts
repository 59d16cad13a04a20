/**
 * A viewer's body as a BodyReader. Three limits, all of them ours because the runtime's would answer
 * without a reason: bytes, time between two pieces, and an average rate over the time in which we
 * waited for the viewer (time in which the origin was slow does not count). The source gives
 * back-pressure: what is not read stays in the socket.
 */
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import type { BodyReader } from "../../http/body.ts";
import type { ListenerLimits } from "./limits.ts";

/** What can go wrong while a viewer's body is read; the source is always the viewer. */
export type ViewerBodyErrorCode = "body_too_large" | "viewer_too_slow" | "viewer_gone";

/** A viewer's body that did not arrive whole, in time and within the limit. */
export class ViewerBodyError extends ProximaError<ViewerBodyErrorCode> {
  constructor(code: ViewerBodyErrorCode, message: string, cause?: unknown) {
    super(code, message, { source: "viewer", cause });
    this.name = "ViewerBodyError";
  }
}

/** What a ViewerBody needs to know. */
export interface ViewerBodyOptions {
  /** Value of Content-Length when it is there. */
  readonly declaredBytes: number | null;
  readonly bytesMax: number;
  readonly limits: ListenerLimits;
  readonly clock: Clock;
}

/** Reads a viewer's body within its limits; every rejection is a ViewerBodyError. */
export class ViewerBody implements BodyReader {
  readonly #source: BodyReader;
  readonly #options: ViewerBodyOptions;
  #receivedBytes = 0;
  #waitedMs = 0;
  #failure: ViewerBodyError | null = null;
  #done = false;

  /** `source` gives the pieces as they come, or rejects; its own errors are told as `viewer_gone`. */
  constructor(source: BodyReader, options: ViewerBodyOptions) {
    this.#source = source;
    this.#options = options;
  }

  async read(): Promise<Uint8Array | null> {
    const { declaredBytes, bytesMax } = this.#options;
    if (this.#failure !== null) throw this.#failure;
    if (this.#done) return null;
    if (declaredBytes !== null && declaredBytes > bytesMax) throw this.#fail(this.#tooLarge());
    for (;;) {
      const piece = await this.#next();
      if (piece === null) {
        this.#done = true;
        return null;
      }
      this.#receivedBytes += piece.byteLength;
      if (this.#receivedBytes > bytesMax) throw this.#fail(this.#tooLarge());
      if (piece.byteLength > 0) return piece;
    }
  }

  cancel(): void {
    if (this.#done) return;
    this.#done = true;
    this.#source.cancel();
  }

  /** Waits for one piece, no longer than the idle limit and what the minimum rate leaves. */
  async #next(): Promise<Uint8Array | null> {
    const { clock, limits } = this.#options;
    const startMs = clock.now();
    const earnedMs = (this.#receivedBytes / limits.requestBodyBytesPerSecondMin) * 1_000;
    const leftMs = limits.requestBodyGraceMs + earnedMs - this.#waitedMs;
    const late = Promise.withResolvers<"late">();
    const stop = clock.after(Math.min(limits.requestBodyIdleMs, leftMs), () => late.resolve("late"));
    try {
      const result = await Promise.race([this.#source.read(), late.promise]);
      this.#waitedMs += clock.now() - startMs;
      if (result === "late") throw this.#fail(this.#tooSlow());
      return result;
    } catch (error) {
      if (error instanceof ViewerBodyError) throw error;
      throw this.#fail(
        new ViewerBodyError("viewer_gone", "the viewer's body was cut short or malformed", error),
      );
    } finally {
      stop();
    }
  }

  #fail(error: ViewerBodyError): ViewerBodyError {
    this.#failure = error;
    this.cancel();
    return error;
  }

  #tooLarge(): ViewerBodyError {
    return new ViewerBodyError(
      "body_too_large",
      `the request's body is larger than the allowed ${this.#options.bytesMax} bytes`,
    );
  }

  #tooSlow(): ViewerBodyError {
    const { limits } = this.#options;
    return new ViewerBodyError(
      "viewer_too_slow",
      `the request's body came too slowly: ${this.#receivedBytes} bytes so far; allowed are ` +
        `${limits.requestBodyIdleMs} ms between pieces and at least ` +
        `${limits.requestBodyBytesPerSecondMin} bytes a second after ${limits.requestBodyGraceMs} ms`,
    );
  }
}
