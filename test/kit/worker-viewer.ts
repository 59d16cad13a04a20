/** A viewer whose connection one chosen worker holds: with several processes behind a port the kernel chooses, so it connects until it is there. */
import { connect, type Socket } from "node:net";
import { viewersOf } from "./processes.ts";
import { parseAnswer, type RawAnswer } from "./raw-viewer.ts";

/** Connections that are tried before a worker is taken for one that accepts none. */
const TRIES_MAX = 60;

/** What is asked beside the path. */
export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A kept-alive HTTP/1.1 connection to one process; one request at a time. */
export class WorkerViewer {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (piece: Buffer) => {
      this.#pieces.push(piece);
      this.#bytes += piece.byteLength;
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on("error", end);
    socket.on("close", end);
  }

  /** Connects until the process `pid` holds the connection; any process when it is null. */
  static async of(port: number, pid: number | null): Promise<WorkerViewer> {
    for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
      const socket = connect({ host: "127.0.0.1", port });
      await new Promise<void>((resolve) => {
        socket.once("connect", () => resolve());
        socket.once("error", () => resolve());
      });
      const viewer = new WorkerViewer(socket);
      if (pid === null) return viewer;
      // The kernel gives a connection to a process when the first bytes come: a method that the edge answers itself.
      await viewer.ask("127.0.0.1", "/", { method: "TRACE" });
      if (!viewer.#ended && viewersOf(pid, port).has(socket.localPort ?? 0)) return viewer;
      socket.destroy();
    }
    throw new Error(`process ${pid} took none of ${TRIES_MAX} connections to port ${port}`);
  }

  /** Sends a request. `host` is the Host field. */
  send(host: string, path: string, { method = "GET", headers = {} }: Ask = {}): void {
    this.#pieces = [];
    this.#bytes = 0;
    const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  }

  /** Sends a request and reads its answer whole; `whole` is false when the connection broke before. */
  async ask(host: string, path: string, ask: Ask = {}): Promise<RawAnswer> {
    this.send(host, path, ask);
    return await this.answer(ask.method);
  }

  /** The answer to what was sent. */
  async answer(method = "GET"): Promise<RawAnswer> {
    let wanted: number | "chunked" | null = null;
    for (;;) {
      if (wanted === null) {
        const start = Buffer.concat(this.#pieces);
        const end = start.indexOf("\r\n\r\n");
        if (end >= 0) {
          const head = start.toString("latin1", 0, end);
          const length = Number(/^content-length: *(\d+)$/im.exec(head)?.[1] ?? 0);
          const bodyless = method === "HEAD" || /^HTTP\/1\.1 (?:304|204)/.test(head);
          if (!bodyless && /^transfer-encoding: *chunked$/im.test(head)) wanted = "chunked";
          else wanted = end + 4 + (bodyless ? 0 : length);
        }
      }
      const there =
        wanted === "chunked"
          ? (this.#pieces.at(-1)?.toString("latin1").endsWith("0\r\n\r\n") ?? false)
          : wanted !== null && this.#bytes >= wanted;
      if (there || this.#ended) return parseAnswer(Buffer.concat(this.#pieces), method === "HEAD");
      await this.#more();
    }
  }

  /** Bytes of the answer so far, its head included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Resolves when so many bytes have come, or the connection has ended. */
  async until(bytes: number): Promise<void> {
    while (this.#bytes < bytes && !this.#ended) await this.#more();
  }

  close(): void {
    this.#socket.destroy();
  }

  #more(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    return promise;
  }
}
