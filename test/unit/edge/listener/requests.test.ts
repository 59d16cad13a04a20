import { afterEach, describe, expect, test } from "bun:test";
import http2 from "node:http2";
import { ManualClock } from "../../../../src/base/clock.ts";
import { ProximaError } from "../../../../src/base/errors.ts";
import type { RequestHandler, ViewerRequest } from "../../../../src/edge/message.ts";
import { after, cleanUp, get, loopback, pieces, raw, start, text } from "./support.ts";

afterEach(cleanUp);

/** Reads the body and answers with its length, or with the error's code. */
const counting: RequestHandler = async (request) => {
  const body = request.body();
  if (body === null) return text("no body");
  let bytes = 0;
  try {
    for (let piece = await body.read(); piece !== null; piece = await body.read()) bytes += piece.byteLength;
  } catch (error) {
    if (!(error instanceof ProximaError)) throw error;
    return text(`${error.source} ${error.code}`, {}, error.code === "body_too_large" ? 413 : 400);
  }
  return text(`${bytes} bytes`);
};

function post(length: number | null, body: string): string {
  const framing = length === null ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`;
  return `POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n${framing}\r\n\r\n${body}`;
}

describe("a request as the pipeline sees it", () => {
  test("has method, scheme, absolute URL, fields and the peer's address", async () => {
    let seen: unknown = null;
    const { http, https } = await start(
      (request) => {
        seen = [
          request.method,
          request.scheme,
          request.http3,
          request.url,
          request.fields.get("x-a"),
          request.peerAddress,
        ];
        return text("ok");
      },
      { https: loopback },
    );
    await raw(http, get("/a?b=c", "X-A: 1\r\nx-a: 2\r\n"));
    expect(seen).toEqual(["GET", "http", false, "http://site.test/a?b=c", "1, 2", "127.0.0.1"]);
    await raw(https, get("/s"), { tls: true });
    expect(seen).toEqual(["GET", "https", false, "https://site.test/s", null, "127.0.0.1"]);
  });

  test("tells the peer's address after the viewer has left, when the answer came late", async () => {
    let request: ViewerRequest | null = null;
    const left = Promise.withResolvers<void>();
    const { http } = await start(async (given) => {
      request = given;
      given.signal.addEventListener("abort", () => left.resolve());
      await left.promise;
      return text("too late");
    });
    await raw(http, get("/"), { waitMs: 50 });
    await left.promise;
    expect((request as ViewerRequest | null)?.peerAddress).toBe("127.0.0.1");
  });

  test("over IPv6 from an IPv4 peer has the IPv4 address", async () => {
    let address = "";
    const { http } = await start(
      (request) => {
        address = request.peerAddress;
        return text("ok");
      },
      { http: { hostname: "::", port: 0 } },
    );
    await raw(http, get("/"));
    expect(address).toBe("127.0.0.1");
  });

  test("CONNECT reaches the handler, which may refuse it", async () => {
    const { http } = await start((request) => text("no", {}, request.method === "CONNECT" ? 405 : 200));
    const answer = await raw(
      http,
      "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nConnection: close\r\n\r\n",
    );
    expect(answer.text).toStartWith("HTTP/1.1 405 ");
  });

  test("comes over HTTP/2 in clear text with prior knowledge, too", async () => {
    const { http } = await start(counting);
    const client = http2.connect(`http://127.0.0.1:${http}`);
    after(() => client.destroy());
    const request = client.request({ ":method": "POST", ":path": "/" });
    request.end("x".repeat(100_000));
    let body = "";
    for await (const piece of request) body += piece;
    expect(body).toBe("100000 bytes");
  });
});

