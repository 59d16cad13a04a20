/** Connections in clear text: order, limits, deadlines and ends, over real sockets and a clock that is moved. */
import { afterEach, describe, expect, test } from "bun:test";
import http2 from "node:http2";
import { ManualClock } from "../../../../../src/base/clock.ts";
import type { ProximaError } from "../../../../../src/base/errors.ts";
import {
  LINGER_BYTES_MAX,
  LINGER_MS,
  PIPELINED_BYTES_MAX,
  WHEEL_TICK_MS,
} from "../../../../../src/edge/listener/raw/limits.ts";
import type { RequestHandler } from "../../../../../src/edge/message.ts";
import { until } from "../../../../kit/upstream-request.ts";
import { after, cleanUp, get, pieces, raw, start, text } from "../support.ts";

afterEach(cleanUp);

const LATE_MS = 2 * WHEEL_TICK_MS;
const ask = (path: string, fields = "") => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

/** A viewer whose bytes the test sends when it likes. */
async function viewer(port: number, options: { paused?: boolean } = {}) {
  const seen = { text: "", closed: false };
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_, bytes) => {
        seen.text += bytes.toString("latin1");
      },
      close: () => {
        seen.closed = true;
      },
      error() {},
    },
  });
  if (options.paused === true) socket.pause();
  after(() => socket.terminate());
  return Object.assign(seen, { socket, send: (bytes: string | Uint8Array) => socket.write(bytes) });
}

/** Answers with the path: at once, or a moment later where it ends in "late". */
const echo: RequestHandler = (request) => {
  const path = new URL(request.url).pathname;
  return path.endsWith("late") ? Bun.sleep(2).then(() => text(`<${path}>`)) : text(`<${path}>`);
};

describe("pipelined requests", () => {
  test("are answered in order, those that wait and those that do not", async () => {
    const { http } = await start(echo);
    const paths = Array.from({ length: 60 }, (_, i) => `/${i}${i % 7 === 3 ? "late" : ""}`);
    const answer = await raw(http, paths.map((path) => ask(path)).join("") + get("/end"));
    expect(answer.text.match(/<.*?>/g)?.join("")).toBe(
      [...paths, "/end"].map((path) => `<${path}>`).join(""),
    );
    expect(answer.closed).toBe(true);
  });

  test("behind one that ends the connection are not answered", async () => {
    let asked = 0;
    const { http } = await start((request) => {
      asked += 1;
      return echo(request);
    });
    const answer = await raw(http, get("/1") + ask("/2"));
    expect([answer.text.match(/<.*?>/g)?.join(), asked, answer.closed]).toEqual(["</1>", 1, true]);
  });

  test("of a viewer that takes no answers are not read on and on", async () => {
    let asked = 0;
    const body = new Uint8Array(20_000);
    const { http } = await start(() => {
      asked += 1;
      return text(body);
    });
    const one = await viewer(http, { paused: true });
    const many = Buffer.from(ask("/x").repeat(20_000));
    let sent = 0;
    for (let taken = 1; taken > 0 && sent < many.length; sent += taken) {
      taken = Math.max(0, one.send(many.subarray(sent)));
      await Bun.sleep(5);
    }
    await Bun.sleep(100);
    // What fits into the system's buffers is answered; 400 MB of answers would be 20,000.
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(2_000);
  });

  test("behind a long wait stay in the socket beyond a limit", async () => {
    const release = Promise.withResolvers<void>();
    const { http } = await start(() => release.promise.then(() => text("x")));
    const one = await viewer(http);
    one.send(ask("/wait"));
    const piece = Buffer.from(ask("/next", `X: ${"a".repeat(4_000)}\r\n`).repeat(100));
    let sent = 0;
    for (let idle = 0; idle < 10 && sent < 100_000_000; ) {
      const taken = Math.max(0, one.send(piece));
      sent += taken;
      idle = taken === 0 ? idle + 1 : 0;
      if (taken < piece.length) await Bun.sleep(10);
    }
    expect(sent).toBeGreaterThan(PIPELINED_BYTES_MAX);
    expect(sent).toBeLessThan(32_000_000);
    release.resolve();
  });
});

