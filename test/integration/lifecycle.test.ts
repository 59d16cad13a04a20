/** The program's life: told to end it loses no accepted request, killed it starts again, started twice it says so. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Http2Viewer } from "../kit/http2-viewer.ts";
import { fetchHttp3 } from "../kit/http3.ts";
import { text } from "../kit/origin.ts";
import type { Program, Programs } from "../kit/program.ts";
import { startRawOrigin } from "../kit/raw-origin.ts";
import { RawViewer } from "../kit/raw-viewer.ts";
import { stage } from "../kit/stage.ts";

const { app, programs, stops } = stage();

const anywhere = ["--http", ":0", "--https", ":0", "--control", ":0"];

async function startDev(all: Programs, url: string, ...argv: string[]) {
  const program = all.start(["dev", url, "--data-dir", "data", ...(argv.length > 0 ? argv : anywhere)]);
  const addresses = await program.addresses();
  const ca = readFileSync(join(all.folder, "data", caFileOf(program)), "utf8");
  return { program, ca, ...addresses };
}

function caFileOf(program: Program): string {
  return /^ +CA +\S*data\/(\S+)$/m.exec(program.out)?.[1] ?? "";
}

/** True when nothing listens on the port. */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Processes whose parent is this one. */
function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((id) => {
      if (!Number.isInteger(id)) return false;
      try {
        const stat = readFileSync(`/proc/${id}/stat`, "utf8");
        return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid;
      } catch {
        return false;
      }
    });
}

