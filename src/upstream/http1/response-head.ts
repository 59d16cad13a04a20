/**
 * The head of an HTTP/1.1 response: text in, a checked value out. The rules are those of RFC 9112,
 * read strictly: what two readers could understand differently (request smuggling's mirror, response
 * splitting) is refused, not repaired.
 */
import { type Fault, pushFieldLine, shown } from "../../http/field-line.ts";
import { Fields } from "../../http/fields.ts";
import { KnownTexts } from "../../http/known-texts.ts";
import { type BodyFraming, UpstreamError } from "../next-hop.ts";
import { CONTENT_LENGTH_DIGITS_MAX, RESPONSE_FIELDS_MAX } from "./limits.ts";

/** A final response's head: what the reader of the body and the pool need to know beside the fields. */
export interface ResponseHead {
  readonly status: number;
  /** End-to-end fields; hop-by-hop ones are taken out. */
  readonly fields: Fields;
  readonly framing: BodyFraming;
  /** Length that the message tells, also where no body follows (HEAD, 304); else null. */
  readonly bodyLength: number | null;
  /** False when the origin, or its version, ends the connection after this response. */
  readonly persistent: boolean;
  /** The origin's own idle limit (Keep-Alive: timeout), in milliseconds; null when it tells none. */
  readonly keepAliveMs: number | null;
}

/** An interim response; nothing of it is kept. */
export interface InterimHead {
  readonly interim: true;
}

const INTERIM: InterimHead = { interim: true };

/** RFC 9112 section 4. The space before an empty reason phrase is missing in the wild; llhttp takes that too. */
const STATUS_LINE = /^HTTP\/1\.([01]) ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const DIGITS = /^[0-9]+$/;
const KEEP_ALIVE_TIMEOUT = /(?:^|[,;\s])timeout=([0-9]{1,7})(?:$|[,;\s])/i;

/** Fields of one connection only (RFC 9110 section 7.6.1), whether or not Connection names them. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Fields that Connection never takes out: they are meant for every recipient (RFC 9110 section 7.6.1
 * names Cache-Control), and losing one would make a private answer look storable.
 */
const NEVER_NOMINATED: ReadonlySet<string> = new Set([
  "age",
  "cache-control",
  "cdn-cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "date",
  "expires",
  "set-cookie",
  "surrogate-control",
  "vary",
]);

/**
 * Parses a head: the latin1 text of everything before the empty line. `method` is the request's.
 * Throws what `fault` makes for a malformed head; too many fields have an error code of their own.
 */
