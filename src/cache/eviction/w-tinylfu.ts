/**
 * W-TinyLFU (Einziger et al., 2017) for objects of different sizes (Einziger et al., 2021, "aggregated
 * victims"). A window of a hundredth takes what is new, in LRU order; behind it a segmented LRU,
 * probation and protected. Whoever leaves the window must be seen more often, by the sketch, than all
 * those together who would have to go for it.
 */
import type { EvictionNode, EvictionPolicy } from "./policy.ts";
import { EvictionQueue } from "./queue.ts";
import { FrequencySketch } from "./sketch.ts";

const WINDOW_SHARE = 0.01;
/** Share of the main room that protected may take. */
const PROTECTED_SHARE = 0.8;
/** Victims that one candidate is compared with, at most. */
const VICTIMS_MAX = 64;
const WINDOW = 1;
const PROBATION = 2;
const PROTECTED = 3;

/** The W-TinyLFU policy. */
export class WTinyLfu<N extends EvictionNode<N>> implements EvictionPolicy<N> {
  readonly name = "w-tinylfu";
  readonly refuses = true;
  readonly #windowBytesMax: number;
  readonly #mainBytesMax: number;
  readonly #protectedBytesMax: number;
  readonly #window = new EvictionQueue<N>();
  readonly #probation = new EvictionQueue<N>();
  readonly #protected = new EvictionQueue<N>();
  readonly #sketch = new FrequencySketch();

  constructor(bytesMax: number) {
    this.#windowBytesMax = bytesMax * WINDOW_SHARE;
    this.#mainBytesMax = bytesMax - this.#windowBytesMax;
    this.#protectedBytesMax = this.#mainBytesMax * PROTECTED_SHARE;
  }

  get bytes(): number {
    return this.#window.bytes + this.#probation.bytes + this.#protected.bytes;
  }

  get count(): number {
    return this.#window.count + this.#probation.count + this.#protected.count;
  }

  insert(node: N): void {
    this.#sketch.ensure(this.count + 1);
    this.#sketch.add(node.hash);
    node.mark = WINDOW;
    this.#window.push(node);
    // While there is room nobody has to win.
    for (let oldest = this.#window.oldest; oldest !== null; oldest = this.#window.oldest) {
      if (this.#window.bytes <= this.#windowBytesMax || this.#mainBytes + oldest.bytes > this.#mainBytesMax)
        break;
      this.#admit(oldest);
    }
  }

  hit(node: N): void {
    this.#sketch.add(node.hash);
    if (node.mark === WINDOW) this.#window.refresh(node);
    else if (node.mark === PROTECTED) this.#protected.refresh(node);
    else {
      this.#probation.unlink(node);
      node.mark = PROTECTED;
      this.#protected.push(node);
      this.#demote();
    }
  }

  remove(node: N): void {
    this.#queueOf(node).unlink(node);
    node.mark = 0;
  }

  resize(node: N, bytes: number): void {
    this.#queueOf(node).bytes += bytes - node.bytes;
    node.bytes = bytes;
    this.#demote();
  }

  victim(keep: N | null): N | null {
    const candidate = this.#window.oldestBut(keep);
    const victim = this.#probation.oldestBut(keep) ?? this.#protected.oldestBut(keep);
    if (victim === null) return this.#take(candidate);
    if (candidate === null) return this.#take(victim);
    if (this.#window.bytes <= this.#windowBytesMax && this.#mainBytes > this.#mainBytesMax)
      return this.#take(victim);
    if (!this.#wins(candidate, keep)) return this.#take(candidate);
    this.#admit(candidate);
    return this.#take(victim);
  }

  get #mainBytes(): number {
    return this.#probation.bytes + this.#protected.bytes;
  }

  /** Whether the candidate is seen more often than all who would have to go for it. */
  #wins(candidate: N, keep: N | null): boolean {
    const wanted = this.#sketch.count(candidate.hash);
    let needBytes = this.#mainBytes + candidate.bytes - this.#mainBytesMax;
    if (candidate.bytes > this.#mainBytesMax) return false;
    let seen = 0;
    let victim = this.#probation.oldest;
    let inProbation = true;
    for (let compared = 0; needBytes > 0 && compared < VICTIMS_MAX; compared++) {
      if (victim === null && inProbation) {
        inProbation = false;
        victim = this.#protected.oldest;
      }
      if (victim === null) break;
      if (victim !== keep) {
        seen += this.#sketch.count(victim.hash);
        needBytes -= victim.bytes;
      }
      if (seen >= wanted) return false;
      victim = victim.newer;
    }
    return needBytes <= 0;
  }

  #admit(node: N): void {
    this.#window.unlink(node);
    node.mark = PROBATION;
    this.#probation.push(node);
  }

  #demote(): void {
    for (let node = this.#protected.oldest; node !== null; node = this.#protected.oldest) {
      if (this.#protected.bytes <= this.#protectedBytesMax) return;
      this.#protected.unlink(node);
      node.mark = PROBATION;
      this.#probation.push(node);
    }
  }

  #take(node: N | null): N | null {
    if (node !== null) this.remove(node);
    return node;
  }

  #queueOf(node: N): EvictionQueue<N> {
    if (node.mark === WINDOW) return this.#window;
    return node.mark === PROBATION ? this.#probation : this.#protected;
  }
}
