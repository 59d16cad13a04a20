/** The parser of responses: what is refused, that splits change nothing, that a cut is never whole. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CHUNK_EXTENSION_BYTES_MAX } from "../../../src/http/chunked-decoder.ts";
import { RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX } from "../../../src/upstream/http1/limits.ts";
import { Respondent } from "../../../src/upstream/http1/respondent.ts";
import type { ResponseHead } from "../../../src/upstream/http1/response-head.ts";
import { ResponseParser } from "../../../src/upstream/http1/response-parser.ts";
import { UpstreamError } from "../../../src/upstream/next-hop.ts";

interface Parsed {
  head: ResponseHead | null;
  body: string;
  complete: boolean;
  surplus: boolean;
  error: UpstreamError | null;
}

/** Parses the pieces, and then the end of the connection. Anything but an UpstreamError is thrown on. */
function parse(pieces: readonly (string | Uint8Array)[], method = "GET"): Parsed {
  const parsed: Parsed = { head: null, body: "", complete: false, surplus: false, error: null };
  const body: Uint8Array[] = [];
  const parser = new ResponseParser(
    {
      onHead(head) {
        expect(parsed.head).toBeNull();
        parsed.head = head;
      },
      onBody: (piece) => body.push(piece),
      onComplete() {
        expect(parsed.complete).toBe(false);
        parsed.complete = true;
      },
    },
    method,
    new Respondent("origin test"),
  );
  try {
    for (const piece of pieces)
      parser.push(typeof piece === "string" ? Buffer.from(piece, "latin1") : Buffer.from(piece));
    parser.end();
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    parsed.error = error;
  }
  parsed.body = Buffer.concat(body).toString("latin1");
  parsed.surplus = parser.surplus;
  return parsed;
}

const codeOf = (text: string, method?: string) => parse([text], method).error?.code ?? null;

const LENGTH = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nhello';
const CHUNKED =
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x="y"\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n';

