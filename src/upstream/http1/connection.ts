/**
 * One connection to an origin: a socket that is lent to one exchange at a time. It turns the runtime's
 * callbacks into calls on whoever uses it now; while nobody does, any byte or end makes it useless.
 * It is open, or closed for good.
 */
import type { Socket, SocketHandler } from "bun";
import type { Clock } from "../../base/clock.ts";
import { Deadline } from "./deadline.ts";
import { Respondent } from "./respondent.ts";

/** Who uses a connection now. */
export interface ConnectionUser {
  onData(bytes: Buffer): void;
  /** The socket takes bytes again. */
  onDrain(): void;
  /** The connection ended: in order when `error` is null. Called once. */
  onEnd(error: Error | null): void;
  /** The deadline that the user set passed. */
  onDeadline(): void;
}

/** Follows a connection that is being opened. Called once, with null when it stands. */
export type Opened = (error: ConnectFailure | null) => void;

/** Why a connection could not be opened. */
export interface ConnectFailure {
  readonly stage: "connect" | "tls" | "certificate";
  readonly error: Error;
}

/** A socket, and who it is lent to. */
export class Connection {
  /** Address and port, for errors and logs. */
  readonly address: string;
  readonly respondent: Respondent;
  /** The user's own deadline; see ConnectionUser.onDeadline. */
  readonly deadline: Deadline;
  /** Called once, when the connection is closed from either side. */
  onClosed: (() => void) | null = null;
  /** When an idle connection is too old to be used, by the pool. */
  expiresAtMs = Number.POSITIVE_INFINITY;
  /** Exchanges begun on it. */
  exchanges = 0;
  user: ConnectionUser | null = null;

  readonly #tls: { readonly verify: boolean } | null;
  #opened: Opened | null;
  #socket: Socket<Connection> | null = null;
  #paused = false;
  #closed = false;

  constructor(options: {
    /** Name of the origin in the config. */
    readonly name: string;
    readonly address: string;
    readonly clock: Clock;
    readonly tls: { readonly verify: boolean } | null;
    readonly opened: Opened;
  }) {
    this.address = options.address;
    this.respondent = new Respondent(`origin ${options.name} (${options.address})`);
    this.#tls = options.tls;
    this.#opened = options.opened;
    this.deadline = new Deadline(options.clock, () => this.user?.onDeadline());
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes taken by the socket, -1 when it is closed. */
  write(bytes: Uint8Array): number {
    return this.#closed || this.#socket === null ? -1 : this.#socket.write(bytes);
  }

  /** Stops reading, so that the origin's own sending comes to a halt. */
  pause(): void {
    if (this.#paused || this.#closed) return;
    this.#paused = true;
    this.#socket?.pause();
  }

  /** Reads on. */
  resume(): void {
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.#socket?.resume();
  }

  /** Closes in order: for a connection on which nothing is under way. */
  close(): void {
    this.#close(false);
  }

  /** Cuts the connection: for an exchange that must not go on. */
  destroy(): void {
    this.#close(true);
  }

  #close(abruptly: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#opened = null;
    this.user = null;
    this.deadline.stop();
    const socket = this.#socket;
    this.#socket = null;
    if (abruptly) socket?.terminate();
    else socket?.end();
    this.onClosed?.();
    this.onClosed = null;
  }

  // What follows is called by the socket's handlers only.

  socketOpen(socket: Socket<Connection>): void {
    if (this.#closed) {
      // Given up while it was being opened; an attempt to connect can not be taken back.
      socket.terminate();
      return;
    }
    this.#socket = socket;
    if (this.#tls === null) this.#standing();
  }

  socketHandshake(ok: boolean, error: Error | null): void {
    if (this.#closed || this.#tls === null) return;
    const code = error === null ? "" : codeOf(error);
    const brokeOff = code === "EPROTO" || code === "ECONNRESET" || code.startsWith("ERR_SSL");
    if (brokeOff || ((!ok || error !== null) && this.#tls.verify)) {
      this.#fail({
        stage: brokeOff ? "tls" : "certificate",
        error: error ?? new Error("the certificate was not accepted"),
      });
      return;
    }
    this.#standing();
  }

  socketConnectError(error: Error): void {
    this.#fail({ stage: "connect", error });
  }

  socketData(bytes: Buffer): void {
    if (this.#closed) return;
    // Bytes that nobody asked for: a 408, or the second half of a split response (RFC 9112 section 9.2).
    if (this.user === null) this.destroy();
    else this.user.onData(bytes);
  }

  socketDrain(): void {
    this.user?.onDrain();
  }

  socketEnd(error: Error | null): void {
    if (this.#closed) return;
    if (this.#opened !== null) {
      const closing = error ?? new Error("the connection was closed");
      this.#fail({ stage: this.#tls === null ? "connect" : "tls", error: closing });
      return;
    }
    const user = this.user;
    this.#close(error !== null);
    user?.onEnd(error);
  }

  #standing(): void {
    const opened = this.#opened;
    this.#opened = null;
    opened?.(null);
  }

  #fail(failure: ConnectFailure): void {
    const opened = this.#opened;
    this.destroy();
    opened?.(failure);
  }
}

/** The system's or the TLS library's code of an error; "" when it has none. */
export function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : "";
}

/** One set of callbacks for every connection; the socket's data says which. */
export const connectionHandlers: SocketHandler<Connection> = {
  open: (socket) => socket.data.socketOpen(socket),
  handshake: (socket, ok, error) => socket.data.socketHandshake(ok, error),
  data: (socket, bytes) => socket.data.socketData(bytes),
  drain: (socket) => socket.data.socketDrain(),
  end: (socket) => socket.data.socketEnd(null),
  close: (socket, error) => socket.data.socketEnd(error ?? null),
  error: (socket, error) => socket.data.socketEnd(error),
  connectError: (socket, error) => socket.data.socketConnectError(error),
};
