/**
 * An origin server by URL: the last next hop. It is a pool of HTTP/1.1 connections with the URL's own
 * host, port, scheme and path prefix; the Host field is the request's, so that an origin can serve
 * many sites.
 */
import type { Clock } from "../base/clock.ts";
import { type ExchangeContext, exchange } from "./http1/exchange.ts";
import { CONNECTIONS_MAX, KEEP_ALIVE_MS } from "./http1/limits.ts";
import { Pool, type PoolStats } from "./http1/pool.ts";
import { type Lookup, lookupAddresses } from "./http1/resolver.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "./next-hop.ts";

/** How to reach an origin server. */
export interface HttpOriginOptions {
  /** Name in the config: for errors, logs and metrics. */
  readonly name: string;
  /** `http://` or `https://`; a path is put before every target. No query, no credentials. */
  readonly url: string;
  readonly clock: Clock;
  readonly tls?: {
    /** PEM of the authorities to trust in place of the well-known ones. */
    readonly ca?: string;
    /** Name for SNI and the certificate; default the URL's host. */
    readonly serverName?: string;
    /** False accepts any certificate. Default true. */
    readonly verify?: boolean;
  };
  /** How long an idle connection is kept, in milliseconds. Default 60 s. */
  readonly keepAliveMs?: number;
  /** Connections at once, of any state. Default 1024. */
  readonly connectionsMax?: number;
  /** Asked for every resolved address before connecting to it. Default: any. */
  readonly allowAddress?: (address: string) => boolean;
  /** Path of a unix socket to connect to in place of the URL's host and port. */
  readonly unix?: string;
  /** Resolver for the URL's host; default the system's. */
  readonly lookup?: Lookup;
}

/** Counts of an origin's connections and requests, for metrics. */
export interface OriginStats extends PoolStats {
  /** Requests since the start. */
  readonly requests: number;
}

/** An origin server that is asked over HTTP/1.1. */
export class HttpOrigin implements NextHop {
  readonly name: string;
  readonly #pool: Pool;
  readonly #context: ExchangeContext;
  #requests = 0;
  #closed = false;

  /** Throws an UpstreamError (http_request_error) when the URL is not one of an origin. */
  constructor(options: HttpOriginOptions) {
    this.name = options.name;
    const url = parseOriginUrl(options.name, options.url);
    const isTls = url.protocol === "https:";
    const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
    this.#pool = new Pool({
      target: {
        name: options.name,
        host,
        port: url.port === "" ? (isTls ? 443 : 80) : Number(url.port),
        unix: options.unix ?? null,
        tls: isTls
          ? {
              ca: options.tls?.ca ?? null,
              serverName: options.tls?.serverName ?? host,
              verify: options.tls?.verify ?? true,
            }
          : null,
        allowAddress: options.allowAddress ?? (() => true),
      },
      clock: options.clock,
      lookup: options.lookup ?? lookupAddresses,
      connectionsMax: options.connectionsMax ?? CONNECTIONS_MAX,
      keepAliveMs: options.keepAliveMs ?? KEEP_ALIVE_MS,
    });
    this.#context = {
      name: options.name,
      place: options.unix ?? url.host,
      pathPrefix: url.pathname.replace(/\/+$/, ""),
      clock: options.clock,
      pool: this.#pool,
    };
  }

  /** A request body that was not read when this rejects is left alone: another next hop may be asked. */
  fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    if (this.#closed) {
      const error = new UpstreamError("http_request_error", `origin ${this.name} is closed`, {
        retryable: true,
      });
      return Promise.reject(error);
    }
    this.#requests++;
    return exchange(this.#context, request, timeouts);
  }

  stats(): OriginStats {
    return { ...this.#pool.stats(), requests: this.#requests };
  }

  close(): void {
    this.#closed = true;
    this.#pool.close();
  }
}

function parseOriginUrl(name: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isOrigin =
    url !== null &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === "";
  if (!isOrigin) {
    const hasSecret = url !== null && (url.username !== "" || url.password !== "");
    throw new UpstreamError(
      "http_request_error",
      `the URL of origin ${name} must be http:// or https:// with a host, without credentials, query or fragment: ${hasSecret ? "it has credentials" : JSON.stringify(text)}`,
    );
  }
  return url;
}
