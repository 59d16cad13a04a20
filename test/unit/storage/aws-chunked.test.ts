/** Bodies in AWS's chunks: the example of the S3 reference, every cut of it, every change of it. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { type BodyReader, joinBytes } from "../../../src/http/body.ts";
import { signingKey } from "../../../src/http/sigv4/sign.ts";
import { chunkSignature, trailerSignature } from "../../../src/http/sigv4/verify.ts";
import { AwsChunkedBody, type ChunkRules } from "../../../src/storage/s3/aws-chunked.ts";

/** "Example: Chunked upload" (Signature Calculations for the Authorization Header, Amazon S3 API Reference). */
const date = "20130524T000000Z";
const scope = { region: "us-east-1", service: "s3" };
const seed = {
  signature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
  key: signingKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", date, scope),
  date,
  scope,
};
const EXAMPLE = Buffer.concat([
  Buffer.from("10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"),
  Buffer.alloc(65_536, "a"),
  Buffer.from("\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"),
  Buffer.alloc(1_024, "a"),
  Buffer.from(
    "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
  ),
]);

function inPieces(bytes: Uint8Array, size: number): BodyReader {
  let at = 0;
  return {
    read() {
      const piece = bytes.slice(at, at + size);
      at += size;
      return Promise.resolve(piece.byteLength === 0 ? null : piece);
    },
    cancel() {},
  };
}

async function decode(bytes: Uint8Array, rules: ChunkRules, size = 1_000_000) {
  const body = new AwsChunkedBody(inPieces(bytes, size), rules);
  const pieces: Uint8Array[] = [];
  for (let piece = await body.read(); piece !== null; piece = await body.read()) pieces.push(piece);
  return { content: Buffer.from(joinBytes(pieces)), trailers: Object.fromEntries(body.trailers) };
}

/** Signed chunks of these texts, with trailers if given. */
function signed(chunks: readonly string[], trailers: Readonly<Record<string, string>> | null = null): Buffer {
  let previous = seed.signature;
  let text = "";
  for (const chunk of [...chunks, ""]) {
    previous = chunkSignature(seed, previous, createHash("sha256").update(chunk).digest("hex"));
    text += `${chunk.length.toString(16)};chunk-signature=${previous}\r\n${chunk}${chunk === "" ? "" : "\r\n"}`;
  }
  const lines = Object.entries(trailers ?? {}).map(([name, value]) => `${name}:${value}`);
  for (const line of lines) text += `${line}\r\n`;
  if (trailers !== null)
    text += `x-amz-trailer-signature:${trailerSignature(seed, previous, lines.map((line) => `${line}\n`).join(""))}\r\n`;
  return Buffer.from(`${text}\r\n`);
}

describe("signed chunks", () => {
  test.each([1, 7, 100, 65_536, 1_000_000])(
    "of the reference's example are read, %d bytes at a time",
    async (size) => {
      const { content } = await decode(EXAMPLE, { seed, trailers: false }, size);
      expect(content.equals(Buffer.alloc(66_560, "a"))).toBe(true);
    },
  );

  test("that were changed, cut, doubled, or moved are refused", async () => {
    const good = signed(["hello ", "world", "!"]);
    expect((await decode(good, { seed, trailers: false })).content.toString()).toBe("hello world!");
    for (let at = 0; at < good.byteLength; at++) {
      const changed = Buffer.from(good);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const outcome = await decode(changed, { seed, trailers: false }).then(
        ({ content }) => content.toString(),
        (error) => error.code,
      );
      // Letters of the size may be written in either case.
      if (outcome !== "hello world!") expect(["bad_request", "bad_signature"]).toContain(outcome);
      await expect(decode(good.subarray(0, at), { seed, trailers: false })).rejects.toMatchObject({
        code: "bad_request",
      });
    }
    await expect(decode(Buffer.concat([good, good]), { seed, trailers: false })).rejects.toMatchObject({
      code: "bad_request",
    });
    const [first = "", second = ""] = signed(["aa", "bb"])
      .toString()
      .split(/(?<=aa\r\n|bb\r\n)/);
    const moved = Buffer.from(
      signed(["aa", "bb"])
        .toString()
        .replace(first + second, second + first),
    );
    await expect(decode(moved, { seed, trailers: false })).rejects.toMatchObject({ code: "bad_signature" });
  });

  test("have signed trailers", async () => {
    const good = signed(["abc"], { "x-amz-checksum-crc32": "NSRBwg==" });
    expect(await decode(good, { seed, trailers: true })).toEqual({
      content: Buffer.from("abc"),
      trailers: expect.objectContaining({ "x-amz-checksum-crc32": "NSRBwg==" }),
    });
    const other = Buffer.from(good.toString().replace("NSRBwg", "NSRBwG"));
    await expect(decode(other, { seed, trailers: true })).rejects.toMatchObject({ code: "bad_signature" });
    await expect(decode(good, { seed, trailers: false })).rejects.toMatchObject({ code: "bad_request" });
    await expect(decode(signed(["abc"]), { seed, trailers: true })).rejects.toMatchObject({
      code: "bad_signature",
    });
  });
});

test("unsigned chunks with trailers are read", async () => {
  const text = "3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n";
  expect(await decode(Buffer.from(text), { seed: null, trailers: true }, 1)).toEqual({
    content: Buffer.from("abc"),
    trailers: { "x-amz-checksum-crc32": "NSRBwg==" },
  });
});

test("whatever comes is content or a refusal, and takes no memory beyond its limits", async () => {
  const part = fc.oneof(
    fc.string(),
    fc.constantFrom("\r\n", "0", "5", "ffffffffffff", ";chunk-signature=", "abcde", "a:b", "0\r\n\r\n"),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { maxLength: 20 }),
      fc.integer({ min: 1, max: 9 }),
      fc.boolean(),
      async (parts, size, isSigned) => {
        const rules = { seed: isSigned ? seed : null, trailers: true };
        const outcome = await decode(Buffer.from(parts.join("")), rules, size).catch((error) => error.code);
        expect(typeof outcome === "object" || ["bad_request", "bad_signature"].includes(outcome)).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
  await expect(decode(Buffer.alloc(10_000, "1"), { seed: null, trailers: true }, 100)).rejects.toThrow(
    "too long",
  );
});
