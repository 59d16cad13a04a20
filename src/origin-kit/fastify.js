/** A Fastify plugin: one hook that sees each answer when it is ready to leave. */
import { BODY_FIELDS, etagOf } from "./etag.js";
import { isCurrent, setFields } from "./fields.js";
import { askedOf, joined } from "./node-http.js";

/** @import { MiddlewareSetup } from "./node-http.js" */
/** @import { FastifyPlugin } from "./types.d.ts" */
/** @import { IncomingMessage } from "node:http" */

/**
 * @typedef {object} Reply what is used of Fastify's
 * @property {number} statusCode
 * @property {(name: string) => string | number | string[] | undefined} getHeader
 * @property {(name: string, value: string) => void} header
 * @property {(name: string) => void} removeHeader
 * @property {(status: number) => void} code
 */

/** @param {MiddlewareSetup} setup @returns {FastifyPlugin} */
export function fastifyPlugin(setup) {
  /** @type {FastifyPlugin} */
  const plugin = (instance, _options, done) => {
    instance.addHook(
      "onSend",
      (
        /** @type {{ method: string, url: string, originalUrl?: string, headers: IncomingMessage["headers"] }} */ request,
        /** @type {Reply} */ reply,
        /** @type {unknown} */ payload,
        /** @type {(error: Error | null, payload?: unknown) => void} */ next,
      ) => {
        next(null, onSend(setup, request, reply, payload));
      },
    );
    done();
  };
  // The hook is for the whole application, not for the plugin's own scope (what fastify-plugin does).
  return Object.assign(plugin, { [Symbol.for("skip-override")]: true });
}

/** @param {MiddlewareSetup} setup @param {{ method: string, url: string, originalUrl?: string, headers: IncomingMessage["headers"] }} request @param {Reply} reply @param {unknown} payload */
function onSend(setup, request, reply, payload) {
  const asked = askedOf(request.headers, request.method, request.originalUrl ?? request.url);
  setFields(
    setup,
    asked,
    reply.statusCode,
    {
      get: (name) => joined(reply.getHeader(name)),
      set: (name, value) => reply.header(name, value),
      remove: (name) => reply.removeHeader(name),
    },
    setup.tagsOf([request, reply]),
    setup.isDegraded(),
  );
  const { etagBytesMax } = setup;
  const isBody = typeof payload === "string" || payload instanceof Uint8Array;
  if (
    etagBytesMax !== null &&
    isBody &&
    reply.statusCode === 200 &&
    (asked.method === "GET" || asked.method === "HEAD") &&
    payload.length > 0 &&
    payload.length <= etagBytesMax &&
    reply.getHeader("etag") === undefined
  ) {
    reply.header("etag", etagOf(payload));
  }
  if (!isBody || !isCurrent(asked, reply.statusCode, joined(reply.getHeader("etag")))) return payload;
  reply.code(304);
  for (const name of BODY_FIELDS) reply.removeHeader(name);
  return "";
}
