/**
 * SIEVE (Zhang et al., NSDI 2024): one queue in the order of arrival and a hand. A hit sets one bit.
 * The hand walks from the oldest towards the newest, clears bits, and takes the first node without one;
 * nodes that stay are not moved, so what arrives is looked at soon and what was hit is left alone.
 */
import type { EvictionNode, EvictionPolicy } from "./policy.ts";
import { EvictionQueue } from "./queue.ts";

const IN_QUEUE = 2;
const VISITED = 1;

/** The SIEVE policy. */
export class Sieve<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "sieve";
  readonly refuses = false;
  readonly #queue = new EvictionQueue<N>();
  #hand: N | null = null;

  get bytes(): number {
    return this.#queue.bytes;
  }

  get count(): number {
    return this.#queue.count;
  }

  insert(node: N): void {
    node.mark = IN_QUEUE;
    this.#queue.push(node);
  }

  hit(node: N): void {
    node.mark |= VISITED;
  }

  remove(node: N): void {
    if (this.#hand === node) this.#hand = node.newer;
    this.#queue.unlink(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    this.#queue.bytes += bytes - node.bytes;
    node.bytes = bytes;
  }

  victim(keep: N | null): N | null {
    if (this.#queue.oldestBut(keep) === null) return null;
    let node = this.#hand ?? this.#queue.oldest;
    // Once round clears every bit, so the second round ends at the first node that is not `keep`.
    while (node !== null && (node === keep || node.mark !== IN_QUEUE)) {
      node.mark = IN_QUEUE;
      node = node.newer ?? this.#queue.oldest;
    }
    if (node === null) return null;
    this.#hand = node;
    this.remove(node);
    return node;
  }
}
