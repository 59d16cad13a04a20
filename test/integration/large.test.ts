/** Large objects: stored in parts, one version at a time, read where viewers like, fetched once. */

import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { content, fileAnswer, type OriginFile, startFileOrigin } from "../kit/file-origin.ts";
import { startOrigin, type TestOrigin } from "../kit/origin.ts";

const MB = 1024 * 1024;
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** An origin whose way with the whole the test says. Its URL. */
async function plainOrigin(...how: Parameters<typeof startFileOrigin>): Promise<string> {
  const origin = await startFileOrigin(...how);
  stops.push(() => origin.stop());
  return origin.url;
}

interface Stage {
  readonly edge: TestEdge;
  readonly origin: TestOrigin;
  readonly file: OriginFile;
  readonly clock: ManualClock;
  /** Bytes that the origin was asked for, by its Range fields; the whole counts whole. */
  asked(): number;
}

async function stage(
  length: number,
  options: Partial<TestEdgeOptions> = {},
  made: Partial<OriginFile> = {},
): Promise<Stage> {
  const clock = new ManualClock(Date.UTC(2026, 0, 1));
  const file: OriginFile = { bytes: content(length, 1), etag: '"v1"', ranges: true, fields: {}, ...made };
  const origin = startOrigin((request) => fileAnswer(request, file), clock);
  stops.push(() => origin.stop());
  const edge = await startTestEdge({
    origin: origin.url,
    clock,
    config: { cache: { disk: { size: "4GiB" } } },
    ...options,
  });
  stops.push(() => edge.stop());
  return {
    edge,
    origin,
    file,
    clock,
    asked: () =>
      origin.seen.reduce((sum, { headers }) => {
        const range = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "");
        return sum + (range === null ? length : Math.min(length, Number(range[2]) + 1) - Number(range[1]));
      }, 0),
  };
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

describe("a large object", () => {
  test("streams to its first viewer, is stored on the way, and is a hit then and after a restart", async () => {
    const { edge, origin, file } = await stage(40 * MB);
    const first = await edge.get("/film");
    expect([first.status, first.cache, same(first.bytes, file.bytes)]).toEqual([200, "MISS", true]);
    const second = await edge.get("/film");
    expect([second.status, second.cache, same(second.bytes, file.bytes)]).toEqual([200, "HIT", true]);
    await edge.restart();
    const third = await edge.get("/film");
    expect([third.status, third.cache, same(third.bytes, file.bytes)]).toEqual([200, "HIT", true]);
    expect(third.headers.get("etag")).toBe('"v1"');
    expect(origin.count()).toBe(1);
  });

  test("is fetched once for twenty viewers who come at the same time", async () => {
    const { edge, origin, file } = await stage(24 * MB);
    const answers = await Promise.all(Array.from({ length: 20 }, () => edge.get("/film")));
    for (const answer of answers)
      expect([answer.status, same(answer.bytes, file.bytes)]).toEqual([200, true]);
    expect(origin.count()).toBe(1);
  });

  test("answers 304, HEAD and 416 without a byte of it", async () => {
    const { edge, origin } = await stage(8 * MB);
    await edge.get("/film", { range: "bytes=0-0" });
    expect((await edge.get("/film", { "if-none-match": '"v1"' })).status).toBe(304);
    const head = await edge.get("/film", {}, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(8 * MB)]);
    const beyond = await edge.get("/film", { range: `bytes=${8 * MB}-` });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, `bytes */${8 * MB}`]);
    expect(origin.count()).toBe(1);
  });
});

