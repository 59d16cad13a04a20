/** Bodies on their way: they begin to arrive before they have ended, cost no memory, and never look whole when they are not. */
import { afterEach, describe, expect, test } from "bun:test";
import { BulkViewer } from "../kit/bulk-viewer.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { Http2Viewer } from "../kit/http2-viewer.ts";
import { fetchHttp3 } from "../kit/http3.ts";
import { type OriginHandler, startOrigin, text } from "../kit/origin.ts";
import { Programs } from "../kit/program.ts";
import { type RawConnection, type RawOrigin, startRawOrigin } from "../kit/raw-origin.ts";
import { RawViewer } from "../kit/raw-viewer.ts";
import { until } from "../kit/upstream-request.ts";

const MIB = 1024 * 1024;
const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start(options: TestEdgeOptions): Promise<TestEdge> {
  const edge = await startTestEdge(options);
  stops.push(() => edge.stop());
  return edge;
}

function app(handler: OriginHandler) {
  const origin = startOrigin(handler);
  stops.push(() => origin.stop());
  return origin;
}

function raw(handler: (connection: RawConnection) => Promise<void> | void): RawOrigin {
  const origin = startRawOrigin(handler);
  stops.push(() => origin.stop());
  return origin;
}

const openConnections = (origin: RawOrigin) => origin.connections.filter(({ ended }) => !ended).length;

/** The program itself in front of `url`; its memory is its own. */
async function startProgram(url: string, ...argv: string[]) {
  const programs = new Programs();
  stops.push(() => programs.stop());
  const program = programs.start([
    "dev",
    url,
    "--http",
    ":0",
    "--https",
    ":0",
    "--control",
    ":0",
    "--data-dir",
    "data",
    ...argv,
  ]);
  const { httpPort, control } = await program.addresses();
  const stats = async () =>
    (await (await fetch(`${control}/v1/stats`)).json()) as { requestsInFlight: number };
  return { program, port: httpPort, stats };
}

