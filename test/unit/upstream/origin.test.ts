/** An origin over real sockets: connections, their reuse and death, time limits, addresses. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock, systemClock } from "../../../src/base/clock.ts";
import { bodyOf } from "../../../src/http/body.ts";
import { Fields } from "../../../src/http/fields.ts";
import { HttpOrigin, type HttpOriginOptions } from "../../../src/upstream/origin.ts";
import { answering, type RawConnection, type RawOrigin, startRawOrigin } from "../../kit/raw-origin.ts";
import { failureOf, readText, TIMEOUTS, until, upstreamRequest } from "../../kit/upstream-request.ts";

const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";

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

const get = (origin: HttpOrigin, target = "/") => origin.fetch(upstreamRequest({ target }), TIMEOUTS);

describe("a request", () => {
  test("is sent in origin-form with Host first and its fields in order, exactly", async () => {
    const { raw, origin } = start(answering(HELLO));
    const fields = Fields.from([
      ["Accept", "*/*"],
      ["X-Latin", "caf\xe9"],
      ["Expect", "100-continue"],
    ]);
    const response = await origin.fetch(upstreamRequest({ target: "/a?b=c", fields }), TIMEOUTS);
    expect(response).toMatchObject({ status: 200, framing: "length", bodyLength: 5, reused: false });
    expect(await readText(response.body)).toBe("hello");
    expect(raw.received()).toBe(
      "GET /a?b=c HTTP/1.1\r\nhost: shop.example\r\naccept: */*\r\nx-latin: caf\xe9\r\n\r\n",
    );
  });

  test("has the path of the origin's URL before its target", async () => {
    const raw = startRawOrigin(answering(HELLO));
    const origin = new HttpOrigin({ name: "app", url: `${raw.url}/base/`, clock: systemClock });
    cleanups.push(() => raw.stop());
    await get(origin, "/x");
    expect(raw.received()).toStartWith("GET /base/x HTTP/1.1\r\n");
  });

  test("that could be read as two is refused before a connection is made", async () => {
    const { raw, origin } = start(answering(HELLO));
    const hostile = [
      { target: "/ HTTP/1.1\r\nx: y" },
      { target: "/a b" },
      { target: "/#a" },
      { target: "http://other/" },
      { target: "/\xe9" },
      { method: "GET / HTTP/1.1\r\nx:" },
      { method: "CONNECT" },
      { authority: "a\r\nx: y" },
      { authority: "a/b" },
      { authority: "" },
      { fields: Fields.from([["a", "b\r\nc: d"]]) },
      { fields: Fields.from([["a", "b\nc"]]) },
      { fields: Fields.from([["a", "b\0"]]) },
      { fields: Fields.from([["a", "\u0100"]]) },
      { fields: Fields.from([["a: b\r\nc", "d"]]) },
      { fields: Fields.from([["a b", "c"]]) },
      { fields: Fields.from([["content-length", "5"]]) },
      { fields: Fields.from([["transfer-encoding", "chunked"]]) },
      { fields: Fields.from([["host", "other"]]) },
      { fields: Fields.from([["connection", "x"]]) },
      { body: bodyOf(Buffer.from("x")), bodyLength: -1 },
    ];
    for (const options of hostile) {
      const error = await failureOf(origin.fetch(upstreamRequest(options), TIMEOUTS));
      expect(error.code).toBe("http_request_error");
    }
    expect(raw.connections.length).toBe(0);
  });

  test("of a method that expects content says when it has none", async () => {
    const { raw, origin } = start(answering(HELLO));
    await origin.fetch(upstreamRequest({ method: "POST" }), TIMEOUTS);
    expect(raw.received()).toContain("\r\ncontent-length: 0\r\n\r\n");
  });
});

