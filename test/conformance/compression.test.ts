/** Content codings: each viewer gets what they accept of one stored object (RFC 9110 sections 8.4, 12.5.3). */
import { describe, expect, test } from "bun:test";
import {
  brotliCompressSync,
  brotliDecompressSync,
  gunzipSync,
  gzipSync,
  zstdCompressSync,
  zstdDecompressSync,
} from "node:zlib";
import { startTestEdge } from "../kit/edge.ts";
import { startRawOrigin } from "../kit/raw-origin.ts";
import { type Answer, gate, lab, text } from "./support.ts";

const l = lab();
const off = lab({ behavior: { compress: false } });
const page = `<!doctype html>${"<p>a paragraph that is worth compressing — with some ünïcode</p>\n".repeat(60)}`;
const html = { "content-type": "text/html; charset=utf-8", "cache-control": "max-age=100", etag: '"page"' };

/** The body as the viewer's program would read it. */
function decoded(answer: Answer): string {
  switch (answer.headers.get("content-encoding")) {
    case null:
      return answer.body;
    case "gzip":
      return gunzipSync(answer.bytes).toString();
    case "br":
      return brotliDecompressSync(answer.bytes).toString();
    case "zstd":
      return zstdDecompressSync(answer.bytes).toString();
    default:
      throw new Error(`no such coding: ${answer.headers.get("content-encoding")}`);
  }
}

const encoders = { gzip: gzipSync, br: brotliCompressSync, zstd: zstdCompressSync } as const;
const encoded = (
  body: string,
  coding: keyof typeof encoders,
  headers: Record<string, string> = html,
  status = 200,
) =>
  new Response(new Uint8Array(encoders[coding](body)), {
    status,
    headers: { ...headers, "content-encoding": coding },
  });

describe("Accept-Encoding chooses", () => {
  const cases: [string, string | null][] = [
    ["gzip", "gzip"],
    ["br", "br"],
    ["zstd", "zstd"],
    ["gzip, deflate, br, zstd", "zstd"],
    ["gzip, deflate, br", "br"],
    ["gzip;q=1.0, br;q=0.5", "gzip"],
    ["br;q=0, gzip", "gzip"],
    ["gzip;q=0", null],
    ["identity", null],
    ["deflate", null],
    ["*", "zstd"],
    ["*;q=0", null],
    ["*;q=0.5, gzip;q=0", "zstd"],
    ["GZIP", "gzip"],
    ["x-gzip", "gzip"],
    ["", null],
    ["gzip;q=nonsense", null],
    ["gzipped, brr", null],
  ];
  const path = l.path(() => text(page, html));
  for (const [value, coding] of cases) {
    test(`${JSON.stringify(value)}: ${coding ?? "identity"}`, async () => {
      for (let i = 0; i < 2; i++) {
        const answer = await l.get(path, { "accept-encoding": value });
        expect(answer.headers.get("content-encoding")).toBe(coding);
        expect(decoded(answer)).toBe(page);
        expect(answer.headers.get("content-length")).toBe(String(answer.bytes.byteLength));
        expect(answer.headers.get("vary")).toBe("Accept-Encoding");
      }
    });
  }
  test("and all of them came of one request and one stored object", () => {
    expect(l.seen(path).length).toBe(1);
    expect(l.edge.edge.stats().store.objects).toBe(1);
  });
});

describe("an ETag", () => {
  test("is weak on a form the edge made, as it was on the form the origin sent, and both match If-None-Match", async () => {
    const path = l.path(() => text(page, html));
    const identity = await l.get(path);
    expect(identity.headers.get("etag")).toBe('"page"');
    for (const coding of ["gzip", "br", "zstd"]) {
      const answer = await l.get(path, { "accept-encoding": coding });
      expect(answer.headers.get("etag")).toBe('W/"page"');
      for (const tag of ['W/"page"', '"page"', "*"]) {
        const matched = await l.get(path, { "accept-encoding": coding, "if-none-match": tag });
        expect(matched.status).toBe(304);
        expect(matched.headers.get("etag")).toBe('W/"page"');
        expect(matched.headers.get("vary")).toBe("Accept-Encoding");
        expect(matched.headers.has("content-encoding")).toBe(false);
      }
      expect((await l.get(path, { "accept-encoding": coding, "if-none-match": '"other"' })).status).toBe(200);
    }
  });
  test("that is weak stays as it is", async () => {
    const path = l.path(() => text(page, { ...html, etag: 'W/"w"' }));
    expect((await l.get(path, { "accept-encoding": "br" })).headers.get("etag")).toBe('W/"w"');
  });
  test("is sent to the origin as the origin made it", async () => {
    const path = l.path((request) =>
      request.headers.get("if-none-match") === '"page"'
        ? new Response(null, { status: 304, headers: html })
        : text(page, html),
    );
    await l.get(path, { "accept-encoding": "br" });
    l.pass(100);
    const answer = await l.get(path, { "accept-encoding": "br", "if-none-match": 'W/"page"' });
    expect(answer).toMatchObject({ status: 304, cache: "REVALIDATED" });
    expect(decoded(await l.get(path, { "accept-encoding": "gzip" }))).toBe(page);
  });
});

