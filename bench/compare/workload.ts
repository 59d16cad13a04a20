/**
 * What is asked for: paths of the origin and what it answers to them. The origin, the generators and the
 * checks all take it from here, so that they agree without talking.
 */
import { generateTrace } from "../../src/cache/eviction/trace.ts";

/** How long what may be stored stays fresh, in seconds: longer than any run. */
export const FRESH_SECONDS = 86_400;
/** How long a slow object takes, in milliseconds. */
export const SLOW_MS = 1_000;
/** How long the slow object that is to expire stays fresh, in seconds. */
export const SHORT_SECONDS = 2;
/** Number of different tags on the objects that are purged by tag. */
export const TAGS = 100;

const UNCACHEABLE_SHARE = 0.05;
const BODY_BYTE = 120;

/** An answer of the origin. */
export interface Wanted {
  readonly bytes: number;
  readonly cacheControl: string;
  readonly delayMs: number;
  readonly tag: string | null;
}

/** The mix of the latency measurement: objects in the order they are asked for, and each one's size. */
export interface Mix {
  readonly objects: Uint32Array;
  readonly sizes: Float64Array;
}

const STORABLE = `public, max-age=${FRESH_SECONDS}`;

/** Zipf over so many objects, with log-normal sizes; the same in every process. */
export function mixOf(objects: number, requests: number): Mix {
  return generateTrace({ seed: 4, requests, objects, alpha: 0.9, sizes: { medianBytes: 4_000, sigma: 1.5 } });
}

/** Path of an object of the mix. Its size is in the path, so that the origin needs no table. */
export function mixPath(mix: Mix, object: number): string {
  const bytes = mix.sizes[object] ?? 0;
  return isUncacheable(object) ? `/no-store/${bytes}/${object}` : `/hit/${bytes}/${object}`;
}

/** One object in twenty may not be stored. Spread over popular and rare ones alike. */
export function isUncacheable(object: number): boolean {
  return (Math.imul(object + 1, 2_654_435_761) >>> 0) / 4_294_967_296 < UNCACHEABLE_SHARE;
}

/** What a path is answered with; null for one that does not exist. */
export function wanted(path: string): Wanted | null {
  const [, kind, first, second] = path.split("/");
  const bytes = Number(first);
  if (!Number.isInteger(bytes) || bytes < 0) return null;
  const fast = { bytes, delayMs: 0, tag: null };
  switch (kind) {
    case "hit":
      return { ...fast, cacheControl: STORABLE };
    case "no-store":
      return { ...fast, cacheControl: "no-store" };
    case "tagged":
      return { ...fast, cacheControl: STORABLE, tag: `t${Number(second) % TAGS}` };
    case "slow":
      return { ...fast, cacheControl: STORABLE, delayMs: SLOW_MS };
    case "slow-short":
      return { ...fast, cacheControl: `public, max-age=${SHORT_SECONDS}`, delayMs: SLOW_MS };
    case "slow-no-store":
      return { ...fast, cacheControl: "no-store", delayMs: SLOW_MS };
    default:
      return null;
  }
}

/** Validator of every object of a size. */
export function etagOf(bytes: number): string {
  return `"b${bytes}"`;
}

/** Bodies are the same byte over and over: their length tells whether they are whole. */
export function bodyOf(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes).fill(BODY_BYTE);
}