describe("a connection", () => {
  test("is used again, the one used last first", async () => {
    const { raw, origin } = start(answering(HELLO));
    for (let i = 0; i < 5; i++) {
      const response = await get(origin);
      expect(response.reused).toBe(i > 0);
      expect(await readText(response.body)).toBe("hello");
    }
    expect(raw.connections.length).toBe(1);
    expect(origin.stats()).toEqual({ open: 1, idle: 1, waiting: 0, requests: 5, reused: 4, connects: 1 });
  });

  test.each([
    ["the origin says close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"],
    ["it is HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
    ["more bytes follow the response", `${HELLO}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`],
    [
      "the origin keeps connections for no longer than a second",
      HELLO.replace("\r\n", "\r\nKeep-Alive: timeout=1\r\n"),
    ],
  ])("is not used again when %s", async (_, bytes) => {
    const { raw, origin } = start(answering(bytes));
    for (let i = 0; i < 3; i++) expect(await readText((await get(origin)).body)).toBe("hello");
    expect(raw.connections.length).toBe(3);
    expect(origin.stats()).toMatchObject({ open: 0, idle: 0, reused: 0 });
  });

  test("that gets bytes while idle is dropped: a late second response answers nobody", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write(HELLO);
      if (connection.number === 1) {
        await until(() => origin.stats().idle === 1, "the connection is idle");
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
      }
    });
    await readText((await get(origin)).body);
    await until(() => origin.stats().open === 0, "the connection is dropped");
    expect(await readText((await get(origin)).body)).toBe("hello");
    expect(raw.connections.length).toBe(2);
  });

  test("that the origin closes while idle is forgotten", async () => {
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write(HELLO);
      connection.end();
    });
    await get(origin);
    await until(() => origin.stats().open === 0, "the connection is forgotten");
    expect(origin.stats().idle).toBe(0);
  });

  test("is closed after its idle time, and not before", async () => {
    const clock = new ManualClock();
    const { origin } = start(answering(HELLO), { clock, keepAliveMs: 30_000 });
    await readText((await get(origin)).body);
    clock.advance(29_999);
    expect(origin.stats().idle).toBe(1);
    clock.advance(1);
    expect(origin.stats()).toMatchObject({ open: 0, idle: 0 });
  });

  test("is closed a second before the origin would (Keep-Alive: timeout)", async () => {
    const clock = new ManualClock();
    const { origin } = start(answering(HELLO.replace("\r\n", "\r\nKeep-Alive: timeout=5\r\n")), { clock });
    await readText((await get(origin)).body);
    clock.advance(3_999);
    expect(origin.stats().idle).toBe(1);
    clock.advance(1);
    expect(origin.stats().idle).toBe(0);
  });

  test("is opened for each of 100 requests at once, and each gets its own answer", async () => {
    const { raw, origin } = start(async (connection) => {
      for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
        const path = head.split(" ")[1] ?? "";
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
      }
    });
    for (let round = 0; round < 3; round++) {
      const paths = Array.from({ length: 100 }, (_, i) => `/${round}/${i}`);
      const texts = await Promise.all(paths.map(async (path) => readText((await get(origin, path)).body)));
      expect(texts).toEqual(paths);
    }
    expect(raw.connections.length).toBe(100);
    expect(origin.stats()).toMatchObject({ open: 100, idle: 100, requests: 300, reused: 200 });
  });

  test("limit holds: the others wait and are served in turn", async () => {
    const { raw, origin } = start(answering(HELLO), { connectionsMax: 2 });
    const all = Array.from({ length: 20 }, () => get(origin));
    expect(origin.stats()).toMatchObject({ open: 2, waiting: 18 });
    for (const response of await Promise.all(all)) expect(await readText(response.body)).toBe("hello");
    expect(raw.connections.length).toBe(2);
    expect(origin.stats()).toMatchObject({ open: 2, waiting: 0, idle: 2 });
  });

  test("limit holds for requests whose connections can not be reused, too", async () => {
    const bytes = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    const { raw, origin } = start(answering(bytes), { connectionsMax: 2 });
    await Promise.all(Array.from({ length: 20 }, () => get(origin)));
    expect(raw.connections.length).toBe(20);
    expect(origin.stats()).toMatchObject({ open: 0, waiting: 0 });
  });

  test("that does not become free in time fails those who wait, and only those", async () => {
    const clock = new ManualClock();
    const { raw, origin } = start(() => {}, { clock, connectionsMax: 1 });
    const first = failureOf(get(origin));
    await until(() => raw.received() !== "", "the first has the connection");
    const second = failureOf(get(origin));
    clock.advance(TIMEOUTS.connectMs);
    const error = await second;
    expect(error).toMatchObject({ code: "connection_timeout", retryable: true });
    expect(error.message).toContain("no connection became free within 5000 ms");
    expect(origin.stats()).toMatchObject({ open: 1, waiting: 0 });
    clock.advance(TIMEOUTS.firstByteMs);
    expect((await first).code).toBe("http_response_timeout");
  });

  test("to a unix socket carries requests as well", async () => {
    const directory = await mkdtemp(join(tmpdir(), "proxima-"));
    const unix = join(directory, "origin.sock");
    const raw = startRawOrigin(answering(HELLO), { unix });
    const origin = new HttpOrigin({ name: "app", url: "http://app.internal", clock: systemClock, unix });
    try {
      expect(await readText((await get(origin)).body)).toBe("hello");
    } finally {
      origin.close();
      raw.stop();
      await rm(directory, { recursive: true, force: true });
    }
  });

  test("in use outlives close(); no new request is taken, and nothing stays open", async () => {
    let release = () => {};
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await connection.write(HELLO);
    });
    const response = get(origin);
    await until(() => origin.stats().open === 1, "the request is under way");
    await Bun.sleep(5);
    origin.close();
    expect((await failureOf(get(origin))).code).toBe("http_request_error");
    release();
    expect(await readText((await response).body)).toBe("hello");
    expect(origin.stats().open).toBe(0);
  });
});

