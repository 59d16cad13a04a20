/**
 * The head of an HTTP/1.1 request: text in, a checked value or a refusal out. The rules are those of
 * RFC 9112, read strictly: what two readers could understand differently (request smuggling) is
 * refused, not repaired. Every line but the last ends with CRLF, names are tokens, and at most one
 * field says how long the body is.
 */
import { pushField } from "../../../http/field-line.ts";
import { Fields } from "../../../http/fields.ts";
import {
  CONTENT_LENGTH_DIGITS_MAX,
  METHOD_CHARS_MAX,
  REQUEST_FIELDS_MAX,
  REQUEST_LINE_BYTES_MAX,
} from "./limits.ts";

/** A request's head that may be acted on. */
export interface RequestHead {
  readonly method: string;
  /** Origin-form, `*` (OPTIONS only), or authority-form (CONNECT only); an absolute-form has become its origin-form. */
  readonly target: string;
  readonly isHttp11: boolean;
  /** Every field line, names in lower case. */
  readonly fields: Fields;
  /** The one Host; null only in HTTP/1.0. */
  readonly host: string | null;
  /** Bytes of the body, null when it comes in chunks. */
  readonly bodyLength: number | null;
  /** False when this is the last request of its connection. */
  readonly persistent: boolean;
  /** The viewer waits for 100 before it sends the body (RFC 9110 section 10.1.1). */
  readonly expectsContinue: boolean;
  /** A handshake that asks for a WebSocket. */
  readonly isWebSocket: boolean;
}

/** Why a request is refused, and with what status. */
export class HeadRefusal {
  readonly status: number;
  /** One sentence for the viewer. */
  readonly message: string;

