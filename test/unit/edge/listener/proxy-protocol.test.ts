import { afterEach, describe, expect, test } from "bun:test";
import { readdir, readFile, readlink } from "node:fs/promises";
import net from "node:net";
import tls from "node:tls";
import fc from "fast-check";
import { ManualClock } from "../../../../src/base/clock.ts";
import { parseProxyHeader, proxyHeaderBytesMax } from "../../../../src/edge/listener/proxy-protocol.ts";
import { after, cleanUp, get, loopback, pieces, raw, start, testTls, text } from "./support.ts";

afterEach(cleanUp);

const bytes = (line: string) => Buffer.from(line, "latin1");

/** A version 2 header. */
function v2(
  payload: Uint8Array | number[],
  options: { command?: number; family?: number; version?: number; length?: number } = {},
): Buffer {
  const { command = 1, family = 0x11, version = 2, length = payload.length } = options;
  const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
  return Buffer.from([
    ...signature,
    (version << 4) | command,
    family,
    length >> 8,
    length & 0xff,
    ...payload,
  ]);
}

const ipv4Payload = [192, 0, 2, 1, 198, 51, 100, 7, 0x1f, 0x90, 0, 80];
const ipv6Payload = [
  0x20,
  0x01,
  0x0d,
  0xb8,
  ...new Array(11).fill(0),
  1,
  ...new Array(16).fill(0),
  0,
  1,
  0,
  2,
];

describe("a PROXY protocol header", () => {
  test("of version 1 names an IPv4 viewer", () => {
    const line = "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n";
    expect(parseProxyHeader(bytes(`${line}GET`))).toEqual({
      kind: "header",
      length: line.length,
      address: "192.0.2.1",
    });
  });

  test("of version 1 names an IPv6 viewer", () => {
    const line = "PROXY TCP6 2001:DB8::1 2001:db8::2 8080 80\r\n";
    expect(parseProxyHeader(bytes(line))).toEqual({
      kind: "header",
      length: line.length,
      address: "2001:db8::1",
    });
  });

  test("of version 1 may name nobody", () => {
    for (const line of ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"]) {
      expect(parseProxyHeader(bytes(line))).toEqual({ kind: "header", length: line.length, address: null });
    }
  });

  test("of version 2 names IPv4, IPv6 and mapped viewers, and skips what follows the addresses", () => {
    expect(parseProxyHeader(v2(ipv4Payload))).toEqual({ kind: "header", length: 28, address: "192.0.2.1" });
    expect(parseProxyHeader(v2([...ipv4Payload, 4, 0, 1, 9]))).toEqual({
      kind: "header",
      length: 32,
      address: "192.0.2.1",
    });
    expect(parseProxyHeader(v2(ipv6Payload, { family: 0x21 }))).toEqual({
      kind: "header",
      length: 52,
      address: "2001:db8::1",
    });
    const mapped = [
      ...new Array(10).fill(0),
      0xff,
      0xff,
      203,
      0,
      113,
      5,
      ...new Array(16).fill(0),
      0,
      1,
      0,
      2,
    ];
    expect(parseProxyHeader(v2(mapped, { family: 0x21 }))).toHaveProperty("address", "203.0.113.5");
  });

  test("of version 2 may be the balancer's own, or name nobody", () => {
    expect(parseProxyHeader(v2([], { command: 0, family: 0 }))).toEqual({
      kind: "header",
      length: 16,
      address: null,
    });
    expect(parseProxyHeader(v2([1, 2], { family: 0 }))).toEqual({
      kind: "header",
      length: 18,
      address: null,
    });
  });

  test("that is malformed is refused", () => {
    const malformed = [
      "GET / HTTP/1.1\r\n",
      "PROXY\r\n\r\n",
      "PROXY  TCP4 192.0.2.1 198.51.100.7 8080 80\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.7 8080\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80 x\r\n",
      "PROXY TCP4 192.0.2.256 198.51.100.7 8080 80\r\n",
      "PROXY TCP4 192.0.02.1 198.51.100.7 8080 80\r\n",
      "PROXY TCP4 2001:db8::1 2001:db8::2 8080 80\r\n",
      "PROXY TCP6 192.0.2.1 198.51.100.7 8080 80\r\n",
      "PROXY TCP6 2001:db8:::1 2001:db8::2 8080 80\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.7 65536 80\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.7 080 80\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\rX",
      "PROXY UDP4 192.0.2.1 198.51.100.7 8080 80\r\n",
      `PROXY UNKNOWN ${"x".repeat(120)}\r\n`,
      v2(ipv4Payload, { version: 1 }),
      v2(ipv4Payload, { command: 2 }),
      v2(ipv4Payload, { family: 0x12 }),
      v2(ipv4Payload.slice(0, 11)),
      v2(ipv4Payload, { family: 0x21 }),
      v2(ipv4Payload, { length: proxyHeaderBytesMax }),
    ];
    const verdicts = malformed.map(
      (each) => parseProxyHeader(typeof each === "string" ? bytes(each) : each).kind,
    );
    expect(verdicts).toEqual(malformed.map(() => "bad"));
  });

  test("cut anywhere asks for more, and the whole one does not depend on what follows", () => {
    const headers = [
      bytes("PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n"),
      v2(ipv4Payload),
      v2(ipv6Payload, { family: 0x21 }),
    ];
    for (const header of headers) {
      for (let length = 0; length < header.length; length += 1) {
        expect(parseProxyHeader(header.subarray(0, length))).toEqual({ kind: "more" });
      }
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 200 }), (rest) => {
          expect(parseProxyHeader(Buffer.concat([header, rest]))).toEqual(parseProxyHeader(header));
        }),
      );
    }
  });

  test("of any bytes gets a verdict: never an exception, a length beyond the bytes, or waiting beyond the limit", () => {
    const start = fc.constantFrom(
      bytes(""),
      bytes("PROXY "),
      bytes("PROXY TCP4 "),
      bytes("PROXY TCP6 ::"),
      v2([]).subarray(0, 12),
      v2([]).subarray(0, 13),
    );
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 300 }), (first, rest) => {
        const all = Buffer.concat([first, rest]);
        const verdict = parseProxyHeader(all);
        if (verdict.kind === "header") {
          expect(verdict.length).toBeLessThanOrEqual(all.length);
          expect(verdict.length).toBeGreaterThan(0);
          if (verdict.address !== null)
            expect(
              URL.canParse(
                verdict.address.includes(":") ? `http://[${verdict.address}]` : `http://${verdict.address}`,
              ),
            ).toBe(true);
        }
      }),
      { numRuns: 20_000 },
    );
    const long = Buffer.concat([
      v2([], { length: proxyHeaderBytesMax - 16 }),
      Buffer.alloc(proxyHeaderBytesMax),
    ]);
    expect(parseProxyHeader(long.subarray(0, proxyHeaderBytesMax)).kind).not.toBe("more");
  });
});

