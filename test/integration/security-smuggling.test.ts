/**
 * Messages that two parties cut in different places. Towards viewers: what is not one clear request is
 * refused, and the origin never hears of it. Towards the origin: what is not one clear answer is a 502,
 * and never in the cache.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect as connectTcp } from "node:net";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { sendHttp2 } from "../kit/raw-http2.ts";
import { type RawConnection, startRawOrigin } from "../kit/raw-origin.ts";
import { sendRaw } from "../kit/raw-send.ts";

let origin: TestOrigin;
let edge: TestEdge;

beforeAll(async () => {
  origin = startOrigin(async (request) =>
    text(`${request.method} ${await request.text()}`, { "cache-control": "max-age=600" }),
  );
  edge = await startTestEdge({
    origin: origin.url,
    https: true,
    config: { listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", http3: false } },
  });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x.example\r\n\r\n";
const chunked = "Transfer-Encoding: chunked\r\n";
const post = (fields: string, body: string) => `POST /p HTTP/1.1\r\nHost: x.example\r\n${fields}\r\n${body}`;
const get = (fields: string, line = "GET /p HTTP/1.1") => `${line}\r\nHost: x.example\r\n${fields}\r\n`;

/** Requests that must be refused whole. */
const FORMS: Record<string, string> = {
  "CL.TE": post(`Content-Length: 6\r\n${chunked}`, `0\r\n\r\n${SMUGGLED}`),
  "TE.CL": post(`${chunked}Content-Length: 4\r\n`, `2d\r\n${SMUGGLED}\r\n0\r\n\r\n`),
  "TE.TE with a disguised second one": post(`${chunked}Transfer-Encoding: x\r\n`, `0\r\n\r\n${SMUGGLED}`),
  "TE with a space before the colon": post(`Transfer-Encoding : chunked\r\n`, `0\r\n\r\n${SMUGGLED}`),
  "TE with a tab": post("Transfer-Encoding:\tchunked, identity\r\n", `0\r\n\r\n${SMUGGLED}`),
  "TE with a vertical tab": post("Transfer-Encoding: \x0bchunked\r\n", `0\r\n\r\n${SMUGGLED}`),
  "TE with quotes": post('Transfer-Encoding: "chunked"\r\n', `0\r\n\r\n${SMUGGLED}`),
  "TE xchunked": post("Transfer-Encoding: xchunked\r\n", `0\r\n\r\n${SMUGGLED}`),
  "TE chunked chunked": post("Transfer-Encoding: chunked, chunked\r\n", `0\r\n\r\n${SMUGGLED}`),
  "TE gzip, chunked": post("Transfer-Encoding: gzip, chunked\r\n", `0\r\n\r\n${SMUGGLED}`),
  "TE folded": post("Transfer-Encoding:\r\n chunked\r\n", `0\r\n\r\n${SMUGGLED}`),
  "TE in HTTP/1.0": `POST /p HTTP/1.0\r\nHost: x.example\r\n${chunked}\r\n0\r\n\r\n${SMUGGLED}`,
  "two lengths": post("Content-Length: 0\r\nContent-Length: 44\r\n", SMUGGLED),
  "a list of lengths": post("Content-Length: 0, 44\r\n", SMUGGLED),
  "a signed length": post("Content-Length: +0\r\n", SMUGGLED),
  "a length in hex": post("Content-Length: 0x2c\r\n", SMUGGLED),
  "a length with a space": post("Content-Length: 4 4\r\n", SMUGGLED),
  "a negative length": post("Content-Length: -1\r\n", SMUGGLED),
  "a huge length": post("Content-Length: 184467440737095516160\r\n", SMUGGLED),
  "a folded header": get("X-A: 1\r\n Content-Length: 44\r\n") + SMUGGLED,
  "a bare LF between fields": get("X-A: 1\nContent-Length: 44\r\n") + SMUGGLED,
  "a bare CR in a value": get("X-A: 1\rContent-Length: 44\r\n"),
  "a NUL in a value": get("X-A: 1\x00\r\n"),
  "a NUL in a name": get("X\x00A: 1\r\n"),
  "a bare CR before the end": `GET /p HTTP/1.1\r\nHost: x.example\r\n\r${SMUGGLED}`,
  "white space before the first field": "GET /p HTTP/1.1\r\n Host: x.example\r\n\r\n",
  "a field without a name": get(": 1\r\n"),
  "a field without a colon": get("garbage\r\n"),
  "two hosts": get("Host: y.example\r\n"),
  "no host": "GET /p HTTP/1.1\r\n\r\n",
  "HTTP/0.9": "GET /p\r\n",
  "a version that does not exist": get("", "GET /p HTTP/9.9"),
  "a space in the target": get("", "GET /p /q HTTP/1.1"),
  "CRLF encoded as nothing": get("", "GET /p\x0d\x0aX: y HTTP/1.1"),
  CONNECT: get("", "CONNECT x.example:443 HTTP/1.1"),
  TRACE: get("", "TRACE /p HTTP/1.1"),
  "a method that is none": get("", "G\x01T /p HTTP/1.1"),
  "20 KB of header": get(`X-A: ${"a".repeat(20_000)}\r\n`),
  "400 fields": get(Array.from({ length: 400 }, (_, i) => `X-${i}: 1\r\n`).join("")),
};

