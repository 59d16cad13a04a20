/**
 * Connect-style middleware for responses of `node:http`: Express and what is like it. The answer is not ours
 * to make, so its methods are wrapped: the header section is set just before it leaves, and a body that comes
 * in one piece gets its validator.
 */
import { BODY_FIELDS, etagOf } from "./etag.js";
import { isCurrent, pathOf, setFields } from "./fields.js";

/** @import { IncomingMessage, ServerResponse } from "node:http" */
/** @import { Asked, Fields, Setup } from "./fields.js" */
/** @import { ConnectMiddleware } from "./types.d.ts" */

/**
 * @typedef {Setup & {
 *   readonly etagBytesMax: number | null,
 *   readonly isDegraded: () => boolean,
 *   readonly tagsOf: (exchanges: readonly object[]) => readonly string[],
 * }} MiddlewareSetup
 */

/** What counts of the headers of `node:http`. @param {IncomingMessage["headers"]} headers @param {string} method @param {string} target @returns {Asked} */
export function askedOf(headers, method, target) {
  return {
    method,
    path: pathOf(target),
    authorization: headers.authorization ?? null,
    cookie: headers.cookie ?? null,
    ifNoneMatch: headers["if-none-match"] ?? null,
  };
}

/** @param {string | number | readonly string[] | undefined} value */
export function joined(value) {
  return value === undefined ? null : Array.isArray(value) ? value.join(", ") : String(value);
}

/** @param {MiddlewareSetup} setup @returns {ConnectMiddleware} */
export function connectMiddleware(setup) {
  return (/** @type {IncomingMessage} */ request, /** @type {ServerResponse} */ response, next) => {
    // Routers shorten `url` below the place where they are mounted; the first one said what was asked.
    const target = "originalUrl" in request ? String(request.originalUrl) : (request.url ?? "/");
    wrap(setup, askedOf(request.headers, request.method ?? "GET", target), request, response);
    next();
  };
}

/** @param {MiddlewareSetup} setup @param {Asked} asked @param {IncomingMessage} request @param {ServerResponse} response */
function wrap(setup, asked, request, response) {
  const { writeHead, write, end, flushHeaders } = response;
  /** @type {Fields} */
  const fields = {
    get: (name) => joined(response.getHeader(name)),
    set: (name, value) => response.setHeader(name, value),
    remove: (name) => response.removeHeader(name),
  };
  let isSet = false;
  const set = () => {
    if (isSet || response.headersSent) return;
    isSet = true;
    setFields(
      setup,
      asked,
      response.statusCode,
      fields,
      setup.tagsOf([request, response]),
      setup.isDegraded(),
    );
  };

  /** @param {number} status @param {unknown[]} rest */
  const wrappedHead = (status, ...rest) => {
    // Not final: 100, 102, 103 (RFC 9110 section 15.2).
    if (status < 200) return Reflect.apply(writeHead, response, [status, ...rest]);
    const message = typeof rest[0] === "string" ? rest.shift() : undefined;
    takeHeaders(response, rest[0]);
    response.statusCode = status;
    set();
    return Reflect.apply(writeHead, response, message === undefined ? [status] : [status, message]);
  };
  response.writeHead = /** @type {typeof writeHead} */ (wrappedHead);
  response.flushHeaders = () => {
    set();
    return Reflect.apply(flushHeaders, response, []);
  };
  response.write = /** @type {typeof write} */ (
    /** @param {unknown[]} args */
    (...args) => {
      set();
      return Reflect.apply(write, response, args);
    }
  );
  response.end = /** @type {typeof end} */ (
    /** @param {unknown[]} args */
    (...args) => {
      const whole = !response.headersSent && !isSet;
      set();
      if (whole && validate(args[0])) {
        response.statusCode = 304;
        for (const name of BODY_FIELDS) response.removeHeader(name);
        const done = args.find((one) => typeof one === "function");
        return Reflect.apply(end, response, done === undefined ? [] : [done]);
      }
      return Reflect.apply(end, response, args);
    }
  );

  /** Gives a whole body its ETag; true when the viewer has it already. @param {unknown} body */
  function validate(body) {
    const { etagBytesMax } = setup;
    const isBody = typeof body === "string" || body instanceof Uint8Array;
    if (
      etagBytesMax !== null &&
      isBody &&
      response.statusCode === 200 &&
      (asked.method === "GET" || asked.method === "HEAD") &&
      body.length > 0 &&
      body.length <= etagBytesMax &&
      !response.hasHeader("etag")
    ) {
      response.setHeader("etag", etagOf(body));
    }
    return isCurrent(asked, response.statusCode, fields.get("etag"));
  }
}

/** Takes over header fields given to writeHead: an object, a flat list or a list of pairs. @param {ServerResponse} response @param {unknown} headers */
function takeHeaders(response, headers) {
  if (Array.isArray(headers)) {
    const flat = headers.flat();
    /** @type {Map<string, string[]>} */
    const lines = new Map();
    for (let i = 0; i + 1 < flat.length; i += 2) {
      const name = String(flat[i]);
      lines.set(name, [...(lines.get(name) ?? []), String(flat[i + 1])]);
    }
    for (const [name, values] of lines)
      response.setHeader(name, values.length === 1 ? (values[0] ?? "") : values);
  } else if (typeof headers === "object" && headers !== null) {
    for (const [name, value] of Object.entries(headers))
      if (value !== undefined) response.setHeader(name, value);
  }
}