describe("a body on its way", () => {
  for (const cacheControl of ["max-age=60", "no-store"]) {
    for (const framing of ["content-length: 800000", "transfer-encoding: chunked"]) {
      test(`begins to arrive before the origin has finished (${cacheControl}, ${framing})`, async () => {
        const gate = Promise.withResolvers<void>();
        const chunk = (body: string) =>
          framing.startsWith("transfer") ? `${body.length.toString(16)}\r\n${body}\r\n` : body;
        const origin = raw(async (connection) => {
          await connection.readHead();
          await connection.write(
            `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: ${cacheControl}\r\n${framing}\r\n\r\n`,
          );
          await connection.write(chunk("first".padEnd(400_000, ".")));
          await gate.promise;
          await connection.write(chunk("last".padStart(400_000, ".")));
          if (framing.startsWith("transfer")) await connection.write("0\r\n\r\n");
        });
        const edge = await start({ origin: origin.url, https: true });
        const viewer = RawViewer.ask("/h1", { port: edge.port });
        await viewer.until("first");
        const session = new Http2Viewer(edge.httpsUrl, edge.ca);
        stops.push(() => session.close());
        const seen = Promise.withResolvers<void>();
        const second = session.get("/h2", {}, () => seen.resolve());
        await seen.promise;
        gate.resolve();
        const first = await viewer.answer();
        expect([first.whole, first.body.length, first.body.subarray(-4).toString()]).toEqual([
          true,
          800_000,
          "last",
        ]);
        const { body, error } = await second;
        expect([body.length, body.subarray(-4).toString(), error]).toEqual([800_000, "last", null]);
      });
    }
  }

  test("is compressed while it is being made, and every piece arrives at once", async () => {
    const gate = Promise.withResolvers<void>();
    const origin = app(
      () =>
        new Response(
          (async function* () {
            yield new TextEncoder().encode("<p>first</p>".repeat(100));
            await gate.promise;
            yield new TextEncoder().encode("<p>last</p>");
          })(),
          { headers: { "content-type": "text/html", "cache-control": "no-store" } },
        ),
    );
    const edge = await start({ origin: origin.url });
    const response = await fetch(`${edge.url}/`, { headers: { "accept-encoding": "gzip" } });
    const reader = response.body?.getReader();
    const first = new TextDecoder().decode((await reader?.read())?.value);
    expect(first).toStartWith("<p>first</p>");
    gate.resolve();
    let rest = "";
    for (;;) {
      const piece = await reader?.read();
      if (piece === undefined || piece.done) break;
      rest += new TextDecoder().decode(piece.value);
    }
    expect(response.headers.get("content-encoding")).toBe("gzip");
    expect(rest).toEndWith("<p>last</p>");
  });

  test("of a storable object reaches fast viewers although one takes nothing", async () => {
    const size = 20 * MIB;
    const origin = raw(async (connection) => {
      await connection.readHead();
      await connection.write(
        `HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncache-control: max-age=60\r\ncontent-length: ${size}\r\n\r\n`,
      );
      await connection.write(Buffer.alloc(size, "v"));
    });
    const edge = await start({ origin: origin.url });
    const slow = new BulkViewer({ port: edge.port, path: "/v" });
    await until(() => slow.bytes > 0, "the slow viewer's answer began");
    slow.pause();
    const startMs = performance.now();
    const fast = Array.from({ length: 3 }, () => new BulkViewer({ port: edge.port, path: "/v" }));
    await Promise.all(fast.map(({ ended }) => ended));
    expect(fast.map(({ whole }) => whole)).toEqual([true, true, true]);
    expect(performance.now() - startMs).toBeLessThan(3_000);
    slow.resume();
    await slow.ended;
    expect(slow.whole).toBe(true);
    expect(origin.connections).toHaveLength(1);
  });

  for (const framing of ["known length", "unknown length"] as const) {
    test(`of 300 MB goes to three viewers of different speed without filling memory (${framing})`, async () => {
      const size = 300 * MIB;
      const piece = Buffer.alloc(MIB, "x");
      const chunk = Buffer.concat([Buffer.from(`${MIB.toString(16)}\r\n`), piece, Buffer.from("\r\n")]);
      const origin = raw(async (connection) => {
        await connection.readHead();
        const length = framing === "known length" ? `content-length: ${size}` : "transfer-encoding: chunked";
        await connection.write(
          `HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncache-control: max-age=60\r\n${length}\r\n\r\n`,
        );
        for (let sent = 0; sent < size; sent += MIB) {
          if (!(await connection.write(framing === "known length" ? piece : chunk))) return;
        }
        if (framing === "unknown length") await connection.write("0\r\n\r\n");
      });
      const { program, port } = await startProgram(origin.url, "--no-http3");
      // Warm: code, certificates, first buffers.
      await fetch(`http://127.0.0.1:${port}/warm`, { method: "HEAD" });
      const before = program.rssBytes();
      let most = 0;
      const watch = setInterval(() => {
        most = Math.max(most, program.rssBytes());
      }, 20);
      const speeds = [undefined, 200 * MIB, 110 * MIB];
      const viewers = speeds.map(
        (bytesPerSecond) =>
          new BulkViewer({
            port,
            path: "/film",
            ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
          }),
      );
      await Promise.all(viewers.map(({ ended }) => ended));
      clearInterval(watch);
      expect(viewers.map(({ status, whole }) => [status, whole])).toEqual([
        [200, true],
        [200, true],
        [200, true],
      ]);
      for (const viewer of viewers) expect(viewer.bodyBytes).toBeGreaterThanOrEqual(size);
      expect((most - before) / MIB).toBeLessThan(150);
    }, 30_000);
  }
});