describe("a body that the origin encoded", () => {
  for (const coding of ["gzip", "br", "zstd"] as const) {
    test(`in ${coding} is the same text to every viewer, byte for byte`, async () => {
      const path = l.path(() => encoded(page, coding));
      for (const accept of ["identity", "gzip", "br", "zstd", "gzip, br", "*"]) {
        for (let i = 0; i < 2; i++) {
          const answer = await l.get(path, { "accept-encoding": accept });
          expect(decoded(answer)).toBe(page);
          expect(answer.headers.get("content-length")).toBe(String(answer.bytes.byteLength));
          if (accept === "identity") expect(answer.headers.has("content-encoding")).toBe(false);
        }
      }
      expect(l.seen(path).length).toBe(1);
    });
    test(`in ${coding} keeps its own ETag in the origin's form, a weak one in others`, async () => {
      const path = l.path(() => encoded(page, coding));
      expect((await l.get(path, { "accept-encoding": coding })).headers.get("etag")).toBe('"page"');
      expect((await l.get(path)).headers.get("etag")).toBe('W/"page"');
    });
    for (const status of [404, 500, 203]) {
      test(`in ${coding} with status ${status} is expanded for who does not take it, stored or not`, async () => {
        for (const control of ["max-age=100", "no-store"]) {
          const path = l.path(() => encoded(page, coding, { ...html, "cache-control": control }, status));
          for (let i = 0; i < 2; i++) {
            const answer = await l.get(path);
            expect(answer).toMatchObject({ status, body: page });
            expect(answer.headers.has("content-encoding")).toBe(false);
            expect(decoded(await l.get(path, { "accept-encoding": coding }))).toBe(page);
          }
        }
      });
    }
    test(`in ${coding} and tiny is expanded, too`, async () => {
      for (const control of ["max-age=100", "no-store"]) {
        const path = l.path(() => encoded("tiny", coding, { ...html, "cache-control": control }));
        expect(await l.get(path)).toMatchObject({ body: "tiny" });
        expect(decoded(await l.get(path, { "accept-encoding": coding }))).toBe("tiny");
      }
    });
    test(`in ${coding} with no-transform goes as it is to who takes it, and is readable for who does not`, async () => {
      const path = l.path(() =>
        encoded(page, coding, { ...html, "cache-control": "max-age=100, no-transform" }),
      );
      expect((await l.get(path)).body).toBe(page);
      for (const accept of [coding, "gzip, br, zstd"]) {
        const same = await l.get(path, { "accept-encoding": accept });
        expect(same.headers.get("content-encoding")).toBe(coding);
        expect(Buffer.from(same.bytes)).toEqual(encoders[coding](page));
        expect(same.headers.get("etag")).toBe('"page"');
      }
    });
    test(`in ${coding} of an image type is not recoded for who takes it`, async () => {
      const path = l.path(() => encoded(page, coding, { ...html, "content-type": "image/png" }));
      expect((await l.get(path)).body).toBe(page);
      const same = await l.get(path, { "accept-encoding": "gzip, br, zstd" });
      expect(same.headers.get("content-encoding")).toBe(coding);
      expect(decoded(same)).toBe(page);
    });
  }
  test("in a coding we do not know goes through untouched", async () => {
    const path = l.path(
      () =>
        new Response("whatever it is".repeat(100), { headers: { ...html, "content-encoding": "exotic" } }),
    );
    for (const accept of ["identity", "gzip", "exotic"]) {
      const answer = await l.get(path, { "accept-encoding": accept });
      expect(answer.headers.get("content-encoding")).toBe("exotic");
      expect(answer.body).toBe("whatever it is".repeat(100));
    }
  });
  test("in two codings at once goes through untouched", async () => {
    const bytes = new Uint8Array(brotliCompressSync(gzipSync(page)));
    const path = l.path(() => new Response(bytes, { headers: { ...html, "content-encoding": "gzip, br" } }));
    const answer = await l.get(path, { "accept-encoding": "gzip, br" });
    expect(answer.headers.get("content-encoding")).toBe("gzip, br");
    expect(Buffer.from(answer.bytes)).toEqual(Buffer.from(bytes));
  });
  test("and is not what it says reaches no viewer as if it were", async () => {
    const path = l.path(
      () => new Response("this is no gzip".repeat(50), { headers: { ...html, "content-encoding": "gzip" } }),
    );
    const answer = await l.get(path);
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(answer.body).toBe("this is no gzip".repeat(50));
  });
});