describe("a kept-alive connection that is found dead", () => {
  /** Answers the first request on the first connection, and closes or resets it at the second. */
  const dying = (how: "end" | "reset") => async (connection: RawConnection) => {
    await connection.readHead();
    await connection.write(HELLO);
    if (connection.number > 1) return;
    if ((await connection.readHead()) !== null) connection[how]();
  };

  const dyingAlways = async (connection: RawConnection) => {
    await connection.readHead();
    await connection.write(HELLO);
    await connection.readHead();
    connection.end();
  };

  test.each(["end", "reset"] as const)("by %s is replaced once for a GET", async (how) => {
    const { raw, origin } = start(dying(how));
    await readText((await get(origin)).body);
    const response = await get(origin, "/again");
    expect([response.reused, await readText(response.body)]).toEqual([false, "hello"]);
    expect(raw.received().match(/GET \/again/g)?.length).toBe(2);
  });

  test("is not replaced for a POST, nor for a GET with a body", async () => {
    for (const options of [{ method: "POST" }, { body: bodyOf(Buffer.from("x")), bodyLength: 1 }]) {
      const { raw, origin } = start(dying("end"));
      await readText((await get(origin)).body);
      const error = await failureOf(origin.fetch(upstreamRequest(options), TIMEOUTS));
      expect(error).toMatchObject({ code: "connection_terminated", retryable: false });
      expect(raw.connections.length).toBe(1);
    }
  });

  test("is not replaced when an answer had begun", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write(HELLO);
      await connection.readHead();
      await connection.write("H");
      connection.end();
    });
    await readText((await get(origin)).body);
    expect((await failureOf(get(origin))).code).toBe("http_response_incomplete");
    expect(raw.connections.length).toBe(1);
  });

  test("is replaced once only, and a new connection that dies is not replaced", async () => {
    const { raw, origin } = start(async (connection) => {
      await connection.readHead();
      if (connection.number > 1) return connection.end();
      await connection.write(HELLO);
      await connection.readHead();
      connection.end();
    });
    await readText((await get(origin)).body);
    expect((await failureOf(get(origin))).code).toBe("connection_terminated");
    expect(raw.connections.length).toBe(2);
    await until(() => origin.stats().open === 0, "nothing stays open");
  });

  test("is replaced once only even when a full pool has nothing but a used one to give", async () => {
    const { raw, origin } = start(dyingAlways, { connectionsMax: 1 });
    await readText((await get(origin)).body);
    const retried = failureOf(get(origin, "/retried"));
    const between = get(origin, "/between");
    expect(await readText((await between).body)).toBe("hello");
    expect((await retried).code).toBe("connection_terminated");
    expect(raw.received().match(/GET \/retried/g)?.length).toBe(2);
  });
});

