/** A load generator over kept-alive HTTP/1.1 connections that times every request. One thread, raw sockets. */

/** What a run measured. Latencies in milliseconds. */
export interface LoadReport {
  readonly requests: number;
  readonly failures: number;
  readonly seconds: number;
  readonly statuses: Readonly<Record<string, number>>;
  quantile(q: number): number;
  readonly maxMs: number;
}

/** How to load. */
export interface LoadOptions {
  readonly port: number;
  readonly connections: number;
  /** Path of the next request; may vary. */
  path(): string;
  readonly host?: () => string;
  readonly headers?: string;
  /** Pause between a connection's requests, so that the server is not saturated, in milliseconds. */
  readonly pauseMs?: number;
}

/** A running load; `stop` ends it and gives its report. */
export interface Load {
  /** The report so far, of requests that started after `mark`. */
  mark(): void;
  stop(): Promise<LoadReport>;
}

interface Connection {
  sentMs: number;
  buffer: string;
  bodyLeft: number;
  chunked: boolean;
}

/** Starts sending. Only responses with Content-Length, or chunked ones that end with an empty chunk, are understood. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  let latencies: number[] = [];
  let statuses: Record<string, number> = {};
  let failures = 0;
  let stopped = false;
  let startMs = performance.now();
  const { pauseMs = 0 } = options;

  const send = (socket: Bun.Socket<Connection>): void => {
    if (stopped) {
      socket.end();
      return;
    }
    socket.data.sentMs = performance.now();
    const host = options.host?.() ?? "bench.test";
    socket.write(`GET ${options.path()} HTTP/1.1\r\nHost: ${host}\r\n${options.headers ?? ""}\r\n`);
  };
  const done = (socket: Bun.Socket<Connection>, status: string): void => {
    latencies.push(performance.now() - socket.data.sentMs);
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (pauseMs > 0) setTimeout(() => send(socket), pauseMs);
    else send(socket);
  };
  const open = async (): Promise<void> => {
    await Bun.connect<Connection>({
      hostname: "127.0.0.1",
      port: options.port,
      data: { sentMs: 0, buffer: "", bodyLeft: 0, chunked: false },
      socket: {
        open: send,
        data(socket, bytes) {
          const state = socket.data;
          if (state.bodyLeft > bytes.byteLength) {
            state.bodyLeft -= bytes.byteLength;
            return;
          }
          state.buffer += bytes.toString("latin1");
          const end = state.buffer.indexOf("\r\n\r\n");
          if (end < 0) return;
          const head = state.buffer.slice(0, end);
          const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
          const body = state.buffer.length - end - 4;
          if (length !== undefined ? body < Number(length) : !state.buffer.endsWith("0\r\n\r\n")) return;
          state.buffer = "";
          done(socket, head.slice(9, 12));
        },
        close(socket) {
          if (stopped) return;
          failures++;
          void socket;
          setTimeout(() => void open().catch(() => failures++), 50);
        },
        error() {},
        connectError() {
          failures++;
        },
      },
    });
  };
  await Promise.all(Array.from({ length: options.connections }, open));
  return {
    mark() {
      latencies = [];
      statuses = {};
      failures = 0;
      startMs = performance.now();
    },
    async stop() {
      stopped = true;
      const seconds = (performance.now() - startMs) / 1000;
      await Bun.sleep(50);
      const sorted = Float64Array.from(latencies).sort();
      return {
        requests: sorted.length,
        failures,
        seconds,
        statuses,
        quantile: (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN,
        maxMs: sorted.at(-1) ?? Number.NaN,
      };
    },
  };
}
