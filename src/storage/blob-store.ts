/**
 * Content by its SHA-256: the same bytes are kept once, and what is kept never changes. Two places hold it, a
 * directory and a store that speaks S3's protocol; one contract suite says what both do.
 */
import type { BodyReader } from "../http/body.ts";

/** Where content lies. Rejections are StorageErrors "unavailable". */
export interface BlobStore {
  /**
   * Takes a file that was written and synchronised, with this SHA-256 in hexadecimal. When it resolves, the
   * content is safe against a crash, and the file is gone. Content that is there already stays.
   */
  publish(file: string, hash: string): Promise<void>;
  /** The bytes from `start` until before `end`. Rejects with a StorageError when the content is not there whole. */
  read(hash: string, start: number, end: number): Promise<BodyReader>;
  /** Forgets content; what is not there is no error. */
  delete(hash: string): Promise<void>;
  /** Is it there, with this length? */
  has(hash: string, bytes: number): Promise<boolean>;
}
