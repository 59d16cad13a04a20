/**
 * The listener for clear text against the runtime's server, both in front of one whole data plane each:
 * hits of four sizes, 304 and misses. Every server runs pinned to core 0, wrk (`-- WRK` names another
 * path of it, `-- WRK CELL` one cell) on core 1, in interleaved rounds; what counts is the ratio of the medians, on a machine
 * that others use that of the CPU time.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ChurnSet } from "../src/base/churn-set.ts";
import { systemClock } from "../src/base/clock.ts";
import { parseConfig } from "../src/config/parse.ts";
import { type AnswerContext, answer } from "../src/edge/listener/answer.ts";
import { startListeners } from "../src/edge/listener/edge-listener.ts";
import { Http3Spool } from "../src/edge/listener/http3-body.ts";
import { defaultListenerLimits } from "../src/edge/listener/limits.ts";
import type { TunnelData } from "../src/edge/listener/websocket-tunnel.ts";
import { makePlane } from "../src/node/plane.ts";

const ROUNDS = 5;
const SECONDS = 2;
const sizes: Record<string, number> = { "/1k": 1_024, "/10k": 10_240, "/100k": 102_400, "/1m": 1_048_576 };
const cells: [name: string, path: string, fields: string[]][] = [
  ["1 KB", "/1k", []],
  ["10 KB", "/10k", []],
  ["100 KB", "/100k", []],
  ["1 MB", "/1m", []],
  ["1 KB, fields of a browser", "/1k", browserFields()],
  ["304", "/1k", ['If-None-Match: "abc"']],
  ["miss", "/miss", []],
];

const [role, ...rest] = process.argv.slice(2);
if (role === "serve") await serve(rest[0] ?? "", Number(rest[1]), rest[2] ?? "");
else await compare(role ?? "wrk", rest[0]);

async function compare(wrk: string, only: string | undefined): Promise<void> {
  if (Bun.which(wrk) === null || Bun.which("taskset") === null) {
    throw new Error("wrk and taskset are needed (Debian packages wrk and util-linux)");
  }
  const origin = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    fetch(request) {
      const bytes = sizes[new URL(request.url).pathname];
      return new Response(new Uint8Array(bytes ?? 1_024).fill(97), {
        headers: {
          "content-type": "application/octet-stream",
          etag: '"abc"',
          "cache-control": bytes === undefined ? "no-store" : "max-age=36000",
        },
      });
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "proxima-bench-"));
  const servers = await Promise.all(
    ["runtime", "raw"].map((kind) => started(kind, origin.port ?? 0, join(folder, kind))),
  );
  try {
    for (const [name, path, fields] of cells) {
      if (only !== undefined && name !== only) continue;
      const rates = new Map<string, number[]>();
      const costs = new Map<string, number[]>();
      for (let round = -1; round < ROUNDS; round += 1) {
        for (const { kind, port, child } of servers) {
          const before = cpuSeconds(child.pid);
          const { rate, requests } = await load(wrk, `http://127.0.0.1:${port}${path}`, fields);
          // The first round warms up, and stores.
          if (round < 0) continue;
          rates.set(kind, [...(rates.get(kind) ?? []), rate]);
          const cost = ((cpuSeconds(child.pid) - before) / requests) * 1e6;
          costs.set(kind, [...(costs.get(kind) ?? []), cost]);
        }
      }
      const runtime = median(rates.get("runtime"));
      const raw = median(rates.get("raw"));
      const cpuRuntime = median(costs.get("runtime"));
      const cpuRaw = median(costs.get("raw"));
      console.log(
        `${name.padEnd(26)} runtime ${runtime.toFixed(0).padStart(7)}/s ${cpuRuntime.toFixed(1).padStart(6)} us  ` +
          `raw ${raw.toFixed(0).padStart(7)}/s ${cpuRaw.toFixed(1).padStart(6)} us  ` +
          `requests ${(raw / runtime).toFixed(2)} times, CPU ${(cpuRaw / cpuRuntime).toFixed(2)} times`,
      );
    }
  } finally {
    for (const { child } of servers) {
      child.kill("SIGKILL");
      await child.exited;
    }
    rmSync(folder, { recursive: true, force: true });
    await origin.stop(true);
  }
}

async function started(kind: string, originPort: number, folder: string) {
  const child = Bun.spawn(
    ["taskset", "-c", "0", process.execPath, import.meta.path, "serve", kind, String(originPort), folder],
    { stdout: "pipe", stderr: "inherit" },
  );
  const { value } = await child.stdout.getReader().read();
  return { kind, child, port: Number(new TextDecoder().decode(value)) };
}

/** CPU time of a process so far, user and system. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function load(wrk: string, url: string, fields: string[]): Promise<{ rate: number; requests: number }> {
  const args = fields.flatMap((field) => ["-H", field]);
  const run = Bun.spawn(["taskset", "-c", "1", wrk, "-t1", "-c32", `-d${SECONDS}s`, ...args, url], {
    stdout: "pipe",
  });
  const text = await new Response(run.stdout).text();
  if (/Non-2xx|Socket errors/.test(text)) console.log(text);
  return {
    rate: Number(/Requests\/sec: +([\d.]+)/.exec(text)?.[1]),
    requests: Number(/(\d+) requests in/.exec(text)?.[1]),
  };
}

function median(values: readonly number[] = []): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function browserFields(): string[] {
  return [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://site.example/list?page=2",
    "Sec-Fetch-Dest: image",
    "Sec-Fetch-Mode: no-cors",
    "Sec-Fetch-Site: same-origin",
    "Connection: keep-alive",
    "Priority: u=2, i",
  ];
}

/** One data plane behind the listener of this kind; prints the port. */
async function serve(kind: string, originPort: number, folder: string): Promise<void> {
  const parsed = parseConfig({
    dataDir: folder,
    listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
    sites: { site: { hosts: ["*"], origins: { app: { url: `http://127.0.0.1:${originPort}` } } } },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const { plane } = makePlane({
    config: parsed.config,
    version: "0",
    clock: systemClock,
    log: (_, message) => console.error(message),
    tiers: null,
    loopId: "bench",
    controlPort: () => null,
    memoryBytesMax: 256 * 1024 * 1024,
    peers: null,
    disk: null,
    onOriginEvent: () => {},
  });
  await plane.apply(parsed.config);
  const common = {
    handler: plane.handle,
    requestBodyBytesMax: 1_000_000,
    clock: systemClock,
    onError: (error: unknown) => console.error(error),
  };
  if (kind === "raw") {
    const listeners = await startListeners({
      ...common,
      http: { hostname: "127.0.0.1", port: 0 },
      https: null,
      http3: false,
      proxyProtocol: false,
      tls: null,
      altSvc: () => false,
    });
    console.log(listeners.httpAddress?.port);
    return;
  }
  const limits = defaultListenerLimits;
  const context: AnswerContext = {
    ...common,
    limits,
    scheme: "http",
    http3: false,
    closing: false,
    altSvc: null,
    relayed: null,
    spool: new Http3Spool(limits, systemClock),
    tunnels: new ChurnSet(),
    connecting: { count: 0 },
  };
  const server = Bun.serve<TunnelData>({
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    idleTimeout: limits.idleSeconds,
    fetch: (request, server) => answer(request, server, context),
    websocket: { message() {} },
  });
  console.log(server.port);
}
