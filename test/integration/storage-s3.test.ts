/** Push storage through AWS's own client: what it writes, reads, lists and deletes, and what it is refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  ChecksumAlgorithm,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { DirectoryBlobs } from "../../src/storage/directory-blobs.ts";
import { type AccessKey, startTestStorage, type TestStorage } from "../kit/storage.ts";

const Bucket = "web";
let storage: TestStorage;
let key: AccessKey;
let s3: S3Client;
const client = (credentials: AccessKey, more: Partial<S3ClientConfig> = {}): S3Client =>
  new S3Client({
    endpoint: storage.storage,
    region: "eu-west-1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials,
    ...more,
  });
const put = (Key: string, Body: string | Uint8Array, more = {}) =>
  s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
const text = async (Key: string, more = {}): Promise<string> =>
  (await (await s3.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body?.transformToString()) ?? "";
const nameOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    return (error as Error).name;
  }
  return "no error";
};

beforeAll(async () => {
  storage = await startTestStorage();
  await storage.zone(Bucket);
  key = await storage.key(["deploy"]);
  s3 = client(key);
});
afterAll(async () => {
  s3.destroy();
  await storage.stop();
});

describe("an object", () => {
  test("comes back as it was put, with what was said of it", async () => {
    const made = await put("a/hello.txt", "hello", {
      ContentType: "text/plain",
      CacheControl: "max-age=60",
      ContentDisposition: "inline",
      Metadata: { "cache-tag": "t1,t2", owner: "x" },
    });
    expect(made.ETag).toBe(`"${createHash("md5").update("hello").digest("hex")}"`);
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: "a/hello.txt" }));
    expect(await got.Body?.transformToString()).toBe("hello");
    expect(got).toMatchObject({
      ContentType: "text/plain",
      ContentLength: 5,
      CacheControl: "max-age=60",
      ContentDisposition: "inline",
      Metadata: { "cache-tag": "t1,t2", owner: "x" },
      ETag: made.ETag,
    });
    expect(await s3.send(new HeadObjectCommand({ Bucket, Key: "a/hello.txt" }))).toMatchObject({
      ContentLength: 5,
      ETag: made.ETag,
    });
  });

  test("is given in parts and on conditions", async () => {
    const { ETag } = await put("range.txt", "0123456789");
    expect(await text("range.txt", { Range: "bytes=2-4" })).toBe("234");
    expect(await text("range.txt", { Range: "bytes=-3" })).toBe("789");
    expect(await nameOf(text("range.txt", { Range: "bytes=20-" }))).toBe("InvalidRange");
    const same = await text("range.txt", { IfNoneMatch: ETag }).catch(
      (error) => error.$metadata.httpStatusCode,
    );
    expect(same).toBe(304);
    expect(await nameOf(text("range.txt", { IfMatch: '"x"' }))).toBe("PreconditionFailed");
    expect(await text("range.txt", { IfMatch: ETag })).toBe("0123456789");
  });

  test.each(Object.values(ChecksumAlgorithm))(
    "may be announced with %s, and is refused when it differs",
    async (algorithm) => {
      if (/^(?:XXHASH|SHA512|MD5)/.test(algorithm)) return;
      await put(`sum-${algorithm}`, "some content", { ChecksumAlgorithm: algorithm });
      const got = await s3.send(
        new GetObjectCommand({ Bucket, Key: `sum-${algorithm}`, ChecksumMode: "ENABLED" }),
      );
      // The client itself holds it against the checksum.
      expect(await got.Body?.transformToString()).toBe("some content");
      const field = `Checksum${algorithm}`;
      expect(Object.keys(got)).toContain(field);
      const wrong = Buffer.alloc(
        Buffer.from((got as unknown as Record<string, string>)[field] ?? "", "base64").length,
      ).toString("base64");
      expect(await nameOf(put("sum-bad", "some content", { [field]: wrong }))).toBe("BadDigest");
      expect(await nameOf(text("sum-bad"))).toBe("NoSuchKey");
    },
  );

  test.each([0, 1, 70_000, 6_000_000])(
    "of %d bytes comes as a stream, in chunks with trailers",
    async (size) => {
      const bytes = new Uint8Array(size).map((_, index) => index % 251);
      const pieces = Array.from({ length: Math.ceil(size / 65_536) }, (_, index) =>
        bytes.subarray(index * 65_536, (index + 1) * 65_536),
      );
      await s3.send(
        new PutObjectCommand({
          Bucket,
          Key: `stream-${size}`,
          Body: Readable.from(pieces),
          ContentLength: size,
        }),
      );
      const got = await s3.send(new GetObjectCommand({ Bucket, Key: `stream-${size}` }));
      expect(Buffer.from((await got.Body?.transformToByteArray()) ?? []).equals(Buffer.from(bytes))).toBe(
        true,
      );
    },
  );

  test.each(["ä/ö ü.txt", "a+b c&d=e.txt", "!'()*~$@,;:.txt", "日本/語.txt", "a%20b.txt", "x//y"])(
    "is kept under its exact name, or refused: %s",
    async (Key) => {
      if (Key === "x//y") {
        expect(await nameOf(put(Key, "x"))).toBe("InvalidArgument");
        return;
      }
      await put(Key, Key);
      expect(await text(Key)).toBe(Key);
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: Key }));
      expect(Contents.map((one) => one.Key)).toEqual([Key]);
    },
  );

  test.each(["../up", "a/../b", "./a", "a\\b", "nul\u0000", "x".repeat(1_025), `d/${"y".repeat(256)}`])(
    "is not put under %j",
    async (Key) => {
      expect(await nameOf(put(Key, "x"))).not.toBe("no error");
    },
  );

  test("is copied, with its metadata or with other", async () => {
    await put("src/ä b", "content", { ContentType: "text/css", Metadata: { one: "1" } });
    await s3.send(
      new CopyObjectCommand({ Bucket, Key: "copy-1", CopySource: encodeURI(`${Bucket}/src/ä b`) }),
    );
    expect(await s3.send(new HeadObjectCommand({ Bucket, Key: "copy-1" }))).toMatchObject({
      ContentType: "text/css",
      Metadata: { one: "1" },
    });
    await s3.send(
      new CopyObjectCommand({
        Bucket,
        Key: "copy-2",
        CopySource: encodeURI(`${Bucket}/src/ä b`),
        MetadataDirective: "REPLACE",
        ContentType: "text/x",
        Metadata: { two: "2" },
      }),
    );
    expect(await s3.send(new HeadObjectCommand({ Bucket, Key: "copy-2" }))).toMatchObject({
      ContentType: "text/x",
      Metadata: { two: "2" },
    });
    expect(
      await nameOf(s3.send(new CopyObjectCommand({ Bucket, Key: "c", CopySource: `${Bucket}/absent` }))),
    ).toBe("NoSuchKey");
  });

  test("is written only where it is not, when that is asked", async () => {
    await put("once", "first", { IfNoneMatch: "*" });
    expect(await nameOf(put("once", "second", { IfNoneMatch: "*" }))).toBe("PreconditionFailed");
    expect(await text("once")).toBe("first");
  });

  test("is deleted, alone or with others, also when it is not there", async () => {
    for (const Key of ["gone/1", "gone/2", "gone/3"]) await put(Key, "x");
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "gone/1" }));
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "gone/1" }));
    expect(await nameOf(text("gone/1"))).toBe("NoSuchKey");
    const deleted = await s3.send(
      new DeleteObjectsCommand({
        Bucket,
        Delete: { Objects: [{ Key: "gone/2" }, { Key: "gone/3" }, { Key: "gone/4" }] },
      }),
    );
    expect(deleted.Deleted?.map((one) => one.Key)).toEqual(["gone/2", "gone/3", "gone/4"]);
    expect((await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "gone/" }))).KeyCount).toBe(0);
  });
});

describe("a list", () => {
  test("has pages and folders, each name once", async () => {
    for (const Key of ["l/a", "l/b/1", "l/b/2", "l/c", "l/d/x/y", "l/e"]) await put(Key, "x");
    const seen: string[] = [];
    let token: string | undefined;
    do {
      const page = await s3.send(
        new ListObjectsV2Command({
          Bucket,
          Prefix: "l/",
          Delimiter: "/",
          MaxKeys: 2,
          ContinuationToken: token,
        }),
      );
      expect(page.KeyCount).toBeLessThanOrEqual(2);
      seen.push(
        ...(page.Contents ?? []).map((one) => one.Key ?? ""),
        ...(page.CommonPrefixes ?? []).map((one) => one.Prefix ?? ""),
      );
      token = page.NextContinuationToken;
    } while (token !== undefined);
    expect(seen.sort()).toEqual(["l/a", "l/b/", "l/c", "l/d/", "l/e"]);
    const all = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "l/", StartAfter: "l/b/1" }));
    expect(all.Contents?.map((one) => one.Key)).toEqual(["l/b/2", "l/c", "l/d/x/y", "l/e"]);
  });

  test("of buckets is that of the zones", async () => {
    expect((await s3.send(new ListBucketsCommand({}))).Buckets?.map((one) => one.Name)).toEqual([Bucket]);
    await s3.send(new HeadBucketCommand({ Bucket }));
    expect(await nameOf(s3.send(new HeadBucketCommand({ Bucket: "other" })))).toBe("NotFound");
  });
});

describe("an upload in parts", () => {
  test("by the client's own uploader is the file", async () => {
    const bytes = new Uint8Array(12 * 1024 * 1024 + 17).map((_, index) => (index * 7) % 253);
    const upload = new Upload({
      client: s3,
      params: {
        Bucket,
        Key: "big.bin",
        Body: Readable.from([bytes.subarray(0, 5_000_000), bytes.subarray(5_000_000)]),
        ContentType: "application/x-big",
      },
      partSize: 5 * 1024 * 1024,
      queueSize: 3,
    });
    await upload.done();
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: "big.bin" }));
    expect(got.ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
    expect(got.ContentType).toBe("application/x-big");
    const sum = createHash("sha256")
      .update((await got.Body?.transformToByteArray()) ?? new Uint8Array(0))
      .digest("hex");
    expect(sum).toBe(createHash("sha256").update(bytes).digest("hex"));
  });

  test("is listed, given up, and refused when its parts are not what is said", async () => {
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "parts" }));
    const part = await s3.send(
      new UploadPartCommand({ Bucket, Key: "parts", UploadId, PartNumber: 1, Body: "small" }),
    );
    const last = await s3.send(
      new UploadPartCommand({ Bucket, Key: "parts", UploadId, PartNumber: 2, Body: "last" }),
    );
    expect((await s3.send(new ListPartsCommand({ Bucket, Key: "parts", UploadId }))).Parts).toHaveLength(2);
    expect(
      (await s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads?.map((one) => one.Key),
    ).toEqual(["parts"]);
    const complete = (Parts: { PartNumber: number; ETag: string | undefined }[]) =>
      nameOf(
        s3.send(
          new CompleteMultipartUploadCommand({ Bucket, Key: "parts", UploadId, MultipartUpload: { Parts } }),
        ),
      );
    expect(await complete([{ PartNumber: 1, ETag: '"x"' }])).toBe("InvalidPart");
    expect(
      await complete([
        { PartNumber: 1, ETag: part.ETag },
        { PartNumber: 2, ETag: last.ETag },
      ]),
    ).toBe("EntityTooSmall");
    await s3.send(new AbortMultipartUploadCommand({ Bucket, Key: "parts", UploadId }));
    expect(await complete([{ PartNumber: 2, ETag: last.ETag }])).toBe("NoSuchUpload");
    expect(await nameOf(text("parts"))).toBe("NoSuchKey");
  });

  test("is completed twice where the first answer was lost, and by the same parts alone", async () => {
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "twice" }));
    const of = { Bucket, Key: "twice", UploadId };
    const { ETag } = await s3.send(new UploadPartCommand({ ...of, PartNumber: 1, Body: "part" }));
    const complete = (tag = ETag) =>
      s3.send(
        new CompleteMultipartUploadCommand({
          ...of,
          MultipartUpload: { Parts: [{ PartNumber: 1, ETag: tag }] },
        }),
      );
    const first = await complete();
    expect((await complete()).ETag).toBe(first.ETag);
    expect(await nameOf(complete(`"${"0".repeat(32)}"`))).toBe("NoSuchUpload");
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "twice" }));
    expect(await nameOf(complete())).toBe("NoSuchUpload");
  });

  test("that is given up while it is put together leaves no file", async () => {
    const reading = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    // Content is read when parts are put together, and when it is asked for.
    class SlowBlobs extends DirectoryBlobs {
      override async read(hash: string, start: number, end: number) {
        reading.resolve();
        await goOn.promise;
        return await super.read(hash, start, end);
      }
    }
    const folder = mkdtempSync(join(tmpdir(), "proxima-slow-blobs-"));
    const slow = await startTestStorage({ store: new SlowBlobs(folder) });
    await slow.zone(Bucket);
    const other = client(await slow.key(["deploy"]), { endpoint: slow.storage });
    try {
      const { UploadId } = await other.send(new CreateMultipartUploadCommand({ Bucket, Key: "late" }));
      const of = { Bucket, Key: "late", UploadId };
      const { ETag } = await other.send(new UploadPartCommand({ ...of, PartNumber: 1, Body: "part" }));
      const completed = nameOf(
        other.send(
          new CompleteMultipartUploadCommand({
            ...of,
            MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
          }),
        ),
      );
      await reading.promise;
      await other.send(new AbortMultipartUploadCommand(of));
      goOn.resolve();
      expect(await completed).toBe("NoSuchUpload");
      expect(await nameOf(other.send(new HeadObjectCommand({ Bucket, Key: "late" })))).toBe("NotFound");
    } finally {
      other.destroy();
      await slow.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("a presigned URL", () => {
  test("reads and writes what it is for, until it ends", async () => {
    const target = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "pre signed.txt" }), {
      expiresIn: 60,
    });
    expect((await fetch(target, { method: "PUT", body: "by url" })).status).toBe(200);
    const source = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "pre signed.txt" }), {
      expiresIn: 60,
    });
    expect(await (await fetch(source)).text()).toBe("by url");
    expect((await fetch(source, { method: "DELETE" })).status).toBe(403);
    expect((await fetch(source.replace("pre%20signed", "range"))).status).toBe(403);
    const old = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "a/hello.txt" }), {
      expiresIn: 60,
      signingDate: new Date(Date.now() - 61_000),
    });
    const expired = await fetch(old);
    expect([expired.status, await expired.text()]).toEqual([
      403,
      expect.stringContaining("Request has expired"),
    ]);
  });
});

describe("access", () => {
  test("is refused to who is not known, may not, or signs wrong", async () => {
    const stranger = client({ ...key, accessKeyId: "PXAK000000000000" });
    expect(await nameOf(stranger.send(new ListObjectsV2Command({ Bucket })))).toBe("InvalidAccessKeyId");
    const liar = client({ ...key, secretAccessKey: "x" });
    expect(await nameOf(liar.send(new ListObjectsV2Command({ Bucket })))).toBe("SignatureDoesNotMatch");
    const late = client(key, { systemClockOffset: 3_600_000 });
    expect(await nameOf(late.send(new ListObjectsV2Command({ Bucket })))).toBe("RequestTimeTooSkewed");
    const reader = client(await storage.key(["read"]));
    expect((await reader.send(new ListObjectsV2Command({ Bucket }))).Contents?.length).toBeGreaterThan(1);
    expect(await nameOf(reader.send(new PutObjectCommand({ Bucket, Key: "x", Body: "x" })))).toBe(
      "AccessDenied",
    );
    const purger = client(await storage.key(["purge"]));
    expect(await nameOf(purger.send(new GetObjectCommand({ Bucket, Key: "range.txt" })))).toBe(
      "AccessDenied",
    );
    expect((await fetch(`${storage.storage}/${Bucket}/range.txt`)).status).toBe(403);
    for (const one of [stranger, liar, late, reader, purger]) one.destroy();
  });

  test("of a token for some sites ends at their zones", async () => {
    await storage.zone("shop-files", { site: "shop" });
    const shop = client(await storage.key(["deploy"], ["shop"]));
    await shop.send(new PutObjectCommand({ Bucket: "shop-files", Key: "a", Body: "a" }));
    expect(await nameOf(shop.send(new GetObjectCommand({ Bucket, Key: "range.txt" })))).toBe("AccessDenied");
    expect(
      await nameOf(
        shop.send(
          new CopyObjectCommand({ Bucket: "shop-files", Key: "b", CopySource: `${Bucket}/range.txt` }),
        ),
      ),
    ).toBe("AccessDenied");
    expect((await shop.send(new ListBucketsCommand({}))).Buckets?.map((one) => one.Name)).toEqual([
      "shop-files",
    ]);
    shop.destroy();
  });

  test("is noted where something is changed, whatever else the query says", async () => {
    const headers = { accesskey: key.token };
    const target = `${storage.storage}/${Bucket}/unseen.txt?partNumber=1&uploadId=x`;
    expect((await fetch(target, { method: "PUT", headers, body: "a" })).status).toBe(201);
    expect((await fetch(target, { method: "DELETE", headers })).status).toBe(200);
    const signed = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "unseen-2.txt" }));
    expect((await fetch(signed, { method: "PUT", body: "b" })).status).toBe(200);
    const audit = await storage.ask("GET", "/v1/audit?limit=500");
    const noted = (audit.value.items as { action: string; target: string }[])
      .filter((one) => one.target.includes("unseen"))
      .map((one) => `${one.action} ${one.target}`);
    expect(noted.sort()).toEqual([
      "storage.delete web/unseen.txt",
      "storage.put web/unseen-2.txt",
      "storage.put web/unseen.txt",
    ]);
  });

  test("leaves a trace in the audit log, and no secret", async () => {
    const audit = JSON.stringify((await storage.ask("GET", "/v1/audit?outcome=refused&limit=500")).value);
    expect(audit).toContain("storage GET /web");
    expect(audit).not.toContain(key.secretAccessKey);
    expect(storage.messages.join("\n")).not.toContain(key.secretAccessKey);
  });
});

test("what S3 has and this has not is refused, not taken for something else", async () => {
  expect(
    await nameOf(
      s3.send(
        new PutObjectTaggingCommand({
          Bucket,
          Key: "range.txt",
          Tagging: { TagSet: [{ Key: "a", Value: "b" }] },
        }),
      ),
    ),
  ).toBe("NotImplemented");
  expect(await text("range.txt")).toBe("0123456789");
});

test("a bucket may stand in the host", async () => {
  const host = `${Bucket}.localhost:${storage.storage.split(":").at(-1)}`;
  const url = await getSignedUrl(
    client(key, { endpoint: `http://${host.slice(Bucket.length + 1)}`, forcePathStyle: false }),
    new GetObjectCommand({ Bucket, Key: "range.txt" }),
  );
  expect(new URL(url).host).toBe(host);
  const response = await fetch(url.replace(host, storage.storage.slice(7)), { headers: { host } });
  expect(await response.text()).toBe("0123456789");
});