describe("time", () => {
  test("for a header section ends, however steadily its bytes trickle (slowloris)", async () => {
    const clock = new ManualClock();
    let asked = 0;
    const { http } = await start(
      () => {
        asked += 1;
        return text("x");
      },
      { clock },
    );
    for (const before of ["", ask("/kept")]) {
      const one = await viewer(http);
      one.send(`${before}GET / HTTP/1.1\r\nHost: a\r\nX: `);
      await until(() => before === "" || one.text.endsWith("x"), "the first answer");
      await Bun.sleep(20);
      for (let i = 0; i < 11; i += 1) {
        one.send("a");
        await Bun.sleep(5);
        clock.advance(1_000);
      }
      expect(one.closed).toBe(false);
      clock.advance(1_000 + LATE_MS);
      await until(() => one.closed, "the connection ended");
      expect(one.text).toContain("HTTP/1.1 408 ");
    }
    expect(asked).toBe(1);
  });

  test("without a request ends in silence", async () => {
    const clock = new ManualClock();
    const { http } = await start(() => text("x"), { clock, limits: { idleSeconds: 10 } });
    const [fresh, kept] = [await viewer(http), await viewer(http)];
    kept.send(ask("/"));
    await until(() => kept.text.endsWith("x"), "the answer");
    clock.advance(9_900);
    await Bun.sleep(20);
    expect([fresh.closed, kept.closed]).toEqual([false, false]);
    clock.advance(100 + LATE_MS);
    await until(() => fresh.closed && kept.closed, "both ended");
    expect([fresh.text, kept.text.match(/HTTP/g)?.length]).toEqual(["", 1]);
  });

  test("does not end a request that waits for its origin", async () => {
    const clock = new ManualClock();
    const origin = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const { http } = await start(
      () => {
        asked.resolve();
        return origin.promise.then(() => text("late"));
      },
      { clock },
    );
    const one = await viewer(http);
    one.send(ask("/"));
    await asked.promise;
    clock.advance(3_600_000);
    origin.resolve();
    await until(() => one.text.endsWith("late"), "the answer");
  });

  test("to take a stored answer ends for a viewer that takes nothing", async () => {
    const clock = new ManualClock();
    const edge = await start(() => text(new Uint8Array(20_000_000)), { clock });
    const one = await viewer(edge.http, { paused: true });
    one.send(ask("/"));
    await Bun.sleep(100);
    clock.advance(59_000);
    await Bun.sleep(20);
    expect(edge.errors).toEqual([]);
    clock.advance(1_000 + LATE_MS);
    expect(edge.errors.map((error) => (error as ProximaError).code)).toEqual(["viewer_too_slow"]);
  });
});

