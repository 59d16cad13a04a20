/** Least recently used: a hit moves the node to the newest end, the oldest goes. The base to compare with. */
import type { EvictionNode, EvictionPolicy } from "./policy.ts";
import { EvictionQueue } from "./queue.ts";

/** The LRU policy. */
export class Lru<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "lru";
  readonly refuses = false;
  readonly #queue = new EvictionQueue<N>();

  get bytes(): number {
    return this.#queue.bytes;
  }

  get count(): number {
    return this.#queue.count;
  }

  insert(node: N): void {
    node.mark = 1;
    this.#queue.push(node);
  }

  hit(node: N): void {
    this.#queue.refresh(node);
  }

  remove(node: N): void {
    this.#queue.unlink(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    this.#queue.bytes += bytes - node.bytes;
    node.bytes = bytes;
  }

  victim(keep: N | null): N | null {
    const node = this.#queue.oldestBut(keep);
    if (node !== null) this.remove(node);
    return node;
  }
}
