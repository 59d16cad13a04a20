import { afterEach, describe, expect, test } from "bun:test";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import tls from "node:tls";
import { systemClock } from "../../../../src/base/clock.ts";
import { ProximaError } from "../../../../src/base/errors.ts";
import { startListeners } from "../../../../src/edge/listener/edge-listener.ts";
import { defaultListenerLimits } from "../../../../src/edge/listener/limits.ts";
import { freePort, listenError, probeTcp } from "../../../../src/edge/listener/ports.ts";
import { ensureLocalCa } from "../../../../src/edge/tls/local-ca.ts";
import {
  after,
  cleanUp,
  get,
  loopback,
  pieces,
  raw,
  start,
  temporaryDirectory,
  testTls,
  text,
} from "./support.ts";

afterEach(cleanUp);

/** The error of a start that must fail. */
async function failure(options: Parameters<typeof start>[1]): Promise<ProximaError> {
  try {
    await start(() => text("x"), options);
  } catch (error) {
    if (error instanceof ProximaError) return error;
    throw error;
  }
  throw new Error("it started");
}

/** What a TLS handshake led to. */
function handshake(
  port: number,
  options: tls.ConnectionOptions,
): Promise<{ serial: string; protocol: string } | string> {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options }, () => {
      resolve({ serial: socket.getPeerCertificate().serialNumber, protocol: socket.getProtocol() ?? "" });
      socket.destroy();
    });
    socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message));
  });
}

describe("ports", () => {
  test("a port with a listener is refused in one sentence, even when that one shares its port", async () => {
    const other = Bun.serve({ ...loopback, reusePort: true, fetch: () => new Response("other") });
    after(() => other.stop(true));
    const taken = { hostname: "127.0.0.1", port: other.port ?? 0 };
    for (const options of [{ http: taken }, { http: null, https: taken }]) {
      const error = await failure(options);
      expect(error.code).toBe("port_in_use");
      expect(error.message).toStartWith(`port ${taken.port} on 127.0.0.1 is already in use`);
    }
  });

  test("a second edge on the ports of a first one is refused", async () => {
    const edge = await start(() => text("x"), { https: loopback, http3: true });
    const taken = { hostname: "127.0.0.1", port: edge.https };
    expect((await failure({ http: null, https: taken })).code).toBe("port_in_use");
    expect((await failure({ http: null, https: taken, http3: true })).code).toBe("port_in_use");
    expect((await failure({ http: null, https: taken, proxyProtocol: true })).code).toBe("port_in_use");
  });

  test("a UDP port that is taken is refused, and the TCP ports are let go", async () => {
    const free = await freePort(loopback, true);
    const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: free });
    after(() => socket.close());
    const taken = { hostname: "127.0.0.1", port: socket.port };
    const error = await failure({ https: taken, http3: true });
    expect(error.message).toStartWith(`UDP port ${socket.port} on 127.0.0.1 is already in use`);
    expect(probeTcp(taken)).toBe(socket.port);
  });

  test("an address that is not this machine's is refused in one sentence", async () => {
    for (const hostname of ["203.0.113.9", "no-such-host.invalid"]) {
      const error = await failure({ http: { hostname, port: 0 } });
      expect(error.code).toBe("listen_address_unavailable");
      expect(error.message).toContain(`"${hostname}" is not an address of this machine`);
    }
  });

  test("a port without permission is told in one sentence", () => {
    const cause = Object.assign(new Error("listen"), { code: "EACCES" });
    const error = listenError(cause, { hostname: "127.0.0.1", port: 80 }, "tcp");
    expect(error.code).toBe("listen_denied");
    expect(error.message).toStartWith("no permission to listen on port 80 on 127.0.0.1:");
  });

  test("a port that is no port is refused", async () => {
    expect((await failure({ http: { hostname: "127.0.0.1", port: 70_000 } })).code).toBe("listen_failed");
  });

  test("HTTPS without a certificate is refused", async () => {
    expect((await failure({ https: loopback, tls: null })).code).toBe("tls_missing");
  });

  test("are free again after a stop", async () => {
    const edge = await start(() => text("x"), { https: loopback, http3: true });
    const again = { hostname: "127.0.0.1", port: edge.https };
    edge.stop();
    const second = await start(() => text("second"), { http: null, https: again, http3: true });
    expect((await raw(second.https, get("/"), { tls: true })).text).toEndWith("second");
  });
});

