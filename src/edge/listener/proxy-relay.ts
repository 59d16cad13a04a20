/**
 * The runtime's server can not read a PROXY protocol header, so a relay does: it listens on the public
 * port, reads the header, connects to the server on loopback and passes bytes both ways. The server
 * sees the relay as its peer; the relay's local port leads back to the viewer's true address.
 *
 * A connection: header -> connecting -> passing -> closed. A side that can not take bytes pauses the
 * other one, so that at most one piece waits in each direction.
 */
import type { Socket, TCPSocketListener } from "bun";
import type { Clock } from "../../base/clock.ts";
import type { ListenerLimits } from "./limits.ts";
import type { ListenAddress } from "./ports.ts";
import { parseProxyHeader, proxyHeaderBytesMax } from "./proxy-protocol.ts";

/** One half of a relayed connection: bytes come in on `socket` and go out on the other half's. */
interface Half {
  readonly relayed: Relayed;
  readonly side: "viewer" | "server";
}

/** A relayed connection. */
class Relayed {
  readonly viewer: Socket<Half | null>;
  readonly stopTimer: () => void;
  server: Socket<Half> | null = null;
  /** Bytes for the server that wait: the header while it is incomplete, then what could not be written. */
  toServer: Uint8Array = new Uint8Array(0);
  toViewer: Uint8Array = new Uint8Array(0);
  headerDone = false;
  address: string | null = null;
  localPort = 0;
  viewerEnded = false;
  serverEnded = false;

  constructor(viewer: Socket<Half | null>, stopTimer: () => void) {
    this.viewer = viewer;
    this.stopTimer = stopTimer;
  }
}

/** What a relay needs. */
export interface ProxyRelayOptions {
  readonly listen: ListenAddress;
  /** True when other processes of the node listen on the same port. */
  readonly reusePort?: boolean;
  /** Port on 127.0.0.1 that new connections go to; asked for each of them. */
  target(): number;
  /** Who may say where a connection comes from; others are closed at once. */
  readonly allowPeer: (address: string) => boolean;
  readonly limits: ListenerLimits;
  readonly clock: Clock;
  onError(error: unknown): void;
}

/** Listens for connections with a PROXY protocol header. */
export class ProxyRelay {
  readonly #options: ProxyRelayOptions;
  readonly #listener: TCPSocketListener<Half | null>;
  readonly #connections = new Set<Relayed>();
  readonly #addresses = new Map<number, string>();

