/**
 * A next hop is where a node asks on a miss: an origin server, a directory, an origin group, and later a
 * shield. All of them answer this one interface, and some stand in front of another one.
 */
import { ProximaError } from "../base/errors.ts";
import type { BodyReader } from "../http/body.ts";
import type { Fields } from "../http/fields.ts";

/** Time limits of one exchange, in milliseconds. */
export interface UpstreamTimeouts {
  /** From the start until a connection (TLS included) stands. */
  readonly connectMs: number;
  /** From the request sent whole (or its body's last accepted piece) until the response's header section ends. */
  readonly firstByteMs: number;
  /** Between two pieces of the response's body. */
  readonly betweenBytesMs: number;
}

/** A request to a next hop, ready to be sent: hop-by-hop fields are gone, Host is `authority`. */
export interface UpstreamRequest {
  readonly method: string;
  /** Scheme the viewer used; an origin by URL has its own. */
  readonly scheme: "http" | "https";
  /** Value of the Host field. */
  readonly authority: string;
  /** Origin-form target: path and query as they are sent (RFC 9112 section 3.2.1). */
  readonly target: string;
  /** Fields without host, content-length, transfer-encoding and connection. */
  readonly fields: Fields;
  readonly body: BodyReader | null;
  /** Length of the body in bytes; null with a body means chunked. */
  readonly bodyLength: number | null;
  /** Ends the exchange when the asker no longer wants it. */
  readonly signal: AbortSignal | null;
}

/** How the end of a response's body was marked: "close" can not be told from a cut (RFC 9112 section 8). */
export type BodyFraming = "none" | "length" | "chunked" | "close";

/** A response of a next hop. Reading the body may reject with an UpstreamError. */
export interface UpstreamResponse {
  readonly status: number;
  /** As received, hop-by-hop fields removed, names in lower case; content-length kept when it was there. */
  readonly fields: Fields;
  readonly framing: BodyFraming;
  /** Length in bytes when the message tells it; null when unknown. For HEAD and 304 the body is null all the same. */
  readonly bodyLength: number | null;
  readonly body: BodyReader | null;
  /** When the request was sent and when the header section was complete (RFC 9111 section 4.2.3). */
  readonly requestTimeMs: number;
  readonly responseTimeMs: number;
  /** True when a kept-alive connection was used again. */
  readonly reused: boolean;
  /** Name of the member that answered for its group; absent when no group was asked. */
  readonly answeredBy?: string;
  /** For how long a shield that gave it takes it for fresh, in milliseconds: nobody else takes it for longer. */
  readonly freshMs?: number | null;
  /** Up to which entry of the fleet's log a shield that gave it answers for it; absent where that is not known. */
  readonly validSequence?: number;
}

/** What can go wrong between us and a next hop. Maps onto Proxy-Status error types (RFC 9209 section 2.3). */
export type UpstreamErrorCode =
  | "dns_error"
  | "destination_ip_prohibited"
  | "connection_refused"
  | "connection_timeout"
  | "connection_terminated"
  | "connection_limit_reached"
  | "tls_certificate_error"
  | "tls_protocol_error"
  | "http_response_timeout"
  | "http_response_incomplete"
  | "http_response_header_section_size"
  | "http_protocol_error"
  | "http_request_error"
  | "http_upgrade_failed"
  | "proxy_internal_error"
  | "proxy_loop_detected";

/** A failed exchange. `retryable` is true only when the next hop can not have acted on the request. */
export class UpstreamError extends ProximaError<UpstreamErrorCode> {
  constructor(
    code: UpstreamErrorCode,
    message: string,
    options: { retryable?: boolean; cause?: unknown } = {},
  ) {
    super(code, message, { source: "origin", ...options });
    this.name = "UpstreamError";
  }
}

/** Something that answers requests on a miss. */
export interface NextHop {
  /** Name for logs, Proxy-Status and metrics: the origin's name in the config. */
  readonly name: string;
  /** Sends the request. Rejects with an UpstreamError when no complete header section came. */
  fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse>;
  /** Lets exchanges in flight end, then closes idle connections. */
  close(): void;
}
