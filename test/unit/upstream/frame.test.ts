/** Frames between workers: a head as JSON, then the body's bytes. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type BodyReader, bodyOf } from "../../../src/http/body.ts";
import {
  decodeQuestion,
  encodeFrame,
  encodeFrameHead,
  encodeQuestion,
  FRAME_HEAD_BYTES_MAX,
  readFrame,
} from "../../../src/upstream/frame.ts";

/** The bytes in pieces of this length. */
function piecesOf(bytes: Uint8Array, length: number): BodyReader {
  let at = 0;
  return {
    read() {
      const piece = bytes.subarray(at, at + length);
      at += length;
      return Promise.resolve(piece.byteLength === 0 ? null : piece);
    },
    cancel() {},
  };
}

async function rest(body: BodyReader): Promise<string> {
  let text = "";
  for (let piece = await body.read(); piece !== null; piece = await body.read())
    text += new TextDecoder().decode(piece);
  return text;
}

describe("a frame", () => {
  const head = { kind: "response", fields: ["x", "ü \u0000 \n"], nested: { n: 1 } };

  test("is read however it is cut into pieces", async () => {
    const bytes = Buffer.concat([encodeFrameHead(head), Buffer.from("the body")]);
    for (const length of [1, 2, 3, 5, 16, 1_000]) {
      const read = await readFrame(piecesOf(bytes, length));
      expect(read.head).toEqual(head);
      expect(await rest(read.body)).toBe("the body");
    }
  });

  test("that is cut within its head, or whose head is too large, is an error", async () => {
    const bytes = encodeFrameHead(head);
    for (const end of [0, 2, 4, bytes.byteLength - 1]) {
      expect(readFrame(bodyOf(bytes.slice(0, end)))).rejects.toThrow("ended within its head");
    }
    const large = new Uint8Array(8);
    new DataView(large.buffer).setUint32(0, FRAME_HEAD_BYTES_MAX + 1);
    expect(readFrame(bodyOf(large))).rejects.toThrow("are allowed");
  });
});

describe("a question", () => {
  test("of any text is plain ASCII, and comes back as it was", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" })), (fields) => {
        const value = encodeQuestion({ fields });
        expect(value).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeQuestion(value)).toEqual({ fields });
      }),
    );
  });

  test("that is none is an error", () => {
    for (const value of [null, "", "{", "\u0000"]) expect(() => decodeQuestion(value)).toThrow();
  });
});

describe("a frame with its body at hand", () => {
  test("is the same bytes as its parts", async () => {
    const head = { fields: ["x", "ü"], n: 1 };
    const body = Buffer.from("the body");
    expect(Buffer.from(encodeFrame(head, body))).toEqual(Buffer.concat([encodeFrameHead(head), body]));
    const read = await readFrame(bodyOf(encodeFrame(head, body)));
    expect([read.head, read.body.readNow?.()]).toEqual([head, body]);
    expect(read.body.readNow?.()).toBeNull();
  });
});
