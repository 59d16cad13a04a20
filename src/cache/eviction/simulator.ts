/** A cache without bodies: a trace of requests runs against a policy, and the misses are counted. */
import { mixHash } from "./hash.ts";
import type { EvictionNode, EvictionPolicy } from "./policy.ts";

/** Requests in order: each names an object, each object has a size. */
export interface Trace {
  /** Number of the object of each request. */
  readonly objects: Uint32Array;
  /** Bytes of each object's body. */
  readonly sizes: Float64Array;
  /** What each object costs beside its body, in bytes. */
  readonly overheadBytes: number;
}

/** What was counted. Ratios are of all requests, first ones included. */
export interface Simulated {
  readonly requests: number;
  readonly misses: number;
  readonly bytes: number;
  readonly missBytes: number;
  readonly objectMissRatio: number;
  readonly byteMissRatio: number;
}

/** A node of the simulation. */
export class SimulatedNode implements EvictionNode<SimulatedNode> {
  newer: SimulatedNode | null = null;
  older: SimulatedNode | null = null;
  bytes: number;
  mark = 0;
  // Not an integer from the start, so that every node has the same shape.
  rank = 0.5;
  readonly hash: number;

  constructor(hash: number, bytes: number) {
    this.hash = hash;
    this.bytes = bytes;
  }
}

/** Runs a trace against a policy that holds `bytesMax` bytes at most; what is larger is never stored. */
export function simulate(
  trace: Trace,
  policy: EvictionPolicy<SimulatedNode>,
  bytesMax: number,
  onProgress?: (requests: number) => void,
): Simulated {
  const { objects, sizes, overheadBytes } = trace;
  const nodes: (SimulatedNode | undefined)[] = new Array(sizes.length);
  let misses = 0;
  let bytes = 0;
  let missBytes = 0;
  for (let at = 0; at < objects.length; at++) {
    if (onProgress !== undefined && (at & PROGRESS_MASK) === PROGRESS_MASK) onProgress(at);
    const object = objects[at] as number;
    const size = sizes[object] as number;
    bytes += size;
    const node = nodes[object];
    // A mark of 0 says that the node is in no policy.
    if (node !== undefined && node.mark !== 0) {
      policy.hit(node);
      continue;
    }
    misses++;
    missBytes += size;
    if (size + overheadBytes > bytesMax) continue;
    const entering = node ?? new SimulatedNode(mixHash(object), size + overheadBytes);
    nodes[object] = entering;
    policy.insert(entering);
    const keep = policy.refuses ? null : entering;
    while (policy.bytes > bytesMax && policy.victim(keep) !== null);
  }
  const requests = objects.length;
  return {
    requests,
    misses,
    bytes,
    missBytes,
    objectMissRatio: requests === 0 ? 0 : misses / requests,
    byteMissRatio: bytes === 0 ? 0 : missBytes / bytes,
  };
}

const PROGRESS_MASK = 0xffff;

/** What a cache that never evicts would hold at the end, in bytes. */
export function footprintBytes(trace: Trace): number {
  let sum = 0;
  for (const size of trace.sizes) sum += size + trace.overheadBytes;
  return sum;
}
