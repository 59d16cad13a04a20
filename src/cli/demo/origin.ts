/**
 * The small site that `proxima dev` puts the edge in front of when no origin is named. It has one resource
 * of each kind that a cache treats differently, and is deterministic but for the time it tells.
 */
import { evaluateConditional } from "../../http/conditional.ts";
import type { Trial } from "../banner.ts";
import { script, style } from "./assets.ts";
import { sunrisePng, sunriseSvg, sunriseWebp } from "./images.ts";
import { accountPage, CONTENT_SECURITY_POLICY, missingPage, startPage } from "./page.ts";

/** Ticks that one `/events` stream sends, one a second, before it ends. */
export const EVENTS_MAX = 60;
/** How long `/slow` takes, in milliseconds. */
export const SLOW_MS = 1000;
const PRODUCTS_PAGE_MAX = 5;
const PRODUCTS_PER_PAGE = 4;
const LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT";

/** A demo site that runs in this process, on loopback only. */
export interface DemoOrigin {
  readonly url: string;
  /** What to try on it, through the edge: a MISS, a HIT and an answer that is never kept. */
  readonly trials: readonly Trial[];
  /** Ends it, streams included. */
  stop(): Promise<void>;
}

/** Starts the demo site on a free port of 127.0.0.1. */
export async function startDemoOrigin(): Promise<DemoOrigin> {
  const static_ = await staticResources();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    // Longer than the pauses of /slow and /events.
    idleTimeout: 30,
    fetch: (request) => answer(request, static_),
    error: () =>
      new Response("The demo site failed.\n", {
        status: 500,
        headers: { "content-type": "text/plain; charset=utf-8" },
      }),
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    trials: [
      { shows: "MISS: the edge asks the origin", path: "/api/products" },
      { shows: "HIT: the same again, from the cache", path: "/api/products" },
      { shows: "never kept: it is personal", path: "/account", arguments: "-b name=Ada" },
    ],
    stop: () => server.stop(true),
  };
}

/** A response that does not change while the site runs. */
interface Resource {
  readonly type: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
  readonly cacheControl: string;
  readonly etag: string;
  readonly fields?: Readonly<Record<string, string>>;
}

function resource(
  type: string,
  content: string | Uint8Array,
  cacheControl: string,
  fields?: Readonly<Record<string, string>>,
): Resource {
  const body = typeof content === "string" ? content : new Uint8Array(content);
  const etag = `"${new Bun.CryptoHasher("sha256").update(body).digest("hex").slice(0, 24)}"`;
  return { type, body, cacheControl, etag, ...(fields === undefined ? {} : { fields }) };
}

async function staticResources(): Promise<ReadonlyMap<string, Resource>> {
  const png = sunrisePng();
  const hour = "public, max-age=3600";
  const forEver = "public, max-age=31536000, immutable";
  return new Map([
    // The edge keeps the page for a minute, the browser asks each time.
    ["/", resource(HTML, startPage(), "public, max-age=0, s-maxage=60", PAGE_FIELDS)],
    [style.path, resource("text/css; charset=utf-8", style.content, forEver)],
    [script.path, resource("text/javascript; charset=utf-8", script.content, forEver)],
    ["/images/sunrise.svg", resource("image/svg+xml", sunriseSvg(), hour)],
    ["/images/sunrise.png", resource("image/png", png, hour)],
    ["/images/sunrise.webp", resource("image/webp", await sunriseWebp(png), hour)],
    [
      "/robots.txt",
      resource("text/plain; charset=utf-8", "User-agent: *\nDisallow: /account\n", "public, max-age=86400"),
    ],
  ]);
}

