/**
 * The addresses of one origin's name. An answer is used for a few seconds, one look-up at a time is
 * under way, and while the resolver fails the last answer serves on: an origin does not go down
 * because DNS does.
 */
import { lookup as systemLookup } from "node:dns/promises";
import type { Clock } from "../../base/clock.ts";
import { UpstreamError } from "../next-hop.ts";
import { ADDRESSES_KEPT_MAX, DNS_FRESH_MS, DNS_STALE_MS } from "./limits.ts";

/** Asks for the addresses of a name, in the order they should be tried. */
export type Lookup = (host: string) => Promise<string[]>;

/** The system's resolver (getaddrinfo: hosts file, then DNS). */
export const lookupAddresses: Lookup = async (host) => {
  const found = await systemLookup(host, { all: true, order: "verbatim" });
  return found.map((entry) => entry.address);
};

/** The addresses of one name, kept for a short time. */
export class Resolver {
  readonly #host: string;
  readonly #clock: Clock;
  readonly #lookup: Lookup;
  #addresses: readonly string[] = [];
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #underWay: Promise<readonly string[]> | null = null;

  constructor(host: string, clock: Clock, lookup: Lookup) {
    this.#host = host;
    this.#clock = clock;
    this.#lookup = lookup;
  }

  /** At least one address; at once while the last answer is fresh. Rejects with dns_error. */
  resolve(): readonly string[] | Promise<readonly string[]> {
    if (this.#clock.now() - this.#answeredAtMs < DNS_FRESH_MS) return this.#addresses;
    this.#underWay ??= this.#ask().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  /** Puts an address that a connection was made to first, so that a dead one is not tried each time. */
  prefer(address: string): void {
    if (this.#addresses[0] === address || !this.#addresses.includes(address)) return;
    this.#addresses = [address, ...this.#addresses.filter((other) => other !== address)];
  }

  async #ask(): Promise<readonly string[]> {
    let cause: unknown = null;
    try {
      const preferred = this.#addresses[0];
      const found = (await this.#lookup(this.#host)).slice(0, ADDRESSES_KEPT_MAX);
      if (found.length > 0) {
        this.#addresses = found;
        this.#answeredAtMs = this.#clock.now();
        if (preferred !== undefined) this.prefer(preferred);
        return this.#addresses;
      }
    } catch (error) {
      cause = error;
    }
    if (this.#addresses.length > 0 && this.#clock.now() - this.#answeredAtMs < DNS_STALE_MS) {
      return this.#addresses;
    }
    throw new UpstreamError("dns_error", `the name ${this.#host} could not be resolved to an address`, {
      retryable: true,
      cause,
    });
  }
}
