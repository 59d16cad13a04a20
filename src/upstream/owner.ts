/**
 * The worker of this node that owns a key, as a next hop: it is asked over a unix socket in the data
 * directory, whose folder is open to this user alone. The question is a field of a GET, the answer a frame
 * (frame.ts) in an HTTP/1.1 message, so that pooling, deadlines and back-pressure are those of every other
 * next hop, and a question is one write.
 */
import type { Clock } from "../base/clock.ts";
import type { BodyReader } from "../http/body.ts";
import { Fields } from "../http/fields.ts";
import { encodeQuestion, readFrame } from "./frame.ts";
import type { UpstreamResponse, UpstreamTimeouts } from "./next-hop.ts";
import { UpstreamError } from "./next-hop.ts";
import { HttpOrigin } from "./origin.ts";

/** The field that carries a question. */
export const QUESTION_FIELD = "x-proxima-question";

/** Connections to one owner, in use or idle: each viewer of a large body holds one. */
const CONNECTIONS_MAX = 4096;

/** How long an idle connection is kept, in milliseconds: less than the runtime's own limit at the other end (10 s). */
const KEEP_ALIVE_MS = 5_000;

/** An owner's answer: its head as JSON, and the body's bytes. */
export interface OwnerAnswer {
  readonly head: unknown;
  readonly body: BodyReader;
  readonly requestTimeMs: number;
  readonly reused: boolean;
}

/** Another worker of this node. */
export class OwnerHop {
  readonly name: string;
  readonly #hop: HttpOrigin;

  constructor(options: { readonly slot: number; readonly socket: string; readonly clock: Clock }) {
    this.name = `worker-${options.slot}`;
    this.#hop = new HttpOrigin({
      name: this.name,
      url: "http://owner.invalid",
      unix: options.socket,
      clock: options.clock,
      connectionsMax: CONNECTIONS_MAX,
      keepAliveMs: KEEP_ALIVE_MS,
    });
  }

  /** Asks. Rejects with an UpstreamError when no complete head of an answer came. */
  async ask(question: object, timeouts: UpstreamTimeouts): Promise<OwnerAnswer> {
    const fields = new Fields([QUESTION_FIELD, encodeQuestion(question)]);
    let response: UpstreamResponse;
    try {
      response = await this.#send(fields, timeouts);
    } catch (error) {
      // A connection that had just been closed as idle; to ask twice changes nothing.
      if (!(error instanceof UpstreamError && error.code === "connection_terminated")) throw error;
      response = await this.#send(fields, timeouts);
    }
    if (response.status !== 200 || response.body === null) {
      response.body?.cancel();
      throw new UpstreamError("http_protocol_error", `${this.name} answered with status ${response.status}`);
    }
    const { head, body } = await readFrame(response.body);
    return { head, body, requestTimeMs: response.requestTimeMs, reused: response.reused };
  }

  #send(fields: Fields, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    return this.#hop.fetch(
      {
        method: "GET",
        scheme: "http",
        authority: "owner.invalid",
        target: "/",
        fields,
        body: null,
        bodyLength: null,
        signal: null,
      },
      timeouts,
    );
  }

  /** Lets exchanges in flight end, then closes idle connections. */
  close(): void {
    this.#hop.close();
  }
}
