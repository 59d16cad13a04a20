/**
 * Generated traces, the same for the same seed. Popularity is Zipf's; sizes are log-normal, small and
 * large ones may be mixed. Over that base come what caches suffer from: new objects and drift, objects
 * asked for once, scans, loops.
 */
import type { Trace } from "./simulator.ts";

const SIZE_BYTES_MIN = 100;
const SIZE_BYTES_MAX = 100_000_000;
/** What the memory store counts for an entry beside its body, roughly (`FIELD_OVERHEAD_BYTES` and fields). */
const OVERHEAD_BYTES = 1_000;

/** Log-normal sizes. */
export interface SizeMix {
  readonly medianBytes: number;
  /** Standard deviation of the logarithm: 1.5 is usual for web objects. */
  readonly sigma: number;
}

/** What a trace is made of. Shares are of requests, 0 to 1. */
export interface TraceRecipe {
  readonly seed: number;
  readonly requests: number;
  /** Objects that have a popularity. */
  readonly objects: number;
  /** Zipf's exponent, usually 0.6 to 1.2. */
  readonly alpha: number;
  readonly sizes: SizeMix;
  /** A share of the objects that are large, and how large. */
  readonly large?: SizeMix & { readonly share: number };
  /** For each request, the chance that a new object takes the first place of the popularity ranking. */
  readonly arrivals?: number;
  /** Share of requests for an object that is asked for once. */
  readonly oneHit?: number;
  /** After every so many requests a scan over `objects` objects, the same ones each time. */
  readonly scan?: { readonly everyRequests: number; readonly objects: number };
  /** A share of requests that repeats one of the last `within` requests. */
  readonly repeat?: { readonly share: number; readonly within: number };
  /** A share of requests that goes round over `objects` objects in order. */
  readonly loop?: { readonly share: number; readonly objects: number };
}

/** A generator of numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Makes the trace of a recipe. */
export function generateTrace(recipe: TraceRecipe): Trace {
  const random = randomOf(recipe.seed);
  const sizes: number[] = [];
  const create = (): number => {
    const { large } = recipe;
    sizes.push(sizeOf(large !== undefined && random() < large.share ? large : recipe.sizes, random));
    return sizes.length - 1;
  };
  const createMany = (count: number) => Array.from({ length: count }, create);

  const rankOf = zipf(recipe.objects, recipe.alpha, random);
  // A ring of objects by popularity: an arrival takes the first place and moves all others down by one.
  const ranking = createMany(recipe.objects);
  let first = 0;
  const scanned = createMany(recipe.scan?.objects ?? 0);
  const looped = createMany(recipe.loop?.objects ?? 0);
  let loopAt = 0;
  let untilScan = recipe.scan?.everyRequests ?? Number.POSITIVE_INFINITY;

  const objects = new Uint32Array(recipe.requests);
  for (let at = 0; at < objects.length; at++) {
    if (untilScan-- <= 0) {
      for (const object of scanned) if (at < objects.length) objects[at++] = object;
      untilScan = recipe.scan?.everyRequests ?? Number.POSITIVE_INFINITY;
      if (at >= objects.length) break;
    }
    if (recipe.arrivals !== undefined && random() < recipe.arrivals) {
      first = (first + ranking.length - 1) % ranking.length;
      ranking[first] = create();
    }
    if (recipe.repeat !== undefined && at > 0 && random() < recipe.repeat.share) {
      objects[at] = objects[at - 1 - Math.floor(random() * Math.min(at, recipe.repeat.within))] as number;
    } else if (recipe.loop !== undefined && random() < recipe.loop.share) {
      objects[at] = looped[loopAt] as number;
      loopAt = (loopAt + 1) % looped.length;
    } else if (recipe.oneHit !== undefined && random() < recipe.oneHit) {
      objects[at] = create();
    } else {
      objects[at] = ranking[(first + rankOf()) % ranking.length] as number;
    }
  }
  return onlyRequested(objects, sizes);
}

/** Numbers objects anew by their first request, so that the footprint holds only what was asked for. */
function onlyRequested(objects: Uint32Array, sizes: readonly number[]): Trace {
  const numbers = new Int32Array(sizes.length).fill(-1);
  const kept: number[] = [];
  for (let at = 0; at < objects.length; at++) {
    const object = objects[at] as number;
    if (numbers[object] === -1) {
      numbers[object] = kept.length;
      kept.push(sizes[object] as number);
    }
    objects[at] = numbers[object] as number;
  }
  return { objects, sizes: Float64Array.from(kept), overheadBytes: OVERHEAD_BYTES };
}

/** Draws a rank, 0 the most popular, with probability in proportion to 1 / (rank + 1)^alpha. */
function zipf(count: number, alpha: number, random: () => number): () => number {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1) ** alpha;
    sums[rank] = sum;
  }
  return () => {
    const wanted = random() * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] as number) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

function sizeOf(mix: SizeMix, random: () => number): number {
  // Box and Muller; 1 - random() is never 0.
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const bytes = Math.round(mix.medianBytes * Math.exp(mix.sigma * normal));
  return Math.min(SIZE_BYTES_MAX, Math.max(SIZE_BYTES_MIN, bytes));
}
