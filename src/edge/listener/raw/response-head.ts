/**
 * A ViewerResponse's head as bytes (RFC 9112 section 4), and how its body is framed. A response that is
 * served again keeps the bytes, so that a hit writes what is there. Every part is checked before it is
 * written: no value of an origin can end a line and begin another.
 */

import { reasonOf } from "../../../http/reason.ts";
import { isToken } from "../../../http/syntax.ts";
import { TextParts } from "../../../http/text-parts.ts";
import type { ViewerResponse } from "../../message.ts";
import { connectionFields, hasNoContent } from "../runtime-response.ts";

/** How the viewer learns where the body ends. */
export type BodyEnd =
  /** There is none, whatever Content-Length says (HEAD, 204, 304). */
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  /** With the connection: for HTTP/1.0 viewers only. */
  | { readonly kind: "close" };

const NONE: BodyEnd = { kind: "none" };
const CHUNKED: BodyEnd = { kind: "chunked" };
const CLOSE: BodyEnd = { kind: "close" };

const FORBIDDEN_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const DIGITS = /^[0-9]{1,15}$/;

/** A head that was written down; it ends with its last field, the empty line left out. */
export interface WrittenHead {
  readonly bytes: Buffer;
  readonly bodyEnd: BodyEnd;
  /** False when a Date has to be written with it (RFC 9110 section 6.6.1). */
  readonly dated: boolean;
  /** The response itself asks for the end of the connection. */
  readonly closes: boolean;
}

/** The kept heads of a response without a body, or with a complete one; each made when it is first wanted. */
class PreparedHeads {
  readonly #response: ViewerResponse;
  #whole: WrittenHead | null = null;
  #head: WrittenHead | null = null;
  #open: WrittenHead | null = null;

  constructor(response: ViewerResponse) {
    this.#response = response;
  }

  get whole(): WrittenHead {
    this.#whole ??= written(this.#response, bodyEndOf(this.#response, true), false);
    return this.#whole;
  }

  /** For HEAD. */
  get head(): WrittenHead {
    this.#head ??= written(this.#response, NONE, true);
    return this.#head;
  }

  /** Without a word of the body: other fields follow. */
  get open(): WrittenHead {
    this.#open ??= written(this.#response, NONE, false);
    return this.#open;
  }
}

/**
 * The head of a response; kept in `response.prepared` where the body is complete.
 * Throws an Error that names the part when one can not be sent.
 */
export function headOf(response: ViewerResponse, isHead: boolean, isHttp11: boolean): WrittenHead {
  const { prepared, derived } = response;
  if (prepared instanceof PreparedHeads) return isHead ? prepared.head : prepared.whole;
  if (derived !== undefined && !isHead) return derivedHead(response, derived);
  const { body } = response;
  if (body === null || body instanceof Uint8Array || body instanceof Blob) {
    const made = preparedOf(response);
    return isHead ? made.head : made.whole;
  }
  return written(response, isHead ? NONE : bodyEndOf(response, isHttp11), isHead);
}

function preparedOf(response: ViewerResponse): PreparedHeads {
  if (response.prepared instanceof PreparedHeads) return response.prepared;
  const made = new PreparedHeads(response);
  response.prepared = made;
  return made;
}

/** A head of which the most is kept with another response. */
function derivedHead(
  response: ViewerResponse,
  { from, fields }: NonNullable<ViewerResponse["derived"]>,
): WrittenHead {
  const { bytes: kept, dated, closes } = preparedOf(from).open;
  text.begin();
  for (const [name, value] of fields) addLine(name, value);
  const bytes = Buffer.concat([kept, text.bytes()]);
  const length = response.partOf?.size ?? completeLength(response.body) ?? 0;
  return { bytes, bodyEnd: { kind: "length", bytes: length }, dated, closes };
}

const text = new TextParts();

function addLine(name: string, value: string): void {
  if (!isToken(name)) throw new Error(`the field name ${JSON.stringify(name.slice(0, 60))} is not a token`);
  if (FORBIDDEN_IN_VALUE.test(value)) {
    throw new Error(`the field ${name} has a character that no field value may have`);
  }
  text.line(name, value);
}

/** Status lines, each made when it is first wanted; an index is a status. */
const statusLines: string[] = [];

function statusLine(status: number): string {
  const known = statusLines[status];
  if (known !== undefined) return known;
  const made = `HTTP/1.1 ${status} ${reasonOf(status)}\r\n`;
  statusLines[status] = made;
  return made;
}

function written(response: ViewerResponse, bodyEnd: BodyEnd, isHead: boolean): WrittenHead {
  const { status, fields } = response;
  const { flat } = fields;
  let closes = false;
  let hasLength = false;
  let dated = false;
  text.begin();
  text.add(statusLine(status));
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    const value = flat[i + 1] as string;
    if (connectionFields.has(name)) continue;
    if (name === "connection") {
      // "close" is the one connection option that a pipeline may ask for.
      closes ||= value.toLowerCase() === "close";
      continue;
    }
    if (name === "content-length") {
      // Of a body that is sent the length is made below, from the body itself.
      if (bodyEnd.kind !== "none" || status === 204 || hasLength || !DIGITS.test(value)) continue;
      hasLength = true;
    }
    dated ||= name === "date";
    addLine(name, value);
  }
  if (bodyEnd.kind === "length") text.line("content-length", String(bodyEnd.bytes));
  else if (bodyEnd.kind === "chunked") text.line("transfer-encoding", "chunked");
  else if (isHead && !hasLength && !hasNoContent(status)) {
    const bytes = completeLength(response.body);
    if (bytes !== null) text.line("content-length", String(bytes));
  }
  return { bytes: text.bytes(), bodyEnd, dated, closes };
}

function bodyEndOf({ status, fields, body }: ViewerResponse, isHttp11: boolean): BodyEnd {
  // RFC 9110 section 15.3.6: a 205 has no content, and says so with its length.
  if (status === 205) return { kind: "length", bytes: 0 };
  if (hasNoContent(status)) return NONE;
  const bytes = body === null ? 0 : completeLength(body);
  if (bytes !== null) return { kind: "length", bytes };
  const declared = fields.get("content-length");
  if (declared !== null && DIGITS.test(declared)) return { kind: "length", bytes: Number(declared) };
  return isHttp11 ? CHUNKED : CLOSE;
}

function completeLength(body: ViewerResponse["body"]): number | null {
  if (body instanceof Uint8Array) return body.byteLength;
  return body instanceof Blob ? body.size : null;
}
