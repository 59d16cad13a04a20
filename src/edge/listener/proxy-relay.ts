/**
 * No server here reads a PROXY protocol header by itself, so a relay does: it listens on the public
 * port, reads the header, and passes the connection on to a server on loopback (passage.ts).
 *
 * A connection: header -> passed -> closed.
 */

import type { Socket, TCPSocketListener } from "bun";
import { ChurnMap } from "../../base/churn-map.ts";
import { ChurnSet } from "../../base/churn-set.ts";
import type { Clock } from "../../base/clock.ts";
import type { ListenerLimits } from "./limits.ts";
import { Passage } from "./passage.ts";
import type { ListenAddress } from "./ports.ts";
import { parseProxyHeader, proxyHeaderBytesMax } from "./proxy-protocol.ts";

/** A relayed connection. */
class Relayed {
  readonly viewer: Socket<Relayed | null>;
  readonly stopTimer: () => void;
  /** The header while it is incomplete. */
  header: Uint8Array = new Uint8Array(0);
  passage: Passage | null = null;

  constructor(viewer: Socket<Relayed | null>, stopTimer: () => void) {
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
  readonly #listener: TCPSocketListener<Relayed | null>;
  readonly #connections = new ChurnSet<Relayed>();
  readonly #addresses = new ChurnMap<number, string>();

  /** Throws the runtime's error when the port can not be bound. */
  constructor(options: ProxyRelayOptions) {
    this.#options = options;
    this.#listener = Bun.listen<Relayed | null>({
      ...options.listen,
      // The runtime takes it, its declared type leaves it out.
      ...{ reusePort: options.reusePort ?? false },
      socket: {
        open: (socket) => this.#opened(socket),
        data: ({ data: relayed }, bytes) => {
          if (relayed?.passage != null) relayed.passage.fromViewer(bytes);
          else if (relayed != null) this.#fromViewer(relayed, bytes);
        },
        drain: ({ data: relayed }) => relayed?.passage?.viewerDrained(),
        close: ({ data: relayed }) => {
          if (relayed != null) this.#drop(relayed);
        },
        error: ({ data: relayed }) => {
          if (relayed != null) this.#drop(relayed);
        },
      },
    });
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
    for (const relayed of this.#connections.list()) this.#drop(relayed);
  }

  #opened(socket: Socket<Relayed | null>): void {
    const { limits, allowPeer, clock } = this.#options;
    if (this.#connections.size >= limits.proxyConnectionsMax || !allowPeer(socket.remoteAddress)) {
      socket.terminate();
      return;
    }
    const stopTimer = clock.after(limits.proxyHeaderMs, () => this.#drop(relayed));
    const relayed = new Relayed(socket, stopTimer);
    socket.data = relayed;
    this.#connections.add(relayed);
  }

  #fromViewer(relayed: Relayed, bytes: Uint8Array): void {
    relayed.header = Buffer.concat([relayed.header, bytes]);
    // One read of the socket may hold more than a header; more than its limit without one is refused.
    const verdict = parseProxyHeader(relayed.header);
    switch (verdict.kind) {
      case "more":
        if (relayed.header.byteLength > proxyHeaderBytesMax) this.#drop(relayed);
        return;
      case "bad":
        this.#drop(relayed);
        return;
      case "header":
        relayed.stopTimer();
        relayed.passage = new Passage(relayed.viewer, {
          port: this.#options.target(),
          address: verdict.address ?? relayed.viewer.remoteAddress,
          first: relayed.header.slice(verdict.length),
          addresses: this.#addresses,
          onError: this.#options.onError,
          onOver: () => this.#drop(relayed),
        });
    }
  }

  #drop(relayed: Relayed): void {
    if (!this.#connections.delete(relayed)) return;
    relayed.stopTimer();
    if (relayed.passage === null) relayed.viewer.terminate();
    else relayed.passage.drop();
  }
}
