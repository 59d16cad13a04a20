/** Large objects: stored in parts, one version at a time, read where viewers like, fetched once. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ManualClock } from "../../src/base/clock.ts";
import { formatHttpDate } from "../../src/http/date.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";

const MB = 1024 * 1024;

/** Bytes that tell their place and their version: any mixture shows. */
function content(length: number, version: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2_654_435_761) ^ version;
  return new Uint8Array(words.buffer, 0, length);
}

/** A file at the origin. */
interface File {
  bytes: Uint8Array<ArrayBuffer>;
  etag: string | null;
  /** Answers ranges with 206. */
  ranges: boolean;
  cacheControl: string;
  /** Sends the whole, its head being written; otherwise it is sent at once. */
  whole: ((response: ServerResponse) => void | Promise<void>) | null;
  readonly seen: IncomingHttpHeaders[];
}

const files = new Map<string, File>();
const clock = new ManualClock(Date.UTC(2026, 0, 1));
const server = createServer(serveFile);
let edge: TestEdge;

beforeAll(async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  edge = await startTestEdge({
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    clock,
    config: { cache: { disk: { size: "4GiB" } } },
  });
}, 20_000);
afterAll(async () => {
  await edge.stop();
  server.closeAllConnections();
  await once(server.close(), "close");
});

/** Answers ranges and conditions as a file server does. */
function serveFile(request: IncomingMessage, response: ServerResponse): void {
  const file = files.get(request.url ?? "");
  if (file === undefined) {
    response.writeHead(404).end();
    return;
  }
  file.seen.push(request.headers);
  const { length } = file.bytes;
  const headers: Record<string, string | number> = {
    "content-type": "video/mp4",
    "cache-control": file.cacheControl,
    "accept-ranges": "bytes",
    date: formatHttpDate(clock.now()),
    ...(file.etag === null ? {} : { etag: file.etag }),
  };
  if (file.etag !== null && request.headers["if-none-match"] === file.etag) {
    response.writeHead(304, headers).end();
    return;
  }
  const ifRange = request.headers["if-range"];
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  if (range === null || !file.ranges || (ifRange !== undefined && ifRange !== file.etag)) {
    response.writeHead(200, { ...headers, "content-length": length });
    if (file.whole === null) response.end(file.bytes);
    else void file.whole(response);
    return;
  }
  const [, first = "", last = ""] = range;
  const start = first === "" ? Math.max(0, length - Number(last)) : Number(first);
  const end = first === "" || last === "" ? length : Math.min(length, Number(last) + 1);
  if (start >= length) {
    response.writeHead(416, { ...headers, "content-range": `bytes */${length}` }).end();
    return;
  }
  const place = `bytes ${start}-${end - 1}/${length}`;
  response.writeHead(206, { ...headers, "content-range": place, "content-length": end - start });
  response.end(file.bytes.subarray(start, end));
}

interface Stage {
  readonly path: string;
  readonly file: File;
  /** How often the origin was asked. */
  count(): number;
  /** Bytes that it was asked for, by the Range fields; the whole counts whole. */
  asked(): number;
}

/** A new file of this length. */
function stage(length: number, made: Partial<File> = {}): Stage {
  const path = `/film-${files.size + 1}`;
  const file: File = {
    bytes: content(length, 1),
    etag: '"v1"',
    ranges: true,
    cacheControl: "max-age=3600",
    whole: null,
    seen: [],
    ...made,
  };
  files.set(path, file);
  return {
    path,
    file,
    count: () => file.seen.length,
    asked: () =>
      file.seen.reduce((sum, headers) => {
        const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
        return sum + (range === null ? length : Math.min(length, Number(range[2]) + 1) - Number(range[1]));
      }, 0),
  };
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

describe("a large object", () => {
  test("streams to its first viewer, is stored on the way, and is a hit then and after a restart", async () => {
    const { path, count, file } = stage(12 * MB);
    const first = await edge.get(path);
    expect([first.status, first.cache, same(first.bytes, file.bytes)]).toEqual([200, "MISS", true]);
    const second = await edge.get(path);
    expect([second.status, second.cache, same(second.bytes, file.bytes)]).toEqual([200, "HIT", true]);
    await edge.restart();
    const third = await edge.get(path);
    expect([third.status, third.cache, same(third.bytes, file.bytes)]).toEqual([200, "HIT", true]);
    expect(third.headers.get("etag")).toBe('"v1"');
    expect(count()).toBe(1);
  });

  test("is fetched once for twenty viewers who come at the same time", async () => {
    const { path, count, file } = stage(12 * MB);
    const view = async () => {
      const response = await fetch(edge.url + path, { keepalive: false });
      let at = 0;
      for await (const piece of response.body as ReadableStream<Uint8Array>) {
        if (!same(piece, file.bytes.subarray(at, at + piece.byteLength))) return -1;
        at += piece.byteLength;
      }
      return at;
    };
    const read = await Promise.all(Array.from({ length: 20 }, view));
    expect(new Set(read)).toEqual(new Set([12 * MB]));
    expect(count()).toBe(1);
  });

  test("answers 304, HEAD and 416 without a byte of it", async () => {
    const { path, count } = stage(8 * MB);
    await edge.get(path, { range: "bytes=0-0" });
    expect((await edge.get(path, { "if-none-match": '"v1"' })).status).toBe(304);
    const head = await edge.get(path, {}, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(8 * MB)]);
    const beyond = await edge.get(path, { range: `bytes=${8 * MB}-` });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, `bytes */${8 * MB}`]);
    expect(count()).toBe(1);
  });
});

