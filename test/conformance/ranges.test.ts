/** Single ranges from a stored whole (RFC 9110 section 14). */
import { describe, expect, test } from "bun:test";
import { brotliDecompressSync, gzipSync } from "node:zlib";
import { cacheStatus, lab, text } from "./support.ts";

const l = lab();
const ten = "0123456789";
const path = (headers: Record<string, string> = {}, body = ten) =>
  l.path(() => text(body, { "cache-control": "max-age=1000", etag: '"a"', ...headers }));

describe("a range of a stored whole", () => {
  const cases: [string, string, string][] = [
    ["bytes=0-3", "0123", "bytes 0-3/10"],
    ["bytes=4-4", "4", "bytes 4-4/10"],
    ["bytes=5-", "56789", "bytes 5-9/10"],
    ["bytes=0-", ten, "bytes 0-9/10"],
    ["bytes=-3", "789", "bytes 7-9/10"],
    ["bytes=-10", ten, "bytes 0-9/10"],
    ["bytes=-100", ten, "bytes 0-9/10"],
    ["bytes=8-100", "89", "bytes 8-9/10"],
    ["bytes=0-99999999999999999999", ten, "bytes 0-9/10"],
    ["BYTES=1-2", "12", "bytes 1-2/10"],
    ["bytes= 1-2", "12", "bytes 1-2/10"],
    ["bytes=,1-2,", "12", "bytes 1-2/10"],
  ];
  for (const [value, body, range] of cases) {
    test(`${value} is answered 206 with ${range}`, async () => {
      const p = path();
      await l.get(p);
      const answer = await l.get(p, { range: value });
      expect(answer).toMatchObject({ status: 206, body, cache: "HIT" });
      expect(answer.headers.get("content-range")).toBe(range);
      expect(answer.headers.get("content-length")).toBe(String(body.length));
      expect(answer.headers.get("etag")).toBe('"a"');
      expect(cacheStatus(answer)).toMatchObject({ hit: true });
      expect(l.seen(p).length).toBe(1);
    });
  }
  test("beyond the end is answered 416 with the length", async () => {
    const p = path();
    await l.get(p);
    for (const value of ["bytes=10-", "bytes=100-200", "bytes=-0"]) {
      const answer = await l.get(p, { range: value });
      expect(answer).toMatchObject({ status: 416, body: "", cache: "HIT" });
      expect(answer.headers.get("content-range")).toBe("bytes */10");
    }
    expect(await l.get(p)).toMatchObject({ status: 200, body: ten, cache: "HIT" });
  });
  test("that is several ranges gets them in the order asked, each with its place (RFC 9110 section 14.6)", async () => {
    const p = path();
    await l.get(p);
    for (const [value, parts] of [
      [
        "bytes=0-1,3-4",
        [
          ["0-1", "01"],
          ["3-4", "34"],
        ],
      ],
      [
        "bytes=0-1, -2",
        [
          ["0-1", "01"],
          ["8-9", "89"],
        ],
      ],
      [
        "bytes=5-6,0-0",
        [
          ["5-6", "56"],
          ["0-0", "0"],
        ],
      ],
      [
        "bytes=0-1,20-30,4-4",
        [
          ["0-1", "01"],
          ["4-4", "4"],
        ],
      ],
    ] as const) {
      const answer = await l.get(p, { range: value });
      expect([value, answer.status]).toEqual([value, 206]);
      expect(answer.headers.has("content-range")).toBe(false);
      expect(answer.headers.get("content-length")).toBe(String(answer.bytes.byteLength));
      const type = answer.headers.get("content-type") ?? "";
      const boundary = /^multipart\/byteranges; boundary=([\w-]+)$/.exec(type)?.[1];
      const wanted = parts.map(
        ([range, body]) =>
          `--${boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes ${range}/10\r\n\r\n${body}\r\n`,
      );
      expect(answer.body).toBe(`${wanted.join("")}--${boundary}--\r\n`);
    }
  });
  test("that is malformed or in another unit gets the whole", async () => {
    const p = path();
    await l.get(p);
    for (const value of [
      "bytes=3-2",
      "bytes=a-b",
      "bytes",
      "bytes=",
      "bytes=-",
      "lines=0-1",
      "bytes=1-2-3",
      "bytes=+1-2",
      "bytes=0x1-2",
    ]) {
      const answer = await l.get(p, { range: value });
      expect([value, answer.status, answer.body]).toEqual([value, 200, ten]);
      expect(answer.headers.has("content-range")).toBe(false);
    }
  });
  test("of an empty body", async () => {
    const p = path({}, "");
    await l.get(p);
    for (const value of ["bytes=0-", "bytes=0-0", "bytes=5-9"])
      expect((await l.get(p, { range: value })).status).toBe(416);
    expect(await l.get(p, { range: "bytes=-5" })).toMatchObject({ status: 200, body: "" });
  });
  test("of a stored error is ignored", async () => {
    const p = l.path(() => text(ten, { "cache-control": "max-age=10" }, 404));
    await l.get(p);
    expect(await l.get(p, { range: "bytes=0-1" })).toMatchObject({ status: 404, body: ten });
  });
  test("of a large body is exact at every edge", async () => {
    const large = Array.from({ length: 40_000 }, (_, i) => String(i)).join(",");
    const p = path({}, large);
    await l.get(p);
    for (const [start, end] of [
      [0, 0],
      [65_535, 65_536],
      [1, large.length - 2],
      [large.length - 1, large.length - 1],
      [100_000, 150_000],
    ] as const) {
      const answer = await l.get(p, { range: `bytes=${start}-${end}` });
      expect(answer.status).toBe(206);
      expect(answer.body).toBe(large.slice(start, end + 1));
    }
  });
  test("with a condition that says not modified is 304", async () => {
    const p = path();
    await l.get(p);
    expect((await l.get(p, { range: "bytes=0-1", "if-none-match": '"a"' })).status).toBe(304);
  });
  test("is cut from what is revalidated", async () => {
    const p = l.path((request) =>
      request.headers.has("if-none-match")
        ? new Response(null, { status: 304, headers: { etag: '"a"', "cache-control": "max-age=10" } })
        : text(ten, { etag: '"a"', "cache-control": "max-age=10" }),
    );
    await l.get(p);
    l.pass(10);
    expect(await l.get(p, { range: "bytes=2-3" })).toMatchObject({
      status: 206,
      body: "23",
      cache: "REVALIDATED",
    });
  });
});

