/** What the conformance tests share: an edge and an origin on one clock, and paths that no other test uses. */
import { afterAll, beforeAll } from "bun:test";
import { parseList } from "structured-headers";
import { ManualClock } from "../../src/base/clock.ts";
import type { BehaviorInput } from "../../src/config/types.ts";
import { formatHttpDate } from "../../src/http/date.ts";
import { type Answer, startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { type OriginHandler, type SeenRequest, startOrigin, type TestOrigin, text } from "../kit/origin.ts";

/** Where every test's clock starts: a whole second. */
export const START_MS = Date.UTC(2026, 5, 1, 12);

/** What answers a path: a handler, or the same answer each time. */
export type Handler = OriginHandler | ReturnType<typeof text>;

/** An edge and its origin. */
export interface Lab {
  readonly clock: ManualClock;
  readonly edge: TestEdge;
  readonly origin: TestOrigin;
  /** A path that no other test of this file uses, answered by `handler`. */
  path(handler: Handler, prefix?: string): string;
  /** Replaces what answers `path`. */
  answer(path: string, handler: Handler): void;
  /** GET with exactly these header fields (`accept-encoding: identity` unless given). */
  get(path: string, headers?: Record<string, string>, init?: RequestInit): Promise<Answer>;
  /** Requests for this path that reached the origin. */
  seen(path: string): SeenRequest[];
  /** Waits until this many viewers wait at the edge for an answer. */
  arrived(count: number): Promise<void>;
  /** Moves the clock by seconds. */
  pass(seconds: number): void;
  /** HTTP date `seconds` from now. */
  date(seconds?: number): string;
}

/** Starts a lab before the tests of the calling block and stops it after them. */
export function lab(
  options: Partial<TestEdgeOptions> & { readonly behavior?: Partial<BehaviorInput> } = {},
): Lab {
  const clock = new ManualClock(START_MS);
  const handlers = new Map<string, OriginHandler>();
  let origin: TestOrigin;
  let edge: TestEdge;
  let count = 0;
  beforeAll(async () => {
    origin = startOrigin((request, seen) => {
      const handler = handlers.get(pathOf(seen.target));
      return handler === undefined ? text("no such path", {}, 404) : handler(request, seen);
    }, clock);
    edge = await startTestEdge({ origin: origin.url, clock, ...options });
  });
  afterAll(async () => {
    await edge.stop();
    await origin.stop();
  });
  const answer = (path: string, handler: Handler) => {
    handlers.set(
      path,
      typeof handler === "function" ? handler : () => new Response(handler.clone().body, handler),
    );
  };
  return {
    clock,
    get edge() {
      return edge;
    },
    get origin() {
      return origin;
    },
    path(handler, prefix = "/p") {
      const path = `${prefix}${++count}`;
      answer(path, handler);
      return path;
    },
    answer,
    get: (path, headers = {}, init = {}) =>
      edge.get(path, { "accept-encoding": "identity", ...headers }, init),
    seen: (path) => origin.seen.filter(({ target }) => pathOf(target) === path),
    arrived: (count) =>
      until(() => edge.edge.stats().requestsInFlight >= count, `${count} viewers at the edge`),
    pass: (seconds) => clock.advance(seconds * 1000),
    date: (seconds = 0) => formatHttpDate(clock.now() + seconds * 1000),
  };
}

function pathOf(target: string): string {
  return target.split("?", 1)[0] as string;
}

/** A handler that numbers its answers ("1", "2", ...), each with these fields. */
export function counting(headers: Record<string, string> | [string, string][], status = 200): OriginHandler {
  let count = 0;
  return () => numbered(++count, headers, status);
}

function numbered(n: number, headers: Record<string, string> | [string, string][], status: number): Response {
  const fields = new Headers({ "content-type": "text/plain" });
  for (const [name, value] of Array.isArray(headers) ? headers : Object.entries(headers))
    fields.append(name, value);
  return new Response(status === 204 || status === 304 ? null : String(n), { status, headers: fields });
}

/** A handler with validators: 304 when If-None-Match or If-Modified-Since matches, else the whole. */
export function validating(body: string, headers: Record<string, string>): OriginHandler {
  return (request) => {
    const { etag } = headers;
    const since = request.headers.get("if-modified-since");
    const same =
      etag === undefined
        ? since !== null && since === headers["last-modified"]
        : request.headers.get("if-none-match") === etag;
    return same ? new Response(null, { status: 304, headers }) : text(body, headers);
  };
}

/** The last member of Cache-Status (that of our edge), read by a structured field library. */
export function cacheStatus(answer: Answer): { readonly name: string } & Record<string, unknown> {
  const list = parseList(answer.headers.get("cache-status") ?? "");
  const [name, parameters] = list.at(-1) ?? [];
  const read = (value: unknown): unknown =>
    typeof value === "object" && value !== null ? String(value) : value;
  return {
    name: String(name),
    ...Object.fromEntries([...(parameters as Map<string, unknown>)].map(([k, v]) => [k, read(v)])),
  };
}

/** Waits for something that another task does soon; fails after two seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 2000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited too long for: ${what}`);
    await Bun.sleep(1);
  }
}

/** A door that answers wait at until it is opened. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: () => resolve() };
}

export { type Answer, text };
