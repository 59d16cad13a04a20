/**
 * Bytes of Blobs that are asked for often. A stored large body is a Blob, because the runtime's server
 * sends it to many viewers without a copy each; a socket takes bytes only, and a copy for each viewer
 * would cost more than the request. What is hot is copied once, and counted until the last viewer that
 * is being sent it has it: slow viewers of many bodies do not make this grow.
 */
import { isFile } from "../../../http/body.ts";
import { BLOB_EACH_BYTES_MAX, BLOBS_BYTES_MAX } from "./limits.ts";

/** The bytes of a Blob, held by who is sending them. */
export interface HeldBytes {
  readonly bytes: Uint8Array;
}

interface Kept extends HeldBytes {
  users: number;
}

/** A bounded memory of Blobs' bytes; of those that nobody holds the one used longest ago goes first. */
export class BlobBytes {
  readonly #kept = new Map<Blob, Kept>();
  readonly #reading = new Map<Blob, Promise<Kept>>();
  /** Bytes of parts that were copied out of a Blob that is not kept. */
  #partly = new WeakMap<Blob, number>();
  /** Bytes kept, and those for which room was made. */
  #bytes = 0;

  /** Bytes counted against the limit. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Takes hold of a Blob's bytes to send `wanted` of them: at once where they are kept; after reading them
   * where they are worth keeping; null when the Blob is to be read piece by piece. A whole is always worth
   * it, parts are once as much was copied for them as the whole has. Whoever has them calls `release` once.
   */
  hold(blob: Blob, wanted: number): HeldBytes | Promise<HeldBytes> | null {
    const kept = this.#kept.get(blob);
    if (kept !== undefined) {
      this.#kept.delete(blob);
      this.#kept.set(blob, kept);
      kept.users += 1;
      return kept;
    }
    // A file's bytes are the file system's to keep.
    if (blob.size > BLOB_EACH_BYTES_MAX || isFile(blob)) return null;
    if (wanted < blob.size && !this.#isWorthIt(blob, wanted)) return null;
    let reading = this.#reading.get(blob);
    if (reading === undefined) {
      if (!this.#makeRoom(blob.size)) return null;
      reading = this.#read(blob).finally(() => this.#reading.delete(blob));
      this.#reading.set(blob, reading);
    }
    return reading.then((read) => {
      read.users += 1;
      return read;
    });
  }

  /** Gives back what `hold` gave. */
  release(held: HeldBytes): void {
    (held as Kept).users -= 1;
  }

  #isWorthIt(blob: Blob, wanted: number): boolean {
    const copied = (this.#partly.get(blob) ?? 0) + wanted;
    this.#partly.set(blob, copied);
    return copied >= blob.size;
  }

  #makeRoom(bytes: number): boolean {
    for (const [oldest, kept] of this.#kept) {
      if (this.#bytes + bytes <= BLOBS_BYTES_MAX) break;
      if (kept.users > 0) continue;
      this.#kept.delete(oldest);
      this.#partly.delete(oldest);
      this.#bytes -= kept.bytes.byteLength;
    }
    if (this.#bytes + bytes > BLOBS_BYTES_MAX) return false;
    this.#bytes += bytes;
    return true;
  }

  async #read(blob: Blob): Promise<Kept> {
    try {
      const kept = { bytes: await blob.bytes(), users: 0 };
      this.#kept.set(blob, kept);
      return kept;
    } catch (error) {
      this.#bytes -= blob.size;
      throw error;
    }
  }
}
