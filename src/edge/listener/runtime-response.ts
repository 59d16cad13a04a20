/**
 * A ViewerResponse as the runtime's Response. The costly part is the Headers object, so a response
 * that is served again keeps it: one set of Headers for the clear listener and one for TLS (where
 * Alt-Svc is added), rebuilt when Alt-Svc changed. The runtime copies Headers into each Response, so
 * sharing them is safe. What the runtime would do wrong is put right here: it invents Content-Type,
 * leaves out Date on HEAD, throws on statuses outside 200 to 599, and answers Range on files by itself.
 */
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import type { Fields } from "../../http/fields.ts";
import type { ViewerResponse } from "../message.ts";

/** A body that is complete when it is handed over. */
export type CompleteBody = Uint8Array | Blob;

/** The kept form of a response with a complete body. */
class PreparedResponse {
  readonly status: number;
  readonly body: Uint8Array<ArrayBuffer> | Blob | null;
  readonly dated: boolean;
  /** Bytes that go through a stream, because the runtime would invent a Content-Type for them. */
  readonly untyped: Uint8Array<ArrayBuffer> | null;
  readonly clear: Headers;
  tls: Headers | null = null;
  tlsAltSvc: string | null = null;

  constructor(response: ViewerResponse, body: CompleteBody | null) {
    this.status = response.status;
    this.clear = headersOf(response.fields);
    this.dated = this.clear.has("date");
    this.body = hasNoContent(response.status) ? null : plainBody(body);
    this.untyped = this.body instanceof Uint8Array && !this.clear.has("content-type") ? this.body : null;
    // RFC 9110 section 8.6: a 204 has no Content-Length.
    if (response.status === 204) this.clear.delete("content-length");
  }

  headers(altSvc: string | null): Headers {
    if (altSvc === null) return this.clear;
    if (this.tls === null || this.tlsAltSvc !== altSvc) {
      this.tls = new Headers(this.clear);
      // The pipeline's own word about this site wins.
      if (!this.tls.has("alt-svc")) this.tls.set("alt-svc", altSvc);
      this.tlsAltSvc = altSvc;
    }
    return this.tls;
  }
}

/** The runtime's Response for complete bytes or no body; kept in `response.prepared`. Throws on invalid fields. */
export function completeResponse(
  response: ViewerResponse,
  body: CompleteBody | null,
  altSvc: string | null,
  isHead: boolean,
  clock: Clock,
): Response {
  let prepared = response.prepared;
  if (!(prepared instanceof PreparedResponse)) {
    prepared = new PreparedResponse(response, body);
    response.prepared = prepared;
  }
  // The guard above leaves one type; the declared type of the slot is unknown on purpose.
  const kept = prepared as PreparedResponse;
  const headers = kept.headers(altSvc);
  const sent = isHead ? null : kept.body;
  if (sent !== null && kept.untyped === null) return new Response(sent, { status: kept.status, headers });
  if (!kept.dated) headers.set("date", new Date(clock.now()).toUTCString());
  if (sent !== null && kept.untyped !== null) {
    return new Response(untypedBody(kept.untyped), { status: kept.status, headers });
  }
  if (isHead && kept.body !== null && !headers.has("content-length")) {
    const own = new Headers(headers);
    own.set("content-length", String(sizeOf(kept.body)));
    return new Response(null, { status: kept.status, headers: own });
  }
  return new Response(null, { status: kept.status, headers });
}

/** The runtime's Response for a stream. Its length is not told: the end of the stream tells it. */
export function streamedResponse(
  response: ViewerResponse,
  stream: ReadableStream<Uint8Array>,
  altSvc: string | null,
): Response {
  const headers = headersOf(response.fields);
  headers.delete("content-length");
  if (altSvc !== null && !headers.has("alt-svc")) headers.set("alt-svc", altSvc);
  return new Response(stream, { status: response.status, headers });
}

/** A short answer of the listener itself. */
export function plainResponse(status: number, text: string, fields: Record<string, string> = {}): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", ...fields },
  });
}

/**
 * True for a Blob that the runtime would not send as it is, at the price of its length: it invents a
 * Content-Type where there is none, and answers Range on a file behind status 200 by itself.
 */
export function mustStream(response: ViewerResponse, body: Blob, request: Request): boolean {
  if (hasNoContent(response.status)) return false;
  if (!response.fields.has("content-type")) return true;
  const isFile = "name" in body && typeof body.name === "string";
  return isFile && response.status === 200 && request.headers.has("range");
}

/** Gives up the body of a response that is not sent. */
export function cancelBody(response: ViewerResponse): void {
  const { body } = response;
  if (body !== null && !(body instanceof Uint8Array) && !(body instanceof Blob)) body.cancel();
}

/** The error that tells the operator of a response that no viewer can be sent. */
export function unsendable(what: string): ProximaError {
  return new ProximaError("unsendable_response", `a response can not be sent: ${what}`, { source: "origin" });
}

/** True for statuses whose responses have no content (RFC 9110 section 6.4.1). */
export function hasNoContent(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}

/** True for statuses that the runtime can send as a final answer. */
export function isSendable(status: number): boolean {
  return Number.isInteger(status) && status >= 200 && status <= 599;
}

/** Fields of the connection, which the listener writes itself (RFC 9110 section 7.6.1). */
export const connectionFields: ReadonlySet<string> = new Set([
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "te",
]);

/** Throws a TypeError when a field can not be sent: a character above U+00FF, CR, LF or NUL. */
function headersOf(fields: Fields): Headers {
  const headers = new Headers();
  for (const [name, value] of fields.entries()) {
    if (connectionFields.has(name)) continue;
    // "close" is the one connection option that a pipeline may ask for.
    if (name === "connection" && value.toLowerCase() !== "close") continue;
    headers.append(name, value);
  }
  return headers;
}

function plainBody(body: CompleteBody | null): Uint8Array<ArrayBuffer> | Blob | null {
  // Response takes any byte array; the type asks for one that does not lie in shared memory.
  return body instanceof Uint8Array ? (body as Uint8Array<ArrayBuffer>) : body;
}

function untypedBody(body: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    start(controller) {
      if (body.byteLength > 0) controller.enqueue(body);
      controller.close();
    },
  });
}

function sizeOf(body: CompleteBody): number {
  return body instanceof Blob ? body.size : body.byteLength;
}
