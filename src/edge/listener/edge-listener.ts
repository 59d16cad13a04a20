/**
 * The edge's listening sockets. One runtime server per kind, because a request does not tell its
 * protocol: clear text (HTTP/1.1, and HTTP/2 with prior knowledge), TLS over TCP (HTTP/1.1, HTTP/2) and
 * QUIC (HTTP/3) on the same port number. The TCP one with TLS shares its port with its successor
 * (reusePort), so that a new certificate starts beside the old; the UDP one never does, because live
 * connections would move and hang: it is withdrawn, drained, closed and bound again.
 *
 * States: open -> draining -> closed.
 */
import { ChurnSet } from "../../base/churn-set.ts";
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import type { Refusal, RequestHandler } from "../message.ts";
import type { TlsMaterial } from "../tls/material.ts";
import { AltSvc } from "./alt-svc.ts";
import { type AnswerContext, answer, type RuntimeServer } from "./answer.ts";
import { Http3Spool } from "./http3-body.ts";
import { defaultListenerLimits, type ListenerLimits } from "./limits.ts";
import { freePort, type ListenAddress, listenError } from "./ports.ts";
import { ProxyRelay } from "./proxy-relay.ts";
import { RawListener } from "./raw/raw-listener.ts";
import { plainResponse } from "./runtime-response.ts";
import type { TunnelData } from "./websocket-tunnel.ts";

/** What to listen on, and with what. */
export interface ListenerOptions {
  readonly http: ListenAddress | null;
  readonly https: ListenAddress | null;
  /** HTTP/3 on the port number of `https`; not together with `proxyProtocol`. */
  readonly http3: boolean;
  /** Every connection starts with a PROXY protocol header, version 1 or 2. */
  readonly proxyProtocol: boolean;
  /** With `proxyProtocol`: who may connect and be believed, by address. Left out: anyone. */
  readonly proxyPeer?: (address: string) => boolean;
  readonly tls: TlsMaterial | null;
  readonly handler: RequestHandler;
  /** Whether HTTP/3 may be advertised now; asked for every answer over TLS. */
  altSvc(): boolean;
  readonly requestBodyBytesMax: number;
  /** Largest header section of a request in clear text, in bytes; elsewhere the runtime's limit and the pipeline's hold. */
  readonly requestHeaderBytesMax?: number;
  readonly clock: Clock;
  onError(error: unknown): void;
  /** Told of what was refused in clear text without the handler. */
  readonly onRefused?: (refusal: Refusal) => void;
  readonly limits?: Partial<ListenerLimits>;
  /**
   * Set in each of several processes that listen on the same TCP ports: the ports are known to be free of
   * others. `http3Port` is the UDP port that one of them holds, to be advertised by all; null when there is none.
   */
  readonly shared?: { readonly http3Port: number | null };
}

/** What the listeners hold now. */
export interface ConnectionCounts {
  /** Requests being answered. */
  readonly requests: number;
  readonly webSockets: number;
  /** Connections through the PROXY protocol relays. */
  readonly relayed: number;
}

/** The listening sockets of an edge. */
export interface EdgeListeners {
  readonly httpAddress: ListenAddress | null;
  readonly httpsAddress: ListenAddress | null;
  readonly http3Active: boolean;
  /** New connections get these certificates; accepted requests end on the old ones. */
  replaceTls(tls: TlsMaterial): Promise<void>;
  /** Tells browsers to leave HTTP/3, with every answer from now on. */
  withdrawAltSvc(): void;
  /** Accepts no more, lets accepted requests end for at most `deadlineMs`, then closes everything. */
  drain(deadlineMs: number): Promise<void>;
  /** Closes everything at once. */
  stop(): void;
  connections(): ConnectionCounts;
}

/** Binds every socket, or none. Rejects with a ProximaError whose message is one sentence. */
export async function startListeners(options: ListenerOptions): Promise<EdgeListeners> {
  if (options.https !== null && options.tls === null) {
    throw new ProximaError("tls_missing", "listening on HTTPS needs a certificate", { source: "node" });
  }
  const listeners = new Listeners(options);
  try {
    await listeners.start();
  } catch (error) {
    listeners.stop();
    throw error;
  }
  return listeners;
}

/** How long a UDP port that was just closed may stay taken, in tries of `rebindWaitMs`. */
const rebindTriesMax = 20;
const rebindWaitMs = 50;
/** How often a drain looks whether HTTP/3 requests have ended. */
const drainPollMs = 20;

