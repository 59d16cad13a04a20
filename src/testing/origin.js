/** What a test gives as its origin, made something that the program can ask. */
import { createServer } from "node:http";

/** @import { IncomingMessage, Server, ServerResponse } from "node:http" */
/** @import { FetchApp, Origin } from "./types.d.ts" */

/** Largest body of a request that is handed to a Fetch application, in bytes. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;

/**
 * What the command line is told, and how it is ended.
 * @typedef {{ readonly argument: string, readonly stop: () => Promise<void> }} StartedOrigin
 */

/** @param {Origin} origin @returns {Promise<StartedOrigin>} */
export async function startOrigin(origin) {
  if (typeof origin === "string") return { argument: origin, stop: async () => {} };
  if (origin instanceof URL) return { argument: origin.href, stop: async () => {} };
  if (typeof origin === "function")
    return await listen(createServer((request, response) => run(origin, request, response)));
  // A server of Bun.serve has a `fetch` too, and listens already.
  if ("listen" in origin) return await ofServer(origin);
  if ("fetch" in origin && typeof origin.fetch === "function")
    return await listen(
      createServer((request, response) => run((...both) => answer(origin, ...both), request, response)),
    );
  throw new TypeError(
    "origin: expected a URL, a directory, a handler (request, response), a server, or { fetch }",
  );
}

/** One that listens is the caller's to end. @param {Server} server @returns {Promise<StartedOrigin>} */
async function ofServer(server) {
  return server.listening ? { argument: urlOf(server), stop: async () => {} } : await listen(server);
}

/** @param {Server} server @returns {Promise<StartedOrigin>} */
async function listen(server) {
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(undefined));
  });
  return {
    argument: urlOf(server),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** @param {Server} server */
function urlOf(server) {
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new TypeError("origin: the server listens on no port");
  const host = address.family === "IPv6" ? "[::1]" : "127.0.0.1";
  return `http://${host}:${address.port}`;
}

/**
 * A handler that throws is a failing origin, and not the end of the test process.
 * @param {(request: IncomingMessage, response: ServerResponse) => unknown} handler
 * @param {IncomingMessage} request
 * @param {ServerResponse} response
 */
async function run(handler, request, response) {
  try {
    await handler(request, response);
  } catch (error) {
    console.error("the test's origin failed:", error);
    if (response.headersSent) response.destroy();
    else response.writeHead(500, { "cache-control": "no-store" }).end();
  }
}

/** @param {FetchApp} app @param {IncomingMessage} incoming @param {ServerResponse} outgoing */
async function answer(app, incoming, outgoing) {
  const method = incoming.method ?? "GET";
  const headers = new Headers();
  for (let i = 0; i < incoming.rawHeaders.length; i += 2)
    headers.append(incoming.rawHeaders[i] ?? "", incoming.rawHeaders[i + 1] ?? "");
  const body = method === "GET" || method === "HEAD" ? null : await whole(incoming);
  const request = new Request(`http://${incoming.headers.host}${incoming.url}`, { method, headers, body });
  const response = await app.fetch(request);
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers) if (name !== "set-cookie") outgoing.setHeader(name, value);
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
  if (response.body !== null) for await (const piece of response.body) outgoing.write(piece);
  outgoing.end();
}

/** @param {IncomingMessage} incoming */
async function whole(incoming) {
  const pieces = [];
  let size = 0;
  for await (const piece of incoming) {
    size += piece.length;
    if (size > BODY_BYTES_MAX) throw new RangeError(`a body of more than ${BODY_BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
