/** The middleware on bare `node:http`, where applications write their answers in many ways. */
import { afterEach, expect, test } from "bun:test";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createOriginKit } from "proxima-cdn/origin";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const kit = createOriginKit({ rules: [{ path: "/*", maxAgeSeconds: 60, tags: ["t"] }], health: false });
  const middleware = kit.express();
  const server = createServer((request, response) =>
    middleware(request, response, () => answer(request, response)),
  );
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/p?q=1`;
}

const WAYS: [string, (response: ServerResponse) => void][] = [
  ["end with text", (response) => response.end("hello")],
  ["end with bytes", (response) => response.end(Buffer.from("hello"))],
  ["end with a callback", (response) => response.end("hello", () => {})],
  [
    "writeHead with an object",
    (response) => response.writeHead(200, { "Content-Type": "text/plain" }).end("hello"),
  ],
  ["writeHead with a message", (response) => response.writeHead(200, "Fine", { "X-A": "1" }).end("hello")],
  [
    "write and end",
    (response) => {
      response.write("hel");
      response.end("lo");
    },
  ],
  [
    "flushHeaders",
    (response) => {
      response.flushHeaders();
      response.end("hello");
    },
  ],
];

test.each(WAYS)("an answer made by %s has its fields and its whole body", async (_way, make) => {
  const url = await serve((_request, response) => make(response));
  const response = await fetch(url);
  expect(await response.text()).toBe("hello");
  expect([response.headers.get("cache-control"), response.headers.get("cache-tag")]).toEqual([
    "public, max-age=60",
    "t",
  ]);
});

test("a cookie that is given to writeHead makes the answer private", async () => {
  const url = await serve((_request, response) => {
    response.writeHead(200, { "Set-Cookie": ["sid=1", "b=2"], "Cache-Control": "public, max-age=60" });
    response.end("hello");
  });
  const { headers } = await fetch(url);
  expect(headers.get("cache-control")).toBe("private, no-cache");
  expect(headers.getSetCookie()).toEqual(["sid=1", "b=2"]);
});

test("a body given to end alone gets a validator, and 304 goes without a body", async () => {
  const url = await serve((_request, response) => {
    response.setHeader("Content-Length", "5");
    response.end("hello");
  });
  const first = await fetch(url);
  await first.text();
  const again = await fetch(url, { headers: { "if-none-match": first.headers.get("etag") ?? "" } });
  expect([again.status, await again.text(), again.headers.get("content-type")]).toEqual([304, "", null]);
  const changed = await fetch(url, { headers: { "if-none-match": 'W/"other"' } });
  expect([changed.status, await changed.text()]).toEqual([200, "hello"]);
});

test("an answer to HEAD keeps its length", async () => {
  const url = await serve((_request, response) => {
    response.setHeader("Content-Length", "5");
    response.end();
  });
  const response = await fetch(url, { method: "HEAD" });
  expect([response.status, response.headers.get("content-length")]).toEqual([200, "5"]);
});
