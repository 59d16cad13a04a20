/** An origin for a test: an application whose answers the test writes, and which remembers what it was asked. */
import type { Clock } from "../../src/base/clock.ts";
import { formatHttpDate } from "../../src/http/date.ts";

/** A request that reached the origin. */
export interface SeenRequest {
  readonly method: string;
  /** Path and query as received. */
  readonly target: string;
  readonly headers: Headers;
}

/** A running origin. */
export interface TestOrigin {
  readonly url: string;
  readonly port: number;
  /** Every request so far, in order. */
  readonly seen: SeenRequest[];
  /** How often this target was asked for; without one, all requests. */
  count(target?: string): number;
  /** Replaces what answers. */
  answer(handler: OriginHandler): void;
  stop(): Promise<void>;
}

/** Answers one request. */
export type OriginHandler = (request: Request, seen: SeenRequest) => Response | Promise<Response>;

/** Starts an origin on a free port. Its Date is that of `clock`, so that a moved clock moves both sides. */
export function startOrigin(handler: OriginHandler, clock?: Clock): TestOrigin {
  const seen: SeenRequest[] = [];
  let current = handler;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 60,
    async fetch(request) {
      const entry = {
        method: request.method,
        target: request.url.slice(request.url.indexOf("/", 8)),
        headers: request.headers,
      };
      seen.push(entry);
      const response = await current(request, entry);
      if (clock !== undefined && !response.headers.has("date"))
        response.headers.set("date", formatHttpDate(clock.now()));
      return response;
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    port: server.port as number,
    seen,
    count: (target) =>
      target === undefined ? seen.length : seen.filter((request) => request.target === target).length,
    answer(next) {
      current = next;
    },
    stop: () => server.stop(true),
  };
}

/** A text answer with these fields. */
export function text(body: string, headers: Record<string, string> = {}, status = 200): Response {
  return new Response(body, { status, headers: { "content-type": "text/plain", ...headers } });
}
