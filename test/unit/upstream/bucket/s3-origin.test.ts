import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock, systemClock } from "../../../../src/base/clock.ts";
import { Fields } from "../../../../src/http/fields.ts";
import type { BucketOrigin } from "../../../../src/upstream/bucket/bucket-origin.ts";
import type { UpstreamResponse } from "../../../../src/upstream/next-hop.ts";
import { bucketHop, type Secrets } from "../../../kit/bucket-hop.ts";
import { S3_KEYS, type S3Server, type S3Setup, startS3 } from "../../../kit/s3-server.ts";
import { storedObject } from "../../../kit/store-server.ts";
import { failureOf, readText, TIMEOUTS, upstreamRequest } from "../../../kit/upstream-request.ts";

const SECRETS: Secrets = {
  AWS_ACCESS_KEY_ID: S3_KEYS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: S3_KEYS.secretAccessKey,
};

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** A store with these objects, and a hop to it whose clock is the store's own. */
async function stage(
  objects: Record<string, string> = {},
  options: { origin?: object; s3?: object; setup?: Partial<S3Setup>; secrets?: Secrets } = {},
) {
  const clock = new ManualClock(Date.UTC(2026, 2, 4, 5, 6, 7));
  const s3 = startS3({ nowMs: () => clock.now(), ...options.setup });
  for (const [key, body] of Object.entries(objects)) s3.setup.objects.set(key, storedObject(body));
  const { hop, told } = await bucketHop(
    { s3: { bucket: "assets", region: "eu-west-1", endpoint: s3.url, ...options.s3 }, ...options.origin },
    { clock, secrets: options.secrets ?? SECRETS },
  );
  stops.push(
    () => s3.stop(),
    () => hop.close(),
  );
  return { clock, s3, hop, told };
}

const ask = (
  hop: BucketOrigin,
  target: string,
  fields: Record<string, string> = {},
  method = "GET",
): Promise<UpstreamResponse> =>
  hop.fetch(upstreamRequest({ method, target, fields: Fields.from(Object.entries(fields)) }), TIMEOUTS);

const etagOf = (s3: S3Server, key: string): string => s3.setup.objects.get(key)?.fields.etag ?? "";

describe("an object is asked for with a signature that the store verifies", () => {
  const keys = [
    "a.txt",
    "dir/a.txt",
    "a b.txt",
    "a+b.txt",
    "é/☃.txt",
    "q?x#y",
    "(1)!*'~.txt",
    "a%2Fb",
    "100%",
    "=&;:@,$",
    "x//y",
    "tab.then.dots...",
  ];
  test.each(keys)("%s", async (key) => {
    const { hop, s3 } = await stage({ [key]: `content of ${key}` });
    const target = `/${key.split("/").map(encodeURIComponent).join("/")}`;
    const response = await ask(hop, target);
    expect(response.status).toBe(200);
    expect(Buffer.from(await readText(response.body), "latin1").toString()).toBe(`content of ${key}`);
    expect(s3.seen).toHaveLength(1);
  });

  // The same object in other forms of its URL: what is sent is one form.
  test.each([
    ["/a+b", "a+b"],
    ["/a%2Bb", "a+b"],
    ["/%61", "a"],
    ["/!$'()*,;=:@", "!$'()*,;=:@"],
  ])("%s", async (target, key) => {
    const { hop } = await stage({ [key]: "x" });
    expect((await ask(hop, target)).status).toBe(200);
  });

  test("by host, in the region, and with a token, where it is set up so", async () => {
    const clock = systemClock;
    const s3 = startS3({ bucket: "my-bucket", region: "auto", sessionToken: "tok/en+==" });
    s3.setup.objects.set("a", storedObject("x"));
    const { hop } = await bucketHop(
      {
        s3: {
          bucket: "my-bucket",
          region: "auto",
          endpoint: `http://store.example:${s3.port}`,
          addressing: "virtual-host",
        },
      },
      {
        clock,
        secrets: { ...SECRETS, AWS_SESSION_TOKEN: "tok/en+==" },
        lookup: () => Promise.resolve(["127.0.0.1"]),
      },
    );
    stops.push(
      () => s3.stop(),
      () => hop.close(),
    );
    expect((await ask(hop, "/a")).status).toBe(200);
    expect(s3.seen[0]?.get("host")).toBe(`my-bucket.store.example:${s3.port}`);
    expect(s3.seen[0]?.target).toBe("/a");
  });

  test("the key of a day is not used on the next one", async () => {
    const { hop, clock } = await stage({ a: "x" });
    expect((await ask(hop, "/a")).status).toBe(200);
    clock.advance(24 * 3600 * 1000);
    expect((await ask(hop, "/a")).status).toBe(200);
  });

  test("without credentials where the bucket is public", async () => {
    const { hop, s3 } = await stage(
      { a: "x" },
      { s3: { anonymous: true }, setup: { isPublic: true }, secrets: {} },
    );
    expect((await ask(hop, "/a")).status).toBe(200);
    expect(s3.seen[0]?.lines.map(([name]) => name).filter((name) => /^x-amz|^auth/.test(name))).toEqual([]);
  });
});

