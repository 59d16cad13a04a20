/**
 * One application in four frameworks, each behind the origin kit: what a viewer sees of it must not depend on
 * the framework. Plain JavaScript, because it runs on Node as well.
 *
 * As a program: `node origin-apps.mjs FRAMEWORK` prints its port, and ends with its standard input.
 */
import { createServer } from "node:http";
import { Readable } from "node:stream";
import express from "express";
import fastify from "fastify";
import { Hono } from "hono";
import { createOriginKit } from "proxima-cdn/origin";

export const frameworks = /** @type {const} */ (["express", "fastify", "hono", "fetch"]);

/** What the application answers, by path. @type {Record<string, { status?: number, fields?: Record<string, string>, body?: string, tags?: string[], streamed?: boolean }>} */
export const answers = {
  "/page": { body: "<p>page</p>", tags: ["page-1", "two words, one comma"] },
  "/assets/app-4f3a9c1b.js": { body: "code" },
  "/assets/plain.js": { body: "plain" },
  "/assets/gone.js": { status: 404, body: "gone" },
  "/account/me": { body: "me" },
  "/login": {
    body: "welcome",
    fields: {
      "set-cookie": "sid=1",
      "cache-control": "public, max-age=60",
      "cdn-cache-control": "max-age=600",
    },
  },
  "/own": { body: "own", fields: { "cache-control": "max-age=7", etag: '"mine"' } },
  "/stream": { body: "a long story", streamed: true },
  "/none": { status: 204 },
  "/broken": { status: 500, body: "oh" },
};

/** The kit's options for it. @type {import("proxima-cdn/origin").OriginKitOptions} */
export const options = {
  rules: [
    {
      path: "/assets/*",
      immutable: "hashed",
      maxAgeSeconds: 60,
      ignoreSession: true,
      errorMaxAgeSeconds: 5,
      tags: ["assets"],
    },
    { path: "/account/*", private: true },
    { path: "/*", sharedMaxAgeSeconds: 300, staleWhileRevalidateSeconds: 30, staleIfErrorSeconds: 600 },
  ],
};

/**
 * Starts it on a free port of loopback.
 * @param {(typeof frameworks)[number]} framework
 */
export async function startApp(framework) {
  const kit = createOriginKit(options);
  const listening = await starters[framework](kit);
  return {
    kit,
    url: `http://127.0.0.1:${listening.port}`,
    async stop() {
      await listening.stop();
      await kit.close();
    },
  };
}

/** @typedef {{ port: number, stop: () => unknown }} Listening */
/** @type {Record<(typeof frameworks)[number], (kit: import("proxima-cdn/origin").OriginKit) => Promise<Listening>>} */
const starters = {
  async express(kit) {
    const app = express();
    app.use(kit.express());
    for (const [path, answer] of Object.entries(answers)) {
      app.get(path, (request, response) => {
        if (answer.tags !== undefined) kit.tag(path === "/page" ? request : response, ...answer.tags);
        response.status(answer.status ?? 200);
        for (const [name, value] of Object.entries(answer.fields ?? {})) response.set(name, value);
        if (answer.streamed) Readable.from([Buffer.from(answer.body ?? "")]).pipe(response);
        else if (answer.body === undefined) response.end();
        else response.type("text").send(answer.body);
      });
    }
    return await listen(createServer(app));
  },
  async fastify(kit) {
    const app = fastify();
    await app.register(kit.fastify());
    for (const [path, answer] of Object.entries(answers)) {
      app.get(path, (_request, reply) => {
        if (answer.tags !== undefined) kit.tag(reply, ...answer.tags);
        reply
          .code(answer.status ?? 200)
          .headers(answer.fields ?? {})
          .type("text/plain");
        return reply.send(answer.streamed ? Readable.from([Buffer.from(answer.body ?? "")]) : answer.body);
      });
    }
    await app.listen({ host: "127.0.0.1", port: 0 });
    return { port: portOf(app.server.address()), stop: () => app.close() };
  },
  async hono(kit) {
    const app = new Hono();
    app.use(kit.hono());
    for (const [path, answer] of Object.entries(answers)) {
      app.get(path, (context) => {
        if (answer.tags !== undefined) kit.tag(context, ...answer.tags);
        return responseOf(answer);
      });
    }
    return await serveFetch((request) => app.fetch(request));
  },
  async fetch(kit) {
    return await serveFetch(
      kit.fetch((request) => {
        const answer = answers[new URL(request.url).pathname];
        if (answer === undefined) return new Response("not found", { status: 404 });
        if (answer.tags !== undefined) kit.tag(request, ...answer.tags);
        return responseOf(answer);
      }),
    );
  },
};

/** @param {(typeof answers)[string]} answer */
function responseOf({ status = 200, fields = {}, body, streamed = false }) {
  const headers = { "content-type": "text/plain", ...fields };
  if (!streamed || body === undefined) return new Response(body ?? null, { status, headers });
  const late = new ReadableStream({
    async start(controller) {
      for (const character of body) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        controller.enqueue(new TextEncoder().encode(character));
      }
      controller.close();
    },
  });
  return new Response(late, { status, headers });
}

/** Serves a Fetch handler by what the runtime has. @param {(request: Request) => Response | Promise<Response>} handler @returns {Promise<Listening>} */
async function serveFetch(handler) {
  if (process.versions.bun !== undefined) {
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: handler });
    return { port: server.port ?? 0, stop: () => server.stop(true) };
  }
  return await listen(
    createServer(async (request, response) => {
      const headers = new Headers();
      for (let i = 0; i + 1 < request.rawHeaders.length; i += 2)
        headers.append(request.rawHeaders[i] ?? "", request.rawHeaders[i + 1] ?? "");
      const answer = await handler(
        new Request(`http://${request.headers.host}${request.url}`, {
          method: request.method ?? "GET",
          headers,
        }),
      );
      response.writeHead(answer.status, [...answer.headers].flat());
      if (answer.body !== null) for await (const piece of answer.body) response.write(piece);
      response.end();
    }),
  );
}

/** @param {import("node:http").Server} server @returns {Promise<Listening>} */
async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  return {
    port: portOf(server.address()),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve(null));
        server.closeAllConnections();
      }),
  };
}

/** @param {ReturnType<import("node:http").Server["address"]>} address */
function portOf(address) {
  return typeof address === "object" && address !== null ? address.port : 0;
}

if (process.argv[1]?.endsWith("origin-apps.mjs")) {
  const app = await startApp(/** @type {(typeof frameworks)[number]} */ (process.argv[2]));
  process.stdout.write(`${app.url}\n`);
  process.stdin.resume();
  process.stdin.on("end", () => void app.stop());
}
