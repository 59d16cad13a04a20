/** Buckets behind a whole edge: what is cached of them, what reaches them, and what is told of them. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../src/base/clock.ts";
import type { OriginInput } from "../../src/config/types.ts";
import { AZURE_ACCOUNT, AZURE_KEY, makeSas, startAzure } from "../kit/azure-server.ts";
import { startTestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { S3_KEYS, type S3Setup, startS3 } from "../kit/s3-server.ts";
import { stage } from "../kit/stage.ts";
import { storedObject } from "../kit/store-server.ts";

const { stops } = stage();

/** A folder with the secrets of a node. */
function secretFiles(secrets: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "proxima-buckets-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, value] of Object.entries(secrets)) writeFileSync(join(folder, name), `${value}\n`);
  return folder;
}

/** An edge in front of a store of S3, both on one clock. */
async function s3Stage(
  options: { setup?: Partial<S3Setup>; origin?: object; edge?: Partial<TestEdgeOptions> } = {},
) {
  const clock = new ManualClock();
  const s3 = startS3({ nowMs: () => clock.now(), ...options.setup });
  stops.push(() => s3.stop());
  const folder = secretFiles({ secret: S3_KEYS.secretAccessKey });
  const origin: OriginInput = {
    s3: {
      bucket: "assets",
      region: "eu-west-1",
      endpoint: s3.url,
      credentials: { accessKeyId: S3_KEYS.accessKeyId, secretAccessKey: { file: join(folder, "secret") } },
    },
    ...options.origin,
  };
  const accessLog = join(folder, "access.log");
  const edge = await startTestEdge({
    origin: s3.url,
    clock,
    config: { accessLog: { file: accessLog } },
    ...options.edge,
    site: { origins: { app: origin }, ...options.edge?.site },
  });
  stops.push(() => edge.stop());
  return { clock, s3, edge, folder, accessLog, origin };
}

test("an object is fetched once, revalidated with its tag, and served to viewers with cookies alike", async () => {
  const { s3, edge, clock } = await s3Stage();
  s3.setup.objects.set(
    "a.css",
    storedObject("body{}", { "cache-control": "max-age=60", "content-type": "text/css" }),
  );
  const first = await edge.get("/a.css", { cookie: "session=1" });
  expect([first.status, first.cache, first.body]).toEqual([200, "MISS", "body{}"]);
  expect((await edge.get("/a.css", { cookie: "session=2" })).cache).toBe("HIT");
  clock.advance(61_000);
  expect((await edge.get("/a.css")).cache).toBe("REVALIDATED");
  expect((await edge.get("/a.css")).cache).toBe("HIT");
  expect(s3.seen).toHaveLength(2);
  expect(s3.seen[1]?.get("if-none-match")).toBe(s3.setup.objects.get("a.css")?.fields.etag ?? "");
  expect(first.headers.get("x-amz-request-id")).toBeNull();
});

test("an object without freshness of its own is kept by its age also for viewers with cookies", async () => {
  const { s3, edge } = await s3Stage();
  s3.setup.objects.set("a.txt", storedObject("x"));
  expect((await edge.get("/a.txt", { cookie: "session=1" })).cache).toBe("MISS");
  expect((await edge.get("/a.txt", { cookie: "session=2" })).cache).toBe("HIT");
});

test("a part of an object that is too large to keep is fetched as a part", async () => {
  const { s3, edge } = await s3Stage({ edge: { config: { cache: { memory: "1MiB", objectMax: "1KiB" } } } });
  const large = "0123456789".repeat(1000);
  s3.setup.objects.set("large", storedObject(large, { "cache-control": "max-age=60" }));
  expect((await edge.get("/large")).body).toBe(large);
  const part = await edge.get("/large", { range: "bytes=5-9" });
  expect([part.status, part.body, part.headers.get("content-range")]).toEqual([
    206,
    "56789",
    "bytes 5-9/10000",
  ]);
  expect(s3.seen.at(-1)?.get("range")).toBe("bytes=5-9");
});

