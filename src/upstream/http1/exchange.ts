/**
 * One request and its response on a connection of the pool. An exchange moves through the states
 * connecting -> waiting (for the head) -> reading (the body) -> done, never back, except that a safe
 * request on a kept-alive connection found dead goes back to connecting once. Whatever ends it, ends
 * it in one place: #finish when the response is whole, #fail otherwise.
 */
import { unreachable } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import { BodyQueue, type BodySource } from "../../http/body-queue.ts";
import {
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "../next-hop.ts";
import type { Connection, ConnectionUser } from "./connection.ts";
import { Deadline } from "./deadline.ts";
import { BODY_QUEUE_BYTES_MAX, BODY_QUEUE_BYTES_RESUME } from "./limits.ts";
import type { Borrower, Pool } from "./pool.ts";
import { writeRequestHead } from "./request-head.ts";
import { RequestWriter, type WriterOwner } from "./request-writer.ts";
import type { ResponseHead } from "./response-head.ts";
import { ResponseParser, type ResponseSink } from "./response-parser.ts";

/** What every exchange with an origin shares. */
export interface ExchangeContext {
  /** Name of the origin in the config. */
  readonly name: string;
  /** Host and port as in the origin's URL, for errors while no connection stands. */
  readonly place: string;
  readonly pathPrefix: string;
  readonly clock: Clock;
  readonly pool: Pool;
}

const BODY_ROOM = { bytesMax: BODY_QUEUE_BYTES_MAX, bytesResume: BODY_QUEUE_BYTES_RESUME };

type State = "connecting" | "waiting" | "reading" | "done";

/** Methods that a dead kept-alive connection may be retried for (RFC 9110 section 9.2.1, 9112 section 9.3.1). */
const RETRIED_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** Sends `request` and resolves with the response's head; see NextHop.fetch. */
export function exchange(
  context: ExchangeContext,
  request: UpstreamRequest,
  timeouts: UpstreamTimeouts,
): Promise<UpstreamResponse> {
  let head: Buffer;
  try {
    head = writeRequestHead(request, context.pathPrefix);
  } catch (error) {
    return Promise.reject(error);
  }
  const answer = Promise.withResolvers<UpstreamResponse>();
  new Exchange(context, request, timeouts, head, answer).start();
  return answer.promise;
}

class Exchange implements Borrower, ConnectionUser, ResponseSink, WriterOwner, BodySource {
  readonly #context: ExchangeContext;
  readonly #request: UpstreamRequest;
  readonly #timeouts: UpstreamTimeouts;
  readonly #requestHead: Buffer;
  readonly #answer: PromiseWithResolvers<UpstreamResponse>;
  fresh = false;

  #state: State = "connecting";
  #connecting: Deadline | null = null;
  #connection: Connection | null = null;
  #reused = false;
  #parser: ResponseParser | null = null;
  #writer: RequestWriter | null = null;
  #head: ResponseHead | null = null;
  #body: BodyQueue | null = null;
  #paused = false;
  #requestTimeMs = 0;
  #onAbort: (() => void) | null = null;

  constructor(
    context: ExchangeContext,
    request: UpstreamRequest,
    timeouts: UpstreamTimeouts,
    requestHead: Buffer,
    answer: PromiseWithResolvers<UpstreamResponse>,
  ) {
    this.#context = context;
    this.#request = request;
    this.#timeouts = timeouts;
    this.#requestHead = requestHead;
    this.#answer = answer;
  }

  get connectMs(): number {
    return this.#timeouts.connectMs;
  }

  start(): void {
    const { signal } = this.#request;
    if (signal !== null) {
      if (signal.aborted) {
        this.#fail(this.#givenUp(signal.reason));
        return;
      }
      this.#heed(signal);
    }
    this.#borrow();
  }

  #heed(signal: AbortSignal): void {
    this.#onAbort = () => this.#abort(this.#givenUp(signal.reason));
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  // Borrower

  onConnection(connection: Connection, reused: boolean): void {
    this.#connecting?.stop();
    this.#connecting = null;
    this.#connection = connection;
    this.#reused = reused;
    this.#state = "waiting";
    connection.user = this;
    connection.exchanges++;
    this.#parser = new ResponseParser(this, this.#request.method, connection.respondent);
    this.#requestTimeMs = this.#context.clock.now();
    const writer = new RequestWriter(connection, this, this.#request);
    this.#writer = writer;
    writer.start(this.#requestHead);
  }

  onNoConnection(error: UpstreamError): void {
    this.#fail(error);
  }

  // ConnectionUser

  onData(bytes: Buffer): void {
    const parser = this.#parser;
    if (parser === null) return;
    try {
      parser.push(bytes);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (parser.complete) this.#finish();
    else if (this.#state === "reading" && !this.#paused) {
      this.#connection?.deadline.set(this.#timeouts.betweenBytesMs);
    }
  }

  onDrain(): void {
    this.#writer?.onDrain();
  }

  onEnd(error: Error | null): void {
    const parser = this.#parser;
    if (parser === null) return;
    if (!parser.started && this.#mayRetry()) {
      this.fresh = true;
      this.#connection = null;
      this.#writer = null;
      this.#parser = null;
      this.#state = "connecting";
      this.#borrow();
      return;
    }
    try {
      if (error !== null) throw this.#cut(parser.started, error);
      parser.end();
    } catch (failure) {
      this.#fail(failure);
      return;
    }
    this.#finish();
  }

  onDeadline(): void {
    const reading = this.#state === "reading";
    const limitMs = reading ? this.#timeouts.betweenBytesMs : this.#timeouts.firstByteMs;
    const what = reading ? "stopped in the middle of a body" : "did not answer";
    this.#fail(
      new UpstreamError("http_response_timeout", `${this.#who()} ${what}: nothing came within ${limitMs} ms`),
    );
  }

  // WriterOwner

  onSent(waiting: "origin" | "body"): void {
    if (this.#state !== "waiting") return;
    // While the viewer's body is waited for, the origin owes nothing.
    if (waiting === "origin") this.#connection?.deadline.set(this.#timeouts.firstByteMs);
    else this.#connection?.deadline.clear();
  }

  onSentAll(): void {
    this.onSent("origin");
  }

  onBodyFailed(error: UpstreamError): void {
    this.#fail(error);
  }

  // ResponseSink

  onHead(head: ResponseHead): void {
    this.#state = "reading";
    this.#head = head;
    // RFC 9112 section 9.5: what was refused, or moved, is not sent on. A 2xx may be meant to overlap.
    if (head.status >= 300) this.#writer?.stop();
    if (head.framing !== "none") this.#body = new BodyQueue(this, BODY_ROOM);
    this.#answer.resolve({
      status: head.status,
      fields: head.fields,
      framing: head.framing,
      bodyLength: head.bodyLength,
      body: this.#body,
      requestTimeMs: this.#requestTimeMs,
      responseTimeMs: this.#context.clock.now(),
      reused: this.#reused,
    });
  }

  onBody(piece: Uint8Array): void {
    if (this.#body === null || this.#body.push(piece) || this.#paused) return;
    this.#paused = true;
    this.#connection?.pause();
    this.#connection?.deadline.clear();
  }

  onComplete(): void {
    this.#body?.finish();
  }

  // BodySource

  onRoom(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#connection?.deadline.set(this.#timeouts.betweenBytesMs);
    this.#connection?.resume();
  }

  onCancel(): void {
    this.#abort(this.#givenUp(undefined));
  }

  #borrow(): void {
    this.#context.pool.borrow(this);
    if (this.#state === "connecting") this.#awaitConnection();
  }

  #awaitConnection(): void {
    const deadline = new Deadline(this.#context.clock, () => this.#connectTimedOut());
    this.#connecting = deadline;
    deadline.set(this.#timeouts.connectMs);
  }

  #connectTimedOut(): void {
    const wasWaiting = this.#context.pool.withdraw(this);
    const { name, place } = this.#context;
    const what = wasWaiting ? "no connection became free" : "no connection could be opened";
    this.#fail(
      new UpstreamError(
        "connection_timeout",
        `origin ${name} (${place}): ${what} within ${this.#timeouts.connectMs} ms`,
        { retryable: true },
      ),
    );
  }

  /** RFC 9112 section 9.3.1: only once, only what is safe to repeat, only where no answer had begun. */
  #mayRetry(): boolean {
    return (
      this.#state === "waiting" &&
      this.#reused &&
      !this.fresh &&
      this.#request.body === null &&
      RETRIED_METHODS.has(this.#request.method)
    );
  }

  /** The response is whole: the connection goes back, or away. */
  #finish(): void {
    if (this.#state === "done") return;
    this.#state = "done";
    this.#release();
    const connection = this.#connection;
    const head = this.#head;
    if (connection === null || head === null || this.#writer === null || connection.closed) return;
    connection.user = null;
    connection.deadline.clear();
    connection.resume();
    if (!this.#writer.done) {
      this.#writer.stop();
      connection.destroy();
    } else if (head.persistent && this.#parser?.surplus === false) {
      this.#context.pool.giveBack(connection, head.keepAliveMs);
    } else {
      connection.close();
    }
  }

  #fail(error: unknown): void {
    const state = this.#state;
    if (state === "done") return;
    this.#state = "done";
    this.#release();
    this.#connection?.destroy();
    this.#writer?.stop();
    switch (state) {
      case "connecting":
        this.#context.pool.withdraw(this);
        this.#answer.reject(error);
        return;
      case "waiting":
        this.#answer.reject(error);
        return;
      case "reading":
        this.#body?.fail(error);
        return;
      default:
        unreachable(state);
    }
  }

  /** Ends the exchange on the asker's wish: what waits to be read goes too. */
  #abort(error: UpstreamError): void {
    if (this.#state === "done") return;
    this.#body?.discard(error);
    this.#fail(error);
  }

  #release(): void {
    this.#connecting?.stop();
    this.#connecting = null;
    if (this.#onAbort !== null) this.#request.signal?.removeEventListener("abort", this.#onAbort);
    this.#onAbort = null;
  }

  #cut(started: boolean, cause: Error): UpstreamError {
    return started
      ? new UpstreamError(
          "http_response_incomplete",
          `${this.#who()} reset the connection before the end of its response`,
          { cause },
        )
      : new UpstreamError("connection_terminated", `${this.#who()} reset the connection without an answer`, {
          cause,
        });
  }

  #givenUp(reason: unknown): UpstreamError {
    return new UpstreamError(
      "http_request_error",
      `the request to origin ${this.#context.name} was given up`,
      {
        cause: reason,
      },
    );
  }

  #who(): string {
    const { name, place } = this.#context;
    return this.#connection?.respondent.who ?? `origin ${name} (${place})`;
  }
}