  /** Throws the runtime's error when the port can not be bound. */
  constructor(options: ProxyRelayOptions) {
    this.#options = options;
    this.#listener = Bun.listen<Half | null>({
      ...options.listen,
      // The runtime takes it, its declared type leaves it out.
      ...{ reusePort: options.reusePort ?? false },
      socket: {
        open: (socket) => this.#opened(socket),
        data: (socket, bytes) => {
          const relayed = socket.data?.relayed;
          if (relayed !== undefined) this.#fromViewer(relayed, bytes);
        },
        drain: (socket) => {
          const relayed = socket.data?.relayed;
          if (relayed !== undefined) this.#viewerDrained(relayed);
        },
        close: (socket) => {
          const relayed = socket.data?.relayed;
          if (relayed !== undefined) this.#drop(relayed);
        },
        error: (socket) => {
          const relayed = socket.data?.relayed;
          if (relayed !== undefined) this.#drop(relayed);
        },
      },
    });
  }

  /** Where the relay listens. */
  get address(): ListenAddress {
    return { hostname: this.#options.listen.hostname, port: this.#listener.port };
  }

  /** Connections held now. */
  get connections(): number {
    return this.#connections.size;
  }

  /** The viewer behind a connection of ours, null when the connection is not the relay's. */
  addressOf(relayPort: number): string | null {
    return this.#addresses.get(relayPort) ?? null;
  }

  /** Accepts no more connections; those that stand go on. */
  stopAccepting(): void {
    this.#listener.stop(false);
  }

  /** Closes everything. */
  stop(): void {
    this.#listener.stop(true);
    for (const relayed of this.#connections) this.#drop(relayed);
  }

  #opened(socket: Socket<Half | null>): void {
    const { limits, allowPeer } = this.#options;
    if (this.#connections.size >= limits.proxyConnectionsMax || !allowPeer(socket.remoteAddress)) {
      socket.terminate();
      return;
    }
    const stopTimer = this.#options.clock.after(this.#options.limits.proxyHeaderMs, () => {
      if (relayed.server === null) this.#drop(relayed);
    });
    const relayed = new Relayed(socket, stopTimer);
    socket.data = { relayed, side: "viewer" };
    this.#connections.add(relayed);
  }

  #fromViewer(relayed: Relayed, bytes: Uint8Array): void {
    relayed.toServer = appended(relayed.toServer, bytes);
    if (relayed.headerDone) {
      this.#flushToServer(relayed);
      return;
    }
    // One read of the socket may hold more than a header; more than its limit without one is refused.
    const verdict = parseProxyHeader(relayed.toServer);
    switch (verdict.kind) {
      case "more":
        relayed.toServer = relayed.toServer.slice();
        if (relayed.toServer.byteLength > proxyHeaderBytesMax) this.#drop(relayed);
        return;
      case "bad":
        this.#drop(relayed);
        return;
      case "header":
        relayed.headerDone = true;
        relayed.address = verdict.address ?? relayed.viewer.remoteAddress;
        relayed.toServer = relayed.toServer.slice(verdict.length);
        relayed.viewer.pause();
        void this.#connect(relayed);
    }
  }

  async #connect(relayed: Relayed): Promise<void> {
    try {
      await Bun.connect<Half>({
        hostname: "127.0.0.1",
        port: this.#options.target(),
        data: { relayed, side: "server" },
        socket: {
          open: (server) => {
            if (!this.#connections.has(relayed)) {
              server.terminate();
              return;
            }
            relayed.stopTimer();
            relayed.server = server;
            relayed.localPort = server.localPort;
            // Known before the first byte is sent, and so before the server can ask.
            this.#addresses.set(server.localPort, relayed.address ?? "");
            this.#flushToServer(relayed);
          },
          data: (_, bytes) => this.#fromServer(relayed, bytes),
          drain: () => this.#flushToServer(relayed),
          close: () => this.#serverClosed(relayed),
          error: () => this.#drop(relayed),
          connectError: (_, error) => {
            this.#options.onError(error);
            this.#drop(relayed);
          },
        },
      });
    } catch (error) {
      this.#options.onError(error);
      this.#drop(relayed);
    }
  }

  #flushToServer(relayed: Relayed): void {
    const { server } = relayed;
    if (server === null) return;
    relayed.toServer = written(server, relayed.toServer);
    if (relayed.toServer.byteLength > 0) relayed.viewer.pause();
    else relayed.viewer.resume();
  }

  #fromServer(relayed: Relayed, bytes: Uint8Array): void {
    relayed.toViewer = written(relayed.viewer, appended(relayed.toViewer, bytes));
    if (relayed.toViewer.byteLength > 0) relayed.server?.pause();
  }

  #viewerDrained(relayed: Relayed): void {
    relayed.toViewer = written(relayed.viewer, relayed.toViewer);
    if (relayed.toViewer.byteLength > 0) return;
    if (relayed.serverEnded) {
      relayed.viewer.end();
      return;
    }
    relayed.server?.resume();
  }

  /** The server is done: the viewer still gets what waits for it. */
  #serverClosed(relayed: Relayed): void {
    relayed.serverEnded = true;
    this.#addresses.delete(relayed.localPort);
    if (relayed.toViewer.byteLength === 0) relayed.viewer.end();
  }

  #drop(relayed: Relayed): void {
    if (!this.#connections.delete(relayed)) return;
    relayed.stopTimer();
    if (!relayed.serverEnded) this.#addresses.delete(relayed.localPort);
    relayed.viewer.terminate();
    relayed.server?.terminate();
  }
}

function appended(waiting: Uint8Array, bytes: Uint8Array): Uint8Array {
  if (waiting.byteLength === 0) return bytes;
  const joined = new Uint8Array(waiting.byteLength + bytes.byteLength);
  joined.set(waiting);
  joined.set(bytes, waiting.byteLength);
  return joined;
}

/** Writes what the socket takes and returns a copy of the rest (the runtime reuses its read buffer). */
function written(socket: Socket<Half | null> | Socket<Half>, bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === 0) return bytes;
  const count = socket.write(bytes);
  return bytes.slice(Math.max(0, count));
}
