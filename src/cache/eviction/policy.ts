/**
 * What an eviction policy is. The nodes are the store's own objects, linked in place: a policy keeps
 * no table of them, so a hit finds its node without a lookup and changes it without allocating.
 *
 * A policy decides who goes, never when: the store inserts, and while `bytes` is above its limit it
 * asks for a victim other than the node it just inserted. Only a policy that `refuses` may name that one
 * too: that is how it keeps a node out.
 */

/** What a store's entry carries for its policy. */
export interface EvictionNode<N> {
  /** Neighbours in the policy's queue; the policy's own. */
  newer: N | null;
  older: N | null;
  /** What the node counts for. Changed through `resize` only, while it is in a policy. */
  bytes: number;
  /** The policy's own: hits in the low bits, the queue above them. 0 when the node is in no policy. */
  mark: number;
  /** The policy's own: where it stands among others (GDSF). A number that is not an integer. */
  rank: number;
  /** 32 bits of a seeded hash of the key: what ghosts and sketches remember a node by. */
  readonly hash: number;
}

/** The names of the policies, as command lines and reports write them. */
export type PolicyName = "lru" | "sieve" | "s3-fifo" | "w-tinylfu" | "gdsf";

/** Chooses what is evicted. No method throws, blocks or allocates for a hit. */
export interface EvictionPolicy<N extends EvictionNode<N>> {
  readonly name: PolicyName;
  /** True when it is to be asked without `keep` after an insertion. */
  readonly refuses: boolean;
  /** Sum of the nodes' bytes. */
  readonly bytes: number;
  /** Nodes held. */
  readonly count: number;
  /** Takes a node in. It must not be in a policy. */
  insert(node: N): void;
  /** The node was used. */
  hit(node: N): void;
  /** Takes a node out: purged, replaced, expired. */
  remove(node: N): void;
  /** The node counts for another number of bytes from now on. */
  resize(node: N, bytes: number): void;
  /** Takes out the node that is worth least, and returns it; never `keep`. Null when there is no other. */
  victim(keep: N | null): N | null;
}
