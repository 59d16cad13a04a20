/**
 * Takes bodies: each is written to a file of its own, hashed on the way, checked against all that was
 * announced of it, synchronised, and only then published under its hash. Memory holds a piece at a time.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { BodyReader } from "../http/body.ts";
import type { BlobStore } from "./blob-store.ts";
import { type Checksum, type ChecksumName, checksum } from "./checksums.ts";
import { WRITES_MAX } from "./limits.ts";
import { StorageError } from "./storage-error.ts";

/** What was announced of a body. */
export interface Announced {
  readonly bytesMax: number;
  /** Length; null when nobody said. */
  readonly bytes: number | null;
  /** SHA-256 in hexadecimal. */
  readonly sha256?: string | null;
  /** Checksums to be made, beside SHA-256. */
  readonly checksums: readonly ChecksumName[];
  /** Asked when the body is whole: what it has to come to, in Base64. Trailers are known only then. */
  readonly expected?: () => Readonly<Partial<Record<ChecksumName, string>>>;
}

/** Content that was taken. */
export interface Taken {
  readonly hash: string;
  readonly bytes: number;
  /** In Base64. */
  readonly checksums: Readonly<Partial<Record<ChecksumName, string>>>;
}

/** Writes bodies into a folder, then publishes them. */
export class Intake {
  readonly #folder: string;
  readonly #blobs: BlobStore;
  #writes = 0;

  /** `folder` is on the file system of the blobs where these are files; what a crash left in it goes. */
  constructor(folder: string, blobs: BlobStore) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { force: true });
    this.#folder = folder;
    this.#blobs = blobs;
  }

  /** Rejects with a StorageError; nothing of the body is kept then. `publish` runs when it is whole. */
  async take(
    body: BodyReader | null,
    announced: Announced,
    publish: (taken: Taken, place: () => Promise<void>) => Promise<void>,
  ): Promise<Taken> {
    if (this.#writes >= WRITES_MAX) {
      body?.cancel();
      throw new StorageError("unavailable", `${WRITES_MAX} uploads are under way, which is the limit`);
    }
    this.#writes++;
    const path = join(this.#folder, randomUUID());
    try {
      const taken = await this.#write(path, body, announced);
      await publish(taken, () => this.#blobs.publish(path, taken.hash));
      return taken;
    } finally {
      this.#writes--;
      body?.cancel();
      await rm(path, { force: true }).catch(() => {});
    }
  }

  async #write(path: string, body: BodyReader | null, announced: Announced): Promise<Taken> {
    const { bytesMax, bytes: told } = announced;
    if (told !== null && told > bytesMax) throw tooLarge(bytesMax);
    const sha256 = createHash("sha256");
    const sums = new Map<ChecksumName, Checksum>(announced.checksums.map((name) => [name, checksum(name)]));
    let file: FileHandle;
    try {
      file = await open(path, "wx", 0o600);
    } catch (error) {
      throw unwritable(error);
    }
    let bytes = 0;
    try {
      for (let piece = await body?.read(); piece != null; piece = await body?.read()) {
        bytes += piece.byteLength;
        if (bytes > bytesMax) throw tooLarge(bytesMax);
        sha256.update(piece);
        for (const sum of sums.values()) sum.update(piece);
        for (let at = 0; at < piece.byteLength; ) {
          const { bytesWritten } = await file.write(piece, at).catch((error: unknown) => {
            throw unwritable(error);
          });
          at += bytesWritten;
        }
      }
      if (told !== null && told !== bytes)
        throw new StorageError("cut_short", `the body has ${bytes} bytes, ${told} were announced`);
      const hash = sha256.digest("hex");
      const values = Object.fromEntries([...sums].map(([name, sum]) => [name, sum.end()]));
      check(hash, values, announced);
      await file.sync().catch((error: unknown) => {
        throw unwritable(error);
      });
      return { hash, bytes, checksums: values };
    } catch (error) {
      if (error instanceof StorageError) throw error;
      throw new StorageError("cut_short", `the body did not come whole: ${messageOf(error)}`, error);
    } finally {
      await file.close().catch(() => {});
    }
  }
}

function check(hash: string, values: Readonly<Record<string, string>>, announced: Announced): void {
  if (announced.sha256 != null && announced.sha256 !== hash)
    throw new StorageError(
      "checksum_mismatch",
      `the body's SHA-256 is ${hash}, ${announced.sha256} was announced`,
    );
  for (const [name, value] of Object.entries(announced.expected?.() ?? {})) {
    const found = name === "sha256" ? Buffer.from(hash, "hex").toString("base64") : values[name];
    if (found !== value)
      throw new StorageError(
        "checksum_mismatch",
        `the body's ${name.toUpperCase()} is ${found}, ${value} was announced`,
      );
  }
}

function tooLarge(bytesMax: number): StorageError {
  return new StorageError("too_large", `the body has more than ${bytesMax} bytes, which is the limit`);
}

function unwritable(error: unknown): StorageError {
  return new StorageError("unavailable", `the storage can not be written to: ${messageOf(error)}`, error);
}
