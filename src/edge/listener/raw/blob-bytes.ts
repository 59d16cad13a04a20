/**
 * Bytes of Blobs that were sent lately. A stored large body is a Blob, because the runtime's server sends
 * it to many viewers without a copy each; a socket takes bytes only, and a copy for each viewer would
 * cost more than the request. What is hot is copied once.
 */
import { BLOB_EACH_BYTES_MAX, BLOBS_BYTES_MAX } from "./limits.ts";

/** A bounded memory of Blobs' bytes; the one used longest ago goes first. */
export class BlobBytes {
  readonly #kept = new Map<Blob, Uint8Array>();
  #bytes = 0;

  /** The bytes of a Blob that is kept here; null for any other. */
  get(blob: Blob): Uint8Array | null {
    const bytes = this.#kept.get(blob);
    if (bytes === undefined) return null;
    this.#kept.delete(blob);
    this.#kept.set(blob, bytes);
    return bytes;
  }

  /** Is it one to be kept: in memory, and not too large? A file's bytes are the file system's to keep. */
  takes(blob: Blob): boolean {
    return blob.size <= BLOB_EACH_BYTES_MAX && !("name" in blob && typeof blob.name === "string");
  }

  /** Reads a Blob whole and keeps it. */
  async read(blob: Blob): Promise<Uint8Array> {
    const bytes = await blob.bytes();
    if (!this.#kept.has(blob)) {
      this.#kept.set(blob, bytes);
      this.#bytes += bytes.byteLength;
      for (const [oldest, its] of this.#kept) {
        if (this.#bytes <= BLOBS_BYTES_MAX) break;
        this.#kept.delete(oldest);
        this.#bytes -= its.byteLength;
      }
    }
    return bytes;
  }
}