/** Bodies that break while they are read: the origin may see the request begin, never one more. */
const BROKEN: Record<string, string> = {
  "a chunk size that is no number": post(chunked, `xyz\r\n${SMUGGLED}`),
  "a chunk longer than its size": post(chunked, `1\r\nab\r\n0\r\n\r\n${SMUGGLED}`),
  "bare LF after a chunk size": post(chunked, `1\na\n0\n\n${SMUGGLED}`),
  "a chunk size with 0x": post(chunked, `0x1\r\na\r\n0\r\n\r\n${SMUGGLED}`),
  "a chunk size beyond all numbers": post(chunked, `fffffffffffffffff1\r\na\r\n0\r\n\r\n${SMUGGLED}`),
  "a chunk size with a space": post(chunked, `1 \r\na\r\n0 0\r\n\r\n${SMUGGLED}`),
  "a request in place of trailers": post(chunked, `1\r\na\r\n0\r\n${SMUGGLED}`),
  "a bare LF in a chunk extension": post(chunked, `1;a\nb\r\na\r\n0\r\n\r\n${SMUGGLED}`),
};

for (const secure of [false, true]) {
  const target = () =>
    secure ? { port: edge.httpsPort, ca: edge.ca, quietMs: 60 } : { port: edge.port, quietMs: 60 };
  describe(`a smuggling form over ${secure ? "TLS" : "clear text"}`, () => {
    test("gets 4xx, 5xx or a closed connection, and the origin is not asked", async () => {
      const before = origin.count();
      for (const [name, bytes] of Object.entries(FORMS)) {
        const received = await sendRaw(target(), bytes);
        expect([name, received === "" || /^HTTP\/1\.[01] [45]\d\d /.test(received)]).toEqual([name, true]);
        expect([name, origin.seen.slice(before).map((request) => request.target)]).toEqual([name, []]);
      }
    }, 20_000);

    test("in a body's chunks never becomes a second request", async () => {
      for (const [name, bytes] of Object.entries(BROKEN)) {
        const received = await sendRaw(target(), bytes);
        expect([name, /^HTTP\/1\.1 200/.test(received)]).toEqual([name, false]);
        expect([name, origin.count("/smuggled")]).toEqual([name, 0]);
      }
    }, 20_000);
  });
}

