/**
 * A WebSocket passed through: two legs, the viewer's and the origin's, each with its own framing and
 * pings. The origin is connected first, so that the viewer's handshake is answered with what the origin
 * chose. After that messages go both ways, text as text and binary as binary, and a close of one leg
 * closes the other with the same code. Neither leg can be paused, so a side that takes nothing is
 * given up once the queue's limit is reached (1013).
 *
 * States: connecting -> joined -> closed.
 */
import { isIP } from "node:net";
import type { ServerWebSocket } from "bun";
import type { Clock } from "../../base/clock.ts";
import { ADDRESSES_TRIED_MAX } from "../../upstream/http1/limits.ts";
import { lookupAddresses } from "../../upstream/http1/resolver.ts";
import { UpstreamError } from "../../upstream/next-hop.ts";
import type { UpgradeResponse } from "../message.ts";
import type { ListenerLimits } from "./limits.ts";

/** Close codes (RFC 6455 section 7.4.1 and the IANA registry). */
const closeCodes = {
  goingAway: 1001,
  noStatus: 1005,
  abnormal: 1006,
  tooBig: 1009,
  tryAgainLater: 1013,
  badGateway: 1014,
} as const;

/** What the runtime keeps with a viewer's WebSocket. */
export interface TunnelData {
  readonly tunnel: WebSocketTunnel;
}

type Message = string | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** One WebSocket passed through; made by `connectTunnel`. */
export class WebSocketTunnel {
  readonly #origin: WebSocket;
  readonly #limits: ListenerLimits;
  readonly #clock: Clock;
  readonly #onClosed: () => void;
  #viewer: ServerWebSocket<TunnelData> | null = null;
  /** What the origin sent before the viewer's leg was open. */
  #early: Message[] = [];
  #earlyBytes = 0;
  #originAnswers = true;
  #stopPing: () => void = () => {};
  #closed = false;