describe("a range of what is not stored", () => {
  test("fetches its part and not the whole; a second one only what is missing", async () => {
    const { path, count, file, asked } = stage(40 * MB);
    const at = 25 * MB + 12_345;
    const first = await edge.get(path, { range: `bytes=${at}-${at + 99_999}` });
    expect([first.status, first.cache]).toEqual([206, "MISS"]);
    expect(first.headers.get("content-range")).toBe(`bytes ${at}-${at + 99_999}/${40 * MB}`);
    expect(same(first.bytes, file.bytes.subarray(at, at + 100_000))).toBe(true);
    expect(asked()).toBeLessThanOrEqual(MB);
    const again = await edge.get(path, { range: `bytes=${at}-${at + 99_999}` });
    expect([again.status, again.cache, same(again.bytes, first.bytes)]).toEqual([206, "HIT", true]);
    expect(count()).toBe(1);
    const more = await edge.get(path, { range: `bytes=${at - MB}-${at + MB}` });
    expect(same(more.bytes, file.bytes.subarray(at - MB, at + MB + 1))).toBe(true);
    expect(more.headers.get("cache-status")).toContain("fwd=partial");
    expect(asked()).toBeLessThanOrEqual(4 * MB);
  });

  test("is kept over a restart, and the rest is fetched then", async () => {
    const { path, file, asked } = stage(20 * MB);
    await edge.get(path, { range: "bytes=0-999999" });
    await edge.restart();
    expect((await edge.get(path, { range: "bytes=0-999999" })).cache).toBe("HIT");
    const whole = await edge.get(path);
    expect([whole.status, same(whole.bytes, file.bytes)]).toEqual([200, true]);
    // Each byte once.
    expect(asked()).toBe(20 * MB);
  });

  test.each([
    ["bytes=-1000", 24 * MB - 1000, 24 * MB],
    ["bytes=-3000000", 24 * MB - 3_000_000, 24 * MB],
    [`bytes=${24 * MB - 10}-`, 24 * MB - 10, 24 * MB],
    ["bytes=0-0", 0, 1],
    ["bytes=262143-262144", 262_143, 262_145],
    [`bytes=${6 * MB}-${17 * MB}`, 6 * MB, 17 * MB + 1],
  ])("%s gives exactly its bytes", async (range, start, end) => {
    const { path, file } = stage(24 * MB);
    const answer = await edge.get(path, { range });
    expect([answer.status, answer.headers.get("content-range")]).toEqual([
      206,
      `bytes ${start}-${end - 1}/${24 * MB}`,
    ]);
    expect(same(answer.bytes, file.bytes.subarray(start, end))).toBe(true);
  });

  test("several of them come as one multipart answer", async () => {
    const { path, file } = stage(24 * MB);
    const answer = await edge.get(path, { range: `bytes=${20 * MB}-${20 * MB + 9},5-9` });
    expect(answer.status).toBe(206);
    const boundary = /boundary=(\S+)$/.exec(answer.headers.get("content-type") ?? "")?.[1];
    const part = (start: number, end: number) =>
      Buffer.concat([
        Buffer.from(
          `--${boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes ${start}-${end - 1}/${24 * MB}\r\n\r\n`,
        ),
        file.bytes.subarray(start, end),
        Buffer.from("\r\n"),
      ]);
    const wanted = Buffer.concat([
      part(20 * MB, 20 * MB + 10),
      part(5, 10),
      Buffer.from(`--${boundary}--\r\n`),
    ]);
    expect(same(answer.bytes, wanted)).toBe(true);
  });

  test("several of what is stored are the same bytes, verified or not", async () => {
    const { path, file } = stage(3 * MB);
    await edge.get(path);
    await edge.restart();
    // The first is verified, the others are not; then all are.
    await edge.get(path, { range: "bytes=0-9" });
    for (let round = 0; round < 2; round++) {
      const answer = await edge.get(path, { range: "bytes=0-0,1000000-1000009,-1" });
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
    const { path } = stage(5 * MB);
    const answer = await edge.get(path, { range: `bytes=${6 * MB}-` });
    expect([answer.status, answer.headers.get("content-range")]).toEqual([416, `bytes */${5 * MB}`]);
  });

  test("of an origin that has no ranges, or no validator, or of a small object fetches the whole once", async () => {
    for (const made of [{ ranges: false }, { etag: null }, { etag: 'W/"v1"' }] satisfies Partial<File>[]) {
      const { path, file } = stage(10 * MB, made);
      for (const start of [5 * MB, 0]) {
        const answer = await edge.get(path, { range: `bytes=${start}-${start + 99}` });
        expect([answer.status, same(answer.bytes, file.bytes.subarray(start, start + 100))]).toEqual([
          206,
          true,
        ]);
      }
    }
    const { path, count, file } = stage(10_000);
    expect((await edge.get(path, { range: "bytes=5-9" })).bytes).toEqual(file.bytes.slice(5, 10));
    const whole = await edge.get(path);
    expect([whole.cache, same(whole.bytes, file.bytes)]).toEqual(["HIT", true]);
    expect(count()).toBe(1);
  });

  test("of what may not be stored goes to the origin as it is", async () => {
    const { path, file } = stage(24 * MB, { cacheControl: "no-store" });
    for (let i = 0; i < 3; i++) {
      const start = 20 * MB + i;
      const answer = await edge.get(path, { range: `bytes=${start}-${start + 9}` });
      expect([answer.status, same(answer.bytes, file.bytes.subarray(start, start + 10))]).toEqual([
        206,
        true,
      ]);
    }
    expect(file.seen.slice(-2).map(({ range }) => range)).toEqual([
      `bytes=${20 * MB + 1}-${20 * MB + 10}`,
      `bytes=${20 * MB + 2}-${20 * MB + 11}`,
    ]);
  });
});

describe("If-Range of a large object", () => {
  test("gives the range of the version that it names, and the whole of another", async () => {
    const { path, file } = stage(6 * MB);
    const match = await edge.get(path, { range: "bytes=100-199", "if-range": '"v1"' });
    expect([match.status, same(match.bytes, file.bytes.subarray(100, 200))]).toEqual([206, true]);
    const other = await edge.get(path, { range: "bytes=100-199", "if-range": '"v0"' });
    expect([other.status, same(other.bytes, file.bytes)]).toEqual([200, true]);
  });
});

describe("versions are never mixed", () => {
  test("a version that changed at the origin is found out when a missing part is asked for", async () => {
    const { path, file } = stage(24 * MB);
    const first = await edge.get(path, { range: "bytes=0-99" });
    expect(same(first.bytes, file.bytes.subarray(0, 100))).toBe(true);
    file.bytes = content(24 * MB, 2);
    file.etag = '"v2"';
    const later = await edge.get(path, { range: `bytes=${17 * MB}-${17 * MB + 99}` });
    expect([later.status, later.headers.get("etag")]).toEqual([206, '"v2"']);
    expect(same(later.bytes, file.bytes.subarray(17 * MB, 17 * MB + 100))).toBe(true);
    const begin = await edge.get(path, { range: "bytes=0-99" });
    expect([begin.headers.get("etag"), same(begin.bytes, file.bytes.subarray(0, 100))]).toEqual([
      '"v2"',
      true,
    ]);
  });

  test("a viewer in the middle of one gets no byte of another: the connection breaks instead", async () => {
    const { path, file } = stage(40 * MB);
    await edge.get(path, { range: "bytes=0-99" });
    const response = await fetch(`${edge.url}${path}`);
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
        file.bytes = content(40 * MB, 2);
        file.etag = '"v2"';
      }
    } catch {
      failed = true;
    }
    expect(failed).toBe(true);
    expect(at).toBeLessThan(40 * MB);
  });

  test("a refresh asks for a part, not for the whole, and takes the new version from there", async () => {
    const { path, file } = stage(20 * MB, { cacheControl: "max-age=10, stale-while-revalidate=1000" });
    await edge.get(path, { range: "bytes=0-99" });
    clock.advance(20_000);
    file.bytes = content(20 * MB, 2);
    file.etag = '"v2"';
    expect((await edge.get(path, { range: "bytes=0-99" })).cache).toBe("UPDATING");
    await Bun.sleep(200);
    expect(file.seen.at(-1)?.["if-none-match"]).toBe('"v1"');
    expect(file.seen.at(-1)?.range).toBe(`bytes=0-${8 * MB - 1}`);
    const next = await edge.get(path, { range: `bytes=${5 * MB}-${5 * MB + 99}` });
    expect([next.cache, next.headers.get("etag")]).toEqual(["HIT", '"v2"']);
    expect(same(next.bytes, file.bytes.subarray(5 * MB, 5 * MB + 100))).toBe(true);
  });

  test("a stale one is confirmed with a condition and keeps its parts", async () => {
    const { path, count, file } = stage(20 * MB);
    await edge.get(path, { range: "bytes=0-99" });
    clock.advance(4_000_000);
    const answer = await edge.get(path, { range: "bytes=0-99" });
    expect([answer.cache, same(answer.bytes, file.bytes.subarray(0, 100))]).toEqual(["REVALIDATED", true]);
    expect(count()).toBe(2);
  });
});

