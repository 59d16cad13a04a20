/**
 * A viewer's connection passed on to the runtime's server on loopback: bytes both ways. The server sees
 * us as its peer; our local port leads back to the viewer's true address. A side that can not take bytes
 * pauses the other one, so that at most one piece waits in each direction.
 *
 * States: connecting -> passing -> over.
 */

import type { Socket } from "bun";
import type { ChurnMap } from "../../base/churn-map.ts";

/** The part of a viewer's socket that a passage needs. */
export interface PassedSocket {
  write(bytes: Uint8Array): number;
  pause(): unknown;
  resume(): unknown;
  end(): unknown;
  terminate(): void;
}

/** What a passage needs besides its viewer. */
export interface PassageOptions {
  /** Port of the runtime's server on 127.0.0.1. */
  readonly port: number;
  /** Who the viewer is. */
  readonly address: string;
  /** Read of the viewer already. */
  readonly first: Uint8Array;
  /** Viewers' addresses by the local port of their passages, while these stand. */
  readonly addresses: ChurnMap<number, string>;
  /** The server could not be connected to. */
  onError(error: unknown): void;
  /** Called once, when the passage is over. */
  onOver(): void;
}

/** One connection passed on. The owner of the viewer's socket tells it of the socket's events. */
export class Passage {
  readonly #viewer: PassedSocket;
  readonly #options: PassageOptions;
  #server: Socket<undefined> | null = null;
  #toServer: Uint8Array;
  #toViewer: Uint8Array = new Uint8Array(0);
  #localPort = 0;
  #serverEnded = false;
  #over = false;

  /** Begins to connect; the viewer is paused meanwhile. */
  constructor(viewer: PassedSocket, options: PassageOptions) {
    this.#viewer = viewer;
    this.#options = options;
    this.#toServer = options.first;
    viewer.pause();
    void this.#connect();
  }

  /** Bytes of the viewer. */
  fromViewer(bytes: Uint8Array): void {
    this.#toServer = appended(this.#toServer, bytes);
    this.#flushToServer();
  }

  /** The viewer takes bytes again. */
  viewerDrained(): void {
    this.#toViewer = written(this.#viewer, this.#toViewer);
    if (this.#toViewer.byteLength > 0) return;
    if (this.#serverEnded) this.#viewer.end();
    else this.#server?.resume();
  }

  /** The viewer's connection is closed. */
  viewerClosed(): void {
    this.drop();
  }

  /** Closes both sides at once. */
  drop(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.#serverEnded) this.#options.addresses.delete(this.#localPort);
    this.#viewer.terminate();
    this.#server?.terminate();
    this.#options.onOver();
  }

  async #connect(): Promise<void> {
    const { port, addresses, address } = this.#options;
    try {
      await Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: {
          open: (server) => {
            if (this.#over) {
              server.terminate();
              return;
            }
            this.#server = server;
            this.#localPort = server.localPort;
            // Known before the first byte is sent, and so before the server can ask.
            addresses.set(server.localPort, address);
            this.#flushToServer();
          },
          data: (_, bytes) => this.#fromServer(bytes),
          drain: () => this.#flushToServer(),
          close: () => this.#serverClosed(),
          error: () => this.drop(),
          connectError: (_, error) => this.#failed(error),
        },
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (!this.#over) this.#options.onError(error);
    this.drop();
  }

  #flushToServer(): void {
    const server = this.#server;
    if (server === null || this.#over) return;
    this.#toServer = written(server, this.#toServer);
    if (this.#toServer.byteLength > 0) this.#viewer.pause();
    else this.#viewer.resume();
  }

  #fromServer(bytes: Uint8Array): void {
    this.#toViewer = written(this.#viewer, appended(this.#toViewer, bytes));
    if (this.#toViewer.byteLength > 0) this.#server?.pause();
  }

  /** The server is done: the viewer still gets what waits for it. */
  #serverClosed(): void {
    if (this.#over) return;
    this.#serverEnded = true;
    this.#options.addresses.delete(this.#localPort);
    if (this.#toViewer.byteLength === 0) this.#viewer.end();
  }
}

function appended(waiting: Uint8Array, bytes: Uint8Array): Uint8Array {
  if (waiting.byteLength === 0) return bytes;
  const joined = new Uint8Array(waiting.byteLength + bytes.byteLength);
  joined.set(waiting);
  joined.set(bytes, waiting.byteLength);
  return joined;
}

/** Writes what the socket takes and returns a copy of the rest (the runtime may reuse its read buffer). */
function written(socket: { write(bytes: Uint8Array): number }, bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === 0) return bytes;
  const count = socket.write(bytes);
  return bytes.slice(Math.max(0, count));
}
