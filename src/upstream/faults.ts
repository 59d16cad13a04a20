/**
 * Faults put in front of a next hop on purpose, to see what happens (`proxima drill`). Each carries the
 * moment at which it ends: whoever put it there may be gone by then. A process that starts has none.
 */
import type { Clock } from "../base/clock.ts";
import type { BodyReader } from "../http/body.ts";
import { Fields } from "../http/fields.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "./next-hop.ts";

/** What a fault does: no connection, no answer, an error as answer, or an answer that breaks off. */
export type FaultKind = "refuse" | "delay" | "5xx" | "cut";

/** A fault of one origin. */
export interface Fault {
  readonly kind: FaultKind;
  /** When it ends, in ms since the epoch. */
  readonly untilMs: number;
}

/** The longest that a fault may last, in milliseconds: whatever a clock or a message says. */
export const FAULT_MS_MAX = 3_600_000;

/** The faults of a process, by the key of the origin that has them. */
export class Faults {
  readonly #clock: Clock;
  readonly #faults = new Map<string, Fault>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(key: string, fault: Fault): void {
    const untilMs = Math.min(fault.untilMs, this.#clock.now() + FAULT_MS_MAX);
    this.#faults.set(key, { kind: fault.kind, untilMs });
  }

  clear(key: string): void {
    this.#faults.delete(key);
  }

  /** The fault of an origin now. */
  of(key: string): Fault | null {
    if (this.#faults.size === 0) return null;
    const fault = this.#faults.get(key);
    if (fault === undefined) return null;
    if (this.#clock.now() < fault.untilMs) return fault;
    this.#faults.delete(key);
    return null;
  }
}

/** A next hop that behaves as its fault says while it has one. */
export class FaultyHop implements NextHop {
  readonly name: string;
  readonly #hop: NextHop;
  readonly #key: string;
  readonly #faults: Faults;
  readonly #clock: Clock;

  constructor(hop: NextHop, key: string, faults: Faults, clock: Clock) {
    this.name = hop.name;
    this.#hop = hop;
    this.#key = key;
    this.#faults = faults;
    this.#clock = clock;
  }

  fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    const fault = this.#faults.of(this.#key);
    return fault === null ? this.#hop.fetch(request, timeouts) : this.#faulty(fault, request, timeouts);
  }

  close(): void {
    this.#hop.close();
  }

  async #faulty(
    fault: Fault,
    request: UpstreamRequest,
    timeouts: UpstreamTimeouts,
  ): Promise<UpstreamResponse> {
    switch (fault.kind) {
      case "refuse":
        throw new UpstreamError(
          "connection_refused",
          `origin ${this.name} refused the connection (a drill)`,
          {
            retryable: true,
          },
        );
      case "delay":
        await this.#silence(fault, request.signal, timeouts.firstByteMs);
        return this.#hop.fetch(request, timeouts);
      case "5xx": {
        const nowMs = this.#clock.now();
        return {
          status: 503,
          fields: Fields.from([["cache-control", "no-store"]]),
          framing: "none",
          bodyLength: 0,
          body: null,
          requestTimeMs: nowMs,
          responseTimeMs: nowMs,
          reused: false,
        };
      }
      case "cut":
        return this.#cut(await this.#hop.fetch(request, timeouts));
    }
  }

  /** Nothing comes until the fault ends; rejects when that takes too long for the asker. */
  #silence(fault: Fault, signal: AbortSignal | null, limitMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const restMs = fault.untilMs - this.#clock.now();
      const end = (settle: () => void): void => {
        cancelTimer();
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      const onAbort = (): void =>
        end(() =>
          reject(
            new UpstreamError("http_request_error", `the request to origin ${this.name} was given up`, {
              cause: signal?.reason,
            }),
          ),
        );
      const cancelTimer = this.#clock.after(Math.min(restMs, limitMs), () =>
        end(() => {
          if (restMs < limitMs) resolve();
          else
            reject(
              new UpstreamError(
                "http_response_timeout",
                `origin ${this.name} did not answer: nothing came within ${limitMs} ms (a drill)`,
              ),
            );
        }),
      );
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  #cut(response: UpstreamResponse): UpstreamResponse {
    const { body } = response;
    if (body !== null) return { ...response, body: cutBody(body, this.name) };
    throw new UpstreamError(
      "connection_terminated",
      `origin ${this.name} closed the connection without an answer (a drill)`,
    );
  }
}

/** Half of the first piece, and then the end that is none. */
function cutBody(body: BodyReader, name: string): BodyReader {
  let isFirst = true;
  return {
    async read() {
      const piece = isFirst ? await body.read() : null;
      isFirst = false;
      if (piece !== null && piece.byteLength > 1) return piece.subarray(0, piece.byteLength >> 1);
      body.cancel();
      throw new UpstreamError("http_response_incomplete", `origin ${name} broke off its answer (a drill)`);
    },
    cancel: () => body.cancel(),
  };
}
