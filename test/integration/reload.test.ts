/** A config or certificate that changes: the new one comes into force without a failed request, a wrong one does not. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { ManualClock } from "../../src/base/clock.ts";
import { makeAuthority, type TestCertificate } from "../kit/certificates.ts";
import { startTestEdge, testConfig } from "../kit/edge.ts";
import { Http2Viewer } from "../kit/http2-viewer.ts";
import { type LoadOptions, startLoad } from "../kit/load.ts";
import { text } from "../kit/origin.ts";
import type { Program } from "../kit/program.ts";
import { startRawOrigin } from "../kit/raw-origin.ts";
import { RawViewer } from "../kit/raw-viewer.ts";
import { stage } from "../kit/stage.ts";
import { until } from "../kit/upstream-request.ts";

const { app, programs, stops } = stage();

/** Writes as careful editors and deployments do: a new file, moved over the old one. */
function replaceFile(path: string, content: string): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

const listen = { http: "127.0.0.1:0", control: "127.0.0.1:0" };
const siteOf = (url: string, version: string, more: Record<string, unknown> = {}) => ({
  hosts: ["*"],
  origins: { app: { url } },
  behaviors: [{ path: "/*", responseHeaders: { set: { "x-version": version } } }],
  ...more,
});

async function snapshotOf(
  program: Program,
): Promise<{ number: number; sites: number; lastProblem: string | null }> {
  const { control } = await program.addresses();
  return (await (await fetch(`${control}/v1/snapshot`)).json()) as {
    number: number;
    sites: number;
    lastProblem: string | null;
  };
}

/** A load that is expected to end without a failure. */
async function steadyLoad(options: Omit<LoadOptions, "connections">) {
  const load = await startLoad({ connections: 8, pauseMs: 2, ...options });
  return async (least = 50) => {
    const report = await load.stop();
    expect(report.failures).toBe(0);
    expect(Object.keys(report.statuses)).toEqual(["200"]);
    expect(report.requests).toBeGreaterThan(least);
    return report;
  };
}

