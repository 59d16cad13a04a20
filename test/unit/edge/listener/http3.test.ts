import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { altSvcMaxAgeSeconds } from "../../../../src/edge/listener/alt-svc.ts";
import type { RequestHandler } from "../../../../src/edge/message.ts";
import { cleanUp, get, loopback, pieces, raw, start, testTls, text } from "./support.ts";

afterEach(cleanUp);

/** One request over HTTP/3. Bun's client takes no CA there, so the certificate is not checked. */
function h3(port: number, path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`https://127.0.0.1:${port}${path}`, {
    ...init,
    protocol: "http3",
    tls: { rejectUnauthorized: false },
  });
}

const quic = { https: loopback, http3: true } as const;

describe("HTTP/3", () => {
  test("is served on the UDP port with the number of the TCP port", async () => {
    const edge = await start(
      (request) => text(`${request.http3} ${request.scheme} ${request.peerAddress}`),
      quic,
    );
    expect(edge.http3Active).toBe(true);
    expect(await (await h3(edge.https, "/")).text()).toBe("true https 127.0.0.1");
    const tcp = await raw(edge.https, get("/"), { tls: true });
    expect(tcp.text).toEndWith("false https 127.0.0.1");
  });

  test("carries request bodies, HEAD and complete responses with their length", async () => {
    const handler: RequestHandler = async (request) => {
      const body = request.body();
      let bytes = 0;
      for (let piece = await body?.read(); piece; piece = await body?.read()) bytes += piece.byteLength;
      return text(`${request.method} ${bytes}`);
    };
    const edge = await start(handler, quic);
    const posted = await h3(edge.https, "/", { method: "POST", body: "x".repeat(300_000) });
    expect(await posted.text()).toBe("POST 300000");
    expect(posted.headers.get("content-length")).toBe("11");
    expect((await h3(edge.https, "/", { method: "HEAD" })).headers.get("content-length")).toBe("6");
  });

  test("gathers a streamed body and sends it whole, with its length", async () => {
    const edge = await start(() => text(pieces(["one ", "two ", "three"])), quic);
    const answer = await h3(edge.https, "/");
    expect(answer.headers.get("content-length")).toBe("13");
    expect(await answer.text()).toBe("one two three");
  });

  test("answers 502 for a body that breaks while it is gathered: never a cut body as whole", async () => {
    const broken = new Error("origin went away");
    const edge = await start(() => text(pieces(["x".repeat(50_000)], broken)), quic);
    const answer = await h3(edge.https, "/");
    expect(answer.status).toBe(502);
    expect(edge.errors).toEqual([broken]);
  });

  test("sends a safe request whose answer is too large to TCP, and gives the answer up", async () => {
    const body = pieces(["x".repeat(600), "x".repeat(600)]);
    const edge = await start(() => text(body), { ...quic, limits: { http3SpoolBytesMax: 1_000 } });
    const answer = await h3(edge.https, "/");
    expect(answer.status).toBe(421);
    expect(body.cancelled).toBe(true);
  });

  test("does so before reading when the length is told", async () => {
    let reads = 0;
    const body = { read: async () => (reads++ < 20 ? new Uint8Array(100) : null), cancel() {} };
    const edge = await start(() => text(body, { "content-length": "2000" }), {
      ...quic,
      limits: { http3SpoolBytesMax: 1_000 },
    });
    expect((await h3(edge.https, "/")).status).toBe(421);
    expect(reads).toBe(0);
  });

  test("does so when the answer takes too long", async () => {
    const clock = new ManualClock();
    const asked = Promise.withResolvers<void>();
    const never = Promise.withResolvers<null>();
    const body = {
      read() {
        asked.resolve();
        return never.promise;
      },
      cancel: () => never.resolve(null),
    };
    const edge = await start(() => text(body), { ...quic, clock });
    const answer = h3(edge.https, "/");
    await asked.promise;
    clock.advance(10_001);
    expect((await answer).status).toBe(421);
  });

  test("does so when all the answers being gathered are too much together", async () => {
    const hold = Promise.withResolvers<void>();
    let asked = 0;
    const handler: RequestHandler = (request) => {
      if (request.url.endsWith("/second")) return text(pieces(["x".repeat(600)]));
      let step = 0;
      return text({
        async read() {
          step += 1;
          asked += 1;
          if (step === 1) return new Uint8Array(600);
          await hold.promise;
          return null;
        },
        cancel() {},
      });
    };
    const edge = await start(handler, { ...quic, limits: { http3SpoolTotalBytesMax: 1_000 } });
    const first = h3(edge.https, "/first");
    while (asked < 2) await Bun.sleep(5);
    expect((await h3(edge.https, "/second")).status).toBe(421);
    hold.resolve();
    expect((await first).status).toBe(200);
    expect((await h3(edge.https, "/second")).status).toBe(200);
  });

  test("streams the too large answer to an unsafe request, which reached the origin", async () => {
    const edge = await start(() => text(pieces(["x".repeat(600), "y".repeat(600), "z".repeat(600)])), {
      ...quic,
      limits: { http3SpoolBytesMax: 1_000 },
    });
    const answer = await h3(edge.https, "/", { method: "POST", body: "order" });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("x".repeat(600) + "y".repeat(600) + "z".repeat(600));
  });

  test("holds a streamed answer open when it breaks: it does not end, so it does not look whole", async () => {
    const broken = new Error("origin went away");
    const edge = await start(() => text(pieces(["x".repeat(600), "y".repeat(600)], broken)), {
      ...quic,
      limits: { http3SpoolBytesMax: 1_000 },
    });
    const leave = new AbortController();
    const answer = await h3(edge.https, "/", { method: "POST", body: "order", signal: leave.signal });
    const ended = answer.bytes().then(
      () => "whole",
      () => "failed",
    );
    while (edge.errors.length === 0) await Bun.sleep(5);
    expect(await Promise.race([ended, Bun.sleep(300).then(() => "open")])).toBe("open");
    leave.abort();
    expect(await ended).toBe("failed");
  });

  test("streams an event stream as it comes", async () => {
    const later = Promise.withResolvers<void>();
    let step = 0;
    const events = {
      async read() {
        step += 1;
        if (step === 1) return new TextEncoder().encode("data: 1\n\n");
        await later.promise;
        return null;
      },
      cancel() {},
    };
    const edge = await start(() => text(events, { "content-type": "text/event-stream" }), quic);
    const reader = (await h3(edge.https, "/")).body?.getReader();
    const first = await reader?.read();
    expect(new TextDecoder().decode(first?.value)).toBe("data: 1\n\n");
    later.resolve();
    expect((await reader?.read())?.done).toBe(true);
  });

  test("is off beside the PROXY protocol", async () => {
    const edge = await start(() => text("x"), { ...quic, proxyProtocol: true });
    expect(edge.http3Active).toBe(false);
  });
});

