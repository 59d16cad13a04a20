/**
 * Checksums that clients announce, fed piece by piece. The CRCs are the reflected ones of the S3 API: CRC-32
 * (ISO-HDLC), CRC-32C (Castagnoli) and CRC-64/NVME; their values go as big-endian Base64.
 */
import { createHash, type Hash } from "node:crypto";
import { crc32 } from "node:zlib";

/** Those that the S3 API knows, and MD5. */
export const CHECKSUMS = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256", "md5"] as const;
/** One of them. */
export type ChecksumName = (typeof CHECKSUMS)[number];

/** A checksum in the making. */
export interface Checksum {
  update(bytes: Uint8Array): void;
  /** The value, in Base64. To be called once. */
  end(): string;
}

/** Begins one. */
export function checksum(name: ChecksumName): Checksum {
  switch (name) {
    case "crc32":
      return new Crc32();
    case "crc32c":
      return new Crc32c();
    case "crc64nvme":
      return new Crc64();
    case "sha1":
    case "sha256":
    case "md5":
      return new Digest(createHash(name));
  }
}

class Digest implements Checksum {
  readonly #hash: Hash;
  constructor(hash: Hash) {
    this.#hash = hash;
  }
  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }
  end(): string {
    return this.#hash.digest("base64");
  }
}

class Crc32 implements Checksum {
  #value = 0;
  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value);
  }
  end(): string {
    return base64Of(0, this.#value).subarray(4).toString("base64");
  }
}

const CASTAGNOLI = table32(0x82f63b78);

class Crc32c implements Checksum {
  #value = 0xffffffff;
  update(bytes: Uint8Array): void {
    let value = this.#value;
    for (let at = 0; at < bytes.length; at++)
      value = (CASTAGNOLI[(value ^ (bytes[at] as number)) & 0xff] as number) ^ (value >>> 8);
    this.#value = value >>> 0;
  }
  end(): string {
    return base64Of(0, ~this.#value >>> 0)
      .subarray(4)
      .toString("base64");
  }
}

/** 64 bits as two halves: big integers would be a hundred times slower. */
const [NVME_HIGH, NVME_LOW] = table64(0x9a6c9329, 0xac4bc9b5);

class Crc64 implements Checksum {
  #high = 0xffffffff;
  #low = 0xffffffff;
  update(bytes: Uint8Array): void {
    let [high, low] = [this.#high, this.#low];
    for (let at = 0; at < bytes.length; at++) {
      const index = (low ^ (bytes[at] as number)) & 0xff;
      low = (((low >>> 8) | (high << 24)) ^ (NVME_LOW[index] as number)) >>> 0;
      high = ((high >>> 8) ^ (NVME_HIGH[index] as number)) >>> 0;
    }
    this.#high = high;
    this.#low = low;
  }
  end(): string {
    return base64Of(~this.#high >>> 0, ~this.#low >>> 0).toString("base64");
  }
}

function base64Of(high: number, low: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(high, 0);
  bytes.writeUInt32BE(low, 4);
  return bytes;
}

function table32(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value >>> 0;
  });
}

function table64(polynomialHigh: number, polynomialLow: number): [Uint32Array, Uint32Array] {
  const [highs, lows] = [new Uint32Array(256), new Uint32Array(256)];
  for (let index = 0; index < 256; index++) {
    let [high, low] = [0, index];
    for (let bit = 0; bit < 8; bit++) {
      const odd = low & 1;
      low = ((low >>> 1) | (high << 31)) >>> 0;
      high >>>= 1;
      if (odd === 1) {
        low = (low ^ polynomialLow) >>> 0;
        high = (high ^ polynomialHigh) >>> 0;
      }
    }
    highs[index] = high;
    lows[index] = low;
  }
  return [highs, lows];
}
