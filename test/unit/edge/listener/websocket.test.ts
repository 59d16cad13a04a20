import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { messageOf } from "../../../../src/base/errors.ts";
import type { ListenerOptions } from "../../../../src/edge/listener/edge-listener.ts";
import type { UpgradeResponse } from "../../../../src/edge/message.ts";
import { Fields } from "../../../../src/http/fields.ts";
import { after, cleanUp, loopback, raw, start, testTls, text } from "./support.ts";

afterEach(cleanUp);

interface OriginEnd {
  readonly requests: Request[];
  readonly closes: { code: number; reason: string }[];
  readonly port: number;
  sockets: Bun.ServerWebSocket<undefined>[];
}

/** A real WebSocket origin that sends everything back. */
function origin(protocol: string | null = null, refuse = false): OriginEnd {
  const end: Omit<OriginEnd, "port"> = { requests: [], closes: [], sockets: [] };
  const server = Bun.serve<undefined>({
    ...loopback,
    fetch(request, server) {
      end.requests.push(request);
      if (refuse) return new Response("no", { status: 403 });
      if (protocol === null) request.headers.delete("sec-websocket-protocol");
      const headers: Record<string, string> = protocol === null ? {} : { "sec-websocket-protocol": protocol };
      return server.upgrade(request, { headers }) ? undefined : new Response("bad", { status: 400 });
    },
    websocket: {
      open: (socket) => {
        end.sockets.push(socket);
        socket.send("hello");
      },
      message: (socket, message) => {
        socket.send(message);
      },
      close: (_, code, reason) => {
        end.closes.push({ code, reason });
      },
    },
  });
  after(() => server.stop(true));
  return Object.assign(end, { port: server.port ?? 0 });
}

/** An edge that passes every WebSocket on to the origin. */
function edgeTo(
  port: number,
  options: Partial<ListenerOptions> & { upgrade?: Partial<UpgradeResponse> } = {},
) {
  return start(
    (request) => ({
      kind: "upgrade",
      url: `ws://127.0.0.1:${port}/chat`,
      fields: Fields.from([
        ["host", "origin.test"],
        ["cookie", "a=b"],
      ]),
      protocols: (request.fields.get("sec-websocket-protocol") ?? "")
        .split(", ")
        .filter((name) => name !== ""),
      tls: { verify: true },
      connectTimeoutMs: 5_000,
      refused: (error) => text(messageOf(error), {}, 502),
      ...options.upgrade,
    }),
    options,
  );
}

interface Viewer {
  readonly socket: WebSocket;
  readonly messages: (string | ArrayBuffer)[];
  readonly closed: Promise<CloseEvent>;
}

/** A viewer whose WebSocket is open. */
async function viewer(url: string, protocols: string[] = []): Promise<Viewer> {
  const socket = new WebSocket(url, { protocols, tls: { rejectUnauthorized: false } });
  socket.binaryType = "arraybuffer";
  after(() => socket.terminate());
  const messages: (string | ArrayBuffer)[] = [];
  socket.addEventListener("message", (event) => messages.push(event.data));
  const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener("close", resolve));
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  return { socket, messages, closed };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(5);
}

