import { expect, test } from "bun:test";
import { storeUrl } from "../../../../src/upstream/bucket/from-config.ts";
import { bucketConfig } from "../../../kit/bucket-hop.ts";

const s3 = (settings: object) => ({ s3: { bucket: "assets", region: "eu-west-1", ...settings } });
const REF = { env: "SECRET" };

test.each([
  [s3({}), "https://assets.s3.eu-west-1.amazonaws.com"],
  // The wildcard of Amazon's certificate covers one label.
  [s3({ bucket: "my.assets" }), "https://s3.eu-west-1.amazonaws.com/my.assets"],
  [s3({ addressing: "path" }), "https://s3.eu-west-1.amazonaws.com/assets"],
  [s3({ region: "cn-north-1" }), "https://assets.s3.cn-north-1.amazonaws.com.cn"],
  [s3({ endpoint: "https://minio.example:9000/" }), "https://minio.example:9000/assets"],
  [s3({ endpoint: "https://gw.example/s3" }), "https://gw.example/s3/assets"],
  [
    s3({ endpoint: "https://fra1.digitaloceanspaces.com", addressing: "virtual-host" }),
    "https://assets.fra1.digitaloceanspaces.com",
  ],
  [{ gcs: { bucket: "assets", anonymous: true } }, "https://storage.googleapis.com/assets"],
  [
    { azure: { account: "acc1", container: "assets", credentials: { accountKey: REF } } },
    "https://acc1.blob.core.windows.net/assets",
  ],
  [
    {
      azure: { account: "acc1", container: "$web", endpoint: "http://127.0.0.1:10000/acc1", anonymous: true },
    },
    "http://127.0.0.1:10000/acc1/$web",
  ],
])("%j is at %s", (origin, url) => {
  expect(storeUrl(bucketConfig(origin))).toBe(url);
});
