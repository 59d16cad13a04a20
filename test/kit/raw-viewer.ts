/** A viewer made of a socket: it sends what the test writes, reads as slowly as the test likes, and leaves when told. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** What a raw viewer received until its connection ended. */
export interface RawAnswer {
  /** 0 when no head came. */
  readonly status: number;
  /** The head as text. */
  readonly head: string;
  /** The body as the framing of the head delivers it. */
  readonly body: Buffer;
  /** True when the framing says that the body is whole. */
  readonly whole: boolean;
}

/** Options of a raw viewer. */
export interface RawViewerOptions {
  readonly port: number;
  /** Connects with TLS, trusting this CA. */
  readonly ca?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly method?: string;
  /** Keep-Alive: the connection stays open after the answer. */
  readonly keep?: boolean;
}

/** One HTTP/1.1 connection of a viewer. */
export class RawViewer {
  readonly socket: Socket;
  readonly #host: string;
  #received: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  /** An error of the socket: a reset. */
  error: Error | null = null;
  #waiting: (() => void)[] = [];

  constructor(options: Pick<RawViewerOptions, "port" | "ca">) {
    const { port, ca } = options;
    this.#host = `${ca === undefined ? "127.0.0.1" : "localhost"}:${port}`;
    this.socket =
      ca === undefined
        ? connectTcp({ host: "127.0.0.1", port })
        : connectTls({ host: "127.0.0.1", port, ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    this.socket.on("data", (piece: Buffer) => {
      this.#received.push(piece);
      this.#bytes += piece.byteLength;
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    this.socket.on("error", (error: Error) => {
      this.error = error;
      end();
    });
    this.socket.on("end", end);
    this.socket.on("close", end);
  }

  /** Connects and sends a GET of `path`. */
  static ask(path: string, options: RawViewerOptions): RawViewer {
    const viewer = new RawViewer(options);
    viewer.send(path, options);
    return viewer;
  }

  /** Sends a request without a body. */
  send(path: string, options: Pick<RawViewerOptions, "headers" | "method" | "keep"> = {}): void {
    const fields = {
      host: this.#host,
      connection: options.keep === true ? "keep-alive" : "close",
      ...options.headers,
    };
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    this.socket.write(`${options.method ?? "GET"} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  }

  /** Bytes received so far, head included. */
  get bytes(): number {
    return this.#bytes;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Everything received so far. */
  received(): Buffer {
    return Buffer.concat(this.#received);
  }

  /** Resolves when at least this text has come; rejects when the connection ends without it. */
  async until(mark: string): Promise<void> {
    while (!this.received().includes(mark)) {
      if (this.#ended) throw new Error(`the connection ended without ${JSON.stringify(mark)}`);
      await this.#more();
    }
  }

  /** Leaves without a word. */
  destroy(): void {
    this.socket.destroy();
  }

  /** Waits until the connection ends and reads its only answer. */
  async answer(isHead = false): Promise<RawAnswer> {
    while (!this.#ended) await this.#more();
    return parseAnswer(this.received(), isHead, this.error === null);
  }

  #more(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Reads one answer from everything a connection brought. */
export function parseAnswer(bytes: Buffer, isHead = false, endedInOrder = true): RawAnswer {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return { status: 0, head: "", body: Buffer.alloc(0), whole: false };
  const head = bytes.toString("latin1", 0, end);
  const rest = bytes.subarray(end + 4);
  const status = Number(head.slice(9, 12));
  if (isHead || status === 304 || status === 204)
    return { status, head, body: rest, whole: rest.length === 0 };
  const length = /^content-length: *(\d+)$/im.exec(head)?.[1];
  if (length !== undefined) return { status, head, body: rest, whole: rest.length === Number(length) };
  if (!/^transfer-encoding: *chunked$/im.test(head)) return { status, head, body: rest, whole: endedInOrder };
  const pieces: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = rest.indexOf("\r\n", at);
    if (line < 0) return { status, head, body: Buffer.concat(pieces), whole: false };
    const size = Number.parseInt(rest.toString("latin1", at, line), 16);
    if (size === 0)
      return { status, head, body: Buffer.concat(pieces), whole: rest.indexOf("\r\n", line + 2) >= 0 };
    pieces.push(rest.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
    if (at > rest.length) return { status, head, body: Buffer.concat(pieces), whole: false };
  }
}