describe("a range of what is not stored", () => {
  test("fetches its part and not the whole; a second one only what is missing", async () => {
    const { edge, origin, file, asked } = await stage(200 * MB);
    const at = 150 * MB + 12_345;
    const first = await edge.get("/film", { range: `bytes=${at}-${at + 99_999}` });
    expect([first.status, first.cache]).toEqual([206, "MISS"]);
    expect(first.headers.get("content-range")).toBe(`bytes ${at}-${at + 99_999}/${200 * MB}`);
    expect(same(first.bytes, file.bytes.subarray(at, at + 100_000))).toBe(true);
    expect(asked()).toBeLessThanOrEqual(MB);
    const again = await edge.get("/film", { range: `bytes=${at}-${at + 99_999}` });
    expect([again.status, again.cache, same(again.bytes, first.bytes)]).toEqual([206, "HIT", true]);
    expect(origin.count()).toBe(1);
    const more = await edge.get("/film", { range: `bytes=${at - MB}-${at + MB}` });
    expect(same(more.bytes, file.bytes.subarray(at - MB, at + MB + 1))).toBe(true);
    expect(more.headers.get("cache-status")).toContain("fwd=partial");
    expect(asked()).toBeLessThanOrEqual(4 * MB);
  });

  test("is kept over a restart, and the rest is fetched then", async () => {
    const { edge, file, asked } = await stage(30 * MB);
    await edge.get("/film", { range: "bytes=0-999999" });
    await edge.restart();
    expect((await edge.get("/film", { range: "bytes=0-999999" })).cache).toBe("HIT");
    const whole = await edge.get("/film");
    expect([whole.status, same(whole.bytes, file.bytes)]).toEqual([200, true]);
    // Each byte once.
    expect(asked()).toBe(30 * MB);
  });

  test.each([
    ["bytes=-1000", 50 * MB - 1000, 50 * MB],
    ["bytes=-3000000", 50 * MB - 3_000_000, 50 * MB],
    [`bytes=${50 * MB - 10}-`, 50 * MB - 10, 50 * MB],
    ["bytes=0-0", 0, 1],
    ["bytes=262143-262144", 262_143, 262_145],
    [`bytes=${10 * MB}-${30 * MB}`, 10 * MB, 30 * MB + 1],
  ])("%s gives exactly its bytes", async (range, start, end) => {
    const { edge, file } = await stage(50 * MB);
    const answer = await edge.get("/film", { range });
    expect([answer.status, answer.headers.get("content-range")]).toEqual([
      206,
      `bytes ${start}-${end - 1}/${50 * MB}`,
    ]);
    expect(same(answer.bytes, file.bytes.subarray(start, end))).toBe(true);
  });

  test("several of them come as one multipart answer", async () => {
    const { edge, file } = await stage(50 * MB);
    const answer = await edge.get("/film", { range: `bytes=${40 * MB}-${40 * MB + 9},5-9` });
    expect(answer.status).toBe(206);
    const boundary = /boundary=(\S+)$/.exec(answer.headers.get("content-type") ?? "")?.[1];
    const part = (start: number, end: number) =>
      Buffer.concat([
        Buffer.from(
          `--${boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes ${start}-${end - 1}/${50 * MB}\r\n\r\n`,
        ),
        file.bytes.subarray(start, end),
        Buffer.from("\r\n"),
      ]);
    const wanted = Buffer.concat([
      part(40 * MB, 40 * MB + 10),
      part(5, 10),
      Buffer.from(`--${boundary}--\r\n`),
    ]);
    expect(same(answer.bytes, wanted)).toBe(true);
  });

  test("several of what is stored are the same bytes, verified or not", async () => {
    const { edge, file } = await stage(3 * MB);
    await edge.get("/film");
    await edge.restart();
    // The first is verified, the others are not; then all are.
    await edge.get("/film", { range: "bytes=0-9" });
    for (let round = 0; round < 2; round++) {
      const answer = await edge.get("/film", { range: "bytes=0-0,1000000-1000009,-1" });
      const parts = answer.bytes.length;
      const text = Buffer.from(answer.bytes).toString("latin1");
      const bodies = text.split(/\r\n--[^\r]+(?:--)?\r\n|^--[^\r]+\r\n/).flatMap((part) => {
        const end = part.indexOf("\r\n\r\n");
        return end < 0 ? [] : [part.slice(end + 4)];
      });
      const wanted = [
        [0, 1],
        [1_000_000, 1_000_010],
        [3 * MB - 1, 3 * MB],
      ].map(([start, end]) => Buffer.from(file.bytes.subarray(start, end)).toString("latin1"));
      expect([answer.status, answer.cache, bodies]).toEqual([206, "HIT", wanted]);
      expect(Number(answer.headers.get("content-length") ?? parts)).toBe(parts);
    }
  });

  test("beyond the end is 416 with the length", async () => {
    const { edge } = await stage(5 * MB);
    const answer = await edge.get("/film", { range: `bytes=${6 * MB}-` });
    expect([answer.status, answer.headers.get("content-range")]).toEqual([416, `bytes */${5 * MB}`]);
  });

  test("of an origin that has no ranges, or no validator, or of a small object fetches the whole once", async () => {
    for (const made of [
      { ranges: false },
      { etag: null },
      { etag: 'W/"v1"' },
    ] satisfies Partial<OriginFile>[]) {
      const { edge, file } = await stage(10 * MB, {}, made);
      for (const start of [5 * MB, 0]) {
        const answer = await edge.get("/film", { range: `bytes=${start}-${start + 99}` });
        expect([answer.status, same(answer.bytes, file.bytes.subarray(start, start + 100))]).toEqual([
          206,
          true,
        ]);
      }
    }
    const { edge, origin, file } = await stage(10_000);
    expect((await edge.get("/s", { range: "bytes=5-9" })).bytes).toEqual(file.bytes.slice(5, 10));
    const whole = await edge.get("/s");
    expect([whole.cache, same(whole.bytes, file.bytes)]).toEqual(["HIT", true]);
    expect(origin.count()).toBe(1);
  });

  test("of what may not be stored goes to the origin as it is", async () => {
    const { edge, origin, file } = await stage(60 * MB, {}, { fields: { "cache-control": "no-store" } });
    for (let i = 0; i < 3; i++) {
      const start = 40 * MB + i;
      const answer = await edge.get("/film", { range: `bytes=${start}-${start + 9}` });
      expect([answer.status, same(answer.bytes, file.bytes.subarray(start, start + 10))]).toEqual([
        206,
        true,
      ]);
    }
    expect(origin.seen.slice(-2).map(({ headers }) => headers.get("range"))).toEqual([
      `bytes=${40 * MB + 1}-${40 * MB + 10}`,
      `bytes=${40 * MB + 2}-${40 * MB + 11}`,
    ]);
  });
});