describe("a range of a cold object", () => {
  test("asks the origin for the whole, stores it and cuts the range", async () => {
    const p = path();
    expect(await l.get(p, { range: "bytes=2-3" })).toMatchObject({ status: 206, body: "23", cache: "MISS" });
    expect(l.seen(p)[0]?.headers.has("range")).toBe(false);
    expect(await l.get(p)).toMatchObject({ status: 200, body: ten, cache: "HIT" });
  });
  test("beyond the end is 416 and the whole is stored", async () => {
    const p = path();
    expect((await l.get(p, { range: "bytes=50-" })).status).toBe(416);
    expect(await l.get(p)).toMatchObject({ status: 200, body: ten, cache: "HIT" });
  });
  test("that may not be stored is cut as well, or sent whole, and never stored as a part", async () => {
    const p = path({ "cache-control": "no-store" });
    for (let i = 0; i < 3; i++) {
      const answer = await l.get(p, { range: "bytes=2-3" });
      expect(answer.status === 206 ? answer.body : ten).toBe(answer.status === 206 ? "23" : answer.body);
    }
    expect(await l.get(p)).toMatchObject({ status: 200, body: ten });
  });
});

describe("If-Range", () => {
  const modified = l.date(-1000);
  const cases: [string, Record<string, string>, string, boolean][] = [
    ["the strong ETag", {}, '"a"', true],
    ["another ETag", {}, '"b"', false],
    ["the weak form of the ETag", {}, 'W/"a"', false],
    ["a weak stored ETag", { etag: 'W/"a"' }, 'W/"a"', false],
    ["a weak stored ETag, asked strongly", { etag: 'W/"a"' }, '"a"', false],
    ["the date of Last-Modified", { "last-modified": modified }, modified, true],
    ["an earlier date", { "last-modified": modified }, l.date(-2000), false],
    ["a later date", { "last-modified": modified }, l.date(-500), false],
    ["a date without Last-Modified", {}, modified, false],
    ["a date that is no date", { "last-modified": modified }, "yesterday", false],
    ["a star", {}, "*", false],
  ];
  for (const [name, fields, value, ranged] of cases) {
    test(`with ${name} gives ${ranged ? "the range" : "the whole"}`, async () => {
      const p = path(fields);
      await l.get(p);
      const answer = await l.get(p, { range: "bytes=2-3", "if-range": value });
      expect(answer).toMatchObject(ranged ? { status: 206, body: "23" } : { status: 200, body: ten });
      expect(answer.cache).toBe("HIT");
    });
  }
  test("with a Last-Modified of this very second gives the whole: that date is weak", async () => {
    const now = l.date();
    const p = path({ "last-modified": now });
    await l.get(p);
    expect((await l.get(p, { range: "bytes=2-3", "if-range": now })).status).toBe(200);
  });
  test("without Range changes nothing", async () => {
    const p = path();
    await l.get(p);
    expect(await l.get(p, { "if-range": '"b"' })).toMatchObject({ status: 200, body: ten });
  });
  test("that does not match turns an unsatisfiable range into the whole", async () => {
    const p = path();
    await l.get(p);
    expect((await l.get(p, { range: "bytes=50-", "if-range": '"b"' })).status).toBe(200);
  });
});

