/**
 * One viewer's HTTP/1.1 connection. Requests are answered one after another, in order; what is pipelined
 * waits, unread beyond a limit. A request whose answer is there at once (a hit) costs no promise and,
 * with those behind it, one write.
 *
 * States: reading (a head, or the idle time before one) -> answering -> reading ... and in the end
 * lingering (told to close, what still comes is dropped) or passed (HTTP/2 and WebSockets, which the
 * runtime's server speaks), then closed.
 */
import type { Socket } from "bun";
import { ProximaError } from "../../../base/errors.ts";
import type { Refusal, RequestHandler, UpgradeResponse, ViewerResponse } from "../../message.ts";
import type { Passage } from "../passage.ts";
import { cancelBody } from "../runtime-response.ts";
import { AnswerWriter, type WriterContext } from "./answer-writer.ts";
import type { DeadlineWheel, WheelMember } from "./deadline-wheel.ts";
import { HeadBuffer } from "./head-buffer.ts";
import { IncomingBody } from "./incoming-body.ts";
import { DROPPED_BODY_BYTES_MAX, LINGER_BYTES_MAX, LINGER_MS, PIPELINED_BYTES_MAX } from "./limits.ts";
import { RawRequest, type RequestConnection } from "./raw-request.ts";
import { HeadRefusal, type RequestHead } from "./request-head.ts";
import { type Outbox, Sender, type SenderOwner } from "./sender.ts";

/** What all connections of a listener have in common. */
export interface ConnectionContext {
  readonly handler: RequestHandler;
  readonly bodyContext: RequestConnection["bodyContext"];
  readonly requestHeaderBytesMax: number;
  readonly wheel: DeadlineWheel;
  readonly outbox: Outbox;
  readonly writer: WriterContext;
  /** Set when the listener is about to close: every answer from now on ends its connection. */
  closing: boolean;
  /** Requests being answered. */
  requests: number;
  /** Who is behind a connection from this port of a PROXY protocol relay; null where viewers connect themselves. */
  readonly relayed: ((relayPort: number) => string | null) | null;
  onError(error: unknown): void;
  onRefused(refusal: Refusal): void;
  /** Gives the connection, and what was read of it, to the runtime's server. */
  pass(connection: Connection, first: Uint8Array): Passage;
  onClosed(connection: Connection): void;
}

type State = "reading" | "answering" | "lingering" | "passed" | "closed";
type Answer = ViewerResponse | UpgradeResponse;

const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n", "latin1");

/** A connection of a raw listener. Its `on` methods never throw. */
export class Connection implements WheelMember, SenderOwner, RequestConnection {
  deadlineMs = Number.POSITIVE_INFINITY;
  wheelTick = -1;
  wheelPlace = -1;
  /** Its place among those of its listener. Only the listener writes to it. */
  place = -1;
  readonly socket: Socket<Connection>;
  readonly #context: ConnectionContext;
  readonly #sender: Sender;
  readonly #writer: AnswerWriter;
  readonly #heads: HeadBuffer;
  #state: State = "reading";
  #peerAddress: string | null = null;
  #request: RawRequest | null = null;
  /** The body of the request at hand, or of the last one while its rest is dropped. */
  #incoming: IncomingBody | null = null;
  #isHead = false;
  #isHttp11 = true;
  #closes = false;
  #owesContinue = false;
  #paused = false;
  #lingeredBytes = 0;
  #shutDown = false;
  #passage: Passage | null = null;

  constructor(socket: Socket<Connection>, context: ConnectionContext) {
    this.socket = socket;
    this.#context = context;
    this.#sender = new Sender(socket, context.outbox, this);
    this.#writer = new AnswerWriter(this.#sender, context.writer);
    this.#heads = new HeadBuffer(context.requestHeaderBytesMax);
    this.#wait(context.bodyContext.limits.idleSeconds * 1_000);
  }

  get bodyContext(): RequestConnection["bodyContext"] {
    return this.#context.bodyContext;
  }