  constructor(origin: WebSocket, limits: ListenerLimits, clock: Clock, onClosed: () => void) {
    this.#origin = origin;
    this.#limits = limits;
    this.#clock = clock;
    this.#onClosed = onClosed;
    origin.addEventListener("message", (event) => this.#fromOrigin(event.data));
    origin.addEventListener("close", (event) => this.#originClosed(event.code, event.reason));
    origin.addEventListener("pong", () => {
      this.#originAnswers = true;
    });
    this.#ping();
  }

  /** Subprotocol that the origin chose; empty when none. */
  get protocol(): string {
    return this.#origin.protocol;
  }

  /** The viewer's leg is open: hands over what the origin sent meanwhile. */
  viewerOpened(viewer: ServerWebSocket<TunnelData>): void {
    if (this.#closed) {
      viewer.close(closeCodes.badGateway, "origin closed");
      return;
    }
    this.#viewer = viewer;
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.#toViewer(viewer, message);
  }

  /** A message of the viewer. */
  fromViewer(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.#closed) return;
    if (this.#origin.bufferedAmount + message.length > this.#limits.webSocketQueueBytesMax) {
      this.closeBoth(closeCodes.tryAgainLater, "origin too slow");
      return;
    }
    this.#origin.send(message);
  }

  /** The viewer's leg is closed. */
  viewerClosed(code: number, reason: string): void {
    this.#viewer = null;
    this.#end();
    closeLeg(this.#origin, code, reason);
  }

  /** Closes both legs with a code of ours, e.g. 1001 when the node drains. */
  closeBoth(code: number, reason: string): void {
    const viewer = this.#viewer;
    this.#viewer = null;
    this.#end();
    viewer?.close(code, reason);
    closeLeg(this.#origin, code, reason);
  }

  /** Gives up both legs without a word. */
  terminate(): void {
    const viewer = this.#viewer;
    this.#viewer = null;
    this.#end();
    viewer?.terminate();
    this.#origin.terminate();
  }

  #fromOrigin(data: Message): void {
    if (this.#closed) return;
    const viewer = this.#viewer;
    const bytes = typeof data === "string" ? data.length : data.byteLength;
    if (bytes > this.#limits.webSocketMessageBytesMax) {
      this.closeBoth(closeCodes.tooBig, "message too big");
      return;
    }
    if (viewer !== null) {
      this.#toViewer(viewer, data);
      return;
    }
    this.#earlyBytes += bytes;
    if (this.#earlyBytes > this.#limits.webSocketQueueBytesMax) {
      this.closeBoth(closeCodes.tryAgainLater, "viewer too slow");
    } else {
      this.#early.push(data);
    }
  }

  #toViewer(viewer: ServerWebSocket<TunnelData>, message: Message): void {
    // Zero means dropped: over the limit, or the connection is gone. A gap must not go unnoticed.
    const sent = viewer.send(message);
    const bytes = typeof message === "string" ? message.length : message.byteLength;
    if (sent === 0 && bytes > 0) this.closeBoth(closeCodes.tryAgainLater, "viewer too slow");
  }

  #originClosed(code: number, reason: string): void {
    if (this.#closed) return;
    const viewer = this.#viewer;
    this.#viewer = null;
    this.#end();
    if (viewer === null) return;
    if (code === closeCodes.noStatus) viewer.close();
    else if (code === closeCodes.abnormal) viewer.close(closeCodes.badGateway, "origin gone");
    else viewer.close(code, reason);
  }

  /** The viewer's leg is pinged by the runtime; the origin's by us, so that a silent end is noticed. */
  #ping(): void {
    this.#stopPing = this.#clock.after(this.#limits.webSocketPingMs, () => {
      if (this.#closed) return;
      if (!this.#originAnswers) {
        this.#viewer?.close(closeCodes.badGateway, "origin gone");
        this.#viewer = null;
        this.terminate();
        return;
      }
      this.#originAnswers = false;
      this.#origin.ping();
      this.#ping();
    });
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#early = [];
    this.#stopPing();
    this.#onClosed();
  }
}

/** What `connectTunnel` needs. */
export interface TunnelOptions {
  readonly limits: ListenerLimits;
  readonly clock: Clock;
  /** Fires when the viewer has gone. */
  readonly signal: AbortSignal;
  onClosed(): void;
}

/**
 * Connects to the origin, to a resolved address that the node allows. Rejects with an UpstreamError when
 * there is none, or when the handshake does not succeed in time with any of them.
 */
export async function connectTunnel(
  upgrade: UpgradeResponse,
  options: TunnelOptions,
): Promise<WebSocketTunnel> {
  const ways = await permittedWays(upgrade, options.clock);
  for (const way of ways.slice(0, -1)) {
    try {
      return await handshake(way, options);
    } catch (error) {
      if (options.signal.aborted) throw error;
    }
  }
  return await handshake(ways.at(-1) ?? upgrade, options);
}

/** The upgrade at each address of its host that may be connected to: a name is resolved once, so that it can not change in between. */
async function permittedWays(upgrade: UpgradeResponse, clock: Clock): Promise<UpgradeResponse[]> {
  const { allowAddress } = upgrade;
  if (allowAddress === undefined) return [upgrade];
  const url = new URL(upgrade.url);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const addresses = isIP(host) > 0 ? [host] : await addressesOf(host, upgrade.connectTimeoutMs, clock);
  const allowed = addresses.filter(allowAddress).slice(0, ADDRESSES_TRIED_MAX);
  if (allowed.length === 0) {
    throw new UpstreamError(
      "destination_ip_prohibited",
      `${host} has no address that this node may connect to`,
    );
  }
  return allowed.map((address) => {
    url.hostname = address.includes(":") ? `[${address}]` : address;
    const serverName = upgrade.tls.serverName ?? (isIP(host) > 0 ? undefined : host);
    const tls = { ...upgrade.tls, ...(serverName === undefined ? {} : { serverName }) };
    return { ...upgrade, url: url.href, tls };
  });
}

async function addressesOf(host: string, waitMs: number, clock: Clock): Promise<string[]> {
  const late = Promise.withResolvers<never>();
  const stopTimer = clock.after(waitMs, () => late.reject(new Error(`no answer in ${waitMs} ms`)));
  try {
    return await Promise.race([lookupAddresses(host), late.promise]);
  } catch (cause) {
    throw new UpstreamError("dns_error", `the name ${host} could not be resolved to an address`, {
      retryable: true,
      cause,
    });
  } finally {
    stopTimer();
  }
}

function handshake(upgrade: UpgradeResponse, options: TunnelOptions): Promise<WebSocketTunnel> {
  return new Promise((resolve, reject) => {
    const origin = openSocket(upgrade);
    let settled = false;
    const settle = (run: () => void) => {
      if (settled) return;
      settled = true;
      stopTimer();
      options.signal.removeEventListener("abort", viewerGone);
      run();
    };
    const fail = (error: UpstreamError) =>
      settle(() => {
        origin.terminate();
        reject(error);
      });
    const viewerGone = () =>
      fail(new UpstreamError("connection_terminated", "the viewer left before the WebSocket was open"));
    const stopTimer = options.clock.after(upgrade.connectTimeoutMs, () =>
      fail(
        new UpstreamError(
          "connection_timeout",
          `the origin did not complete the WebSocket handshake in ${upgrade.connectTimeoutMs} ms`,
          { retryable: true },
        ),
      ),
    );
    options.signal.addEventListener("abort", viewerGone);
    origin.addEventListener("open", () =>
      settle(() => resolve(new WebSocketTunnel(origin, options.limits, options.clock, options.onClosed))),
    );
    origin.addEventListener("error", (event) =>
      fail(new UpstreamError("http_upgrade_failed", `the origin refused the WebSocket: ${textOf(event)}`)),
    );
    origin.addEventListener("close", () =>
      fail(new UpstreamError("http_upgrade_failed", "the origin closed the WebSocket before it was open")),
    );
    if (options.signal.aborted) viewerGone();
  });
}

function openSocket(upgrade: UpgradeResponse): WebSocket {
  const { ca, serverName, verify } = upgrade.tls;
  const socket = new WebSocket(upgrade.url, {
    headers: [...upgrade.fields.entries()],
    protocols: [...upgrade.protocols],
    perMessageDeflate: false,
    ...(upgrade.url.startsWith("wss:") && {
      tls: {
        rejectUnauthorized: verify,
        ...(ca !== undefined && { ca }),
        ...(serverName !== undefined && { serverName }),
      },
    }),
  });
  socket.binaryType = "arraybuffer";
  return socket;
}

function textOf(event: Event): string {
  return "message" in event && typeof event.message === "string" ? event.message : "unknown error";
}

/** Closes the origin's leg with the code of the viewer's; codes that may not be sent become their kin. */
function closeLeg(origin: WebSocket, code: number, reason: string): void {
  if (code === closeCodes.noStatus) origin.close();
  else if (code === closeCodes.abnormal) origin.close(closeCodes.goingAway, "viewer gone");
  else if (code === 1000 || (code > 1000 && code < 1015 && code !== 1004) || (code >= 3000 && code < 5000)) {
    origin.close(code, reason);
  } else origin.close(closeCodes.goingAway, "");
}
