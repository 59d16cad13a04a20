/**
 * Greedy-Dual-Size-Frequency (Cherkasova, 1998), made so that a hit is one increment and a scan is
 * short-lived. The value of a node is `age + weight of its frequency / bytes^exponent`; the least goes,
 * and its value becomes the age: whoever is not hit falls behind.
 *
 * Nodes stand in queues by class of size and by frequency. Within one queue the order of arrival is the
 * order of value, so the least is at the oldest end of one of a few hundred queues. Hits are only
 * counted; they take effect when a node would be evicted: it moves to the queue of its new frequency,
 * at today's age.
 *
 * What is new weighs little and leaves soon, as from S3-FIFO's small queue; its hash is remembered for
 * as long as it would have stayed with a frequency of one, and if it comes back in that time it enters
 * with RETURN_LEVEL.
 */
import { Ghost } from "./ghost.ts";
import type { EvictionNode, EvictionPolicy } from "./policy.ts";
import { EvictionQueue } from "./queue.ts";

/** Classes of size: powers of two, from 256 bytes and less to above 1 GiB. */
const SIZE_CLASSES = 24;
const SIZE_CLASS_FIRST = 8;
/** Levels of frequency: 0 is new, then each hit is one more, up to seven. */
const LEVELS = 8;
const NEW_WEIGHT = 0.15;
/** The guard for tiny caches: what is new stays while this many nodes come and go, as long as what was hit once at most. */
const NEW_STAY_NODES = 250;
const NEW_WEIGHT_MAX = 1;
const RETURN_LEVEL = 2;
const HITS_MASK = 15;
const HITS_MAX = 15;
/** The queue's number stands above the hits in the mark, counted from 1. */
const QUEUE_SHIFT = 4;
/**
 * 0 ignores the size, 1 weighs by it in full. With a quarter far fewer objects are missed than by policies
 * that ignore size, and about as many bytes (decision 7); a tier with a larger one behind it may take a half.
 */
export const SIZE_EXPONENT = 0.25;

/** Settings of the policy. */
export interface GdsfOptions {
  /** How much size counts, 0 to 1. */
  readonly sizeExponent?: number;
}

/** The lazy GDSF policy. */
export class Gdsf<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "gdsf";
  readonly refuses = false;
  readonly #queues: EvictionQueue<N>[] = [];
  /** What a place in each queue is worth above the age; at level 0 times the weight of what is new. */
  readonly #gains = new Float64Array(SIZE_CLASSES * LEVELS);
  /** The value at the oldest end of each queue, infinite when it is empty; and the least of each class. */
  readonly #values = new Float64Array(SIZE_CLASSES * LEVELS).fill(Number.POSITIVE_INFINITY);
  readonly #classValues = new Float64Array(SIZE_CLASSES).fill(Number.POSITIVE_INFINITY);
  readonly #ghost: Ghost;
  #age = 0;
  #bytes = 0;
  #count = 0;

  constructor(bytesMax: number, options: GdsfOptions = {}) {
    const exponent = options.sizeExponent ?? SIZE_EXPONENT;
    this.#ghost = new Ghost(bytesMax);
    for (let size = 0; size < SIZE_CLASSES; size++) {
      for (let level = 0; level < LEVELS; level++) {
        this.#gains[this.#queues.length] = Math.max(1, level) / 2 ** (size * exponent);
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
    this.#push(node, this.#ghost.take(node.hash, this.#age) ? RETURN_LEVEL : 0, 0);
  }

  hit(node: N): void {
    if ((node.mark & HITS_MASK) < HITS_MAX) node.mark++;
  }

  remove(node: N): void {
    this.#unlink(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    const { mark } = node;
    this.#unlink(node);
    node.bytes = bytes;
    this.#push(node, levelOf(mark), mark & HITS_MASK);
  }

  victim(keep: N | null): N | null {
    if (keep === null || keep.mark === 0) return this.#take();
    // `keep` stands aside for the choice.
    const { mark } = keep;
    this.#unlink(keep);
    const node = this.#take();
    this.#push(keep, levelOf(mark), mark & HITS_MASK);
    return node;
  }

  #take(): N | null {
    // Every turn takes all hits off one node: it ends.
    for (;;) {
      const at = this.#leastQueue();
      const node = this.#queues[at]?.oldest ?? null;
      if (node === null) return null;
      const hits = node.mark & HITS_MASK;
      if (hits > 0) {
        this.#unlink(node);
        this.#push(node, Math.min(LEVELS - 1, levelOf(node.mark) + hits), 0);
        continue;
      }
      this.#age = node.rank;
      this.#ghost.add(node.hash, this.#age + (this.#gains[at - (at % LEVELS)] as number));
      this.remove(node);
      return node;
    }
  }

  #leastQueue(): number {
    let sizeClass = 0;
    for (let other = 1; other < SIZE_CLASSES; other++) {
      if ((this.#classValues[other] as number) < (this.#classValues[sizeClass] as number)) sizeClass = other;
    }
    return this.#values.indexOf(this.#classValues[sizeClass] as number, sizeClass * LEVELS);
  }

  #push(node: N, level: number, hits: number): void {
    const sizeClass = Math.ceil(Math.log2(node.bytes)) - SIZE_CLASS_FIRST;
    const at = Math.min(SIZE_CLASSES - 1, Math.max(0, sizeClass)) * LEVELS + level;
    node.mark = ((at + 1) << QUEUE_SHIFT) | hits;
    const queue = this.#queues[at] as EvictionQueue<N>;
    const gain = (this.#gains[at] as number) * (level === 0 ? this.#newWeight() : 1);
    // The weight of what is new moves with the count; the order within the queue has to hold all the same.
    node.rank = Math.max(this.#age + gain, queue.newest?.rank ?? 0);
    queue.push(node);
    if (queue.oldest === node) this.#setValue(at, node.rank);
    this.#bytes += node.bytes;
    this.#count++;
  }

  #newWeight(): number {
    return Math.max(NEW_WEIGHT, Math.min(NEW_WEIGHT_MAX, NEW_STAY_NODES / (this.#count + 1)));
  }

  #unlink(node: N): void {
    const at = (node.mark >>> QUEUE_SHIFT) - 1;
    const queue = this.#queues[at] as EvictionQueue<N>;
    const wasOldest = queue.oldest === node;
    queue.unlink(node);
    if (wasOldest) this.#setValue(at, queue.oldest?.rank ?? Number.POSITIVE_INFINITY);
    this.#bytes -= node.bytes;
    this.#count--;
  }

  #setValue(at: number, value: number): void {
    this.#values[at] = value;
    const first = at - (at % LEVELS);
    let least = this.#values[first] as number;
    for (let other = first + 1; other < first + LEVELS; other++) {
      least = Math.min(least, this.#values[other] as number);
    }
    this.#classValues[first / LEVELS] = least;
  }
}

function levelOf(mark: number): number {
  return ((mark >>> QUEUE_SHIFT) - 1) % LEVELS;
}
