import { afterEach, describe, expect, test } from "bun:test";
import { cleanUp, loopback, raw, start, text } from "./support.ts";

afterEach(cleanUp);

const head = (line: string, fields: string) => `${line}\r\nHost: site.test\r\n${fields}\r\n`;
const post = (fields: string, body: string) => `${head("POST / HTTP/1.1", fields)}${body}`;
const chunked = "Transfer-Encoding: chunked\r\n";

/** Never reach a handler at all. */
const refusedWhole: Record<string, string> = {
  "Content-Length beside Transfer-Encoding": post(`Content-Length: 4\r\n${chunked}`, "0\r\n\r\n"),
  "two different Content-Lengths": post("Content-Length: 4\r\nContent-Length: 5\r\n", "abcde"),
  "two equal Content-Lengths": post("Content-Length: 4\r\nContent-Length: 4\r\n", "abcd"),
  "a list in Content-Length": post("Content-Length: 4, 4\r\n", "abcd"),
  "a sign in Content-Length": post("Content-Length: +4\r\n", "abcd"),
  "a negative Content-Length": post("Content-Length: -4\r\n", "abcd"),
  "a Content-Length beyond all numbers": post("Content-Length: 99999999999999999999999\r\n", "abcd"),
  "a second Transfer-Encoding": post(`${chunked}Transfer-Encoding: identity\r\n`, "0\r\n\r\n"),
  "a coding before chunked": post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
  "an unknown Transfer-Encoding": post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
  "a control character before chunked": post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
  "a space before the colon": post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
  "Transfer-Encoding in HTTP/1.0": `POST / HTTP/1.0\r\nHost: x\r\n${chunked}\r\n0\r\n\r\n`,
  "a folded field": head("GET / HTTP/1.1", "X-A: 1\r\n 2\r\n"),
  "bare LF as line end": "GET / HTTP/1.1\nHost: site.test\n\n",
  "bare LF between fields": "GET / HTTP/1.1\r\nHost: site.test\nX-A: 1\r\n\r\n",
  "a bare CR in a value": head("GET / HTTP/1.1", "X-A: 1\r2\r\n"),
  "a NUL in a value": head("GET / HTTP/1.1", "X-A: 1\x002\r\n"),
  "white space before the first field": "GET / HTTP/1.1\r\n Host: site.test\r\n\r\n",
  "an empty field name": head("GET / HTTP/1.1", ": y\r\n"),
  "a space in a field name": head("GET / HTTP/1.1", "a b: y\r\n"),
  "a target without a slash": head("GET foo HTTP/1.1", ""),
  "a space in the target": head("GET /a b HTTP/1.1", ""),
  "a NUL in the target": head("GET /a\x00b HTTP/1.1", ""),
  "a method that is no token": head("G@T / HTTP/1.1", ""),
  "a method in lower case": head("get / HTTP/1.1", ""),
  "HTTP/1.1 without Host": "GET / HTTP/1.1\r\n\r\n",
  "an unknown version": head("GET / HTTP/1.2", ""),
  "a header section of 20 KB": head("GET / HTTP/1.1", `X: ${"a".repeat(20_000)}\r\n`),
  "a target of 20 KB": head(`GET /${"a".repeat(20_000)} HTTP/1.1`, ""),
  "300 fields": head("GET / HTTP/1.1", Array.from({ length: 300 }, (_, i) => `x${i}: 1\r\n`).join("")),
};

/** Reach a handler, whose reading of the body must fail. */
const badBodies: Record<string, string> = {
  "a chunk size that is no number": "zz\r\nabc\r\n0\r\n\r\n",
  "a chunk longer than its size": "3\r\nabcXX\r\n0\r\n\r\n",
  "bare LF in chunks": "3\nabc\n0\n\n",
  "a chunk size with 0x": "0x3\r\nabc\r\n0\r\n\r\n",
  "a chunk size beyond all numbers": "10000000000000003\r\nabc\r\n0\r\n\r\n",
  "bare LF in a chunk extension": "3;a\nb\r\nabc\r\n0\r\n\r\n",
};

