/**
 * A worker's answer to another worker of the node: four bytes of length, that much JSON, then the body's bytes
 * as they are. A response's fields travel in the JSON, so that nothing between the two changes their order,
 * number or size. The end of the body is the end of the HTTP message that carries it.
 */
import type { BodyReader } from "../http/body.ts";
import { UpstreamError } from "./next-hop.ts";

/** Largest JSON part, in bytes: a header section of the largest size, every character escaped. */
export const FRAME_HEAD_BYTES_MAX = 1024 * 1024;

const LENGTH_BYTES = 4;
const EMPTY = new Uint8Array(0);
const PLAIN = /^[\x20-\x7e]*$/;
const NOT_PLAIN = /[^\x20-\x7e]/g;
const decoder = new TextDecoder();

/** A frame that is being read. */
export interface Frame {
  readonly head: unknown;
  readonly body: BodyReader;
}

/** The head of a frame. */
export function encodeFrameHead(head: object): Uint8Array {
  return encodeFrame(head, EMPTY);
}

/** A whole frame, where its body is at hand. */
export function encodeFrame(head: object, body: Uint8Array): Uint8Array {
  const json = JSON.stringify(head);
  const length = Buffer.byteLength(json);
  const bytes = Buffer.allocUnsafe(LENGTH_BYTES + length + body.byteLength);
  bytes.writeUInt32BE(length, 0);
  bytes.write(json, LENGTH_BYTES);
  bytes.set(body, LENGTH_BYTES + length);
  return bytes;
}

/** A question as the value of a field: JSON, what is not plain ASCII escaped. */
export function encodeQuestion(question: object): string {
  const json = JSON.stringify(question);
  return PLAIN.test(json) ? json : json.replace(NOT_PLAIN, escaped);
}

/** The question in a field's value. Throws an Error when there is none. */
export function decodeQuestion(value: string | null): unknown {
  return JSON.parse(value ?? "");
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Reads a frame's head; `body` gives what follows. Rejects with an UpstreamError when it is cut or too large. */
export async function readFrame(source: BodyReader): Promise<Frame> {
  let bytes: Uint8Array = EMPTY;
  const fill = async (length: number): Promise<void> => {
    while (bytes.byteLength < length) {
      const now = source.readNow?.();
      const piece = now === undefined ? await source.read() : now;
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
  if (bytes.byteLength < LENGTH_BYTES + length) await fill(LENGTH_BYTES + length);
  const head: unknown = JSON.parse(decoder.decode(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length)));
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
      readNow() {
        if (rest === null) return source.readNow?.();
        const piece = rest;
        rest = null;
        return piece;
      },
      cancel() {
        rest = null;
        source.cancel();
      },
    },
  };
}