describe("a well-formed response", () => {
  test("with Content-Length gives its fields, length and body", () => {
    const { head, body, complete, error } = parse([LENGTH]);
    expect(error).toBeNull();
    expect([complete, body]).toEqual([true, "hello"]);
    expect(head).toMatchObject({ status: 200, framing: "length", bodyLength: 5, persistent: true });
    expect([...(head?.fields.entries() ?? [])]).toEqual([
      ["content-length", "5"],
      ["etag", '"a"'],
    ]);
  });

  test("in chunks, with extensions and trailers, gives the data alone", () => {
    const { head, body, complete } = parse([CHUNKED]);
    expect([complete, body]).toEqual([true, "hello"]);
    expect(head).toMatchObject({ framing: "chunked", bodyLength: null, persistent: true });
    expect(head?.fields.size).toBe(0);
  });

  test("without either ends with the connection, and says so", () => {
    const { head, body, complete } = parse(["HTTP/1.1 200 OK\r\n\r\nhel", "lo"]);
    expect([complete, body]).toEqual([true, "hello"]);
    expect(head).toMatchObject({ framing: "close", bodyLength: null, persistent: false });
  });

  test.each([
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 99],
    ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", null],
    ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 99],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n", null],
  ])("to %s has no body where none is allowed: %j", (method, text, length) => {
    const { head, body, complete, surplus } = parse([text], method);
    expect([complete, body, surplus]).toEqual([true, "", false]);
    expect(head).toMatchObject({ framing: "none", bodyLength: length, persistent: true });
  });

  test("is read the same however its bytes are split", () => {
    for (const text of [LENGTH, CHUNKED, `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${CHUNKED}`]) {
      const whole = parse([text]);
      for (let at = 1; at < text.length; at++) {
        const split = parse([text.slice(0, at), text.slice(at)]);
        expect({ ...split, head: null }).toEqual({ ...whole, head: null });
        expect([...(split.head?.fields.entries() ?? [])]).toEqual([...(whole.head?.fields.entries() ?? [])]);
      }
      expect(parse(text.split(""))).toMatchObject({ body: "hello", complete: true, error: null });
    }
  });

  test("loses hop-by-hop fields and those that Connection names, but never Cache-Control", () => {
    const { head } = parse([
      "HTTP/1.1 200 OK\r\nConnection: X-Hop, cache-control\r\nX-Hop: 1\r\nKeep-Alive: timeout=5, max=9\r\n" +
        "Upgrade: h2c\r\nCache-Control: private\r\nTrailer: a\r\nContent-Length: 0\r\n\r\n",
    ]);
    expect([...(head?.fields.entries() ?? [])]).toEqual([
      ["cache-control", "private"],
      ["content-length", "0"],
    ]);
    expect(head?.keepAliveMs).toBe(5000);
  });

  test("ends its connection when it says close, and in HTTP/1.0", () => {
    expect(
      parse(["HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"]).head?.persistent,
    ).toBe(false);
    expect(
      parse(["HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"]).head?.persistent,
    ).toBe(false);
  });

  test("keeps repeated fields, obs-text and empty values; equal Content-Lengths count once", () => {
    const { head } = parse([
      "HTTP/1.1 200\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Latin:\t\xe9 \r\nX-Empty:\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ]);
    expect([...(head?.fields.entries() ?? [])]).toEqual([
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
      ["x-latin", "\xe9"],
      ["x-empty", ""],
      ["content-length", "0"],
    ]);
  });

  test("has its length as a number is written, however it came", () => {
    for (const [sent, length] of [
      ["007", "7"],
      ["00", "0"],
      ["0", "0"],
      ["70", "70"],
    ]) {
      const { head } = parse([`HTTP/1.1 304 Not Modified\r\nContent-Length: ${sent}\r\n\r\n`]);
      expect([head?.fields.get("content-length"), head?.bodyLength]).toEqual([length ?? "", Number(length)]);
    }
  });

  test("is whole, and its connection poisoned, when bytes follow it", () => {
    for (const text of [LENGTH, CHUNKED, "HTTP/1.1 204 No Content\r\n\r\n"]) {
      expect(parse([`${text}HTTP/1.1 200 OK\r\n\r\n`])).toMatchObject({
        complete: true,
        surplus: true,
        error: null,
      });
      expect(parse([text, "x"])).toMatchObject({ complete: true, surplus: true });
    }
  });

  test("has one piece for many tiny chunks of one read", () => {
    const chunks = "1\r\na\r\n".repeat(10_000);
    let pieces = 0;
    const parser = new ResponseParser(
      { onHead() {}, onBody: () => pieces++, onComplete() {} },
      "GET",
      new Respondent("test"),
    );
    parser.push(Buffer.from(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`));
    expect(pieces).toBe(1);
    expect(parse([`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`]).body).toBe(
      "a".repeat(10_000),
    );
  });
});

const HEAD = "HTTP/1.1 200 OK\r\n";
const CHUNKS = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

/** Each breaks one rule; the text after the tab says which. */
const MALFORMED: readonly [string, string][] = [
  ["another protocol", "SSH-2.0-OpenSSH\r\n\r\n"],
  ["HTTP/0.9", "<html>\r\n\r\n"],
  ["HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n"],
  ["HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"],
  ["lower case http", "http/1.1 200 OK\r\n\r\n"],
  ["an empty line first", `\r\n${HEAD}\r\n`],
  ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
  ["a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"],
  ["a status below 100", "HTTP/1.1 099 OK\r\n\r\n"],
  ["a status of 600", "HTTP/1.1 600 Odd\r\n\r\n"],
  ["two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n"],
  ["NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n"],
  ["101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
  ["bare LF after the status line", "HTTP/1.1 200 OK\nA: b\r\n\r\n"],
  ["bare LF throughout", "HTTP/1.1 200 OK\nA: b\n\n"],
  ["bare LF between fields", `${HEAD}A: b\nContent-Length: 0\r\n\r\n`],
  ["bare CR in a value", `${HEAD}A: b\rContent-Length: 0\r\n\r\n`],
  ["bare CR in a name", `${HEAD}A\r: b\r\n\r\n`],
  ["obs-fold with a space", `${HEAD}A: b\r\n c\r\n\r\n`],
  ["obs-fold with a tab", `${HEAD}A: b\r\n\tc\r\n\r\n`],
  ["NUL in a value", `${HEAD}A: b\0c\r\n\r\n`],
  ["a control character in a value", `${HEAD}A: b\x01c\r\n\r\n`],
  ["DEL in a value", `${HEAD}A: b\x7fc\r\n\r\n`],
  ["white space before the colon", `${HEAD}Content-Length : 0\r\n\r\n`],
  ["white space before the first field", `${HEAD} A: b\r\n\r\n`],
  ["no colon", `${HEAD}nonsense\r\n\r\n`],
  ["an empty name", `${HEAD}: b\r\n\r\n`],
  ["a name that is no token", `${HEAD}A(b): c\r\n\r\n`],
  ["a name beyond ASCII", `${HEAD}\xe9: c\r\n\r\n`],
  ["two Content-Lengths", `${HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`],
  ["a list in Content-Length", `${HEAD}Content-Length: 5, 5\r\n\r\nhello`],
  ["a sign in Content-Length", `${HEAD}Content-Length: +5\r\n\r\nhello`],
  ["a negative Content-Length", `${HEAD}Content-Length: -1\r\n\r\n`],
  ["hexadecimal in Content-Length", `${HEAD}Content-Length: 0x5\r\n\r\nhello`],
  ["a fraction in Content-Length", `${HEAD}Content-Length: 5.0\r\n\r\nhello`],
  ["an empty Content-Length", `${HEAD}Content-Length:\r\n\r\n`],
  ["a Content-Length beyond exact numbers", `${HEAD}Content-Length: 9999999999999999\r\n\r\n`],
  ["both lengths", `${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["both lengths, the other way", `${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`],
  ["Transfer-Encoding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["another coding", `${HEAD}Transfer-Encoding: gzip\r\n\r\n`],
  ["a coding before chunked", `${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ["chunked twice", `${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["identity", `${HEAD}Transfer-Encoding: identity\r\n\r\n`],
  ["a coding like chunked", `${HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ["a parameter on chunked", `${HEAD}Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n`],
  ["a chunk size that is missing", `${CHUNKS}\r\nhello\r\n0\r\n\r\n`],
  ["a chunk size that is not hexadecimal", `${CHUNKS}g\r\nhello\r\n0\r\n\r\n`],
  ["a chunk size with 0x", `${CHUNKS}0x5\r\nhello\r\n0\r\n\r\n`],
  ["a negative chunk size", `${CHUNKS}-5\r\nhello\r\n0\r\n\r\n`],
  ["white space before a chunk size", `${CHUNKS} 5\r\nhello\r\n0\r\n\r\n`],
  ["white space after a chunk size", `${CHUNKS}5 \r\nhello\r\n0\r\n\r\n`],
  ["a chunk size beyond exact numbers", `${CHUNKS}FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n`],
  ["bare LF after a chunk size", `${CHUNKS}5\nhello\r\n0\r\n\r\n`],
  ["bare CR after a chunk size", `${CHUNKS}5\rhello\r\n0\r\n\r\n`],
  ["bare LF in a chunk extension", `${CHUNKS}5;a\nb\r\nhello\r\n0\r\n\r\n`],
  ["bare LF after a chunk", `${CHUNKS}5\r\nhello\n0\r\n\r\n`],
  ["a chunk longer than its size", `${CHUNKS}4\r\nhello\r\n0\r\n\r\n`],
  ["a chunk shorter than its size", `${CHUNKS}6\r\nhello\r\n0\r\n\r\n`],
  ["a trailer that is no field", `${CHUNKS}0\r\nnonsense\r\n\r\n`],
  ["bare LF after a trailer", `${CHUNKS}0\r\nA: b\n\r\n`],
  ["bare LF at the end", `${CHUNKS}0\r\n\n`],
];

describe("a malformed response is refused", () => {
  test.each(MALFORMED)("%s", (_, text) => {
    expect(codeOf(text)).toBe("http_protocol_error");
    const bytewise = parse(text.split(""));
    expect(bytewise.error?.code).toBe("http_protocol_error");
    expect(bytewise.complete).toBe(false);
  });

  test("what is not HTTP is refused at its first bytes, not waited for", () => {
    const parser = new ResponseParser(
      { onHead() {}, onBody() {}, onComplete() {} },
      "GET",
      new Respondent("origin test"),
    );
    expect(() => parser.push(Buffer.from("220 smtp"))).toThrow("origin test sent a malformed response");
  });
});

describe("limits", () => {
  test("a header section above 64 KiB, with or without an end, is refused", () => {
    const long = `${HEAD}A: ${"x".repeat(RESPONSE_HEAD_BYTES_MAX)}`;
    for (const text of [long, `${long}\r\n\r\n`]) {
      expect(codeOf(text)).toBe("http_response_header_section_size");
      expect(parse(text.match(/[\s\S]{1,1000}/g) ?? []).error?.code).toBe(
        "http_response_header_section_size",
      );
    }
    const filler = "x".repeat(
      RESPONSE_HEAD_BYTES_MAX - HEAD.length - "A: \r\nContent-Length: 0\r\n\r\n".length,
    );
    expect(codeOf(`${HEAD}A: ${filler}\r\nContent-Length: 0\r\n\r\n`)).toBeNull();
  });

  test("more than 256 field lines are refused", () => {
    const fields = (count: number) => `${HEAD}${"A: b\r\n".repeat(count)}\r\n`;
    expect(codeOf(fields(RESPONSE_FIELDS_MAX))).toBeNull();
    expect(codeOf(fields(RESPONSE_FIELDS_MAX + 1))).toBe("http_response_header_section_size");
  });

  test("16 interim responses pass, one more does not", () => {
    const interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    expect(codeOf(interim.repeat(16) + LENGTH)).toBeNull();
    expect(codeOf(interim.repeat(17) + LENGTH)).toBe("http_protocol_error");
  });

  test("a body made of chunk extensions is refused, an extension on each of many large chunks is not", () => {
    const extended = `5;${"e".repeat(100)}\r\nhello\r\n`;
    const tooMany = Math.ceil(CHUNK_EXTENSION_BYTES_MAX / 90);
    expect(codeOf(`${CHUNKS}${extended.repeat(tooMany)}0\r\n\r\n`)).toBe("http_protocol_error");
    const large = `${(200).toString(16)};${"e".repeat(100)}\r\n${"x".repeat(200)}\r\n`;
    expect(codeOf(`${CHUNKS}${large.repeat(tooMany * 2)}0\r\n\r\n`)).toBeNull();
  });

  test("a trailer section that does not end is refused", () => {
    expect(codeOf(`${CHUNKS}0\r\n${"A: b\r\n".repeat(10_000)}`)).toBe("http_protocol_error");
  });
});

describe("a response that is cut", () => {
  test.each([
    ["length-delimited", LENGTH],
    ["chunked", CHUNKED],
  ])("at any byte of a %s one is an error, never a whole body", (_, text) => {
    for (let at = 0; at < text.length; at++) {
      const { complete, error } = parse([text.slice(0, at)]);
      expect(complete).toBe(false);
      expect(error?.code).toBe(at === 0 ? "connection_terminated" : "http_response_incomplete");
    }
  });
});

describe("whatever comes", () => {
  const valid = fc.constantFrom(
    LENGTH,
    CHUNKED,
    "HTTP/1.1 200 OK\r\n\r\nhello",
    `HTTP/1.1 100 Continue\r\n\r\n${LENGTH}`,
    'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
  );
  const mutation = fc.record({
    at: fc.nat(200),
    kind: fc.constantFrom("replace", "insert", "delete"),
    byte: fc.oneof(fc.constantFrom(0, 9, 10, 13, 32, 44, 48, 53, 58, 59, 255), fc.nat(255)),
  });

  test("the parser ends in an UpstreamError or a whole response, never with more body than was sent", () => {
    fc.assert(
      fc.property(
        valid,
        fc.array(mutation, { maxLength: 4 }),
        fc.array(fc.nat(200), { maxLength: 4 }),
        (text, changes, cuts) => {
          const bytes = [...Buffer.from(text, "latin1")];
          for (const { at, kind, byte } of changes) {
            const place = at % (bytes.length + 1);
            if (kind === "replace" && place < bytes.length) bytes[place] = byte;
            else if (kind === "insert") bytes.splice(place, 0, byte);
            else bytes.splice(place, 1);
          }
          const mutated = Buffer.from(bytes);
          const places = [...new Set(cuts.map((cut) => cut % (mutated.length + 1)))].sort((a, b) => a - b);
          const pieces = [0, ...places].map((from, i) => mutated.subarray(from, places[i] ?? mutated.length));
          const whole = parse([mutated]);
          const split = parse(pieces);
          expect(split.body.length).toBeLessThanOrEqual(mutated.length);
          expect([split.complete, split.error?.code, split.surplus]).toEqual([
            whole.complete,
            whole.error?.code,
            whole.surplus,
          ]);
          if (whole.complete) expect(split.body).toBe(whole.body);
          expect(whole.complete).toBe(whole.error === null);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
