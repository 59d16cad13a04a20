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
 *
 * Several of them may hold parts of one store (partitions.ts): they share an age, so that what their nodes
 * are worth can be compared, and a node that goes from any of them makes all others older.
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

/** What policies share that hold parts of one store. */
export class GdsfShared {
  readonly ghost: Ghost;
  /** What a place in each queue is worth above the age; at level 0 times the weight of what is new. */
  readonly gains = new Float64Array(SIZE_CLASSES * LEVELS);
  /** What the node was worth that went last for want of room in the store. */
  age = 0;
  /** Nodes of all of them. */
  count = 0;

  /** For a store of `bytesMax` bytes. */
  constructor(bytesMax: number, options: GdsfOptions = {}) {
    const exponent = options.sizeExponent ?? SIZE_EXPONENT;
    this.ghost = new Ghost(bytesMax);
    for (let at = 0; at < this.gains.length; at++)
      this.gains[at] = Math.max(1, at % LEVELS) / 2 ** (Math.floor(at / LEVELS) * exponent);
  }
}

/** Queues of one class of size, by level; made when the first node of the class comes. */
class SizeClass<N extends EvictionNode<N>> {
  readonly queues: readonly EvictionQueue<N>[] = Array.from({ length: LEVELS }, () => new EvictionQueue<N>());
  /** The value at the oldest end of each queue, infinite when it is empty. */
  readonly values = new Float64Array(LEVELS).fill(Number.POSITIVE_INFINITY);
}

