/** Bodies both ways over real sockets: back-pressure, chunks, early answers, memory. */
import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock, systemClock } from "../../../src/base/clock.ts";
import { type BodyReader, bodyOf } from "../../../src/http/body.ts";
import { BODY_QUEUE_BYTES_MAX } from "../../../src/upstream/http1/limits.ts";
import { UpstreamError } from "../../../src/upstream/next-hop.ts";
import { HttpOrigin, type HttpOriginOptions } from "../../../src/upstream/origin.ts";
import { type RawConnection, type RawOrigin, startRawOrigin } from "../../kit/raw-origin.ts";
import { failureOf, readText, TIMEOUTS, until, upstreamRequest } from "../../kit/upstream-request.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MIB = 1024 * 1024;

let cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups) cleanup();
  cleanups = [];
});

function start(
  handler: (connection: RawConnection) => Promise<void> | void,
  options: Partial<HttpOriginOptions> = {},
): { raw: RawOrigin; origin: HttpOrigin } {
  const raw = startRawOrigin(handler);
  const origin = new HttpOrigin({ name: "app", url: raw.url, clock: systemClock, ...options });
  cleanups.push(() => {
    origin.close();
    raw.stop();
  });
  return { raw, origin };
}

/** A body of pieces that counts how many were asked for, and knows when it was given up. */
function bodyOfPieces(
  pieces: readonly (string | Uint8Array | Error)[],
): BodyReader & { asked: number; cancelled: boolean } {
  return {
    asked: 0,
    cancelled: false,
    async read() {
      const piece = pieces[this.asked++];
      if (piece instanceof Error) throw piece;
      return piece === undefined ? null : typeof piece === "string" ? Buffer.from(piece) : piece;
    },
    cancel() {
      this.cancelled = true;
    },
  };
}

const post = (origin: HttpOrigin, body: BodyReader, bodyLength: number | null) =>
  origin.fetch(upstreamRequest({ method: "POST", body, bodyLength }), TIMEOUTS);