describe("a WebSocket passed through", () => {
  test("carries text and binary both ways, with what the origin said first", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const { socket, messages } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    socket.send("text");
    socket.send(new Uint8Array([1, 2, 3]));
    await until(() => messages.length === 3);
    expect(messages[0]).toBe("hello");
    expect(messages[1]).toBe("text");
    expect(new Uint8Array(messages[2] as ArrayBuffer)).toEqual(new Uint8Array([1, 2, 3]));
    expect(end.requests[0]?.headers.get("host")).toBe("origin.test");
    expect(end.requests[0]?.headers.get("cookie")).toBe("a=b");
    expect(edge.connections().webSockets).toBe(1);
  });

  test("works over TLS", async () => {
    await testTls();
    const end = origin();
    const edge = await edgeTo(end.port, { https: loopback });
    const { socket, messages } = await viewer(`wss://127.0.0.1:${edge.https}/`);
    socket.send("secret");
    await until(() => messages.length === 2);
    expect(messages).toEqual(["hello", "secret"]);
  });

  test("has the subprotocol that the origin chose", async () => {
    const edge = await edgeTo(origin("chat.v2").port);
    const { socket } = await viewer(`ws://127.0.0.1:${edge.http}/`, ["chat.v1", "chat.v2"]);
    expect(socket.protocol).toBe("chat.v2");
  });

  test("is refused when the origin takes none of the offered subprotocols, as a browser would", async () => {
    const edge = await edgeTo(origin(null).port);
    const opened = viewer(`ws://127.0.0.1:${edge.http}/`, ["chat.v1"]);
    expect(
      await opened.then(
        () => "open",
        () => "refused",
      ),
    ).toBe("refused");
  });

  test("has no subprotocol when the pipeline offered none to the origin", async () => {
    const edge = await edgeTo(origin(null).port, { upgrade: { protocols: [] } });
    const answer = await raw(
      edge.http,
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n",
      { until: "\r\n\r\n" },
    );
    expect(answer.text).toStartWith("HTTP/1.1 101 ");
    expect(answer.text.toLowerCase()).not.toContain("sec-websocket-protocol");
  });

  test("passes the viewer's close code and reason to the origin", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const { socket } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    socket.close(4001, "done");
    await until(() => end.closes.length === 1);
    expect(end.closes).toEqual([{ code: 4001, reason: "done" }]);
    await until(() => edge.connections().webSockets === 0);
  });

  test("passes the origin's close code and reason to the viewer", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const { closed } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    end.sockets[0]?.close(4002, "later");
    const { code, reason } = await closed;
    expect({ code, reason }).toEqual({ code: 4002, reason: "later" });
    await until(() => edge.connections().webSockets === 0);
  });

  test("tells the viewer with 1014 that the origin is gone", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const { closed } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    end.sockets[0]?.terminate();
    expect((await closed).code).toBe(1014);
  });

  test("tells the origin with 1001 that the viewer is gone", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const { socket } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    socket.terminate();
    await until(() => end.closes.length === 1);
    expect(end.closes[0]?.code).toBe(1001);
  });

  test("carries a burst of 10 MB both ways", async () => {
    const edge = await edgeTo(origin().port);
    const { socket, messages } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    for (let i = 0; i < 160; i += 1) socket.send(new Uint8Array(65_536).fill(i));
    await until(() => messages.length === 161);
    const firsts = messages.slice(1).map((message) => new Uint8Array(message as ArrayBuffer)[0]);
    expect(firsts).toEqual(Array.from({ length: 160 }, (_, i) => i));
  }, 15_000);

  test("is closed with 1013 when a side does not take what waits for it", async () => {
    const end = origin();
    const edge = await edgeTo(end.port, { limits: { webSocketQueueBytesMax: 1_000_000 } });
    const got = { text: "" };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: edge.http,
      socket: {
        data: (_, bytes) => {
          got.text += bytes.toString("latin1").slice(0, 200);
        },
      },
    });
    after(() => socket.terminate());
    socket.write(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await until(() => got.text.includes("hello"));
    socket.pause();
    const piece = new Uint8Array(500_000);
    for (let i = 0; i < 200 && end.closes.length === 0; i += 1) {
      end.sockets[0]?.send(piece);
      await Bun.sleep(5);
    }
    await until(() => end.closes.length === 1);
    expect(end.closes[0]).toEqual({ code: 1013, reason: "viewer too slow" });
  }, 15_000);

  test("is given up when the origin answers no ping", async () => {
    const clock = new ManualClock();
    // An origin that completes the handshake and then says nothing any more.
    const silent = Bun.listen({
      ...loopback,
      socket: {
        data(socket, bytes) {
          const key = /sec-websocket-key: (.*)\r/i.exec(bytes.toString())?.[1];
          if (key === undefined) return;
          const accept = new Bun.CryptoHasher("sha1")
            .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
            .digest("base64");
          socket.write(
            `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
          );
        },
      },
    });
    after(() => silent.stop(true));
    const edge = await edgeTo(silent.port, { clock });
    const { closed } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    clock.advance(30_000);
    await Bun.sleep(50);
    clock.advance(30_000);
    expect((await closed).code).toBe(1014);
  });

  test("stays while the origin answers pings", async () => {
    const clock = new ManualClock();
    const edge = await edgeTo(origin().port, { clock });
    const { socket, messages } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    for (let i = 0; i < 4; i += 1) {
      clock.advance(30_000);
      await Bun.sleep(50);
    }
    socket.send("still here");
    await until(() => messages.length === 2);
    expect(edge.connections().webSockets).toBe(1);
  });

  test("is closed with 1001 when the node drains", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const { closed } = await viewer(`ws://127.0.0.1:${edge.http}/`);
    await edge.drain(2_000);
    expect((await closed).code).toBe(1001);
    await until(() => end.closes.length === 1);
    expect(end.closes[0]?.code).toBe(1001);
  });
});

describe("a WebSocket that the origin does not take", () => {
  const handshake =
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

  test("is answered as the pipeline says, when the origin refuses", async () => {
    const edge = await edgeTo(origin(null, true).port);
    const answer = await raw(edge.http, handshake, { until: "403" });
    expect(answer.text).toStartWith("HTTP/1.1 502 ");
    expect(answer.text).toContain("the origin refused the WebSocket");
  });

  test("is answered when nobody listens there", async () => {
    const closed = Bun.listen({ ...loopback, socket: { data() {} } });
    const { port } = closed;
    closed.stop(true);
    const edge = await edgeTo(port);
    expect((await raw(edge.http, handshake, { until: "Failed to connect" })).text).toStartWith(
      "HTTP/1.1 502 ",
    );
  });

  test("is answered when the handshake takes too long", async () => {
    const silent = Bun.listen({ ...loopback, socket: { data() {} } });
    after(() => silent.stop(true));
    const clock = new ManualClock();
    const edge = await edgeTo(silent.port, { clock });
    const answer = raw(edge.http, handshake, { until: "5000 ms" });
    await Bun.sleep(100);
    clock.advance(5_001);
    expect((await answer).text).toStartWith("HTTP/1.1 502 ");
  });

  test("is answered when too many are open", async () => {
    const edge = await edgeTo(origin().port, { limits: { webSocketsMax: 1 } });
    await viewer(`ws://127.0.0.1:${edge.http}/`);
    const answer = await raw(edge.http, handshake, { until: "limit" });
    expect(answer.text).toContain("1 WebSockets are open, which is the limit");
  });

  test("over HTTP/2 or by a bad handshake is refused and the origin's leg is closed", async () => {
    const end = origin();
    const edge = await edgeTo(end.port);
    const answer = await raw(edge.http, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", {
      until: "\r\n\r\n",
    });
    expect(answer.text).toStartWith("HTTP/1.1 502 ");
    const plain = await raw(edge.http, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", { until: "\r\n\r\n" });
    expect(plain.text).toStartWith("HTTP/1.1 502 ");
    await until(() => end.closes.length === 1);
  });
});
