/**
 * In which order the members of a group are asked for one request: pure functions of what is known of
 * them, and the small state of a rotation.
 */
import { unreachable } from "../../base/assert.ts";
import { LOAD_FACTOR } from "./limits.ts";

/** How members are chosen. */
export type Balance = "failover" | "weighted" | "least-connections" | "hash";

/** What a choice looks at. */
export interface Candidate {
  readonly name: string;
  /** Share of the requests, from 1. */
  readonly weight: number;
  /** Requests under way. */
  readonly inFlight: number;
}

/** Orders candidates by a rule, the one to ask first at the front. */
export class Balancer {
  readonly #balance: Balance;
  /** Smooth weighted round robin: what each member has saved up. */
  readonly #credit = new Map<string, number>();
  #turn = 0;

  constructor(balance: Balance) {
    this.#balance = balance;
  }

  /** `key` is what the request is for: the same key prefers the same member. */
  order<T extends Candidate>(candidates: readonly T[], key: string): readonly T[] {
    if (candidates.length < 2) return candidates;
    switch (this.#balance) {
      case "failover":
        return candidates;
      case "weighted":
        return this.#weighted(candidates);
      case "least-connections":
        return this.#least(candidates);
      case "hash":
        return hashed(candidates, key);
      default:
        return unreachable(this.#balance);
    }
  }

  /** Each turn a member saves its weight; the richest is chosen and pays for all (nginx's smooth round robin). */
  #weighted<T extends Candidate>(candidates: readonly T[]): readonly T[] {
    let total = 0;
    let chosen = candidates[0] as T;
    let most = Number.NEGATIVE_INFINITY;
    for (const candidate of candidates) {
      const credit = (this.#credit.get(candidate.name) ?? 0) + candidate.weight;
      this.#credit.set(candidate.name, credit);
      total += candidate.weight;
      if (credit > most) {
        most = credit;
        chosen = candidate;
      }
    }
    this.#credit.set(chosen.name, most - total);
    return [chosen, ...candidates.filter((candidate) => candidate !== chosen)];
  }

  /** Fewest requests under way for its weight; those with equally few take turns. */
  #least<T extends Candidate>(candidates: readonly T[]): readonly T[] {
    const turn = this.#turn++ % candidates.length;
    const turned = [...candidates.slice(turn), ...candidates.slice(0, turn)];
    return turned.sort((a, b) => a.inFlight / a.weight - b.inFlight / b.weight);
  }
}

/**
 * Rendezvous hashing with weights: a member that goes moves only its own keys. One that has more than
 * its share under way is passed over (consistent hashing with bounded loads).
 */
function hashed<T extends Candidate>(candidates: readonly T[], key: string): readonly T[] {
  let inFlight = 1;
  let weights = 0;
  for (const candidate of candidates) {
    inFlight += candidate.inFlight;
    weights += candidate.weight;
  }
  const scored = candidates.map((candidate) => ({
    candidate,
    score: candidate.weight / -Math.log(uniform(key, candidate.name)),
    full: candidate.inFlight + 1 > Math.ceil((LOAD_FACTOR * inFlight * candidate.weight) / weights),
  }));
  scored.sort((a, b) => Number(a.full) - Number(b.full) || b.score - a.score);
  return scored.map(({ candidate }) => candidate);
}

/** A number between 0 and 1, never either, the same for the same texts in every process. */
function uniform(key: string, name: string): number {
  return (Bun.hash.xxHash32(key, Bun.hash.xxHash32(name)) + 0.5) / 2 ** 32;
}