describe("an answer that is cut", () => {
  test.each([
    ["a length-delimited one", HELLO],
    ["a chunked one", CHUNKED],
  ])("%s is an error at every byte, by FIN and by RST", async (_, bytes) => {
    let cutAt = 0;
    let how: "end" | "reset" = "end";
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write(bytes.slice(0, cutAt));
      // A reset may overtake what was sent before it; the error is then another, but never a success.
      connection[how]();
    });
    for (how of ["end", "reset"] as const) {
      for (cutAt = 0; cutAt < bytes.length; cutAt++) {
        const error = await failureOf(get(origin).then((response) => readText(response.body)));
        const codes = ["http_response_incomplete", "connection_terminated"];
        if (how === "reset") expect(codes).toContain(error.code);
        else expect(error.code).toBe(cutAt === 0 ? "connection_terminated" : "http_response_incomplete");
      }
    }
    expect(origin.stats().open).toBe(0);
  });

  test("one that ends with the connection is whole after FIN, marked as such, and cut after RST", async () => {
    const { origin } = start(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\n\r\nhello");
      if (connection.number === 1) return connection.end();
      await Bun.sleep(10);
      connection.reset();
    });
    const whole = await get(origin);
    expect([whole.framing, whole.bodyLength, await readText(whole.body)]).toEqual(["close", null, "hello"]);
    const cut = await get(origin);
    expect((await failureOf(readText(cut.body))).code).toBe("http_response_incomplete");
  });

  test("or malformed ends the connection and names the origin", async () => {
    const { raw, origin } = start(answering("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"));
    const error = await failureOf(get(origin));
    expect(error.message).toStartWith(`origin app (127.0.0.1:${raw.port}) sent a malformed response: `);
    expect([error.code, error.source, error.retryable]).toEqual(["http_protocol_error", "origin", false]);
    await raw.connections[0]?.gone();
    expect(origin.stats().open).toBe(0);
  });
});