describe("TLS", () => {
  test("speaks HTTP/1.1 and HTTP/2 on one port", async () => {
    const { ca } = await testTls();
    const edge = await start((request) => text(request.url), { https: loopback });
    const client = http2.connect(`https://localhost:${edge.https}`, {
      ca,
      lookup: (_, __, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
    });
    after(() => client.destroy());
    const request = client.request({ ":path": "/two", ":authority": "site.test" });
    let body = "";
    for await (const piece of request) body += piece;
    expect(body).toBe("https://site.test/two");
    expect((await raw(edge.https, get("/one"), { tls: true })).text).toEndWith("https://site.test/one");
  });

  test("a broken body resets the HTTP/2 stream and leaves the connection", async () => {
    const edge = await start(
      (request) =>
        request.url.endsWith("/broken")
          ? text(pieces(["x".repeat(10_000)], new Error("gone")))
          : text("fine"),
      { https: loopback },
    );
    const client = http2.connect(`https://127.0.0.1:${edge.https}`, { rejectUnauthorized: false });
    after(() => client.destroy());
    const load = async (path: string) => {
      let body = "";
      for await (const piece of client.request({ ":path": path })) body += piece;
      return body;
    };
    expect(await load("/broken").catch((error) => error.code)).toBe("ERR_HTTP2_STREAM_ERROR");
    expect(await load("/")).toBe("fine");
  });

  test("chooses the certificate by name; a wildcard is one label", async () => {
    const ca = await ensureLocalCa(await temporaryDirectory());
    const [fallback, exact, wild] = await Promise.all(
      [["localhost"], ["exact.test"], ["*.wild.test"]].map((names) => ca.issue(names)),
    );
    if (!fallback || !exact || !wild) throw new Error("not issued");
    const edge = await start(() => text("x"), {
      http: null,
      https: loopback,
      tls: {
        default: fallback,
        named: [
          { serverName: "exact.test", ...exact },
          { serverName: "*.wild.test", ...wild },
        ],
        minVersion: "1.2",
      },
    });
    const names: Record<string, string> = {};
    for (const servername of [
      "exact.test",
      "EXACT.test",
      "a.wild.test",
      "a.b.wild.test",
      "wild.test",
      "other.test",
    ]) {
      const socket = tls.connect({
        host: "127.0.0.1",
        port: edge.https,
        servername,
        rejectUnauthorized: false,
      });
      await new Promise((resolve) => socket.on("secureConnect", resolve));
      names[servername] = socket.getPeerCertificate().subjectaltname ?? "";
      socket.destroy();
    }
    expect(names).toEqual({
      "exact.test": "DNS:exact.test",
      "EXACT.test": "DNS:exact.test",
      "a.wild.test": "DNS:*.wild.test",
      "a.b.wild.test": "DNS:localhost",
      "wild.test": "DNS:localhost",
      "other.test": "DNS:localhost",
    });
  });

  for (const minVersion of ["1.2", "1.3"] as const) {
    test(`of minimum version ${minVersion} refuses what is older, whatever the name`, async () => {
      const { tls: material } = await testTls();
      const named = [{ serverName: "named.test", ...material.default }];
      const edge = await start(() => text("x"), { https: loopback, tls: { ...material, named, minVersion } });
      for (const servername of ["localhost", "named.test"]) {
        const with12 = await handshake(edge.https, { servername, maxVersion: "TLSv1.2" });
        const with13 = await handshake(edge.https, { servername, maxVersion: "TLSv1.3" });
        const with11 = await handshake(edge.https, {
          servername,
          minVersion: "TLSv1.1",
          maxVersion: "TLSv1.1",
        });
        expect(with13).toHaveProperty("protocol", "TLSv1.3");
        if (minVersion === "1.2") expect(with12).toHaveProperty("protocol", "TLSv1.2");
        else expect(with12).toBe("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
        expect(typeof with11).toBe("string");
      }
    });
  }
});

describe("a certificate change", () => {
  test("gives new connections the new certificate", async () => {
    const ca = await ensureLocalCa(await temporaryDirectory());
    const old = await ca.issue(["old.test"]);
    const fresh = await ca.issue(["new.test"]);
    const edge = await start(() => text("x"), {
      https: loopback,
      tls: { default: old, named: [], minVersion: "1.2" },
    });
    const before = await handshake(edge.https, {});
    await edge.replaceTls({ default: fresh, named: [], minVersion: "1.2" });
    const afterwards = await handshake(edge.https, {});
    expect(before).not.toEqual(afterwards);
    expect(afterwards).toHaveProperty("serial");
  });

  test("under load fails no accepted request, on kept and on new connections", async () => {
    const { tls: material } = await testTls();
    const accepted = new Set<string>();
    const edge = await start(
      async (request) => {
        const { pathname, search } = new URL(request.url);
        accepted.add(search);
        if (pathname === "/slow") await Bun.sleep(150);
        return text("whole answer");
      },
      { https: loopback },
    );
    let over = false;
    let answered = 0;
    let asked = 0;
    const failures: string[] = [];
    const ask = (agent: https.Agent | false, path: string) =>
      new Promise<void>((resolve) => {
        asked += 1;
        const id = `?${asked}`;
        const failed = (why: string) => {
          // One that no handler has seen was never accepted; every client sends it again (RFC 9112
          // section 9.3.1).
          if (accepted.has(id)) failures.push(`${path} ${why}`);
          resolve();
        };
        https
          .get(
            { host: "127.0.0.1", port: edge.https, path: path + id, agent, rejectUnauthorized: false },
            (answer) => {
              let body = "";
              answer.on("data", (piece) => {
                body += piece;
              });
              answer.on("end", () => {
                answered += 1;
                if (body !== "whole answer") failures.push(`${path} cut: ${body}`);
                resolve();
              });
              answer.on("error", (error) => failed(error.message));
            },
          )
          .on("error", (error) => failed(error.message));
      });
    const kept = new https.Agent({ keepAlive: true, maxSockets: 4 });
    after(() => kept.destroy());
    const loops = [
      ...Array.from({ length: 4 }, async () => {
        while (!over) await ask(kept, "/");
      }),
      ...Array.from({ length: 2 }, async () => {
        while (!over) await ask(false, "/");
      }),
      ...Array.from({ length: 4 }, async () => {
        while (!over) await ask(false, "/slow");
      }),
    ];
    for (let i = 0; i < 5; i += 1) {
      await Bun.sleep(200);
      await edge.replaceTls(material);
    }
    await Bun.sleep(200);
    over = true;
    await Promise.all(loops);
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThan(50);
    // Hardly any connection is lost on the way, either.
    expect(asked - answered).toBeLessThan(answered / 20);
  }, 20_000);

  test("lets an answer that is streaming end on the old certificate", async () => {
    const { tls: material } = await testTls();
    const go = Promise.withResolvers<void>();
    let step = 0;
    const body = {
      async read() {
        step += 1;
        if (step === 2) await go.promise;
        return step <= 2 ? new TextEncoder().encode("half ") : null;
      },
      cancel() {},
    };
    const edge = await start(() => text(body), { https: loopback });
    const answer = raw(edge.https, get("/"), { tls: true });
    while (step < 2) await Bun.sleep(5);
    await edge.replaceTls(material);
    go.resolve();
    expect((await answer).text).toEndWith("0\r\n\r\n");
  });
});

describe("draining", () => {
  test("lets accepted requests end, takes no new ones, and then is closed", async () => {
    const go = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const edge = await start(
      async () => {
        asked.resolve();
        await go.promise;
        return text("accepted");
      },
      { https: loopback, http3: true },
    );
    const answers = [raw(edge.http, get("/")), raw(edge.https, get("/"), { tls: true })];
    await asked.promise;
    while (edge.connections().requests < 2) await Bun.sleep(5);
    const drained = edge.drain(5_000);
    // Connections in use are told first that they end.
    await Bun.sleep(defaultListenerLimits.closeNoticeMs + 50);
    const late = await new Promise<string>((resolve) => {
      http
        .get({ host: "127.0.0.1", port: edge.http }, () => resolve("taken"))
        .on("error", () => resolve("refused"));
    });
    expect(late).toBe("refused");
    go.resolve();
    for (const answer of await Promise.all(answers)) expect(answer.text).toEndWith("accepted");
    await drained;
    expect(edge.connections()).toEqual({ requests: 0, webSockets: 0, relayed: 0 });
    expect(probeTcp({ hostname: "127.0.0.1", port: edge.http })).toBe(edge.http);
  });

  test("ends at the deadline, whatever still runs", async () => {
    const asked = Promise.withResolvers<void>();
    const edge = await start(() => {
      asked.resolve();
      return new Promise(() => {});
    });
    const answer = raw(edge.http, get("/"), { waitMs: 5_000 });
    await asked.promise;
    await edge.drain(100);
    expect((await answer).closed).toBe(true);
  });

  test("twice is draining once", async () => {
    const edge = await start(() => text("x"));
    await Promise.all([edge.drain(1_000), edge.drain(1_000)]);
  });
});

test("a listener needs no address at all", async () => {
  const listeners = await startListeners({
    http: null,
    https: null,
    http3: false,
    proxyProtocol: false,
    tls: null,
    handler: () => text("x"),
    altSvc: () => true,
    requestBodyBytesMax: 1,
    clock: systemClock,
    onError() {},
  });
  expect(listeners.httpAddress).toBeNull();
  await listeners.drain(10);
});
