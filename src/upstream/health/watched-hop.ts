/**
 * An origin under watch: every exchange with it is counted, and what it comes to is held against its
 * health. An answer counts as good only when its body is whole. `X-Origin-Status` is read and taken out
 * here: neither a viewer nor the store gets it.
 */
import { ChurnSet } from "../../base/churn-set.ts";
import type { Clock } from "../../base/clock.ts";
import type { BodyReader } from "../../http/body.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamErrorCode,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "../next-hop.ts";
import { Degradation, ORIGIN_STATUS_FIELD, saysDegraded } from "./degradation.ts";
import { REASON_CHARS_MAX } from "./limits.ts";
import { type HealthChange, type HealthPolicy, OriginHealth, type Ticket } from "./origin-health.ts";

/** Errors that are not the origin's: ours, the asker's, or of a limit that we set. */
const NOT_ITS_FAULT: ReadonlySet<UpstreamErrorCode> = new Set([
  "http_request_error",
  "proxy_internal_error",
  "connection_limit_reached",
]);

/** What was found out here about an origin. */
export type HopFinding =
  | HealthChange
  | { readonly kind: "degraded"; readonly untilMs: number; readonly began: boolean }
  | { readonly kind: "well" };

/** What an origin is watched by. */
export interface WatchOptions {
  readonly hop: NextHop;
  readonly clock: Clock;
  readonly policy: HealthPolicy;
  /** Statuses that count as failures. */
  readonly failingStatuses: ReadonlySet<number>;
  /** An answer whose head takes longer counts as a failure, in milliseconds; null: none does. */
  readonly slowMs: number | null;
  /** Told of what is found out here, not of what others found. */
  readonly onFinding: (finding: HopFinding) => void;
}

/** Counts since the start, and what is under way. */
export interface HopCounts {
  readonly requests: number;
  readonly failures: number;
  /** Exchanges whose body has not ended yet. */
  readonly inFlight: number;
}

/** A next hop whose health is known. */
export class WatchedHop implements NextHop {
  readonly name: string;
  readonly health: OriginHealth;
  readonly degradation = new Degradation();
  readonly #options: WatchOptions;
  /** Who waits for an answer and wants to know, by the signal of the request. */
  readonly #onDown = new ChurnSet<{ readonly signal: AbortSignal; readonly run: () => void }>();
  #requests = 0;
  #failures = 0;
  #inFlight = 0;

  constructor(options: WatchOptions) {
    this.name = options.hop.name;
    this.#options = options;
    this.health = new OriginHealth(options.policy, options.clock.now());
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  counts(): HopCounts {
    return { requests: this.#requests, failures: this.#failures, inFlight: this.#inFlight };
  }

  /** Calls `run` if the origin goes down by another request than the one with this signal. Returns how to take that back. */
  onDown(signal: AbortSignal, run: () => void): () => void {
    const waiting = { signal, run };
    this.#onDown.add(waiting);
    return () => this.#onDown.delete(waiting);
  }

  /** Tells those who wait for an answer that the origin went down; not the one whose failure it was. */
  wentDown(by: AbortSignal | null = null): void {
    for (const { signal, run } of this.#onDown.list()) if (signal !== by) run();
  }

  async fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    const { hop, clock, slowMs, failingStatuses } = this.#options;
    const startMs = clock.now();
    const ticket = this.health.begin(startMs);
    this.#requests++;
    this.#inFlight++;
    let response: UpstreamResponse;
    try {
      response = await hop.fetch(request, timeouts);
    } catch (error) {
      this.#inFlight--;
      this.#ended(ticket, error, request.signal);
      throw error;
    }
    this.health.release(ticket);
    this.heard(response);
    response.fields.delete(ORIGIN_STATUS_FIELD);
    const tookMs = clock.now() - startMs;
    const poor = failingStatuses.has(response.status)
      ? `it answered ${response.status}`
      : slowMs !== null && tookMs > slowMs
        ? `its answer took ${tookMs} ms, more than ${slowMs} ms`
        : null;
    if (poor !== null) this.#failed(ticket, poor, request.signal);
    if (response.body === null) {
      this.#inFlight--;
      if (poor === null) this.#ended(ticket, null, request.signal);
      return response;
    }
    const counts = poor === null;
    const body = new WatchedBody(response.body, (error) => {
      this.#inFlight--;
      // Whoever gives up says nothing about the origin.
      if (counts && error !== GIVEN_UP) this.#ended(ticket, error, request.signal);
    });
    return { ...response, body };
  }

  close(): void {
    this.#options.hop.close();
  }

  /** Takes what an answer says of the origin's state; an error that does not mention it says nothing. */
  heard({ status, fields }: UpstreamResponse): void {
    const { clock, onFinding } = this.#options;
    const degraded = saysDegraded(fields.get(ORIGIN_STATUS_FIELD));
    if (!degraded && status >= 500) return;
    const news = this.degradation.heard(degraded, clock.now());
    if (news === "ended") onFinding({ kind: "well" });
    else if (news !== null)
      onFinding({ kind: "degraded", untilMs: this.degradation.untilMs, began: news === "began" });
  }

  #ended(ticket: Ticket, error: unknown, signal: AbortSignal | null): void {
    if (error === null) {
      const change = this.health.succeeded(ticket, this.#options.clock.now());
      if (change !== null) this.#options.onFinding(change);
    } else if (error instanceof UpstreamError && !NOT_ITS_FAULT.has(error.code)) {
      this.#failed(ticket, error.message, signal);
    } else {
      this.health.release(ticket);
    }
  }

  #failed(ticket: Ticket, reason: string, signal: AbortSignal | null): void {
    this.#failures++;
    const change = this.health.failed(ticket, reason.slice(0, REASON_CHARS_MAX), this.#options.clock.now());
    if (change === null) return;
    this.#options.onFinding(change);
    if (change.kind === "down") this.wentDown(signal);
  }
}

/** How a body ended whose reader gave it up. */
const GIVEN_UP = Symbol("given up");

/** A body that tells once how it ended: null when it is whole, GIVEN_UP, or the error. */
class WatchedBody implements BodyReader {
  readonly #body: BodyReader;
  #onEnd: ((error: unknown) => void) | null;

  constructor(body: BodyReader, onEnd: (error: unknown) => void) {
    this.#body = body;
    this.#onEnd = onEnd;
  }

  async read(): Promise<Uint8Array | null> {
    try {
      const piece = await this.#body.read();
      if (piece === null) this.#end(null);
      return piece;
    } catch (error) {
      this.#end(error);
      throw error;
    }
  }

  readNow(): Uint8Array | null | undefined {
    const piece = this.#body.readNow?.();
    if (piece === null) this.#end(null);
    return piece;
  }

  cancel(): void {
    this.#body.cancel();
    this.#end(GIVEN_UP);
  }

  #end(error: unknown): void {
    const onEnd = this.#onEnd;
    this.#onEnd = null;
    onEnd?.(error);
  }
}
