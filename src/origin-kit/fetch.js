/** Answers as Fetch Responses: plain handlers, and Hono. */
import { BODY_FIELDS, etagOf } from "./etag.js";
import { isCurrent, pathOf, setFields } from "./fields.js";

/** @import { MiddlewareSetup } from "./node-http.js" */
/** @import { Asked } from "./fields.js" */
/** @import { HonoMiddleware } from "./types.d.ts" */
/** @typedef {{ read(): Promise<{ done: boolean, value?: Uint8Array | undefined }>, cancel(reason?: unknown): Promise<void> }} Reader */

/** Statuses without a body (Fetch Standard, "null body status"). */
const BODILESS = new Set([101, 103, 204, 205, 304]);
/**
 * How many turns of the event loop a body may take to be whole. One made from text or bytes is there at once;
 * one that is streamed is not held up for a validator.
 */
const TURNS_MAX = 3;

/** @param {MiddlewareSetup} setup @returns {(handler: (request: Request, ...rest: any[]) => Response | Promise<Response>) => (request: Request, ...rest: any[]) => Promise<Response>} */
export function fetchWrapper(setup) {
  return (handler) =>
    async (request, ...rest) => {
      const response = await handler(request, ...rest);
      return await finished(setup, request, response, setup.tagsOf([request]));
    };
}

/** @param {MiddlewareSetup} setup @returns {HonoMiddleware} */
export function honoMiddleware(setup) {
  return async (context, next) => {
    await next();
    const before = context.res;
    const after = await finished(setup, context.req.raw, before, setup.tagsOf([context, context.req.raw]));
    if (after === before) return;
    // Without this Hono would mix the fields of both.
    context.res = undefined;
    context.res = after;
  };
}

/** @param {MiddlewareSetup} setup @param {Request} request @param {Response} response @param {readonly string[]} tags @returns {Promise<Response>} */
async function finished(setup, request, response, tags) {
  // A WebSocket's answer, an error, or nothing: not ours.
  if (!(response instanceof Response) || response.status < 200) return response;
  /** @type {Asked} */
  const asked = {
    method: request.method,
    path: pathOf(request.url),
    authorization: request.headers.get("authorization"),
    cookie: request.headers.get("cookie"),
    ifNoneMatch: request.headers.get("if-none-match"),
  };
  // A copy: those of a redirect or of a fetched answer can not be changed.
  const headers = new Headers(response.headers);
  setFields(
    setup,
    asked,
    response.status,
    {
      get: (name) => headers.get(name),
      set: (name, value) => headers.set(name, value),
      remove: (name) => headers.delete(name),
    },
    tags,
    setup.isDegraded(),
  );
  const { status, statusText } = response;
  const body = await validated(setup, asked, response, headers);
  if (isCurrent(asked, status, headers.get("etag"))) {
    if (body instanceof ReadableStream) void body.cancel().catch(() => {});
    for (const name of BODY_FIELDS) headers.delete(name);
    return new Response(null, { status: 304, headers });
  }
  return new Response(BODILESS.has(status) ? null : body, { status, statusText, headers });
}

/** The body, having given it an ETag where it is whole and has none. @param {MiddlewareSetup} setup @param {Asked} asked @param {Response} response @param {Headers} headers @returns {Promise<ConstructorParameters<typeof Response>[0]>} */
async function validated(setup, asked, response, headers) {
  const { etagBytesMax } = setup;
  if (
    etagBytesMax === null ||
    response.status !== 200 ||
    (asked.method !== "GET" && asked.method !== "HEAD") ||
    response.body === null ||
    headers.has("etag") ||
    Number(headers.get("content-length") ?? 0) > etagBytesMax
  )
    return response.body;
  const read = await readNow(response.body, etagBytesMax);
  if (!(read instanceof Uint8Array)) return read;
  if (read.byteLength > 0) headers.set("etag", etagOf(read));
  return /** @type {Uint8Array<ArrayBuffer>} */ (read);
}

/** All bytes of a body that is there already; a stream of the same bytes when it is long or still to come. @param {ReadableStream<Uint8Array>} body @param {number} bytesMax @returns {Promise<Uint8Array | ReadableStream<Uint8Array>>} */
async function readNow(body, bytesMax) {
  const reader = body.getReader();
  /** @type {Uint8Array[]} */
  const pieces = [];
  let size = 0;
  const late = turns(TURNS_MAX);
  for (;;) {
    const read = reader.read();
    const got = await Promise.race([read, late]);
    if (got === null) return again(reader, pieces, read);
    if (got.done) return Buffer.concat(pieces);
    pieces.push(got.value);
    size += got.value.byteLength;
    if (size > bytesMax) return again(reader, pieces, null);
  }
}

/** Null after some turns of the event loop. @param {number} count @returns {Promise<null>} */
async function turns(count) {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
  return null;
}

/** A stream of what was read, of a read that is under way, and of the rest. @param {Reader} reader @param {Uint8Array[]} pieces @param {ReturnType<Reader["read"]> | null} pending */
function again(reader, pieces, pending) {
  let under = pending;
  return new ReadableStream({
    async pull(controller) {
      const piece = pieces.shift();
      if (piece !== undefined) {
        controller.enqueue(piece);
        return;
      }
      const { done, value } = await (under ?? reader.read());
      under = null;
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
