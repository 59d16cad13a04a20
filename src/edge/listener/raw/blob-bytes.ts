/**
 * Bytes of Blobs that are asked for often. A stored large body is a Blob, because the runtime's server
 * sends it to many viewers without a copy each; a socket takes bytes only, and a copy for each viewer
 * would cost more than the request. What is hot is copied once, and counted until the last viewer that
 * is being sent it has it: slow viewers of many bodies do not make this grow.
 */
import { ChurnSet } from "../../../base/churn-set.ts";
import { isFile } from "../../../http/body.ts";
import { BLOB_EACH_BYTES_MAX, BLOBS_BYTES_MAX } from "./limits.ts";

/** The bytes of a Blob, held by who is sending them. */
export interface HeldBytes {
  readonly bytes: Uint8Array;
}

interface Kept extends HeldBytes {
  readonly blob: Blob;
  users: number;
}

/** A bounded memory of Blobs' bytes; of those that nobody holds the one used longest ago goes first. */
export class BlobBytes {
  readonly #keptOf = new WeakMap<Blob, Kept>();
  /** In order of use. */
  readonly #kept = new ChurnSet<Kept>();
  readonly #reading = new WeakMap<Blob, Promise<Kept>>();
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
    const kept = this.#keptOf.get(blob);
    if (kept !== undefined) {
      this.#kept.delete(kept);
      this.#kept.add(kept);
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
    if (this.#bytes + bytes > BLOBS_BYTES_MAX) this.#drop(bytes);
    if (this.#bytes + bytes > BLOBS_BYTES_MAX) return false;
    this.#bytes += bytes;
    return true;
  }

  /** Lets those go that nobody holds until there is room. */
  #drop(bytes: number): void {
    for (const kept of this.#kept.list()) {
      if (this.#bytes + bytes <= BLOBS_BYTES_MAX) return;
      if (kept.users > 0) continue;
      this.#kept.delete(kept);
      this.#keptOf.delete(kept.blob);
      this.#partly.delete(kept.blob);
      this.#bytes -= kept.bytes.byteLength;
    }
  }

  async #read(blob: Blob): Promise<Kept> {
    try {
      const kept = { bytes: await blob.bytes(), blob, users: 0 };
      this.#kept.add(kept);
      this.#keptOf.set(blob, kept);
      return kept;
    } catch (error) {
      this.#bytes -= blob.size;
      throw error;
    }
  }
}
