/**
 * The runtime's Request seen as a ViewerRequest. One small object per request; everything but its
 * three references is asked of the runtime when, and only when, the pipeline asks, and once.
 */
import type { Clock } from "../../base/clock.ts";
import type { BodyReader } from "../../http/body.ts";
import type { FieldReader } from "../../http/fields.ts";
import type { ViewerRequest } from "../message.ts";
import type { ListenerLimits } from "./limits.ts";
import { ViewerBody } from "./request-body.ts";

/** The part of a runtime server that a request needs. */
export interface RequestSource {
  requestIP(request: Request): { address: string; port: number } | null;
}

/** What the requests of one listening socket have in common. */
export interface RequestContext {
  readonly scheme: "http" | "https";
  readonly http3: boolean;
  readonly requestBodyBytesMax: number;
  readonly limits: ListenerLimits;
  readonly clock: Clock;
  /** The true peer behind a PROXY protocol relay by the relay's port; null when there is no relay. */
  readonly relayed: { addressOf(relayPort: number): string | null } | null;
}

/** A ViewerRequest over Bun's Request. */
export class RuntimeRequest implements ViewerRequest {
  readonly #request: Request;
  readonly #source: RequestSource;
  readonly #context: RequestContext;
  readonly method: string;
  #fields: Headers | null = null;
  #peerAddress: string | null = null;
  #body: BodyReader | null | undefined = undefined;

  constructor(request: Request, source: RequestSource, context: RequestContext) {
    this.#request = request;
    this.#source = source;
    this.#context = context;
    this.method = request.method;
  }

  get scheme(): "http" | "https" {
    return this.#context.scheme;
  }

  get http3(): boolean {
    return this.#context.http3;
  }

  get url(): string {
    return this.#request.url;
  }

  get fields(): FieldReader {
    this.#fields ??= this.#request.headers;
    return this.#fields;
  }

  /** Address of the peer; empty when the viewer left before it was first asked for. */
  get peerAddress(): string {
    this.#peerAddress ??= peerAddressOf(this.#request, this.#source, this.#context) ?? "";
    return this.#peerAddress;
  }

  get signal(): AbortSignal {
    return this.#request.signal;
  }

  body(): BodyReader | null {
    if (this.#body !== undefined) return this.#body;
    const stream = this.#request.body;
    if (stream === null) {
      this.#body = null;
      return null;
    }
    const declared = this.fields.get("content-length");
    this.#body = new ViewerBody(sourceOf(stream), {
      declaredBytes: declared === null ? null : Number(declared),
      bytesMax: this.#context.requestBodyBytesMax,
      limits: this.#context.limits,
      clock: this.#context.clock,
    });
    return this.#body;
  }
}

/** The peer's address without an IPv4-mapped prefix (RFC 4291 section 2.5.5.2), null when it is not known. */
export function peerAddressOf(
  request: Request,
  source: RequestSource,
  context: RequestContext,
): string | null {
  const peer = source.requestIP(request);
  if (peer === null) return null;
  const address = context.relayed === null ? peer.address : context.relayed.addressOf(peer.port);
  return address?.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

/** The part of the runtime's reader that is used; the two declarations of it do not agree. */
interface PieceReader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

function sourceOf(stream: ReadableStream<Uint8Array>): BodyReader {
  let reader: PieceReader | null = null;
  return {
    async read() {
      reader ??= stream.getReader();
      const { done, value } = await reader.read();
      return done ? null : (value ?? null);
    },
    cancel() {
      const given = reader === null ? stream.cancel() : reader.cancel();
      // A body that is already broken has nothing more to give up.
      given.catch(() => {});
    },
  };
}
