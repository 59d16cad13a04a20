/**
 * One request over node:http, because a test says which host it asks for at which address, and `fetch` of some
 * runtimes does not let it. Redirects are answers like any other.
 */
import { request as httpRequest } from "node:http";

/** Largest answer that is read, in bytes. */
const BODY_BYTES_MAX = 256 * 1024 * 1024;
/** Longest silence on the connection, in milliseconds. */
const SILENCE_MS_MAX = 30_000;

/**
 * @typedef {{ readonly method: string, readonly headers: Readonly<Record<string, string>>, readonly body?: string | Uint8Array | undefined }} Sent
 * @typedef {{ readonly status: number, readonly headers: Headers, readonly body: Uint8Array }} Got
 */

/** Sends a request to `url`'s address. @param {URL} url @param {Sent} sent @returns {Promise<Got>} */
export function send(url, { method, headers, body }) {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host: url.hostname.replace(/^\[|\]$/g, ""),
        port: url.port,
        path: `${url.pathname}${url.search}`,
        method,
        // A connection that is kept would keep the test process, and outlive the CDN.
        agent: false,
        timeout: SILENCE_MS_MAX,
        headers: {
          ...headers,
          connection: "close",
          ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
        },
      },
      (incoming) => {
        /** @type {Uint8Array[]} */
        const pieces = [];
        let size = 0;
        incoming.on("data", (piece) => {
          size += piece.length;
          if (size > BODY_BYTES_MAX)
            incoming.destroy(new RangeError(`an answer of more than ${BODY_BYTES_MAX} bytes`));
          else pieces.push(piece);
        });
        incoming.on("error", reject);
        incoming.on("end", () => {
          const fields = new Headers();
          for (let i = 0; i < incoming.rawHeaders.length; i += 2)
            fields.append(incoming.rawHeaders[i] ?? "", incoming.rawHeaders[i + 1] ?? "");
          resolve({ status: incoming.statusCode ?? 0, headers: fields, body: Buffer.concat(pieces) });
        });
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${SILENCE_MS_MAX} ms`)));
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}
