/** Types of `proxima-cdn/origin`: the origin kit, for applications on Node 20 or Bun that stand behind an edge. */

/** How answers below a path may be cached. The first rule whose path matches counts. */
export interface CacheRule {
  /** Pattern of the path: `*` stands for any characters, `?` for one, as in an edge's behaviours. */
  path: string;
  /** Seconds that browsers and caches may use it (max-age). @default 0 where another lifetime is given */
  maxAgeSeconds?: number;
  /** Seconds that shared caches, the edge among them, may use it (s-maxage). */
  sharedMaxAgeSeconds?: number;
  /** Seconds that it may be served stale while a new one is fetched (RFC 5861 section 3). */
  staleWhileRevalidateSeconds?: number;
  /** Seconds that it may be served stale while the origin fails (RFC 5861 section 4). */
  staleIfErrorSeconds?: number;
  /**
   * A year, and immutable (RFC 8246). `true`: every name below the path changes with its content. `"hashed"`:
   * those names that certainly hold a hash; the others get the rule's lifetimes.
   */
  immutable?: boolean | "hashed";
  /** Never in a shared cache: `private, no-cache`. */
  private?: boolean;
  /** The answer is the same for all, whoever is logged in: a session in the request does not make it private. */
  ignoreSession?: boolean;
  /** Seconds that 404 and 410 may be kept (max-age). Left out: the application's own word for errors stands. */
  errorMaxAgeSeconds?: number;
  /** Tags (surrogate keys) of every answer below the path. */
  tags?: readonly string[];
}

/** When the origin says of itself that it suffers. */
export interface HealthOptions {
  /** Mean delay of the event loop over five seconds, in milliseconds. @default 200 */
  delayMs?: number;
  /** Share of the heap's limit that is in use. @default 0.9 */
  heapFraction?: number;
  /** So long it has to be well again before it says so, in milliseconds. @default 10000 */
  recoverMs?: number;
}

/** What a change of content makes invalid. At least one of them holds something. */
export interface Affected {
  /** Absolute URLs, as viewers ask for them. */
  urls?: readonly string[];
  tags?: readonly string[];
  /** Paths, or hosts and paths, that begin so. */
  prefixes?: readonly string[];
}

/** Where and how content changes are told. */
export interface PurgeOptions {
  /** Control listeners of the edges: `http://127.0.0.1:8081`. Each is told of everything. */
  control: string | readonly string[];
  /** Bearer token of the control listeners. Not sent over plain http beyond loopback. */
  token?: string;
  /** Id of the site; may be left out where the edge has one. */
  site?: string;
  /** `soft` makes stale, `hard` takes away. @default "hard" */
  mode?: "hard" | "soft";
  /** By kind of content: what an item of it stands on. */
  content?: Readonly<Record<string, (id: string, detail: unknown) => Affected>>;
  /** Changes within so long are told together, in milliseconds. @default 50 */
  gatherMs?: number;
  /**
   * Most targets that wait for one control listener. When there are more, they are replaced by one purge of
   * everything of the site: no change is lost, and memory has a limit. @default 100000
   */
  waitingMax?: number;
  /** Answers that take longer are given up and asked for again, in milliseconds. @default 10000 */
  timeoutMs?: number;
  /** The HTTP client, for proxies and private certificate authorities. @default globalThis.fetch */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Options of `createOriginKit`. */
export interface OriginKitOptions {
  rules?: readonly CacheRule[];
  /**
   * Cookies that carry a session; a `*` at the end stands for any characters, and the prefixes `__Host-` and
   * `__Secure-` are seen through. A request with one of them, or with Authorization, has a private answer.
   */
  sessionCookies?: readonly string[];
  /** Gives answers an ETag that have none and are no longer than this, in bytes; false: none. @default 1048576 */
  etagBytesMax?: number | false;
  /** False: the origin never says that it suffers. */
  health?: HealthOptions | false;
  purge?: PurgeOptions;
  /** Hears in one sentence what went wrong; there is no token in it. @default console.warn */
  onProblem?: (message: string) => void;
}

/** What waits to be told. */
export interface Flushed {
  /** Targets that are not acknowledged yet. */
  readonly waiting: number;
}

/** A request or response object of a framework: whatever the application has at hand. */
export type Exchange = object;

/** Connect-style middleware: Express, Connect, or `node:http` itself. */
export type ConnectMiddleware = (
  // biome-ignore lint/suspicious/noExplicitAny: the frameworks' own types differ, and are not ours to import
  request: any,
  // biome-ignore lint/suspicious/noExplicitAny: as above
  response: any,
  next: (error?: unknown) => void,
) => void;

/** Fastify plugin: `await app.register(kit.fastify())`, before the routes. */
export type FastifyPlugin = (
  // biome-ignore lint/suspicious/noExplicitAny: as above
  instance: any,
  options: unknown,
  done: (error?: Error) => void,
) => void;

/** Hono middleware. */
export type HonoMiddleware = (
  // biome-ignore lint/suspicious/noExplicitAny: as above
  context: any,
  next: () => Promise<void>,
) => Promise<void>;

/** The origin's side of a CDN. */
export interface OriginKit {
  /** `app.use(kit.express())`, before what answers. */
  express(): ConnectMiddleware;
  fastify(): FastifyPlugin;
  /** `app.use(kit.hono())`. */
  hono(): HonoMiddleware;
  /** Wraps a Fetch handler: `Bun.serve({ fetch: kit.fetch(handler) })`. */
  fetch<Rest extends unknown[]>(
    handler: (request: Request, ...rest: Rest) => Response | Promise<Response>,
  ): (request: Request, ...rest: Rest) => Promise<Response>;
  /**
   * Tags the answer of an exchange: the request or response of Express and Fastify, the context of Hono, the
   * Request of a Fetch handler. Throws a RangeError for a tag longer than 1,024 characters.
   */
  tag(exchange: Exchange, ...tags: readonly (string | number)[]): void;
  /** An item of content has changed: what `purge.content` says of it is purged. Throws for a kind it does not know. */
  changed(kind: string, id: string | number, detail?: unknown): void;
  /** Purges without the map. */
  purge(affected: Affected): void;
  /** True while answers say that the origin suffers. */
  readonly degraded: boolean;
  /** Says that the origin suffers for a reason of the application's own; null takes it back. */
  suffer(reason: string | null): void;
  /** Resolves when everything that waits is acknowledged, or after `timeoutMs`. */
  flush(options?: { timeoutMs?: number }): Promise<Flushed>;
  /** Flushes, then ends timers and retries. What is not acknowledged by then is told to `onProblem`. */
  close(options?: { timeoutMs?: number }): Promise<Flushed>;
}

/** Makes a kit. Throws a TypeError that names the option that is wrong, and what is allowed. */
export declare function createOriginKit(options?: OriginKitOptions): OriginKit;