describe("a viewer", () => {
  test("who seeks in a film that is still being fetched does not wait for its beginning", async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { path, file } = stage(24 * MB, {
      whole: async (response) => {
        // The whole hangs after its first megabyte.
        response.write(file.bytes.subarray(0, MB));
        await held;
        response.end(file.bytes.subarray(MB));
      },
    });
    const whole = (await fetch(`${edge.url}${path}`)).bytes();
    const seek = await edge.get(path, { range: `bytes=${20 * MB}-${20 * MB + 999}` });
    expect([seek.status, same(seek.bytes, file.bytes.subarray(20 * MB, 20 * MB + 1000))]).toEqual([
      206,
      true,
    ]);
    release();
    expect(same(await whole, file.bytes)).toBe(true);
  });

  test("who is slow slows nobody else", async () => {
    const { path, file } = stage(24 * MB);
    const slow = await fetch(`${edge.url}${path}`);
    const reader = (slow.body as ReadableStream<Uint8Array>).getReader();
    const first = await reader.read();
    const fast = await edge.get(path);
    expect(same(fast.bytes, file.bytes)).toBe(true);
    const pieces = [first.value as Uint8Array];
    for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
    expect(same(Buffer.concat(pieces), file.bytes)).toBe(true);
  });

  test("does not notice that the origin broke off: the rest is fetched by its range", async () => {
    let broken = 0;
    const { path, file } = stage(20 * MB, {
      whole: (response) => {
        broken++;
        response.write(file.bytes.subarray(0, 5 * MB + 17), () => response.destroy());
      },
    });
    const answer = await edge.get(path);
    expect([answer.status, same(answer.bytes, file.bytes)]).toEqual([200, true]);
    expect(broken).toBe(1);
  });

  test("of several ranges is not cut off by a purge between two of them", async () => {
    const { path, file } = stage(32 * MB);
    await edge.get(path);
    const response = await fetch(edge.url + path, {
      headers: { range: `bytes=0-${20 * MB},${24 * MB}-${30 * MB}` },
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
    const second = bytes.indexOf("\r\n\r\n", 20 * MB) + 4;
    expect(same(bytes.subarray(second, second + 6 * MB + 1), file.bytes.subarray(24 * MB, 30 * MB + 1))).toBe(
      true,
    );
    expect((await edge.get(path, { range: "bytes=0-9" })).cache).toBe("MISS");
  });

  test("in the middle of a film is not cut off by a purge of it", async () => {
    const { path, file } = stage(24 * MB);
    await edge.get(path);
    const response = await fetch(`${edge.url}${path}`);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const first = await reader.read();
    const { entry } = edge.log.append(
      { site: "test", scope: "everything", targets: [], mode: "hard", acceptedMs: 0 },
      null,
    );
    expect(await edge.edge.purge(entry).counted).toBeGreaterThanOrEqual(1);
    const pieces = [first.value as Uint8Array];
    for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value);
    expect(same(Buffer.concat(pieces), file.bytes)).toBe(true);
    expect((await edge.get(path)).cache).toBe("MISS");
  });
});
