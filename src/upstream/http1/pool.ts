/**
 * The connections to one origin. A request takes the connection that was idle for the shortest time,
 * or opens one, or, at the limit, waits its turn; both the connections and those who wait have limits.
 * A connection is being opened, lent, idle or closed, and counts until it is closed.
 */
import { ChurnSet } from "../../base/churn-set.ts";
import type { Clock } from "../../base/clock.ts";
import { UpstreamError } from "../next-hop.ts";
import { Connection } from "./connection.ts";
import { Dialer, type DialTarget } from "./dialer.ts";
import { IDLE_CONNECTIONS_MAX, KEEP_ALIVE_MARGIN_MS, WAITING_REQUESTS_MAX } from "./limits.ts";
import type { Lookup } from "./resolver.ts";

/** A request that wants a connection. Exactly one of its callbacks is called, unless it withdraws. */
export interface Borrower {
  /** True when only a connection that was not idle will do: the last one was found dead. */
  readonly fresh: boolean;
  /** How long the borrower will wait for a connection to be opened, in milliseconds. */
  readonly connectMs: number;
  onConnection(connection: Connection, reused: boolean): void;
  onNoConnection(error: UpstreamError): void;
}

/** Counts of a pool, for metrics. */
export interface PoolStats {
  /** Connections of any state: being opened, in use, idle. */
  readonly open: number;
  readonly idle: number;
  readonly waiting: number;
  /** Connections opened, or tried to, since the start. */
  readonly connects: number;
  /** Requests that got a used connection, since the start. */
  readonly reused: number;
}

/** A pool of connections to one origin. */
export class Pool {
  readonly #target: DialTarget;
  readonly #clock: Clock;
  readonly #dialer: Dialer;
  readonly #connectionsMax: number;
  readonly #keepAliveMs: number;
  /** Oldest first. */
  #idle: Connection[] = [];
  readonly #waiting = new ChurnSet<Borrower>();
  /** How to give up the dials that are under way. */
  readonly #dials = new WeakMap<Borrower, () => void>();
  #open = 0;
  #connects = 0;
  #reused = 0;
  #closed = false;
  #cancelSweep: (() => void) | null = null;

  constructor(options: {
    readonly target: DialTarget;
    readonly clock: Clock;
    readonly lookup: Lookup;
    readonly connectionsMax: number;
    readonly keepAliveMs: number;
  }) {
    this.#target = options.target;
    this.#clock = options.clock;
    this.#connectionsMax = options.connectionsMax;
    this.#keepAliveMs = options.keepAliveMs;
    this.#dialer = new Dialer(options.target, options.clock, options.lookup, () => this.#serveWaiting());
  }

  stats(): PoolStats {
    return {
      open: this.#open,
      idle: this.#idle.length,
      waiting: this.#waiting.size,
      connects: this.#connects,
      reused: this.#reused,
    };
  }

  /** Lends a connection: at once when one is idle. */
  borrow(borrower: Borrower): void {
    if (!borrower.fresh) {
      const connection = this.#takeIdle();
      if (connection !== null) {
        this.#reused++;
        borrower.onConnection(connection, true);
        return;
      }
    }
    if (this.#hasRoom()) {
      this.#connect(borrower);
    } else if (this.#waiting.size < WAITING_REQUESTS_MAX) {
      this.#waiting.add(borrower);
      // A fresh connection is wanted while idle ones fill the pool.
      this.#idle.shift()?.close();
    } else {
      borrower.onNoConnection(
        new UpstreamError(
          "http_request_error",
          `origin ${this.#target.name}: all ${this.#connectionsMax} connections are in use and ${WAITING_REQUESTS_MAX} requests wait`,
          { retryable: true },
        ),
      );
    }
  }

  /** The borrower no longer wants a connection. True when it was waiting for its turn, not for the origin. */
  withdraw(borrower: Borrower): boolean {
    if (this.#waiting.delete(borrower)) return true;
    const giveUp = this.#dials.get(borrower);
    if (giveUp === undefined) return false;
    this.#dials.delete(borrower);
    giveUp();
    this.#closedOne();
    return false;
  }

  /** Gives a connection back that can be used again; `keepAliveMs` is the origin's own limit. */
  giveBack(connection: Connection, keepAliveMs: number | null): void {
    if (connection.closed) return;
    const next = this.#waiting.first;
    if (next !== undefined) {
      this.#waiting.delete(next);
      this.#reused++;
      next.onConnection(connection, true);
      return;
    }
    const idleMs = Math.min(
      this.#keepAliveMs,
      keepAliveMs === null ? Number.POSITIVE_INFINITY : keepAliveMs - KEEP_ALIVE_MARGIN_MS,
    );
    if (this.#closed || idleMs <= 0) {
      connection.close();
      return;
    }
    if (this.#idle.length >= IDLE_CONNECTIONS_MAX) this.#idle.shift()?.close();
    connection.expiresAtMs = this.#clock.now() + idleMs;
    this.#idle.push(connection);
    this.#cancelSweep ??= this.#clock.after(idleMs, () => this.#sweep());
  }

  /** Closes what is idle, and the rest as it is given back. */
  close(): void {
    this.#closed = true;
    this.#cancelSweep?.();
    this.#cancelSweep = null;
    const idle = this.#idle;
    this.#idle = [];
    for (const connection of idle) connection.close();
  }

  #hasRoom(): boolean {
    return this.#open + this.#dialer.lingering < this.#connectionsMax;
  }

  #takeIdle(): Connection | null {
    const nowMs = this.#clock.now();
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.expiresAtMs > nowMs) return connection;
      connection.close();
    }
    return null;
  }

  #connect(borrower: Borrower): void {
    this.#open++;
    this.#connects++;
    let settled = false;
    const giveUp = this.#dialer.dial(borrower.connectMs, (result) => {
      settled = true;
      this.#dials.delete(borrower);
      if (result instanceof Connection) {
        result.onClosed = () => {
          this.#forget(result);
          this.#closedOne();
        };
        borrower.onConnection(result, false);
      } else {
        this.#closedOne();
        borrower.onNoConnection(result);
      }
    });
    // A dial may fail before it returns: an address that is not allowed.
    if (!settled) this.#dials.set(borrower, giveUp);
  }

  #forget(connection: Connection): void {
    const at = this.#idle.lastIndexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  #closedOne(): void {
    this.#open--;
    this.#serveWaiting();
  }

  #serveWaiting(): void {
    for (let next = this.#waiting.first; next !== undefined && this.#hasRoom(); next = this.#waiting.first) {
      this.#waiting.delete(next);
      this.#connect(next);
    }
  }

  /** Closes what was idle for too long, and comes back when the next one is due. */
  #sweep(): void {
    this.#cancelSweep = null;
    const nowMs = this.#clock.now();
    const old = this.#idle.filter((connection) => connection.expiresAtMs <= nowMs);
    for (const connection of old) connection.close();
    if (this.#idle.length === 0) return;
    const dueMs = Math.min(...this.#idle.map((connection) => connection.expiresAtMs));
    this.#cancelSweep = this.#clock.after(dueMs - nowMs, () => this.#sweep());
  }
}
