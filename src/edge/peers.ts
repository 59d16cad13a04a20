/**
 * The other workers of this node. Workers share nothing: each base key belongs to a shard, each shard to
 * one worker, the owner, which alone asks the origin for it. The others ask the owner and keep hot copies.
 * What all of them have to know at once (invalidations, purges) is broadcast: it has a place in one order,
 * and a worker that asks an owner says how far it has come, so that an owner that is behind catches up first.
 */
import type { Clock } from "../base/clock.ts";
import type { Purge } from "../cache/purge-table.ts";
import { shardOf, shardOwners } from "../cache/shard.ts";
import { OwnerHop } from "../upstream/owner.ts";
import type { AskedAt } from "./purges.ts";

/** What every worker of a node applies before the one who sent it goes on. */
export type Broadcast =
  /** Base keys (both schemes) and tags of a site that an unsafe request made invalid. */
  | {
      readonly kind: "invalidate";
      readonly keys: readonly string[];
      readonly site: string;
      readonly tags: readonly string[];
    }
  | { readonly kind: "purge"; readonly purge: Purge };

/** An owner that is another worker. */
export interface Owner {
  readonly slot: number;
  readonly hop: OwnerHop;
}

/** How long an owner may take to apply what the asker has applied already, in milliseconds. */
export const CATCH_UP_MS_MAX = 1_000;

/** How a worker knows and reaches the others. */
export interface PeersOptions {
  readonly slot: number;
  readonly slots: number;
  readonly clock: Clock;
  /** Path of the unix socket on which a slot's worker answers. */
  readonly socketOf: (slot: number) => string;
  /** Resolves when every worker, this one as well, has applied the message: to the number of objects that it took. */
  readonly broadcast: (message: Broadcast) => Promise<number>;
}

/** The workers of a node as one of them sees them. */
export class Peers {
  readonly slot: number;
  /** Workers of the node, this one as well. */
  readonly slots: number;
  readonly broadcast: (message: Broadcast) => Promise<number>;
  readonly #options: PeersOptions;
  readonly #owners: readonly number[];
  readonly #hops: (Owner | null)[];
  #starts: readonly number[] = [];
  #waiting: (() => void)[] = [];

  constructor(options: PeersOptions) {
    this.slot = options.slot;
    this.slots = options.slots;
    this.broadcast = options.broadcast;
    this.#options = options;
    this.#owners = shardOwners(options.slots);
    this.#hops = Array.from({ length: options.slots }, () => null);
  }

  /** Slot of the worker that owns a base key. */
  slotOf(base: string): number {
    return this.#owners[shardOf(base)] as number;
  }

  /** The owner to ask for a base key: "self", or null while it is down. */
  ownerOf(base: string): Owner | "self" | null {
    const slot = this.slotOf(base);
    return slot === this.slot ? "self" : (this.#hops[slot] ?? null);
  }

  /** Takes the news which workers are up: how often each slot's was started, 0 while it is down. */
  update(starts: readonly number[]): void {
    const before = this.#starts;
    this.#starts = starts;
    for (const [slot, start] of starts.entries()) {
      if (slot === this.slot || start === before[slot]) continue;
      this.#hops[slot]?.hop.close();
      const { clock, socketOf } = this.#options;
      this.#hops[slot] =
        start === 0 ? null : { slot, hop: new OwnerHop({ slot, socket: socketOf(slot), clock }) };
    }
  }

  /** Something was applied: whoever waits for it may look. */
  moved(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Resolves true when `now` has come as far as `asked`, false when it takes too long. */
  async caughtUp(asked: AskedAt, now: () => AskedAt): Promise<boolean> {
    let late = false;
    let cancel: (() => void) | null = null;
    for (;;) {
      const { sequence, local } = now();
      if (sequence >= asked.sequence && local >= asked.local) break;
      if (late) return false;
      const moved = Promise.withResolvers<void>();
      this.#waiting.push(moved.resolve);
      cancel ??= this.#options.clock.after(CATCH_UP_MS_MAX, () => {
        late = true;
        this.moved();
      });
      await moved.promise;
    }
    cancel?.();
    return true;
  }

  close(): void {
    for (const owner of this.#hops) owner?.hop.close();
  }
}