describe("what goes to the store", () => {
  test("is none of the viewer's fields but conditions, a range, a coding and the loop's mark", async () => {
    const { hop, s3 } = await stage({ a: "x" });
    await ask(hop, "/a", {
      authorization: "Bearer viewer",
      cookie: "session=1",
      "x-amz-acl": "public-read",
      "x-amz-security-token": "forged",
      "x-forwarded-for": "192.0.2.1",
      origin: "https://evil.example",
      "accept-encoding": "gzip",
      "cdn-loop": "proxima-1",
      "if-none-match": '"other"',
      range: "bytes=0-0",
    });
    expect(s3.seen[0]?.lines.map(([name]) => name).sort()).toEqual([
      "accept-encoding",
      "authorization",
      "cdn-loop",
      "host",
      "if-none-match",
      "range",
      "x-amz-content-sha256",
      "x-amz-date",
    ]);
  });

  test("is no query, which would be a command to the store", async () => {
    const { hop, s3 } = await stage({ a: "x" });
    for (const query of [
      "list-type=2",
      "acl",
      "response-content-type=text/html",
      "versionId=1",
      "x-amz-acl=1",
    ]) {
      expect(await readText((await ask(hop, `/a?${query}`)).body)).toBe("x");
    }
    expect(new Set(s3.seen.map(({ target }) => target))).toEqual(new Set(["/assets/a"]));
  });

  test("is nothing for a path that no key has, and never a request for the bucket", async () => {
    const { hop, s3 } = await stage();
    for (const target of ["/", "/?list-type=2", "/a/../b", "/..%2F..%2Fother/x", "/a%5C..%5Cb", "/%00"]) {
      expect((await ask(hop, target)).status).toBe(404);
    }
    expect(s3.seen).toEqual([]);
  });

  test("is GET and HEAD; anything else is told what is allowed", async () => {
    const { hop, s3 } = await stage({ a: "x" });
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"]) {
      const response = await ask(hop, "/a", {}, method);
      expect([response.status, response.fields.get("allow")]).toEqual([405, "GET, HEAD"]);
    }
    expect(s3.seen).toEqual([]);
  });
});