/** The lazy GDSF policy. */
export class Gdsf<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "gdsf";
  readonly refuses = false;
  readonly #shared: GdsfShared;
  readonly #classes: (SizeClass<N> | null)[] = new Array(SIZE_CLASSES).fill(null);
  /** The least value of each class. */
  readonly #classValues = new Float64Array(SIZE_CLASSES).fill(Number.POSITIVE_INFINITY);
  /** How far this part is ahead of the shared age: further when its nodes go for a limit of its own. */
  #lead = 0;
  /** The age at which this part rests, while nothing that happens in others makes it older. */
  #restingAge: number | null = null;
  #bytes = 0;
  #count = 0;

  /** For a store of `bytesMax` bytes, or for a part of the store that `shared` belongs to. */
  constructor(bytesMax: number, options: GdsfOptions = {}, shared = new GdsfShared(bytesMax, options)) {
    this.#shared = shared;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  insert(node: N): void {
    const returns = this.#shared.ghost.take(node.hash, this.#age);
    this.#push(node, returns ? RETURN_LEVEL : 0, 0);
  }

  hit(node: N): void {
    countHit(node);
  }

  remove(node: N): void {
    this.setAside(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    this.setAside(node);
    node.bytes = bytes;
    this.putBack(node);
  }

  victim(keep: N | null): N | null {
    // `keep` stands aside for the choice.
    const aside = keep !== null && keep.mark !== 0 ? keep : null;
    if (aside !== null) this.setAside(aside);
    let node = this.least;
    // Every turn takes all hits off one node: it ends.
    for (; node !== null; node = this.least) {
      if (this.promote(node)) continue;
      this.evict(node, "store");
      break;
    }
    if (aside !== null) this.putBack(aside);
    return node;
  }

  /** The node that is worth least, as far as hits have taken effect. */
  get least(): N | null {
    let least = 0;
    for (let other = 1; other < SIZE_CLASSES; other++) {
      if ((this.#classValues[other] as number) < (this.#classValues[least] as number)) least = other;
    }
    const found = this.#classes[least] ?? null;
    if (found === null) return null;
    const level = found.values.indexOf(this.#classValues[least] as number);
    return found.queues[level]?.oldest ?? null;
  }

  /** What a node of this part is worth beside those of the others. */
  worth(node: N): number {
    return node.rank - this.#age + this.#shared.age;
  }

  /** Lets the hits of `least` take effect; false when it has none and is the one to go. */
  promote(node: N): boolean {
    const hits = node.mark & HITS_MASK;
    if (hits === 0) return false;
    const level = levelOf(node.mark);
    this.setAside(node);
    this.#push(node, Math.min(LEVELS - 1, level + hits), 0);
    return true;
  }

  /** Takes `least` out for want of room: in the store, which makes all parts older, or in this part alone. */
  evict(node: N, where: "store" | "part"): void {
    const shared = this.#shared;
    if (this.#restingAge !== null) this.#restingAge = Math.max(this.#restingAge, node.rank);
    else if (where === "store") shared.age = Math.max(shared.age, node.rank - this.#lead);
    else this.#lead = Math.max(this.#lead, node.rank - shared.age);
    const first = queueOf(node.mark) - levelOf(node.mark);
    shared.ghost.add(node.hash, this.#age + (shared.gains[first] as number));
    this.remove(node);
  }

  /** Takes a node out of its queue for a moment; its mark keeps its place and its hits. */
  setAside(node: N): void {
    const at = queueOf(node.mark);
    const sizeClass = Math.floor(at / LEVELS);
    // A node with a mark is in a queue.
    const found = this.#classes[sizeClass] as SizeClass<N>;
    const queue = found.queues[at % LEVELS] as EvictionQueue<N>;
    const wasOldest = queue.oldest === node;
    queue.unlink(node);
    if (wasOldest) this.#setValue(sizeClass, at % LEVELS, queue.oldest?.rank ?? Number.POSITIVE_INFINITY);
    this.#bytes -= node.bytes;
    this.#count--;
    this.#shared.count--;
  }

  /** Puts a node back that was set aside, here or in another part of the store, at today's age. */
  putBack(node: N): void {
    this.#push(node, levelOf(node.mark), node.mark & HITS_MASK);
  }

  /** While it rests, only what goes from this part itself makes it older. */
  rest(on: boolean): void {
    if (on === (this.#restingAge !== null)) return;
    if (!on) this.#lead = this.#age - this.#shared.age;
    this.#restingAge = on ? this.#age : null;
  }

  get #age(): number {
    return this.#restingAge ?? this.#shared.age + this.#lead;
  }

  #push(node: N, level: number, hits: number): void {
    const wanted = Math.ceil(Math.log2(node.bytes)) - SIZE_CLASS_FIRST;
    const sizeClass = Math.min(SIZE_CLASSES - 1, Math.max(0, wanted));
    const at = sizeClass * LEVELS + level;
    node.mark = ((at + 1) << QUEUE_SHIFT) | hits;
    let found = this.#classes[sizeClass] ?? null;
    if (found === null) {
      found = new SizeClass<N>();
      this.#classes[sizeClass] = found;
    }
    const queue = found.queues[level] as EvictionQueue<N>;
    const gain = (this.#shared.gains[at] as number) * (level === 0 ? this.#newWeight() : 1);
    // The weight of what is new moves with the count; the order within the queue has to hold all the same.
    node.rank = Math.max(this.#age + gain, queue.newest?.rank ?? 0);
    queue.push(node);
    if (queue.oldest === node) this.#setValue(sizeClass, level, node.rank);
    this.#bytes += node.bytes;
    this.#count++;
    this.#shared.count++;
  }

  #newWeight(): number {
    return Math.max(NEW_WEIGHT, Math.min(NEW_WEIGHT_MAX, NEW_STAY_NODES / (this.#shared.count + 1)));
  }

  #setValue(sizeClass: number, level: number, value: number): void {
    const { values } = this.#classes[sizeClass] as SizeClass<N>;
    values[level] = value;
    let least = values[0] as number;
    for (let other = 1; other < LEVELS; other++) least = Math.min(least, values[other] as number);
    this.#classValues[sizeClass] = least;
  }
}

/** Counts a hit: the same for every part of a store. */
export function countHit(node: { mark: number }): void {
  if ((node.mark & HITS_MASK) < HITS_MAX) node.mark++;
}

function queueOf(mark: number): number {
  return (mark >>> QUEUE_SHIFT) - 1;
}

function levelOf(mark: number): number {
  return queueOf(mark) % LEVELS;
}