describe("a request's body", () => {
  test("with a length is sent as it is, and the connection used again", async () => {
    const { raw, origin } = start(async (connection) => {
      for (let i = 0; i < 2; i++) {
        await connection.readHead();
        await connection.readBytes(10);
        await connection.write(OK);
      }
    });
    for (let i = 0; i < 2; i++) {
      const response = await post(origin, bodyOfPieces(["hello", "", "world"]), 10);
      expect(await readText(response.body)).toBe("ok");
      expect(response.reused).toBe(i === 1);
    }
    const sent = "POST / HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 10\r\n\r\nhelloworld";
    expect(raw.received()).toBe(sent + sent);
  });

  test("without a length is sent in chunks; an empty piece does not end it", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readThrough("0\r\n\r\n");
      await connection.write(OK);
    });
    const large = "x".repeat(100_000);
    const response = await post(origin, bodyOfPieces(["hello", "", "world!", large]), null);
    expect(await readText(response.body)).toBe("ok");
    expect(raw.received()).toBe(
      "POST / HTTP/1.1\r\nhost: shop.example\r\ntransfer-encoding: chunked\r\n\r\n" +
        `5\r\nhello\r\n6\r\nworld!\r\n${(100_000).toString(16)}\r\n${large}\r\n0\r\n\r\n`,
    );
  });

  test.each([
    ["shorter than its length", ["hello"], 10, "the request's body is shorter than its length of 10 bytes"],
    [
      "longer than its length",
      ["hello", "world!"],
      10,
      "the request's body is longer than its length of 10 bytes",
    ],
    ["cut", ["hello", new Error("the viewer has gone")], 10, "the request's body ended early"],
    ["cut in chunks", ["hello", new Error("the viewer has gone")], null, "the request's body ended early"],
  ])(
    "that is %s ends the connection; the origin can not take it for whole",
    async (_, pieces, length, message) => {
      const { raw, origin } = start(async (connection) => {
        await connection.readHead();
        await connection.gone();
      });
      const error = await failureOf(post(origin, bodyOfPieces(pieces), length));
      expect([error.code, error.message]).toEqual(["http_request_error", message]);
      await raw.connections[0]?.gone();
      expect(raw.received()).toEndWith(length === null ? "\r\n\r\n5\r\nhello\r\n" : "\r\n\r\nhello");
      expect(origin.stats().open).toBe(0);
    },
  );

  test("is asked for no faster than the origin takes it, and arrives whole", async () => {
    const pieces = Array.from({ length: 400 }, (_, i) => new Uint8Array(100_000).fill(i % 251));
    const { raw, origin } = start(async (connection) => {
      connection.pause();
      await until(() => body.asked > 0, "the first piece is asked for");
      await Bun.sleep(50);
      expect(body.asked).toBeLessThan(200);
      connection.resume();
      await connection.readHead();
      const received = await connection.readBytes(40_000_000);
      const isRight = received.equals(Buffer.concat(pieces));
      await connection.write(isRight ? OK : "HTTP/1.1 500 Wrong\r\nContent-Length: 0\r\n\r\n");
    });
    const body = bodyOfPieces(pieces);
    expect((await post(origin, body, 40_000_000)).status).toBe(200);
    expect(raw.connections.length).toBe(1);
  });

  test("that the viewer sends slowly does not run into the origin's time limit; one the origin does not take does", async () => {
    const clock = new ManualClock();
    const { origin } = start(
      async (connection) => {
        await connection.readHead();
        connection.pause();
      },
      { clock },
    );
    let give: (piece: Uint8Array | null) => void = () => {};
    let asked = 0;
    const body: BodyReader = {
      read() {
        asked++;
        return new Promise((resolve) => {
          give = resolve;
        });
      },
      cancel() {},
    };
    const failure = failureOf(post(origin, body, 100 * MIB));
    await until(() => asked === 1, "the body is asked for");
    clock.advance(10 * TIMEOUTS.firstByteMs);
    expect(origin.stats().open).toBe(1);
    give(new Uint8Array(64 * MIB));
    await Bun.sleep(50);
    expect(asked).toBe(1);
    clock.advance(TIMEOUTS.firstByteMs);
    expect((await failure).code).toBe("http_response_timeout");
  });

  test("is sent no further once the origin has refused it, and the connection is not used again", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readHead();
      await connection.readBytes(5);
      await connection.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
      await connection.gone();
    });
    let wasCancelled = false;
    let asked = 0;
    const body: BodyReader = {
      read: () => (asked++ === 0 ? Promise.resolve(Buffer.from("hello")) : new Promise(() => {})),
      cancel() {
        wasCancelled = true;
      },
    };
    const response = await post(origin, body, 1000);
    expect([response.status, await readText(response.body)]).toEqual([413, "big"]);
    expect([wasCancelled, asked]).toEqual([true, 2]);
    await raw.connections[0]?.gone();
    expect(origin.stats().open).toBe(0);
  });

  test("and a 200 may overlap", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
      for (let i = 0; i < 2; i++) await connection.write(await connection.readBytes(5));
    });
    let give: (piece: Uint8Array | null) => void = () => {};
    const body: BodyReader = {
      read: () =>
        new Promise((resolve) => {
          give = resolve;
        }),
      cancel() {},
    };
    const response = await post(origin, body, 10);
    give(Buffer.from("hello"));
    expect(Buffer.from((await response.body?.read()) ?? []).toString()).toBe("hello");
    give(Buffer.from("world"));
    give(null);
    expect(Buffer.from((await response.body?.read()) ?? []).toString()).toBe("world");
    await raw.connections[0]?.readBytes(0);
  });

  test("that was not touched when no connection came is left for another try", async () => {
    const raw = startRawOrigin(() => {});
    raw.stop();
    const origin = new HttpOrigin({ name: "app", url: raw.url, clock: systemClock });
    const body = bodyOfPieces(["hello"]);
    expect((await failureOf(post(origin, body, 5))).retryable).toBe(true);
    expect([body.asked, body.cancelled]).toEqual([0, false]);
  });
});

