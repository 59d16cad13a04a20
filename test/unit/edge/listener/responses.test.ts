import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { WHEEL_TICK_MS } from "../../../../src/edge/listener/raw/limits.ts";
import type { RequestHandler, ViewerResponse } from "../../../../src/edge/message.ts";
import { bodyOf } from "../../../../src/http/body.ts";
import { Fields } from "../../../../src/http/fields.ts";
import { cleanUp, get, loopback, pieces, raw, start, temporaryDirectory, text } from "./support.ts";

afterEach(cleanUp);

/** Answers by path. */
function site(answers: Record<string, () => ViewerResponse | Promise<ViewerResponse>>): RequestHandler {
  return (request) => {
    const answer = answers[new URL(request.url).pathname];
    return answer === undefined ? text("none", {}, 404) : answer();
  };
}

/** The header section, names in lower case. */
function fieldsOf(answer: { text: string }): string[] {
  const section = answer.text.slice(0, answer.text.indexOf("\r\n\r\n")).split("\r\n").slice(1);
  return section.map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()));
}

function bodyText(answer: { text: string }): string {
  return answer.text.slice(answer.text.indexOf("\r\n\r\n") + 4);
}

describe("a response on its way to a viewer", () => {
  test("complete bytes carry their length, every Set-Cookie line and a Date", async () => {
    const response = text("hello");
    response.fields.append("set-cookie", "a=1");
    response.fields.append("set-cookie", "b=2");
    const { http } = await start(() => response);
    const answer = await raw(http, get("/"));
    const fields = fieldsOf(answer);
    expect(fields).toContain("content-length: 5");
    expect(fields).toContain("set-cookie: a=1");
    expect(fields).toContain("set-cookie: b=2");
    expect(fields.filter((line) => line.startsWith("date: "))).toHaveLength(1);
    expect(bodyText(answer)).toBe("hello");
  });

  test("the same response served again is the same, and keeps its prepared form", async () => {
    const response = text("hello", { age: "7" });
    const { http } = await start(() => response);
    const first = await raw(http, get("/"));
    const prepared = response.prepared;
    expect(prepared).toBeDefined();
    const second = await raw(http, get("/"));
    expect(response.prepared).toBe(prepared);
    expect(second.text.replace(/date: .*/i, "")).toBe(first.text.replace(/date: .*/i, ""));
  });

  test("a hundred viewers at once of one prepared response get whole answers", async () => {
    const response = text("x".repeat(20_000));
    const { http } = await start(() => response);
    const bodies = await Promise.all(
      Array.from({ length: 100 }, () => fetch(`http://127.0.0.1:${http}/`).then((answer) => answer.text())),
    );
    expect(bodies.every((body) => body.length === 20_000)).toBe(true);
  });

  test("HEAD keeps the length of the body it does not send, and has a Date", async () => {
    const { http } = await start(() => ({
      status: 200,
      fields: Fields.from([
        ["content-type", "text/plain"],
        ["content-length", "5"],
      ]),
      body: null,
    }));
    const answer = await raw(http, get("/").replace("GET", "HEAD"));
    expect(fieldsOf(answer)).toContain("content-length: 5");
    expect(fieldsOf(answer).some((line) => line.startsWith("date: "))).toBe(true);
    expect(bodyText(answer)).toBe("");
  });

  test("HEAD of a response with a body sends its length and not the body", async () => {
    const { http } = await start(() => text("hello"));
    const answer = await raw(http, get("/").replace("GET", "HEAD"));
    expect(fieldsOf(answer)).toContain("content-length: 5");
    expect(bodyText(answer)).toBe("");
  });

  test("HEAD and GET may be served from one response", async () => {
    const response = text("hello");
    const { http } = await start(() => response);
    await raw(http, get("/").replace("GET", "HEAD"));
    expect(bodyText(await raw(http, get("/")))).toBe("hello");
  });

  test("304 keeps Content-Length and sends no body", async () => {
    const { http } = await start(() => text(null, { "content-length": "55", etag: '"x"' }, 304));
    const answer = await raw(http, get("/"));
    expect(answer.text).toStartWith("HTTP/1.1 304 ");
    expect(fieldsOf(answer)).toContain("content-length: 55");
    expect(bodyText(answer)).toBe("");
  });

  test("204 has neither body nor Content-Length", async () => {
    const { http } = await start(() => text("ignored", { "content-length": "7" }, 204));
    const answer = await raw(http, get("/"));
    expect(answer.text).toStartWith("HTTP/1.1 204 ");
    expect(fieldsOf(answer).some((line) => line.startsWith("content-length"))).toBe(false);
    expect(bodyText(answer)).toBe("");
  });

  test("no Content-Type is invented", async () => {
    const response = { status: 200, fields: new Fields(), body: new TextEncoder().encode("hello") };
    const { http } = await start(() => response);
    for (let i = 0; i < 2; i += 1) {
      const answer = await raw(http, get("/"));
      expect(fieldsOf(answer).some((line) => line.startsWith("content-type"))).toBe(false);
      expect(fieldsOf(answer)).toContain("content-length: 5");
      expect(bodyText(answer)).toBe("hello");
    }
  });

  test("a Content-Length that is not the body's is put right", async () => {
    const { http } = await start(() => text("hello", { "content-length": "50" }));
    const answer = await raw(http, get("/"));
    expect(fieldsOf(answer).filter((line) => line.startsWith("content-length"))).toEqual([
      "content-length: 5",
    ]);
  });

  test("bytes above ASCII in a field arrive as they were", async () => {
    const { http } = await start(() => text("hello", { "x-name": "caf\u00e9" }));
    expect((await raw(http, get("/"))).text).toContain("x-name: caf\u00e9");
  });

  test("fields and statuses that can not be sent become 502, and are reported", async () => {
    const edge = await start(
      site({
        "/field": () => text("x", { "x-a": "a\r\nb: c" }),
        "/early": () => text("x", {}, 103),
        "/large": () => text("x", {}, 600),
      }),
    );
    for (const path of ["/field", "/early", "/large"]) {
      expect((await raw(edge.http, get(path))).text).toStartWith("HTTP/1.1 502 ");
    }
    expect(edge.errors).toHaveLength(3);
  });

  test("a handler that throws or rejects is answered 500 without a word about why", async () => {
    const edge = await start((request) => {
      if (request.url.endsWith("/late")) return Promise.reject(new Error("secret"));
      throw new Error("secret");
    });
    for (const path of ["/now", "/late"]) {
      const answer = await raw(edge.http, get(path));
      expect(answer.text).toStartWith("HTTP/1.1 500 ");
      expect(answer.text).not.toContain("secret");
    }
    expect(edge.errors).toHaveLength(2);
  });

  test("a file is sent whole even when the request has Range", async () => {
    const file = `${await temporaryDirectory()}/body`;
    await Bun.write(file, "0123456789");
    const { http } = await start(() => text(Bun.file(file)));
    const answer = await raw(http, get("/", "Range: bytes=2-3\r\n"));
    expect(answer.text).toStartWith("HTTP/1.1 200 ");
    expect(bodyText(answer)).toBe("0123456789");
  });
});