describe("an origin that is cut in the middle of a body", () => {
  const large = 800_000;
  const cases: Record<string, { head: string; cut: (connection: RawConnection) => void }> = {
    "content-length, closed": { head: `content-length: ${large}`, cut: (connection) => connection.end() },
    "content-length, reset": { head: `content-length: ${large}`, cut: (connection) => connection.reset() },
    "chunked, closed": { head: "transfer-encoding: chunked", cut: (connection) => connection.end() },
    "chunked, malformed": {
      head: "transfer-encoding: chunked",
      cut: (connection) => void connection.write("zz\r\nnonsense\r\n").then(() => connection.end()),
    },
  };
  for (const [name, { head, cut }] of Object.entries(cases)) {
    for (const cacheControl of ["max-age=60", "no-store"]) {
      for (const accepts of ["identity", "gzip"]) {
        test(`breaks every viewer's transfer, and nothing is stored (${name}, ${cacheControl}, ${accepts})`, async () => {
          let isBroken = true;
          let gate = Promise.withResolvers<void>();
          const origin = raw(async (connection) => {
            while ((await connection.readHead()) !== null) {
              const fields = `content-type: text/html\r\ncache-control: ${cacheControl}\r\n`;
              if (!isBroken) {
                await connection.write(`HTTP/1.1 200 OK\r\n${fields}content-length: 5\r\n\r\nwhole`);
                continue;
              }
              const half = "x".repeat(large / 2);
              await connection.write(`HTTP/1.1 200 OK\r\n${fields}${head}\r\n\r\n`);
              await connection.write(
                head.startsWith("transfer") ? `${half.length.toString(16)}\r\n${half}\r\n` : half,
              );
              await gate.promise;
              cut(connection);
              return;
            }
          });
          const edge = await start({ origin: origin.url, https: true });
          const headers = { "accept-encoding": accepts };
          const clear = [1, 2, 3].map(() => RawViewer.ask("/a", { port: edge.port, headers }));
          const secure = RawViewer.ask("/a", { port: edge.httpsPort, ca: edge.ca, headers });
          const session = new Http2Viewer(edge.httpsUrl, edge.ca);
          stops.push(() => session.close());
          const second = session.get("/a", headers);
          const third = fetchHttp3(edge.httpsPort, "/a", { headers }).then(
            async (response) => {
              const body = await response.bytes();
              return `${response.status} ${body.byteLength}`;
            },
            () => "failed",
          );
          for (const viewer of [...clear, secure]) await viewer.until("\r\n\r\n");
          await Bun.sleep(20);
          gate.resolve();
          for (const viewer of [...clear, secure]) {
            const answer = await viewer.answer();
            expect([answer.status, answer.whole]).toEqual([200, false]);
          }
          const { status, error } = await second;
          expect([status, error === null]).toEqual([200, false]);
          expect(await third).toMatch(/^502 |^failed/);
          isBroken = false;
          gate = Promise.withResolvers<void>();
          const next = await edge.get("/a");
          expect([next.status, next.body, next.cache]).toEqual([
            200,
            "whole",
            cacheControl === "no-store" ? "BYPASS" : "MISS",
          ]);
        });
      }
    }
  }

  test("never leaves a small body looking whole", async () => {
    const origin = raw(async (connection) => {
      await connection.readHead();
      await connection.write(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: max-age=60\r\ncontent-length: 100\r\n\r\nhalf",
      );
      connection.end();
    });
    const edge = await start({ origin: origin.url, https: true });
    const { whole } = await RawViewer.ask("/a", { port: edge.port }).answer();
    expect(whole).toBe(false);
    const response = await fetchHttp3(edge.httpsPort, "/a").catch(() => null);
    if (response !== null) expect(response.status).toBe(502);
    expect(edge.edge.stats().store.objects).toBe(0);
  });
});