describe("time limits", () => {
  test("first byte: an origin that says nothing", async () => {
    const clock = new ManualClock();
    const { raw, origin } = start(() => {}, { clock });
    const failure = failureOf(get(origin));
    await until(() => raw.received() !== "", "the request came");
    clock.advance(TIMEOUTS.firstByteMs - 1);
    expect(origin.stats().open).toBe(1);
    clock.advance(1);
    const error = await failure;
    expect([error.code, error.retryable]).toEqual(["http_response_timeout", false]);
    expect(error.message).toContain("did not answer: nothing came within 20000 ms");
    expect(origin.stats().open).toBe(0);
  });

  test("first byte: half a head, or interim responses, do not put it off", async () => {
    const clock = new ManualClock();
    for (const bytes of ["HTTP/1.1 200 OK\r\nA:", "HTTP/1.1 103 Early Hints\r\n\r\n"]) {
      const { origin } = start(
        async (connection) => {
          await connection.readHead();
          clock.advance(TIMEOUTS.firstByteMs / 2);
          await connection.write(bytes);
          await Bun.sleep(10);
          clock.advance(TIMEOUTS.firstByteMs / 2);
        },
        { clock },
      );
      expect((await failureOf(get(origin))).code).toBe("http_response_timeout");
    }
  });

  test("between bytes: a body that stops, but not one that trickles", async () => {
    const clock = new ManualClock();
    const { origin } = start(
      async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
      },
      { clock },
    );
    const raw = (await get(origin)).body;
    const read = raw?.read();
    clock.advance(TIMEOUTS.betweenBytesMs - 1);
    expect(origin.stats().open).toBe(1);
    clock.advance(1);
    const error = await failureOf(read ?? Promise.resolve());
    expect(error.code).toBe("http_response_timeout");
    expect(error.message).toContain("stopped in the middle of a body");

    let trickled = 0;
    const slow = start(
      async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for (let i = 0; i < 10; i++) {
          await until(() => trickled === i, "the last byte was read");
          clock.advance(TIMEOUTS.betweenBytesMs - 1);
          await connection.write("x");
        }
      },
      { clock },
    );
    const body = (await get(slow.origin)).body;
    for (; trickled < 10; trickled++) expect((await body?.read())?.byteLength).toBe(1);
    expect(await body?.read()).toBeNull();
  });

  test("leave nothing armed on an idle connection that could end a later request", async () => {
    const clock = new ManualClock();
    const { origin } = start(answering(HELLO), { clock });
    for (let i = 0; i < 5; i++) {
      await readText((await get(origin)).body);
      clock.advance(TIMEOUTS.firstByteMs - 1);
    }
    expect(origin.stats().connects).toBe(1);
  });

  test("connect: an origin that takes no connection", async () => {
    const clock = new ManualClock();
    const origin = new HttpOrigin({
      name: "app",
      url: "http://app.example",
      clock,
      lookup: () => new Promise(() => {}),
    });
    const failure = failureOf(get(origin));
    clock.advance(TIMEOUTS.connectMs);
    const error = await failure;
    expect([error.code, error.retryable]).toEqual(["connection_timeout", true]);
    expect(error.message).toBe("origin app (app.example): no connection could be opened within 5000 ms");
    expect(origin.stats().open).toBe(0);
  });
});

describe("an abort", () => {
  test("before, while waiting and while reading ends the exchange and its connection", async () => {
    const { raw, origin } = start(async (connection) => {
      const head = await connection.readHead();
      if (head?.includes("/body"))
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    });
    const fetchWith = (signal: AbortSignal, target: string) =>
      origin.fetch(upstreamRequest({ signal, target }), TIMEOUTS);
    expect((await failureOf(fetchWith(AbortSignal.abort(), "/"))).code).toBe("http_request_error");
    expect(raw.connections.length).toBe(0);

    const connecting = new AbortController();
    const early = failureOf(fetchWith(connecting.signal, "/"));
    connecting.abort();
    expect((await early).message).toBe("the request to origin app was given up");

    const waiting = new AbortController();
    const failure = failureOf(fetchWith(waiting.signal, "/waiting"));
    await until(() => raw.received().includes("/waiting"), "the request came");
    waiting.abort();
    expect((await failure).code).toBe("http_request_error");

    const reading = new AbortController();
    const { body } = await fetchWith(reading.signal, "/body");
    reading.abort();
    expect((await failureOf(body?.read() ?? Promise.resolve())).code).toBe("http_request_error");

    const { body: cancelled } = await get(origin, "/body");
    cancelled?.cancel();
    cancelled?.cancel();
    expect((await failureOf(cancelled?.read() ?? Promise.resolve())).code).toBe("http_request_error");
    await until(() => origin.stats().open === 0, "nothing stays open");
    for (const connection of raw.connections) await connection.gone();
  });

  test("after the response is whole changes nothing", async () => {
    const { origin } = start(answering(HELLO));
    const controller = new AbortController();
    const { body } = await origin.fetch(upstreamRequest({ signal: controller.signal }), TIMEOUTS);
    await until(() => origin.stats().idle === 1, "the response is whole");
    controller.abort();
    expect(await readText(body)).toBe("hello");
    expect((await get(origin)).reused).toBe(true);
  });
});

