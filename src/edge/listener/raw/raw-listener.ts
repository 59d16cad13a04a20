/**
 * The listener for HTTP/1.1 in clear text, on a TCP socket and a parser of our own (docs/decisions): what
 * a viewer sends is read strictly, and a hit is one write of bytes that are there. HTTP/2 with prior
 * knowledge and WebSockets are passed on to the runtime's server.
 *
 * States: open -> draining -> closed.
 */

import type { Socket, SocketHandler, SocketListener } from "bun";
import { ChurnMap } from "../../../base/churn-map.ts";
import type { Clock } from "../../../base/clock.ts";
import { takeOut } from "../../../base/take-out.ts";
import type { Refusal, RequestHandler } from "../../message.ts";
import type { ListenerLimits } from "../limits.ts";
import { Passage } from "../passage.ts";
import type { ListenAddress } from "../ports.ts";
import { BlobBytes } from "./blob-bytes.ts";
import { Connection, type ConnectionContext } from "./connection.ts";
import { DeadlineWheel } from "./deadline-wheel.ts";
import { WHEEL_TICK_MS } from "./limits.ts";
import { Outbox } from "./sender.ts";

/** What a raw listener needs. */
export interface RawListenerOptions {
  readonly listen: ListenAddress | { readonly unix: string };
  /** True when other processes of the node listen on the same port. */
  readonly reusePort: boolean;
  /** PEM texts, where it speaks TLS; left out: clear text. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly handler: RequestHandler;
  readonly requestHeaderBytesMax: number;
  readonly requestBodyBytesMax: number;
  readonly limits: ListenerLimits;
  readonly clock: Clock;
  /**
   * Who is behind a connection from this port of a PROXY protocol relay; null when it is not the relay's.
   * Left out where viewers connect themselves.
   */
  readonly relayed?: (relayPort: number) => string | null;
  /** Port on 127.0.0.1 of the runtime's server for what is passed on; asked for each connection. */
  passTo(): number;
  onError(error: unknown): void;
  onRefused?(refusal: Refusal): void;
}

/** A listening socket for HTTP/1.1. */
export class RawListener {
  readonly #options: RawListenerOptions;
  readonly #listener: SocketListener<Connection>;
  readonly #connections: Connection[] = [];
  readonly #context: ConnectionContext;
  /** Viewers of passed connections, by our local port. */
  readonly #passed = new ChurnMap<number, string>();
  #onEmpty: (() => void) | null = null;

  /** Throws the runtime's error when the port can not be bound. */
  constructor(options: RawListenerOptions) {
    this.#options = options;
    const { limits, clock, requestBodyBytesMax } = options;
    this.#context = {
      handler: options.handler,
      bodyContext: { limits, clock, requestBodyBytesMax },
      requestHeaderBytesMax: options.requestHeaderBytesMax,
      wheel: new DeadlineWheel(clock, WHEEL_TICK_MS),
      outbox: new Outbox(),
      writer: { blobs: new BlobBytes(), clock, onError: (error) => options.onError(error) },
      closing: false,
      requests: 0,
      relayed: options.relayed ?? null,
      onError: (error) => options.onError(error),
      onRefused: (refusal) => options.onRefused?.(refusal),
      pass: (connection, first) => this.#pass(connection, first),
      onClosed: (connection) => this.#closed(connection),
    };
    const { listen, reusePort, tls } = options;
    const socket: SocketHandler<Connection> = {
      open: (one) => this.#opened(one),
      data: (one, bytes) => one.data?.onData(bytes),
      drain: (one) => one.data?.onDrain(),
      close: (one) => one.data?.onClose(),
      error: (one) => one.data?.terminate(),
    };
    // The runtime takes reusePort, its declared type leaves it out.
    this.#listener =
      "unix" in listen
        ? Bun.listen<Connection>({ unix: listen.unix, socket })
        : Bun.listen<Connection>({
            ...listen,
            ...{ reusePort },
            ...(tls === undefined ? {} : { tls }),
            socket,
          });
  }

  /** Where it listens; 0 on a unix socket. */
  get port(): number {
    return "port" in this.#listener && typeof this.#listener.port === "number" ? this.#listener.port : 0;
  }

  /** Requests being answered; those of passed connections are counted where they are served. */
  get requests(): number {
    return this.#context.requests;
  }

  /** The viewer behind a passed connection, by its port towards the runtime's server; null when there is none. */
  addressOf(port: number): string | null {
    return this.#passed.get(port) ?? null;
  }

  /** From now on each answer says that its connection ends. */
  announceEnd(): void {
    this.#context.closing = true;
  }

  /** Accepts no more, closes idle connections, and resolves when the last one has ended. */
  async close(): Promise<void> {
    this.#context.closing = true;
    this.#listener.stop(false);
    for (const connection of [...this.#connections]) connection.closeIdle();
    if (this.#connections.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }

  /** Closes everything at once. */
  stop(): void {
    this.#listener.stop(false);
    for (const connection of [...this.#connections]) connection.terminate();
  }

  #opened(socket: Socket<Connection>): void {
    try {
      if (this.#connections.length >= this.#options.limits.connectionsMax) {
        socket.terminate();
        return;
      }
      const connection = new Connection(socket, this.#context);
      socket.data = connection;
      connection.place = this.#connections.push(connection) - 1;
    } catch (error) {
      this.#options.onError(error);
      socket.terminate();
    }
  }

  #pass(connection: Connection, first: Uint8Array): Passage {
    return new Passage(connection.socket, {
      port: this.#options.passTo(),
      address: connection.peerAddress,
      first,
      addresses: this.#passed,
      onError: this.#options.onError,
      onOver: () => connection.onClose(),
    });
  }

  #closed(connection: Connection): void {
    const { place } = connection;
    if (place === -1) return;
    connection.place = -1;
    const moved = takeOut(this.#connections, place);
    if (moved !== null) moved.place = place;
    if (this.#connections.length > 0) return;
    this.#onEmpty?.();
    this.#onEmpty = null;
  }
}
