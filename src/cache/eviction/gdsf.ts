/**
 * Greedy-Dual-Size-Frequency (Cherkasova, 1998) with lazy promotion, so that a hit is one increment.
 *
 * The value of a node is `age + frequency / bytes^exponent`; the least goes, and its value becomes the
 * age: whoever is not hit falls behind. Here nodes stand in queues by class of size and by frequency;
 * within one queue the order of arrival is the order of value, so the least is at the oldest end of one
 * of a few hundred queues. Hits are only counted. They take effect when a node would be evicted: it
 * moves to the queue of its new frequency, at today's age.
 */
import { Ghost } from "./ghost.ts";
import type { EvictionNode, EvictionPolicy } from "./policy.ts";
import { EvictionQueue } from "./queue.ts";

/** Classes of size: powers of two, from below 256 bytes to above 1 GiB. */
const SIZE_CLASSES = 24;
const SIZE_CLASS_FIRST = 8;
/** Frequencies 1 to 8: what was hit more often is as good as eight. */
const FREQUENCIES = 8;
const HITS_MAX = 15;
const HITS_MASK = 15;
/** The queue stands above the hits in the mark, counted from 1. */
const QUEUE_SHIFT = 4;
/** 0 ignores the size, 1 weighs by it in full; between them both miss ratios are good (decision 7). */
const SIZE_EXPONENT = 0.5;
const NEW_WEIGHT = 0.15;

/** Settings that the benchmark varies. */
export interface GdsfOptions {
  /** How much size counts, 0 to 1. */
  readonly sizeExponent?: number;
  readonly newWeight?: number;
  readonly returnFrequency?: number;
  readonly ghostSpan?: number;
  readonly decay?: number;
}

/** The lazy GDSF policy. */
export class Gdsf<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "gdsf";
  readonly #queues: EvictionQueue<N>[] = [];
  /** The value at the oldest end of each queue; infinite when it is empty. */
  readonly #values = new Float64Array(SIZE_CLASSES * FREQUENCIES).fill(Number.POSITIVE_INFINITY);
  readonly #gains = new Float64Array(SIZE_CLASSES * FREQUENCIES);
  #age = 0;
  #bytes = 0;
  #count = 0;

  readonly #ghost: Ghost;
  readonly #ret: number;
  readonly #span: number;
  readonly #decay: number;
  constructor(bytesMax: number, options: GdsfOptions = {}) {
    this.#ghost = new Ghost(bytesMax);
    this.#ret = options.returnFrequency ?? 2;
    this.#span = options.ghostSpan ?? 2;
    this.#decay = options.decay ?? 1;
    const newWeight = options.newWeight ?? NEW_WEIGHT;
    const exponent = options.sizeExponent ?? SIZE_EXPONENT;
    for (let size = 0; size < SIZE_CLASSES; size++) {
      for (let frequency = 1; frequency <= FREQUENCIES; frequency++) {
        this.#gains[this.#queues.length] = (frequency === 1 ? newWeight : frequency-1) / 2 ** (size * exponent);
        this.#queues.push(new EvictionQueue<N>());
      }
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  insert(node: N): void {
    this.#push(node, this.#ghost.take(node.hash, this.#age) ? this.#ret : 1);
  }

  hit(node: N): void {
    if ((node.mark & HITS_MASK) < HITS_MAX) node.mark++;
  }

  remove(node: N): void {
    this.#unlink(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    const hits = node.mark & HITS_MASK;
    const frequency = this.#frequencyOf(node);
    this.#unlink(node);
    node.bytes = bytes;
    this.#push(node, frequency);
    node.mark += hits;
  }

  victim(keep: N | null): N | null {
    if (this.#count === 0 || (this.#count === 1 && keep !== null && keep.mark !== 0)) return null;
    const kept = keep !== null && keep.mark !== 0 ? keep : null;
    // `keep` is stood aside for the choice; every other turn takes all hits off a node, so it ends.
    const keptHits = kept === null ? 0 : kept.mark & HITS_MASK;
    const keptFrequency = kept === null ? 0 : this.#frequencyOf(kept);
    if (kept !== null) this.#unlink(kept);
    let node = this.#least();
    for (let hits = node.mark & HITS_MASK; hits > 0; hits = node.mark & HITS_MASK) {
      const frequency = Math.min(FREQUENCIES, Math.floor(this.#frequencyOf(node)*this.#decay) + hits);
      this.#unlink(node);
      this.#push(node, frequency);
      node = this.#least();
    }
    this.#age = Math.max(this.#age, node.rank);
    const at = (node.mark >>> QUEUE_SHIFT) - 1;
    this.#ghost.add(node.hash, this.#age + this.#span * (this.#gains[at - at % FREQUENCIES + 1] as number));
    this.remove(node);
    if (kept !== null) {
      this.#push(kept, keptFrequency);
      kept.mark += keptHits;
    }
    return node;
  }

  #least(): N {
    let best = 0;
    let value = Number.POSITIVE_INFINITY;
    for (let at = 0; at < this.#values.length; at++) {
      const other = this.#values[at] as number;
      if (other < value) {
        value = other;
        best = at;
      }
    }
    // A policy that holds a node has a queue with an oldest one.
    return this.#queues[best]?.oldest as N;
  }

  #frequencyOf(node: N): number {
    return (((node.mark >>> QUEUE_SHIFT) - 1) % FREQUENCIES) + 1;
  }

  #push(node: N, frequency: number): void {
    const sizeClass = Math.min(SIZE_CLASSES - 1, Math.max(0, Math.ceil(Math.log2(node.bytes)) - SIZE_CLASS_FIRST));
    const at = sizeClass * FREQUENCIES + frequency - 1;
    node.mark = (at + 1) << QUEUE_SHIFT;
    node.rank = this.#age + (this.#gains[at] as number);
    const queue = this.#queues[at] as EvictionQueue<N>;
    if (queue.oldest === null) this.#values[at] = node.rank;
    queue.push(node);
    this.#bytes += node.bytes;
    this.#count++;
  }

  #unlink(node: N): void {
    const at = (node.mark >>> QUEUE_SHIFT) - 1;
    const queue = this.#queues[at] as EvictionQueue<N>;
    queue.unlink(node);
    this.#values[at] = queue.oldest === null ? Number.POSITIVE_INFINITY : queue.oldest.rank;
    this.#bytes -= node.bytes;
    this.#count--;
  }
}
