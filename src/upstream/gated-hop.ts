/**
 * A next hop that is asked for no more than so much at once. Who comes while it is full waits in order,
 * in a queue of limited length and for a limited time. An exchange holds its place until its body ended.
 */
import { ChurnSet } from "../base/churn-set.ts";
import type { Clock } from "../base/clock.ts";
import type { BodyReader } from "../http/body.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "./next-hop.ts";

/** What is let through, and who may wait. */
export interface GateLimits {
  /** Exchanges at once. */
  readonly atOnce: number;
  /** Requests that may wait. */
  readonly queue: number;
  /** How long each may wait, in milliseconds. */
  readonly waitMs: number;
}

/** Counts of a gate. */
export interface GateCounts {
  readonly waiting: number;
  /** Requests refused since the start: the queue was full, or they had waited too long. */
  readonly refused: number;
}

interface Waiting {
  enter(): void;
}

/** A next hop behind a gate. */
export class GatedHop implements NextHop {
  readonly name: string;
  readonly #hop: NextHop;
  readonly #limits: GateLimits;
  readonly #clock: Clock;
  readonly #waiting = new ChurnSet<Waiting>();
  #inside = 0;
  #refused = 0;

  constructor(hop: NextHop, limits: GateLimits, clock: Clock) {
    this.name = hop.name;
    this.#hop = hop;
    this.#limits = limits;
    this.#clock = clock;
  }

  counts(): GateCounts {
    return { waiting: this.#waiting.size, refused: this.#refused };
  }

  /** Rejects with connection_limit_reached (RFC 9209 section 2.3.12) when there is no place in time. */
  async fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    if (this.#inside < this.#limits.atOnce) this.#inside++;
    else await this.#place(request.signal);
    let response: UpstreamResponse;
    try {
      response = await this.#hop.fetch(request, timeouts);
    } catch (error) {
      this.#leave();
      throw error;
    }
    if (response.body === null) {
      this.#leave();
      return response;
    }
    return { ...response, body: this.#holding(response.body) };
  }

  close(): void {
    this.#hop.close();
  }

  #place(signal: AbortSignal | null): Promise<void> {
    const { atOnce, queue, waitMs } = this.#limits;
    if (this.#waiting.size >= queue) {
      return Promise.reject(this.#refuse(`${atOnce} requests are under way and ${queue} wait`));
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiting);
        cancelTimer();
        signal?.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        leave();
        reject(
          new UpstreamError("http_request_error", `the request to origin ${this.name} was given up`, {
            cause: signal?.reason,
          }),
        );
      };
      const waiting: Waiting = {
        enter: () => {
          leave();
          resolve();
        },
      };
      const cancelTimer = this.#clock.after(waitMs, () => {
        leave();
        reject(this.#refuse(`${atOnce} requests are under way, and none ended within ${waitMs} ms`));
      });
      this.#waiting.add(waiting);
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  #refuse(why: string): UpstreamError {
    this.#refused++;
    return new UpstreamError("connection_limit_reached", `origin ${this.name}: ${why}`, { retryable: true });
  }

  /** The place goes to who has waited longest. */
  #leave(): void {
    const next = this.#waiting.first;
    if (next === undefined) this.#inside--;
    else next.enter();
  }

  #holding(body: BodyReader): BodyReader {
    let holds = true;
    const leave = (): void => {
      if (holds) this.#leave();
      holds = false;
    };
    return {
      async read() {
        try {
          const piece = await body.read();
          if (piece === null) leave();
          return piece;
        } catch (error) {
          leave();
          throw error;
        }
      },
      readNow() {
        const piece = body.readNow?.();
        if (piece === null) leave();
        return piece;
      },
      cancel() {
        body.cancel();
        leave();
      },
    };
  }
}
