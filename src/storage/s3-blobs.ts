/**
 * Content in a bucket of a store that speaks S3's protocol, through the runtime's own client. A file is sent
 * only once it is whole and its hash is known, under a name that is the hash: a copy that is cut leaves no
 * object, one that is repeated leaves the same.
 */
import { rm } from "node:fs/promises";
import type { S3Client } from "bun";
import { messageOf } from "../base/errors.ts";
import { type BodyReader, bodyOf } from "../http/body.ts";
import type { BlobStore } from "./blob-store.ts";
import { StorageError } from "./storage-error.ts";

/** Where the bucket is. */
export interface S3Place {
  readonly endpoint?: string;
  readonly bucket: string;
  readonly region?: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Put before every name; ends in a slash, or is empty. */
  readonly prefix: string;
}

/** Size from which a file goes up in parts, and of each part, in bytes. */
const PART_BYTES = 8 * 1024 * 1024;

/** A bucket of content. */
export class S3Blobs implements BlobStore {
  readonly #client: S3Client;
  readonly #prefix: string;

  constructor({ prefix, ...place }: S3Place) {
    this.#client = new Bun.S3Client(place);
    this.#prefix = prefix;
  }

  async publish(file: string, hash: string): Promise<void> {
    try {
      const source = Bun.file(file);
      const object = this.#client.file(this.#nameOf(hash));
      if (source.size <= PART_BYTES) await object.write(await source.bytes());
      else {
        const writer = object.writer({ partSize: PART_BYTES, queueSize: 2, retry: 3 });
        for await (const piece of source.stream()) {
          writer.write(piece);
          await writer.flush();
        }
        await writer.end();
      }
      await rm(file, { force: true });
    } catch (error) {
      throw unavailable(error);
    }
  }

  async read(hash: string, start: number, end: number): Promise<BodyReader> {
    if (start >= end) return bodyOf(new Uint8Array(0));
    if (!(await this.#there(hash))) throw new StorageError("unavailable", "the content is not in the bucket");
    const stream = this.#client.file(this.#nameOf(hash)).slice(start, end).stream();
    return new StreamReader(stream.getReader(), end - start);
  }

  async delete(hash: string): Promise<void> {
    try {
      await this.#client.delete(this.#nameOf(hash));
    } catch (error) {
      if (!isMissing(error)) throw unavailable(error);
    }
  }

  async has(hash: string, bytes: number): Promise<boolean> {
    try {
      return (await this.#client.stat(this.#nameOf(hash))).size === bytes;
    } catch (error) {
      if (isMissing(error)) return false;
      throw unavailable(error);
    }
  }

  async #there(hash: string): Promise<boolean> {
    try {
      return await this.#client.exists(this.#nameOf(hash));
    } catch (error) {
      throw unavailable(error);
    }
  }

  #nameOf(hash: string): string {
    return `${this.#prefix}${hash.slice(0, 2)}/${hash}`;
  }
}

/** A stream of known length: one that ends before is an error, not an end. */
class StreamReader implements BodyReader {
  readonly #reader: {
    read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
    cancel(): Promise<void>;
  };
  #left: number;

  constructor(
    reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> },
    bytes: number,
  ) {
    this.#reader = reader;
    this.#left = bytes;
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      let value: Uint8Array | undefined;
      let done: boolean;
      try {
        ({ done, value } = await this.#reader.read());
      } catch (error) {
        throw unavailable(error);
      }
      if (done) {
        if (this.#left > 0)
          throw new StorageError("unavailable", `${this.#left} bytes of the content are missing`);
        return null;
      }
      if (value === undefined || value.byteLength === 0) continue;
      this.#left -= value.byteLength;
      if (this.#left < 0) throw new StorageError("unavailable", "the content is longer than it was");
      return value;
    }
  }

  cancel(): void {
    this.#reader.cancel().catch(() => {});
  }
}

function isMissing(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return (
    code === "NoSuchKey" ||
    code === "NotFound" ||
    (error instanceof Error && /404|not found/i.test(error.message))
  );
}

function unavailable(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  return new StorageError("unavailable", `the storage bucket does not answer: ${messageOf(error)}`, error);
}
