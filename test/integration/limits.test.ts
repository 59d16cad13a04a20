/** Bodies and headers at and beyond their limits: what is large, slow or broken costs neither memory nor another viewer's time. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { ManualClock } from "../../src/base/clock.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { startRawOrigin } from "../kit/raw-origin.ts";
import { ask, sendRaw } from "../kit/raw-send.ts";
import { parseAnswer } from "../kit/raw-viewer.ts";
import { until } from "../kit/upstream-request.ts";

const MIB = 1024 * 1024;
const LIMIT = 60 * MIB;
const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;

beforeAll(async () => {
  origin = startOrigin(() => text("ok"), clock);
  edge = await startTestEdge({
    origin: origin.url,
    clock,
    https: true,
    config: {
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", http3: false },
      limits: { requestBody: LIMIT },
    },
  });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});
beforeEach(async () => {
  origin.answer(async (request) => text(`${(await request.arrayBuffer()).byteLength}`));
  await edge.apply({ origin: origin.url });
});

/** An edge of this test alone. */
const more: TestEdge[] = [];
afterEach(async () => {
  for (const one of more.splice(0)) await one.stop();
});
async function another(limits: Record<string, unknown>): Promise<TestEdge> {
  const one = await startTestEdge({ origin: origin.url, clock, config: { limits } });
  more.push(one);
  return one;
}