describe("a request's body", () => {
  const upload = (fields: string) => `POST /up HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
  const reading: RequestHandler = async (request) => {
    const body = request.body();
    let bytes = 0;
    for (let piece = await body?.read(); piece; piece = await body?.read()) bytes += piece.byteLength;
    return text(`<${request.method} ${bytes}>`);
  };

  test("is asked for with 100 when it is read, and only then", async () => {
    const go = Promise.withResolvers<void>();
    const { http } = await start((request) => go.promise.then(() => reading(request)));
    const one = await viewer(http);
    one.send(upload("Expect: 100-continue\r\nContent-Length: 3\r\n"));
    await Bun.sleep(30);
    expect(one.text).toBe("");
    go.resolve();
    await until(() => one.text === "HTTP/1.1 100 Continue\r\n\r\n", "100 came");
    one.send(`abc${ask("/next")}`);
    await until(() => one.text.endsWith("<GET 0>"), "both answers");
    expect(one.text).toContain("<POST 3>");
  });

  test("that was announced and is not wanted ends the connection with the answer", async () => {
    const { http } = await start(() => text("<no>", {}, 403));
    for (const fields of ["Expect: 100-continue\r\nContent-Length: 3\r\n", "Content-Length: 900000\r\n"]) {
      const answer = await raw(http, upload(fields));
      expect(answer.text).toStartWith("HTTP/1.1 403 ");
      expect(answer.text).toContain("\r\nconnection: close\r\n");
      expect(answer.closed).toBe(true);
    }
  });

  test("that nobody reads is dropped for the sake of the connection when it is small", async () => {
    const { http } = await start(echo);
    const one = await viewer(http);
    one.send(upload("Content-Length: 10\r\n"));
    await until(() => one.text.endsWith("</up>"), "the early answer");
    one.send(`0123456789${ask("/after")}`);
    await until(() => one.text.endsWith("</after>"), "the next answer");
  });

  test("still being sent when the answer is there does not destroy it by a reset", async () => {
    const { http } = await start(() => text("<refused>", {}, 413));
    for (let i = 0; i < 5; i += 1) {
      const answer = await raw(http, upload("Content-Length: 100000000\r\n") + "x".repeat(700_000));
      expect(answer.text).toEndWith("<refused>");
      expect([answer.closed, answer.reset]).toEqual([true, false]);
    }
  });

  test("that goes on and on behind an answer is not read for ever", async () => {
    const clock = new ManualClock();
    const { http } = await start(() => text("<refused>", {}, 413), { clock });
    // Half-open: it has seen our end, and sends on.
    const net = await import("node:net");
    const socket = net.connect({ port: http, host: "127.0.0.1", allowHalfOpen: true });
    after(() => socket.destroy());
    let failed = false;
    socket.on("error", () => {
      failed = true;
    });
    socket.resume();
    socket.write(upload("Content-Length: 100000000\r\n"));
    const piece = Buffer.alloc(100_000);
    for (let sent = 0; sent < LINGER_BYTES_MAX * 20 && !failed; sent += piece.length) {
      socket.write(piece);
      await Bun.sleep(2);
    }
    expect(failed).toBe(true);
    const quiet = net.connect({ port: http, host: "127.0.0.1", allowHalfOpen: true });
    after(() => quiet.destroy());
    const closed = Promise.withResolvers<void>();
    quiet.on("error", () => closed.resolve());
    quiet.on("close", () => closed.resolve());
    const ended = new Promise((resolve) => quiet.on("end", resolve));
    quiet.resume();
    quiet.write(upload("Content-Length: 100000000\r\n"));
    await ended;
    clock.advance(LINGER_MS + LATE_MS);
    await Bun.sleep(20);
    quiet.write("x");
    await closed.promise;
  });

  test("that never comes whole holds no connection for ever, answered at once or later", async () => {
    const clock = new ManualClock();
    const { http } = await start(echo, { clock });
    for (const path of ["/at-once", "/late"]) {
      const one = await viewer(http);
      one.send(ask(path, "Content-Length: 100\r\n"));
      await until(() => one.text.includes("<"), "the answer");
      clock.advance(40_000);
      one.send("a piece");
      await Bun.sleep(20);
      expect(one.closed).toBe(false);
      clock.advance(20_000 + LATE_MS);
      await Bun.sleep(20);
      clock.advance(LINGER_MS + LATE_MS);
      await until(() => one.closed, "it is closed");
    }
  });

  test("of GET is taken out of the connection, in chunks too", async () => {
    const { http } = await start(reading);
    const chunks = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    const answer = await raw(http, `GET /1 HTTP/1.1\r\nHost: a\r\n${chunks}${get("/2")}`);
    expect(answer.text.match(/<.*?>/g)).toEqual(["<GET 0>", "<GET 0>"]);
  });
});

describe("the end", () => {
  test("of a viewer who waits gives up the answer that comes too late; what another asked for goes on", async () => {
    const gone = Promise.withResolvers<void>();
    const body = pieces(["too late"]);
    let asked = 0;
    const { http, errors } = await start((request) => {
      asked++;
      request.signal.addEventListener("abort", () => gone.resolve());
      if (request.url.endsWith("/fails")) return gone.promise.then(() => Promise.reject(new Error("a bug")));
      return gone.promise.then(() => text(body));
    });
    const one = await viewer(http);
    one.send(ask("/late"));
    await until(() => asked === 1, "the request");
    const other = await viewer(http);
    other.send(ask("/fails"));
    await until(() => asked === 2, "the other request");
    one.socket.terminate();
    await until(() => body.cancelled, "the body is given up");
    await until(() => errors.length > 0, "the bug is told");
    expect(errors.map(String)).toEqual(["Error: a bug"]);
    await until(() => other.text.startsWith("HTTP/1.1 500 "), "its answer");
  });

  test("of a drain closes idle connections at once, and busy ones with their answer", async () => {
    const go = Promise.withResolvers<void>();
    const edge = await start((request) =>
      request.url.endsWith("/slow") ? go.promise.then(() => text("slow")) : text("quick"),
    );
    const [idle, busy, silent] = [await viewer(edge.http), await viewer(edge.http), await viewer(edge.http)];
    idle.send(ask("/"));
    busy.send(ask("/slow"));
    await until(
      () => idle.text.endsWith("quick") && edge.connections().requests === 1,
      "one waits, one is idle",
    );
    const drained = edge.drain(5_000);
    // For a moment an idle connection still takes a request, and is told that it was the last.
    idle.send(ask("/"));
    await until(() => idle.closed && silent.closed, "the idle connections ended");
    expect(idle.text.match(/connection: close/g)).toHaveLength(1);
    expect(busy.closed).toBe(false);
    go.resolve();
    await until(() => busy.closed, "the busy connection ended");
    expect(busy.text).toContain("\r\nconnection: close\r\n");
    expect(busy.text).toEndWith("slow");
    await drained;
  });

  test("of a viewer ends its stream, and the signal tells it", async () => {
    const aborted = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const edge = await start((request) => {
      request.signal.addEventListener("abort", () => aborted.resolve());
      asked.resolve();
      return new Promise(() => {});
    });
    const one = await viewer(edge.http);
    one.send(ask("/"));
    await asked.promise;
    one.socket.end();
    await aborted.promise;
    expect(edge.connections().requests).toBe(0);
  });

  test("comes at once for connections beyond the limit", async () => {
    const { http } = await start(() => text("x"), { limits: { connectionsMax: 2 } });
    const kept = [await viewer(http), await viewer(http)];
    kept[0]?.send(ask("/"));
    await until(() => kept[0]?.text.endsWith("x") === true, "an answer");
    const third = await raw(http, get("/"));
    expect([third.text, third.closed]).toEqual(["", true]);
  });
});

describe("what the runtime's server speaks is passed on", () => {
  test("HTTP/2 with prior knowledge, and its viewer's address", async () => {
    const { http } = await start((request) => text(`<${request.peerAddress} ${request.url}>`));
    const client = http2.connect(`http://127.0.0.1:${http}`);
    after(() => client.destroy());
    let body = "";
    for await (const piece of client.request({ ":path": "/two" })) body += piece;
    expect(body).toBe(`<127.0.0.1 http://127.0.0.1:${http}/two>`);
  });

  test("a WebSocket's handshake behind other requests, in order", async () => {
    const { http } = await start((request) =>
      request.fields.has("upgrade") ? text("<handshake>", {}, 403) : echo(request),
    );
    const answer = await raw(
      http,
      ask("/1") + ask("/2late") + ask("/ws", "Connection: Upgrade, close\r\nUpgrade: websocket\r\n"),
      { until: "<handshake>" },
    );
    expect(answer.text.match(/<.*?>/g)).toEqual(["</1>", "</2late>", "<handshake>"]);
  });
});

test("answers to many small requests at once leave in few writes", async () => {
  const { http } = await start(echo);
  let writes = 0;
  let seen = "";
  const done = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: http,
    socket: {
      data: (_, bytes) => {
        writes += 1;
        seen += bytes.toString("latin1");
        if (seen.includes("</last>")) done.resolve();
      },
    },
  });
  after(() => socket.terminate());
  socket.write(ask("/x").repeat(100) + ask("/last"));
  await done.promise;
  expect(seen.match(/<.*?>/g)).toHaveLength(101);
  expect(writes).toBeLessThan(5);
});
