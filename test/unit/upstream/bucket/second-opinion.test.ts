/**
 * The test's own store and our signer were written by the same hands: the runtime's S3 client, which
 * neither knows of, has to agree with both.
 */
import { expect, test } from "bun:test";
import { S3Client } from "bun";
import { systemClock } from "../../../../src/base/clock.ts";
import { bucketHop } from "../../../kit/bucket-hop.ts";
import { S3_KEYS, startS3 } from "../../../kit/s3-server.ts";
import { storedObject } from "../../../kit/store-server.ts";
import { TIMEOUTS, upstreamRequest } from "../../../kit/upstream-request.ts";

const KEYS = ["a.txt", "dir/a b.txt", "a+b", "é/☃", "(1)!*'~", "100%", "=&;:@,$"];

test("the store takes what the runtime's client signs, and refuses it with another secret", async () => {
  const s3 = startS3({ region: "eu-west-3", sessionToken: "token/+==" });
  for (const key of KEYS) s3.setup.objects.set(key, storedObject(`content of ${key}`));
  const options = {
    ...S3_KEYS,
    sessionToken: "token/+==",
    region: "eu-west-3",
    bucket: "assets",
    endpoint: s3.url,
  };
  const client = new S3Client(options);
  const { hop } = await bucketHop(
    { s3: { bucket: "assets", region: "eu-west-3", endpoint: s3.url } },
    {
      clock: systemClock,
      secrets: {
        AWS_ACCESS_KEY_ID: S3_KEYS.accessKeyId,
        AWS_SECRET_ACCESS_KEY: S3_KEYS.secretAccessKey,
        AWS_SESSION_TOKEN: "token/+==",
      },
    },
  );
  try {
    for (const key of KEYS) {
      expect(await client.file(key).text()).toBe(`content of ${key}`);
      const theirs = s3.seen.at(-1);
      const target = `/${key.split("/").map(encodeURIComponent).join("/")}`;
      expect((await hop.fetch(upstreamRequest({ target }), TIMEOUTS)).status).toBe(200);
      // Both send the same form of the key.
      expect(s3.seen.at(-1)?.path).toBe(theirs?.path as string);
    }
    const wrong = new S3Client({ ...options, secretAccessKey: "another" });
    await expect(wrong.file("a.txt").text()).rejects.toThrow();
  } finally {
    hop.close();
    s3.stop();
  }
});