describe("origins of every framing", () => {
  const answers: Record<string, { response: string; stored: boolean; closes: boolean }> = {
    "HTTP/1.1 with a length": {
      response: "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n",
      stored: true,
      closes: false,
    },
    "HTTP/1.1 chunked": {
      response: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
      stored: true,
      closes: false,
    },
    "HTTP/1.1 until the connection ends": {
      response: "HTTP/1.1 200 OK\r\nconnection: close\r\n",
      stored: false,
      closes: true,
    },
    "HTTP/1.0 with a length": {
      response: "HTTP/1.0 200 OK\r\ncontent-length: 10\r\n",
      stored: true,
      closes: true,
    },
    "HTTP/1.0 until the connection ends": { response: "HTTP/1.0 200 OK\r\n", stored: false, closes: true },
  };
  for (const [name, { response, stored, closes }] of Object.entries(answers)) {
    test(`${name}: the body is right, and ${stored ? "stored" : "not stored, for its end can not be told from a cut"}`, async () => {
      const origin = raw(async (connection) => {
        while ((await connection.readHead()) !== null) {
          const body = response.includes("chunked") ? "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n" : "0123456789";
          await connection.write(
            `${response}content-type: text/plain\r\ncache-control: max-age=60\r\n\r\n${body}`,
          );
          if (closes) return connection.end();
        }
      });
      const edge = await start({ origin: origin.url, https: true });
      expect(await edge.get("/a")).toMatchObject({ status: 200, body: "0123456789" });
      expect(await edge.get("/a")).toMatchObject({
        status: 200,
        body: "0123456789",
        cache: stored ? "HIT" : "BYPASS",
      });
      const third = await fetchHttp3(edge.httpsPort, "/a");
      expect([third.status, await third.text()]).toEqual([200, "0123456789"]);
    });
  }
});

describe("a stream of events", () => {
  for (const cacheControl of ["cache-control: no-cache\r\n", "cache-control: no-store\r\n", ""]) {
    test(`passes event by event, to each viewer its own, and is not stored (${JSON.stringify(cacheControl)})`, async () => {
      const connections: RawConnection[] = [];
      const origin = raw(async (connection) => {
        await connection.readHead();
        connections.push(connection);
        await connection.write(
          `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n${cacheControl}transfer-encoding: chunked\r\n\r\n`,
        );
        // The runtime sends no head before the first byte of a body.
        await connection.write("6\r\n: hi\n\n\r\n");
      });
      // A lifetime of the operator's own must not turn a stream into an object.
      const edge = await start({
        origin: origin.url,
        https: true,
        behavior: { ttlSeconds: { default: 60 } },
      });
      const send = async (event: string) => {
        for (const connection of connections)
          await connection.write(`${event.length.toString(16)}\r\n${event}\r\n`);
      };
      const clear = RawViewer.ask("/events", { port: edge.port, headers: { "accept-encoding": "gzip" } });
      await until(() => connections.length === 1, "the first stream stands");
      const secure = RawViewer.ask("/events", { port: edge.httpsPort, ca: edge.ca });
      await until(() => connections.length === 2, "the second stream stands");
      const third = await fetchHttp3(edge.httpsPort, "/events");
      await until(() => connections.length === 3, "the third stream stands");
      const events = third.body?.getReader();
      await events?.read();
      for (const event of ["data: one\n\n", "data: two\n\n", "data: three\n\n"]) {
        await send(event);
        await clear.until(event);
        await secure.until(event);
        expect(new TextDecoder().decode((await events?.read())?.value)).toBe(event);
      }
      expect(clear.received().toString()).not.toContain("content-encoding");
      clear.destroy();
      secure.destroy();
      await events?.cancel();
      await until(() => openConnections(origin) === 0, "the origin's connections are closed");
      expect(edge.edge.stats().store.objects).toBe(0);
      expect(edge.edge.stats().requestsInFlight).toBe(0);
    });
  }
});

