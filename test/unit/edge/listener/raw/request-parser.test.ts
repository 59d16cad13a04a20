/** The parser of requests: what it takes, what it refuses, that splits change nothing, and that llhttp agrees. */
import { describe, expect, test } from "bun:test";
import { HeadRefusal, parseRequestHead } from "../../../../../src/edge/listener/raw/request-head.ts";
import { compareParsers, readAsEdge } from "../../../../kit/request-differential.ts";

function parsed(text: string) {
  const head = parseRequestHead(text);
  if (head instanceof HeadRefusal) throw new Error(head.message);
  return head;
}

describe("a request's head", () => {
  test("has its fields in order, names in lower case, values without outer white space", () => {
    const { fields } = parsed("GET / HTTP/1.1\r\nHost: a\r\nX-A: \t 1 2 \r\nx-a:\r\nX-B:\xe4");
    expect([...fields.entries()]).toEqual([
      ["host", "a"],
      ["x-a", "1 2"],
      ["x-a", ""],
      ["x-b", "\xe4"],
    ]);
  });

  test("says how long the body is", () => {
    const length = (fields: string) => parsed(`POST / HTTP/1.1\r\nHost: a${fields}`).bodyLength;
    expect([length(""), length("\r\nContent-Length: 12"), length("\r\nTransfer-Encoding: Chunked")]).toEqual([
      0,
      12,
      null,
    ]);
  });

  test("says whether the connection goes on", () => {
    const persists = (line: string, fields = "") => parsed(`${line}\r\nHost: a${fields}`).persistent;
    expect(persists("GET / HTTP/1.1")).toBe(true);
    expect(persists("GET / HTTP/1.1", "\r\nConnection: keep-alive, X-A")).toBe(true);
    expect(persists("GET / HTTP/1.1", "\r\nConnection: x\r\nConnection: y , CLOSE")).toBe(false);
    expect(persists("GET / HTTP/1.0", "\r\nConnection: keep-alive")).toBe(false);
    expect(persists("CONNECT a:1 HTTP/1.1")).toBe(false);
  });

  test("tells a WebSocket's handshake, and who waits for 100", () => {
    const upgrade = "Host: a\r\nConnection: upgrade\r\nUpgrade: WebSocket";
    expect(parsed(`GET / HTTP/1.1\r\n${upgrade}`).isWebSocket).toBe(true);
    expect(parsed(`POST / HTTP/1.1\r\n${upgrade}`).isWebSocket).toBe(false);
    expect(parsed(`GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c`).isWebSocket).toBe(false);
    expect(parsed("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue").expectsContinue).toBe(true);
    expect(parsed("PUT / HTTP/1.0\r\nExpect: 100-continue").expectsContinue).toBe(false);
  });

  test("has an absolute target only of its own host, and * only for OPTIONS", () => {
    const target = (line: string) => {
      const head = parseRequestHead(`${line} HTTP/1.1\r\nHost: a:1`);
      return head instanceof HeadRefusal ? head.status : head.target;
    };
    expect(target("GET http://a:1/x?y")).toBe("/x?y");
    expect(target("GET HTTP://A:1?y")).toBe("/?y");
    expect(target("GET http://a:1")).toBe("/");
    expect(target("OPTIONS *")).toBe("*");
    for (const line of [
      "GET http://a/x",
      "GET http://u@a:1/x",
      "GET https://a:1/",
      "GET *",
      "GET x",
      "GET //",
    ]) {
      expect([line, target(line)]).toEqual([line, line === "GET //" ? "//" : 400]);
    }
  });

  test("is refused with the status that says why", () => {
    const status = (text: string) => {
      const head = parseRequestHead(text);
      return head instanceof HeadRefusal ? head.status : null;
    };
    const fields = (more: string) => status(`POST / HTTP/1.1\r\nHost: a\r\n${more}`);
    const refused: Record<string, [number | null, number]> = {
      "no Host": [status("GET / HTTP/1.1"), 400],
      "two Hosts": [fields("host: a"), 400],
      "two equal lengths": [fields("Content-Length: 1\r\nContent-Length: 1"), 400],
      "a tab behind a length": [fields("Content-Length: 1\t"), 400],
      "16 digits": [fields("Content-Length: 1000000000000000"), 400],
      "length and chunks": [fields("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400],
      "two codings of transfer": [fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400],
      "another coding of transfer": [fields("Transfer-Encoding: gzip"), 501],
      "chunks in HTTP/1.0": [status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked"), 400],
      "a bare CR": [fields("X: a\rb"), 400],
      "a bare LF": [fields("X: a\nb: c"), 400],
      "a NUL": [fields("X: a\0"), 400],
      "an obs-fold": [fields("X: a\r\n b"), 400],
      "a space before the colon": [fields("X : a"), 400],
      "no name": [fields(": a"), 400],
      "no colon": [fields("X"), 400],
      "an unknown expectation": [fields("Expect: 200"), 417],
      "a method of 33 letters": [status(`${"A".repeat(33)} / HTTP/1.1\r\nHost: a`), 501],
      "a method in lower case": [status("get / HTTP/1.1\r\nHost: a"), 501],
      "a method that is no token": [status("G(T / HTTP/1.1\r\nHost: a"), 400],
      "HTTP/1.2": [status("GET / HTTP/1.2\r\nHost: a"), 505],
      "http/1.1": [status("GET / http/1.1\r\nHost: a"), 400],
      "a byte above ASCII in the target": [status("GET /\xe4 HTTP/1.1\r\nHost: a"), 400],
      "two spaces": [status("GET  / HTTP/1.1\r\nHost: a"), 400],
    };
    for (const [name, [got, wanted]] of Object.entries(refused)) expect([name, got]).toEqual([name, wanted]);
  });
});

describe("the bytes of a connection", () => {
  test("are the same requests however they are cut, also through llhttp's eyes", async () => {
    const { whole, refused } = await compareParsers(20_251_121, 3_000);
    // The mutations have to leave some whole and spoil some, or nothing is compared.
    expect(whole).toBeGreaterThan(1_000);
    expect(refused).toBeGreaterThan(500);
  }, 20_000);

  test("byte by byte are refused as soon as nothing proper can come of them", async () => {
    const cases: Record<string, string> = {
      "a TLS handshake": "\x16",
      "a bare LF": "GET / HTTP/1.1\nHost",
      "HTTP/0.9": "GET /\r\n",
      "three empty lines": "\r\n\r\n\r\n",
      "a request line without an end": `GET /${"a".repeat(9_000)}`,
      "a header section without an end": `GET / HTTP/1.1\r\nX: ${"a".repeat(16_400)}`,
    };
    for (const [name, text] of Object.entries(cases)) {
      const { end } = await readAsEdge(Buffer.from(text, "latin1"), () => 1);
      expect([name, end]).toEqual([name, "refused"]);
    }
  });

  test("may begin with an empty line or two", async () => {
    const { requests } = await readAsEdge(Buffer.from("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), () => 1);
    expect(requests).toHaveLength(1);
  });

  test("with a field that frames a message in the trailers are refused", async () => {
    const start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for (const name of ["Content-Length", "transfer-encoding", "Host", "Connection"]) {
      const { end, requests } = await readAsEdge(Buffer.from(`${start}${name}: 1\r\n\r\n`));
      expect([name, end, requests.length]).toEqual([name, "refused", 0]);
    }
    expect((await readAsEdge(Buffer.from(`${start}X: 1\r\n\r\n`))).requests).toHaveLength(1);
  });
});
