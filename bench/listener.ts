/**
 * What the listener costs on a plain hit: the same kept response served by a bare runtime server and
 * through a listener. Prints the ports; drive them with a load generator, e.g.
 * `wrk -t1 -c32 -d5s http://127.0.0.1:PORT/`.
 */
import { systemClock } from "../src/base/clock.ts";
import { startListeners } from "../src/edge/listener/edge-listener.ts";
import type { ViewerResponse } from "../src/edge/message.ts";
import { Fields } from "../src/http/fields.ts";

const pairs: [string, string][] = [
  ["content-type", "text/html"],
  ["cache-control", "max-age=60"],
  ["etag", '"abc"'],
  ["date", new Date().toUTCString()],
  ["age", "5"],
  ["x-cache", "HIT"],
  ["cache-status", "Proxima; hit"],
  ["via", "1.1 proxima"],
];
const body = new Uint8Array(1_024).fill(97);
const loopback = { hostname: "127.0.0.1", port: 0 };

const headers = new Headers(pairs);
const bare = Bun.serve({
  ...loopback,
  development: false,
  fetch(request) {
    request.headers.get("host");
    return new Response(request.method === "HEAD" ? null : body, { status: 200, headers });
  },
});

const response: ViewerResponse = { status: 200, fields: Fields.from(pairs), body };
const listeners = await startListeners({
  http: loopback,
  https: null,
  http3: false,
  proxyProtocol: false,
  tls: null,
  handler(request) {
    request.fields.get("host");
    return response;
  },
  altSvc: () => true,
  requestBodyBytesMax: 1_000_000,
  clock: systemClock,
  onError: console.error,
});
console.log(`bare ${bare.port}`);
console.log(`listener ${listeners.httpAddress?.port}`);
