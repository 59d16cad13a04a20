/** The policies by name. */
import { unreachable } from "../../base/assert.ts";
import { Gdsf } from "./gdsf.ts";
import { Lru } from "./lru.ts";
import type { EvictionNode, EvictionPolicy, PolicyName } from "./policy.ts";
import { S3Fifo } from "./s3-fifo.ts";
import { Sieve } from "./sieve.ts";
import { WTinyLfu } from "./w-tinylfu.ts";

/** Every policy's name, the plainest first. */
export const POLICY_NAMES: readonly PolicyName[] = ["lru", "sieve", "s3-fifo", "w-tinylfu", "gdsf"];

/** The policy of Proxima's stores (decision 7). */
export const STORE_POLICY: PolicyName = "gdsf";

/** A new policy for a store of `bytesMax` bytes. */
export function createPolicy<N extends EvictionNode<N>>(
  name: PolicyName,
  bytesMax: number,
): EvictionPolicy<N> {
  switch (name) {
    case "lru":
      return new Lru<N>();
    case "sieve":
      return new Sieve<N>();
    case "s3-fifo":
      return new S3Fifo<N>(bytesMax);
    case "w-tinylfu":
      return new WTinyLfu<N>(bytesMax);
    case "gdsf":
      return new Gdsf<N>(bytesMax);
    default:
      return unreachable(name);
  }
}