for (const secure of [false, true]) {
  describe(`${secure ? "TLS" : "clear text"}: hostile bytes`, () => {
    test("that are no proper request get 4xx or a closed connection, and no handler sees them", async () => {
      const reached: string[] = [];
      const { http, https } = await start(
        (request) => {
          reached.push(request.url);
          return text("reached");
        },
        { https: loopback },
      );
      const refused = await Promise.all(
        Object.entries(refusedWhole).map(async ([name, bytes]) => {
          const answer = await raw(secure ? https : http, bytes, { tls: secure });
          return { name, ok: answer.closed && /^$|^HTTP\/1\.1 (4\d\d|50[15]) /.test(answer.text) };
        }),
      );
      expect(refused.filter(({ ok }) => !ok)).toEqual([]);
      expect(refused.length).toBe(Object.keys(refusedWhole).length);
      expect(reached).toEqual([]);
    });

    test("in a chunked body make its reading fail, and end the connection", async () => {
      const ends: string[] = [];
      const { http, https } = await start(
        async (request) => {
          const body = request.body();
          try {
            while ((await body?.read()) !== null);
            ends.push("whole");
          } catch {
            ends.push("failed");
          }
          return text("done");
        },
        { https: loopback },
      );
      for (const [name, body] of Object.entries(badBodies)) {
        const answer = await raw(secure ? https : http, post(chunked, body), { tls: secure });
        expect({ name, closed: answer.closed }).toEqual({ name, closed: true });
      }
      expect(ends).toEqual(Object.keys(badBodies).map(() => "failed"));
    });

    test("after a refused request are not read as a second one", async () => {
      const reached: string[] = [];
      const { http, https } = await start(
        (request) => {
          reached.push(request.url);
          return text("reached");
        },
        { https: loopback },
      );
      const smuggled = `${post(`Content-Length: 4\r\n${chunked}`, "0\r\n\r\n")}${head("GET /smuggled HTTP/1.1", "")}`;
      await raw(secure ? https : http, smuggled, { tls: secure });
      expect(reached).toEqual([]);
    });
  });
}

describe("in clear text, where the parser is ours,", () => {
  const refused: Record<string, readonly [status: number, bytes: string]> = {
    "two Hosts": [400, "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"],
    "a target that names another host than Host": [
      400,
      "GET http://evil.test/p HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ],
    "a target with another scheme": [400, "GET https://a.test/p HTTP/1.1\r\nHost: a.test\r\n\r\n"],
    "two equal lengths": [400, head("POST / HTTP/1.1", "Content-Length: 0\r\nContent-Length: 0\r\n")],
    "a transfer coding that is not chunked": [501, head("POST / HTTP/1.1", "Transfer-Encoding: gzip\r\n")],
    "a method that nobody knows": [501, head("get / HTTP/1.1", "")],
    "a version that is not spoken": [505, head("GET / HTTP/1.2", "")],
    "an expectation that is not met": [417, head("POST / HTTP/1.1", "Expect: tea\r\n")],
    "a target of 20 KB": [414, head(`GET /${"a".repeat(20_000)} HTTP/1.1`, "")],
    "a header section of 20 KB": [431, head("GET / HTTP/1.1", `X: ${"a".repeat(20_000)}\r\n`)],
    "201 fields": [431, head("GET / HTTP/1.1", "X: 1\r\n".repeat(200))],
    "HTTP/0.9": [400, "GET /\r\n"],
    "a TLS handshake": [400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    "HTTP/2 in the middle of a connection": [
      505,
      `${head("GET / HTTP/1.1", "")}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
    ],
  };
  for (const [name, [status, bytes]] of Object.entries(refused)) {
    test(`${name} is refused with ${status}, and the connection ends`, async () => {
      const { http } = await start(() => text("reached"));
      const answer = await raw(http, bytes);
      const last = answer.text.slice(answer.text.lastIndexOf("HTTP/1.1 "));
      expect([last.slice(0, 13), answer.closed]).toEqual([`HTTP/1.1 ${status} `, true]);
      expect(last).toContain("\r\nconnection: close\r\n");
    });
  }

  test("an absolute target of the same host is its path", async () => {
    let url = "";
    const { http } = await start((request) => {
      url = request.url;
      return text("x");
    });
    await raw(http, "GET http://A.test/p?q HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    expect(url).toBe("http://a.test/p?q");
  });

  test("a body on GET is taken out of the connection but not handed over", async () => {
    let body: unknown = "unset";
    const { http } = await start((request) => {
      body = request.body();
      return text("x");
    });
    const answer = await raw(
      http,
      `${head("GET / HTTP/1.1", "Content-Length: 3\r\n")}abc${head("GET /2 HTTP/1.1", "Connection: close\r\n")}`,
    );
    expect(body).toBeNull();
    expect(answer.text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
  });
});
