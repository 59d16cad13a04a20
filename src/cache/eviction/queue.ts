/** A doubly linked queue through the nodes themselves, oldest to newest, with its bytes and its count. */
import type { EvictionNode } from "./policy.ts";

/** One queue of a policy. A node is in one queue at most. */
export class EvictionQueue<N extends EvictionNode<N>> {
  newest: N | null = null;
  oldest: N | null = null;
  bytes = 0;
  count = 0;

  /** Puts a node at the newest end. */
  push(node: N): void {
    node.newer = null;
    node.older = this.newest;
    if (this.newest === null) this.oldest = node;
    else this.newest.newer = node;
    this.newest = node;
    this.bytes += node.bytes;
    this.count++;
  }

  /** Takes a node of this queue out. */
  unlink(node: N): void {
    if (node.newer === null) this.newest = node.older;
    else node.newer.older = node.older;
    if (node.older === null) this.oldest = node.newer;
    else node.older.newer = node.newer;
    node.newer = null;
    node.older = null;
    this.bytes -= node.bytes;
    this.count--;
  }

  /** Moves a node of this queue to the newest end. */
  refresh(node: N): void {
    if (this.newest === node) return;
    this.unlink(node);
    this.push(node);
  }

  /** The oldest node that is not `keep`. */
  oldestBut(keep: N | null): N | null {
    return this.oldest !== null && this.oldest === keep ? keep.newer : this.oldest;
  }
}
