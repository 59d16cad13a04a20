/**
 * Checksums of the disk store: XXH3 cut to 53 bits, so that a checksum is a plain number, and never 0,
 * which stands for a block that is not there. They find accidents, not forgeries.
 */
import { assert } from "../../../base/assert.ts";

const MASK = 0x1f_ffff_ffff_ffffn;

function toSum(hash: bigint): number {
  return Number(hash & MASK) || 1;
}

/** Checksum of one block. */
export function blockSum(block: Uint8Array): number {
  return toSum(Bun.hash.xxHash3(block));
}

/** Checksums of a body, block by block. */
export function blockSums(body: Uint8Array, blockBytes: number): Float64Array {
  const sums = new Float64Array(Math.ceil(body.byteLength / blockBytes));
  for (let i = 0; i < sums.length; i++)
    sums[i] = blockSum(body.subarray(i * blockBytes, (i + 1) * blockBytes));
  return sums;
}

/** Checksum of a text and the bytes that belong to it, in this order. */
export function chainedSum(text: string, ...parts: readonly Uint8Array[]): number {
  let hash = Bun.hash.xxHash3(text);
  for (const part of parts) hash ^= Bun.hash.xxHash3(part, hash & 0xffff_ffffn) + 1n;
  return toSum(hash);
}

/** A key's place in its shard's index; `seed` is the store's own, so that nobody can aim at one place. */
export function keyHash(key: string, seed: bigint): number {
  return toSum(Bun.hash.xxHash64(key, seed));
}

/** Checksums as they lie in the index. */
export function sumsToBytes(sums: Float64Array): Uint8Array {
  return new Uint8Array(sums.buffer, sums.byteOffset, sums.byteLength);
}

/** The other way; a copy. Null when the bytes can not be checksums. */
export function sumsFromBytes(bytes: Uint8Array): Float64Array | null {
  if (bytes.byteLength % 8 !== 0) return null;
  const copy = bytes.slice();
  assert(copy.byteOffset === 0, "a slice has a buffer of its own");
  return new Float64Array(copy.buffer, 0, copy.byteLength / 8);
}