describe("a request's body", () => {
  test("of 50 MB streams through to the origin byte for byte, and the edge does not hold it", async () => {
    // The origin takes nothing until half a second's worth has piled up: back-pressure has to reach the viewer.
    let received = 0;
    let sum = 0;
    const slow = startRawOrigin(async (connection) => {
      const head = await connection.readHead();
      expect(head).toContain("content-length: 52428800");
      connection.pause();
      await gate.promise;
      connection.resume();
      while (received < 50 * MIB) {
        const piece = await connection.readBytes(Math.min(MIB, 50 * MIB - received));
        if (piece.byteLength === 0) break;
        for (let i = 0; i < piece.byteLength; i += 4096) sum = (sum + (piece[i] ?? 0)) % 65_521;
        received += piece.byteLength;
      }
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    const gate = Promise.withResolvers<void>();
    await edge.apply({ origin: slow.url });
    const socket = connect(edge.port, "127.0.0.1");
    const pieces: Buffer[] = [];
    socket.on("data", (piece: Buffer) => pieces.push(piece));
    socket.on("error", () => {});
    socket.write(
      `POST /up HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: ${50 * MIB}\r\n\r\n`,
    );
    const piece = Buffer.alloc(64 * 1024);
    let expected = 0;
    let sent = 0;
    let blockedAt = 0;
    for (let i = 0; i < (50 * MIB) / piece.byteLength; i++) {
      piece.fill(i % 251);
      expected = (expected + 16 * (i % 251)) % 65_521;
      const free = socket.write(Buffer.from(piece));
      sent += piece.byteLength;
      if (!free) {
        const drained = new Promise<"drained">((resolve) => socket.once("drain", () => resolve("drained")));
        if (
          blockedAt === 0 &&
          (await Promise.race([drained, Bun.sleep(200).then(() => "blocked" as const)])) === "blocked"
        ) {
          blockedAt = sent;
          gate.resolve();
        }
        await drained;
      }
    }
    await until(() => Buffer.concat(pieces).includes("\r\n\r\nok"), "the answer came");
    expect([received, sum]).toEqual([50 * MIB, expected]);
    // What the edge took while the origin took nothing is what sockets and one queue hold.
    expect(blockedAt).toBeGreaterThan(0);
    expect(blockedAt).toBeLessThan(24 * MIB);
    socket.destroy();
    slow.stop();
  }, 20_000);

  test("in chunks is passed on whole, over HTTP/1.1 and TLS", async () => {
    const chunks = Array.from(
      { length: 50 },
      (_, i) => `${(i + 1).toString(16)};ext=1\r\n${"x".repeat(i + 1)}\r\n`,
    ).join("");
    for (const target of [{ port: edge.port }, { port: edge.httpsPort, ca: edge.ca }]) {
      const received = await sendRaw(
        target,
        `POST /chunks HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
      );
      expect(parseAnswer(Buffer.from(received)).body.toString()).toBe("1275");
    }
  });

  test("of no bytes is no body that waits", async () => {
    for (const [method, fields] of [
      ["POST", "Content-Length: 0\r\n"],
      ["DELETE", ""],
      ["PUT", "Content-Length: 0\r\n"],
    ] as const) {
      const received = await sendRaw(
        { port: edge.port },
        `${method} /none HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n${fields}\r\n`,
      );
      expect([method, parseAnswer(Buffer.from(received)).body.toString()]).toEqual([method, "0"]);
    }
  });

  test("above the limit is 413, and what the origin got of it is not a whole request", async () => {
    const small = await another({ requestBody: 1_000 });
    let whole = false;
    origin.answer(async (request, { target }) => {
      const { byteLength } = await request.arrayBuffer();
      whole ||= target === "/cut";
      return text(`${byteLength}`);
    });
    const before = origin.count();
    expect((await small.get("/big", {}, { method: "POST", body: "x".repeat(1_001) })).status).toBe(413);
    expect((await small.get("/big", {}, { method: "PUT", body: "x".repeat(500_000) })).status).toBe(413);
    const chunked = await sendRaw(
      { port: small.port },
      `POST /cut HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n${"x".repeat(1_001)}\r\n0\r\n\r\n`,
    );
    expect(chunked).toStartWith("HTTP/1.1 413 ");
    expect((await small.get("/fits", {}, { method: "POST", body: "x".repeat(1_000) })).body).toBe("1000");
    // What announces its length is refused before the origin is asked; what does not is cut off.
    expect(origin.seen.slice(before).map(({ target }) => target)).toEqual(["/cut", "/fits"]);
    expect(whole).toBe(false);
  });

  test("that is announced and does not come ends with 408, and not with a whole request", async () => {
    const slow = startRawOrigin(async (connection) => {
      await connection.readHead();
      await connection.gone();
    });
    await edge.apply({ origin: slow.url });
    const socket = connect(edge.port, "127.0.0.1");
    let received = "";
    socket.on("data", (piece: Buffer) => (received += piece.toString("latin1")));
    socket.on("error", () => {});
    socket.write("POST /slow HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nabc");
    await until(() => slow.received().includes("abc"), "the beginning reached the origin");
    clock.advance(31_000);
    await until(() => received !== "" || socket.destroyed, "the edge gave up");
    expect(received).toStartWith("HTTP/1.1 408 ");
    await slow.connections[0]?.gone();
    socket.destroy();
    slow.stop();
  });

  test("that waits for 100 Continue gets it, and the origin gets the body without Expect", async () => {
    const socket = connect(edge.port, "127.0.0.1");
    let received = "";
    socket.on("data", (piece: Buffer) => (received += piece.toString("latin1")));
    socket.write(
      "POST /expect HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    await until(() => received.includes("100 Continue"), "100 Continue came");
    socket.write("12345");
    await until(() => received.includes("200 OK"), "the answer came");
    expect(origin.seen.at(-1)?.headers.has("expect")).toBe(false);
    socket.destroy();
  });

  test("answered by the origin before it is whole gives the viewer that answer", async () => {
    const early = startRawOrigin(async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
      connection.end();
    });
    await edge.apply({ origin: early.url });
    const socket = connect(edge.port, "127.0.0.1");
    let received = "";
    socket.on("data", (piece: Buffer) => (received += piece.toString("latin1")));
    socket.on("error", () => {});
    socket.write(
      `POST /early HTTP/1.1\r\nHost: a.example\r\nContent-Length: ${MIB}\r\n\r\n${"x".repeat(1000)}`,
    );
    await until(() => received.includes("\r\n\r\n"), "an answer came");
    expect(received).toStartWith("HTTP/1.1 403 ");
    socket.destroy();
    early.stop();
  });

  test("of a viewer who leaves ends the request to the origin", async () => {
    const waiting = startRawOrigin(async (connection) => {
      await connection.readHead();
      await connection.gone();
    });
    await edge.apply({ origin: waiting.url });
    const socket = connect(edge.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write("POST /gone HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nabc");
    await until(() => waiting.received().includes("abc"), "the beginning reached the origin");
    socket.destroy();
    await until(() => waiting.connections[0]?.ended === true, "the connection to the origin ended");
    waiting.stop();
  });
});

describe("a request's header", () => {
  test("up to 15 KB passes whole; beyond 16 KB it is 431", async () => {
    let got = 0;
    origin.answer((request) => {
      got = request.headers.get("x-big")?.length ?? 0;
      return text("ok");
    });
    expect((await edge.get("/head", { "X-Big": "a".repeat(15_000) })).status).toBe(200);
    expect(got).toBe(15_000);
    const before = origin.count();
    expect(
      (
        await ask({ port: edge.port }, "GET /head", [
          ["Host", "a.example"],
          ["X-Big", "a".repeat(17_000)],
        ])
      ).status,
    ).toBe(431);
    expect(origin.count()).toBe(before);
  });

  test("beyond limits.requestHeaderBytes is 431, and the origin is not asked", async () => {
    const strict = await another({ requestHeaderBytes: 2048 });
    const before = origin.count();
    expect((await strict.get("/head", { "X-Big": "a".repeat(2_100) })).status).toBe(431);
    expect(
      (
        await strict.get(
          "/head",
          Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`x-${i}`, "a".repeat(20)])),
        )
      ).status,
    ).toBe(431);
    expect(origin.count()).toBe(before);
    expect((await strict.get("/head", { "X-Big": "a".repeat(1_000) })).status).toBe(200);
  });

  test("with a target beyond 8,192 characters is 414", async () => {
    const before = origin.count();
    for (const target of [`/${"a".repeat(8_192)}`, `/?${"a".repeat(8_192)}`]) {
      expect((await ask({ port: edge.port }, `GET ${target}`, [["Host", "a.example"]])).status).toBe(414);
    }
    expect(origin.count()).toBe(before);
    expect((await edge.get(`/${"a".repeat(8_191)}`)).status).toBe(200);
  });
});

describe("an answer's header", () => {
  test("of 40 KB or 150 fields passes and is stored; one without bounds is 502 and leaves the edge well", async () => {
    const answer = (fields: string) =>
      `HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n${fields}\r\nok`;
    let bytes = "";
    const raw = startRawOrigin(async (connection) => {
      while ((await connection.readHead()) !== null) if (!(await connection.write(bytes))) return;
    });
    await edge.apply({ origin: raw.url });
    for (const fields of [
      `X-Big: ${"a".repeat(8_000)}\r\n`
        .repeat(5)
        .replaceAll(/X-Big/g, () => `X-Big-${Math.random().toString(36).slice(2)}`),
      Array.from({ length: 150 }, (_, i) => `X-${i}: 1\r\n`).join(""),
    ]) {
      bytes = answer(fields);
      const path = `/resp-${fields.length}`;
      expect((await ask({ port: edge.port }, `GET ${path}`, [["Host", "a.example"]])).status).toBe(200);
      expect((await ask({ port: edge.port }, `GET ${path}`, [["Host", "a.example"]])).header("x-cache")).toBe(
        "HIT",
      );
    }
    bytes = `HTTP/1.1 200 OK\r\n${"X-A: 1\r\n".repeat(200_000)}`;
    expect((await edge.get("/resp-endless")).status).toBe(502);
    bytes = answer("");
    expect((await edge.get("/resp-endless")).status).toBe(200);
    raw.stop();
  });
});