describe("a config file that changes", () => {
  const formats: Record<string, (config: unknown) => string> = {
    "edge.json": (config) => JSON.stringify(config),
    "edge.yaml": (config) => `# A comment\n${Bun.YAML.stringify(config)}`,
    "edge.ts": (config) =>
      `import { version } from "./version.ts";\nconsole.assert(version);\nexport default ${JSON.stringify(config)};\n`,
  };
  for (const [name, print] of Object.entries(formats)) {
    test(`comes into force under load without a failed request (${name})`, async () => {
      const origin = app((request) =>
        text(request.url, { "cache-control": request.url.includes("/hit") ? "max-age=60" : "no-store" }),
      );
      const all = programs();
      await all.write("version.ts", "export const version = 1;\n");
      const path = await all.write(name, print({ listen, sites: { shop: siteOf(origin.url, "1") } }));
      const program = all.start(["edge", "--config", name, "--data-dir", "data"]);
      const { http, httpPort } = await program.addresses();
      let count = 0;
      const ended = await steadyLoad({ port: httpPort, path: () => (count++ % 2 === 0 ? "/hit" : "/pass") });
      for (const version of ["2", "3", "4"]) {
        replaceFile(path, print({ listen, sites: { shop: siteOf(origin.url, version) } }));
        await program.until(new RegExp(`snapshot ${version} is in force: 1 site`));
        expect((await fetch(`${http}/hit`)).headers.get("x-version")).toBe(version);
      }
      await ended();
      expect(await snapshotOf(program)).toMatchObject({ number: 4, sites: 1, lastProblem: null });
      // What was stored before is still there: a config is no purge.
      expect((await fetch(`${http}/hit`)).headers.get("x-cache")).toBe("HIT");
      expect(program.err).not.toContain("next start");
    });
  }

  test("stays out of force while it is wrong, and says where and why, until it is right again", async () => {
    const origin = app(() => text("ok"));
    const all = programs();
    const valid = (version: string) =>
      JSON.stringify({ listen, sites: { shop: siteOf(origin.url, version) } }, null, 2);
    const path = await all.write("edge.json", valid("1"));
    const program = all.start(["edge", "--config", "edge.json", "--data-dir", "data"]);
    const { http, httpPort } = await program.addresses();
    const ended = await steadyLoad({ port: httpPort, path: () => "/" });

    replaceFile(path, valid("2").replace('"behaviors"', '"behaviours"'));
    const told = await program.until(
      /the config was not changed, snapshot 1 stays in force: (edge\.json:\d+:\d+: .*)\n/,
    );
    expect(told[1]).toMatch(/behaviours/);
    expect(told[1]).toMatch(/behaviors/);
    const wrong = await snapshotOf(program);
    expect(wrong.number).toBe(1);
    expect(wrong.lastProblem).toMatch(/^edge\.json:\d+:\d+: .*behaviours/);
    expect((await fetch(http)).headers.get("x-version")).toBe("1");

    replaceFile(path, "{ not json");
    await program.until(/stays in force: edge\.json:1:\d+: expected a name in double quotes/);
    rmSync(path);
    await program.until(
      /stays in force: edge\.json: .*(?:no such file|not found|cannot be read|does not exist)/i,
    );
    replaceFile(path, valid("3"));
    await program.until(/snapshot 2 is in force/);
    expect(await snapshotOf(program)).toMatchObject({ number: 2, lastProblem: null });
    expect((await fetch(http)).headers.get("x-version")).toBe("3");
    await ended();
  });

  test("written twenty times in a row ends with the last one in force", async () => {
    const origin = app(() => text("ok"));
    const all = programs();
    const print = (version: number) =>
      JSON.stringify({ listen, sites: { shop: siteOf(origin.url, String(version)) } });
    const path = await all.write("edge.json", print(0));
    const program = all.start(["edge", "--config", "edge.json", "--data-dir", "data"]);
    const { http } = await program.addresses();
    for (let version = 1; version <= 20; version++) {
      if (version % 2 === 0) writeFileSync(path, print(version));
      else replaceFile(path, print(version));
      await Bun.sleep(10);
    }
    let served = "";
    for (const endMs = Date.now() + 5_000; served !== "20" && Date.now() < endMs; await Bun.sleep(20)) {
      served = (await fetch(http)).headers.get("x-version") ?? "";
    }
    expect(served).toBe("20");
    expect((await snapshotOf(program)).lastProblem).toBeNull();
  });

  test("sends new requests to another origin, and lets those on their way end at the old one", async () => {
    const gate = Promise.withResolvers<void>();
    const old = startRawOrigin(async (connection) => {
      for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
        const slow = head.startsWith("GET /slow");
        await connection.write(
          "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\ncontent-length: 800000\r\n\r\n",
        );
        await connection.write("a".repeat(400_000));
        if (slow) await gate.promise;
        await connection.write("b".repeat(400_000));
      }
    });
    stops.push(() => old.stop());
    const next = app(() => text("next", { "cache-control": "no-store" }));
    const all = programs();
    const print = (url: string) => JSON.stringify({ listen, sites: { shop: siteOf(url, "1") } });
    const path = await all.write("edge.json", print(old.url));
    const program = all.start(["edge", "--config", "edge.json", "--data-dir", "data"]);
    const { http, httpPort } = await program.addresses();
    const slow = RawViewer.ask("/slow", { port: httpPort });
    await slow.until("aaaa");
    const ended = await steadyLoad({ port: httpPort, path: () => "/fast" });
    await Bun.sleep(200);
    replaceFile(path, print(next.url));
    await program.until(/snapshot 2 is in force/);
    const asked = old.received().length;
    expect(await (await fetch(`${http}/x`)).text()).toBe("next");
    await Bun.sleep(100);
    gate.resolve();
    const answer = await slow.answer();
    expect([answer.whole, answer.body.length]).toEqual([true, 800_000]);
    await ended();
    expect(old.received().length).toBe(asked);
    expect(next.count()).toBeGreaterThan(5);
    await until(
      () => old.connections.every((connection) => connection.ended),
      "no connection to the old origin is left",
    );
  });

  test("without a site any more answers 404 for its hosts, and goes on serving the others", async () => {
    const origin = app((request) => text(new URL(request.url).pathname, { "cache-control": "max-age=60" }));
    const all = programs();
    const site = (host: string) => siteOf(origin.url, host, { hosts: [host] });
    const print = (...names: string[]) =>
      JSON.stringify({
        listen,
        sites: Object.fromEntries(names.map((name) => [name, site(`${name}.example`)])),
      });
    const path = await all.write("edge.json", print("shop", "blog"));
    const program = all.start(["edge", "--config", "edge.json", "--data-dir", "data"]);
    const { http, httpPort } = await program.addresses();
    const get = (host: string) => fetch(`${http}/a`, { headers: { host } });
    for (const host of ["shop.example", "blog.example"]) expect((await get(host)).status).toBe(200);
    const ended = await steadyLoad({ port: httpPort, path: () => "/a", host: () => "shop.example" });
    replaceFile(path, print("shop"));
    await program.until(/snapshot 2 is in force: 1 site/);
    expect((await get("blog.example")).status).toBe(404);
    await ended();
    replaceFile(path, print("shop", "blog"));
    await program.until(/snapshot 3 is in force: 2 sites/);
    expect((await get("blog.example")).status).toBe(200);
  });

  test("says which of its changes wait for the next start", async () => {
    const origin = app(() => text("ok"));
    const all = programs();
    const print = (memory: string) =>
      JSON.stringify({ listen, cache: { memory }, sites: { shop: siteOf(origin.url, "1") } });
    const path = await all.write("edge.json", print("64MiB"));
    const program = all.start(["edge", "--config", "edge.json", "--data-dir", "data"]);
    await program.addresses();
    replaceFile(path, print("128MiB"));
    await program.until(/changes of cache take effect at the next start/);
  });
});