test("a large object is kept in parts on the disk, each fetched once and of one version", async () => {
  const { s3, edge } = await s3Stage({ edge: { config: { cache: { disk: { size: "1GiB" } } } } });
  const bytes = new Uint8Array(6 * 2 ** 20).map((_, i) => (i >> 12) % 251);
  const put = (content: Uint8Array) =>
    s3.setup.objects.set(
      "film",
      storedObject(content, { "cache-control": "max-age=60", "content-type": "video/mp4" }),
    );
  put(bytes);
  const part = await edge.get("/film", { range: "bytes=5000000-5000099" });
  expect([part.status, part.cache, part.bytes]).toEqual([206, "MISS", bytes.slice(5_000_000, 5_000_100)]);
  expect(s3.seen[0]?.get("range")).toMatch(/^bytes=\d+-\d+$/);
  expect((await edge.get("/film", { range: "bytes=5000000-5000099" })).cache).toBe("HIT");
  expect(s3.seen).toHaveLength(1);
  const other = await edge.get("/film", { range: "bytes=1000-1099" });
  expect([other.status, other.bytes]).toEqual([206, bytes.slice(1000, 1100)]);
  expect(s3.seen.at(-1)?.get("if-match")).toBe(s3.setup.objects.get("film")?.fields.etag ?? "none");
  // Another version: whoever is being given the old one is cut off, and nobody gets parts of both.
  const changed = bytes.map((byte) => byte ^ 1);
  put(changed);
  await expect(edge.get("/film")).rejects.toThrow();
  const whole = await edge.get("/film");
  const isOf = (content: Uint8Array) => Buffer.compare(whole.bytes, content) === 0;
  expect([whole.status, isOf(changed)]).toEqual([200, true]);
});

test("an object is purged by the tag in its metadata, which viewers do not see", async () => {
  const { s3, edge } = await s3Stage({ origin: { metadata: ["surrogate-key"] } });
  const tagged = storedObject("x", {
    "cache-control": "max-age=60",
    "x-amz-meta-surrogate-key": "product-7",
  });
  s3.setup.objects.set("a", tagged);
  expect((await edge.get("/a")).headers.get("surrogate-key")).toBeNull();
  expect((await edge.get("/a")).cache).toBe("HIT");
  const purge = { sequence: 1, scope: "tag", targets: ["product-7"], site: "test", mode: "hard" } as const;
  await edge.edge.purge({ ...purge, acceptedMs: 0 }).applied;
  expect((await edge.get("/a")).cache).toBe("MISS");
});

test("a store that refuses this node makes errors that are not stored, or stale answers, and one line in the log", async () => {
  const { s3, edge, clock, accessLog } = await s3Stage();
  s3.setup.objects.set("kept", storedObject("x", { "cache-control": "max-age=60, stale-if-error=3600" }));
  expect((await edge.get("/kept")).status).toBe(200);
  clock.advance(61_000);
  s3.setup.nowMs = () => clock.now() + 40 * 60_000;
  const stale = await edge.get("/kept");
  expect([stale.status, stale.cache, stale.body]).toEqual([200, "STALE", "x"]);
  const failed = await edge.get("/other");
  expect([failed.status, failed.body.includes("RequestTimeTooSkewed")]).toEqual([502, false]);
  expect(edge.messages).toEqual([
    expect.stringMatching(
      /^warning: origin "app": the S3 bucket "assets": .*this node's clock is 40 minutes behind the store's/,
    ),
  ]);
  s3.setup.nowMs = () => clock.now();
  s3.setup.objects.set("other", storedObject("y"));
  expect((await edge.get("/other")).status).toBe(200);
  await edge.edge.stop();
  expect(readFileSync(accessLog, "utf8")).toContain("RequestTimeTooSkewed");
});