describe("a streamed body", () => {
  test("arrives piece by piece, over TLS without a length", async () => {
    const { https } = await start(
      () => text(pieces(["one ", "", "two ", "three"]), { "content-length": "999" }),
      { https: loopback },
    );
    const answer = await fetch(`https://127.0.0.1:${https}/`, { tls: { rejectUnauthorized: false } });
    expect(await answer.text()).toBe("one two three");
  });

  test("in clear text has the length that is known, or comes in chunks; to HTTP/1.0 until the end", async () => {
    const { http } = await start((request) =>
      text(pieces(["one ", "", "two"]), request.url.endsWith("/known") ? { "content-length": "7" } : {}),
    );
    const known = await raw(http, get("/known"));
    expect([fieldsOf(known).includes("content-length: 7"), bodyText(known)]).toEqual([true, "one two"]);
    expect(fieldsOf(known).some((line) => line.startsWith("transfer-encoding"))).toBe(false);
    const unknown = await raw(http, get("/"));
    expect(fieldsOf(unknown)).toContain("transfer-encoding: chunked");
    expect(bodyText(unknown)).toBe("4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n");
    const old = await raw(http, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    expect([bodyText(old), old.closed, old.reset]).toEqual(["one two", true, false]);
  });

  test("in clear text that is not as long as it said ends the connection unfinished", async () => {
    for (const length of ["8", "6"]) {
      const edge = await start(() => text(pieces(["one ", "two"]), { "content-length": length }));
      const answer = await raw(edge.http, get("/"));
      expect(answer.closed).toBe(true);
      expect(bodyText(answer).length).toBeLessThan(Number(length));
      expect(edge.errors).toHaveLength(1);
    }
  });

  test("that breaks is a reset for an HTTP/1.0 viewer, who has no other sign", async () => {
    const { http } = await start(() => text(pieces(["one "], new Error("gone"))));
    const answer = await raw(http, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    expect(answer.reset).toBe(true);
  });

  test("in clear text begins with its head, before there is a first piece", async () => {
    const waiting = Promise.withResolvers<null>();
    const { http } = await start(() => text({ read: () => waiting.promise, cancel() {} }));
    const answer = await raw(http, get("/"), { until: "\r\n\r\n" });
    expect(answer.text).toStartWith("HTTP/1.1 200 OK\r\n");
    waiting.resolve(null);
  });

  test("of one piece arrives too", async () => {
    const { http } = await start(() => text(bodyOf(new TextEncoder().encode("whole"))));
    expect(await (await fetch(`http://127.0.0.1:${http}/`)).text()).toBe("whole");
  });

  test("that breaks resets the connection, so that it never looks whole", async () => {
    const broken = new Error("origin went away");
    const edge = await start(() => text(pieces(["x".repeat(100_000), "y"], broken)));
    const answer = await raw(edge.http, get("/"));
    expect(answer.closed).toBe(true);
    expect(answer.text).not.toContain("\r\n0\r\n\r\n");
    expect(edge.errors).toEqual([broken]);
    expect(fetch(`http://127.0.0.1:${edge.http}/`).then((response) => response.bytes())).rejects.toThrow();
  });

  test("is given up when the viewer leaves", async () => {
    const gone = Promise.withResolvers<void>();
    const endless = {
      read: () => Bun.sleep(1).then(() => new Uint8Array(1_000)),
      cancel: () => gone.resolve(),
    };
    const { http } = await start(() => text(endless));
    await raw(http, get("/"), { until: "\r\n\r\n" });
    await gone.promise;
  });

  test("is not read ahead of a viewer that does not read", async () => {
    let givenBytes = 0;
    const gone = Promise.withResolvers<void>();
    const endless = {
      async read() {
        givenBytes += 65_536;
        return new Uint8Array(65_536);
      },
      cancel: () => gone.resolve(),
    };
    const { http } = await start(() => text(endless));
    const socket = await Bun.connect({ hostname: "127.0.0.1", port: http, socket: { data() {} } });
    socket.pause();
    socket.write(get("/"));
    let before = -1;
    while (before !== givenBytes) {
      before = givenBytes;
      await Bun.sleep(100);
    }
    // What the system's own buffers hold, and not more.
    expect(givenBytes).toBeGreaterThan(0);
    expect(givenBytes).toBeLessThan(32 * 1024 * 1024);
    socket.terminate();
    await gone.promise;
  });

  test("is ended when the viewer takes nothing for too long", async () => {
    const clock = new ManualClock();
    const gone = Promise.withResolvers<void>();
    const endless = { read: async () => new Uint8Array(1_000_000), cancel: () => gone.resolve() };
    const edge = await start(() => text(endless), { clock, limits: { responseStallMs: 60_000 } });
    const closed = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: edge.http,
      socket: { data() {}, close: () => closed.resolve(), error: () => closed.resolve() },
    });
    socket.pause();
    socket.write(get("/"));
    await Bun.sleep(200);
    clock.advance(60_000 + 2 * WHEEL_TICK_MS);
    await gone.promise;
    expect(edge.errors.map(String)).toEqual(["ProximaError: the viewer took no bytes for 60000 ms"]);
    socket.terminate();
    await closed.promise;
  });

  test("longer than the idle limit between two pieces is not cut", async () => {
    const slow = [Bun.sleep(50), Bun.sleep(3_000)];
    const body = {
      async read() {
        const wait = slow.shift();
        if (wait === undefined) return null;
        await wait;
        return new TextEncoder().encode("x");
      },
      cancel() {},
    };
    const { http } = await start(async () => text(body), { limits: { idleSeconds: 1 } });
    expect(await (await fetch(`http://127.0.0.1:${http}/`)).text()).toBe("xx");
  }, 10_000);
});
