import { expect, test } from "bun:test";
import { BlobBytes } from "../../../../../src/edge/listener/raw/blob-bytes.ts";
import { BLOB_EACH_BYTES_MAX, BLOBS_BYTES_MAX } from "../../../../../src/edge/listener/raw/limits.ts";
import { cleanUp, get, raw, start, text } from "../support.ts";

const blobOf = (bytes: number) => new Blob([new Uint8Array(bytes).fill(97)]);

test("the bytes of Blobs are kept up to a limit, and the one used longest ago goes first", async () => {
  const kept = new BlobBytes();
  const blobs = Array.from({ length: BLOBS_BYTES_MAX / BLOB_EACH_BYTES_MAX }, () =>
    blobOf(BLOB_EACH_BYTES_MAX),
  );
  for (const blob of blobs) await kept.read(blob);
  expect(blobs.every((blob) => kept.get(blob)?.byteLength === BLOB_EACH_BYTES_MAX)).toBe(true);
  const [first, second] = blobs;
  if (first === undefined || second === undefined) throw new Error("too few");
  kept.get(first);
  await kept.read(blobOf(1));
  expect([kept.get(first) === null, kept.get(second) === null]).toEqual([false, true]);
});

test("read twice at once a Blob is counted once", async () => {
  const kept = new BlobBytes();
  const one = blobOf(BLOB_EACH_BYTES_MAX);
  await Promise.all(Array.from({ length: 20 }, () => kept.read(one)));
  const others = Array.from({ length: BLOBS_BYTES_MAX / BLOB_EACH_BYTES_MAX - 1 }, () =>
    blobOf(BLOB_EACH_BYTES_MAX),
  );
  for (const blob of others) await kept.read(blob);
  expect(kept.get(one)).not.toBeNull();
});

test("files and what is very large are not kept", () => {
  const kept = new BlobBytes();
  expect(kept.takes(blobOf(BLOB_EACH_BYTES_MAX + 1))).toBe(false);
  expect(kept.takes(Bun.file(import.meta.path))).toBe(false);
  expect(kept.takes(blobOf(10))).toBe(true);
});

test("a Blob is sent whole, the first time, the second time, to HEAD and when it is large", async () => {
  for (const size of [200_000, BLOB_EACH_BYTES_MAX + 1]) {
    const blob = blobOf(size);
    const { http } = await start(() => text(blob));
    for (let i = 0; i < 2; i += 1) {
      const answer = await raw(http, get("/"));
      expect(answer.text).toContain(`\r\ncontent-length: ${size}\r\n`);
      expect(answer.text.length - answer.text.indexOf("\r\n\r\n") - 4).toBe(size);
    }
    expect((await raw(http, get("/").replace("GET", "HEAD"))).text).toEndWith("\r\n\r\n");
    await cleanUp();
  }
});