const HTML = "text/html; charset=utf-8";
const JSON_TYPE = "application/json";
const PAGE_FIELDS = {
  "content-security-policy": CONTENT_SECURITY_POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

async function answer(request: Request, resources: ReadonlyMap<string, Resource>): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return send(request, 405, "text/plain; charset=utf-8", "Only GET and HEAD.\n", { allow: "GET, HEAD" });
  }
  const url = URL.canParse(request.url) ? new URL(request.url) : null;
  const known = resources.get(url?.pathname ?? "");
  if (known !== undefined) return sendResource(request, known);
  switch (url?.pathname) {
    case "/api/time":
      return send(request, 200, JSON_TYPE, json({ time: new Date().toISOString() }), {
        "cache-control": "s-maxage=5, stale-while-revalidate=30",
      });
    case "/api/products":
      return products(request, url.searchParams.get("page"));
    case "/account":
      return send(request, 200, HTML, accountPage(cookie(request, "name")), {
        ...PAGE_FIELDS,
        "cache-control": "private, no-store",
        "set-cookie": "session=demo; Path=/; HttpOnly; SameSite=Lax",
      });
    case "/slow":
      await Bun.sleep(SLOW_MS);
      return send(request, 200, JSON_TYPE, json({ waitedMs: SLOW_MS }), {
        "cache-control": "public, max-age=10",
      });
    case "/events":
      return events(request);
    default:
      return send(request, 404, HTML, missingPage(), {
        ...PAGE_FIELDS,
        "cache-control": "public, max-age=5",
      });
  }
}

/** A page of the catalogue, with the tags that a purge can name. */
function products(request: Request, asked: string | null): Response {
  const page = asked === null ? 1 : /^[1-9][0-9]?$/.test(asked) ? Number(asked) : 0;
  if (page < 1 || page > PRODUCTS_PAGE_MAX) {
    const error = `page must be a whole number from 1 to ${PRODUCTS_PAGE_MAX}`;
    return send(request, 400, JSON_TYPE, json({ error }), { "cache-control": "no-store" });
  }
  const items = Array.from({ length: PRODUCTS_PER_PAGE }, (_, i) => {
    const id = (page - 1) * PRODUCTS_PER_PAGE + i + 1;
    return { id, name: `Lamp No. ${id}`, priceCents: 1900 + id * 150 };
  });
  const tags = ["products", ...items.map(({ id }) => `product-${id}`)];
  return send(request, 200, JSON_TYPE, json({ page, pages: PRODUCTS_PAGE_MAX, items }), {
    "cache-control": "public, max-age=30",
    "surrogate-key": tags.join(" "),
  });
}

/** Server-sent events: a tick a second, until the viewer goes or the last one. */
function events(request: Request): Response {
  const encoder = new TextEncoder();
  let timer: ReturnType<typeof setInterval> | undefined;
  const stop = () => clearInterval(timer);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      let tick = 0;
      const next = () => {
        tick += 1;
        controller.enqueue(encoder.encode(`event: tick\ndata: ${tick}\n\n`));
        if (tick < EVENTS_MAX) return;
        stop();
        controller.close();
      };
      next();
      timer = setInterval(next, 1000);
    },
    cancel: stop,
  });
  const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
  if (request.method !== "HEAD") return new Response(stream, { headers });
  void stream.cancel();
  return new Response(null, { headers });
}

function sendResource(request: Request, known: Resource): Response {
  const fields = {
    ...known.fields,
    "cache-control": known.cacheControl,
    etag: known.etag,
    "last-modified": LAST_MODIFIED,
  };
  const condition = evaluateConditional(request.method, request.headers, {
    etag: known.etag,
    lastModifiedMs: Date.parse(LAST_MODIFIED),
  });
  switch (condition) {
    case "not-modified":
      return new Response(null, { status: 304, headers: fields });
    case "precondition-failed":
      return send(request, 412, "text/plain; charset=utf-8", "It has changed.\n", {});
    case "proceed":
      return send(request, 200, known.type, known.body, fields);
  }
}

function send(
  request: Request,
  status: number,
  type: string,
  body: string | Uint8Array<ArrayBuffer>,
  fields: Readonly<Record<string, string>>,
): Response {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const headers = { ...fields, "content-type": type, "content-length": String(bytes.byteLength) };
  return new Response(request.method === "HEAD" ? null : bytes, { status, headers });
}

function json(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** The value of a cookie, percent-decoded where it can be; null when absent. */
function cookie(request: Request, name: string): string | null {
  for (const pair of (request.headers.get("cookie") ?? "").split(";")) {
    const equals = pair.indexOf("=");
    if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
    const value = pair.slice(equals + 1).trim();
    try {
      return decodeURIComponent(value);
    } catch {
      return value;
    }
  }
  return null;
}