test("no secret is in any answer, log, metric or explanation", async () => {
  const clock = new ManualClock();
  const azure = startAzure({ nowMs: () => clock.now() });
  stops.push(() => azure.stop());
  const sas = makeSas("assets", AZURE_KEY, clock.now() + 1000);
  const folder = secretFiles({ sas, secret: S3_KEYS.secretAccessKey });
  const accessLog = join(folder, "access.log");
  const { edge, s3 } = await s3Stage({
    edge: {
      clock,
      config: { accessLog: { file: accessLog } },
      behaviors: [
        { path: "/blob/*", origin: "blobs" },
        { path: "/*", origin: "files" },
      ],
      site: {
        origins: {
          blobs: {
            azure: {
              account: AZURE_ACCOUNT,
              container: "assets",
              endpoint: azure.url,
              credentials: { sas: { file: join(folder, "sas") } },
            },
          },
          files: {
            s3: {
              bucket: "assets",
              region: "eu-west-1",
              endpoint: azure.url,
              credentials: { accessKeyId: "ID", secretAccessKey: { file: join(folder, "secret") } },
            },
          },
        },
      },
    },
  });
  azure.setup.objects.set("blob/a", storedObject("x"));
  const answers = [await edge.get("/blob/a"), await edge.get("/blob/none"), await edge.get("/a")];
  expect(answers.map(({ status }) => status)).toEqual([200, 404, 502]);
  clock.advance(5_000);
  answers.push(await edge.get("/blob/b"));
  expect(answers[3]?.status).toBe(502);
  expect(s3.seen).toEqual([]);
  const said = [
    ...answers.map(({ headers, body }) => JSON.stringify([...headers]) + body),
    ...edge.messages,
    edge.edge.metrics(),
    JSON.stringify(edge.edge.stats()),
    JSON.stringify(edge.edge.explain("http://test.example/blob/a", {})),
  ];
  await edge.edge.stop();
  said.push(readFileSync(accessLog, "utf8"));
  const signature = new URLSearchParams(sas).get("sig") ?? "none";
  for (const text of said) {
    for (const secret of [S3_KEYS.secretAccessKey, signature, encodeURIComponent(signature), AZURE_KEY]) {
      expect(text).not.toContain(secret);
    }
  }
});

test("a WebSocket is refused, and a POST is told what is allowed", async () => {
  const { edge, s3 } = await s3Stage();
  const posted = await edge.get("/a", {}, { method: "POST", body: "x" });
  expect([posted.status, posted.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  const upgrade = await edge.get("/a", {
    upgrade: "websocket",
    connection: "upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
  });
  expect(upgrade.status).toBe(400);
  expect(s3.seen).toEqual([]);
});

test("a config whose secret can not be read is not put in force, and says which", async () => {
  const { edge, s3, folder } = await s3Stage();
  s3.setup.objects.set("a", storedObject("x"));
  const broken: OriginInput = {
    s3: {
      bucket: "assets",
      region: "eu-west-1",
      credentials: { accessKeyId: "ID", secretAccessKey: { file: join(folder, "none") } },
    },
  };
  await expect(edge.apply({ site: { origins: { app: broken } } })).rejects.toThrow(
    `site test, origin app: the file ${join(folder, "none")} can not be read`,
  );
  expect((await edge.get("/a")).status).toBe(200);
});

test("a secret that changed in its file is taken up with the next config, or when the old one is refused", async () => {
  const { edge, s3, clock, folder } = await s3Stage();
  s3.setup.objects.set("a", storedObject("x", { "cache-control": "no-store" }));
  expect((await edge.get("/a")).status).toBe(200);
  s3.setup.secretAccessKey = "second";
  writeFileSync(join(folder, "secret"), "second");
  clock.advance(10_000);
  expect((await edge.get("/a")).status).toBe(200);
  writeFileSync(join(folder, "secret"), "third");
  s3.setup.secretAccessKey = "third";
  await edge.apply({});
  expect((await edge.get("/a")).status).toBe(200);
  expect(edge.messages).toEqual([]);
});

test("a bucket that goes on while its site changes around it has its secret read again, too", async () => {
  const { edge, s3, folder, origin } = await s3Stage();
  s3.setup.objects.set("a", storedObject("x", { "cache-control": "no-store" }));
  const changes = [{ http3: false }, { http3: true }, { http3: false }];
  for (const [i, change] of changes.entries()) {
    s3.setup.secretAccessKey = `secret-${i}`;
    writeFileSync(join(folder, "secret"), `secret-${i}`);
    const before = s3.seen.length;
    await edge.apply({ site: { origins: { app: origin }, ...change } });
    expect((await edge.get("/a")).status).toBe(200);
    // Not after a refusal: it was known beforehand.
    expect(s3.seen.length - before).toBe(1);
  }
  expect((await edge.edge.stats()).upstream.origins[0]?.requests).toBe(changes.length);
});
