/**
 * Answers as they leave one connection: the head, which is kept ready, and the body behind it in as few
 * writes as there can be. Bytes of a Blob are held for as long as the socket has not taken them.
 */
import type { Clock } from "../../../base/clock.ts";
import { type BodyReader, blobReader } from "../../../http/body.ts";
import { formatHttpDate } from "../../../http/date.ts";
import { reasonOf } from "../../../http/reason.ts";
import type { ViewerResponse } from "../../message.ts";
import { cancelBody, isSendable, unsendable } from "../runtime-response.ts";
import type { BlobBytes, HeldBytes } from "./blob-bytes.ts";
import { headOf, type WrittenHead } from "./response-head.ts";
import type { Sender } from "./sender.ts";

/** What all writers of a listener have in common. */
export interface WriterContext {
  readonly blobs: BlobBytes;
  readonly clock: Clock;
  onError(error: unknown): void;
}

const END_OF_HEAD = Buffer.from("\r\n", "latin1");
const CLOSE_AND_END = Buffer.from("connection: close\r\n\r\n", "latin1");

/** Writes the answers of one connection, one after another. */
export class AnswerWriter {
  readonly #sender: Sender;
  readonly #context: WriterContext;
  /** Of the last answer, while the socket has not taken it whole. */
  #held: HeldBytes | null = null;

  constructor(sender: Sender, context: WriterContext) {
    this.#sender = sender;
    this.#context = context;
  }

  /** The head of a response; null, and its body given up, when it can not be sent. */
  headOf(response: ViewerResponse, isHead: boolean, isHttp11: boolean): WrittenHead | null {
    try {
      if (!isSendable(response.status)) throw new Error(`status ${response.status}`);
      return headOf(response, isHead, isHttp11);
    } catch (error) {
      cancelBody(response);
      this.#context.onError(unsendable(error instanceof Error ? error.message : String(error)));
      return null;
    }
  }

  /** Sends a response behind its head. False when its body is streamed: the sender's owner is told of its end. */
  send(head: WrittenHead, response: ViewerResponse, closes: boolean): boolean {
    const { bodyEnd } = head;
    if (bodyEnd.kind === "none" || (bodyEnd.kind === "length" && bodyEnd.bytes === 0)) {
      cancelBody(response);
      this.#sendHead(head, closes);
      return true;
    }
    if (response.partOf !== undefined) return this.#sendBlob(head, response, response.partOf, closes);
    const { body } = response;
    if (body instanceof Blob) {
      return this.#sendBlob(head, response, { blob: body, start: 0, size: body.size }, closes);
    }
    if (body === null || body instanceof Uint8Array) {
      this.#sendHead(head, closes);
      if (body !== null) this.#sender.send(body);
      return true;
    }
    this.#sender.stream(this.#headParts(head, closes), body, bodyEnd, false);
    return false;
  }

  #sendBlob(
    head: WrittenHead,
    response: ViewerResponse,
    { blob, start, size }: NonNullable<ViewerResponse["partOf"]>,
    closes: boolean,
  ): boolean {
    const held = this.#context.blobs.hold(blob, size);
    if (held === null || held instanceof Promise) {
      const reader =
        held === null
          ? blobReader(response.body instanceof Blob ? response.body : blob)
          : this.#heldReader(held, start, size);
      this.#sender.stream(this.#headParts(head, closes), reader, head.bodyEnd, true);
      return false;
    }
    this.#sendHead(head, closes);
    this.#sender.send(partOf(held.bytes, start, size));
    if (this.#sender.blocked) this.#held = held;
    else this.#context.blobs.release(held);
    return true;
  }

  /** A short answer of the listener itself; it ends the connection. */
  sendText(status: number, text: string, isHead: boolean): void {
    const body = `${text}\n`;
    const head =
      `HTTP/1.1 ${status} ${reasonOf(status)}\r\ndate: ${formatHttpDate(this.#context.clock.now())}\r\n` +
      `content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
    this.#sender.send(Buffer.from(isHead ? head : head + body, "latin1"));
  }

  /** Everything was taken by the socket, or nothing more will be. */
  release(): void {
    if (this.#held === null) return;
    this.#context.blobs.release(this.#held);
    this.#held = null;
  }

  #sendHead(head: WrittenHead, closes: boolean): void {
    const sender = this.#sender;
    sender.send(head.bytes);
    if (!head.dated) sender.send(this.#date());
    sender.send(closes ? CLOSE_AND_END : END_OF_HEAD);
  }

  #headParts(head: WrittenHead, closes: boolean): Uint8Array[] {
    const end = closes ? CLOSE_AND_END : END_OF_HEAD;
    return head.dated ? [head.bytes, end] : [head.bytes, this.#date(), end];
  }

  #date(): Buffer {
    return Buffer.from(`date: ${formatHttpDate(this.#context.clock.now())}\r\n`, "latin1");
  }

  /** A part of bytes that are still being read; they are let go when the socket has taken it. */
  #heldReader(reading: Promise<HeldBytes>, start: number, size: number): BodyReader {
    const { blobs } = this.#context;
    let given = false;
    let open = true;
    const close = (): void => {
      if (!open) return;
      open = false;
      // That they could not be read was told to whoever asked for them.
      reading.then(
        (held) => blobs.release(held),
        () => {},
      );
    };
    return {
      async read() {
        if (given || !open) {
          close();
          return null;
        }
        given = true;
        return partOf((await reading).bytes, start, size);
      },
      cancel: close,
    };
  }
}

function partOf(bytes: Uint8Array, start: number, size: number): Uint8Array {
  return size === bytes.byteLength ? bytes : bytes.subarray(start, start + size);
}