describe("left alone are", () => {
  const untouched: [string, () => Response][] = [
    ["small bodies", () => text("small", html)],
    ["bodies just below the limit", () => text("x".repeat(511), html)],
    ["empty bodies", () => text("", html)],
    ["images", () => text(page, { ...html, "content-type": "image/png" })],
    ["videos", () => text(page, { ...html, "content-type": "video/mp4" })],
    ["archives", () => text(page, { ...html, "content-type": "application/zip" })],
    ["web fonts", () => text(page, { ...html, "content-type": "font/woff2" })],
    ["no-transform", () => text(page, { ...html, "cache-control": "max-age=100, no-transform" })],
    ["errors", () => text(page, html, 404)],
  ];
  for (const [name, handler] of untouched) {
    test(name, async () => {
      const path = l.path(handler);
      const expected = await handler().text();
      for (let i = 0; i < 2; i++) {
        const answer = await l.get(path, { "accept-encoding": "gzip, br, zstd" });
        expect(answer.headers.has("content-encoding")).toBe(false);
        expect(answer.body).toBe(expected);
        expect(answer.headers.get("content-length")).toBe(String(answer.bytes.byteLength));
        expect(answer.headers.get("etag")).toBe('"page"');
      }
    });
  }
  test("event streams, each event as it comes", async () => {
    const door = gate();
    const path = l.path(
      () =>
        new Response(
          (async function* () {
            yield new TextEncoder().encode("data: 1\n\n");
            await door.opened;
            yield new TextEncoder().encode("data: 2\n\n");
          })() as unknown as ReadableStream,
          { headers: { "content-type": "text/event-stream", "cache-control": "no-cache" } },
        ),
    );
    const response = await fetch(l.edge.url + path, {
      headers: { "accept-encoding": "gzip, br, zstd", accept: "text/event-stream" },
    });
    expect(response.headers.has("content-encoding")).toBe(false);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("data: 1\n\n");
    door.open();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("data: 2\n\n");
    expect((await reader.read()).done).toBe(true);
  });
  test("everything where compress is off", async () => {
    const path = off.path(() => text(page, html));
    const answer = await off.get(path, { "accept-encoding": "gzip, br, zstd" });
    expect(answer.headers.has("content-encoding")).toBe(false);
    expect(answer.headers.has("vary")).toBe(false);
    expect(answer.body).toBe(page);
  });
});

describe("what the origin is asked", () => {
  test("is the same whatever the viewer accepts, where the edge compresses", async () => {
    for (const accept of ["identity", "br", "gzip;q=0", "*"]) {
      const path = l.path(() => text(page, html));
      await l.get(path, { "accept-encoding": accept });
      expect(l.seen(path)[0]?.headers.get("accept-encoding")).toBe("gzip");
    }
  });
  test("is what the viewer accepts, in one form, where it does not", async () => {
    const seen = async (accept: string) => {
      const path = off.path(() => text(page, html));
      await off.get(path, { "accept-encoding": accept });
      return off.seen(path)[0]?.headers.get("accept-encoding");
    };
    expect(await seen("gzip;q=1.0, br")).toBe(await seen("br, gzip"));
    expect(await seen("identity")).toBe("identity");
  });
});