describe("what comes back", () => {
  test("is what the object carries, and nothing that speaks of the store", async () => {
    const { hop, s3 } = await stage();
    s3.setup.objects.set(
      "a",
      storedObject("x", {
        "cache-control": "max-age=60",
        "content-type": "text/css",
        "content-disposition": "inline",
        expires: "0",
        "x-amz-meta-owner": "bob",
        "set-cookie": "lb=1",
        "strict-transport-security": "max-age=1",
        "content-security-policy": "block-all-mixed-content",
        "access-control-allow-origin": "*",
      }),
    );
    const { fields } = await ask(hop, "/a");
    expect(Object.fromEntries(fields.entries())).toEqual({
      "accept-ranges": "bytes",
      "cache-control": "max-age=60",
      "content-disposition": "inline",
      "content-length": "1",
      "content-type": "text/css",
      date: "Wed, 04 Mar 2026 05:06:07 GMT",
      etag: etagOf(s3, "a"),
      expires: "0",
      "last-modified": "Sun, 01 Jun 2025 00:00:00 GMT",
    });
  });

  test("has metadata that the config names, which can not stand for the object's own fields", async () => {
    const metadata = ["surrogate-key", "content-type", "x-note"];
    const { hop, s3 } = await stage({}, { origin: { metadata } });
    s3.setup.objects.set(
      "a",
      storedObject("x", {
        "x-amz-meta-surrogate-key": "p1 p2",
        "x-amz-meta-content-type": "text/html",
        "x-amz-meta-owner": "bob",
      }),
    );
    const { fields } = await ask(hop, "/a");
    expect(fields.get("surrogate-key")).toBe("p1 p2");
    expect(fields.get("content-type")).toBe("text/plain");
    expect(fields.has("owner")).toBe(false);
  });

  test("varies by coding alone: nothing else of the viewer was sent", async () => {
    const { hop, s3 } = await stage();
    s3.setup.objects.set("a", storedObject("x", { vary: "Origin, Accept-Encoding" }));
    expect((await ask(hop, "/a")).fields.get("vary")).toBe("Accept-Encoding");
    s3.setup.objects.set("a", storedObject("x"));
    expect((await ask(hop, "/a")).fields.get("vary")).toBeNull();
  });

  test("to HEAD has the length, and no body", async () => {
    const { hop } = await stage({ a: "12345" });
    const response = await ask(hop, "/a", { range: "bytes=0-1" }, "HEAD");
    expect([response.status, response.bodyLength, response.body]).toEqual([200, 5, null]);
  });
});

describe("conditions", () => {
  test("are the store's to answer: 304 and 412", async () => {
    const { hop, s3 } = await stage({ a: "x" });
    const etag = etagOf(s3, "a");
    const same = await ask(hop, "/a", { "if-none-match": etag });
    expect([same.status, same.fields.get("etag"), same.fields.get("content-type")]).toEqual([
      304,
      etag,
      null,
    ]);
    expect((await ask(hop, "/a", { "if-none-match": `W/${etag}` })).status).toBe(304);
    expect((await ask(hop, "/a", { "if-modified-since": "Sun, 01 Jun 2025 00:00:00 GMT" })).status).toBe(304);
    expect((await ask(hop, "/a", { "if-match": '"other"' })).status).toBe(412);
    expect((await ask(hop, "/a", { "if-unmodified-since": "Sat, 31 May 2025 00:00:00 GMT" })).status).toBe(
      412,
    );
    expect((await ask(hop, "/a", { "if-match": etag })).status).toBe(200);
  });

  test("that a store does not understand are answered here: lists, and a weak tag in If-Match", async () => {
    const { hop, s3 } = await stage({ a: "x" });
    const etag = etagOf(s3, "a");
    const list = await ask(hop, "/a", { "if-none-match": `"other", ${etag}` });
    expect([list.status, list.fields.get("etag"), list.body]).toEqual([304, etag, null]);
    expect(list.fields.has("content-type")).toBe(false);
    expect((await ask(hop, "/a", { "if-match": `"other", ${etag}` })).status).toBe(200);
    expect((await ask(hop, "/a", { "if-match": `W/${etag}` })).status).toBe(412);
    expect((await ask(hop, "/a", { "if-match": '"o1", "o2"' })).status).toBe(412);
  });

  test("If-None-Match beside If-Modified-Since decides alone", async () => {
    const { hop } = await stage({ a: "x" });
    const both = { "if-none-match": '"other"', "if-modified-since": "Sun, 01 Jun 2025 00:00:00 GMT" };
    expect((await ask(hop, "/a", both)).status).toBe(200);
  });
});