describe("SIGTERM", () => {
  test("under load over HTTP/1.1, HTTP/2 and HTTP/3 and with slow answers on their way fails no accepted request", async () => {
    const gate = Promise.withResolvers<void>();
    const origin = app(async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/slow") {
        await gate.promise;
        return text("slow", { "cache-control": "no-store" });
      }
      if (pathname === "/long") {
        const body = new ReadableStream({
          async start(controller) {
            controller.enqueue(new TextEncoder().encode("a".repeat(300_000)));
            await gate.promise;
            controller.enqueue(new TextEncoder().encode("b".repeat(300_000)));
            controller.close();
          },
        });
        return new Response(body, { headers: { "content-type": "text/plain", "cache-control": "no-store" } });
      }
      if (pathname === "/upload") return text(`took ${(await request.bytes()).byteLength}`);
      return text(request.url, { "cache-control": pathname === "/hit" ? "max-age=60" : "no-store" });
    });
    const { program, ca, control, httpPort, httpsPort } = await startDev(programs(), origin.url);
    const failed: string[] = [];
    const done = { fresh: 0, kept: 0, h2: 0 };
    let told = false;
    let lost = 0;
    const fresh = async () => {
      for (;;) {
        const viewer = RawViewer.ask(done.fresh % 2 === 0 ? "/hit" : "/pass", { port: httpPort });
        const answer = await viewer.answer();
        if (viewer.bytes === 0 && told) {
          // Refused; or in the kernel's queue when the socket closed, which no program has accepted.
          if (viewer.error === null || !/ECONNREFUSED/.test(String(viewer.error))) lost++;
          return;
        }
        if (answer.status !== 200 || !answer.whole)
          failed.push(`fresh: ${answer.status} ${String(viewer.error)}`);
        done.fresh++;
      }
    };
    const kept = async () => {
      for (;;) {
        const viewer = new RawViewer({ port: httpPort });
        for (;;) {
          const mark = `/pass?n=${done.kept}.`;
          const used = viewer.bytes > 0;
          viewer.send(mark, { keep: true });
          try {
            await viewer.until(mark);
          } catch {
            if (used || !told) failed.push(`kept: ${String(viewer.error)}`);
            return;
          }
          done.kept++;
          if (/connection: close/i.test(viewer.received().toString("latin1"))) break;
        }
        viewer.destroy();
      }
    };
    const h2 = async () => {
      const session = new Http2Viewer(`https://localhost:${httpsPort}`, ca);
      let away = false;
      session.session.on("goaway", () => {
        away = true;
      });
      while (!away) {
        const answer = await session.get(done.h2 % 2 === 0 ? "/hit" : "/pass");
        if (answer.error?.message.includes("after receiving a GOAWAY") === true) break;
        if (answer.status !== 200 || answer.error !== null) {
          failed.push(`h2: ${answer.status} ${String(answer.error)}`);
          break;
        }
        done.h2++;
      }
      session.close();
    };
    const slow = [RawViewer.ask("/slow", { port: httpPort }), RawViewer.ask("/long", { port: httpPort })];
    const session = new Http2Viewer(`https://localhost:${httpsPort}`, ca);
    stops.push(() => session.close());
    const slow2 = [session.get("/slow"), session.get("/long")];
    const slow3 = fetchHttp3(httpsPort, "/slow").then((response) => response.text());
    const upload = new RawViewer({ port: httpPort });
    upload.socket.write("POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n");
    upload.socket.write("u".repeat(100_000));
    const load = Promise.all([fresh(), fresh(), kept(), kept(), h2(), h2()]);
    await slow[1]?.until("aaaa");
    await Bun.sleep(300);
    told = true;
    program.kill("SIGTERM");
    await load;
    // It drains: no new connection, the control listener still answers, what was accepted goes on.
    const ready = await fetch(`${control}/readyz`);
    expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining("draining")]);
    expect((await fetch(`${control}/healthz`)).status).toBe(200);
    upload.socket.write("u".repeat(100_000));
    await upload.until("took 200000");
    expect(program.child.exitCode).toBeNull();
    gate.resolve();
    expect((await slow[0]?.answer())?.body.toString()).toBe("slow");
    const long = await slow[1]?.answer();
    expect([long?.whole, long?.body.length]).toEqual([true, 600_000]);
    const [one, two] = await Promise.all(slow2);
    expect([one?.error, String(one?.body)]).toEqual([null, "slow"]);
    expect([two?.error, two?.body.length]).toEqual([null, 600_000]);
    expect(await slow3).toBe("slow");
    const { status, err } = await program.end();
    expect(failed).toEqual([]);
    expect(lost).toBeLessThan(3);
    for (const count of Object.values(done)) expect(count).toBeGreaterThan(30);
    expect(status).toBe(0);
    expect(err).toMatch(/SIGTERM: draining/);
    for (const port of [httpPort, httpsPort]) expect(await isFree(port)).toBe(true);
  }, 15_000);

  test("ends soon although connections are kept open by viewers that ask for nothing", async () => {
    const origin = app(() => text("ok", { "cache-control": "max-age=60" }));
    const { program, ca, httpPort, httpsPort } = await startDev(programs(), origin.url);
    const kept = new RawViewer({ port: httpPort });
    kept.send("/", { keep: true });
    await kept.until("ok");
    const silent = new RawViewer({ port: httpPort });
    await Bun.sleep(20);
    const session = new Http2Viewer(`https://localhost:${httpsPort}`, ca);
    stops.push(
      () => session.close(),
      () => kept.destroy(),
      () => silent.destroy(),
    );
    expect((await session.get("/")).status).toBe(200);
    await fetchHttp3(httpsPort, "/").then((response) => response.text());
    const startMs = performance.now();
    program.kill("SIGTERM");
    expect((await program.end()).status).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  test("waits no longer than limits.drainSeconds", async () => {
    const origin = app(() => new Promise<Response>(() => {}));
    const all = programs();
    await all.write(
      "edge.json",
      JSON.stringify({
        listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
        limits: { drainSeconds: 1 },
        sites: { shop: { hosts: ["*"], origins: { app: { url: origin.url } } } },
      }),
    );
    const program = all.start(["edge", "--config", "edge.json", "--data-dir", "data"]);
    const { httpPort } = await program.addresses();
    const viewer = RawViewer.ask("/never", { port: httpPort });
    while (origin.count() === 0) await Bun.sleep(5);
    const startMs = performance.now();
    program.kill("SIGTERM");
    expect((await program.end()).status).toBe(0);
    const tookMs = performance.now() - startMs;
    expect(tookMs).toBeGreaterThan(900);
    expect(tookMs).toBeLessThan(2_500);
    expect((await viewer.answer()).status).toBe(0);
  });

  test("a second time ends it at once", async () => {
    const origin = app(() => new Promise<Response>(() => {}));
    const { program, httpPort } = await startDev(programs(), origin.url);
    RawViewer.ask("/never", { port: httpPort });
    while (origin.count() === 0) await Bun.sleep(5);
    program.kill("SIGTERM");
    await program.until(/draining/);
    const startMs = performance.now();
    program.kill("SIGTERM");
    expect((await program.end()).status).toBe(143);
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });

  test("closes WebSockets, which have no end of their own", async () => {
    const origin = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request, server) {
        if (server.upgrade(request)) return undefined;
        return new Response("no", { status: 400 });
      },
      websocket: { message: (socket, message) => void socket.send(message) },
    });
    stops.push(() => origin.stop(true));
    const { program, httpPort } = await startDev(programs(), `http://127.0.0.1:${origin.port}`);
    const socket = new WebSocket(`ws://127.0.0.1:${httpPort}/`);
    const echo = Promise.withResolvers<string>();
    const closed = Promise.withResolvers<number>();
    socket.onmessage = ({ data }) => echo.resolve(String(data));
    socket.onclose = ({ code }) => closed.resolve(code);
    socket.onopen = () => socket.send("hello");
    expect(await echo.promise).toBe("hello");
    program.kill("SIGTERM");
    expect(await closed.promise).toBe(1001);
    expect((await program.end()).status).toBe(0);
  });

  test("before it serves, while it starts, ends it too", async () => {
    const all = programs();
    const origin = app(() => text("ok"));
    const program = all.start(["dev", origin.url, "--data-dir", "data", ...anywhere]);
    await Bun.sleep(30);
    program.kill("SIGTERM");
    const { status } = await program.end();
    expect([0, 143]).toContain(status);
  });
});