  constructor(status: number, message: string) {
    this.status = status;
    this.message = message;
  }
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control characters other than HTAB, CR and LF, which are looked at line by line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;
const VISIBLE = /^[\x21-\x7e]+$/;
/** A method that may be asked for; any other is one that nobody here knows (RFC 9110 section 9.1). */
const METHOD = /^[A-Z][A-Z0-9_-]*$/;
const VERSION = /^HTTP\/([0-9])\.([0-9])$/;
const DIGITS = /^[0-9]+$/;

// What the viewer sent is never repeated to it: it may have been made by somebody else.
const NOT_A_REQUEST_LINE = 'the request line is not "METHOD target HTTP/1.1"';

/** Parses a head: the latin1 text of everything before the empty line, without the last CRLF. */
export function parseRequestHead(text: string): RequestHead | HeadRefusal {
  let at = text.indexOf("\r\n");
  const lineEnd = at === -1 ? text.length : at;
  const firstSpace = text.indexOf(" ");
  const lastSpace = text.lastIndexOf(" ", lineEnd - 1);
  if (firstSpace <= 0 || firstSpace >= lineEnd || lastSpace === firstSpace) {
    return bad(NOT_A_REQUEST_LINE);
  }
  const method = firstSpace === 3 && text.startsWith("GET") ? "GET" : text.slice(0, firstSpace);
  const target = text.slice(firstSpace + 1, lastSpace);
  const isHttp11 = text.startsWith("HTTP/1.1", lastSpace + 1) && lineEnd === lastSpace + 9;
  if (!isHttp11 && text.slice(lastSpace + 1, lineEnd) !== "HTTP/1.0") {
    return VERSION.test(text.slice(lastSpace + 1, lineEnd))
      ? new HeadRefusal(
          505,
          "this version of HTTP is not spoken here: 1.0, 1.1, and 2 with prior knowledge are",
        )
      : bad(NOT_A_REQUEST_LINE);
  }
  // Nearly every request is a GET.
  if (method !== "GET") {
    if (!TOKEN.test(method)) return bad("the method is not a token");
    if (method.length > METHOD_CHARS_MAX || !METHOD.test(method)) {
      return new HeadRefusal(501, "the method is not known here");
    }
  }
  if (lineEnd > REQUEST_LINE_BYTES_MAX) {
    return new HeadRefusal(414, `the request line is longer than ${REQUEST_LINE_BYTES_MAX} bytes`);
  }
  if (!VISIBLE.test(target)) return bad("the request target has a character that none may have");
  if (CONTROL.test(text)) return bad("the header section has a control character");

  const flat: string[] = [];
  let host: string | null = null;
  let contentLength: string | null = null;
  let transferEncoding: string | null = null;
  let connection: string | null = null;
  let expect: string | null = null;
  let upgrade: string | null = null;
  let count = 0;
  while (at !== -1) {
    const start = at + 2;
    const cr = text.indexOf("\r", start);
    const end = cr === -1 ? text.length : cr;
    const lf = text.indexOf("\n", start);
    if (lf !== (cr === -1 ? -1 : cr + 1)) return bad("a line of the header section does not end with CRLF");
    at = cr;
    count += 1;
    if (count > REQUEST_FIELDS_MAX) {
      return new HeadRefusal(431, `the header section has more than ${REQUEST_FIELDS_MAX} field lines`);
    }
    // An obs-fold, a space before the colon and an empty name all are no token.
    const name = pushField(flat, text, start, end);
    if (name === null) return bad(`field line ${count} is not "name: value"`);
    const value = flat[flat.length - 1] as string;
    // Some readers take a tab for a part of the value: where that changes the framing it is refused.
    const isFraming = name === "content-length" || name === "transfer-encoding";
    if (isFraming && text.charCodeAt(end - 1) === TAB) return bad(`a tab ends the value of ${name}`);
    switch (name) {
      case "host":
        if (host !== null) return bad("it has more than one Host");
        host = value;
        break;
      case "content-length":
        if (contentLength !== null) return bad("it has more than one Content-Length");
        contentLength = value;
        break;
      case "transfer-encoding":
        if (transferEncoding !== null) return bad("it has more than one Transfer-Encoding");
        transferEncoding = value;
        break;
      case "connection":
        connection = connection === null ? value : `${connection},${value}`;
        break;
      case "expect":
        expect = expect === null ? value : `${expect},${value}`;
        break;
      case "upgrade":
        upgrade = upgrade === null ? value : `${upgrade},${value}`;
        break;
    }
  }

  // RFC 9112 section 3.2: HTTP/1.1 has exactly one, which may be wrong in ways that the pipeline tells.
  if (host === null && isHttp11) return bad("it has no Host");
  const form = originForm(method, target, host);
  if (form instanceof HeadRefusal) return form;
  let bodyLength: number | null = 0;
  if (transferEncoding !== null) {
    // RFC 9112 section 6.1: each of these is how a request is hidden inside another.
    if (contentLength !== null) return bad("it has both Transfer-Encoding and Content-Length");
    if (!isHttp11) return bad("it has Transfer-Encoding in HTTP/1.0");
    if (transferEncoding.toLowerCase() !== "chunked") {
      return new HeadRefusal(501, "the only Transfer-Encoding understood here is a single chunked");
    }
    bodyLength = null;
  } else if (contentLength !== null) {
    if (!DIGITS.test(contentLength) || contentLength.length > CONTENT_LENGTH_DIGITS_MAX) {
      return bad(`its Content-Length is not a number of at most ${CONTENT_LENGTH_DIGITS_MAX} digits`);
    }
    bodyLength = Number(contentLength);
  }
  if (expect !== null && expect.toLowerCase() !== "100-continue") {
    return new HeadRefusal(417, "the only expectation that can be met here is 100-continue");
  }
  return {
    method,
    target: form,
    isHttp11,
    fields: new Fields(flat),
    host,
    bodyLength,
    persistent: isHttp11 && method !== "CONNECT" && !saysClose(connection),
    expectsContinue: expect !== null && isHttp11,
    isWebSocket: upgrade !== null && method === "GET" && isHttp11 && upgrade.toLowerCase() === "websocket",
  };
}

/**
 * The target without scheme and authority (RFC 9112 section 3.2). An absolute-form that names another
 * host than Host would be read differently by whoever believes the other one: it is refused.
 */
function originForm(method: string, target: string, host: string | null): string | HeadRefusal {
  // CONNECT is for the pipeline to refuse.
  if (target.charCodeAt(0) === 0x2f || method === "CONNECT") return target;
  if (target === "*") return method === "OPTIONS" ? target : bad("the target * belongs to OPTIONS");
  if (!/^http:\/\//i.test(target)) return bad("the request target neither begins with / nor with http://");
  const authorityEnd = target.slice(7).search(/[/?#]/);
  const authority = authorityEnd === -1 ? target.slice(7) : target.slice(7, 7 + authorityEnd);
  if (host === null || authority.toLowerCase() !== host.toLowerCase()) {
    return bad("the request target names another host than the Host field");
  }
  const rest = authorityEnd === -1 ? "" : target.slice(7 + authorityEnd);
  return rest.startsWith("/") ? rest : `/${rest}`;
}

function saysClose(connection: string | null): boolean {
  if (connection === null || connection === "keep-alive") return false;
  return connection.split(",").some((option) => option.trim().toLowerCase() === "close");
}

const TAB = 0x09;

function bad(message: string): HeadRefusal {
  return new HeadRefusal(400, message);
}