/** Largest header section of a request where the caller names none: what the runtime takes on the other sockets. */
const REQUEST_HEADER_BYTES_MAX = 16 * 1024;

/** Who is behind a connection from a port of ours. */
interface AddressBook {
  addressOf(port: number): string | null;
}

class Listeners implements EdgeListeners {
  readonly #options: ListenerOptions;
  readonly #limits: ListenerLimits;
  readonly #altSvc: AltSvc;
  readonly #shared: Pick<
    AnswerContext,
    "handler" | "spool" | "tunnels" | "connecting" | "onError" | "limits" | "clock" | "requestBodyBytesMax"
  >;
  #raw: RawListener | null = null;
  /** What the raw listener passes on, made when it is first needed. */
  #clear: RuntimeServer | null = null;
  #secure: RuntimeServer | null = null;
  /** Predecessors of `#secure` whose last requests are ending. */
  readonly #retired = new Set<RuntimeServer>();
  readonly #contexts = new WeakMap<RuntimeServer, AnswerContext>();
  #quic: RuntimeServer | null = null;
  #clearRelay: ProxyRelay | null = null;
  #secureRelay: ProxyRelay | null = null;
  #httpAddress: ListenAddress | null = null;
  #httpsAddress: ListenAddress | null = null;
  /** Certificate changes happen one after another. */
  #replacing: Promise<void> = Promise.resolve();
  #state: "open" | "draining" | "closed" = "open";

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#limits = { ...defaultListenerLimits, ...options.limits };
    this.#altSvc = new AltSvc(() => options.altSvc());
    this.#shared = {
      handler: options.handler,
      spool: new Http3Spool(this.#limits, options.clock),
      tunnels: new ChurnSet(),
      connecting: { count: 0 },
      onError: (error) => options.onError(error),
      limits: this.#limits,
      clock: options.clock,
      requestBodyBytesMax: options.requestBodyBytesMax,
    };
  }

  get httpAddress(): ListenAddress | null {
    return this.#httpAddress;
  }

  get httpsAddress(): ListenAddress | null {
    return this.#httpsAddress;
  }

  get http3Active(): boolean {
    return this.#quic !== null;
  }

  async start(): Promise<void> {
    const { http, https, tls, proxyProtocol } = this.#options;
    const http3 = this.#options.http3 && !proxyProtocol;
    if (http !== null) {
      const hostname = http.hostname;
      const port = this.#options.shared === undefined ? await freePort(http, false) : http.port;
      if (proxyProtocol) {
        this.#raw = this.#listenRaw({ hostname: "127.0.0.1", port: 0 });
        this.#clearRelay = this.#relay({ hostname, port }, () => this.#raw);
      } else this.#raw = this.#listenRaw({ hostname, port });
      this.#httpAddress = { hostname, port };
    }
    if (https !== null && tls !== null) {
      const hostname = https.hostname;
      const port = this.#options.shared === undefined ? await freePort(https, http3) : https.port;
      if (proxyProtocol) {
        this.#secure = this.#serveSecure({ hostname: "127.0.0.1", port: 0 }, tls);
        this.#secureRelay = this.#relay({ hostname, port }, () => this.#secure);
      } else this.#secure = this.#serveSecure({ hostname, port }, tls);
      this.#httpsAddress = { hostname, port };
      if (http3) {
        if (this.#options.shared === undefined) this.#quic = this.#serveQuic({ hostname, port }, tls);
        else await this.#bindQuic({ hostname, port }, tls);
        this.#altSvc.activate(port);
      } else if (this.#options.shared?.http3Port != null)
        this.#altSvc.activate(this.#options.shared.http3Port);
    }
  }

  replaceTls(tls: TlsMaterial): Promise<void> {
    const replaced = this.#replacing.then(() => this.#replace(tls));
    // The caller sees the failure; the next change must not.
    this.#replacing = replaced.catch(() => {});
    return replaced;
  }

  async #replace(tls: TlsMaterial): Promise<void> {
    const address = this.#httpsAddress;
    const old = this.#secure;
    if (this.#state !== "open" || address === null || old === null) return;
    const listen = this.#secureRelay === null ? address : { hostname: "127.0.0.1", port: 0 };
    this.#secure = this.#serveSecure(listen, tls);
    this.#retired.add(old);
    await this.#announceEnd(old);
    // From here on new connections get the new certificates only.
    void old.stop().finally(() => this.#retired.delete(old));
    if (this.#quic !== null) await this.#replaceQuic(address, tls);
  }

  async #replaceQuic(address: ListenAddress, tls: TlsMaterial): Promise<void> {
    this.#altSvc.withdraw();
    const old = this.#quic;
    if (old !== null) {
      await this.#untilIdle(old, this.#limits.http3DrainMs);
      await old.stop(true);
    }
    this.#quic = null;
    await this.#bindQuic(address, tls);
    if (this.#quic !== null) this.#altSvc.activate(address.port);
  }

  /** Binds a UDP port that was just let go, by this process or by one that died. */
  async #bindQuic(address: ListenAddress, tls: TlsMaterial): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      if (this.#state !== "open") return;
      try {
        this.#quic = this.#serveQuic(address, tls);
        return;
      } catch (error) {
        if (attempt >= rebindTriesMax) throw error;
        await Bun.sleep(rebindWaitMs);
      }
    }
  }

  withdrawAltSvc(): void {
    this.#altSvc.withdraw();
  }

  async drain(deadlineMs: number): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "draining";
    this.#altSvc.withdraw();
    this.#clearRelay?.stopAccepting();
    this.#secureRelay?.stopAccepting();
    for (const tunnel of this.#shared.tunnels.list()) tunnel.closeBoth(1001, "going away");
    const quic = this.#quic;
    const ended = Promise.all([
      this.#drainRaw(),
      ...this.#tcpServers().map(async (server) => {
        await this.#announceEnd(server);
        await server.stop();
      }),
      // Stopping it would leave later requests on a connection without an answer: it is closed when idle.
      quic === null ? null : this.#untilIdle(quic, deadlineMs),
    ]);
    const late = Promise.withResolvers<void>();
    const stopTimer = this.#options.clock.after(deadlineMs, late.resolve);
    await Promise.race([ended, late.promise]);
    stopTimer();
    this.stop();
  }

  stop(): void {
    this.#state = "closed";
    for (const tunnel of this.#shared.tunnels.list()) tunnel.terminate();
    this.#raw?.stop();
    for (const server of this.#tcpServers()) void server.stop(true);
    void this.#quic?.stop(true);
    this.#clearRelay?.stop();
    this.#secureRelay?.stop();
    this.#quic = null;
  }

  connections(): ConnectionCounts {
    const servers = [...this.#tcpServers(), ...(this.#quic === null ? [] : [this.#quic])];
    return {
      requests: servers.reduce((sum, server) => sum + server.pendingRequests, this.#raw?.requests ?? 0),
      webSockets: this.#shared.tunnels.size,
      relayed: (this.#clearRelay?.connections ?? 0) + (this.#secureRelay?.connections ?? 0),
    };
  }

  #tcpServers(): RuntimeServer[] {
    return [this.#clear, this.#secure, ...this.#retired].filter((server) => server !== null);
  }

  async #untilIdle(server: RuntimeServer, deadlineMs: number): Promise<void> {
    const endMs = performance.now() + deadlineMs;
    while (server.pendingRequests > 0 && performance.now() < endMs) await Bun.sleep(drainPollMs);
  }

  /**
   * Lets connections that are in use end by themselves before a server is stopped: the runtime closes
   * idle ones at once then, and a request that is just arriving on one would be lost.
   */
  async #announceEnd(server: RuntimeServer): Promise<void> {
    const context = this.#contexts.get(server);
    if (context !== undefined) context.closing = true;
    await Bun.sleep(this.#limits.closeNoticeMs);
  }

  async #drainRaw(): Promise<void> {
    if (this.#raw === null) return;
    this.#raw.announceEnd();
    await Bun.sleep(this.#limits.closeNoticeMs);
    await this.#raw.close();
  }

  #listenRaw(listen: ListenAddress): RawListener {
    const { options, shared } = { options: this.#options, shared: this.#shared };
    try {
      return new RawListener({
        listen,
        reusePort: this.#shares(listen),
        handler: shared.handler,
        requestHeaderBytesMax: options.requestHeaderBytesMax ?? REQUEST_HEADER_BYTES_MAX,
        requestBodyBytesMax: shared.requestBodyBytesMax,
        limits: this.#limits,
        clock: shared.clock,
        ...(options.proxyProtocol && {
          relayed: (port: number) => this.#clearRelay?.addressOf(port) ?? null,
        }),
        passTo: () => {
          this.#clear ??= this.#serveClear();
          return this.#clear.port ?? 0;
        },
        onError: shared.onError,
        onRefused: (refusal) => options.onRefused?.(refusal),
      });
    } catch (error) {
      throw listenError(error, listen, "tcp");
    }
  }

  /** For what the raw listener passes on: HTTP/2 with prior knowledge, WebSockets. */
  #serveClear(): RuntimeServer {
    const relay = { addressOf: (port: number) => this.#raw?.addressOf(port) ?? null };
    return this.#serve(
      { hostname: "127.0.0.1", port: 0 },
      "tcp",
      { http2: true },
      this.#context("http", false, () => relay),
    );
  }

  #serveSecure(address: ListenAddress, tls: TlsMaterial): RuntimeServer {
    const relay = this.#options.proxyProtocol ? () => this.#secureRelay : null;
    const kind = { http2: true, reusePort: !this.#options.proxyProtocol, tls: runtimeTls(tls) };
    return this.#serve(address, "tcp", kind, this.#context("https", false, relay));
  }

  /** Does another process of the node listen on the same port? Behind a relay each has a port of its own. */
  #shares(address: ListenAddress): boolean {
    return this.#options.shared !== undefined && address.port !== 0;
  }

  #serveQuic(address: ListenAddress, tls: TlsMaterial): RuntimeServer {
    const kind = { http1: false, http2: false, http3: true, tls: runtimeTls(tls) };
    return this.#serve(address, "udp", kind, this.#context("https", true, null));
  }

  #context(
    scheme: "http" | "https",
    http3: boolean,
    relay: (() => AddressBook | null) | null,
  ): AnswerContext {
    return {
      ...this.#shared,
      scheme,
      http3,
      closing: false,
      altSvc: scheme === "https" ? this.#altSvc : null,
      relayed: relay === null ? null : { addressOf: (port) => relay()?.addressOf(port) ?? null },
    };
  }

  #serve(
    address: ListenAddress,
    transport: "tcp" | "udp",
    kind: Pick<
      Bun.Serve.HostnamePortServeOptions<TunnelData>,
      "http1" | "http2" | "http3" | "reusePort" | "tls"
    >,
    context: AnswerContext,
  ): RuntimeServer {
    const limits = this.#limits;
    try {
      const server = Bun.serve<TunnelData>({
        ...address,
        ...kind,
        development: false,
        idleTimeout: limits.idleSeconds,
        // Ours is enforced while the body is read, with an answer of ours.
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
        fetch: (request, server) => answer(request, server, context),
        error(error) {
          context.onError(error);
          return plainResponse(500, "Internal error.");
        },
        websocket: {
          maxPayloadLength: limits.webSocketMessageBytesMax,
          backpressureLimit: limits.webSocketQueueBytesMax,
          perMessageDeflate: false,
          open: (socket) => socket.data.tunnel.viewerOpened(socket),
          message: (socket, message) => socket.data.tunnel.fromViewer(message),
          close: (socket, code, reason) => socket.data.tunnel.viewerClosed(code, reason),
          error: (error) => context.onError(error),
        },
      });
      this.#contexts.set(server, context);
      return server;
    } catch (error) {
      throw listenError(error, address, transport);
    }
  }

  #relay(listen: ListenAddress, server: () => { readonly port?: number | undefined } | null): ProxyRelay {
    try {
      return new ProxyRelay({
        listen,
        reusePort: this.#options.shared !== undefined,
        target: () => server()?.port ?? 0,
        allowPeer: this.#options.proxyPeer ?? (() => true),
        limits: this.#limits,
        clock: this.#options.clock,
        onError: this.#shared.onError,
      });
    } catch (error) {
      throw listenError(error, listen, "tcp");
    }
  }
}

/** The runtime counts TLS versions as the wire does: 3.3 is 1.2, 3.4 is 1.3. */
const wireVersion = { "1.2": 0x0303, "1.3": 0x0304 } as const;

/** The declared type leaves out `minVersion`, which the runtime takes (as a number) and keeps to. */
type RuntimeTls = Bun.TLSOptions & { readonly minVersion: number };

function runtimeTls(tls: TlsMaterial): RuntimeTls[] {
  const minVersion = wireVersion[tls.minVersion];
  return [
    { cert: tls.default.cert, key: tls.default.key, minVersion },
    ...tls.named.map(({ serverName, cert, key }) => ({ serverName, cert, key, minVersion })),
  ];
}