test("a kept connection is closed at the idle limit, whether its answer came at once, late or as a stream", async () => {
  const { http } = await start(
    (request) => {
      if (request.url.endsWith("/at-once")) return text("x");
      return Bun.sleep(10).then(() => text(request.url.endsWith("/late") ? "x" : pieces(["x"])));
    },
    { limits: { idleSeconds: 1 } },
  );
  const answers = await Promise.all(
    ["/at-once", "/late", "/stream"].map((path) =>
      raw(http, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`, { waitMs: 9_000 }),
    ),
  );
  for (const answer of answers) {
    expect(answer.text).toStartWith("HTTP/1.1 200 ");
    expect(answer.closed).toBe(true);
  }
}, 12_000);

describe("a request's body", () => {
  test("is null when there is none", async () => {
    const { http } = await start(counting);
    expect((await raw(http, get("/"))).text).toEndWith("no body");
    expect((await raw(http, post(0, ""))).text).toEndWith("no body");
  });

  test("is read by length and by chunks", async () => {
    const { http } = await start(counting);
    expect((await raw(http, post(5, "hello"))).text).toEndWith("5 bytes");
    expect((await raw(http, post(null, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))).text).toEndWith("5 bytes");
  });

  test("beyond the limit is an error of the viewer, by its length before it is read", async () => {
    const { http } = await start(counting);
    const answer = await raw(http, post(1_000_001, ""));
    expect(answer.text).toStartWith("HTTP/1.1 413 ");
    expect(answer.text).toEndWith("viewer body_too_large");
  });

  test("beyond the limit is an error of the viewer, while it streams", async () => {
    const { http } = await start(counting);
    const chunk = `186a0\r\n${"x".repeat(100_000)}\r\n`;
    const answer = await raw(http, post(null, `${chunk.repeat(11)}0\r\n\r\n`));
    expect(answer.text).toContain("viewer body_too_large");
  });

  test("of exactly the limit is read whole", async () => {
    const { http } = await start(counting);
    expect((await raw(http, post(1_000_000, "x".repeat(1_000_000)))).text).toEndWith("1000000 bytes");
  });

  test("cut short or malformed is never taken for whole", async () => {
    const codes: string[] = [];
    const { http } = await start(async (request) => {
      const body = request.body();
      try {
        while ((await body?.read()) !== null);
        codes.push("whole");
      } catch (error) {
        codes.push(error instanceof ProximaError ? error.code : "other");
      }
      return text("x");
    });
    await raw(http, post(10, "abc"), { waitMs: 100 });
    await raw(http, post(null, "3\r\nabc\r\nzz\r\n"), { waitMs: 100 });
    await raw(http, post(null, "3\r\nabc\r\n"), { waitMs: 100 });
    while (codes.length < 3) await Bun.sleep(5);
    expect(codes).toEqual(["viewer_gone", "viewer_gone", "viewer_gone"]);
  });

  test("that stops coming is an error after the limit between pieces", async () => {
    const clock = new ManualClock();
    const started = Promise.withResolvers<void>();
    const { http } = await start(
      (request) => {
        started.resolve();
        return counting(request);
      },
      { clock, limits: { requestBodyGraceMs: 100_000 } },
    );
    const answer = raw(http, post(10, "abc"));
    await started.promise;
    await Bun.sleep(50);
    clock.advance(29_000);
    await Bun.sleep(20);
    clock.advance(1_001);
    expect((await answer).text).toContain("viewer viewer_too_slow");
  });

  test("that trickles below the lowest rate is an error although it never stops", async () => {
    const clock = new ManualClock();
    const { http } = await start(counting, { clock });
    const connected = Promise.withResolvers<void>();
    let received = "";
    const ended = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: http,
      socket: {
        open: () => connected.resolve(),
        data: (_, bytes) => {
          received += bytes.toString();
          if (received.includes("viewer_too_slow")) ended.resolve();
        },
      },
    });
    after(() => socket.terminate());
    await connected.promise;
    socket.write(post(1_000, ""));
    // One byte every ten seconds: never a gap of 30 s, but far below 500 bytes a second after 20 s.
    for (let i = 0; i < 4 && received === ""; i += 1) {
      await Bun.sleep(30);
      socket.write("x");
      await Bun.sleep(30);
      clock.advance(10_000);
    }
    await ended.promise;
    expect(received).toContain("viewer_too_slow");
  });

  test("may come slowly for longer than the runtime's idle limit, as long as it keeps the rate", async () => {
    const { http } = await start(counting, { limits: { idleSeconds: 1 } });
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: http,
      socket: {
        data: (_, bytes) => {
          received += bytes.toString();
        },
      },
    });
    let received = "";
    after(() => socket.terminate());
    socket.write(post(4_000, ""));
    for (let i = 0; i < 4; i += 1) {
      await Bun.sleep(1_500);
      socket.write("x".repeat(1_000));
    }
    while (received === "") await Bun.sleep(10);
    expect(received).toEndWith("4000 bytes");
  }, 15_000);

  test("that nobody reads stays in the socket, not in memory", async () => {
    const release = Promise.withResolvers<void>();
    const { http } = await start(async () => {
      await release.promise;
      return text("x");
    });
    let sentBytes = 0;
    const piece = new Uint8Array(1_000_000);
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: http,
      socket: { data() {}, drain: () => fill() },
    });
    after(() => socket.terminate());
    const fill = () => {
      for (let taken = 1; taken > 0 && sentBytes < 200_000_000; sentBytes += taken)
        taken = Math.max(0, socket.write(piece));
    };
    socket.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n");
    fill();
    await Bun.sleep(300);
    expect(sentBytes).toBeLessThan(64_000_000);
    release.resolve();
  });
});
