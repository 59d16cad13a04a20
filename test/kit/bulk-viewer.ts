/** A viewer of large bodies: it counts and checks what comes, keeps none of it, and takes it as fast as it is told. */
import type { Socket } from "bun";

/** How a bulk viewer reads. */
export interface BulkOptions {
  readonly port: number;
  readonly path: string;
  /** Bytes a second; as fast as it comes when left out. */
  readonly bytesPerSecond?: number;
}

/** A GET over HTTP/1.1 whose body is thrown away. The body must come with Content-Length or chunked. */
export class BulkViewer {
  /** Bytes received, framing included. */
  bytes = 0;
  status = 0;
  /** True when the body came to its end. */
  whole = false;
  /** When the body came to its end, from performance.now(). */
  endedMs = 0;
  readonly ended: Promise<void>;
  #socket: Socket | null = null;
  #head = "";
  #length: number | null = null;
  #bodyBytes = 0;
  #tail = "";

  constructor(options: BulkOptions) {
    const { port, path, bytesPerSecond } = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    const startMs = performance.now();
    let paused = false;
    const data = (socket: Socket, piece: Buffer): void => {
      this.bytes += piece.byteLength;
      this.#take(piece);
      if (this.whole) {
        socket.end();
        resolve();
        return;
      }
      if (bytesPerSecond === undefined || paused) return;
      const aheadMs = (this.bytes / bytesPerSecond) * 1000 - (performance.now() - startMs);
      if (aheadMs < 5) return;
      paused = true;
      socket.pause();
      setTimeout(() => {
        paused = false;
        socket.resume();
      }, aheadMs);
    };
    void Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (socket) => {
          this.#socket = socket;
          socket.write(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`);
        },
        data,
        close: () => resolve(),
        error: () => resolve(),
        connectError: () => resolve(),
      },
    }).catch(() => resolve());
  }

  /** Bytes of the body, without the head; with chunked framing a little more than the body itself. */
  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  leave(): void {
    this.#socket?.terminate();
  }

  #take(piece: Buffer): void {
    let body = piece;
    if (this.status === 0) {
      this.#head += piece.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = this.#head.slice(0, end);
      body = Buffer.from(this.#head.slice(end + 4), "latin1");
      this.#head = "";
      this.status = Number(head.slice(9, 12));
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      this.#length = length === undefined ? null : Number(length);
    }
    this.#bodyBytes += body.byteLength;
    if (this.#length === null) this.#tail = (this.#tail + body.subarray(-8).toString("latin1")).slice(-8);
    this.whole =
      this.#length === null ? this.#tail.endsWith("\r\n0\r\n\r\n") : this.#bodyBytes === this.#length;
    if (this.whole) this.endedMs = performance.now();
  }
}
