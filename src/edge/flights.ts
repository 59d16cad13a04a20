/**
 * The flights of an edge: what is in the air for each base key, and what a flight can come back with.
 * A flight is one request to a next hop on behalf of every viewer who waits for the same object
 * (collapsed forwarding). It is not bound to the viewer who started it: when that one leaves, the
 * others still get the object.
 */
import { ChurnMap } from "../base/churn-map.ts";
import type { Fill } from "../cache/fill.ts";
import type { NotStoredReason, Storage } from "../cache/freshness.ts";
import type { LargeBody } from "../cache/large-body.ts";
import type { StoredResponse } from "../cache/stored.ts";
import type { Fields } from "../http/fields.ts";
import type { CacheReason } from "./message.ts";
import type { GivenPart } from "./phases/ranges.ts";
import type { AskedAt } from "./purges.ts";
import type { TierFacts } from "./tier.ts";

/** Why a response is not stored, with the reasons that only a flight can see. */
export type FlightStorage =
  | Extract<Storage, { store: true }>
  | {
      readonly store: false;
      readonly reason: NotStoredReason | "response-too-large" | "response-self-redirect";
    };

/** A response on its way, to be shared by those whom it fits. */
export interface FlightResponse {
  readonly kind: "response";
  readonly status: number;
  readonly fields: Fields;
  readonly bodyLength: number | null;
  readonly storage: FlightStorage;
  readonly vary: readonly string[];
  readonly variant: string;
  /** Where the purges stood when it was asked for. */
  readonly asked: AskedAt;
  readonly tags: readonly string[];
  readonly fill: Fill;
  /** What of the body is in it, when its sender has answered the viewer's Range or condition; null when it is the whole. */
  readonly given: GivenPart | null;
  /** Other codings may be derived from it. */
  readonly negotiable: boolean;
  readonly responseTimeMs: number;
  /** False when each request has to be validated for itself (no-cache, max-age=0): nobody else may be given it. */
  readonly reusable: boolean;
  /** Resolves when the body is whole: to the stored response, or null when it was not stored. */
  readonly settled: Promise<StoredResponse | null>;
  /** What it has resolved to where that is known already; undefined while the body is on its way. */
  readonly kept: StoredResponse | null | undefined;
  /** What the owner said, when another worker of this node is the owner; else null. */
  readonly tier: TierFacts | null;
}

/** What a flight comes back with. */
export type FlightOutcome =
  | FlightResponse
  /** `reusable` as in a response: false when each request has to be validated for itself. */
  | {
      readonly kind: "freshened";
      readonly entry: StoredResponse;
      readonly reusable: boolean;
      readonly tier?: TierFacts;
    }
  /** A large object has begun to be stored: it is read from there, by each for himself. */
  | {
      readonly kind: "large";
      readonly entry: StoredResponse;
      readonly body: LargeBody;
      readonly reusable: boolean;
    }
  /** The owner has nothing to give: each viewer is fetched for alone. */
  | { readonly kind: "pass"; readonly reason: CacheReason }
  | { readonly kind: "stale"; readonly status: number }
  | { readonly kind: "error"; readonly error: unknown };

/** One flight, while it is in the air or its body is. */
export interface Flight {
  /** What identifies it below its base key: the secondary key and the fields that Vary is known to name. */
  readonly key: string;
  /** Others may join; a flight that is one viewer's alone is only listed so that an invalidation finds it. */
  readonly shared: boolean;
  /** Set by an invalidation or a purge: what comes back is not stored, and nobody joins. */
  invalidated: boolean;
  outcome: Promise<FlightOutcome>;
  /** Where the purges stood when it started: what comes back is valid up to there. */
  readonly asked: AskedAt;
}

/** The flights of an edge, by base key. */
export class Flights {
  readonly #byBase = new ChurnMap<string, Flight[]>();

  find(base: string, key: string): Flight | undefined {
    return this.#byBase.get(base)?.find((flight) => flight.shared && flight.key === key);
  }

  add(base: string, flight: Flight): void {
    const list = this.#byBase.get(base);
    if (list === undefined) this.#byBase.set(base, [flight]);
    else list.push(flight);
  }

  remove(base: string, flight: Flight): void {
    const rest = this.#byBase.get(base)?.filter((other) => other !== flight) ?? [];
    if (rest.length === 0) this.#byBase.delete(base);
    else this.#byBase.set(base, rest);
  }

  /** What is in the air for this base key is not stored, and nobody joins it. */
  invalidate(base: string): void {
    for (const flight of this.#byBase.get(base) ?? []) flight.invalidated = true;
    this.#byBase.delete(base);
  }

  /** The least sequence that a flight started at, or `otherwise` when there is none. */
  oldestSequence(otherwise: number): number {
    let oldest = otherwise;
    for (const list of this.#byBase.values())
      for (const flight of list) oldest = Math.min(oldest, flight.asked.sequence);
    return oldest;
  }

  /** The same for invalidations of the node. */
  oldestLocal(otherwise: number): number {
    let oldest = otherwise;
    for (const list of this.#byBase.values())
      for (const flight of list) oldest = Math.min(oldest, flight.asked.local);
    return oldest;
  }

  get size(): number {
    return this.#byBase.size;
  }
}