describe("certificates that change", () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  /** An edge whose certificate lies in files, and what changes them. */
  async function withCertificates() {
    const folder = mkdtempSync(join(tmpdir(), "proxima-certificates-"));
    folders.push(folder);
    const authority = await makeAuthority();
    const cert = join(folder, "cert.pem");
    const key = join(folder, "key.pem");
    const write = (certificate: TestCertificate) => {
      replaceFile(cert, certificate.cert);
      replaceFile(key, certificate.key);
    };
    write(await authority.issue(["localhost"]));
    const origin = app((request) =>
      text(request.url, { "cache-control": request.url.includes("/hit") ? "max-age=600" : "no-store" }),
    );
    const clock = new ManualClock(Date.now());
    const config = {
      listen: {
        http: "127.0.0.1:0",
        https: "127.0.0.1:0",
        control: "127.0.0.1:0",
        tls: { certificates: [{ cert, key }] },
      },
    };
    const edge = await startTestEdge({ origin: origin.url, clock, config });
    stops.push(() => edge.stop());
    return { edge, authority, write, cert, key, clock, config, origin };
  }

  const handshake = (port: number, options: object = {}) =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket: TLSSocket = connectTls(
        { host: "127.0.0.1", port, servername: "localhost", rejectUnauthorized: false, ...options },
        () => resolve(socket),
      );
      socket.once("error", reject);
    });

  /** Fingerprint of the certificate that a new connection gets. */
  async function served(port: number): Promise<string> {
    const socket = await handshake(port);
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  }

  test("are served to new connections while requests on new, kept and HTTP/2 connections go on", async () => {
    const { edge, authority, write, clock } = await withCertificates();
    const ca = authority.pem;
    const before = await served(edge.httpsPort);
    let stopping = false;
    const failed: string[] = [];
    const done = { fresh: 0, kept: 0, h2: 0 };
    let reset = 0;
    const fresh = async () => {
      while (!stopping) {
        const viewer = RawViewer.ask(done.fresh % 2 === 0 ? "/hit" : "/pass", { port: edge.httpsPort, ca });
        const answer = await viewer.answer();
        // What the kernel hands to the closing socket was never accepted: the viewer's own retry gets it.
        if (answer.status === 0 && viewer.bytes === 0) reset++;
        else if (answer.status !== 200 || !answer.whole)
          failed.push(`fresh: ${answer.status} ${answer.head}`);
        done.fresh++;
      }
    };
    const kept = async () => {
      let viewer = new RawViewer({ port: edge.httpsPort, ca });
      while (!stopping) {
        const mark = `/pass?n=${done.kept++}`;
        const used = viewer.bytes > 0;
        viewer.send(mark, { keep: true });
        try {
          await viewer.until(`${mark}`);
          // An answer may end its connection: then the next request takes a new one.
          if (/connection: close/i.test(viewer.received().toString("latin1")))
            viewer = new RawViewer({ port: edge.httpsPort, ca });
        } catch (error) {
          failed.push(
            `kept${used ? "" : " (first)"}: ${String(error)} ${viewer.received().toString("latin1").slice(-300)}`,
          );
          viewer = new RawViewer({ port: edge.httpsPort, ca });
        }
      }
      viewer.destroy();
    };
    const h2 = async () => {
      let session = new Http2Viewer(edge.httpsUrl, ca);
      let away = false;
      const listenTo = () =>
        session.session.on("goaway", () => {
          away = true;
        });
      listenTo();
      while (!stopping) {
        if (away || session.session.closed || session.session.destroyed) {
          session.close();
          session = new Http2Viewer(edge.httpsUrl, ca);
          away = false;
          listenTo();
        }
        const answer = await session.get(done.h2 % 2 === 0 ? "/hit" : "/pass");
        // The client's own refusal to send on a session that ends.
        if (answer.error?.message.includes("after receiving a GOAWAY") === true) {
          away = true;
          continue;
        }
        if (answer.status !== 200 || answer.error !== null)
          failed.push(`h2: ${answer.status} ${String(answer.error)}`);
        done.h2++;
      }
      session.close();
    };
    const running = Promise.all([fresh(), fresh(), kept(), kept(), h2(), h2()]);
    await Bun.sleep(200);
    const seen = new Set([before]);
    for (let swap = 0; swap < 3; swap++) {
      write(await authority.issue(["localhost"]));
      clock.advance(10_000);
      await until(
        () => edge.messages.filter((message) => message.includes("new certificates")).length === swap + 1,
        "new certificates are in force",
      );
      const now = await served(edge.httpsPort);
      expect(seen.has(now)).toBe(false);
      seen.add(now);
      await Bun.sleep(150);
    }
    stopping = true;
    await running;
    expect(failed).toEqual([]);
    expect(reset).toBeLessThan(5);
    for (const count of Object.values(done)) expect(count).toBeGreaterThan(30);
  }, 15_000);

  test("with a key that is still to come wait for it, and the old ones stay", async () => {
    const { edge, authority, cert, key, clock } = await withCertificates();
    const before = await served(edge.httpsPort);
    const next = await authority.issue(["localhost"]);
    replaceFile(cert, next.cert);
    clock.advance(10_000);
    await until(
      () => edge.messages.some((message) => message.includes("certificates were not changed")),
      "it is told",
    );
    expect(edge.messages.at(-1)).toContain("is not the key of the certificate");
    expect(await served(edge.httpsPort)).toBe(before);
    replaceFile(key, next.key);
    clock.advance(10_000);
    await until(
      () => edge.messages.some((message) => message.includes("new certificates")),
      "new certificates are in force",
    );
    expect(await served(edge.httpsPort)).not.toBe(before);
  });

  test("that can not be used keep a whole new config out of force", async () => {
    const { edge, key, cert, config, origin } = await withCertificates();
    expect((await edge.get("/a")).status).toBe(200);
    const broken = {
      ...config,
      listen: { ...config.listen, tls: { certificates: [{ cert, key: `${key}.missing` }] } },
    };
    const changed = edge.apply({ config: broken, site: { developmentMode: true } });
    await expect(changed).rejects.toThrow(`${key}.missing`);
    expect((await edge.get("/hit")).cache).toBe("MISS");
    expect((await edge.get("/hit")).cache).toBe("HIT");
    await edge.edge.apply(
      testConfig({ origin: origin.url, config, site: { developmentMode: true } }, edge.dataDir),
    );
    expect((await edge.get("/hit")).cache).toBe("BYPASS");
  });

  test("and the oldest version of TLS follow the config without a new start", async () => {
    const { edge, config } = await withCertificates();
    (await handshake(edge.httpsPort, { maxVersion: "TLSv1.2" })).destroy();
    await edge.apply({
      config: { ...config, listen: { ...config.listen, tls: { ...config.listen.tls, minVersion: "1.3" } } },
    });
    await expect(handshake(edge.httpsPort, { maxVersion: "TLSv1.2" })).rejects.toThrow();
    const socket = await handshake(edge.httpsPort);
    expect(socket.getProtocol()).toBe("TLSv1.3");
    socket.destroy();
  });
});
