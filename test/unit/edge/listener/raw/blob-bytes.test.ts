import { afterEach, expect, test } from "bun:test";
import { BlobBytes, type HeldBytes } from "../../../../../src/edge/listener/raw/blob-bytes.ts";
import { BLOB_EACH_BYTES_MAX, BLOBS_BYTES_MAX } from "../../../../../src/edge/listener/raw/limits.ts";
import type { ViewerResponse } from "../../../../../src/edge/message.ts";
import { Fields } from "../../../../../src/http/fields.ts";
import { cleanUp, get, raw, start, text } from "../support.ts";

afterEach(cleanUp);

const EACH = BLOB_EACH_BYTES_MAX;
const FIT = BLOBS_BYTES_MAX / EACH;
const blobOf = (bytes: number) => new Blob([new Uint8Array(bytes).fill(97)]);

/** Holds a whole Blob, whether its bytes were kept or have to be read. */
async function held(bytes: BlobBytes, blob: Blob): Promise<HeldBytes> {
  const got = await bytes.hold(blob, blob.size);
  if (got === null) throw new Error("it was not kept");
  return got;
}

/** The same by one who is done with it at once. */
async function used(bytes: BlobBytes, blob: Blob): Promise<void> {
  bytes.release(await held(bytes, blob));
}

test("the bytes of Blobs are kept up to a limit, and the one used longest ago goes first", async () => {
  const kept = new BlobBytes();
  const blobs = Array.from({ length: FIT }, () => blobOf(EACH));
  for (const blob of blobs) await used(kept, blob);
  const [first, second] = blobs;
  if (first === undefined || second === undefined) throw new Error("too few");
  await used(kept, first);
  await used(kept, blobOf(1));
  expect([kept.hold(first, EACH), kept.hold(second, EACH)]).toEqual([
    expect.objectContaining({ bytes: expect.any(Uint8Array), users: 1 }),
    // Not kept any more: it is read anew.
    expect.any(Promise),
  ]);
  expect(kept.bytes).toBeLessThanOrEqual(BLOBS_BYTES_MAX);
});

test("what is being sent stays and is counted: when all of it is, another Blob is not kept", async () => {
  const kept = new BlobBytes();
  const blobs = Array.from({ length: FIT }, () => blobOf(EACH));
  const holds = await Promise.all(blobs.map((blob) => held(kept, blob)));
  const other = blobOf(1_000_000);
  expect(kept.hold(other, other.size)).toBeNull();
  expect(kept.bytes).toBe(BLOBS_BYTES_MAX);
  const [first] = holds;
  if (first === undefined) throw new Error("too few");
  kept.release(first);
  await used(kept, other);
  expect(kept.bytes).toBe(BLOBS_BYTES_MAX - EACH + other.size);
});

test("read by many at once a Blob is read and counted once", async () => {
  const kept = new BlobBytes();
  const one = blobOf(EACH);
  const all = await Promise.all(Array.from({ length: 20 }, () => held(kept, one)));
  expect(new Set(all.map(({ bytes }) => bytes)).size).toBe(1);
  expect(kept.bytes).toBe(EACH);
  for (const hold of all.slice(1)) kept.release(hold);
  for (let i = 0; i < FIT - 1; i += 1) await used(kept, blobOf(EACH));
  // Held by one still: it is not the one that makes room.
  await used(kept, blobOf(EACH));
  expect(kept.hold(one, EACH)).toBe(all[0] ?? null);
});

test("parts make a Blob's bytes worth keeping once as much of it was copied as it has", async () => {
  const kept = new BlobBytes();
  const one = blobOf(1_000_000);
  for (let i = 0; i < 9; i += 1) expect(kept.hold(one, 100_000)).toBeNull();
  const tenth = kept.hold(one, 100_000);
  expect(tenth).toBeInstanceOf(Promise);
  await tenth;
  expect(kept.hold(one, 1)).toEqual(expect.objectContaining({ users: 2 }));
});

test("files and what is very large are not kept", () => {
  const kept = new BlobBytes();
  const large = blobOf(EACH + 1);
  const file = Bun.file(import.meta.path);
  expect([kept.hold(large, large.size), kept.hold(file, file.size)]).toEqual([null, null]);
  expect(kept.hold(file.slice(0, 10), 10)).toBeNull();
  expect(kept.bytes).toBe(0);
});

test("a Blob is sent whole, the first time, the second time, to HEAD and when it is large", async () => {
  for (const size of [200_000, EACH + 1]) {
    const blob = blobOf(size);
    const { http } = await start(() => text(blob));
    for (let i = 0; i < (size > EACH ? 1 : 2); i += 1) {
      const answer = await raw(http, get("/"));
      expect(answer.text).toContain(`\r\ncontent-length: ${size}\r\n`);
      expect(answer.text.length - answer.text.indexOf("\r\n\r\n") - 4).toBe(size);
    }
    expect((await raw(http, get("/").replace("GET", "HEAD"))).text).toEndWith("\r\n\r\n");
    await cleanUp();
  }
});

test("a part of a Blob has its own bytes and fields, before and after the whole is kept", async () => {
  const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => 97 + (i % 26));
  const blob = new Blob([bytes]);
  const from: ViewerResponse = {
    status: 206,
    fields: Fields.from([["content-type", "text/plain"]]),
    body: null,
  };
  const own = [
    ["content-range", "bytes 100000-199999/300000"],
    ["content-length", "100000"],
  ] as const;
  const { http } = await start(() => ({
    status: 206,
    fields: Fields.from([["content-type", "text/plain"], ...own]),
    body: blob.slice(100_000, 200_000),
    partOf: { blob, start: 100_000, size: 100_000 },
    derived: { from, fields: own },
  }));
  const part = Buffer.from(bytes.subarray(100_000, 200_000)).toString("latin1");
  for (let i = 0; i < 6; i += 1) {
    const { text: answer } = await raw(http, get("/"));
    const [head, body] = answer.split("\r\n\r\n");
    expect(head).toStartWith(
      "HTTP/1.1 206 Partial Content\r\ncontent-type: text/plain\r\ncontent-range: bytes 100000-199999/300000\r\ncontent-length: 100000\r\ndate: ",
    );
    expect(body === part).toBe(true);
  }
});