describe("a response's body", () => {
  test.each([
    ["1 GiB by length", 1024, `HTTP/1.1 200 OK\r\nContent-Length: ${1024 * MIB}\r\n\r\n`],
    ["100 MiB to the end of the connection", 100, "HTTP/1.1 200 OK\r\n\r\n"],
  ])(
    "of %s waits in the origin while its reader stops, and then comes whole",
    async (_, pieces, head) => {
      const piece = new Uint8Array(MIB).fill(7);
      let sent = 0;
      const { origin } = start(async (connection) => {
        await connection.readHead();
        await connection.write(head);
        for (; sent < pieces && (await connection.write(piece)); sent++);
        connection.end();
      });
      const { body } = await origin.fetch(upstreamRequest(), TIMEOUTS);
      for (let lastSent = -1; lastSent !== sent; await Bun.sleep(50)) lastSent = sent;
      // What the kernel holds for both sides, and the queue's limit.
      expect(sent).toBeLessThan(BODY_QUEUE_BYTES_MAX / MIB + 20);
      let total = 0;
      for (let bytes = await body?.read(); bytes; bytes = await body?.read()) {
        total += bytes.byteLength;
        if (bytes[0] !== 7 || bytes[bytes.byteLength - 1] !== 7) throw new Error("a piece was overwritten");
      }
      expect(total).toBe(pieces * MIB);
    },
    30_000,
  );

  test("that stops while its reader does is not timed out, and is once it reads again", async () => {
    const clock = new ManualClock();
    const { origin } = start(
      async (connection) => {
        await connection.readHead();
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * MIB}\r\n\r\n`);
        await connection.write(new Uint8Array(32 * MIB));
      },
      { clock },
    );
    const { body } = await origin.fetch(upstreamRequest(), TIMEOUTS);
    await Bun.sleep(50);
    clock.advance(100 * TIMEOUTS.betweenBytesMs);
    let total = 0;
    while (total < 32 * MIB) total += (await body?.read())?.byteLength ?? 0;
    const read = failureOf(body?.read() ?? Promise.resolve());
    clock.advance(TIMEOUTS.betweenBytesMs);
    expect((await read).code).toBe("http_response_timeout");
  });

  test("gives pieces that stay as they were", async () => {
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (let i = 0; i < 50; i++) {
        await connection.write(`1000\r\n${String.fromCharCode(65 + (i % 26)).repeat(0x1000)}\r\n`);
        await Bun.sleep(0);
      }
      await connection.write("0\r\n\r\n");
    });
    const { body } = await origin.fetch(upstreamRequest(), TIMEOUTS);
    const expected = Array.from({ length: 50 }, (_, i) => String.fromCharCode(65 + (i % 26)).repeat(0x1000));
    expect(await readText(body)).toBe(expected.join(""));
  });

  test("that is cut gives what came before it rejects", async () => {
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
      connection.end();
    });
    const { body } = await origin.fetch(upstreamRequest(), TIMEOUTS);
    await until(() => origin.stats().open === 0, "the connection has ended");
    expect(Buffer.from((await body?.read()) ?? []).toString()).toBe("hello");
    for (let i = 0; i < 2; i++) {
      const error = await failureOf(body?.read() ?? Promise.resolve());
      expect(error).toBeInstanceOf(UpstreamError);
      expect(error.code).toBe("http_response_incomplete");
      expect(error.message).toContain("5 bytes did not come");
    }
  });

  test("is null where there is none and empty where its length is 0", async () => {
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    const head = await origin.fetch(upstreamRequest({ method: "HEAD" }), TIMEOUTS);
    expect([head.body, head.bodyLength, head.framing]).toEqual([null, 7, "none"]);
    const empty = await origin.fetch(upstreamRequest(), TIMEOUTS);
    expect([empty.reused, empty.framing, await readText(empty.body)]).toEqual([true, "length", ""]);
  });

  test("bodyOf is sent as one", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readHead();
      await connection.readBytes(3);
      await connection.write(OK);
    });
    await post(origin, bodyOf(Buffer.from("abc")), 3);
    expect(raw.received()).toEndWith("\r\n\r\nabc");
  });
});