describe("a second start", () => {
  test("on the same data directory says in one sentence whose it is", async () => {
    const origin = app(() => text("ok"));
    const all = programs();
    const { program } = await startDev(all, origin.url);
    const { status, out, err } = await all.run(["dev", origin.url, "--data-dir", "data", ...anywhere]);
    expect([status, out]).toEqual([1, ""]);
    expect(err).toBe(
      `proxima: data directory ${join(all.folder, "data")} is in use by process ${program.pid} (proxima dev ${origin.url} --data-dir data ${anywhere.join(" ")}); stop it, or choose another directory with --data-dir\n`,
    );
  });

  test("on a port that is taken says in one sentence which, for each listener", async () => {
    const origin = app(() => text("ok"));
    const all = programs();
    const first = await startDev(all, origin.url);
    const ports = { "--http": first.httpPort, "--https": first.httpsPort, "--control": first.controlPort };
    for (const [option, port] of Object.entries(ports)) {
      const argv = Object.entries({ "--http": 0, "--https": 0, "--control": 0, [option]: port }).flatMap(
        ([name, number]) => [name, `:${number}`],
      );
      const { status, out, err } = await all.run(["dev", origin.url, "--data-dir", "other", ...argv]);
      expect([option, status, out]).toEqual([option, 1, ""]);
      expect(err).toMatch(new RegExp(`^proxima: [^\\n]*[ :]${port}[ ,][^\\n]*already in use[^\\n]*\\n$`));
    }
    // The first one was not disturbed, nor does it share its port.
    for (let i = 0; i < 20; i++) expect((await fetch(first.http, { keepalive: false })).status).toBe(200);
  });

  test("after kill -9 works on the same data directory and ports, with the same authority", async () => {
    const origin = app(() => text("ok", { "cache-control": "max-age=60" }));
    const all = programs();
    const first = await startDev(all, origin.url);
    const busy = RawViewer.ask("/", { port: first.httpPort, keep: true });
    await busy.until("ok");
    first.program.kill("SIGKILL");
    expect((await first.program.end()).status).toBe(137);
    const ports = [
      "--http",
      `:${first.httpPort}`,
      "--https",
      `:${first.httpsPort}`,
      "--control",
      `:${first.controlPort}`,
    ];
    const second = await startDev(all, origin.url, ...ports);
    expect(second).toMatchObject({ httpPort: first.httpPort, httpsPort: first.httpsPort, ca: first.ca });
    const session = new Http2Viewer(`https://localhost:${second.httpsPort}`, first.ca);
    stops.push(() => session.close());
    expect((await session.get("/")).status).toBe(200);
  });
});

describe("what is left behind", () => {
  test("by an end in order is the data directory with its authority, and no process", async () => {
    const origin = startRawOrigin(async (connection) => {
      while ((await connection.readHead()) !== null)
        await connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    stops.push(() => origin.stop());
    const all = programs();
    const { program, http } = await startDev(all, origin.url);
    expect(await (await fetch(http)).text()).toBe("ok");
    expect(childrenOf(program.pid)).toEqual([]);
    program.kill("SIGTERM");
    expect((await program.end()).status).toBe(0);
    expect(readdirSync(all.folder)).toEqual(["data"]);
    const left = readdirSync(join(all.folder, "data"), { recursive: true }).map(String).sort();
    expect(
      left.filter(
        (name) => !/^(?:(?:lock|purges)\.db|loop-id|local-ca\.(?:crt|pem)|leaf-\w+\.pem)$/.test(name),
      ),
    ).toEqual([]);
    for (const connection of origin.connections) expect(connection.ended).toBe(true);
  });
});
