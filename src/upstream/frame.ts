/**
 * A message between two workers of a node: four bytes of length, that much JSON, then the body's bytes as
 * they are. A response's fields travel in the JSON, so that nothing between the two changes their order,
 * number or size. The end of the body is the end of the HTTP message that carries it.
 */
import type { BodyReader } from "../http/body.ts";
import { UpstreamError } from "./next-hop.ts";

/** Largest JSON part, in bytes: a header section of the largest size, every character escaped. */
export const FRAME_HEAD_BYTES_MAX = 1024 * 1024;

const LENGTH_BYTES = 4;

/** The head of a frame. */
export function encodeFrameHead(head: object): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(head));
  const bytes = new Uint8Array(LENGTH_BYTES + json.byteLength);
  new DataView(bytes.buffer).setUint32(0, json.byteLength);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}

/** Reads a frame's head; `body` gives what follows. Rejects with an UpstreamError when it is cut or too large. */
export async function readFrame(
  source: BodyReader,
): Promise<{ readonly head: unknown; readonly body: BodyReader }> {
  let bytes: Uint8Array = new Uint8Array(0);
  const fill = async (length: number): Promise<void> => {
    while (bytes.byteLength < length) {
      const piece = await source.read();
      if (piece === null)
        throw new UpstreamError("http_response_incomplete", "the owner's answer ended within its head");
      bytes = bytes.byteLength === 0 ? piece : Buffer.concat([bytes, piece]);
    }
  };
  await fill(LENGTH_BYTES);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  if (length > FRAME_HEAD_BYTES_MAX) {
    source.cancel();
    throw new UpstreamError(
      "http_response_header_section_size",
      `the owner's answer has a head of ${length} bytes; ${FRAME_HEAD_BYTES_MAX} are allowed`,
    );
  }
  await fill(LENGTH_BYTES + length);
  const head: unknown = JSON.parse(
    new TextDecoder().decode(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length)),
  );
  let rest: Uint8Array | null =
    bytes.byteLength > LENGTH_BYTES + length ? bytes.subarray(LENGTH_BYTES + length) : null;
  return {
    head,
    body: {
      read() {
        if (rest === null) return source.read();
        const piece = rest;
        rest = null;
        return Promise.resolve(piece);
      },
      cancel() {
        rest = null;
        source.cancel();
      },
    },
  };
}