describe("a range of what is compressed", () => {
  const long = "a text that is long enough to be worth compressing. ".repeat(50);
  test("is cut from the form the origin sent, where the viewer takes it", async () => {
    const p = path({}, long);
    await l.get(p);
    for (const coding of ["identity", "gzip", "br", "zstd"]) {
      const answer = await l.get(p, { range: "bytes=10-19", "accept-encoding": coding });
      expect(answer).toMatchObject({ status: 206, body: long.slice(10, 20) });
      expect(answer.headers.has("content-encoding")).toBe(false);
      expect(answer.headers.get("content-range")).toBe(`bytes 10-19/${long.length}`);
      expect(answer.headers.get("etag")).toBe('"a"');
    }
  });
  test("of an encoded origin body is of the encoded bytes; who does not take the coding gets the whole", async () => {
    const gz = gzipSync(long);
    const p = l.path(
      () =>
        new Response(gz, {
          headers: {
            "content-type": "text/plain",
            "content-encoding": "gzip",
            etag: '"g"',
            "cache-control": "max-age=100",
          },
        }),
    );
    await l.get(p);
    const part = await l.get(p, { range: "bytes=0-9", "accept-encoding": "gzip" });
    expect(part.status).toBe(206);
    expect(part.headers.get("content-encoding")).toBe("gzip");
    expect(Buffer.from(part.bytes)).toEqual(gz.subarray(0, 10));
    expect(part.headers.get("content-range")).toBe(`bytes 0-9/${gz.byteLength}`);
    const whole = await l.get(p, { range: "bytes=0-9" });
    expect(whole).toMatchObject({ status: 200, body: long });
  });
  test("by the weak tag of a compressed form gives the whole in a form that is accepted", async () => {
    const p = path({}, long);
    await l.get(p);
    const br = await l.get(p, { "accept-encoding": "br" });
    expect(br.headers.get("etag")).toBe('W/"a"');
    const answer = await l.get(p, { "accept-encoding": "br", range: "bytes=0-9", "if-range": 'W/"a"' });
    expect(answer.status).toBe(200);
    const body =
      answer.headers.get("content-encoding") === "br"
        ? brotliDecompressSync(answer.bytes).toString()
        : answer.body;
    expect(body).toBe(long);
  });
});
