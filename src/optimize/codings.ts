/**
 * Content codings of bodies: whole ones and streams, made by the runtime's zlib in its thread pool.
 * Levels are chosen for bodies made once and sent often; streams get faster ones.
 */
import { promisify } from "node:util";
import zlib from "node:zlib";
import { ProximaError } from "../base/errors.ts";
import type { Coding } from "../cache/stored.ts";
import type { BodyReader } from "../http/body.ts";

const gzip = promisify(zlib.gzip);
const brotliCompress = promisify(zlib.brotliCompress);
const zstdCompress = promisify(zlib.zstdCompress);
const gunzip = promisify(zlib.gunzip);
const brotliDecompress = promisify(zlib.brotliDecompress);
const zstdDecompress = promisify(zlib.zstdDecompress);

/** A coding other than identity. */
export type Compression = Exclude<Coding, "identity">;

/** The coding a Content-Encoding field names, or null for one we do not know or a list. */
export function codingOf(contentEncoding: string | null): Coding | null {
  switch (contentEncoding?.trim().toLowerCase()) {
    case undefined:
    case "":
    case "identity":
      return "identity";
    case "gzip":
    case "x-gzip":
      return "gzip";
    case "br":
      return "br";
    case "zstd":
      return "zstd";
    default:
      return null;
  }
}

/** Compresses a whole body. */
export async function encodeBytes(bytes: Uint8Array, coding: Compression): Promise<Uint8Array> {
  switch (coding) {
    case "gzip":
      return gzip(bytes, { level: 6 });
    case "br":
      return brotliCompress(bytes, {
        params: {
          [zlib.constants.BROTLI_PARAM_QUALITY]: 5,
          [zlib.constants.BROTLI_PARAM_SIZE_HINT]: bytes.byteLength,
        },
      });
    case "zstd":
      return zstdCompress(bytes, { params: { [zlib.constants.ZSTD_c_compressionLevel]: 6 } });
  }
}

/** Expands a whole body; a result above `bytesMax` is an error (decompression bombs). */
export async function decodeBytes(
  bytes: Uint8Array,
  coding: Compression,
  bytesMax: number,
): Promise<Uint8Array> {
  const options = { maxOutputLength: bytesMax };
  try {
    switch (coding) {
      case "gzip":
        return await gunzip(bytes, options);
      case "br":
        return await brotliDecompress(bytes, options);
      case "zstd":
        return await zstdDecompress(bytes, options);
    }
  } catch (cause) {
    throw new ProximaError(
      "bad_coding",
      `the origin's ${coding} body can not be expanded within ${bytesMax} bytes`,
      {
        source: "origin",
        cause,
      },
    );
  }
}

/** Compresses a stream; every piece that comes in is flushed out, so that a page that is being made shows early. */
export function encodeStream(source: BodyReader, coding: Compression): BodyReader {
  const flush =
    coding === "br"
      ? zlib.constants.BROTLI_OPERATION_FLUSH
      : coding === "zstd"
        ? zlib.constants.ZSTD_e_flush
        : zlib.constants.Z_SYNC_FLUSH;
  const transform =
    coding === "gzip"
      ? zlib.createGzip({ level: 5, flush })
      : coding === "br"
        ? zlib.createBrotliCompress({ flush, params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } })
        : zlib.createZstdCompress({ flush, params: { [zlib.constants.ZSTD_c_compressionLevel]: 3 } });
  return throughTransform(source, transform);
}

/** Expands a stream. */
export function decodeStream(source: BodyReader, coding: Compression): BodyReader {
  const transform =
    coding === "gzip"
      ? zlib.createGunzip()
      : coding === "br"
        ? zlib.createBrotliDecompress()
        : zlib.createZstdDecompress();
  return throughTransform(source, transform);
}

/** Reads what a transform makes of a source, with back-pressure: a piece is fed when output is asked for. */
function throughTransform(source: BodyReader, transform: import("node:stream").Transform): BodyReader {
  const output = transform[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  let failure: unknown = null;
  let feeding = false;
  let ended = false;
  const feed = async (): Promise<void> => {
    if (feeding) return;
    feeding = true;
    try {
      for (;;) {
        const piece = await source.read();
        if (ended) return;
        if (piece === null) {
          transform.end();
          return;
        }
        if (!transform.write(piece)) {
          await new Promise<void>((resolve) => {
            transform.once("drain", resolve);
            transform.once("close", resolve);
          });
        }
      }
    } catch (error) {
      failure = error;
      transform.destroy();
    }
  };
  return {
    async read() {
      void feed();
      try {
        const { value, done } = await output.next();
        if (failure !== null) throw failure;
        if (done === true) {
          ended = true;
          return null;
        }
        return value;
      } catch (cause) {
        throw (
          failure ??
          new ProximaError("bad_coding", "the body can not be recoded", { source: "origin", cause })
        );
      }
    },
    cancel() {
      if (ended) return;
      ended = true;
      source.cancel();
      transform.destroy();
    },
  };
}