describe("a listener behind a balancer", () => {
  const behind = { proxyProtocol: true } as const;
  const line = "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n";

  test("tells the viewer's address, in clear text and over TLS, for every request of the connection", async () => {
    const edge = await start((request) => text(`<${request.scheme} ${request.peerAddress}>`), {
      ...behind,
      https: loopback,
    });
    const two = `GET / HTTP/1.1\r\nHost: a\r\n\r\n${get("/")}`;
    expect((await raw(edge.http, line + two)).text.match(/<.*?>/g)).toEqual([
      "<http 192.0.2.1>",
      "<http 192.0.2.1>",
    ]);
    const secure = await new Promise<string>((resolve) => {
      const socket = net.connect(edge.https, "127.0.0.1", () => {
        socket.write(v2(ipv6Payload, { family: 0x21 }));
        const secured = tls.connect({ socket, rejectUnauthorized: false }, () => secured.write(get("/")));
        let got = "";
        secured.on("data", (piece: Buffer) => {
          got += piece;
        });
        secured.on("close", () => resolve(got));
      });
    });
    expect(secure).toEndWith("<https 2001:db8::1>");
  });

  test("tells the balancer's own address where the header names nobody", async () => {
    const edge = await start((request) => text(request.peerAddress), behind);
    expect((await raw(edge.http, `PROXY UNKNOWN\r\n${get("/")}`)).text).toEndWith("127.0.0.1");
  });

  test("takes a header that comes byte by byte", async () => {
    const edge = await start((request) => text(request.peerAddress), behind);
    let got = "";
    const done = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      ...{ hostname: "127.0.0.1", port: edge.http },
      socket: {
        data: (_, piece) => {
          got += piece.toString();
        },
        close: () => done.resolve(),
      },
    });
    for (const character of line) {
      socket.write(character);
      socket.flush();
      await Bun.sleep(1);
    }
    socket.write(get("/"));
    await done.promise;
    expect(got).toEndWith("192.0.2.1");
  });

  test("closes a connection without a proper header, and no handler sees it", async () => {
    let reached = 0;
    const edge = await start(() => {
      reached += 1;
      return text("x");
    }, behind);
    for (const first of [get("/"), `PROXY nonsense\r\n${get("/")}`, "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"]) {
      const answer = await raw(edge.http, first);
      expect(answer).toMatchObject({ text: "", closed: true });
    }
    expect(reached).toBe(0);
  });

  test("closes a connection whose header does not come in time", async () => {
    const clock = new ManualClock();
    const edge = await start(() => text("x"), { ...behind, clock });
    const answer = raw(edge.http, line.slice(0, 20));
    while (edge.connections().relayed === 0) await Bun.sleep(5);
    await Bun.sleep(20);
    clock.advance(5_001);
    expect(await answer).toMatchObject({ text: "", closed: true });
    expect(edge.connections().relayed).toBe(0);
  });

  test("closes connections beyond the limit", async () => {
    const edge = await start(() => text("x"), { ...behind, limits: { proxyConnectionsMax: 1 } });
    const first = await Bun.connect({ hostname: "127.0.0.1", port: edge.http, socket: { data() {} } });
    after(() => first.terminate());
    while (edge.connections().relayed === 0) await Bun.sleep(5);
    expect((await raw(edge.http, line + get("/"))).closed).toBe(true);
  });

  test("passes large bodies both ways without loss", async () => {
    const size = 20_000_000;
    const edge = await start(
      async (request) => {
        const body = request.body();
        let sum = 0;
        for (let piece = await body?.read(); piece; piece = await body?.read())
          for (const byte of piece) sum += byte;
        return text(new Uint8Array(size).fill(3), { "x-sum": String(sum) });
      },
      { ...behind, requestBodyBytesMax: size },
    );
    let received = 0;
    let head = "";
    await new Promise<void>((resolve) => {
      const socket = net.connect(edge.http, "127.0.0.1", () => {
        socket.write(
          `${line}POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`,
        );
        socket.write(Buffer.alloc(size, 2));
      });
      socket.on("data", (piece: Buffer) => {
        if (head.length < 300) head += piece.subarray(0, 300).toString("latin1");
        received += piece.length;
        // A slow reader now and then.
        socket.pause();
        setTimeout(() => socket.resume(), received % 7 === 0 ? 5 : 0);
      });
      socket.on("close", () => resolve());
    });
    expect(head).toContain(`x-sum: ${size * 2}`);
    expect(received).toBeGreaterThan(size);
  }, 20_000);

  test("a broken body still does not look whole", async () => {
    const edge = await start(() => text(pieces(["x".repeat(100_000)], new Error("gone"))), behind);
    const answer = await raw(edge.http, line + get("/"));
    expect(answer.closed).toBe(true);
    expect(answer.text).not.toContain("\r\n0\r\n\r\n");
  });

  test("tells the handler when the viewer leaves", async () => {
    const left = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const edge = await start(async (request) => {
      request.signal.addEventListener("abort", () => left.resolve());
      asked.resolve();
      await left.promise;
      return text("x");
    }, behind);
    const socket = await Bun.connect({ hostname: "127.0.0.1", port: edge.http, socket: { data() {} } });
    socket.write(line + get("/"));
    await asked.promise;
    socket.end();
    await left.promise;
  });

  test("changes its certificate and goes on", async () => {
    const edge = await start(() => text("x"), { ...behind, https: loopback });
    await edge.replaceTls((await testTls()).tls);
    expect(edge.connections().relayed).toBe(0);
  });

  test("refuses connections to the server behind the relay that did not come through it", async () => {
    const edge = await start(() => text("x"), behind);
    const inner = [...(await listeningPorts())].filter((port) => port !== edge.http);
    const answers = await Promise.all(inner.map((port) => raw(port, get("/"), { waitMs: 500 })));
    expect(answers.some((answer) => answer.text.startsWith("HTTP/1.1 403 "))).toBe(true);
    expect(answers.some((answer) => answer.text.endsWith("\r\n\r\nx"))).toBe(false);
  });
});

/** TCP ports that this process listens on, on 127.0.0.1. */
async function listeningPorts(): Promise<Set<number>> {
  const inodes = new Set<string>();
  for (const fd of await readdir("/proc/self/fd")) {
    const target = await readlink(`/proc/self/fd/${fd}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const ports = new Set<number>();
  for (const row of (await readFile("/proc/net/tcp", "utf8")).split("\n").slice(1)) {
    const [, local, , state, , , , , , inode] = row.trim().split(/\s+/);
    if (state === "0A" && local?.startsWith("0100007F:") && inodes.has(inode ?? ""))
      ports.add(Number.parseInt(local.slice(9), 16));
  }
  return ports;
}
