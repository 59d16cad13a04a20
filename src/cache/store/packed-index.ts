/**
 * Nodes of packed responses by the hash of their base key: a table of numbers with open addressing over a
 * dense list. Responses of one URL, and URLs with one hash, stand beside each other; who looks compares keys.
 */
import type { StoredNode } from "./node.ts";

const SLOTS_MIN = 1_024;
/** The table grows when more than this share of it is taken. */
const LOAD_MAX = 0.7;
/** Spreads the hash's bits (Fibonacci hashing): they are used from the top. */
const SPREAD = 0x9e37_79b1;

/** The packed nodes. */
export class PackedIndex {
  readonly #nodes: StoredNode[] = [];
  /** Places in the list, counted from 1; 0 is free. */
  #slots = new Int32Array(SLOTS_MIN);
  #shift = 32 - Math.log2(SLOTS_MIN);

  get size(): number {
    return this.#nodes.length;
  }

  /** The node at a place of the list. A node that is removed gives its place to the last one. */
  at(place: number): StoredNode | undefined {
    return this.#nodes[place];
  }

  /** Takes a node in. */
  add(node: StoredNode): void {
    if (this.#nodes.length + 1 > this.#slots.length * LOAD_MAX) this.#grow();
    this.#nodes.push(node);
    this.#insert(node.hash, this.#nodes.length);
  }

  /** Takes a node out. */
  remove(node: StoredNode): void {
    const slot = this.#slotOf(node);
    const place = this.#slots[slot] as number;
    this.#clear(slot);
    const last = this.#nodes.pop() as StoredNode;
    if (last === node) return;
    // The list's end moves into the gap.
    this.#slots[this.#slotOfPlace(last, this.#nodes.length + 1)] = place;
    this.#nodes[place - 1] = last;
  }

  /** Every node with this hash. */
  withHash(hash: number): readonly StoredNode[] {
    let found: StoredNode[] | null = null;
    const mask = this.#slots.length - 1;
    for (let slot = this.#home(hash); this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const node = this.#nodes[(this.#slots[slot] as number) - 1] as StoredNode;
      if (node.hash !== hash) continue;
      found ??= [];
      found.push(node);
    }
    return found ?? NONE;
  }

  #home(hash: number): number {
    return Math.imul(hash, SPREAD) >>> this.#shift;
  }

  #insert(hash: number, place: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#home(hash);
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = place;
  }

  #slotOf(node: StoredNode): number {
    const mask = this.#slots.length - 1;
    let slot = this.#home(node.hash);
    while (this.#nodes[(this.#slots[slot] as number) - 1] !== node) slot = this.#step(slot, mask);
    return slot;
  }

  #slotOfPlace(node: StoredNode, place: number): number {
    const mask = this.#slots.length - 1;
    let slot = this.#home(node.hash);
    while (this.#slots[slot] !== place) slot = this.#step(slot, mask);
    return slot;
  }

  #step(slot: number, mask: number): number {
    if (this.#slots[slot] === 0) throw new Error("assertion failed: the node is in the index");
    return (slot + 1) & mask;
  }

  /** Frees a slot, and moves up what stands behind it only because it was taken (Knuth 6.4, algorithm R). */
  #clear(freed: number): void {
    const mask = this.#slots.length - 1;
    let gap = freed;
    for (let slot = (gap + 1) & mask; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const { hash } = this.#nodes[(this.#slots[slot] as number) - 1] as StoredNode;
      const home = this.#home(hash);
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      this.#slots[gap] = this.#slots[slot] as number;
      gap = slot;
    }
    this.#slots[gap] = 0;
  }

  #grow(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    this.#shift--;
    for (const [at, { hash }] of this.#nodes.entries()) this.#insert(hash, at + 1);
  }
}

const NONE: readonly StoredNode[] = [];
