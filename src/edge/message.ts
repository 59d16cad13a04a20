/**
 * The pipeline's own request and response. The runtime's Request and Response stay in the
 * listeners, so that another listener can stand beside the first.
 */
import type { NotStoredReason } from "../cache/freshness.ts";
import type { BodyReader } from "../http/body.ts";
import type { FieldReader, Fields } from "../http/fields.ts";

/** How every request ends; the same words in X-Cache, Cache-Status, log, metrics and explain. */
export type CacheResult = "hit" | "miss" | "expired" | "stale" | "updating" | "revalidated" | "bypass";

/** Why it ended so: a closed list, the same words everywhere. */
export type CacheReason =
  | NotStoredReason
  | "fresh"
  | "not-stored"
  | "vary-mismatch"
  | "partly-stored"
  | "past-freshness"
  | "not-modified"
  | "stale-while-revalidate"
  | "stale-if-error"
  | "origin-degraded"
  | "origin-slow"
  | "log-behind"
  | "response-too-large"
  | "response-self-redirect"
  | "request-method"
  | "request-body"
  | "request-condition"
  | "request-connection"
  | "request-range"
  | "request-upgrade"
  | "only-if-cached"
  | "behavior-no-cache"
  | "behavior-bypass"
  | "development-mode"
  | "answered-at-edge"
  | "bad-request"
  | "no-site"
  | "origin-error";

/** A request as a listener hands it to the pipeline. Getters may be lazy: ask only for what is needed. */
export interface ViewerRequest {
  readonly method: string;
  /** The scheme of the connection, before trusted proxies are asked. */
  readonly scheme: "http" | "https";
  /** True over QUIC, where only complete bodies may be sent (docs/decisions). */
  readonly http3: boolean;
  /** Absolute URL as the listener saw it: `scheme://authority/path?query`; may be malformed. */
  readonly url: string;
  /** Its path and query, where the listener has them apart from the rest. */
  readonly target?: string | undefined;
  /** Fields of the request; names in lower case. */
  readonly fields: FieldReader;
  /** Address of the peer: the viewer, or a trusted proxy in front of us. */
  readonly peerAddress: string;
  /** The request's body; null when there is none. Reading starts when first read. */
  body(): BodyReader | null;
  /** Fires when the viewer has gone. */
  readonly signal: AbortSignal;
}

/** A body to send: nothing, complete bytes, a complete file slice or Blob, or a stream. */
export type ViewerBody = null | Uint8Array | Blob | BodyReader;

/** The pipeline's answer to a viewer. */
export interface ViewerResponse {
  readonly status: number;
  /** Everything that is sent, content-length included when known. */
  readonly fields: Fields;
  /** Null for HEAD, 204 and 304: content-length in `fields` may still tell the length. */
  readonly body: ViewerBody;
  /** Of which Blob `body` is a part, and which: for a listener that has the bytes of the whole at hand. */
  readonly partOf?: { readonly blob: Blob; readonly start: number; readonly size: number } | undefined;
  /** How `fields` came about: those of a response without a body that is served again, and these behind them. */
  readonly derived?: {
    readonly from: ViewerResponse;
    readonly fields: readonly (readonly [name: string, value: string])[];
  };
  /** A listener's own form of this response, kept so that a hit served again costs less. */
  prepared?: unknown;
}

/** The pipeline asks the listener to turn the connection into a WebSocket and to pass it on. */
export interface UpgradeResponse {
  readonly kind: "upgrade";
  /** `ws:` or `wss:` URL of the origin. */
  readonly url: string;
  /** Fields for the origin's handshake, those of the handshake itself taken out. */
  readonly fields: Fields;
  /** Offered subprotocols, in order. */
  readonly protocols: readonly string[];
  readonly tls: { readonly ca?: string; readonly serverName?: string; readonly verify: boolean };
  readonly connectTimeoutMs: number;
  /** May this resolved address be connected to? Left out: any. */
  readonly allowAddress?: (address: string) => boolean;
  /** Answer to give when the origin refuses the handshake. */
  refused(error: unknown): ViewerResponse;
}

/** What a listener refused before it was a request, or before it was whole. */
export interface Refusal {
  readonly status: number;
  /** Why, in one sentence that repeats nothing of what the viewer sent. */
  readonly message: string;
  readonly peerAddress: string;
  /** Body bytes of the answer. */
  readonly bytes: number;
}

/** What a listener calls for each request. Synchronous for a plain hit. Never throws or rejects. */
export type RequestHandler = (
  request: ViewerRequest,
) => ViewerResponse | UpgradeResponse | Promise<ViewerResponse | UpgradeResponse>;
