/**
 * Opens connections to one origin: name to addresses, each address checked against what the node
 * allows, then TCP and TLS. The check is on the address that is connected to, so that a name which
 * changes its mind between check and use gains nothing.
 */
import { isIP } from "node:net";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { UpstreamError, type UpstreamErrorCode } from "../next-hop.ts";
import { type ConnectFailure, Connection, codeOf, connectionHandlers } from "./connection.ts";
import { ADDRESSES_TRIED_MAX } from "./limits.ts";
import { type Lookup, Resolver } from "./resolver.ts";

/** How an origin's certificate is checked. */
export interface DialTls {
  /** PEM of the only authorities to trust; null for the well-known ones. */
  readonly ca: string | null;
  /** The name for SNI and for the certificate. */
  readonly serverName: string;
  readonly verify: boolean;
}

/** Where to connect to. */
export interface DialTarget {
  /** Name of the origin in the config, for errors. */
  readonly name: string;
  /** Host name or IP address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** Path of a unix socket that is used in place of host and port; null for TCP. */
  readonly unix: string | null;
  readonly tls: DialTls | null;
  readonly allowAddress: (address: string) => boolean;
}

/** Gets the connection, or why there is none. Called once, unless the dial was given up. */
export type Dialed = (result: Connection | UpstreamError) => void;

/** Opens connections to one target. */
export class Dialer {
  readonly #target: DialTarget;
  readonly #clock: Clock;
  readonly #resolver: Resolver;
  readonly #onSettled: () => void;
  #lingering = 0;

  /** `onSettled` runs when an attempt that was given up has ended in the system. */
  constructor(target: DialTarget, clock: Clock, lookup: Lookup, onSettled: () => void) {
    this.#target = target;
    this.#clock = clock;
    this.#resolver = new Resolver(target.host, clock, lookup);
    this.#onSettled = onSettled;
  }

  /** Attempts that were given up but that the system can not take back; they count as connections. */
  get lingering(): number {
    return this.#lingering;
  }