describe("what is not stored is coded as well", () => {
  for (const coding of ["gzip", "br", "zstd"]) {
    test(`in ${coding}, with its length when it is small`, async () => {
      const path = l.path(() => text(page, { ...html, "cache-control": "no-store" }));
      for (let i = 0; i < 2; i++) {
        const answer = await l.get(path, { "accept-encoding": coding });
        expect(answer.headers.get("content-encoding")).toBe(coding);
        expect(decoded(answer)).toBe(page);
        expect(answer.headers.get("content-length")).toBe(String(answer.bytes.byteLength));
        expect(answer.headers.get("etag")).toBe('W/"page"');
        expect(answer.headers.get("vary")).toBe("Accept-Encoding");
      }
    });
    test(`in ${coding}, piece by piece when it is large`, async () => {
      const large = page.repeat(200);
      const path = l.path(() => text(large, { ...html, "cache-control": "no-store" }));
      const answer = await l.get(path, { "accept-encoding": coding });
      expect(answer.headers.get("content-encoding")).toBe(coding);
      expect(decoded(answer)).toBe(large);
    });
    test(`and large bodies that are stored, on the first way and after (${coding})`, async () => {
      const large = page.repeat(200);
      const path = l.path(() => text(large, html));
      for (let i = 0; i < 3; i++)
        expect(decoded(await l.get(path, { "accept-encoding": coding }))).toBe(large);
      expect((await l.get(path)).body).toBe(large);
      expect(l.seen(path).length).toBe(1);
    });
  }
  test("and an encoded large body is expanded on its way", async () => {
    const noise = Array.from({ length: 120_000 }, (_, i) => ((i * 2_654_435_761) >>> 7).toString(36)).join(
      " ",
    );
    for (const control of ["max-age=100", "no-store"]) {
      const path = l.path(() => encoded(noise, "gzip", { ...html, "cache-control": control }));
      const answer = await l.get(path);
      expect(answer.headers.has("content-encoding")).toBe(false);
      expect(answer.body).toBe(noise);
    }
  });
  test("a body that breaks off reaches nobody as a whole, coded or expanded on its way", async () => {
    const gz = gzipSync(page.repeat(300));
    for (const [fields, body] of [
      ["content-encoding: gzip\r\n", gz],
      ["", Buffer.from(page.repeat(300))],
    ] as const) {
      const origin = startRawOrigin(async (connection) => {
        await connection.readHead();
        await connection.write(
          `HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncache-control: no-store\r\n${fields}content-length: ${body.byteLength + 300_000}\r\n\r\n`,
        );
        await connection.write(body.subarray(0, body.byteLength - 5));
        connection.end();
      });
      const edge = await startTestEdge({ origin: origin.url, clock: l.clock });
      try {
        for (const accept of ["identity", "br", "gzip"]) {
          const outcome = await edge.get("/x", { "accept-encoding": accept }).then(
            (answer) => answer.status,
            () => "broken",
          );
          expect([accept, outcome === "broken" || outcome === 502]).toEqual([accept, true]);
        }
      } finally {
        await edge.stop();
        origin.stop();
      }
    }
  });
  test("a page that is still being made shows early, coded", async () => {
    const door = gate();
    const begin = "<p>the beginning of a page that takes its time</p>".repeat(30);
    const path = l.path(
      () =>
        new Response(
          (async function* () {
            yield new TextEncoder().encode(begin);
            await door.opened;
            yield new TextEncoder().encode("<p>the end</p>");
          })() as unknown as ReadableStream,
          { headers: { "content-type": "text/html", "cache-control": "no-store" } },
        ),
    );
    const ticking = setInterval(() => l.pass(0.01), 2);
    const response = await fetch(l.edge.url + path, { headers: { "accept-encoding": "br" } });
    clearInterval(ticking);
    expect(response.headers.get("content-encoding")).toBe("br");
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let early = "";
    while (!early.includes("takes its time"))
      early += new TextDecoder().decode((await reader.read()).value, { stream: true });
    door.open();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read())
      early += new TextDecoder().decode(piece.value, { stream: true });
    expect(early).toBe(`${begin}<p>the end</p>`);
  });
});

test("many viewers of one object in many codings at once each get the right one", async () => {
  const path = l.path(() => text(page, html));
  const accepts = ["identity", "gzip", "br", "zstd"];
  const answers = await Promise.all(
    Array.from({ length: 80 }, (_, i) => l.get(path, { "accept-encoding": accepts[i % 4] as string })),
  );
  for (const [i, answer] of answers.entries()) {
    const coding = accepts[i % 4];
    expect(answer.headers.get("content-encoding")).toBe(coding === "identity" ? null : (coding as string));
    expect(decoded(answer)).toBe(page);
  }
  expect(l.seen(path).length).toBe(1);
});

test("responses that carry a digest of the body lose it in other forms", async () => {
  const path = l.path(() =>
    text(page, { ...html, "content-digest": "sha-256=:AAAA:", "repr-digest": "sha-256=:AAAA:" }),
  );
  expect((await l.get(path)).headers.has("content-digest")).toBe(true);
  const br = await l.get(path, { "accept-encoding": "br" });
  expect(br.headers.has("content-digest")).toBe(false);
  expect(br.headers.has("repr-digest")).toBe(false);
});
