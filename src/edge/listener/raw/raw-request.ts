/** A parsed head seen as a ViewerRequest. What a plain hit does not ask for is not made. */
import type { Clock } from "../../../base/clock.ts";
import type { BodyReader } from "../../../http/body.ts";
import type { Fields } from "../../../http/fields.ts";
import type { ViewerRequest } from "../../message.ts";
import type { ListenerLimits } from "../limits.ts";
import { ViewerBody } from "../request-body.ts";
import type { IncomingBody } from "./incoming-body.ts";
import type { RequestHead } from "./request-head.ts";

/** What a request needs of its connection. */
export interface RequestConnection {
  readonly peerAddress: string;
  readonly bodyContext: {
    readonly requestBodyBytesMax: number;
    readonly limits: ListenerLimits;
    readonly clock: Clock;
  };
  /** The body is about to be read: a viewer that waits for 100 is told to go on. */
  onBodyWanted(): void;
}

/** One request of a raw connection. */
export class RawRequest implements ViewerRequest {
  readonly scheme = "http";
  readonly http3 = false;
  readonly method: string;
  readonly fields: Fields;
  readonly #head: RequestHead;
  readonly #connection: RequestConnection;
  readonly #incoming: IncomingBody | null;
  #body: BodyReader | null | undefined = undefined;
  #controller: AbortController | null = null;
  #gone = false;

  constructor(head: RequestHead, connection: RequestConnection, incoming: IncomingBody | null) {
    this.method = head.method;
    this.fields = head.fields;
    this.#head = head;
    this.#connection = connection;
    this.#incoming = incoming;
  }

  get url(): string {
    const { host, target, method } = this.#head;
    const isPath = target.charCodeAt(0) === 0x2f;
    return method === "CONNECT" ? `http://${target}/` : `http://${host ?? ""}${isPath ? "" : "/"}${target}`;
  }

  get target(): string | undefined {
    const { target } = this.#head;
    return target.charCodeAt(0) === 0x2f ? target : undefined;
  }

  get peerAddress(): string {
    return this.#connection.peerAddress;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#gone) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  /** Null for GET and HEAD, whose content has no meaning (RFC 9110 section 9.3.1): it is read and dropped. */
  body(): BodyReader | null {
    if (this.#body !== undefined) return this.#body;
    const incoming = this.#incoming;
    if (incoming === null || this.method === "GET" || this.method === "HEAD") {
      this.#body = null;
      return null;
    }
    const connection = this.#connection;
    const source: BodyReader = {
      read() {
        connection.onBodyWanted();
        return incoming.queue.read();
      },
      cancel: () => incoming.queue.cancel(),
    };
    const { requestBodyBytesMax, limits, clock } = connection.bodyContext;
    this.#body = new ViewerBody(source, {
      declaredBytes: this.#head.bodyLength,
      bytesMax: requestBodyBytesMax,
      limits,
      clock,
    });
    return this.#body;
  }

  /** The viewer has gone. */
  abort(): void {
    this.#gone = true;
    this.#controller?.abort();
  }
}