describe("an object above cache.objectMax", () => {
  const config = { cache: { memory: "2MiB", objectMax: "64KiB" } };
  const body = Array.from({ length: 200_000 }, (_, i) => "0123456789"[i % 10]).join("");

  test("passes and is not stored, and its ranges are the origin's", async () => {
    const origin = app((request) => {
      const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("range") ?? "");
      const fields = { "cache-control": "max-age=60", etag: '"big"' };
      if (range === null) return text(body, { ...fields, "content-length": "200000" });
      const [from, to] = [Number(range[1]), Number(range[2])];
      return text(
        body.slice(from, to + 1),
        { ...fields, "content-range": `bytes ${from}-${to}/200000` },
        206,
      );
    });
    const edge = await start({ origin: origin.url, config });
    const first = await edge.get("/big", { range: "bytes=100-199" });
    expect([first.status, first.body]).toEqual([206, body.slice(100, 200)]);
    for (const _ of [1, 2]) {
      const whole = await edge.get("/big");
      expect([whole.status, whole.cache, whole.body === body]).toEqual([200, "BYPASS", true]);
      expect(whole.headers.get("cache-status")).toContain("response-too-large");
    }
    const count = origin.count();
    const part = await edge.get("/big", { range: "bytes=5000-5099" });
    expect([part.status, part.headers.get("content-range"), part.body]).toEqual([
      206,
      "bytes 5000-5099/200000",
      body.slice(5000, 5100),
    ]);
    expect(origin.seen.slice(count).map(({ headers }) => headers.get("range"))).toEqual(["bytes=5000-5099"]);
    expect(edge.edge.stats().store.objects).toBe(0);
  });

  test("passes whole also when its length is not known beforehand, to all who wait", async () => {
    const gate = Promise.withResolvers<void>();
    const origin = app(async () => {
      await gate.promise;
      return new Response(
        (async function* () {
          for (let at = 0; at < body.length; at += 20_000) {
            yield new TextEncoder().encode(body.slice(at, at + 20_000));
            await Bun.sleep(2);
          }
        })(),
        { headers: { "content-type": "text/plain", "cache-control": "max-age=60" } },
      );
    });
    const edge = await start({ origin: origin.url, config });
    const asked = Array.from({ length: 10 }, () => edge.get("/big"));
    await until(() => edge.edge.stats().requestsInFlight === 10, "ten wait");
    gate.resolve();
    for (const { status, body: got } of await Promise.all(asked))
      expect([status, got === body]).toEqual([200, true]);
    expect(edge.edge.stats().store.objects).toBe(0);
    const later = await edge.get("/big");
    expect([later.status, later.cache]).toEqual([200, "BYPASS"]);
  });
});

describe("viewers who leave", () => {
  test("5,000 of them leave neither memory nor requests nor origin connections behind", async () => {
    const piece = Buffer.alloc(64 * 1024, "x");
    let open = 0;
    const origin = raw(async (connection) => {
      open++;
      void connection.gone().then(() => open--);
      for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
        const kind = /^GET \/(\w+)/.exec(head)?.[1];
        // Never answered; answered in part and never ended; too large to wait for.
        if (kind === "silent") continue;
        if (kind === "part") {
          await connection.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
          );
          continue;
        }
        await connection.write(
          `HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncache-control: private\r\ncontent-length: ${1024 * piece.length}\r\n\r\n`,
        );
        while (await connection.write(piece));
        return;
      }
    });
    const { program, port, stats } = await startProgram(origin.url, "--no-http3");
    const leave = async (count: number) => {
      const kinds = ["silent", "part", "large"];
      for (let done = 0; done < count; done += 100) {
        await Promise.all(
          Array.from({ length: 100 }, async (_, i) => {
            const kind = kinds[i % 3] as string;
            // Cookies make the requests for what is never answered uncacheable, so that each is the viewer's own.
            const headers = { authorization: "me", "accept-encoding": i % 2 === 0 ? "gzip" : "identity" };
            const viewer = RawViewer.ask(`/${kind}`, { port, headers });
            if (kind === "silent") await Bun.sleep(5);
            else await viewer.until("\r\n\r\n");
            viewer.destroy();
          }),
        );
      }
      await untilAsync(async () => (await stats()).requestsInFlight === 0, "nothing is in flight");
    };
    await leave(1_000);
    const before = program.rssBytes();
    await leave(4_000);
    const growth = (program.rssBytes() - before) / MIB;
    await until(() => open === 0, "no origin connection is open");
    // A piece of 64 KiB kept for each of 4,000 viewers would be 250 MiB; the rest is garbage not collected yet.
    expect(growth).toBeLessThan(120);
  }, 30_000);
});

async function untilAsync(condition: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = Date.now() + 5_000;
  while (!(await condition())) {
    if (Date.now() > endMs) throw new Error(`it did not come to be: ${what}`);
    await Bun.sleep(20);
  }
}