describe("what one connection brings", () => {
  test("behind a trailer section is a request of its own, and nothing of the trailers reaches the origin", async () => {
    const body = "1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n";
    const received = await sendRaw(
      { port: edge.port },
      post(chunked, body) + get("", "GET /behind HTTP/1.1"),
    );
    expect(received.match(/HTTP\/1\.1 200 OK\r\n/g)).toHaveLength(2);
    expect(received.indexOf("POST a")).toBeLessThan(received.lastIndexOf("GET "));
    expect(origin.seen.at(-1)?.target).toBe("/behind");
    for (const { headers } of origin.seen.slice(-2)) expect(headers.has("x-trailer")).toBe(false);
  });

  test("pipelined hits are answered in order, each once", async () => {
    await edge.get("/pipe-1", { Host: "x.example" });
    await edge.get("/pipe-2", { Host: "x.example" });
    const received = await sendRaw(
      { port: edge.port },
      get("", "GET /pipe-1 HTTP/1.1") +
        get("", "HEAD /pipe-2 HTTP/1.1") +
        get("Connection: close\r\n", "GET /pipe-2 HTTP/1.1"),
    );
    expect(received.match(/^HTTP\/1\.1 200|(?<=GET )HTTP\/1\.1 200/gm)).toHaveLength(3);
    expect([origin.count("/pipe-1"), origin.count("/pipe-2")]).toEqual([1, 1]);
  });

  test("pipelined behind an answer that takes its time they wait for it", async () => {
    const bytes = post("Content-Length: 3\r\n", "abc") + get("", "GET /pipe-1 HTTP/1.1");
    const received = await sendRaw({ port: edge.port }, bytes);
    expect(received.indexOf("POST abc")).toBeGreaterThan(0);
    expect(received.indexOf("POST abc")).toBeLessThan(received.lastIndexOf("GET "));
    // The runtime closes such a connection; what must not happen is a mixed-up answer.
    const secure = await sendRaw({ port: edge.httpsPort, ca: edge.ca }, bytes);
    expect(secure === "" || secure.indexOf("POST abc") < secure.lastIndexOf("GET ")).toBe(true);
  });

  test("a body that is cut reaches the origin as a cut, not as a whole one", async () => {
    const raw = startRawOrigin(async (connection) => {
      await connection.readHead();
      await connection.gone();
    });
    await edge.apply({ origin: raw.url });
    const socket = connectTcp(edge.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write("POST /cut HTTP/1.1\r\nHost: x.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    while (!raw.received().includes("hello")) await Bun.sleep(2);
    socket.destroy();
    await raw.connections[0]?.gone();
    expect(raw.received()).not.toContain("\r\n0\r\n");
    await edge.apply({ origin: origin.url });
    raw.stop();
  });
});

describe("over HTTP/2", () => {
  type Block = readonly (readonly [string, string])[];
  const block = (path: string, changed: Record<string, string> = {}, more: Block = []): Block => [
    ...Object.entries({
      ":method": "GET",
      ":scheme": "http",
      ":path": path,
      ":authority": "x.example",
      ...changed,
    }),
    ...more,
  ];
  const withField = (name: string, value: string) => (path: string) => block(path, {}, [[name, value]]);
  const withPseudo = (changed: Record<string, string>) => (path: string) => block(path, changed);
  const without = (name: string) => (path: string) => block(path).filter(([field]) => field !== name);

  /** Header blocks that no request may be made of. */
  const refused: Record<string, (path: string) => Block> = {
    "a line break in :path": withPseudo({ ":path": "/h2 HTTP/1.1\r\nX: y" }),
    "a space in :path": withPseudo({ ":path": "/a b" }),
    "a NUL in :path": withPseudo({ ":path": "/a\0" }),
    "a URL in :path": withPseudo({ ":path": "http://evil.example/x" }),
    "a :path without a slash": withPseudo({ ":path": "evil" }),
    "an empty :path": withPseudo({ ":path": "" }),
    "two :path": withField(":path", "/evil"),
    "two :method": withField(":method", "POST"),
    "two :authority": withField(":authority", "evil.example"),
    "a pseudo-header behind a field": (path) => [["x-a", "1"], ...block(path)],
    "a pseudo-header that does not exist": withField(":evil", "1"),
    "one of answers": withField(":status", "200"),
    "no :path": without(":path"),
    "no :method": without(":method"),
    "no :authority and no Host": without(":authority"),
    "a Host that is not the :authority": withField("host", "evil.example"),
    "a line break in :authority": withPseudo({ ":authority": "x\r\nX: y" }),
    "a path in :authority": withPseudo({ ":authority": "x.example/evil" }),
    "a user in :authority": withPseudo({ ":authority": "user@x.example" }),
    "a request in :method": withPseudo({ ":method": "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" }),
    "a :method in lower case": withPseudo({ ":method": "get" }),
    "a :method that is CONNECT": withPseudo({ ":method": "CONNECT" }),
    "a name in upper case": withField("X-Smuggled", "1"),
    "a colon at the end of a name": withField("x-smuggled:", "1"),
    "a colon in a name": withField("x:smuggled", "1"),
    "a line break in a name": withField("x-a: 1\r\nx-smuggled", "1"),
    "a space in a name": withField("x smuggled", "1"),
    "an empty name": withField("", "1"),
    "a line break in a value": withField("x-a", "1\r\nx-smuggled: 1"),
    "a bare LF in a value": withField("x-a", "1\nx-smuggled: 1"),
    "a bare CR in a value": withField("x-a", "1\rx-smuggled: 1"),
    "a NUL in a value": withField("x-a", "1\0"),
    Connection: withField("connection", "x-a"),
    "Keep-Alive": withField("keep-alive", "1"),
    Upgrade: withField("upgrade", "websocket"),
    "TE other than trailers": withField("te", "gzip"),
    "Transfer-Encoding": withField("transfer-encoding", "chunked"),
    "a length without a body": withField("content-length", "5"),
  };

  for (const [name, make] of Object.entries(refused)) {
    test(`${name} is refused, and the origin is not asked`, async () => {
      const before = origin.count();
      const outcome = await sendHttp2(edge.port, make("/h2-refused"));
      expect(
        outcome.status === null ? outcome.reset || outcome.goaway || outcome.closed : outcome.status >= 400,
      ).toBe(true);
      expect(origin.seen.slice(before).map((seen) => seen.target)).toEqual([]);
    });
  }

  test("a body that is not as long as it says is no request of its own, nor one that is answered", async () => {
    const post = (length: string) => block("/h2-length", { ":method": "POST" }, [["content-length", length]]);
    for (const length of ["0", "3", "999", "+3", "44, 44"]) {
      const { status } = await sendHttp2(edge.port, post(length), SMUGGLED);
      expect([length, status === null || status >= 400]).toEqual([length, true]);
    }
    expect(
      (
        await sendHttp2(
          edge.port,
          [...block("/h2-te", { ":method": "POST" }), ["transfer-encoding", "chunked"]],
          `0\r\n\r\n${SMUGGLED}`,
        )
      ).status,
    ).toBe(null);
    expect(origin.count("/smuggled")).toBe(0);
    expect((await sendHttp2(edge.port, post("3"), "abc")).status).toBe(200);
  });

  test("a scheme in the request does not change the connection's", async () => {
    for (const scheme of ["https", "http://evil.example/?"]) {
      await sendHttp2(edge.port, block(`/h2-scheme-${scheme.length}`, { ":scheme": scheme }));
      expect(origin.seen.at(-1)?.headers.get("x-forwarded-proto")).toBe("http");
    }
  });

  test("cookies in several fields are one Cookie to the origin (RFC 9113 section 8.2.3)", async () => {
    await sendHttp2(
      edge.port,
      block("/h2-cookies", {}, [
        ["cookie", "a=1"],
        ["cookie", "b=2"],
      ]),
    );
    expect(origin.seen.at(-1)?.headers.get("cookie")).toBe("a=1; b=2");
  });

  test("a body on GET without a length is not part of an object", async () => {
    expect((await sendHttp2(edge.port, block("/h2-fat"), "cb=evil")).status).toBe(200);
    expect((await edge.get("/h2-fat", { Host: "x.example" })).body).toBe("GET ");
  });
});

describe("an answer of the origin that is not one clear answer", () => {
  const fresh = "Cache-Control: max-age=600\r\n";
  const answers: Record<string, string> = {
    "a NUL in a value": `HTTP/1.1 200 OK\r\n${fresh}X-A: 1\x002\r\nContent-Length: 2\r\n\r\nok`,
    "a bare CR in a value": `HTTP/1.1 200 OK\r\n${fresh}X-A: 1\r2\r\nContent-Length: 2\r\n\r\nok`,
    "a bare LF between fields": `HTTP/1.1 200 OK\r\n${fresh}X-A: 1\nContent-Length: 2\r\n\r\nok`,
    "a space before a colon": `HTTP/1.1 200 OK\r\n${fresh}Content-Length : 2\r\n\r\nok`,
    "two lengths": `HTTP/1.1 200 OK\r\n${fresh}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!`,
    "length and chunks": `HTTP/1.1 200 OK\r\n${fresh}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    "an unknown coding of transfer": `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    "a folded field": `HTTP/1.1 200 OK\r\n${fresh}X-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok`,
    "no status": `HTTP/1.1 OK\r\n${fresh}Content-Length: 2\r\n\r\nok`,
    "status 999": `HTTP/1.1 999 Odd\r\n${fresh}Content-Length: 2\r\n\r\nok`,
    "another protocol": "SSH-2.0-OpenSSH_9.0\r\n\r\n",
    "an empty name": `HTTP/1.1 200 OK\r\n${fresh}: 1\r\nContent-Length: 2\r\n\r\nok`,
    "a header of a megabyte": `HTTP/1.1 200 OK\r\n${fresh}X-A: ${"a".repeat(1024 * 1024)}\r\nContent-Length: 2\r\n\r\nok`,
    "20,000 fields": `HTTP/1.1 200 OK\r\n${fresh}${"X-A: 1\r\n".repeat(20_000)}Content-Length: 2\r\n\r\nok`,
    "a switch of protocols nobody asked for": `HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n`,
  };

  test("is a 502 with Proxy-Status, and never stored", async () => {
    let bytes = "";
    const raw = startRawOrigin(async (connection) => {
      if ((await connection.readHead()) === null) return;
      await connection.write(bytes);
      connection.end();
    });
    await edge.apply({ origin: raw.url });
    for (const [name, answer] of Object.entries(answers)) {
      bytes = answer;
      const path = `/split-${encodeURIComponent(name)}`;
      for (const round of [1, 2]) {
        const got = await edge.get(path);
        expect([
          name,
          round,
          got.status,
          got.headers.get("proxy-status")?.includes("error=") === true,
        ]).toEqual([name, round, 502, true]);
        expect([name, got.cache]).not.toEqual([name, "HIT"]);
      }
    }
    await edge.apply({ origin: origin.url });
    raw.stop();
  }, 20_000);

  test("and what an origin sends after its answer is never the answer to the next request", async () => {
    const second = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\nevil";
    const handler = async (connection: RawConnection): Promise<void> => {
      for (;;) {
        const head = await connection.readHead();
        if (head === null) return;
        await connection.write(`HTTP/1.1 200 OK\r\n${fresh}Content-Length: 4\r\n\r\ngood${second}`);
      }
    };
    const raw = startRawOrigin(handler);
    await edge.apply({ origin: raw.url });
    for (let i = 0; i < 8; i++) expect((await edge.get(`/early-${i}`)).body).toBe("good");
    for (let i = 0; i < 8; i++)
      expect(await edge.get(`/early-${i}`)).toMatchObject({ cache: "HIT", body: "good" });
    await edge.apply({ origin: origin.url });
    raw.stop();
  });

  test("nor what follows an answer that can have no body", async () => {
    const evil = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\nevil";
    for (const status of ["204 No Content", "304 Not Modified"]) {
      const raw = startRawOrigin(async (connection) => {
        while ((await connection.readHead()) !== null)
          await connection.write(`HTTP/1.1 ${status}\r\n${fresh}\r\n${evil}`);
      });
      await edge.apply({ origin: raw.url });
      for (let i = 0; i < 4; i++)
        expect((await edge.get(`/after-${status.slice(0, 3)}-${i}`)).body).not.toContain("evil");
      await edge.apply({ origin: origin.url });
      raw.stop();
    }
  });

  test("a body that is cut is not stored, whatever says that it is whole", async () => {
    const cuts: Record<string, string> = {
      "a short length": `HTTP/1.1 200 OK\r\n${fresh}Content-Length: 100\r\n\r\nshort`,
      "a cut chunk": `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n64\r\nshort`,
      "no last chunk": `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n`,
      "no length at all": `HTTP/1.1 200 OK\r\n${fresh}\r\nshort`,
      "HTTP/1.0": `HTTP/1.0 200 OK\r\n${fresh}\r\nshort`,
      "a bad chunk": `HTTP/1.1 200 OK\r\n${fresh}Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n`,
    };
    let bytes = "";
    const raw = startRawOrigin(async (connection) => {
      if ((await connection.readHead()) === null) return;
      await connection.write(bytes);
      connection.end();
    });
    await edge.apply({ origin: raw.url });
    for (const [name, answer] of Object.entries(cuts)) {
      bytes = answer;
      const path = `/cut-${encodeURIComponent(name)}`;
      await edge.get(path).catch(() => null);
      bytes = `HTTP/1.1 200 OK\r\n${fresh}Content-Length: 5\r\n\r\nwhole`;
      const next = await edge.get(path);
      expect([name, next.cache === "HIT", next.body]).toEqual([name, false, "whole"]);
    }
    await edge.apply({ origin: origin.url });
    raw.stop();
  });
});
