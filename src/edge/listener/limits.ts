/**
 * Every limit of a listener, with its name, unit and reason. Bun's own limits stand beside them: 16 KB
 * or about 200 fields of header section (431), 12 seconds for the first header section of a connection.
 */

/** Limits of a listener; the defaults are `defaultListenerLimits`. */
export interface ListenerLimits {
  /**
   * Seconds without progress after which the runtime closes a connection (1 to 255). It also bounds a
   * later request's header section on a kept connection, and asks for about 16 KB per such period of
   * a body that nobody reads. Requests that wait for an origin are exempt.
   */
  readonly idleSeconds: number;
  /** Time for a header section to come whole, from its first byte, in milliseconds; on clear text only, see above. */
  readonly requestHeadMs: number;
  /** Connections in clear text held at once. */
  readonly connectionsMax: number;
  /** Wait for the next piece of a request's body, in milliseconds. */
  readonly requestBodyIdleMs: number;
  /** A request's body may be slow for this long before its average rate counts, in milliseconds. */
  readonly requestBodyGraceMs: number;
  /** Lowest average rate of a request's body, counted over the time we waited for the viewer. */
  readonly requestBodyBytesPerSecondMin: number;
  /** How long a viewer may leave a piece of a streamed response untaken, in milliseconds. */
  readonly responseStallMs: number;
  /** Bytes of one HTTP/3 response that are gathered before it is sent. */
  readonly http3SpoolBytesMax: number;
  /** Bytes of all HTTP/3 responses being gathered. */
  readonly http3SpoolTotalBytesMax: number;
  /** Time to gather one HTTP/3 response, in milliseconds. */
  readonly http3SpoolMs: number;
  /** Time for requests in flight to end before the UDP socket is replaced, in milliseconds. */
  readonly http3DrainMs: number;
  /** From telling viewers that their connections end until idle ones are closed, in milliseconds. */
  readonly closeNoticeMs: number;
  /** Time for a PROXY protocol header to arrive, in milliseconds. */
  readonly proxyHeaderMs: number;
  /** Connections that a PROXY protocol relay holds at once. */
  readonly proxyConnectionsMax: number;
  /** WebSockets passed through at once. */
  readonly webSocketsMax: number;
  /** Largest WebSocket message, either way, in bytes (close code 1009). */
  readonly webSocketMessageBytesMax: number;
  /** Bytes waiting for a slow side of a WebSocket (close code 1013). */
  readonly webSocketQueueBytesMax: number;
  /** An origin that answers no ping for this long is gone, in milliseconds. */
  readonly webSocketPingMs: number;
}

/** The limits of production. */
export const defaultListenerLimits: ListenerLimits = {
  idleSeconds: 60,
  requestHeadMs: 12_000,
  connectionsMax: 65_536,
  requestBodyIdleMs: 30_000,
  requestBodyGraceMs: 20_000,
  requestBodyBytesPerSecondMin: 500,
  responseStallMs: 60_000,
  http3SpoolBytesMax: 8 * 1024 * 1024,
  http3SpoolTotalBytesMax: 128 * 1024 * 1024,
  http3SpoolMs: 10_000,
  http3DrainMs: 5_000,
  closeNoticeMs: 100,
  proxyHeaderMs: 5_000,
  proxyConnectionsMax: 16_384,
  webSocketsMax: 10_000,
  webSocketMessageBytesMax: 16 * 1024 * 1024,
  webSocketQueueBytesMax: 16 * 1024 * 1024,
  webSocketPingMs: 30_000,
};