describe("If-Range of a large object", () => {
  test("gives the range of the version that it names, and the whole of another", async () => {
    const { edge, file } = await stage(6 * MB);
    const match = await edge.get("/film", { range: "bytes=100-199", "if-range": '"v1"' });
    expect([match.status, same(match.bytes, file.bytes.subarray(100, 200))]).toEqual([206, true]);
    const other = await edge.get("/film", { range: "bytes=100-199", "if-range": '"v0"' });
    expect([other.status, same(other.bytes, file.bytes)]).toEqual([200, true]);
  });
});

describe("versions are never mixed", () => {
  test("a version that changed at the origin is found out when a missing part is asked for", async () => {
    const { edge, file } = await stage(50 * MB);
    const first = await edge.get("/film", { range: "bytes=0-99" });
    expect(same(first.bytes, file.bytes.subarray(0, 100))).toBe(true);
    file.bytes = content(50 * MB, 2);
    file.etag = '"v2"';
    const later = await edge.get("/film", { range: `bytes=${30 * MB}-${30 * MB + 99}` });
    expect([later.status, later.headers.get("etag")]).toEqual([206, '"v2"']);
    expect(same(later.bytes, file.bytes.subarray(30 * MB, 30 * MB + 100))).toBe(true);
    const begin = await edge.get("/film", { range: "bytes=0-99" });
    expect([begin.headers.get("etag"), same(begin.bytes, file.bytes.subarray(0, 100))]).toEqual([
      '"v2"',
      true,
    ]);
  });

  test("a viewer in the middle of one gets no byte of another: the connection breaks instead", async () => {
    const { edge, file } = await stage(100 * MB);
    await edge.get("/film", { range: "bytes=0-99" });
    const response = await fetch(`${edge.url}/film`);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const old = file.bytes;
    let at = 0;
    let failed = false;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        expect(same(value, old.subarray(at, at + value.byteLength))).toBe(true);
        at += value.byteLength;
        if (at < MB) continue;
        file.bytes = content(100 * MB, 2);
        file.etag = '"v2"';
      }
    } catch {
      failed = true;
    }
    expect(failed).toBe(true);
    expect(at).toBeLessThan(100 * MB);
  });

  test("a refresh asks for a part, not for the whole, and takes the new version from there", async () => {
    const { edge, origin, file, clock } = await stage(
      90 * MB,
      {},
      { fields: { "cache-control": "max-age=10, stale-while-revalidate=1000" } },
    );
    await edge.get("/film", { range: "bytes=0-99" });
    clock.advance(20_000);
    file.bytes = content(90 * MB, 2);
    file.etag = '"v2"';
    expect((await edge.get("/film", { range: "bytes=0-99" })).cache).toBe("UPDATING");
    await Bun.sleep(200);
    expect(origin.seen.at(-1)?.headers.get("if-none-match")).toBe('"v1"');
    expect(origin.seen.at(-1)?.headers.get("range")).toBe(`bytes=0-${8 * MB - 1}`);
    const next = await edge.get("/film", { range: `bytes=${5 * MB}-${5 * MB + 99}` });
    expect([next.cache, next.headers.get("etag")]).toEqual(["HIT", '"v2"']);
    expect(same(next.bytes, file.bytes.subarray(5 * MB, 5 * MB + 100))).toBe(true);
  });

  test("a stale one is confirmed with a condition and keeps its parts", async () => {
    const { edge, origin, file, clock } = await stage(90 * MB);
    await edge.get("/film", { range: "bytes=0-99" });
    clock.advance(4_000_000);
    const answer = await edge.get("/film", { range: "bytes=0-99" });
    expect([answer.cache, same(answer.bytes, file.bytes.subarray(0, 100))]).toEqual(["REVALIDATED", true]);
    expect(origin.count()).toBe(2);
  });
});