  /** Opens a connection within some `limitMs` (the caller gives up by itself). Returns how to give up. */
  dial(limitMs: number, done: Dialed): () => void {
    const dial = new Dial(this.#target, this.#clock, limitMs, done, {
      connected: (address) => this.#resolver.prefer(address),
      lingers: () => this.#lingering++,
      settled: () => {
        this.#lingering--;
        this.#onSettled();
      },
    });
    if (this.#target.unix !== null) {
      dial.tryUnix(this.#target.unix);
    } else if (isIP(this.#target.host) !== 0) {
      dial.tryAddresses([this.#target.host]);
    } else {
      const found = this.#resolver.resolve();
      if ("then" in found) {
        found.then(
          (addresses) => dial.tryAddresses(addresses),
          (error: unknown) =>
            dial.fail(error instanceof UpstreamError ? error : internal(this.#target.name, error)),
        );
      } else {
        dial.tryAddresses(found);
      }
    }
    return () => dial.giveUp();
  }
}

interface DialWatch {
  connected(address: string): void;
  lingers(): void;
  settled(): void;
}

/** One connection being opened: addresses one after the other. */
class Dial {
  readonly #target: DialTarget;
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #watch: DialWatch;
  #done: Dialed | null;
  #connection: Connection | null = null;
  #cancelTimer: (() => void) | null = null;

  constructor(target: DialTarget, clock: Clock, limitMs: number, done: Dialed, watch: DialWatch) {
    this.#target = target;
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#done = done;
    this.#watch = watch;
  }

  tryUnix(path: string): void {
    this.#attempt(path, []);
  }

  tryAddresses(addresses: readonly string[]): void {
    const allowed = addresses.filter(this.#target.allowAddress).slice(0, ADDRESSES_TRIED_MAX);
    const [first, ...others] = allowed;
    if (first === undefined) {
      this.fail(
        new UpstreamError(
          "destination_ip_prohibited",
          `origin ${this.#target.name} (${this.#target.host}) has no address that this node may connect to: ${addresses.join(", ")}`,
        ),
      );
      return;
    }
    this.#attempt(first, others);
  }

  giveUp(): void {
    this.#done = null;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#connection?.destroy();
    this.#connection = null;
  }

  fail(error: UpstreamError): void {
    const done = this.#done;
    this.giveUp();
    done?.(error);
  }

  #attempt(address: string, others: readonly string[]): void {
    // Given up while the name was being resolved.
    if (this.#done === null) return;
    const { name, unix, port, tls } = this.#target;
    const shown = unix ?? (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);
    const connection: Connection = new Connection({
      name,
      address: shown,
      clock: this.#clock,
      tls,
      opened: (failure) => this.#opened(connection, address, failure, others),
    });
    this.#connection = connection;
    if (others.length > 0) {
      const shareMs = Math.ceil(this.#limitMs / (others.length + 1));
      this.#cancelTimer = this.#clock.after(shareMs, () => {
        this.#cancelTimer = null;
        connection.destroy();
        this.#next(others);
      });
    }
    let lingers = false;
    let settled = false;
    connection.onClosed = () => {
      if (settled) return;
      lingers = true;
      this.#watch.lingers();
    };
    const onSettled = () => {
      settled = true;
      if (lingers) this.#watch.settled();
    };
    try {
      const common = {
        socket: connectionHandlers,
        data: connection,
        ...(tls === null ? {} : { tls: tlsOptions(tls) }),
      };
      const attempt =
        unix === null
          ? Bun.connect<Connection>({ ...common, hostname: address, port })
          : Bun.connect<Connection>({ ...common, unix });
      attempt.then(onSettled, onSettled);
    } catch (error) {
      // Options that can not be used at all, such as an authority that is no certificate.
      onSettled();
      const what = `origin ${this.#target.name} (${shown}) can not be connected to: ${messageOf(error)}`;
      this.fail(
        new UpstreamError(tls === null ? "proxy_internal_error" : "tls_certificate_error", what, {
          cause: error,
        }),
      );
    }
  }

  #opened(
    connection: Connection,
    address: string,
    failure: ConnectFailure | null,
    others: readonly string[],
  ): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    if (failure === null) {
      const done = this.#done;
      this.#done = null;
      this.#watch.connected(address);
      connection.onClosed = null;
      done?.(connection);
    } else if (others.length > 0 && failure.stage !== "certificate") {
      this.#next(others);
    } else {
      this.fail(this.#errorOf(connection.address, failure));
    }
  }

  #next([address, ...others]: readonly string[]): void {
    if (address !== undefined) this.#attempt(address, others);
  }

  #errorOf(address: string, { stage, error }: ConnectFailure): UpstreamError {
    const who = `origin ${this.#target.name} (${address})`;
    const options = { retryable: true, cause: error };
    switch (stage) {
      case "certificate": {
        const name = this.#target.tls?.serverName;
        const what = `${who} has no valid certificate for ${name}: ${error.message}`;
        return new UpstreamError("tls_certificate_error", what, options);
      }
      case "tls":
        return new UpstreamError(
          "tls_protocol_error",
          `the TLS handshake with ${who} failed: ${error.message}`,
          options,
        );
      case "connect": {
        const [code, what] = connectError(codeOf(error));
        return new UpstreamError(code, `${who} ${what}`, options);
      }
    }
  }
}

/** The server name of an address literal is left out (RFC 6066 section 3); the address itself is then checked. */
function tlsOptions(tls: DialTls): { ca?: string; serverName?: string; rejectUnauthorized: boolean } {
  return {
    ...(tls.ca === null ? {} : { ca: tls.ca }),
    ...(isIP(tls.serverName) === 0 ? { serverName: tls.serverName } : {}),
    rejectUnauthorized: tls.verify,
  };
}

function connectError(code: string): [UpstreamErrorCode, string] {
  switch (code) {
    case "ECONNREFUSED":
      return ["connection_refused", "refused the connection"];
    case "ETIMEDOUT":
      return ["connection_timeout", "did not accept the connection in time"];
    case "ECONNRESET":
      return ["connection_terminated", "closed the connection while it was being opened"];
    case "EMFILE":
    case "ENFILE":
      return ["proxy_internal_error", "can not be connected to: this node has no file descriptors left"];
    default:
      return ["connection_refused", `can not be connected to (${code === "" ? "unknown error" : code})`];
  }
}

function internal(name: string, error: unknown): UpstreamError {
  return new UpstreamError("proxy_internal_error", `origin ${name}: ${messageOf(error)}`, { cause: error });
}