describe("addresses", () => {
  const at = (raw: RawOrigin, options: Partial<HttpOriginOptions>) =>
    new HttpOrigin({ name: "app", url: `http://app.example:${raw.port}`, clock: systemClock, ...options });

  test("that the node does not allow are never connected to, by name or literal", async () => {
    const raw = startRawOrigin(answering(HELLO));
    cleanups.push(() => raw.stop());
    const asked: string[] = [];
    const allowAddress = (address: string) => {
      asked.push(address);
      return false;
    };
    const byName = at(raw, { allowAddress, lookup: async () => ["127.0.0.1", "169.254.169.254"] });
    const error = await failureOf(get(byName));
    expect([error.code, error.retryable]).toEqual(["destination_ip_prohibited", false]);
    for (const url of [raw.url, `http://2130706433:${raw.port}`, `http://[::1]:${raw.port}`]) {
      const origin = new HttpOrigin({ name: "app", url, clock: systemClock, allowAddress });
      expect((await failureOf(get(origin))).code).toBe("destination_ip_prohibited");
    }
    expect(asked).toEqual(["127.0.0.1", "169.254.169.254", "127.0.0.1", "127.0.0.1", "::1"]);
    expect(raw.connections.length).toBe(0);
  });

  test("are checked at each connection: an answer that changes gains nothing", async () => {
    const raw = startRawOrigin(answering(HELLO.replace("\r\n", "\r\nConnection: close\r\n")));
    cleanups.push(() => raw.stop());
    const clock = new ManualClock();
    let addresses = ["127.0.0.1"];
    const origin = at(raw, {
      clock,
      lookup: async () => addresses,
      allowAddress: (address) => address === "127.0.0.1",
    });
    await get(origin);
    addresses = ["127.0.0.2"];
    clock.advance(5_000);
    expect((await failureOf(get(origin))).code).toBe("destination_ip_prohibited");
  });

  test("are tried in order until one answers, and that one first next time", async () => {
    const raw = startRawOrigin(answering(HELLO.replace("\r\n", "\r\nConnection: close\r\n")));
    cleanups.push(() => raw.stop());
    const asked: string[] = [];
    const origin = at(raw, {
      lookup: async () => ["127.0.0.2", "127.0.0.1"],
      allowAddress: (address) => asked.push(address) > 0,
    });
    expect(await readText((await get(origin)).body)).toBe("hello");
    await get(origin);
    expect(asked).toEqual(["127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.2"]);
  });

  test("are asked for once in five seconds, and kept while the resolver fails", async () => {
    const raw = startRawOrigin(answering(HELLO.replace("\r\n", "\r\nConnection: close\r\n")));
    cleanups.push(() => raw.stop());
    const clock = new ManualClock();
    let lookups = 0;
    let isDown = false;
    const origin = at(raw, {
      clock,
      lookup: async () => {
        lookups++;
        if (isDown) throw new Error("SERVFAIL");
        return ["127.0.0.1"];
      },
    });
    await Promise.all(Array.from({ length: 10 }, () => get(origin)));
    expect(lookups).toBe(1);
    isDown = true;
    clock.advance(5_000);
    expect((await get(origin)).status).toBe(200);
    expect(lookups).toBe(2);
    clock.advance(60 * 60 * 1000);
    expect(await failureOf(get(origin))).toMatchObject({ code: "dns_error", retryable: true });
  });

  test("where nobody listens give a clear error", async () => {
    const raw = startRawOrigin(() => {});
    raw.stop();
    const origin = new HttpOrigin({ name: "app", url: raw.url, clock: systemClock });
    const error = await failureOf(get(origin));
    expect([error.code, error.retryable]).toEqual(["connection_refused", true]);
    expect(error.message).toBe(`origin app (127.0.0.1:${raw.port}) refused the connection`);
    expect(origin.stats()).toMatchObject({ open: 0, connects: 1 });
  });
});

test("an origin's URL is http or https with a host and nothing secret or ambiguous", () => {
  for (const url of ["ftp://a", "a.example", "http://u:p@a", "http://a/?b", "http://a/#b", ""]) {
    expect(() => new HttpOrigin({ name: "app", url, clock: systemClock })).toThrow(
      "the URL of origin app must be",
    );
  }
});