describe("a viewer", () => {
  test("who seeks in a film that is still being fetched does not wait for its beginning", async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const file = content(64 * MB, 1);
    const { edge } = await stage(0, {
      origin: await plainOrigin(file, async (response) => {
        // The whole hangs after its first megabyte.
        response.write(file.subarray(0, MB));
        await held;
        response.end(file.subarray(MB));
      }),
    });
    const whole = (await fetch(`${edge.url}/film`)).bytes();
    const seek = await edge.get("/film", { range: `bytes=${50 * MB}-${50 * MB + 999}` });
    expect([seek.status, same(seek.bytes, file.subarray(50 * MB, 50 * MB + 1000))]).toEqual([206, true]);
    release();
    expect(same(await whole, file)).toBe(true);
  });

  test("who is slow slows nobody else", async () => {
    const { edge, file } = await stage(48 * MB);
    const slow = await fetch(`${edge.url}/film`);
    const reader = (slow.body as ReadableStream<Uint8Array>).getReader();
    const first = await reader.read();
    const fast = await edge.get("/film");
    expect(same(fast.bytes, file.bytes)).toBe(true);
    const pieces = [first.value as Uint8Array];
    for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
    expect(same(Buffer.concat(pieces), file.bytes)).toBe(true);
  });

  test("does not notice that the origin broke off: the rest is fetched by its range", async () => {
    const file = content(32 * MB, 1);
    let broken = 0;
    const { edge } = await stage(0, {
      origin: await plainOrigin(file, (response) => {
        broken++;
        response.write(file.subarray(0, 5 * MB + 17), () => response.destroy());
      }),
    });
    const answer = await edge.get("/film");
    expect([answer.status, same(answer.bytes, file)]).toEqual([200, true]);
    expect(broken).toBe(1);
  });

  test("of several ranges is not cut off by a purge between two of them", async () => {
    const { edge, file } = await stage(64 * MB);
    await edge.get("/film");
    const response = await fetch(`${edge.url}/film`, {
      headers: { range: `bytes=0-${40 * MB},${50 * MB}-${60 * MB}` },
    });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const pieces = [(await reader.read()).value as Uint8Array];
    const { entry } = edge.log.append(
      { site: "test", scope: "everything", targets: [], mode: "hard", acceptedMs: 0 },
      null,
    );
    await edge.edge.purge(entry).counted;
    for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
    const bytes = Buffer.concat(pieces);
    const second = bytes.indexOf("\r\n\r\n", 40 * MB) + 4;
    expect(
      same(bytes.subarray(second, second + 10 * MB + 1), file.bytes.subarray(50 * MB, 60 * MB + 1)),
    ).toBe(true);
    expect((await edge.get("/film", { range: "bytes=0-9" })).cache).toBe("MISS");
  });

  test("in the middle of a film is not cut off by a purge of it", async () => {
    const { edge, file } = await stage(64 * MB);
    await edge.get("/film");
    const response = await fetch(`${edge.url}/film`);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const first = await reader.read();
    const { entry } = edge.log.append(
      { site: "test", scope: "everything", targets: [], mode: "hard", acceptedMs: 0 },
      null,
    );
    expect(await edge.edge.purge(entry).counted).toBe(1);
    const pieces = [first.value as Uint8Array];
    for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
    expect(same(Buffer.concat(pieces), file.bytes)).toBe(true);
    expect((await edge.get("/film")).cache).toBe("MISS");
  });
});
