import { afterEach, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { bucketHop } from "../../../kit/bucket-hop.ts";
import { startS3 } from "../../../kit/s3-server.ts";
import { storedObject } from "../../../kit/store-server.ts";
import { failureOf, TIMEOUTS, upstreamRequest } from "../../../kit/upstream-request.ts";

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** Google's XML interface takes HMAC keys in the signature of S3: by path, any region, the service "s3". */
async function stage(secret: string) {
  const clock = new ManualClock();
  const server = startS3({
    region: "auto",
    accessKeyId: "GOOGTS7C7FUP3AIRVJTE2BCD",
    nowMs: () => clock.now(),
  });
  const { hop, told } = await bucketHop(
    {
      gcs: {
        bucket: "assets",
        endpoint: server.url,
        credentials: { accessKeyId: "GOOGTS7C7FUP3AIRVJTE2BCD", secretAccessKey: { env: "HMAC" } },
      },
      metadata: ["surrogate-key"],
    },
    { clock, secrets: { HMAC: secret } },
  );
  stops.push(
    () => server.stop(),
    () => hop.close(),
  );
  return { server, hop, told, secret: server.setup.secretAccessKey };
}

test("an object is asked for with an HMAC key, and given without the store's own fields", async () => {
  const { server, hop } = await stage("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
  server.setup.objects.set(
    "a b/é.txt",
    storedObject("x", {
      "x-goog-generation": "1",
      "x-goog-meta-surrogate-key": "p1",
      "x-guploader-uploadid": "u",
      "content-encoding": "gzip",
    }),
  );
  const response = await hop.fetch(upstreamRequest({ target: "/a%20b/%C3%A9.txt" }), TIMEOUTS);
  expect(response.status).toBe(200);
  expect(response.fields.get("surrogate-key")).toBe("p1");
  expect(response.fields.get("content-encoding")).toBe("gzip");
  expect([...response.fields.entries()].filter(([name]) => name.startsWith("x-"))).toEqual([]);
});

test("a key that is not taken is told", async () => {
  const { hop, told } = await stage("another");
  const failure = await failureOf(hop.fetch(upstreamRequest({ target: "/a" }), TIMEOUTS));
  expect(failure.message).toStartWith(
    'origin "files": the Google Cloud Storage bucket "assets": the credentials were not taken (SignatureDoesNotMatch',
  );
  expect(told).toEqual([failure.message]);
});
