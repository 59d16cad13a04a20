/** Types of `proxima-cdn/client`: the API of the control plane, on Node 20, Bun, or in a browser. */
import type { Routes } from "./api.d.ts";

export type { Routes } from "./api.d.ts";

/** How a control plane is asked. */
export interface ClientOptions {
  /** Such as "https://control.example:8090". */
  url: string | URL;
  /** An API token. */
  token: string;
  /** Longest time for an answer, in milliseconds, beside what a query waits for. @default 30000 */
  timeoutMs?: number;
  /** In place of the global one. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

type Optional<T> = [keyof T] extends [never] ? { [K in never]: T } : T;
type Part<Name extends string, T> = T extends undefined
  ? { [K in Name]?: undefined }
  : [keyof T] extends [never]
    ? { [K in Name]?: T }
    : Record<string, never> extends T
      ? { [K in Name]?: T }
      : { [K in Name]: T };

/** What a route needs, and what any request may have. */
export type CallOptions<R extends keyof Routes> = Part<"params", Optional<Routes[R]["params"]>> &
  Part<"query", Optional<Routes[R]["query"]>> &
  Part<"body", Routes[R]["body"]> & {
    /** A POST that is sent again under the same key is done once; failures of the network are tried again then. */
    idempotencyKey?: string;
    /** The change is made only when the site is still as this ETag says. */
    ifMatch?: string;
    signal?: AbortSignal;
  };

/** An answer with what came along. */
export interface Answer<T> {
  readonly status: number;
  /** For `ifMatch`; null when there is none. */
  readonly etag: string | null;
  readonly value: T;
}

/** An item of a list. */
export type ItemOf<T> = T extends { items: (infer Item)[] } ? Item : never;

/** Routes that answer pages. */
export type ListRoute = {
  [R in keyof Routes]: [ItemOf<Routes[R]["answer"]>] extends [never] ? never : R;
}[keyof Routes];

/** A control plane. */
export interface Client {
  /** The answer's value. Rejects with an ApiError. */
  call<R extends keyof Routes>(
    route: R,
    ...options: Record<string, never> extends CallOptions<R> ? [CallOptions<R>?] : [CallOptions<R>]
  ): Promise<Routes[R]["answer"]>;
  /** The answer with its ETag. Rejects with an ApiError. */
  ask<R extends keyof Routes>(
    route: R,
    ...options: Record<string, never> extends CallOptions<R> ? [CallOptions<R>?] : [CallOptions<R>]
  ): Promise<Answer<Routes[R]["answer"]>>;
  /** Every item of a list, page by page. */
  each<R extends ListRoute>(
    route: R,
    ...options: Record<string, never> extends CallOptions<R> ? [CallOptions<R>?] : [CallOptions<R>]
  ): AsyncGenerator<ItemOf<Routes[R]["answer"]>, void, undefined>;
}

/** A request that the control plane refused (RFC 9457), or that did not arrive. */
export class ApiError extends Error {
  readonly name: "ApiError";
  /** 0 when there was no answer. */
  readonly status: number;
  /** The problem document; null when there is none. */
  readonly problem: Readonly<Record<string, unknown>> | null;
}

/** A client of a control plane. Asks nothing yet. */
export function connect(options: ClientOptions): Client;
