/**
 * Reads variants, and hands out slices of the files they lie in. Nothing that was not verified leaves it: a
 * read checks what it reads, a slice is only of what was checked since the shard was opened.
 */
import { assert } from "../../../base/assert.ts";
import { READ_BYTES_MAX } from "./limits.ts";
import type { Shard } from "./shard.ts";
import type { DiskVariant } from "./variant.ts";

/** The reader of a store; its methods are DiskStore's. */
export class Reader {
  readonly #shard: (variant: DiskVariant) => Shard | undefined;

  constructor(shard: (variant: DiskVariant) => Shard | undefined) {
    this.#shard = shard;
  }

  async read(variant: DiskVariant, start: number, end: number): Promise<Uint8Array | null> {
    checkRange(variant, start, end);
    assert(end - start <= READ_BYTES_MAX, "a read has a limit");
    const shard = this.#shard(variant);
    if (shard === undefined || shard.parts === null) return null;
    shard.hits.add(variant.born);
    if (variant.large) return (await shard.largeOf(variant)?.read(start, end)) ?? null;
    return this.#readSmall(shard, variant, start, end);
  }

  async #readSmall(
    shard: Shard,
    variant: DiskVariant,
    start: number,
    end: number,
  ): Promise<Uint8Array | null> {
    if (start === end) return new Uint8Array(0);
    let place = variant;
    // Eviction may have written it again elsewhere since the handle was made, even while it was read.
    for (let attempt = 0; attempt < 3; attempt++) {
      const bytes = (await shard.parts?.small.read(place, start, end)) ?? "gone";
      if (bytes instanceof Uint8Array) return bytes;
      const now = shard.current(variant);
      if (now === null) return null;
      if (now.place.file === place.place.file && now.place.offset === place.place.offset) {
        // A segment that is not there was given up for room, or taken away: the health check tells of that.
        if (bytes === "gone") shard.remove(now);
        else shard.damaged(now, "objects");
        return null;
      }
      place = now;
    }
    return null;
  }

  async fileSlice(variant: DiskVariant, start: number, end: number): Promise<Blob | null> {
    checkRange(variant, start, end);
    const shard = this.#shard(variant);
    const parts = shard?.parts ?? null;
    if (shard === undefined || parts === null) return null;
    if (variant.large) {
      if (!((await shard.largeOf(variant)?.verify(start, end)) ?? false)) return null;
    } else if (start < end && !parts.small.isVerified(variant.born)) {
      if ((await this.#readSmall(shard, variant, 0, variant.length)) === null) return null;
      parts.small.setVerified(variant.born);
    }
    return this.sliceNow(variant, start, end);
  }

  sliceNow(variant: DiskVariant, start: number, end: number): Blob | null {
    checkRange(variant, start, end);
    const shard = this.#shard(variant);
    const parts = shard?.parts ?? null;
    if (shard === undefined || parts === null) return null;
    if (variant.large) {
      const slice = shard.largeOf(variant)?.slice(start, end) ?? null;
      if (slice !== null) shard.hits.add(variant.born);
      return slice;
    }
    if (!parts.small.isVerified(variant.born) && start < end) return null;
    const now = shard.current(variant);
    if (now === null) return null;
    shard.hits.add(variant.born);
    if (start === end) return new Blob([]);
    if (!parts.segments.has(now.place.file)) return null;
    parts.segments.lease(now.place.file);
    const { file, offset } = now.place;
    return Bun.file(parts.segments.path(file)).slice(offset + start, offset + end);
  }

  verified(variant: DiskVariant, start: number, end: number): boolean {
    const shard = this.#shard(variant);
    if (shard === undefined) return false;
    return variant.large
      ? (shard.largeOf(variant)?.verified(start, end) ?? false)
      : (shard.parts?.small.isVerified(variant.born) ?? false);
  }
}

function checkRange(variant: DiskVariant, start: number, end: number): void {
  assert(
    Number.isSafeInteger(start) && start >= 0 && start <= end && end <= variant.length,
    "a range lies within its object",
  );
}