export function parseResponseHead(text: string, method: string, fault: Fault): ResponseHead | InterimHead {
  let end = endOfLine(text, 0);
  const first = statusLines.find(text, 0, end) ?? readStatusLine(text.slice(0, end));
  if (first === null) {
    throw fault(
      `the status line is not "HTTP/1.1" or "HTTP/1.0", a status and a reason: ${shown(text.slice(0, end))}`,
    );
  }
  const { isHttp11, status } = first;

  const flat: string[] = [];
  let contentLength: number | null = null;
  let transferEncoding: string | null = null;
  let connection: string | null = null;
  let keepAliveMs: number | null = null;
  for (let count = 1; end < text.length; count++) {
    if (count > RESPONSE_FIELDS_MAX) {
      const error = fault(`the header section has more than ${RESPONSE_FIELDS_MAX} field lines`);
      throw new UpstreamError("http_response_header_section_size", error.message);
    }
    const start = end + 2;
    end = endOfLine(text, start);
    const at = flat.length;
    const name = pushFieldLine(flat, text, start, end, fault);
    if (!HOP_BY_HOP.has(name) && name !== "content-length") continue;
    const value = flat[at + 1] as string;
    flat.length = at;
    switch (name) {
      case "content-length": {
        const length = parseContentLength(value, fault);
        if (contentLength !== null && contentLength !== length) {
          throw fault(`it has two Content-Lengths, ${contentLength} and ${length}`);
        }
        if (contentLength === null) flat.push(name, isPlain(value) ? value : String(length));
        contentLength = length;
        continue;
      }
      case "transfer-encoding":
        // A second line would make a list, and only the single coding "chunked" is understood.
        transferEncoding = transferEncoding === null ? value : `${transferEncoding}, ${value}`;
        continue;
      case "connection":
        connection = connection === null ? value : `${connection},${value}`;
        continue;
      case "keep-alive": {
        const seconds = KEEP_ALIVE_TIMEOUT.exec(value)?.[1];
        if (seconds !== undefined) keepAliveMs = Number(seconds) * 1000;
        continue;
      }
      default:
    }
  }

  checkTransferEncoding(transferEncoding, contentLength, isHttp11, fault);
  if (status === 101) throw fault("it answered 101 although no upgrade was asked for");
  if (status < 200) {
    if (status < 100) throw fault(`its status ${status} is not between 200 and 599`);
    return INTERIM;
  }
  if (status > 599) throw fault(`its status ${status} is not between 200 and 599`);

  const fields = new Fields(flat);
  const closes = connection === null ? false : applyConnection(connection, fields);
  let persistent = isHttp11 && !closes;
  let framing: BodyFraming;
  if (method === "HEAD" || status === 304) {
    framing = "none";
  } else if (status === 204) {
    framing = "none";
    // RFC 9110 section 8.6, RFC 9112 section 6.1: a 204 has neither. Whatever was announced may still come.
    if (transferEncoding !== null || (contentLength ?? 0) > 0) persistent = false;
    fields.delete("content-length");
    contentLength = null;
  } else if (transferEncoding !== null) {
    framing = "chunked";
  } else if (contentLength !== null) {
    framing = "length";
  } else {
    framing = "close";
    persistent = false;
  }
  return { status, fields, framing, bodyLength: contentLength, persistent, keepAliveMs };
}

/** The end of the line that begins at `start`. */
function endOfLine(text: string, start: number): number {
  const end = text.indexOf("\r\n", start);
  return end === -1 ? text.length : end;
}

interface StatusLine {
  readonly isHttp11: boolean;
  readonly status: number;
}

const statusLines = new KnownTexts(64, 64, readStatusLine);

function readStatusLine(line: string): StatusLine | null {
  const matched = STATUS_LINE.exec(line);
  return matched === null ? null : { isHttp11: matched[1] === "1", status: Number(matched[2]) };
}

/** Digits as a number is written: without zeros in front. */
function isPlain(digits: string): boolean {
  return digits.length === 1 || digits.charCodeAt(0) !== 0x30;
}

/** RFC 9112 section 6.3: "5, 5" is a list that may be repaired; it is refused, as are signs and blanks. */
function parseContentLength(value: string, fault: Fault): number {
  if (!DIGITS.test(value) || value.length > CONTENT_LENGTH_DIGITS_MAX) {
    throw fault(
      `its Content-Length is not a number of at most ${CONTENT_LENGTH_DIGITS_MAX} digits: ${shown(value)}`,
    );
  }
  return Number(value);
}

/** RFC 9112 section 6.1: with Content-Length it "ought to be handled as an error"; HTTP/1.0 has none. */
function checkTransferEncoding(
  value: string | null,
  contentLength: number | null,
  isHttp11: boolean,
  fault: Fault,
): void {
  if (value === null) return;
  if (contentLength !== null) throw fault("it has both Transfer-Encoding and Content-Length");
  if (!isHttp11) throw fault("it has Transfer-Encoding in HTTP/1.0");
  if (value.toLowerCase() !== "chunked")
    throw fault(`its Transfer-Encoding is not "chunked": ${shown(value)}`);
}

/** Takes out the fields that Connection names; true when it says "close" (RFC 9112 section 9.6). */
function applyConnection(value: string, fields: Fields): boolean {
  let closes = false;
  for (const part of value.split(",")) {
    const option = part.trim().toLowerCase();
    if (option === "close") closes = true;
    else if (option !== "" && !NEVER_NOMINATED.has(option)) fields.delete(option);
  }
  return closes;
}