describe("Alt-Svc", () => {
  const altSvcOf = async (port: number, secure = true) =>
    /^alt-svc: (.*)\r$/im.exec((await raw(port, get("/"), { tls: secure })).text)?.[1] ?? null;

  test("is told over TLS while HTTP/3 is there, and never in clear text", async () => {
    const response = text("x");
    const edge = await start(() => response, quic);
    const told = `h3=":${edge.https}"; ma=${altSvcMaxAgeSeconds}`;
    expect(await altSvcOf(edge.https)).toBe(told);
    expect(await altSvcOf(edge.http, false)).toBeNull();
    expect(await altSvcOf(edge.https)).toBe(told);
  });

  test("is not told without HTTP/3", async () => {
    const edge = await start(() => text("x"), { https: loopback });
    expect(await altSvcOf(edge.https)).toBeNull();
  });

  test("is taken back on responses that were prepared before, streams included", async () => {
    const kept = text("x");
    let streamed = false;
    const edge = await start(() => (streamed ? text(pieces(["x"])) : kept), quic);
    expect(await altSvcOf(edge.https)).toStartWith("h3=");
    edge.withdrawAltSvc();
    expect(await altSvcOf(edge.https)).toBe("clear");
    streamed = true;
    expect(await altSvcOf(edge.https)).toBe("clear");
  });

  test("follows the option at every answer", async () => {
    let wanted = true;
    const response = text("x");
    const edge = await start(() => response, { ...quic, altSvc: () => wanted });
    expect(await altSvcOf(edge.https)).toStartWith("h3=");
    wanted = false;
    expect(await altSvcOf(edge.https)).toBe("clear");
    wanted = true;
    expect(await altSvcOf(edge.https)).toStartWith("h3=");
  });

  test("of the pipeline wins", async () => {
    const edge = await start(() => text("x", { "alt-svc": "clear" }), quic);
    expect(await altSvcOf(edge.https)).toBe("clear");
  });
});

describe("a certificate change", () => {
  test("reaches HTTP/3 as well, on the same port", async () => {
    const edge = await start(() => text("x"), { ...quic, limits: { http3DrainMs: 200 } });
    const { tls } = await testTls();
    expect(await (await h3(edge.https, "/")).text()).toBe("x");
    await edge.replaceTls(tls);
    expect(edge.http3Active).toBe(true);
    const fresh = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const r = await fetch("https://127.0.0.1:${edge.https}/", { protocol: "http3", tls: { rejectUnauthorized: false } }); console.log(await r.text());`,
      ],
      { stdout: "pipe" },
    );
    expect((await fresh.stdout.text()).trim()).toBe("x");
    expect(await (await h3(edge.https, "/")).text()).toBe("x");
  }, 15_000);
});
