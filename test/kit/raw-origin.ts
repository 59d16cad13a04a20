/**
 * An origin server made of bytes: each connection is handed to a handler that reads request heads as
 * text and writes exactly what it likes, or cuts, resets and hangs. Everything received is recorded.
 */
import type { Socket, TLSOptions } from "bun";

/** One connection of a raw origin, as its handler sees it. */
export class RawConnection {
  readonly #socket: Socket<RawConnection>;
  readonly #record: (bytes: Buffer) => void;
  #received = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void)[] = [];
  #drained: (() => void)[] = [];
  /** Number of this connection, from 1. */
  readonly number: number;

  constructor(socket: Socket<RawConnection>, number: number, record: (bytes: Buffer) => void) {
    this.#socket = socket;
    this.number = number;
    this.#record = record;
  }

  /** True when the client closed its side. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The next request head, without its empty line; null when the connection ended. */
  async readHead(): Promise<string | null> {
    for (;;) {
      const end = this.#received.indexOf("\r\n\r\n");
      if (end !== -1) {
        const head = this.#received.toString("latin1", 0, end);
        this.#received = this.#received.subarray(end + 4);
        return head;
      }
      if (this.#ended) return null;
      await this.#more();
    }
  }

  /** The next `count` bytes after the head; fewer when the connection ended. */
  async readBytes(count: number): Promise<Buffer> {
    while (this.#received.length < count && !this.#ended) await this.#more();
    const bytes = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(bytes.length);
    return bytes;
  }

  /** Everything up to and with `mark`; null when the connection ended before it. */
  async readThrough(mark: string): Promise<string | null> {
    for (;;) {
      const at = this.#received.indexOf(mark, 0, "latin1");
      if (at !== -1) return (await this.readBytes(at + mark.length)).toString("latin1");
      if (this.#ended) return null;
      await this.#more();
    }
  }

  /** Writes all of it (text as latin1), waiting for the client to take it. False when it has gone. */
  async write(data: string | Uint8Array): Promise<boolean> {
    let rest = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    while (rest.byteLength > 0) {
      if (this.#ended) return false;
      const count = this.#socket.write(rest);
      if (count < 0) return false;
      rest = rest.subarray(count);
      if (rest.byteLength > 0) await new Promise<void>((resolve) => this.#drained.push(resolve));
    }
    return true;
  }

  /** Writes what the socket takes at once, without waiting; the number of bytes taken. */
  writeSome(data: Uint8Array): number {
    return this.#ended ? -1 : this.#socket.write(data);
  }

  /** Closes in order (FIN). */
  end(): void {
    this.#socket.end();
  }

  /** Resets the connection (RST). */
  reset(): void {
    this.#socket.terminate();
  }

  /** Stops reading: the client's own writes come to a halt. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Resolves when the client has closed the connection. */
  async gone(): Promise<void> {
    while (!this.#ended) await this.#more();
  }

  onData(bytes: Buffer): void {
    this.#record(bytes);
    this.#received = Buffer.concat([this.#received, bytes]);
    this.#wakeAll();
  }

  onDrain(): void {
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  onEnd(): void {
    this.#ended = true;
    this.#wakeAll();
    this.onDrain();
  }

  #more(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #wakeAll(): void {
    for (const resolve of this.#wake.splice(0)) resolve();
  }
}

/** A raw origin that runs. */
export interface RawOrigin {
  readonly port: number;
  /** `http://127.0.0.1:port`, or https. */
  readonly url: string;
  /** Connections accepted so far. */
  readonly connections: readonly RawConnection[];
  /** Everything received so far, over all connections, as latin1 text. */
  received(): string;
  /** Closes the listener and every connection. */
  stop(): void;
}

/** Starts an origin on a free port of the loopback; `handler` runs once for each connection. */
export function startRawOrigin(
  handler: (connection: RawConnection) => Promise<void> | void,
  options: { readonly tls?: TLSOptions; readonly unix?: string } = {},
): RawOrigin {
  const connections: RawConnection[] = [];
  const received: Buffer[] = [];
  const socket = {
    open(opened: Socket<RawConnection>) {
      const connection = new RawConnection(opened, connections.length + 1, (bytes) => received.push(bytes));
      opened.data = connection;
      connections.push(connection);
      void run(handler, connection);
    },
    data: (from: Socket<RawConnection>, bytes: Buffer) => from.data.onData(bytes),
    drain: (from: Socket<RawConnection>) => from.data.onDrain(),
    end: (from: Socket<RawConnection>) => from.data.onEnd(),
    close: (from: Socket<RawConnection>) => from.data?.onEnd(),
    error() {},
  };
  const tls = options.tls === undefined ? {} : { tls: options.tls };
  const listener =
    options.unix === undefined
      ? Bun.listen<RawConnection>({ hostname: "127.0.0.1", port: 0, socket, ...tls })
      : Bun.listen<RawConnection>({ unix: options.unix, socket, ...tls });
  const port = "port" in listener ? listener.port : 0;
  return {
    port,
    url: `${options.tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    connections,
    received: () => Buffer.concat(received).toString("latin1"),
    stop: () => listener.stop(true),
  };
}

async function run(
  handler: (connection: RawConnection) => Promise<void> | void,
  connection: RawConnection,
): Promise<void> {
  try {
    await handler(connection);
  } catch (error) {
    console.error("the raw origin's handler failed:", error);
    connection.reset();
  }
}

/** A handler that answers every request on a connection with the same bytes. */
export function answering(response: string | Uint8Array): (connection: RawConnection) => Promise<void> {
  return async (connection) => {
    while ((await connection.readHead()) !== null) {
      if (!(await connection.write(response))) return;
    }
  };
}
