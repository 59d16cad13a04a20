/** Small objects of an open shard: reading them out of its segments, and which were verified since it was opened. */
import { ProximaError } from "../../../base/errors.ts";
import { SHARDS } from "../../shard.ts";
import { blockSum } from "./checksum.ts";
import type { Descriptors } from "./descriptors.ts";
import type { FileSet } from "./file-set.ts";
import { type DiskFiles, errorCode } from "./files.ts";
import { SMALL_BLOCK_BYTES, VERIFIED_MAX } from "./limits.ts";
import type { DiskVariant } from "./variant.ts";

/** What they need of their shard. */
export interface SmallContext {
  readonly files: DiskFiles;
  readonly descriptors: Descriptors;
  readonly segments: FileSet;
  /** The device could not be read. */
  failed(error: unknown): void;
}

/** Reads small objects. */
export class SmallObjects {
  readonly #context: SmallContext;
  /** Oldest first. */
  readonly #verified = new Set<number>();

  constructor(context: SmallContext) {
    this.#context = context;
  }

  /** Verified bytes of a small object, or why there are none. */
  async read(variant: DiskVariant, start: number, end: number): Promise<Uint8Array | "damaged" | "gone"> {
    const { place, length } = variant;
    const first = Math.floor(start / SMALL_BLOCK_BYTES);
    const last = Math.ceil(end / SMALL_BLOCK_BYTES);
    const from = first * SMALL_BLOCK_BYTES;
    const buffer = new Uint8Array(Math.min(length, last * SMALL_BLOCK_BYTES) - from);
    const { descriptors, files, segments } = this.#context;
    try {
      await descriptors.with(segments.path(place.file), "read", (descriptor) =>
        files.read(descriptor, buffer, place.offset + from),
      );
    } catch (error) {
      if (errorCode(error) === "ENOENT") return "gone";
      // A file that is too short is damage; anything else is the device.
      if (!(error instanceof ProximaError)) this.#context.failed(error);
      return "damaged";
    }
    for (let i = 0; first + i < last; i++) {
      if (
        blockSum(buffer.subarray(i * SMALL_BLOCK_BYTES, (i + 1) * SMALL_BLOCK_BYTES)) !==
        place.sums[first + i]
      )
        return "damaged";
    }
    return buffer.subarray(start - from, end - from);
  }

  isVerified(born: number): boolean {
    return this.#verified.has(born);
  }

  setVerified(born: number): void {
    this.#verified.add(born);
    if (this.#verified.size <= VERIFIED_MAX / SHARDS) return;
    for (const oldest of this.#verified) {
      this.#verified.delete(oldest);
      break;
    }
  }

  forget(born: number): void {
    this.#verified.delete(born);
  }
}
