/**
 * One very large object through the edge to many viewers: what memory the edge takes, how often the origin is
 * asked, how fast it goes. One viewer in ten takes no more than 4 MiB a second, for the first 64th.
 *
 *   npm run bench -- large [GiB, default 10] [viewers, default 50] [workers, default 1]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEdgeProcess } from "../test/kit/edge-process.ts";

const MIB = 2 ** 20;
const [, , first = "10", second = "50", third = "1"] = process.argv;

if (first === "origin") serveOrigin(Number(second) * MIB);
else if (first === "viewers") await view(second, Number(third), Number(process.argv[5]) * MIB);
else await measure(Number(first) * 1024, Number(second), Number(third));

/** Each MiB begins with its number. */
function pieceAt(number: number): Buffer {
  const piece = Buffer.alloc(MIB, number & 255);
  piece.writeDoubleLE(number);
  return piece;
}

/** An origin in a process of its own: it writes its port, then for each line that it reads, its counts. */
function serveOrigin(length: number): void {
  let requests = 0;
  let bytes = 0;
  const server = createServer((request, response) => {
    requests++;
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const start = Number(range?.[1] ?? 0);
    const end = range?.[2] ? Math.min(length, Number(range[2]) + 1) : length;
    response.writeHead(range === null ? 200 : 206, {
      "content-type": "application/octet-stream",
      "content-length": end - start,
      "cache-control": "max-age=86400",
      etag: '"film"',
      ...(range === null ? {} : { "content-range": `bytes ${start}-${end - 1}/${length}` }),
    });
    let at = start;
    const send = (): void => {
      while (at < end) {
        const number = Math.floor(at / MIB);
        const piece = pieceAt(number).subarray(at - number * MIB, Math.min(MIB, end - number * MIB));
        at += piece.byteLength;
        bytes += piece.byteLength;
        if (!response.write(piece)) {
          response.once("drain", send);
          return;
        }
      }
      response.end();
    };
    send();
  });
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    console.log(typeof address === "object" && address !== null ? address.port : 0);
  });
  process.stdin.on("data", () => console.log(JSON.stringify({ requests, bytes })));
  process.stdin.on("end", () => process.exit(0));
}

/** Viewers in a process of their own: each reads the whole over a plain socket and checks the head of each MiB. */
async function view(port: string, count: number, length: number): Promise<void> {
  const one = (slow: boolean): Promise<number> =>
    new Promise((resolve, reject) => {
      let head = "";
      let inBody = false;
      let taken = 0;
      let left = -1;
      const head8 = Buffer.alloc(8);
      const startMs = performance.now();
      const decode = chunkedOrPlain((bytes) => {
        for (let at = 0; at < bytes.byteLength; ) {
          const within = taken % MIB;
          const part = Math.min(bytes.byteLength - at, MIB - within);
          for (let i = within; i < 8 && i - within < part; i++) {
            head8[i] = bytes[at + i - within] as number;
            if (i === 7 && head8.readDoubleLE() !== Math.floor(taken / MIB))
              reject(new Error(`wrong bytes at ${taken}`));
          }
          taken += part;
          at += part;
        }
      });
      void Bun.connect({
        hostname: "127.0.0.1",
        port: Number(port),
        socket: {
          open(socket) {
            socket.write("GET /film HTTP/1.1\r\nHost: film.example\r\nConnection: close\r\n\r\n");
          },
          data(socket, data) {
            let rest: Uint8Array = data;
            if (!inBody) {
              head += Buffer.from(data).toString("latin1");
              const end = head.indexOf("\r\n\r\n");
              if (end < 0) return;
              inBody = true;
              if (!/^HTTP\/1\.1 200 /.test(head)) reject(new Error(head.slice(0, 200)));
              rest = Buffer.from(head.slice(end + 4), "latin1");
              left = /transfer-encoding: *chunked/i.test(head.slice(0, end)) ? -1 : 0;
            }
            decode(rest, left === -1);
            if (slow && taken < length / 64) {
              socket.pause();
              setTimeout(
                () => socket.resume(),
                Math.max(1, (taken / (4 * MIB)) * 1000 - (performance.now() - startMs)),
              );
            }
          },
          close() {
            if (taken === length) resolve((performance.now() - startMs) / 1000);
            else reject(new Error(`a viewer got ${taken} of ${length} bytes`));
          },
          error: (_socket, error) => reject(error),
        },
      });
    });
  const seconds = await Promise.all(Array.from({ length: count }, (_, i) => one(i % 10 === 9)));
  console.log(JSON.stringify({ least: Math.min(...seconds), most: Math.max(...seconds) }));
}

