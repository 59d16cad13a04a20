/** What every store of content does: a directory, and a bucket behind S3's protocol (here: our own, on another directory). */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { joinBytes } from "../../src/http/body.ts";
import type { BlobStore } from "../../src/storage/blob-store.ts";
import { DirectoryBlobs } from "../../src/storage/directory-blobs.ts";
import { S3Blobs } from "../../src/storage/s3-blobs.ts";
import { startTestStorage, type TestStorage } from "../kit/storage.ts";

const folder = mkdtempSync(join(tmpdir(), "proxima-blobs-"));
let storage: TestStorage;
const stores = new Map<string, BlobStore>();
beforeAll(async () => {
  storage = await startTestStorage();
  await storage.zone("content");
  const key = await storage.key(["deploy"]);
  stores.set("a directory", new DirectoryBlobs(join(folder, "blobs")));
  stores.set(
    "a bucket",
    new S3Blobs({ endpoint: storage.storage, bucket: "content", region: "us-east-1", prefix: "p/", ...key }),
  );
});
afterAll(async () => {
  await storage.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(["a directory", "a bucket"])("%s of content", (name) => {
  const store = (): BlobStore => stores.get(name) as BlobStore;
  const file = (content: Uint8Array): { path: string; hash: string } => {
    mkdirSync(folder, { recursive: true });
    const path = join(folder, crypto.randomUUID());
    writeFileSync(path, content);
    return { path, hash: createHash("sha256").update(content).digest("hex") };
  };
  const read = async (hash: string, start: number, end: number): Promise<Uint8Array> => {
    const body = await store().read(hash, start, end);
    const pieces: Uint8Array[] = [];
    for (let piece = await body.read(); piece !== null; piece = await body.read()) pieces.push(piece);
    return joinBytes(pieces);
  };

  test.each([0, 1, 300_000, 20_000_000])("gives %d bytes back, whole and in parts", async (size) => {
    const content = new Uint8Array(size).map((_, index) => (index * 13) % 251);
    const { path, hash } = file(content);
    await store().publish(path, hash);
    expect(existsSync(path)).toBe(false);
    expect(await store().has(hash, size)).toBe(true);
    expect(await store().has(hash, size + 1)).toBe(false);
    expect(Buffer.from(await read(hash, 0, size)).equals(Buffer.from(content))).toBe(true);
    const [start, end] = [Math.floor(size / 3), Math.floor((size * 2) / 3)];
    expect(Buffer.from(await read(hash, start, end)).equals(Buffer.from(content.subarray(start, end)))).toBe(
      true,
    );
  });

  test("takes the same content twice, and forgets it once", async () => {
    const content = new TextEncoder().encode("twice");
    for (let time = 0; time < 2; time++) {
      const { path, hash } = file(content);
      await store().publish(path, hash);
    }
    const { hash } = file(content);
    await store().delete(hash);
    await store().delete(hash);
    expect(await store().has(hash, content.byteLength)).toBe(false);
    await expect(read(hash, 0, 5)).rejects.toMatchObject({ code: "unavailable" });
  });

  test("does not take content that ends early for whole", async () => {
    const content = new Uint8Array(500_000);
    const { path, hash } = file(content);
    await store().publish(path, hash);
    if (name === "a directory") truncateSync(join(folder, "blobs", hash.slice(0, 2), hash), 200_000);
    await expect(read(hash, 0, name === "a directory" ? 500_000 : 600_000)).rejects.toMatchObject({
      code: "unavailable",
    });
  });

  test("may be given up in the middle, again and again", async () => {
    const { path, hash } = file(new Uint8Array(1_000_000));
    await store().publish(path, hash);
    for (let time = 0; time < 20; time++) {
      const body = await store().read(hash, 0, 1_000_000);
      await body.read();
      body.cancel();
      body.cancel();
    }
  });
});

test("storage over a bucket gives what it was given", async () => {
  const over = await startTestStorage({ store: stores.get("a bucket") as BlobStore });
  await over.zone("outer");
  const { token } = await over.key(["deploy"]);
  const ask = (method: string, headers: Record<string, string> = {}, body?: string) =>
    fetch(`${over.storage}/outer/a/b.txt`, {
      method,
      headers: { accesskey: token, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  expect((await ask("PUT", {}, "over a bucket")).status).toBe(201);
  expect(await (await ask("GET")).text()).toBe("over a bucket");
  expect(await (await ask("GET", { range: "bytes=5-5" })).text()).toBe("a");
  await over.stop();
});

test("a bucket that does not answer is told as such", async () => {
  const gone = new S3Blobs({
    endpoint: "http://127.0.0.1:1",
    bucket: "content",
    prefix: "",
    accessKeyId: "x",
    secretAccessKey: "y",
  });
  await expect(gone.has("0".repeat(64), 1)).rejects.toMatchObject({ code: "unavailable" });
});
