/** multipart/byteranges (RFC 9110 section 14.6): several ranges of one representation in one answer. */
import { type ByteRange, formatContentRange } from "./range.ts";

/** A multipart body in outline: what stands before each part, and how long everything is. */
export interface MultipartOutline {
  /** For Content-Type. */
  readonly type: string;
  /** Whole length in bytes: for Content-Length. */
  readonly length: number;
  /** What is sent before each range, in order; the last one closes the body. */
  readonly heads: readonly Uint8Array[];
}

/** The outline for ranges of a representation of `length` bytes and a media type. `boundary` must not occur in the content. */
export function multipartOutline(
  ranges: readonly ByteRange[],
  length: number,
  mediaType: string | null,
  boundary: string,
): MultipartOutline {
  const type = mediaType === null ? "" : `Content-Type: ${mediaType}\r\n`;
  const encoder = new TextEncoder();
  const heads = ranges.map(({ start, end }, i) =>
    encoder.encode(
      `${i === 0 ? "" : "\r\n"}--${boundary}\r\n${type}Content-Range: ${formatContentRange(start, end, length)}\r\n\r\n`,
    ),
  );
  heads.push(encoder.encode(`\r\n--${boundary}--\r\n`));
  let bytes = 0;
  for (const head of heads) bytes += head.byteLength;
  for (const { start, end } of ranges) bytes += end - start + 1;
  return { type: `multipart/byteranges; boundary=${boundary}`, length: bytes, heads };
}
