/** Types of `proxima-cdn/testing`: a CDN for tests, on Node 20 or Bun, with node:test, vitest, jest or bun:test. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";

/** An application that answers Fetch requests: Hono, an object of your own. */
export interface FetchApp {
  fetch(request: Request): Response | Promise<Response>;
}

/** What stands behind the CDN: a URL, a directory, or an application that is started for the time of the test. */
export type Origin =
  | string
  | URL
  | Server
  | FetchApp
  | ((request: IncomingMessage, response: ServerResponse) => unknown);

/** How a CDN is started. */
export interface CdnOptions {
  /** With `config` it stands in for every origin of every site there; without, for one site that takes any host. */
  origin?: Origin;
  /** Names of the PoPs; the first is asked where a call names none. @default ["fra", "nyc", "tyo"] */
  pops?: readonly string[];
  /** A shield between the PoPs and the origin. @default true */
  shield?: boolean;
  /** Path of a Proxima config, or its content: its sites are put in force. */
  config?: string | { readonly sites: Readonly<Record<string, unknown>> };
  /** Answers for the vendors' own hosts at an address of its own, for clients that ask no other. @default false */
  takeover?: boolean;
  /** Host that paths are asked at. Left out: the first plain host of `config`, else "cdn.test". */
  host?: string;
  /** When its time begins. Left out: now. */
  now?: Date | string | number;
  /** Longest start, in milliseconds. @default 15000 */
  startMsMax?: number;
}

/** A request to the CDN. */
export interface RequestOptions {
  /** PoP that is asked. Left out: the first. */
  pop?: string;
  /** @default "GET" */
  method?: string;
  headers?: Readonly<Record<string, string>>;
  body?: string | Uint8Array;
  /** Address that the viewer seems to have. */
  from?: string;
}

/** The words for what a cache did, as in X-Cache and in the access log. */
export type CacheResult = "hit" | "miss" | "expired" | "stale" | "updating" | "revalidated" | "bypass";

/** An answer of the CDN. Redirects are not followed. */
export interface CdnResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly pop: string;
  readonly url: string;
  /** What the PoP's cache did. */
  readonly result: CacheResult;
  /** Why, in the program's word: "fresh", "not-stored", "response-set-cookie". */
  readonly reason: string;
  /** Age in seconds; null where the answer says none. */
  readonly ageSeconds: number | null;
  /** The Cache-Status field: the shield's member first, the PoP's last. */
  readonly cacheStatus: string;
  text(): string;
  json(): unknown;
  bytes(): Uint8Array;
}

/** What is to be forgotten: one kind of target. */
export interface PurgeTarget {
  /** URLs, or paths at the CDN's host; every variant of each. */
  urls?: readonly string[];
  tags?: readonly string[];
  prefixes?: readonly string[];
  patterns?: readonly string[];
  hosts?: readonly string[];
  everything?: true;
  /** Makes stale instead. @default false */
  soft?: boolean;
  /** May be left out where there is one site. */
  site?: string;
}

/** What a purge did: it has reached every PoP and the shield. */
export interface PurgeResult {
  readonly id: string;
  /** Stored objects that it hit, of all nodes together. */
  readonly objects: number;
  readonly nodes: readonly { readonly name: string; readonly objects: number | null }[];
}

/** Why a URL is answered as it is. */
export interface Explanation {
  /** For people. */
  readonly text: string;
  /** The last answer that this test got for the URL at this PoP; null for none. */
  readonly last: CdnResponse | null;
  /** What would happen to a request now. */
  readonly would: { readonly result: string; readonly reason: string };
  readonly steps: readonly { readonly step: string; readonly outcome: string; readonly details?: unknown }[];
}

/** A running CDN. */
export interface Cdn {
  /** URL of a PoP. */
  url(pop?: string): string;
  readonly pops: readonly string[];
  /** Host that paths are asked at. */
  readonly host: string;
  /** URL of the control plane: its own API and those of the vendors. */
  readonly control: string;
  /** Token that may do everything there. No secret. */
  readonly token: string;
  /** Where the vendors' own hosts are answered, the authority (PEM file) to trust there, and the hosts; null without `takeover`. */
  readonly takeover: {
    readonly url: string;
    readonly caFile: string;
    readonly hosts: readonly string[];
  } | null;
  /** Asks a PoP for a path, or for an absolute URL: its host and scheme are what the viewer asked for. */
  fetch(target: string | URL, options?: RequestOptions): Promise<CdnResponse>;
  /** Moves the time of all nodes: "1h", "90s", "1h30m", "2d", or milliseconds. Resolves when all have it. */
  advance(by: string | number): Promise<void>;
  /** Moves it to a time, never back. */
  setTime(to: Date | string | number): Promise<void>;
  /** Makes it stand still, until `resume`. */
  freeze(): Promise<void>;
  resume(): Promise<void>;
  /** The CDN's time. */
  now(): Promise<Date>;
  /** Each asks, and rejects with an AssertionError that says why when the cache did something else. */
  expectHit(target: string | URL, options?: RequestOptions): Promise<CdnResponse>;
  expectMiss(target: string | URL, options?: RequestOptions): Promise<CdnResponse>;
  expectCacheResult(
    target: string | URL,
    result: CacheResult | readonly CacheResult[],
    options?: RequestOptions,
  ): Promise<CdnResponse>;
  expectStatus(target: string | URL, status: number, options?: RequestOptions): Promise<CdnResponse>;
  /** Purges on every node; resolves when all have applied and counted it. */
  purge(target: PurgeTarget): Promise<PurgeResult>;
  /** Why was this a miss? */
  explain(target: string | URL, options?: RequestOptions): Promise<Explanation>;
  /** Variables by which vendors' clients and Proxima's own commands find this CDN. */
  env(): Record<string, string>;
  /** Ends it, and the origin that it started. */
  stop(): Promise<void>;
}

/** Starts a CDN. Rejects with what is wrong; nothing is left behind then. */
export function startCdn(options?: CdnOptions): Promise<Cdn>;