/** Takes the chunked coding off, if there is one. */
function chunkedOrPlain(take: (bytes: Uint8Array) => void): (bytes: Uint8Array, chunked: boolean) => void {
  let size = 0;
  let line = "";
  let state: "size" | "data" | "end" = "size";
  return (bytes, chunked) => {
    if (!chunked) return take(bytes);
    for (let at = 0; at < bytes.byteLength; ) {
      if (state === "data") {
        const part = Math.min(size, bytes.byteLength - at);
        take(bytes.subarray(at, at + part));
        size -= part;
        at += part;
        if (size === 0) state = "end";
        continue;
      }
      const char = String.fromCharCode(bytes[at++] as number);
      if (state === "end") {
        if (char === "\n") state = "size";
      } else if (char === "\n") {
        size = Number.parseInt(line, 16);
        line = "";
        if (size > 0) state = "data";
      } else line += char;
    }
  };
}

async function measure(mib: number, viewers: number, workers: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "proxima-large-"));
  const origin = Bun.spawn([process.execPath, import.meta.path, "origin", String(mib)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = origin.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const port = Number((await lines.read()).value);
  writeFileSync(
    join(folder, "proxima.json"),
    JSON.stringify({
      workers,
      cache: { disk: { size: `${Math.ceil(mib / 1024) * 3 + 2}GiB` } },
      sites: {
        film: {
          hosts: ["*"],
          origins: { app: { url: `http://127.0.0.1:${port}` } },
          behaviors: [{ path: "/*" }],
        },
      },
    }),
  );
  const edge = await startEdgeProcess(["edge", "--config", "proxima.json"], folder);
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, edge.rssMiB());
  }, 250);
  try {
    console.log(`${mib / 1024} GiB, ${viewers} viewers, ${workers} worker(s); at rest ${edge.rssMiB()} MiB`);
    for (const round of ["cold, all at once", "stored"]) {
      peak = 0;
      const cpu = edge.cpuSeconds();
      const startMs = performance.now();
      const run = Bun.spawn(
        [process.execPath, import.meta.path, "viewers", String(edge.port), String(viewers), String(mib)],
        { stdout: "pipe", stderr: "inherit" },
      );
      const out = await new Response(run.stdout).text();
      if ((await run.exited) !== 0) throw new Error("a viewer failed");
      const { least, most } = JSON.parse(out) as { least: number; most: number };
      const seconds = (performance.now() - startMs) / 1000;
      origin.stdin.write("?\n");
      const asked = JSON.parse((await lines.read()).value ?? "{}") as { requests: number; bytes: number };
      console.log(
        `${round}: ${((mib * viewers) / seconds).toFixed(0)} MiB/s to viewers, first done after ${least.toFixed(1)} s, last after ${most.toFixed(1)} s; ` +
          `at most ${peak} MiB resident, ${(edge.cpuSeconds() - cpu).toFixed(1)} s CPU; origin so far: ${asked.requests} requests, ${(asked.bytes / MIB).toFixed(0)} MiB`,
      );
    }
  } finally {
    clearInterval(watch);
    await edge.stop();
    void origin.stdin.end();
    await origin.exited;
    rmSync(folder, { recursive: true, force: true });
  }
}
