import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { loadConfig } from "../../../src/config/load.ts";
import { parseConfig } from "../../../src/config/parse.ts";
import { formatProblems } from "../../../src/config/problems.ts";
import { BAD_BUCKETS, bucketSite } from "./bad-buckets.ts";

function originOf(value: unknown): unknown {
  const result = parseConfig(value);
  if (!result.ok) throw new Error(formatProblems("config", result.problems));
  return result.config.sites.shop?.origins.app;
}

test("a bucket of S3 needs no more than its name and region", () => {
  expect(originOf(bucketSite({ s3: { bucket: "assets", region: "eu-west-1" } }))).toEqual({
    s3: {
      bucket: "assets",
      region: "eu-west-1",
      addressing: "auto",
      anonymous: false,
      credentials: {
        accessKeyId: { env: "AWS_ACCESS_KEY_ID" },
        secretAccessKey: { env: "AWS_SECRET_ACCESS_KEY" },
      },
    },
    deniedAsMissing: false,
    metadata: [],
    tls: { verify: true },
    timeouts: { connectMs: 5000, firstByteMs: 30_000, betweenBytesMs: 30_000 },
    connectionsMax: 1024,
    keepAliveMs: 60_000,
    ejection: { failures: 5, forMs: 10_000 },
  });
});

test("a public bucket needs no credentials", () => {
  originOf(bucketSite({ gcs: { bucket: "assets", anonymous: true } }));
  originOf(bucketSite({ azure: { account: "acc1", container: "$web", anonymous: true } }));
});

test("a secret that stands in a config by mistake is refused without being shown", () => {
  for (const [value] of BAD_BUCKETS) {
    const result = parseConfig(value);
    const problems = result.ok ? result.warnings : result.problems;
    expect(formatProblems("config", problems)).not.toContain("s3cret");
  }
});

test("a signature in a URL over http is doubtful", () => {
  const result = parseConfig(
    bucketSite({
      azure: {
        account: "acc1",
        container: "assets",
        endpoint: "http://127.0.0.1:10000/acc1",
        credentials: { sas: { env: "SAS" } },
      },
    }),
  );
  expect(result.ok && result.warnings.map(({ path, message }) => `${path}: ${message}`)).toEqual([
    "sites.shop.origins.app.azure.endpoint: a shared access signature is sent in the clear over http",
  ]);
});

test("paths of secrets start at the config's folder, and lie where the node permits", async () => {
  const folder = mkdtempSync(join(tmpdir(), "proxima-buckets-"));
  try {
    const load = async (file: string, permitted: object) => {
      const config = bucketSite(
        {
          s3: {
            bucket: "assets",
            region: "eu-west-1",
            credentials: { accessKeyId: "ID", secretAccessKey: { file } },
          },
        },
        { permitted },
      );
      await Bun.write(join(folder, "proxima.json"), JSON.stringify(config));
      return loadConfig(join(folder, "proxima.json"));
    };
    const inside = await load("secrets/key", { secretDirectories: ["./secrets"] });
    if (!inside.ok) throw new Error(formatProblems("config", inside.problems));
    expect(JSON.stringify(inside.config.sites.shop)).toContain(join(folder, "secrets", "key"));
    for (const file of ["other/key", "secrets/../key", "secretsx/key"]) {
      const outside = await load(file, { secretDirectories: ["./secrets"] });
      expect(!outside.ok && outside.problems[0]?.message).toContain(
        "lies outside permitted.secretDirectories",
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("every config of the page on buckets is taken, without a warning", () => {
  const page = readFileSync(resolve(import.meta.dirname, "../../../docs/operating/buckets.md"), "utf8");
  const blocks = [...page.matchAll(/```json\n([\s\S]*?)```/g)].map((match) => JSON.parse(match[1] as string));
  expect(blocks.length).toBeGreaterThanOrEqual(5);
  for (const origins of blocks) {
    const behaviors = Object.keys(origins).map((origin, i) => ({ path: i === 0 ? "/a/*" : "/*", origin }));
    if (behaviors.length === 1) behaviors[0] = { path: "/*", origin: Object.keys(origins)[0] ?? "" };
    const result = parseConfig({ sites: { shop: { hosts: ["shop.example"], origins, behaviors } } });
    expect(result).toMatchObject({ ok: true, warnings: [] });
  }
});
