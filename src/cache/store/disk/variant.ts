/**
 * One stored variant as the disk's index knows it. `born` names it for ever within the store; its place
 * (`file`, `offset`) changes when eviction writes it again. The caller's own `meta` is opaque here.
 */

/** What the cache says of a variant when it stores it. */
export interface VariantParts {
  /** Names that the response's Vary named. */
  readonly vary: readonly string[];
  /** Which of the URL's variants this is: secondary key and selecting fields. */
  readonly variant: string;
  /** The cache's own: status, fields, freshness. Opaque to the disk. */
  readonly meta: Uint8Array;
  /** Up to which entry of the purge log it is valid. */
  readonly sequence: number;
  readonly tags?: readonly string[];
}

/** A variant on disk. A handle stays usable until the variant is evicted or removed; then reads give null. */
export interface DiskVariant extends VariantParts {
  readonly key: string;
  readonly tags: readonly string[];
  readonly shard: number;
  /** Its name within the store: when it was stored, in microseconds, made unique. */
  readonly born: number;
  readonly storedAtMs: number;
  /** Length of the whole body in bytes. */
  readonly length: number;
  /** In a file of its own: read it as a SparseObject, or in parts. */
  readonly large: boolean;
  /** False for a large object some of whose blocks are missing. */
  readonly complete: boolean;
  /** For the store: where it lies and how it is verified. */
  readonly place: Place;
}

/** Where a variant lies. */
export interface Place {
  readonly hash: number;
  /** The segment, or the large file. */
  readonly file: number;
  readonly offset: number;
  /** Checksums of a small object's blocks; empty for a large one, whose checksums are rows of their own. */
  readonly sums: Float64Array;
}