describe("a range", () => {
  const bytes = "0123456789";

  test.each([
    ["bytes=2-4", "234", "bytes 2-4/10"],
    ["bytes=7-", "789", "bytes 7-9/10"],
    ["bytes=-3", "789", "bytes 7-9/10"],
  ])("%s is given on", async (range, body, contentRange) => {
    const { hop } = await stage({ a: bytes });
    const response = await ask(hop, "/a", { range });
    expect([response.status, response.fields.get("content-range")]).toEqual([206, contentRange]);
    expect(await readText(response.body)).toBe(body);
  });

  test.each(["bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "bytes=-", "bytes=a-b"])(
    "%s, which stores read differently, is left out: the whole is a valid answer",
    async (range) => {
      const { hop, s3 } = await stage({ a: bytes });
      expect((await ask(hop, "/a", { range })).status).toBe(200);
      expect(s3.seen[0]?.get("range")).toBeNull();
    },
  );

  test("beyond the end is told the object's size", async () => {
    const { hop } = await stage({ a: bytes });
    const response = await ask(hop, "/a", { range: "bytes=99-" });
    expect([response.status, response.fields.get("content-range")]).toEqual([416, "bytes */10"]);
    expect(await readText(response.body)).toBe("416 Range Not Satisfiable\n");
  });

  test("that the store misread is asked for again as the whole", async () => {
    const { hop } = await stage({ a: bytes }, { setup: { misreadsSuffixes: true } });
    const response = await ask(hop, "/a", { range: "bytes=-3" });
    expect([response.status, await readText(response.body)]).toEqual([200, bytes]);
    expect((await ask(hop, "/a", { range: "bytes=8-99" })).fields.get("content-range")).toBe("bytes 8-9/10");
  });

  test("of a version that is no longer there is answered with the whole of the new one", async () => {
    const { hop, s3 } = await stage({ a: bytes });
    const same = await ask(hop, "/a", { range: "bytes=0-1", "if-range": etagOf(s3, "a") });
    expect([same.status, await readText(same.body)]).toEqual([206, "01"]);
    const other = await ask(hop, "/a", { range: "bytes=0-1", "if-range": '"old"' });
    expect([other.status, await readText(other.body)]).toEqual([200, bytes]);
    expect((await ask(hop, "/a", { range: "bytes=0-1", "if-range": `W/${etagOf(s3, "a")}` })).status).toBe(
      200,
    );
  });

  test("of a version told by its date is given on for that date, and no other", async () => {
    const { hop, s3, clock } = await stage({ a: bytes });
    const since = async (date: string) =>
      (await ask(hop, "/a", { range: "bytes=0-1", "if-range": date })).status;
    expect(await since("Sun, 01 Jun 2025 00:00:00 GMT")).toBe(206);
    expect(await since("Sat, 31 May 2025 00:00:00 GMT")).toBe(200);
    // Not changed since then, but that is not the date of this version.
    expect(await since("Mon, 02 Jun 2025 00:00:00 GMT")).toBe(200);
    // Within the second of the change there may have been another one.
    s3.setup.objects.set("a", storedObject(bytes, {}, clock.now()));
    expect(await since("Wed, 04 Mar 2026 05:06:07 GMT")).toBe(200);
  });
});

describe("a missing object", () => {
  test("is a 404 in our words, not the store's", async () => {
    const { hop } = await stage();
    const response = await ask(hop, "/nope");
    expect([response.status, response.fields.get("content-type")]).toEqual([
      404,
      "text/plain; charset=utf-8",
    ]);
    expect(await readText(response.body)).toBe("404 Not Found\n");
    expect([...response.fields.entries()].filter(([name]) => name.startsWith("x-"))).toEqual([]);
  });

  test("of a bucket that may not be listed is a 403, or a 404 where the config says so", async () => {
    const hidden = { setup: { mayList: false } };
    const plain = await stage({}, hidden);
    expect((await ask(plain.hop, "/nope")).status).toBe(403);
    expect((await ask(plain.hop, "/nope", {}, "HEAD")).status).toBe(403);
    const mapped = await stage({}, { ...hidden, origin: { deniedAsMissing: true } });
    expect((await ask(mapped.hop, "/nope")).status).toBe(404);
    expect((await ask(mapped.hop, "/nope", {}, "HEAD")).status).toBe(404);
    expect(mapped.told).toEqual([]);
  });

  test("has the error document, with the status kept and nothing by which it could pass for the object", async () => {
    const { hop, s3 } = await stage({}, { origin: { errorDocument: "404.html", keyPrefix: "site" } });
    s3.setup.objects.set(
      "site/404.html",
      storedObject("<h1>gone</h1>", { "content-type": "text/html", "cache-control": "max-age=31536000" }),
    );
    const response = await ask(hop, "/nope", { range: "bytes=0-1", "if-none-match": "*" });
    expect([response.status, await readText(response.body)]).toEqual([404, "<h1>gone</h1>"]);
    expect([...response.fields.entries()].map(([name]) => name).sort()).toEqual([
      "content-length",
      "content-type",
      "date",
    ]);
    const head = await ask(hop, "/nope", {}, "HEAD");
    expect([head.status, head.bodyLength, head.body]).toEqual([404, 13, null]);
    expect((await ask(hop, "/a/%2F")).status).toBe(404);
  });

  test("has a line of text when the error document is missing itself, which is told", async () => {
    const { hop, told } = await stage({}, { origin: { errorDocument: "404.html" } });
    expect(await readText((await ask(hop, "/nope")).body)).toBe("404 Not Found\n");
    expect(told).toEqual([
      'origin "files": the S3 bucket "assets": the error document "404.html" was not given: NoSuchKey',
    ]);
  });
});

describe("an index document", () => {
  const origin = { index: "index.html", keyPrefix: "site/" };
  const objects = { "site/index.html": "home", "site/docs/index.html": "docs", "site/plain": "plain" };

  test("answers for a path that ends in a slash", async () => {
    const { hop } = await stage(objects, { origin });
    expect(await readText((await ask(hop, "/")).body)).toBe("home");
    expect(await readText((await ask(hop, "/docs/")).body)).toBe("docs");
    expect(await readText((await ask(hop, "/plain")).body)).toBe("plain");
  });

  test("is redirected to from the path without its slash, relative to it", async () => {
    const { hop } = await stage(objects, { origin });
    const response = await ask(hop, "/docs?a=1");
    expect([response.status, response.fields.get("location")]).toEqual([301, "./docs/?a=1"]);
    expect((await ask(hop, "/none")).status).toBe(404);
  });
});

describe("what is wrong with the setup is an error for the viewer, and a sentence for the operator", () => {
  const cases: [string, Partial<S3Setup>, Secrets, RegExp][] = [
    [
      "a wrong secret",
      {},
      { ...SECRETS, AWS_SECRET_ACCESS_KEY: "wrong" },
      /the credentials were not taken \(SignatureDoesNotMatch: .*; request 4442587FB7D0A2F9\)$/,
    ],
    ["an unknown id", {}, { ...SECRETS, AWS_ACCESS_KEY_ID: "AKIDOTHER" }, /not taken \(InvalidAccessKeyId/],
    [
      "a token that is over",
      { sessionToken: "new" },
      { ...SECRETS, AWS_SESSION_TOKEN: "old" },
      /not taken \(ExpiredToken/,
    ],
    [
      "another region",
      { region: "eu-central-1" },
      SECRETS,
      /the bucket is in the region "eu-central-1": set its region to that/,
    ],
    [
      "a bucket that is elsewhere",
      { moved: { status: 301, region: "us-west-2" } },
      SECRETS,
      /the bucket is in the region "us-west-2".*PermanentRedirect/,
    ],
    [
      "a bucket that is elsewhere for now",
      { moved: { status: 307, region: "us-west-2" } },
      SECRETS,
      /the bucket is at "assets\.s3\.us-west-2\.amazonaws\.com".*TemporaryRedirect/,
    ],
    [
      "a bucket that is not there",
      { bucket: "other" },
      SECRETS,
      /there is no such bucket, or it is closed \(NoSuchBucket/,
    ],
    [
      "a request that is refused in an unknown way",
      { failing: { status: 400, code: "Odd" } },
      SECRETS,
      /refused with 400 \(Odd/,
    ],
  ];
  test.each(cases)("%s", async (_, setup, secrets, sentence) => {
    const { hop, told } = await stage({ a: "x" }, { setup, secrets });
    const failure = await failureOf(ask(hop, "/a"));
    expect(failure.code).toBe("http_protocol_error");
    expect(failure.message).toMatch(sentence);
    expect(failure.message).toStartWith('origin "files": the S3 bucket "assets": ');
    expect(told).toEqual([failure.message]);
    const said = failure.message;
    for (const secret of [S3_KEYS.secretAccessKey, "wrong"]) expect(said).not.toContain(secret);
  });

  test("a clock that is off, by how much and in which direction", async () => {
    const { hop, told, s3, clock } = await stage({ a: "x" });
    s3.setup.nowMs = () => clock.now() - 20 * 60_000;
    await failureOf(ask(hop, "/a"));
    s3.setup.nowMs = () => clock.now() + 3600_000;
    clock.advance(60_000);
    await failureOf(ask(hop, "/a"));
    expect(told).toHaveLength(2);
    expect(told[0]).toContain(
      "this node's clock is 20 minutes ahead of the store's: set this node's clock right",
    );
    expect(told[1]).toContain("this node's clock is 60 minutes behind the store's");
  });

  test("also a HEAD, whose answer has no words, is no plain 403", async () => {
    const { hop, told, s3, clock } = await stage({ a: "x" });
    s3.setup.nowMs = () => clock.now() - 20 * 60_000;
    await failureOf(ask(hop, "/a", {}, "HEAD"));
    expect(told[0]).toContain("RequestTimeTooSkewed");
  });

  test("is told once a minute for each kind, however many ask", async () => {
    const { hop, told, clock, s3 } = await stage({ a: "x" });
    s3.setup.secretAccessKey = "changed";
    for (let i = 0; i < 5; i++) await failureOf(ask(hop, "/a"));
    expect(told).toHaveLength(1);
    s3.setup.region = "us-east-2";
    await failureOf(ask(hop, "/a"));
    expect(told).toHaveLength(2);
    clock.advance(60_000);
    await failureOf(ask(hop, "/a"));
    expect(told).toHaveLength(3);
  });

  test("an object that is stored away is a 403, and told", async () => {
    const { hop, told } = await stage(
      {},
      { origin: { deniedAsMissing: true }, setup: { failing: { status: 403, code: "InvalidObjectState" } } },
    );
    expect((await ask(hop, "/a")).status).toBe(403);
    expect(told[0]).toContain('the object "a" was refused with InvalidObjectState');
  });

  test("a store in trouble keeps its status, and is asked no more often than it says", async () => {
    const busy = { status: 503, code: "SlowDown", fields: { "retry-after": "7" } };
    const { hop, s3 } = await stage({ a: "x" }, { setup: { failing: busy } });
    const response = await ask(hop, "/a");
    expect([response.status, response.fields.get("retry-after")]).toEqual([503, "7"]);
    expect(await readText(response.body)).toBe("503 Service Unavailable\n");
    s3.setup.failing = { status: 429, code: "TooManyRequests" };
    expect((await ask(hop, "/a")).status).toBe(503);
    s3.setup.failing = { status: 500, code: "InternalError" };
    expect((await ask(hop, "/a")).status).toBe(500);
  });
});

test("credentials that were renewed are used by the request that found the old ones refused", async () => {
  const secrets = { ...SECRETS };
  const { hop, s3, clock, told } = await stage({ a: "x" }, { secrets });
  expect((await ask(hop, "/a")).status).toBe(200);
  clock.advance(10_000);
  s3.setup.secretAccessKey = "second";
  secrets.AWS_SECRET_ACCESS_KEY = "second";
  expect((await ask(hop, "/a")).status).toBe(200);
  expect((await ask(hop, "/a", {}, "HEAD")).status).toBe(200);
  expect(told).toEqual([]);
});

test("a store that answers a part or a 304 that nobody asked for is not believed", async () => {
  const { hop, s3 } = await stage({ a: "x" });
  s3.setup.failing = { status: 304, code: "x" };
  expect((await failureOf(ask(hop, "/a"))).message).toContain("304 to a request without a condition");
  s3.setup.failing = { status: 206, code: "x" };
  expect((await failureOf(ask(hop, "/a"))).message).toContain("206 to a request without a range");
});
