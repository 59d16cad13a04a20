/**
 * The head of a request as bytes (RFC 9112 section 3): origin-form, Host first, and one of
 * Content-Length and Transfer-Encoding made here and nowhere else. Every part is checked before it is
 * written, so that no value, from a viewer or a config, can end a line and begin another.
 */
import { TextParts } from "../../http/text-parts.ts";
import { UpstreamError, type UpstreamRequest } from "../next-hop.ts";

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** uri-host and port (RFC 9110 section 7.2): no slash, no @, no white space. */
const AUTHORITY = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]+$/;
/** Visible ASCII without "#", which never is part of a target (RFC 9112 section 3.2). */
const TARGET = /^\/[\x21\x22\x24-\x7e]*$/;
/** What a field value must not have: controls other than HTAB, and what latin1 can not write. */
const FORBIDDEN_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Fields that the client makes itself; a request that brings one was put together wrongly. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** Methods whose request has a meaning for content: without a body they say so (RFC 9110 section 8.6). */
const LENGTH_EXPECTED: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

const text = new TextParts();

/**
 * The bytes of a request's head. `pathPrefix` (no slash at its end) is put before the target. Throws
 * http_request_error when a part can not be written as it is.
 */
export function writeRequestHead(request: UpstreamRequest, pathPrefix: string): Buffer {
  const { method, authority, body, bodyLength } = request;
  if (!TOKEN.test(method) || method === "CONNECT") throw refused("method", method);
  if (!AUTHORITY.test(authority)) throw refused("authority", authority);
  const isServerWide = request.target === "*" && method === "OPTIONS";
  const target = isServerWide ? "*" : pathPrefix + request.target;
  if (!isServerWide && !(request.target.startsWith("/") && TARGET.test(target))) {
    throw refused("target", request.target);
  }
  text.begin();
  text.add(method);
  text.add(" ");
  text.add(target);
  text.add(" HTTP/1.1\r\n");
  text.line("host", authority);
  const { flat } = request.fields;
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    const value = flat[i + 1] as string;
    if (!TOKEN.test(name) || OWN_FIELDS.has(name.toLowerCase())) throw refused("field name", name);
    if (FORBIDDEN_IN_VALUE.test(value)) throw refused(`value of the field ${name}`, value);
    // The body follows at once, so nobody waits for a 100 (RFC 9110 section 10.1.1).
    if (name === "expect") continue;
    text.line(name, value);
  }
  if (body !== null) {
    if (bodyLength === null) text.line("transfer-encoding", "chunked");
    else if (Number.isSafeInteger(bodyLength) && bodyLength >= 0)
      text.line("content-length", String(bodyLength));
    else throw refused("body length", String(bodyLength));
  } else if (LENGTH_EXPECTED.has(method)) {
    text.line("content-length", "0");
  }
  text.add("\r\n");
  return text.bytes();
}

function refused(part: string, value: string): UpstreamError {
  const shown = JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
  return new UpstreamError(
    "http_request_error",
    `the request's ${part} can not be sent to an origin: ${shown}`,
  );
}