  /** The peer's address without an IPv4-mapped prefix (RFC 4291 section 2.5.5.2); empty when it left before it was first asked for. */
  get peerAddress(): string {
    if (this.#peerAddress === null) {
      const address = this.socket.remoteAddress ?? "";
      this.#peerAddress = address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
    }
    return this.#peerAddress;
  }

  /** True while no request is under way. */
  get idle(): boolean {
    return this.#state === "reading" && this.#heads.empty && !this.#sender.blocked;
  }

  onData(bytes: Buffer): void {
    try {
      if (this.#peerAddress === null && !this.#findPeer()) return;
      this.#take(bytes);
      this.#sender.flush();
    } catch (error) {
      this.#fail(error);
    }
  }

  onDrain(): void {
    if (this.#passage !== null) {
      this.#passage.viewerDrained();
      return;
    }
    try {
      this.#sender.onDrain();
      if (!this.#sender.blocked) {
        this.#writer.release();
        if (this.#state === "reading") this.#readOn();
        else if (this.#state === "lingering" && !this.#shutDown) this.#shut();
      }
      this.#sender.flush();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The connection is closed, by whomever. */
  onClose(): void {
    if (this.#state === "closed") return;
    const wasAnswering = this.#state === "answering";
    this.#state = "closed";
    this.#context.wheel.remove(this);
    this.#passage?.viewerClosed();
    this.#incoming?.fail(new ProximaError("viewer_gone", "the viewer left", { source: "viewer" }));
    this.#sender.stop();
    this.#writer.release();
    if (wasAnswering) this.#context.requests -= 1;
    this.#request?.abort();
    this.#request = null;
    this.#context.onClosed(this);
  }

  onDeadline(): void {
    switch (this.#state) {
      case "reading":
        if (this.#sender.blocked) this.#stalled();
        else if (this.#heads.empty) this.#close();
        else this.#refuse(new HeadRefusal(408, "the header section did not come in time"));
        break;
      case "answering":
        this.#stalled();
        break;
      default:
        this.terminate();
    }
  }

  // SenderOwner

  onProgress(): void {
    if (this.#sender.blocked) this.#wait(this.#context.bodyContext.limits.responseStallMs);
    else if (this.#state === "answering") this.#wait(Number.POSITIVE_INFINITY);
  }

  onStreamed(): void {
    this.#answered();
    this.#readOn();
    this.#sender.flush();
  }

  onBroken(error: unknown): void {
    this.#context.onError(error);
    this.terminate();
  }

  // RequestConnection

  onBodyWanted(): void {
    if (!this.#owesContinue) return;
    this.#owesContinue = false;
    if (this.#incoming?.started !== false || this.#state !== "answering") return;
    this.#sender.send(CONTINUE);
    this.#sender.flush();
  }

  /** Closes an idle connection. */
  closeIdle(): void {
    if (this.idle) this.#close();
  }

  /** Cuts the connection. */
  terminate(): void {
    if (this.#state === "closed") return;
    this.socket.terminate();
    this.onClose();
  }

  /** Behind a relay it knows the viewer; it does so before the first byte comes. */
  #findPeer(): boolean {
    const { relayed } = this.#context;
    if (relayed === null) return true;
    const address = relayed(this.socket.remotePort);
    if (address !== null) {
      this.#peerAddress = plainAddress(address);
      return true;
    }
    this.#refuse(new HeadRefusal(403, "this port takes connections of the PROXY protocol relay only"));
    return false;
  }

  #take(bytes: Buffer): void {
    switch (this.#state) {
      case "passed":
        this.#passage?.fromViewer(bytes);
        return;
      case "lingering":
        this.#lingeredBytes += bytes.length;
        if (this.#lingeredBytes > LINGER_BYTES_MAX) this.terminate();
        return;
      case "closed":
        return;
      default:
    }
    let rest: Buffer | null = bytes;
    if (this.#incoming !== null && !this.#incoming.whole) {
      rest = this.#incoming.push(bytes);
      this.#settlePause();
      if (this.#incoming.broken && this.#state === "reading") {
        this.#close();
        return;
      }
    }
    if (rest !== null) this.#heads.push(rest);
    if (this.#state === "reading") this.#readOn();
    else this.#settlePause();
  }

  /** Answers what stands in the buffer, until something has to be waited for. */
  #readOn(): void {
    while (this.#state === "reading" && !this.#sender.blocked) {
      if (this.#incoming !== null) {
        if (!this.#incoming.whole) return;
        this.#incoming = null;
      }
      const head = this.#heads.next();
      if (head === null) {
        this.#awaitHead();
        return;
      }
      if (head instanceof HeadRefusal) {
        this.#refuse(head);
        return;
      }
      if (head === "http2" || head.isWebSocket) {
        this.#pass();
        return;
      }
      this.#begin(head);
    }
    this.#settlePause();
  }

  /** A head that has begun has a time to end; before it the connection is idle. */
  #awaitHead(): void {
    const { limits } = this.#context.bodyContext;
    this.#settlePause();
    if (this.#heads.empty) this.#wait(limits.idleSeconds * 1_000);
    else if (this.#heads.begun()) this.#wait(limits.requestHeadMs);
  }

  #begin(head: RequestHead): void {
    const context = this.#context;
    this.#state = "answering";
    context.requests += 1;
    this.#isHead = head.method === "HEAD";
    this.#isHttp11 = head.isHttp11;
    this.#closes = !head.persistent;
    if (head.bodyLength !== 0) this.#beginBody(head);
    const request = new RawRequest(head, this, this.#incoming);
    this.#request = request;
    let answer: ReturnType<RequestHandler>;
    try {
      answer = context.handler(request);
    } catch (error) {
      this.#handlerFailed(error);
      return;
    }
    if (answer instanceof Promise) {
      this.#wait(Number.POSITIVE_INFINITY);
      // Asked now: when the viewer has left, the socket no longer knows it, but the access log wants it.
      void this.peerAddress;
      answer.then(
        (response) => this.#answerLater(request, response),
        (error) => {
          if (this.#request === request) this.#handlerFailed(error);
          else context.onError(error);
        },
      );
      return;
    }
    this.#answer(answer);
  }

  #beginBody(head: RequestHead): void {
    const isDropped = head.method === "GET" || head.method === "HEAD";
    const { requestBodyBytesMax } = this.#context.bodyContext;
    const incoming = new IncomingBody(
      { onRoom: () => this.#settlePause() },
      head.bodyLength,
      isDropped ? requestBodyBytesMax : DROPPED_BODY_BYTES_MAX,
    );
    if (isDropped) incoming.drop();
    this.#incoming = incoming;
    this.#owesContinue = head.expectsContinue;
    const bytes = this.#heads.takeAll();
    const rest = bytes === null ? null : incoming.push(bytes);
    if (rest !== null) this.#heads.push(rest);
  }

  #answerLater(request: RawRequest, response: Answer): void {
    if (this.#request !== request) {
      if (!("kind" in response)) cancelBody(response);
      return;
    }
    try {
      this.#answer(response);
      this.#readOn();
      this.#sender.flush();
    } catch (error) {
      this.#fail(error);
    }
  }

  #answer(answer: Answer): void {
    if ("kind" in answer) {
      // Handshakes do not come here: they were passed on as they were read.
      this.#answerWith(answer.refused(new Error("this connection can not become a WebSocket")));
      return;
    }
    this.#answerWith(answer);
  }

  #answerWith(response: ViewerResponse): void {
    const head = this.#writer.headOf(response, this.#isHead, this.#isHttp11);
    if (head === null) {
      this.#sendText(502, "The origin's answer can not be passed on.");
      this.#answered();
      return;
    }
    this.#closes ||=
      head.closes || this.#context.closing || head.bodyEnd.kind === "close" || this.#cutsBody();
    if (this.#writer.send(head, response, this.#closes)) {
      this.#answered();
      return;
    }
    const { responseStallMs } = this.#context.bodyContext.limits;
    this.#wait(this.#sender.blocked ? responseStallMs : Number.POSITIVE_INFINITY);
  }

  /** A handler never fails: this one has a bug, and the viewer learns no more than that. */
  #handlerFailed(error: unknown): void {
    this.#context.onError(error);
    this.#sendText(500, "Internal error.");
    this.#answered();
  }

  /** Is there more of the request's body than would be read for the sake of the connection (RFC 9112 section 9.3)? */
  #cutsBody(): boolean {
    const incoming = this.#incoming;
    if (incoming === null || incoming.whole) return false;
    const { left } = incoming;
    const waits = this.#owesContinue && !incoming.started;
    return incoming.broken || waits || left === null || left > DROPPED_BODY_BYTES_MAX;
  }

  /** The answer was handed over whole. */
  #answered(): void {
    if (this.#state !== "answering") return;
    this.#context.requests -= 1;
    this.#request = null;
    this.#incoming?.drop();
    this.#state = "reading";
    if (this.#closes) this.#close();
    // Otherwise whoever called reads on, and finds out what is to be waited for.
    else if (this.#sender.blocked) this.#wait(this.#context.bodyContext.limits.responseStallMs);
    // The little that is left of a body may be late, but not for ever: no piece of it makes the time longer.
    else if (this.#incoming?.whole === false)
      this.#wait(this.#context.bodyContext.limits.idleSeconds * 1_000);
  }

  /** Ends the connection after what was sent. A viewer that still sends would lose the answer to a reset: it is waited for. */
  #close(): void {
    this.#sender.flush();
    this.#closes = true;
    this.#state = "lingering";
    if (this.#sender.blocked) {
      this.#wait(this.#context.bodyContext.limits.responseStallMs);
      return;
    }
    this.#shut();
  }

  #shut(): void {
    const quiet = this.#heads.empty && (this.#incoming === null || this.#incoming.whole);
    if (this.#paused) {
      this.#paused = false;
      this.socket.resume();
    }
    if (quiet) {
      this.socket.end();
      this.onClose();
      return;
    }
    this.#shutDown = true;
    this.socket.shutdown();
    this.#wait(LINGER_MS);
  }

  #refuse({ status, message }: HeadRefusal): void {
    this.#closes = true;
    this.#isHead = false;
    const text = `${message[0]?.toUpperCase()}${message.slice(1)}.`;
    this.#sendText(status, text);
    this.#context.onRefused({ status, message, peerAddress: this.peerAddress, bytes: text.length + 1 });
    this.#close();
  }

  /** A short answer of the listener itself; it ends the connection. */
  #sendText(status: number, text: string): void {
    this.#closes = true;
    this.#writer.sendText(status, text, this.#isHead);
  }

  #pass(): void {
    const first = this.#heads.takeAllWithLast();
    this.#state = "passed";
    this.#context.wheel.remove(this);
    this.#sender.flush();
    this.#passage = this.#context.pass(this, first);
  }

  #stalled(): void {
    const { responseStallMs } = this.#context.bodyContext.limits;
    this.#context.onError(
      new ProximaError("viewer_too_slow", `the viewer took no bytes for ${responseStallMs} ms`, {
        source: "viewer",
      }),
    );
    this.terminate();
  }

  /** A bug of ours: nothing on this connection can be relied on. */
  #fail(error: unknown): void {
    this.#context.onError(error);
    this.terminate();
  }

  #wait(delayMs: number): void {
    if (this.#state !== "closed") this.#context.wheel.set(this, delayMs);
  }

  /** Reads no further while nobody takes what is there. */
  #settlePause(): void {
    if (this.#state === "closed" || this.#state === "passed") return;
    const waits = this.#state === "answering" || this.#sender.blocked;
    const pause = this.#incoming?.full === true || (waits && this.#heads.length > PIPELINED_BYTES_MAX);
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) this.socket.pause();
    else this.socket.resume();
  }
}

function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
